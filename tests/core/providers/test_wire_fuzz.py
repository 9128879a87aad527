"""However the bytes are cut, mixed with pings or truncated, the events say the same or end in a typed error."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.chat import ChatRequest, Message, TextDelta, UsageReported
from core.errors import Unavailable
from core.providers import AnthropicProvider, VLLMProvider
from core.providers.wire_text import valid_json, valid_text, wire_safe
from tests.support.anthropic_server import AnthropicServer, sse
from tests.support.openai_server import OpenAIServer, chunk, data
from tests.support.providers import Drained, anthropic_usage, drain, openai_usage
from tests.support.wire_server import Raw

RELAXED = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TEXT = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=12)
ANY_TEXT = st.text(alphabet=st.characters(), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)


def split(stream: bytes, cuts: list[int]) -> tuple[bytes, ...]:
    edges = [0, *sorted({cut % (len(stream) + 1) for cut in cuts}), len(stream)]
    return tuple(stream[start:end] for start, end in pairwise(edges) if end > start)


def anthropic_stream(pieces: list[str], arguments: list[str], pings: list[int]) -> bytes:
    usage = {"input_tokens": 5, "output_tokens": 1}
    message = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [],
        "usage": usage,
    }
    events = [sse("message_start", {"message": message})]
    events.append(sse("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}))
    for piece in pieces:
        delta = {"type": "text_delta", "text": piece}
        events.append(sse("content_block_delta", {"index": 0, "delta": delta}))
    events.append(sse("content_block_stop", {"index": 0}))
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    events.append(sse("content_block_start", {"index": 1, "content_block": block}))
    for piece in arguments:
        delta = {"type": "input_json_delta", "partial_json": piece}
        events.append(sse("content_block_delta", {"index": 1, "delta": delta}))
    delta = {"stop_reason": "max_tokens", "stop_sequence": None}
    events.append(sse("message_delta", {"delta": delta, "usage": {"output_tokens": 9}}))
    events.append(sse("message_stop", {}))
    for position in pings:
        events.insert(position % (len(events) + 1), sse("ping", {}))
    return b"".join(events)


def openai_stream(pieces: list[str], arguments: list[str]) -> bytes:
    calls = [
        {
            "tool_calls": [
                {"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": ""}}
            ]
        }
    ]
    calls += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in arguments]
    chunks = [data(chunk("tiny", {"content": piece})) for piece in pieces]
    chunks += [data(chunk("tiny", delta)) for delta in calls]
    chunks.append(data(chunk("tiny", {}, finish="length")))
    usage = {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}
    return b"".join([*chunks, data(chunk("tiny", usage=usage)), data("[DONE]")])


async def through_anthropic(*replies: Raw) -> list[Drained]:
    async with AnthropicServer(*replies) as server:
        provider = AnthropicProvider("key", server.url, "claude-x")
        drained = [await drain(provider, "hi") for _ in replies]
        await provider.close()
    return drained


async def through_vllm(*replies: Raw) -> list[Drained]:
    async with OpenAIServer(*replies) as server:
        provider = VLLMProvider(server.base_url, "tiny")
        drained = [await drain(provider, "hi") for _ in replies]
        await provider.close()
    return drained


@RELAXED
@given(
    pieces=st.lists(TEXT, max_size=6),
    arguments=st.lists(TEXT, max_size=4),
    cuts=st.lists(st.integers(0, 10_000), max_size=30),
    pings=st.lists(st.integers(0, 20), max_size=3),
)
def test_chunk_boundaries_do_not_matter(
    pieces: list[str], arguments: list[str], cuts: list[int], pings: list[int]
) -> None:
    wire = anthropic_stream(pieces, arguments, pings)
    (drained,) = asyncio.run(through_anthropic(Raw(chunks=split(wire, cuts))))
    wire = openai_stream(pieces, arguments)
    (local,) = asyncio.run(through_vllm(Raw(chunks=split(wire, cuts))))
    for one in (drained, local):
        assert one.error is None
        assert one.text == "".join(pieces)
        (call,) = one.collector.tool_calls
        assert (call.id, call.name, call.arguments_json) == ("t", "f", "".join(arguments))
        assert one.ended.finish_reason == "length"
        assert (one.usages[-1].input_tokens, one.usages[-1].output_tokens) == (5, 9)


@RELAXED
@given(
    pieces=st.lists(TEXT.filter(bool), min_size=1, max_size=5),
    end=st.integers(0, 10_000),
    cut=st.booleans(),
)
def test_a_stream_broken_anywhere_is_a_prefix_and_a_typed_error(
    pieces: list[str], end: int, cut: bool
) -> None:
    wire = anthropic_stream(pieces, [], [])
    # The end is the stop reason: whatever is missing behind it changes nothing.
    body = wire[: end % wire.index(b"event: message_delta")]
    (drained,) = asyncio.run(through_anthropic(Raw(chunks=(body,), cut=cut)))
    assert type(drained.error) is Unavailable
    assert "".join(pieces).startswith(drained.text)
    if b"content_block_start" in body and not cut:
        assert isinstance(drained.events[0], UsageReported)
    wire = openai_stream(pieces, [])
    body = wire[: end % wire.index(b'"finish_reason": "length"')]
    (local,) = asyncio.run(through_vllm(Raw(chunks=(body,), cut=cut)))
    assert type(local.error) is Unavailable
    assert "".join(pieces).startswith(local.text)


@RELAXED
@given(
    garbage=st.lists(JSON, min_size=1, max_size=4),
    kind=st.sampled_from(
        [
            "message_start",
            "message_delta",
            "content_block_start",
            "content_block_delta",
            "message_stop",
            "error",
            "other",
        ]
    ),
)
def test_events_of_another_shape_never_escape_the_taxonomy(garbage: list[Any], kind: str) -> None:
    bodies = [valid_json(value) for value in garbage]
    wire = b"".join(
        sse(kind, body) if isinstance(body, dict) else f"event: {kind}\ndata: {json.dumps(body)}\n\n".encode()
        for body in bodies
    )
    (drained,) = asyncio.run(through_anthropic(Raw(chunks=(wire,))))
    assert drained.error is not None or drained.ended is not None
    wire = b"".join(data(chunk("tiny") | {"choices": body, "usage": body}) for body in bodies)
    (local,) = asyncio.run(through_vllm(Raw(chunks=(wire,))))
    assert local.error is not None


@given(raw=JSON, before=JSON)
def test_usage_of_any_shape_is_counts_or_nothing(raw: Any, before: Any) -> None:
    for usage in (anthropic_usage(before, raw), openai_usage(before, raw)):
        if usage is not None:
            assert usage.total_tokens >= 0
            assert usage.fresh_input_tokens >= 0


@given(
    fresh=st.integers(1, 10**7),
    read=st.integers(0, 10**7),
    five=st.integers(0, 10**7),
    hour=st.integers(0, 10**7),
    output=st.integers(1, 10**6),
)
def test_a_final_report_never_changes_what_was_billed_as_input(
    fresh: int, read: int, five: int, hour: int, output: int
) -> None:
    started = {
        "input_tokens": fresh,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": five + hour,
        "cache_creation": {"ephemeral_5m_input_tokens": five, "ephemeral_1h_input_tokens": hour},
        "output_tokens": 1,
    }
    ended = anthropic_usage(
        started,
        {
            "input_tokens": fresh,
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": five + hour,
            "output_tokens": output,
        },
    )
    assert ended is not None
    assert (ended.cache_write_5m_tokens, ended.cache_write_1h_tokens) == (five, hour)
    assert ended.total_tokens == fresh + read + five + hour + output


@given(value=JSON)
def test_repaired_text_always_has_a_utf8_form(value: Any) -> None:
    json.dumps(valid_json(value), ensure_ascii=False).encode("utf-8")


@given(text=ANY_TEXT)
def test_only_broken_text_is_repaired_and_by_the_rule(text: str) -> None:
    repaired = valid_text(text)
    assert valid_text(repaired) == repaired
    request = ChatRequest(messages=(Message(role="user", text=f"x{text}"),))
    safe, dropped = wire_safe(request)
    assert repaired == by_hand(text)
    assert (safe is request) is (repaired == text)
    assert bool(dropped) is (repaired != text)


def by_hand(text: str) -> str:
    """The documented rule, one character at a time."""
    out: list[str] = []
    for character in text:
        is_low = "\udc00" <= character <= "\udfff"
        if is_low and out and "\ud800" <= out[-1] <= "\udbff":
            out[-1] = chr(0x10000 + (ord(out[-1]) - 0xD800) * 0x400 + ord(character) - 0xDC00)
        else:
            out.append(character)
    return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in out)


def test_a_text_delta_is_one_event_each() -> None:
    wire = anthropic_stream(["a", "", "b"], [], [])
    (drained,) = asyncio.run(through_anthropic(Raw(chunks=(wire,))))
    assert [event.text for event in drained.events if isinstance(event, TextDelta)] == ["a", "b"]
