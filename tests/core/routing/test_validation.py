"""Whatever a caller passes as a schema or a tool: it can be sent, or it is refused in words and costs nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.chat import ChatRequest, JsonSchemaFormat, Tool
from core.errors import InvalidRequest
from core.providers.wire_text import wire_safe
from core.routing.complexity import read_signals
from core.routing.validation import validated


def nested(key: str, depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {key: schema}
    return schema


def circular() -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    schema["not"] = schema
    return schema


MALFORMED: list[Any] = [
    None,
    [],
    {"type": "no such type"},
    {"pattern": "("},
    {"pattern": "a{99999999999999999999}"},
    {"$schema": ["https://json-schema.org/draft/2020-12/schema"]},
    {"$schema": {}},
    {"default": {1, 2}},
    {"default": b"bytes"},
    {"default": float("nan")},
    {"properties": {("a", "b"): {}}},
    {"maximum": 10**5000},
    nested("not", 150),
    nested("not", 3000),
    nested("const", 600),
    nested("const", 100_000),
    circular(),
]


@pytest.mark.parametrize("schema", MALFORMED, ids=map(str, range(len(MALFORMED))))
def test_a_malformed_schema_is_refused_wherever_it_stands(schema: Any) -> None:
    for request in (
        ChatRequest.from_prompt("hi", response_format=JsonSchemaFormat(schema=schema)),
        ChatRequest.from_prompt("hi", tools=(Tool(name="look", description="", parameters=schema),)),
    ):
        with pytest.raises(InvalidRequest) as caught:
            validated(request)
        assert caught.value.hint
        assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"},
        {"$schema": "https://example.com/a-later-invention", "type": "object"},
        {"$ref": "#/definitions/elsewhere"},
        nested("not", 50),
    ],
    ids=repr,
)
def test_a_schema_that_can_be_sent_is_taken(schema: dict[str, Any]) -> None:
    validated(ChatRequest.from_prompt("hi", response_format=JsonSchemaFormat(schema=schema)))


WORDS = st.sampled_from(
    ["type", "properties", "items", "$schema", "$ref", "$id", "enum", "pattern", "required", "not", "default"]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(alphabet=st.characters())
    | st.binary()
    | st.just("object"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(WORDS | st.text() | st.integers() | st.tuples(st.integers()), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES | st.dictionaries(WORDS, VALUES, max_size=4))
def test_any_schema_is_sent_or_refused_in_words(schema: Any) -> None:
    tool = Tool(name="look", description="", parameters=schema)
    request = ChatRequest.from_prompt("hi", response_format=JsonSchemaFormat(schema=schema), tools=(tool,))
    try:
        validated(request)
    except InvalidRequest as error:
        assert error.message
        return
    assert read_signals(request, default_max_tokens=1).has_schema
    safe, _ = wire_safe(request)
    assert safe.response_format is not None
    json.dumps([safe.response_format.schema, safe.tools[0].parameters], ensure_ascii=False).encode()
