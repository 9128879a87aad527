"""The only place where the vocabulary becomes JSON and comes back, by the types of its dataclasses.

``to_json`` leaves out the fields that have their default, ``to_plain`` has every field. Reading ignores fields that
this version does not know and gives missing ones their default. For what has no default, or another shape,
``from_json`` is strict and never guesses; ``salvage_json`` leaves it out and keeps whatever else can be read.

pydantic builds an adapter for each type on its first use (about 30 ms for a result), so that no start waits for it.
"""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from core.chat import ChatResult, RouteDecision, Usage
from core.price_modifiers import split_service_tier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")

_adapters: dict[type, TypeAdapter[Any]] = {}
_building = threading.Lock()


def to_json(value: object) -> str:
    """Return a dataclass as one line of JSON, without the fields that have their default.

    A lone surrogate, which UTF-8 cannot hold, becomes U+FFFD.
    """
    from pydantic_core import PydanticSerializationError

    adapter = _adapter(type(value))
    # No warnings: they would quote what stands there.
    options: Any = {"exclude_defaults": True, "by_alias": True, "warnings": False}
    try:
        return adapter.dump_json(value, **options).decode()
    except PydanticSerializationError:
        plain = adapter.dump_python(value, mode="json", **options)
        return _without_lone_surrogates(plain)


def to_plain(value: object) -> dict[str, Any]:
    """Return a dataclass with every field as what JSON is made of: dicts, lists, text and numbers."""
    return _adapter(type(value)).dump_python(value, mode="json", by_alias=True, warnings=False)


def from_json(kind: type[T], text: str) -> T:
    """Return what ``to_json`` wrote of a ``kind``.

    Raises:
        ValueError: it was written in another shape, or damaged. The message names places, never what stands there.
    """
    from pydantic import ValidationError

    adapter = _adapter(kind)
    try:
        return _as_of_today(adapter.validate_json(text, strict=True))
    except ValidationError as error:
        problem = error
    if "\\ud" in text.lower():
        try:
            return _as_of_today(
                adapter.validate_json(_without_lone_surrogates(json.loads(text)), strict=True)
            )
        except (ValueError, RecursionError):
            pass
    raise ValueError(f"{kind.__name__} was written in another shape: {_places(problem)}")


def salvage_json(kind: type[T], text: str | None) -> T | None:
    """Return what can be read of a ``kind``, ``None`` where nothing can (or nothing was written).

    A part with anything unreadable in it is left out whole, lest a count that is not known be read as zero. Where
    that part has no default, what holds it goes too.
    """
    from pydantic import ValidationError

    if text is None:
        return None
    adapter = _adapter(kind)
    try:
        return _as_of_today(adapter.validate_json(text))
    except ValidationError:
        pass
    try:
        value = json.loads(_without_lone_surrogates(json.loads(text)))
    except (ValueError, RecursionError):
        return None
    while True:
        try:
            return _as_of_today(adapter.validate_python(value))
        except ValidationError as error:
            unreadable = {_unreadable_part(problem["type"], problem["loc"]) for problem in _problems(error)}
        if () in unreadable:
            return None
        for place in sorted(unreadable, reverse=True):  # later items first, so that the places stay true
            _remove(value, place)


def _adapter(kind: type[T]) -> TypeAdapter[T]:
    found = _adapters.get(kind)
    if found is None:
        with _building:
            found = _adapters.get(kind) or _build(kind)
            _adapters[kind] = found
    return found


def _build(kind: type[T]) -> TypeAdapter[T]:
    from pydantic import ConfigDict, TypeAdapter, with_config

    # The name in stored decisions is older than the one in the code.
    with_config(ConfigDict(alias_generator=_stored_name))(RouteDecision)
    return TypeAdapter(kind)


def _as_of_today(value: T) -> T:
    """Return ``value`` with what released versions wrote into another field where it belongs now."""
    if isinstance(value, Usage):
        return cast("T", split_service_tier(value))
    if isinstance(value, ChatResult) and value.usage is not None:
        return cast("T", replace(value, usage=split_service_tier(value.usage)))
    return value


def _stored_name(field: str) -> str:
    return "toll" if field == "switching_cost" else field


def _without_lone_surrogates(plain: Any) -> str:
    text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _problems(error: ValidationError) -> Sequence[Any]:
    return error.errors(include_url=False, include_context=False, include_input=False)


def _places(error: ValidationError) -> str:
    found = {".".join(str(step) for step in problem["loc"]) or "the whole" for problem in _problems(error)}
    return ", ".join(sorted(found))


def _unreadable_part(problem: str, place: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Return the place of the dataclass, or of the item of a list, that can't be read."""
    is_part = problem in ("dataclass_type", "tuple_type") or (place and isinstance(place[-1], int))
    return place if is_part else place[:-1]


def _remove(value: Any, place: tuple[int | str, ...]) -> None:
    for step in place[:-1]:
        value = value[step]
    cast("dict[int | str, Any]", value).pop(place[-1])
