"""Whatever a caller passes as a schema or a tool: it can be sent, or it is refused in words and costs nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.chat import ChatRequest, JsonSchemaFormat, Message, Tool
from core.errors import InvalidRequest
from core.providers.wire_text import wire_safe
from core.routing.complexity import read_signals
from core.routing.validation import validated
from tests.support.two_sides import two_sides


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
    {"$ref": "#/definitions/elsewhere"},
    {"properties": {"a": {"items": {"$ref": "https://example.com/elsewhere.json"}}}},
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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"force": "cloud"}, "force is 'cloud'"),
        ({"max_tokens": "5"}, "max_tokens is '5'"),
        ({"max_tokens": True}, "max_tokens is True"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"temperature": "hot"}, "temperature is 'hot'"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0}, "top_p is 0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"stop": "END"}, "stop is 'END'"),
        ({"stop": ("END", "")}, "A stop sequence is ''"),
        ({"stop": ("x",) * 17}, "There are 17 stop sequences"),
        ({"deadline_s": -1}, "deadline_s is -1"),
        ({"deadline_s": "soon"}, "deadline_s is 'soon'"),
        ({"idempotency_key": " "}, "idempotency key is empty"),
    ],
)
async def test_what_no_request_can_mean_is_the_callers_mistake_and_has_words(
    home: Path, options: dict[str, Any], said: str
) -> None:
    async with two_sides(home) as sides:
        with pytest.raises(InvalidRequest, match=re.escape(said)):
            await sides.core.ask("hi", **options)
        with pytest.raises(InvalidRequest, match=re.escape(said)):
            await sides.core.decide(ChatRequest.from_prompt("hi", **options))


def test_a_role_that_there_is_none_of_is_refused() -> None:
    message: Any = Message(role=cast("Any", "system"), text="Be kind.")
    with pytest.raises(InvalidRequest, match="role is 'system'"):
        validated(ChatRequest(messages=(message,)))


def test_a_prompt_that_no_wire_takes_is_refused_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.routing.validation.MAX_PROMPT_BYTES", 1_000)
    assert validated(ChatRequest.from_prompt("a" * 1_000))
    with pytest.raises(InvalidRequest, match="more than 1,000 characters") as caught:
        validated(ChatRequest(messages=(Message(role="user", text="a" * 501),) * 2))
    assert "nothing was sent" in caught.value.hint
