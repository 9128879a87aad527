"""Holds a JSON value against a JSON schema, in bounded time and without fetching anything.

``jsonschema`` does the work, by the draft that ``$schema`` names (2020-12 without one), with four differences:
regular expressions take linear time (``core.structured.patterns``), ``multipleOf`` counts in decimals (0.3 is a
multiple of 0.1), ``uniqueItems`` takes linear time, and every keyword looks at the clock. ``format`` is a remark,
as the standard has it. A reference to an address is never fetched: only what stands in the schema, and the drafts'
own, resolves.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any, cast

from core.chat import JsonObject
from core.structured import schema_child
from core.structured.json_repair import json_pointer
from core.structured.patterns import NotLinear, matches

log = logging.getLogger(__name__)

LIMIT_S = 20.0
"""Longest a check may take. 2 MB of ordinary records take 1 to 3 s (measured); a schema that branches at each level
of a reference to itself takes for ever."""

MAX_PROBLEMS = 10
"""As many as a model is told at once, and a person reads."""

_OUT_OF_TIME: ContextVar[float] = ContextVar("schema_check_deadline")
_Keyword = Callable[[Any, Any, Any, Any], Iterable[Any] | None]
_Search = Callable[[str, str], bool]
_LIBRARY_SEARCHES = ("unevaluatedProperties", "patternProperties")
"""Together, these two make ``jsonschema`` itself match patterns by ``re``, wherever in the schema they stand."""

_NOT_SUBSCHEMAS = frozenset({"const", "enum", "default", "examples"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaCheck:
    """``problems`` are sentences "at /path: what", none where the value matches.

    ``schema_at_fault``: the schema cannot be checked, whatever the value is.
    """

    problems: tuple[str, ...] = ()
    schema_at_fault: bool = False


def check_value(value: Any, schema: JsonObject) -> SchemaCheck:
    """Check ``value``, which was read from JSON, against ``schema``. Blocks for up to ``LIMIT_S`` seconds.

    A schema whose patterns cannot be matched in linear time is checked in a process of its own, which is ended
    when it takes too long.
    """
    try:
        return check_here(value, schema, linear=True)
    except NotLinear:
        answer = schema_child.check_in_child(value, dict(schema))
    if answer is None:
        return _at_fault("its patterns take too long to match")
    problems, schema_at_fault = answer
    return SchemaCheck(problems=problems, schema_at_fault=schema_at_fault)


def check_here(value: Any, schema: JsonObject, *, linear: bool) -> SchemaCheck:
    """Check in this thread; ``linear`` leaves every pattern to the linear engine.

    Raises:
        NotLinear: ``linear``, and a pattern is not for that engine.
    """
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    if linear and all(any(name in part for part in _dictionaries(schema)) for name in _LIBRARY_SEARCHES):
        raise NotLinear
    token = _OUT_OF_TIME.set(time.monotonic() + LIMIT_S)
    try:
        validator = _validator_class(_draft(schema), linear)(
            _without_draft_names(dict(schema)), registry=cast("Any", Registry)()
        )
        problems: list[str] = []
        for error in validator.iter_errors(value):
            problem = f"at {json_pointer(list(error.absolute_path))}: {said(error)}"
            if problem not in problems:
                problems.append(problem)
            if len(problems) == MAX_PROBLEMS:
                break
        return SchemaCheck(problems=tuple(problems))
    except NotLinear:
        raise
    except Unresolvable as error:
        reference = shortened(str(getattr(error, "ref", "")))
        return _at_fault(f"it refers to {reference!r}, which is not in it, and nothing is fetched")
    except _OutOfTime:
        return _at_fault(f"checking takes more than {LIMIT_S:.0f} s")
    except RecursionError:
        return _at_fault("it, or the answer, is nested too deeply to be checked")
    except Exception as error:
        # A schema is a caller's text; what the library makes of a malformed one must not end the request.
        log.warning("a JSON schema could not be checked", exc_info=True)
        return _at_fault(f"{type(error).__name__}: {shortened(str(error))}")
    finally:
        _OUT_OF_TIME.reset(token)


def reference_problems(schema: JsonObject) -> tuple[str, ...]:
    """Say which references of ``schema`` lead nowhere, so that it is not paid for in vain; nothing is fetched."""
    from referencing import Registry, Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import EMPTY_REGISTRY, specification_with

    parts = list(_dictionaries(dict(schema)))
    if any("$id" in part or "id" in part for part in parts[1:]):
        return ()  # parts with addresses of their own: only a whole check resolves those
    from jsonschema_specifications import REGISTRY

    registry: Registry[Any] = REGISTRY.combine(EMPTY_REGISTRY)
    specification = specification_with(_draft(schema).META_SCHEMA["$schema"].rstrip("#"))
    resolver = registry.resolver_with_root(Resource(contents=dict(schema), specification=specification))
    problems: list[str] = []
    for part in parts:
        reference = part.get("$ref")
        if not isinstance(reference, str):
            continue
        try:
            resolver.lookup(reference)
        except Unresolvable:
            problems.append(f"the schema refers to {shortened(reference)!r}, which is not in it")
    return tuple(dict.fromkeys(problems))[:MAX_PROBLEMS]


class _OutOfTime(Exception):
    """The check took ``LIMIT_S``."""


def _at_fault(what: str) -> SchemaCheck:
    return SchemaCheck(problems=(f"the schema can't be checked: {what}",), schema_at_fault=True)


def _draft(schema: JsonObject) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for

    named = schema.get("$schema")
    draft = {"$schema": named} if isinstance(named, str) else {}
    return validator_for(draft, default=Draft202012Validator)


@cache
def _validator_class(draft: Any, linear: bool) -> Any:
    """Return ``draft``'s validator with the keywords of this module. Few drafts, so the cache is small."""
    from jsonschema import validators

    search = matches if linear else _matches_by_re
    keywords: dict[str, _Keyword] = dict(draft.VALIDATORS)
    own: dict[str, _Keyword] = {
        "multipleOf": _multiple_of,
        "uniqueItems": _unique_items,
        "pattern": _pattern(search),
        "patternProperties": _pattern_properties(search),
        "additionalProperties": _additional_properties(search),
    }
    keywords |= {name: keyword for name, keyword in own.items() if name in keywords}
    return cast("Any", validators).extend(draft, {name: _timed(each) for name, each in keywords.items()})


