"""Hypothesis strategies: JSON values, the text models put around them, and JSON schemas."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

TEXTS = st.text(max_size=12)
NUMBERS = st.integers(-(10**25), 10**25) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
        max_leaves=12,
    )


VALUES = nested(SCALARS)
CONTAINERS = VALUES.filter(lambda value: isinstance(value, dict | list))
WRITTEN = st.builds(
    lambda value, indent, ascii_only: (value, json.dumps(value, indent=indent, ensure_ascii=ascii_only)),
    VALUES,
    st.sampled_from([None, 0, 2]),
    st.booleans(),
)
WRITTEN_CONTAINERS = WRITTEN.filter(lambda pair: isinstance(pair[0], dict | list))

PROSE = st.text(st.sampled_from("abcXYZ019 \n.!?()-_*#éß火"), max_size=40)
"""No bracket, quote, comma or colon: what those do beside a value has its own tests."""

_PIECES = (
    '{ } [ ] " \' : , \\ \\n \\u12 true None NaN 1 - e5 .0 /* */ // 1e999 007 "a": {} [] a <think> </think>'
)
_SPACED = ("```json\n", "```", "~~~\n", "b c", " ", "\n", "\t", "é", "\x00", "\ud83d", "\ufeff")
FRAGMENTS = st.lists(st.sampled_from([*_PIECES.split(" "), *_SPACED]), max_size=40).map("".join)

_NAMES = st.sampled_from(["a", "b", "c", "$ref", "x-y", ""])
_PATTERNS = st.sampled_from(["^a", "b$", "[0-9]+", "^.{2,}$", "x|y", "é"])
_COUNTS = st.integers(0, 4)


def schemas() -> st.SearchStrategy[dict[str, Any]]:
    """Valid schemas of draft 2020-12 with patterns any engine reads alike."""
    kinds = st.sampled_from(["object", "array", "string", "number", "integer", "boolean", "null"])
    plain = st.fixed_dictionaries(
        {},
        optional={
            "type": kinds | st.lists(kinds, min_size=1, max_size=3, unique=True),
            "enum": st.lists(SCALARS, min_size=1, max_size=3),
            "const": SCALARS,
            "minimum": st.integers(-5, 5),
            "exclusiveMaximum": st.integers(-5, 5),
            "multipleOf": st.sampled_from([1, 2, 3]),
            "minLength": _COUNTS,
            "maxLength": _COUNTS,
            "pattern": _PATTERNS,
            "minItems": _COUNTS,
            "maxItems": _COUNTS,
            "uniqueItems": st.booleans(),
            "required": st.lists(_NAMES, max_size=2, unique=True),
            "minProperties": _COUNTS,
            "maxProperties": _COUNTS,
            "format": st.sampled_from(["date", "email", "uri"]),
        },
    )

    def with_inner(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
        part = inner | st.booleans()
        several = st.lists(part, min_size=1, max_size=3)
        parts = st.fixed_dictionaries(
            {},
            optional={
                "properties": st.dictionaries(_NAMES, part, max_size=3),
                "patternProperties": st.dictionaries(_PATTERNS, part, max_size=2),
                "additionalProperties": part,
                "propertyNames": part,
                "dependentRequired": st.dictionaries(
                    _NAMES, st.lists(_NAMES, max_size=2, unique=True), max_size=2
                ),
                "items": part,
                "prefixItems": several,
                "contains": part,
                "anyOf": several,
                "oneOf": several,
                "allOf": several,
                "not": part,
                "if": part,
                "then": part,
                "else": part,
            },
        )
        return st.builds(lambda one, other: one | other, plain, parts)

    return st.recursive(plain, with_inner, max_leaves=6)
