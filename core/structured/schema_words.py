"""Says in plain words how a value breaks a schema. Field names appear, the answer's contents do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

MAX_SHOWN_CHARS = 120
_MAX_NAMES = 5

_TYPES = {
    "object": "an object",
    "array": "a list",
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "null",
}

_RULES: dict[str, str] = {
    "minimum": "it must be at least {}",
    "maximum": "it must be at most {}",
    "exclusiveMinimum": "it must be more than {}",
    "exclusiveMaximum": "it must be less than {}",
    "multipleOf": "it must be a multiple of {}",
    "divisibleBy": "it must be a multiple of {}",
    "minLength": "it must have at least {} characters",
    "maxLength": "it must have at most {} characters",
    "minItems": "it must have at least {} entries",
    "maxItems": "it must have at most {} entries",
    "minContains": "at least {} entries must be of the kind asked for",
    "maxContains": "at most {} entries may be of the kind asked for",
    "minProperties": "it must have at least {} fields",
    "maxProperties": "it must have at most {} fields",
    "pattern": "it must match the pattern {}",
    "const": "it must be {}",
    "contains": "no entry is of the kind asked for",
    "uniqueItems": "its entries must differ",
    "not": "it is of a kind that is not allowed",
    "unevaluatedItems": "it has entries that are not allowed",
    "unevaluatedProperties": "it has fields that are not allowed",
    "additionalItems": "it has entries that are not allowed",
}


def said(error: Any) -> str:
    """Return what a ``jsonschema.ValidationError`` says, for a person and for a model."""
    rule, keyword = error.validator_value, error.validator
    special = _SPECIAL.get(keyword)
    if special is not None:
        return special(error, rule)
    words = _RULES.get(keyword)
    if words is not None:
        return words.format(shortened(_written(rule)))
    if keyword is None or keyword in ("items", "prefixItems"):
        return "something is in it where nothing is allowed"
    return f"it breaks the rule {shortened(str(keyword))}"


def shortened(text: str, limit: int = MAX_SHOWN_CHARS) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def kind_of(value: Any) -> str:
    """Return a JSON value's type in words."""
    match value:
        case bool():
            return "true or false"
        case None:
            return "null"
        case str():
            return "text"
        case int():
            return "a whole number"
        case float():
            return "a number"
        case list():
            return "a list"
        case _:
            return "an object"


def _type(error: Any, rule: Any) -> str:
    names = cast("list[Any]", rule if isinstance(rule, list) else [rule])
    wanted = " or ".join(
        _TYPES.get(name, "another kind") if isinstance(name, str) else "an allowed kind" for name in names
    )
    return f"it must be {shortened(wanted)}, and is {kind_of(error.instance)}"


def _required(error: Any, rule: Any) -> str:
    due = cast("list[Any]", rule) if isinstance(rule, list) else []
    names = [str(name) for name in due if error.message == f"{name!r} is a required property"]
    return f"the field {_names(names)} is missing" if names else "a field that is due is missing"


def _extra(error: Any, rule: Any) -> str:
    del rule
    names: list[str] = error.extra_names
    many = len(names) > 1
    return f"the field{'s' * many} {_names(names)} {'are' if many else 'is'} not allowed"


def _enum(error: Any, rule: Any) -> str:
    del error
    return f"it must be one of {shortened(', '.join(_written(each) for each in rule))}"


def _no_form(error: Any, rule: Any) -> str:
    if error.validator == "oneOf" and not error.context:
        return "it fits more than one of the forms of which it must fit one"
    from jsonschema import exceptions

    closest: Any = cast("Any", exceptions).best_match(iter([error]))
    if closest is None or closest is error:
        return f"it fits none of the {len(rule)} allowed forms"
    where = "/".join(str(part) for part in closest.relative_path)
    inner = said(closest) if closest.validator not in ("anyOf", "oneOf") else "no form fits"
    closest_words = f"{f'at {shortened(where)}, ' if where else ''}{inner}"
    return f"it fits none of the {len(rule)} allowed forms (closest: {closest_words})"


def _dependent(error: Any, rule: Any) -> str:
    del error, rule
    return "a field that is due beside another is missing"


_SPECIAL: dict[str, Callable[[Any, Any], str]] = {
    "type": _type,
    "required": _required,
    "additionalProperties": _extra,
    "enum": _enum,
    "anyOf": _no_form,
    "oneOf": _no_form,
    "dependentRequired": _dependent,
    "dependencies": _dependent,
}


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return (
        ", ".join(json.dumps(shortened(name, 40), ensure_ascii=False) for name in names[:_MAX_NAMES]) + more
    )


def _written(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return str(type(value).__name__)
