"""JSON schemas on their way through the SDK's own rewriting: what it stumbles over is no outage."""

from __future__ import annotations

import json

import pytest
from anthropic import transform_schema
from hypothesis import assume, given
from hypothesis import strategies as st

from core.chat import ChatRequest, JsonSchemaFormat
from core.providers.anthropic_schema import can_be_enforced
from core.providers.anthropic_wire import anthropic_payload, claude_family, count_arguments
from core.routing.complexity import read_signals

MODEL = "claude-sonnet-4-6-20260501"


def sent(schema: dict[str, object]) -> dict[str, object]:
    request = ChatRequest.from_prompt("hi", response_format=JsonSchemaFormat(schema=schema))
    arguments = count_arguments(request, MODEL, claude_family(MODEL), adapt_schema=transform_schema)
    return arguments["output_config"]["format"]["schema"]


def test_a_property_of_two_types_is_either_of_them() -> None:
    schema = sent(
        {
            "type": "object",
            "properties": {"name": {"type": ["string", "null"], "description": "who"}},
            "required": ["name"],
        }
    )
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert properties["name"] == {"description": "who", "anyOf": [{"type": "string"}, {"type": "null"}]}


def test_a_property_that_is_called_type_stays_one() -> None:
    schema = sent({"type": "object", "properties": {"type": {"type": "string"}}, "required": ["type"]})
    assert schema["properties"] == {"type": {"type": "string"}}


def nested(levels: int, types: list[str]) -> dict[str, object]:
    schema: dict[str, object] = {"type": "string"}
    for _ in range(levels):
        schema = {
            "type": types,
            "properties": {"a": schema},
            "required": ["a"],
            "additionalProperties": False,
        }
    return {"type": "object", "properties": {"a": schema}, "required": ["a"], "additionalProperties": False}


def test_a_schema_does_not_double_with_each_level_that_may_be_null() -> None:
    schema = nested(60, ["object", "null"])  # doubled at each level, it would be larger than any machine
    assert len(json.dumps(sent(schema))) < 3 * len(json.dumps(schema))


def test_each_type_keeps_what_is_said_of_it() -> None:
    schema = sent(
        {
            "type": "object",
            "properties": {
                "a": {"type": ["array", "string"], "items": {"type": "integer"}, "format": "date"},
                "b": {"type": ["string", "null"], "enum": ["x", None, 3]},
                "c": {"type": ["object", "null"], "oneOf": [{"type": "null"}]},
                "d": {"type": ["number", "null"], "enum": [{}, None], "title": "D"},
            },
        }
    )
    assert schema["properties"] == {
        "a": {
            "anyOf": [
                {"type": "array", "items": {"type": "integer"}},
                {"type": "string", "format": "date"},
            ]
        },
        "b": {"enum": ["x", None]},
        "c": {"anyOf": [{"type": "null"}]},
        "d": {"enum": [None], "title": "D"},
    }


TEXT = {"type": "string"}
NAMED = {"type": "object", "properties": {"a": TEXT}}