def _matches_by_re(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None


def _timed(keyword: _Keyword) -> _Keyword:
    def timed(validator: Any, rule: Any, value: Any, schema: Any) -> Iterable[Any] | None:
        if time.monotonic() > _OUT_OF_TIME.get():
            raise _OutOfTime
        return keyword(validator, rule, value, schema)

    return timed


def _without_draft_names(part: Any) -> Any:
    """Return a copy without ``$schema``: at the sight of one, ``jsonschema`` would go back to its own keywords."""
    if isinstance(part, dict):
        items = cast("dict[str, Any]", part).items()
        return {
            name: inner if name in _NOT_SUBSCHEMAS else _without_draft_names(inner)
            for name, inner in items
            if not (name == "$schema" and isinstance(inner, str))
        }
    if isinstance(part, list | tuple):
        return [_without_draft_names(inner) for inner in cast("Iterable[Any]", part)]
    return part


def _dictionaries(part: Any) -> Iterator[dict[str, Any]]:
    waiting = [part]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            found = cast("dict[str, Any]", part)
            yield found
            waiting += found.values()
        elif isinstance(part, list):
            waiting += cast("list[Any]", part)


def _error(message: str) -> Any:
    from jsonschema import ValidationError

    return ValidationError(message)


def _pattern(search: _Search) -> _Keyword:
    def keyword(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[Any]:
        del schema
        if validator.is_type(value, "string") and not search(pattern, value):
            yield _error("pattern")

    return keyword


def _pattern_properties(search: _Search) -> _Keyword:
    def keyword(validator: Any, rules: dict[str, Any], value: Any, schema: Any) -> Iterator[Any]:
        del schema
        if not validator.is_type(value, "object"):
            return
        for pattern, rule in rules.items():
            for name, inner in value.items():
                if search(pattern, name):
                    yield from validator.descend(inner, rule, path=name, schema_path=pattern)

    return keyword


def _additional_properties(search: _Search) -> _Keyword:
    def keyword(validator: Any, rule: Any, value: Any, schema: Any) -> Iterator[Any]:
        if not validator.is_type(value, "object"):
            return
        known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        extras = [name for name in value if name not in known and not any(search(p, name) for p in patterns)]
        if validator.is_type(rule, "object"):
            for name in extras:
                yield from validator.descend(value[name], rule, path=name)
        elif not rule and extras:
            error = _error("additionalProperties")
            error.extra_names = extras
            yield error

    return keyword


def _multiple_of(validator: Any, rule: float, value: Any, schema: Any) -> Iterator[Any]:
    del schema
    if validator.is_type(value, "number") and _exact(value) % _exact(rule) != 0:
        yield _error("multipleOf")


def _exact(number: float) -> Fraction:
    """Return the decimal that was written, not the binary fraction it is kept as."""
    return Fraction(number) if isinstance(number, int) else Fraction(Decimal(repr(number)))


def _unique_items(validator: Any, rule: bool, value: Any, schema: Any) -> Iterator[Any]:
    del schema
    if rule and validator.is_type(value, "array"):
        entries = cast("list[Any]", value)
        if len({_comparable(entry) for entry in entries}) < len(entries):
            yield _error("uniqueItems")


def _comparable(value: Any) -> Any:
    """Return something hashable that is equal where JSON Schema says equal: 1 is 1.0 but not true."""
    if isinstance(value, dict):
        return ("object", frozenset((name, _comparable(inner)) for name, inner in _items(value)))
    if isinstance(value, list):
        return ("list", tuple(_comparable(inner) for inner in cast("list[Any]", value)))
    return (type(value) if isinstance(value, bool | str) else None, value)


def _items(value: Any) -> Iterable[tuple[str, Any]]:
    return cast("dict[str, Any]", value).items()


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
