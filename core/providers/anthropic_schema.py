"""A JSON schema as Anthropic's API takes it: which it can hold an answer to, and one type at a place.

The API holds an answer to objects whose fields are all named, and the SDK closes every object to make it so. A map
(``additionalProperties: {...}``) or a free object would become an empty one: only ``{}`` could come back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

_BY_NAME = ("properties", "$defs", "definitions", "patternProperties")
_DEFINITIONS = "#/$defs/"
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


def can_be_enforced(schema: Mapping[str, Any]) -> bool:
    """Whether the API can hold an answer to ``schema`` without making it another one."""
    definitions: Any = schema.get("$defs")
    named = cast("dict[str, Any]", definitions) if isinstance(definitions, dict) else {}
    follows: dict[str, set[str]] = {}
    whole: list[tuple[str, Any]] = [("", {key: part for key, part in schema.items() if key != "$defs"})]
    for name, part in [*whole, *named.items()]:
        references: set[str] = set()
        if not all(_is_closable(inner, references) for inner in _parts(part)):
            return False
        follows[name] = references
    return all(name in named for references in follows.values() for name in references) and _has_end(follows)


def _parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every schema in a schema, itself first."""
    if isinstance(schema, list | tuple):
        for item in cast("Sequence[Any]", schema):
            yield from _parts(item)
    if not isinstance(schema, Mapping):
        return
    fields = cast("Mapping[str, Any]", schema)
    yield fields
    for key, value in fields.items():
        if key in _BY_NAME and isinstance(value, Mapping):
            for part in cast("Mapping[str, Any]", value).values():
                yield from _parts(part)
        elif key not in _VALUES:
            yield from _parts(value)


def _is_closable(part: Mapping[str, Any], references: set[str]) -> bool:
    """Whether closing the objects of one part takes nothing away; what it refers to is added to ``references``."""
    reference = part.get("$ref")
    if reference is not None:
        references.add(str(reference).removeprefix(_DEFINITIONS))
        return str(reference).startswith(_DEFINITIONS)
    if "enum" in part or "const" in part:
        return True
    fields: Any = part.get("properties")
    names = set(cast("Mapping[str, Any]", fields)) if isinstance(fields, Mapping) else set[str]()
    choices = [key for key in ("anyOf", "oneOf", "allOf") if key in part]
    whole: Any = part.get("allOf", ())
    if choices and (names or len(whole) > 1):
        return False  # each part is closed by itself: no object has the fields of several
    types: Any = part.get("type")
    if types != "object" and not (isinstance(types, list | tuple) and "object" in types):
        return True
    more, required = part.get("additionalProperties"), part.get("required", ())
    is_free = not names and more is not False and not choices
    is_map = isinstance(more, Mapping) or bool(part.get("patternProperties"))
    least = part.get("minProperties", 0)
    return not is_free and not is_map and names.issuperset(required) and least <= len(names)


def _has_end(follows: Mapping[str, set[str]]) -> bool:
    """Whether no part refers to itself, however far around; the API takes no recursive schema."""
    left = dict(follows)
    while left:
        ends = [name for name, references in left.items() if not references & left.keys()]
        if not ends:
            return False
        for name in ends:
            del left[name]
    return True


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