@pytest.mark.parametrize(
    ("schema", "possible"),
    [
        (TEXT, True),
        (NAMED, True),
        ({**NAMED, "additionalProperties": True}, True),
        ({"type": "object", "additionalProperties": False}, True),
        ({"allOf": [NAMED]}, True),
        ({"anyOf": [NAMED, {"type": "null"}]}, True),
        ({"type": "object", "properties": {"$ref": TEXT, "patternProperties": TEXT}}, True),
        ({"enum": ["object"], "description": "{}"}, True),
        ({"$ref": "#/$defs/x", "$defs": {"x": NAMED}}, True),
        (
            {
                "$ref": "#/$defs/x",
                "$defs": {"x": {"type": "array", "items": {"$ref": "#/$defs/y"}}, "y": NAMED},
            },
            True,
        ),
        # Closed, an object whose fields have no names is the empty one.
        ({"type": "object"}, False),
        ({"type": "object", "properties": {}}, False),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, False),
        ({**NAMED, "additionalProperties": {"type": "integer"}}, False),
        ({**NAMED, "patternProperties": {"^x": TEXT}}, False),
        ({"type": ["object", "null"], "additionalProperties": TEXT}, False),
        ({"type": "array", "items": {"type": "object"}}, False),
        ({"type": "array", "prefixItems": [{"type": "object"}]}, False),
        ({**NAMED, "required": ["b"]}, False),
        ({**NAMED, "minProperties": 2}, False),
        # Closed one by one, no object is all of them.
        ({"allOf": [NAMED, {"type": "object", "properties": {"b": TEXT}}]}, False),
        ({**NAMED, "anyOf": [{"type": "object", "properties": {"b": TEXT}}]}, False),
        # The API takes definitions under this name only, and none that come back to themselves.
        ({"$ref": "#/definitions/x", "definitions": {"x": NAMED}}, False),
        ({"$ref": "#/$defs/nowhere"}, False),
        ({"type": "array", "items": {"$ref": "#"}}, False),
        ({"$defs": {"x": {"type": "array", "items": {"$ref": "#/$defs/x"}}}, "$ref": "#/$defs/x"}, False),
        (
            {"$defs": {"x": {"anyOf": [{"$ref": "#/$defs/y"}, TEXT]}, "y": {"$ref": "#/$defs/x"}}, **NAMED},
            False,
        ),
    ],
)
def test_what_the_api_would_make_another_schema_is_not_given_to_it(
    schema: dict[str, object], possible: bool
) -> None:
    assert can_be_enforced(schema) is possible
    request = ChatRequest.from_prompt("hi", response_format=JsonSchemaFormat(schema=schema))
    payload = anthropic_payload(
        request, MODEL, claude_family(MODEL), max_output_tokens=None, adapt_schema=transform_schema
    )
    assert ("output_config" in payload.body) is possible
    assert payload.dropped == (() if possible else ("response_format",))


@given(
    st.recursive(
        st.fixed_dictionaries({"type": st.sampled_from(["string", "integer", ["string", "null"]])}),
        lambda inner: st.one_of(
            st.fixed_dictionaries(
                {
                    "type": st.sampled_from(["object", ["object", "null"], ["null", "array", "object"]]),
                    "properties": st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3),
                    "items": inner,
                    "minItems": st.integers(0, 5),
                }
            ),
            st.fixed_dictionaries({"type": st.just("array"), "items": inner}),
            st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)}),
        ),
        max_leaves=12,
    )
)
def test_the_hold_covers_what_is_sent(schema: dict[str, object]) -> None:
    assume(can_be_enforced(schema))
    request = ChatRequest.from_prompt("hi", response_format=JsonSchemaFormat(schema=schema))
    bound = read_signals(request, default_max_tokens=1).input_tokens_bound
    assert len(json.dumps(sent(schema), ensure_ascii=False)) <= bound


@pytest.mark.parametrize(
    ("types", "offered", "possible"),
    [
        (["boolean", "null"], [True, 1, 0, "true", None], [True, None]),
        (["integer", "null"], [1, 2.0, 2.5, True, "1"], [1, 2.0]),
        (["number", "null"], [1, 2.5, False, "2"], [1, 2.5]),
        (["string", "integer"], ["x", 3, None, False], ["x", 3]),
        (["string", "array"], ["x", 3], ["x"]),
        (["string", "object"], ["x", None], ["x"]),
        (["string", "a type of tomorrow"], ["x", 3], ["x", 3]),
    ],
)
def test_of_an_enum_only_what_one_of_the_types_allows_is_left(
    types: list[str], offered: list[object], possible: list[object]
) -> None:
    schema = sent({"type": "object", "properties": {"a": {"type": types, "enum": offered}}})
    assert schema["properties"] == {"a": {"enum": possible}}


@pytest.mark.parametrize(("types", "value"), [(["array", "null"], [1]), (["object", "null"], {"b": 1})])
def test_an_enum_of_lists_or_objects_keeps_its_types(types: list[str], value: object) -> None:
    """The SDK takes a value of many parts only beside a type."""
    schema = sent({"type": "object", "properties": {"a": {"type": types, "enum": [value]}}})
    assert [part["type"] for part in schema["properties"]["a"]["anyOf"]] == types


def test_a_constant_needs_no_types_beside_it() -> None:
    schema = sent({"type": "object", "properties": {"a": {"type": ["string", "null"], "const": "x"}}})
    assert schema["properties"] == {"a": {"const": "x"}}
