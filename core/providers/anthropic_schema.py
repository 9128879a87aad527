"""A JSON schema as Anthropic's SDK takes it: one type at a place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

_BY_NAME = ("properties", "$defs", "definitions", "patternProperties")
_VALUES = ("enum", "const", "default", "examples")
_SAY_MORE = ("anyOf", "oneOf", "allOf", "$ref")
"""Beside one of these a list of types adds next to nothing, and the answer is checked against it all the same."""
_TYPES_OF_KEYWORD: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (
            "properties",
            "patternProperties",
            "additionalProperties",
            "unevaluatedProperties",
            "propertyNames",
            "required",
            "dependentRequired",
            "dependentSchemas",
            "minProperties",
            "maxProperties",
        ),
        ("object",),
    ),
    **dict.fromkeys(
        (
            "items",
            "prefixItems",
            "additionalItems",
            "unevaluatedItems",
            "contains",
            "minContains",
            "maxContains",
            "minItems",
            "maxItems",
            "uniqueItems",
        ),
        ("array",),
    ),
    **dict.fromkeys(("minLength", "maxLength", "pattern", "format"), ("string",)),
    **dict.fromkeys(
        ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), ("number", "integer")
    ),
}
"""Keywords that say something of one kind of value only (JSON Schema 2020-12, validation, section 6)."""


def one_type_each(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema whose ``"type": ["string", "null"]`` is an ``anyOf``: the SDK takes one type at a place.

    Each part stands under one type alone: were it under all of them, nested ones would double with each level.
    """
    inner: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _BY_NAME and isinstance(value, dict):
            named = cast("dict[str, Any]", value)
            inner[key] = {name: _one_type_of(part) for name, part in named.items()}
        else:
            inner[key] = value if key in _VALUES else _one_type_of(value)
    types = inner.get("type")
    if not isinstance(types, list):
        return inner
    del inner["type"]
    names = cast("list[Any]", types)
    if any(key in inner for key in _SAY_MORE):
        return inner
    values = inner.get("enum", [inner["const"]] if "const" in inner else None)
    if isinstance(values, list):
        possible = [
            value for value in cast("list[Any]", values) if any(_is_of_type(value, name) for name in names)
        ]
        if possible and not any(isinstance(value, list | dict) for value in possible):
            return {**inner, "enum": possible} if "enum" in inner else inner
    return {
        **{key: value for key, value in inner.items() if key not in _TYPES_OF_KEYWORD},
        "anyOf": [{"type": name, **_of_type(inner, name)} for name in names],
    }


def _of_type(schema: dict[str, Any], name: Any) -> dict[str, Any]:
    """Return the parts of ``schema`` that say something of type ``name``."""
    return {key: value for key, value in schema.items() if name in _TYPES_OF_KEYWORD.get(key, ())}


def _is_of_type(value: Any, name: Any) -> bool:
    """Whether a JSON value is of the type that a schema calls ``name``; an unknown type takes every value."""
    match name:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            return whole and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
        case _:
            return True


def _one_type_of(value: Any) -> Any:
    if isinstance(value, list):
        return [_one_type_of(item) for item in cast("list[Any]", value)]
    return one_type_each(cast("dict[str, Any]", value)) if isinstance(value, dict) else value
