"""AnthropicProvider through the real SDK, against a local server that speaks Anthropic's wire."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from core.chat import (
    ChatRequest,
    ImagePart,
    JsonSchemaFormat,
    Message,
    OutputProgress,
    ToolCall,
    Usage,
    UsageReported,
)
from core.errors import InvalidRequest, Unavailable
from core.providers import AnthropicProvider, complete
from core.providers.wire_text import REPAIRED_TEXT
from core.telemetry.logs import traceparent
from tests.support.anthropic_server import (
    KEY,
    MODEL,
    AnthropicServer,
    Billed,
    Says,
    ToolUse,
    provider_for,
    sse,
)
from tests.support.providers import TRACE, WEATHER, drain
from tests.support.wire_server import Raw


def message_of(text: str, last_usage: object) -> list[bytes]:
    """The events of a short answer; ``last_usage`` is what its last report says."""
    message = {"model": MODEL, "usage": {"input_tokens": 1, "output_tokens": 1}}
    return [
        sse("message_start", {"message": message}),
        sse("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
        sse("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": text}}),
        sse("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": last_usage}),
        sse("message_stop", {}),
    ]


async def test_text_streams_with_usage_model_and_reason() -> None:
    async with AnthropicServer(Says("Paris", " it", " is", pings=3), api_key=KEY) as server:
        provider = provider_for(server)
        drained = await drain(provider, "What is the capital of France?", system="Be brief.", temperature=0.2)
        await provider.close()
    assert drained.text == "Paris it is"
    assert drained.ended.model == MODEL
    assert drained.ended.finish_reason == "stop"
    assert drained.ended.dropped == ()
    body = server.received[0].body
    assert body["temperature"] == 0.2
    assert body["max_tokens"] == 1024
    assert body["system"] == "Be brief."
    assert body["stream"] is True
    (billed,) = server.books
    assert (drained.usages[-1].fresh_input_tokens, drained.usages[-1].output_tokens) == (
        billed.input_tokens,
        3,
    )


async def test_usage_is_reported_before_the_first_text() -> None:
    async with AnthropicServer(Says("a", "b")) as server:
        drained = await drain(provider_for(server), "one two three")
    first = drained.events[0]
    assert isinstance(first, UsageReported)
    assert first.usage.fresh_input_tokens == 3


@pytest.mark.parametrize("counts", [{"input_tokens": 3}, {"input_tokens": 3, "output_tokens": None}])
async def test_a_report_that_leaves_the_output_out_is_not_the_final_bill(counts: dict[str, Any]) -> None:
    async with AnthropicServer(Raw(chunks=tuple(message_of("Hi", counts)))) as server:
        drained = await drain(provider_for(server), "hi")
    assert drained.ended.finish_reason == "stop"
    assert drained.usages[-1].fresh_input_tokens == 3
    assert not drained.collector.usage_final, "its output was never counted"


@pytest.mark.parametrize("name", ["future_kind", ""])
async def test_an_event_of_an_unknown_kind_means_nothing_whatever_its_fields(name: str) -> None:
    odd = {"type": "future_kind", "delta": "text", "content_block": [1], "message": 7, "usage": "none"}
    event = f"event: {name}\n" if name else ""
    said = message_of("Hi", {"output_tokens": 2})
    said.insert(2, f"{event}data: {json.dumps(odd)}\n\n".encode())
    async with AnthropicServer(Raw(chunks=tuple(said))) as server:
        drained = await drain(provider_for(server), "hi")
    assert drained.text == "Hi"
    assert drained.ended.finish_reason == "stop"


async def test_a_known_kind_with_fields_of_other_types_is_a_failure() -> None:
    said = message_of("Hi", {"output_tokens": 2})
    said.insert(2, sse("content_block_delta", {"index": 0, "delta": "text"}))
    async with AnthropicServer(Raw(chunks=tuple(said))) as server:
        drained = await drain(provider_for(server), "hi")
    assert type(drained.error) is Unavailable


async def test_cache_counts_are_disjoint_and_by_lifetime() -> None:
    usage = {
        "input_tokens": 11,
        "cache_read_input_tokens": 2000,
        "cache_creation_input_tokens": 700,
        "cache_creation": {"ephemeral_5m_input_tokens": 500, "ephemeral_1h_input_tokens": 200},
        "output_tokens": 1,
        "service_tier": "priority",
    }
    final = {
        "output_tokens": 42,
        "cache_creation_input_tokens": 700,
        "output_tokens_details": {"thinking_tokens": 30},
    }
    async with AnthropicServer(Says("ok", usage=usage, final_usage=final)) as server:
        drained = await drain(provider_for(server), "hi")
    assert drained.usages[-1] == Usage(
        fresh_input_tokens=11,
        cache_read_tokens=2000,
        cache_write_5m_tokens=500,
        cache_write_1h_tokens=200,
        output_tokens=42,
        thinking_tokens=30,
        service_tier="priority",
    )
    billed = server.books[0]
    assert billed == Billed(
        model=MODEL,
        input_tokens=11,
        cache_read_tokens=2000,
        cache_write_5m_tokens=500,
        cache_write_1h_tokens=200,
        output_tokens=42,
        finished=True,
    )


async def test_thinking_is_no_part_of_the_text() -> None:
    async with AnthropicServer(Says("42", thinking=("Let me", " see"))) as server:
        answer = await complete(provider_for(server), ChatRequest.from_prompt("6 x 7?"))
    assert answer.text == "42"
    assert answer.usage is not None
    assert answer.usage.output_tokens == 3


async def test_thinking_is_told_by_its_size_when_the_answer_breaks_off() -> None:
    async with AnthropicServer(Says("x", thinking=("Let me", " sée") * 50, cut_after=0)) as server:
        drained = await drain(provider_for(server), "6 x 7?")
    assert type(drained.error) is Unavailable
    assert drained.usages[-1].output_tokens == 1, "the wire tells the true count at the end only"
    assert drained.collector.hidden_output_bytes == 50 * len("Let me sée".encode())
    assert (drained.text, drained.collector.text) == ("", "")


@pytest.mark.parametrize(
    ("start", "deltas", "hidden_bytes"),
    [
        ({"type": "redacted_thinking", "data": "A" * 400}, [], 300),
        # A summary of 7 bytes, whose encrypted whole has 300.
        (
            {"type": "thinking", "thinking": "Well", "signature": ""},
            [
                {"type": "thinking_delta", "thinking": " so"},
                {"type": "signature_delta", "signature": "A" * 400},
            ],
            300,
        ),
        # All of it is shown: the short signature adds nothing.
        (
            {"type": "thinking", "thinking": "", "signature": ""},
            [
                {"type": "thinking_delta", "thinking": "t" * 500},
                {"type": "signature_delta", "signature": "A" * 400},
            ],
            500,
        ),
    ],
)
async def test_thinking_that_is_not_shown_counts_too(
    start: dict[str, Any], deltas: list[dict[str, Any]], hidden_bytes: int
) -> None:
    message = {"id": "m", "type": "message", "role": "assistant", "model": MODEL, "content": []}
    stream = Raw(
        chunks=(
            sse("message_start", {"message": {**message, "usage": {"input_tokens": 3, "output_tokens": 1}}}),
            sse("content_block_start", {"index": 0, "content_block": start}),
            *(sse("content_block_delta", {"index": 0, "delta": delta}) for delta in deltas),
        ),
        cut=True,
    )
    async with AnthropicServer(stream) as server:
        drained = await drain(provider_for(server), "6 x 7?")
    assert type(drained.error) is Unavailable
    assert drained.collector.hidden_output_bytes == hidden_bytes
    assert drained.text == ""


async def test_parallel_tool_calls_come_back_whole() -> None:
    tools = (
        ToolUse("weather", ('{"city": "Z', "ü", 'rich"}'), id="toolu_a"),
        ToolUse("weather", (), id="toolu_b"),
    )
    async with AnthropicServer(Says("Looking.", tools=tools)) as server:
        answer = await complete(provider_for(server), ChatRequest.from_prompt("weather?", tools=(WEATHER,)))
    assert answer.finish_reason == "tool_calls"
    assert answer.tool_calls == (
        ToolCall("toolu_a", "weather", '{"city": "Zürich"}'),
        ToolCall("toolu_b", "weather", "{}"),
    )
    assert server.received[0].body["tools"] == [
        {
            "name": "weather",
            "description": "The weather of a city",
            "input_schema": dict(WEATHER.parameters),
        }
    ]


async def test_truncated_tool_arguments_are_kept_as_sent_and_can_be_sent_back() -> None:
    cut = ToolUse("weather", ('{"city": "Zü',), id="toolu_a")
    async with AnthropicServer(Says(tools=(cut,), stop_reason="max_tokens")) as server:
        provider = provider_for(server)
        answer = await complete(provider, ChatRequest.from_prompt("weather?", tools=(WEATHER,)))
        assert answer.finish_reason == "length"
        assert answer.tool_calls[0].arguments_json == '{"city": "Zü'
        history = (
            Message(role="user", text="weather?"),
            Message(role="assistant", text="", tool_calls=answer.tool_calls),
            Message(role="tool", text="arguments were cut short", tool_call_id="toolu_a"),
        )
        drained = await drain(provider, ChatRequest(messages=history, tools=(WEATHER,)))
    assert drained.ended.finish_reason == "stop"
    assert server.received[1].body["messages"][1]["content"][0]["input"] == {"INVALID_JSON": '{"city": "Zü'}


async def test_results_of_parallel_calls_share_one_turn_with_what_follows() -> None:
    calls = (ToolCall("a", "weather", '{"city":"Bern"}'), ToolCall("b", "weather", ""))
    history = (
        Message(role="user", text="weather?"),
        Message(role="assistant", text="", tool_calls=calls),
        Message(role="tool", text="sunny", tool_call_id="a"),
        Message(role="tool", text="", tool_call_id="b"),
        Message(role="assistant", text=""),
        Message(role="user", text="so?"),
    )
    async with AnthropicServer() as server:
        drained = await drain(provider_for(server), ChatRequest(messages=history))
    assert drained.ended.finish_reason == "stop"
    turns = server.received[0].body["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "sunny"}]},
        {"type": "tool_result", "tool_use_id": "b"},
        {"type": "text", "text": "so?"},
    ]


async def test_images_and_schema_travel() -> None:
    schema = {
        "type": "object",
        "properties": {"age": {"type": "integer", "minimum": 3}, "of": {"type": "string"}},
    }
    message = Message(role="user", text="How old?", images=(ImagePart("image/png", "aGk="),))
    request = ChatRequest(messages=(message,), response_format=JsonSchemaFormat(schema=schema))
    async with AnthropicServer(Says('{"age": 4}')) as server:
        answer = await complete(provider_for(server), request)
    assert json.loads(answer.text) == {"age": 4}
    assert answer.dropped == ()
    body = server.received[0].body
    assert body["messages"][0]["content"][0] == {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "aGk="},
    }
    sent = body["output_config"]["format"]["schema"]
    assert sent["additionalProperties"] is False
    assert schema["properties"]["age"] == {"type": "integer", "minimum": 3}, (
        "the caller's schema is left alone"
    )


@pytest.mark.parametrize(
    ("model", "temperature", "sent", "dropped"),
    [
        ("claude-opus-5", 0.3, None, ("temperature",)),
        ("claude-haiku-5-5", 0.3, None, ("temperature",)),
        ("claude-zebra-9", 0.3, None, ("temperature",)),
        ("claude-haiku-4-5-20251001", 0.3, 0.3, ()),
        ("claude-sonnet-4-6", 1.7, 1.0, ("temperature above 1",)),
        ("claude-opus-5", None, None, ()),
    ],
)
async def test_a_temperature_goes_only_to_models_that_take_it(
    model: str, temperature: float | None, sent: float | None, dropped: tuple[str, ...]
) -> None:
    async with AnthropicServer() as server:
        drained = await drain(provider_for(server, model), "hi", temperature=temperature)
    assert drained.ended.dropped == dropped
    assert server.received[0].body.get("temperature") == sent


@pytest.mark.parametrize(
    ("model", "options", "sent", "dropped"),
    [
        ("claude-sonnet-4-6", {"top_p": 0.9}, {"top_p": 0.9}, ()),
        ("claude-sonnet-4-6", {"top_p": 0.9, "temperature": 0.3}, {"temperature": 0.3}, ("top_p",)),
        ("claude-opus-5", {"top_p": 0.9}, {}, ("top_p",)),
        (
            "claude-opus-5",
            {"stop": ("END", "\n")},
            {"stop_sequences": ["END"]},
            ("stop sequences of whitespace",),
        ),
        ("claude-sonnet-4-6", {"seed": 7}, {}, ("seed",)),
    ],
)
async def test_what_steers_the_words_goes_to_those_who_take_it_and_the_rest_is_told(
    model: str, options: dict[str, Any], sent: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    async with AnthropicServer() as server:
        drained = await drain(provider_for(server, model), "hi", **options)
    body, names = server.received[0].body, ("temperature", "top_p", "stop_sequences", "stop", "seed")
    assert {name: body[name] for name in names if name in body} == sent
    assert drained.ended.dropped == dropped


async def test_max_tokens_is_clamped_to_what_the_model_gives() -> None:
    async with AnthropicServer() as server:
        provider = provider_for(server, "claude-3-opus-tuned")
        request = ChatRequest.from_prompt(
            "hi", max_tokens=50_000, response_format=JsonSchemaFormat(schema={"type": "object"})
        )
        drained = await drain(provider, request)
    assert server.received[0].body["max_tokens"] == 4096
    assert drained.ended.dropped == ("max_tokens above 4096", "response_format")


async def test_check_learns_the_limits_and_lists_models() -> None:
    async with AnthropicServer(api_key=KEY) as server:
        provider = provider_for(server, "claude-opus-5")
        checked = await provider.check()
        drained = await drain(provider, "hi", max_tokens=999_999, model="claude-haiku-4-5-20251001")
    assert MODEL in checked.models
    assert checked.latency_ms > 0
    assert provider.capabilities.context_tokens == 1_000_000
    assert provider.capabilities.max_output_tokens == 128_000
    body = server.received[-1].body
    assert (body["model"], body["max_tokens"]) == ("claude-haiku-4-5-20251001", 64_000)
    assert drained.ended.model == "claude-haiku-4-5-20251001"


async def test_count_tokens_is_the_servers_own() -> None:
    async with AnthropicServer() as server:
        request = ChatRequest.from_prompt("one two three", system="four five", temperature=0.1, max_tokens=7)
        assert await provider_for(server).count_tokens(request) == 5
    assert "max_tokens" not in server.received[0].body


async def test_a_hint_of_another_side_leaves_the_model_alone() -> None:
    async with AnthropicServer() as server:
        await drain(provider_for(server), "hi", model="qwen3-32b")
    assert server.received[0].body["model"] == MODEL


async def test_pings_come_through_as_signs_of_life() -> None:
    async with AnthropicServer(Says("Par", "is", pings=3)) as server:
        drained = await drain(provider_for(server), "Capital?")
    assert drained.events.count(OutputProgress(0)) == 3
    assert (drained.text, drained.collector.hidden_output_bytes) == ("Paris", 0)


async def test_the_requests_id_travels_with_it() -> None:
    token = traceparent.set(TRACE)
    try:
        async with AnthropicServer() as server:
            provider, request = provider_for(server), ChatRequest.from_prompt("hi")
            await drain(provider, request)
            await provider.count_tokens(request)
    finally:
        traceparent.reset(token)
    assert [received.path for received in server.received] == ["/v1/messages", "/v1/messages/count_tokens"]
    for received in server.received:
        assert received.headers["x-correlation-id"] == request.correlation_id
        assert received.headers["traceparent"] == TRACE


@pytest.mark.parametrize("chosen", ["two\r\nX-Evil: 1", " ü \ud800", "x" * 5000, ""])
async def test_an_id_that_no_header_may_hold_is_sent_all_the_same(chosen: str) -> None:
    async with AnthropicServer() as server:
        drained = await drain(provider_for(server), ChatRequest.from_prompt("hi", correlation_id=chosen))
    assert drained.text == "Hello there"
    (received,) = server.received
    assert "x-evil" not in received.headers
    assert "traceparent" not in received.headers
    assert len(received.headers["x-correlation-id"]) <= 256


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("a_later_invention", "unknown"),
    ],
)
async def test_stop_reasons(reason: str, finish: str) -> None:
    async with AnthropicServer(Says("x", stop_reason=reason)) as server:
        drained = await drain(provider_for(server), "hi")
    assert drained.ended.finish_reason == finish


async def test_a_base_url_may_end_in_v1() -> None:
    async with AnthropicServer() as server:
        drained = await drain(AnthropicProvider(KEY, f"{server.url}/v1/", MODEL), "hi")
    assert drained.text == "Hello there"


async def test_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "ANTHROPIC_API_KEY": "sk-ant-environment",
        "ANTHROPIC_AUTH_TOKEN": "token-environment",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
        "ANTHROPIC_CUSTOM_HEADERS": "Authorization: Bearer other\nX-Leak: 1",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    async with AnthropicServer(api_key=KEY) as server:
        drained = await drain(provider_for(server), "hi")
    assert drained.error is None
    headers = server.received[0].headers
    assert headers["authorization"] == f"Bearer {KEY}"
    assert "x-leak" not in headers
    assert "environment" not in str(headers)


async def test_broken_unicode_is_repaired_and_said() -> None:
    messages = (Message(role="user", text="a\ud83d b \ud83d\ude00 c \udc00"),)
    async with AnthropicServer() as server:
        drained = await drain(provider_for(server), ChatRequest(messages=messages, system="\udfff"))
        untouched = await drain(provider_for(server), "emoji \U0001f600 stay")
    assert server.received[0].body["messages"][0]["content"][0]["text"] == "a\ufffd b \U0001f600 c \ufffd"
    assert server.received[0].body["system"] == "\ufffd"
    assert drained.ended.dropped == (REPAIRED_TEXT,)
    assert untouched.ended.dropped == ()


@pytest.mark.parametrize(
    "bad",
    [
        {"messages": ()},
        {"messages": (Message(role="user", text=" \n"),)},
        {"max_tokens": 0},
        {"temperature": -0.1},
        {"temperature": float("nan")},
    ],
)
async def test_requests_nobody_could_serve_make_no_call(bad: dict[str, Any]) -> None:
    async with AnthropicServer() as server:
        request = replace(ChatRequest.from_prompt("hi"), **bad)
        drained = await drain(provider_for(server), request)
    assert type(drained.error) is InvalidRequest
    assert drained.error.hint
    assert server.received == []


async def test_two_streams_at_once_do_not_mix() -> None:
    async with AnthropicServer(Says(*"aaaa"), Says(*"bbbb")) as server:
        provider = provider_for(server)
        both = await asyncio.gather(drain(provider, "one"), drain(provider, "two"))
    assert sorted(drained.text for drained in both) == ["aaaa", "bbbb"]


async def test_a_schema_that_the_sdk_cannot_adapt_is_the_callers_fault() -> None:
    schema = {"type": "object", "properties": {"x": {}}, "additionalProperties": False}
    request = ChatRequest.from_prompt("hi", response_format=JsonSchemaFormat(schema=schema), max_tokens=10)
    async with AnthropicServer() as server:
        provider = AnthropicProvider(KEY, server.url, MODEL)
        error = (await drain(provider, request)).error
        assert isinstance(error, InvalidRequest)
        assert "JSON schema" in error.message
        await provider.close()
        assert server.received == []
