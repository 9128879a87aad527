"""A route decision as the ledger keeps it: JSON of what differs from the defaults, and nothing of the prompt."""

from __future__ import annotations

import dataclasses
import json
from functools import lru_cache
from typing import Any

from core.chat import RouteDecision

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def decision_json(decision: RouteDecision | None) -> str | None:
    """Return the decision as JSON, ``None`` for none. A field that is not there has its default."""
    return None if decision is None else _encode(_plain(decision))


@lru_cache(maxsize=64)
def _fields(kind: type[Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((field.name, field.default) for field in dataclasses.fields(kind))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if not dataclasses.is_dataclass(value):
        return value
    found: dict[str, Any] = {}
    for name, default in _fields(type(value)):
        held = getattr(value, name)
        if held is not default and held != default:
            found[name] = _plain(held) if isinstance(held, tuple) or hasattr(held, "__slots__") else held
    return found
