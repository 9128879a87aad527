"""A whole answer as JSON and back, so that another process can give it again: all of it, and nothing of the prompt.

Reading goes by the types of ``core.chat``. A field that this version doesn't know is left out and one that isn't
there has its default; what has no default or another shape can't be read, and is never guessed.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from core.chat import ChatResult


def answer_to_json(result: ChatResult) -> str:
    """Return ``result`` as one line of ASCII."""
    return json.dumps(_plain(result), separators=(",", ":"), allow_nan=False)


def answer_from_json(text: str) -> ChatResult:
    """Return the answer that ``answer_to_json`` wrote.

    Raises:
        ValueError: it was written by a Signalbox whose answers have another shape, or was damaged.
    """
    return cast("ChatResult", _read(ChatResult, json.loads(text)))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[Any, ...]", value)]
    return value.isoformat() if isinstance(value, datetime) else value


@lru_cache(maxsize=64)
def _fields(kind: type[Any]) -> Mapping[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _read(kind: Any, value: Any) -> Any:
    """Return ``value`` as ``kind``. :raises ValueError: it is none."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        choices = get_args(kind)
        if value is None and type(None) in choices:
            return None
        # A union of the vocabulary is one kind or nothing.
        (only,) = (choice for choice in choices if choice is not type(None))
        return _read(only, value)
    if origin is Literal:
        if value in get_args(kind):
            return value
    elif origin is tuple:
        if isinstance(value, list):
            item_kind = get_args(kind)[0]
            return tuple([_read(item_kind, item) for item in cast("list[Any]", value)])
    elif dataclasses.is_dataclass(kind):
        if isinstance(value, dict):
            return _read_dataclass(cast("type[Any]", kind), cast("dict[str, Any]", value))
    elif kind is datetime:
        if isinstance(value, str):
            return datetime.fromisoformat(value)
    elif kind is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif isinstance(value, kind) and (kind is bool) == isinstance(value, bool):
        return value
    raise ValueError(f"{kind} was written in another shape")


def _read_dataclass(kind: type[Any], values: dict[str, Any]) -> Any:
    known = {name: _read(hint, values[name]) for name, hint in _fields(kind).items() if name in values}
    try:
        return kind(**known)
    except TypeError as error:  # a field without a default is missing
        raise ValueError(f"{kind.__name__} was written in another shape") from error
