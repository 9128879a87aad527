"""Says in plain words how a value breaks a schema. Field names appear, the answer's contents do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError

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

_RULES = {
    "minimum": "it must be at least {}",
    "maximum": "it must be at most {}",
    "exclusiveMinimum": "it must be more than {}",
    "exclusiveMaximum": "it must be less than {}",
    "multipleOf": "it must be a multiple of {}",
    "minLength": "it must have at least {} characters",
    "maxLength": "it must have at most {} characters",
    "minItems": "it must have at least {} entries",
    "maxItems": "it must have at most {} entries",
    "minProperties": "it must have at least {} fields",
    "maxProperties": "it must have at most {} fields",
    "pattern": "it must match the pattern {}",
    "const": "it must be {}",
    "uniqueItems": "its entries must differ",
    "not": "it is of a kind that is not allowed",
    "unevaluatedItems": "it has entries that are not allowed",
    "unevaluatedProperties": "it has fields that are not allowed",
    "falseSchema": "something is in it where nothing is allowed",
    "additionalItems": "it has entries that are not allowed",
}


def said(error: ValidationError) -> str:
    """Return in plain words how a value breaks a schema. Field names appear, the value's contents do not."""
    keyword = error.kind.name
    special = _SPECIAL.get(keyword)
    if special is not None:
        return special(error, error.kind)
    words = _RULES.get(keyword)
    if words is not None:
        return words.format(shortened(written(next(iter(error.kind.as_dict().values()), None))))
    return f"it breaks the rule {shortened(keyword)}"


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


def _type(error: ValidationError, kind: Any) -> str:
    wanted = " or ".join(words for name, words in _TYPES.items() if name in kind.types)
    return f"it must be {wanted}, and is {kind_of(error.instance)}"


def _required(error: ValidationError, kind: Any) -> str:
    if error.schema_path and error.schema_path[-1] in ("dependentRequired", "dependencies"):
        return "a field that is due beside another is missing"
    return f"the field {_names([kind.property])} is missing"


def _contains(error: ValidationError, kind: Any) -> str:
    del kind
    rule = error.schema_path[-1] if error.schema_path else "contains"
    return _CONTAINS.get(str(rule), _CONTAINS["contains"])


def _extra(error: ValidationError, kind: Any) -> str:
    del error
    names: list[str] = kind.unexpected
    many = len(names) > 1
    return f"the field{'s' * many} {_names(names)} {'are' if many else 'is'} not allowed"


def _format(error: ValidationError, kind: Any) -> str:
    del error
    if kind.format == "regex":
        return "it must be a regular expression as JSON Schema has them (ECMA 262)"
    return f"it must be of the format {shortened(kind.format)}"


def _enum(error: ValidationError, kind: Any) -> str:
    del error
    return f"it must be one of {shortened(', '.join(map(written, kind.options)))}"


def _field_name(error: ValidationError, kind: Any) -> str:
    del error
    return said(kind.error)


def _no_form(error: ValidationError, kind: Any) -> str:
    from jsonschema_rs import ValidationErrorKind

    if isinstance(kind, ValidationErrorKind.OneOfMultipleValid):
        return "it fits more than one of the forms of which it must fit one"
    none = f"it fits none of the {len(kind.context)} allowed forms"
    closest = _closest(error)
    if closest is None:
        return none
    where = "/".join(map(str, closest.instance_path[len(error.instance_path) :]))
    inner = "no form fits" if closest.kind.name in _FORMS else said(closest)
    return f"{none} (closest: {f'at {shortened(where)}, ' if where else ''}{inner})"


def _closest(error: ValidationError) -> ValidationError | None:
    """Return the problem of the form that fits best: the deepest, ``None`` where no single one is closest."""
    found: ValidationError | None = None
    while error.kind.name in _FORMS:
        context: list[list[ValidationError]] = getattr(error.kind, "context", [])
        ranked = sorted((inner for form in context for inner in form), key=_relevance)
        if not ranked or (len(ranked) > 1 and _relevance(ranked[0]) == _relevance(ranked[1])):
            return found
        found = error = ranked[0]
    return found


def _relevance(error: ValidationError) -> tuple[int, list[str], bool, bool]:
    """Order problems: deeper ones first, then by place; another kind of value is the least telling."""
    path = list(map(str, error.instance_path))
    return (-len(path), path, error.kind.name in _FORMS, error.kind.name == "type")


_FORMS = ("anyOf", "oneOf")
_CONTAINS = {
    "contains": "no entry is of the kind asked for",
    "minContains": "too few entries are of the kind asked for",
    "maxContains": "too many entries are of the kind asked for",
}
_SPECIAL: dict[str, Callable[[ValidationError, Any], str]] = {
    "type": _type,
    "required": _required,
    "contains": _contains,
    "additionalProperties": _extra,
    "propertyNames": _field_name,
    "enum": _enum,
    "format": _format,
    "anyOf": _no_form,
    "oneOf": _no_form,
}


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return (
        ", ".join(json.dumps(shortened(name, 40), ensure_ascii=False) for name in names[:_MAX_NAMES]) + more
    )


def written(value: Any) -> str:
    if isinstance(value, Decimal):
        return str(value)
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return str(type(value).__name__)
