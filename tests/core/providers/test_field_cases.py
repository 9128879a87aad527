"""What real servers sent and clients read wrongly: each case of ``tests/data/field`` through the real providers.

A case stands for its whole kind; its neighbours (the other wire, other fields) stand beside it here.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from core.chat import AnswerEnded, OutputProgress, TextDelta, ToolCall
from core.errors import (
    ContentRefused,
    ContextTooLong,
    CreditExhausted,
    ModelNotFound,
    Overloaded,
    SignalboxError,
    Unavailable,
)
from core.providers import AnthropicProvider, VLLMProvider
from tests.support.anthropic_server import KEY, MODEL, AnthropicServer
from tests.support.anthropic_server import sse as anthropic_event
from tests.support.field_case import field_case
from tests.support.openai_server import OpenAIServer, chunk, data
from tests.support.providers import Drained, drain
from tests.support.wire_server import Raw

OPENAI_ANSWERS = (
    "00-base-openai",
    "03a-content-list",
    "03c-content-list-one",
    "04e-openai-nodone-open",
    "04g-openai-done-cut",
    "05a-openai-whole-json",
    "07j-openai-empty-data",
    "19a-empty-finish-then-stop",
)
ANTHROPIC_ANSWERS = (
    "00-base-anthropic",
    "04a-stop-then-open",
    "04c-control",
    "07a-no-event-lines",
    "07c-event-empty-data",
)


async def through_vllm(name: str) -> Drained:
    async with field_case(name) as case:
        provider = VLLMProvider(f"{case.url}/v1", "tiny")
        drained = await asyncio.wait_for(drain(provider, "Capital of France?"), 20)
        await provider.close()
    return drained


async def through_anthropic(name: str) -> Drained:
    async with field_case(name) as case:
        provider = AnthropicProvider(KEY, case.url, MODEL)
        drained = await asyncio.wait_for(drain(provider, "Capital of France?"), 20)
        await provider.close()
    return drained


async def said_by_vllm(*bodies: bytes) -> list[Drained]:
    async with OpenAIServer(*(Raw(chunks=(body,)) for body in bodies)) as server:
        provider = VLLMProvider(server.base_url, "tiny")
        drained = [await drain(provider, "hi") for _ in bodies]
        await provider.close()
    return drained


async def said_by_anthropic(*bodies: bytes) -> list[Drained]:
    async with AnthropicServer(*(Raw(chunks=(body,)) for body in bodies)) as server:
        provider = AnthropicProvider(KEY, server.url, MODEL)
        drained = [await drain(provider, "hi") for _ in bodies]
        await provider.close()
    return drained


@pytest.mark.parametrize("name", OPENAI_ANSWERS)
async def test_an_answer_of_the_openai_wire_is_whole(name: str) -> None:
    drained = await through_vllm(name)
    assert drained.text == "Paris."
    assert drained.ended.finish_reason == "stop"
    assert (drained.usages[-1].input_tokens, drained.usages[-1].output_tokens) == (7, 3)


@pytest.mark.parametrize("name", ANTHROPIC_ANSWERS)
async def test_an_answer_of_anthropics_wire_is_whole(name: str) -> None:
    drained = await through_anthropic(name)
    assert drained.text == "Paris."
    assert drained.ended.finish_reason == "stop"
    assert (drained.usages[-1].input_tokens, drained.usages[-1].output_tokens) == (20, 5)


A = ToolCall("call_a", "read_file", '{"path": "a.txt"}')
B = ToolCall("call_b", "read_file", '{"path": "b.txt"}')


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("02a-same-index", (A, B)),
        ("02c-control", (A, B)),
        ("02d-no-index-one-chunk", (A, B)),
        ("02e-same-index-two-tools", (A, ToolCall("call_b", "list_dir", '{"path": "/tmp"}'))),
        ("02g-fragments-no-index", (A, B)),
    ],
)
async def test_parallel_tool_calls_are_told_apart(name: str, calls: tuple[ToolCall, ...]) -> None:
    assert (await through_vllm(name)).collector.tool_calls == calls


def pieces(*calls: dict[str, Any]) -> bytes:
    chunks = [data(chunk("tiny", {"tool_calls": [call]})) for call in calls]
    return b"".join([*chunks, data(chunk("tiny", {}, finish="tool_calls")), data("[DONE]")])


def piece(arguments: str, name: str | None = None, **fields: Any) -> dict[str, Any]:
    function = {"arguments": arguments} | ({} if name is None else {"name": name})
    return {"type": "function", "function": function, **fields}


@pytest.mark.parametrize(
    ("sent", "calls"),
    [
        # Old vLLM: each piece has an id of its own, the name comes once.
        ((piece('{"a"', "f", index=0, id="x1"), piece(": 1}", index=0, id="x2")), [("x1", "f", '{"a": 1}')]),
        # Each piece says id and name again.
        (
            (piece('{"a"', "f", index=0, id="x"), piece(": 1}", "f", index=0, id="x")),
            [("x", "f", '{"a": 1}')],
        ),
        # No ids at all; a name after whole arguments begins a call, one inside of them does not.
        (
            (piece("{}", "f", index=0), piece("{}", "g", index=0)),
            [("call_0", "f", "{}"), ("call_1", "g", "{}")],
        ),
        ((piece('{"a"', "f", index=0), piece(": 1}", "f", index=0)), [("call_0", "f", '{"a": 1}')]),
        ((piece("{}", "f", index=0), piece("", "f", index=0)), [("call_0", "f", "{}")]),
        # Brackets and quotes in a text, escaped or cut anywhere, end nothing.
        (
            (
                piece('{"a": "}\\', "f", index=0),
                piece('"}\\\\\\', "f", index=0),
                piece('"}", "b": "\\\\"}', "f", index=0),
                piece("{}", "f", index=0),
            ),
            [("call_0", "f", '{"a": "}\\"}\\\\\\"}", "b": "\\\\"}'), ("call_1", "f", "{}")],
        ),
        # No index: what has neither id nor name belongs to the newest call.
        (
            (piece("{", "f", id="x"), piece("}"), piece("{", "f", id="y"), piece("}")),
            [("x", "f", "{}"), ("y", "f", "{}")],
        ),
        # No index, and the pieces of two calls take turns.
        (
            (piece("{", "f", id="x"), piece("[", "g", id="y"), piece("}", id="x"), piece("]", id="y")),
            [("x", "f", "{}"), ("y", "g", "[]")],
        ),
        (
            ({"index": 0, "id": "x", "function": {"name": "f", "arguments": {"a": 1}}},),
            [("x", "f", '{"a": 1}')],
        ),
    ],
)
async def test_pieces_of_tool_calls_find_their_call(
    sent: tuple[dict[str, Any], ...], calls: list[tuple[str, str, str]]
) -> None:
    (drained,) = await said_by_vllm(pieces(*sent))
    found = [(call.id, call.name, call.arguments_json) for call in drained.collector.tool_calls]
    assert found == calls


async def test_parts_that_are_no_text_are_told_by_their_size() -> None:
    drained = await through_vllm("03a-content-list")
    hidden = [event.hidden_bytes for event in drained.events if isinstance(event, OutputProgress)]
    assert hidden == [len("The user wants a capital.")]


@pytest.mark.parametrize(
    ("name", "end"), [("03f-reasoning-only", "stop"), ("03h-reasoning-length", "length")]
)
async def test_an_answer_of_nothing_but_thinking_is_an_empty_one_that_was_counted(
    name: str, end: str
) -> None:
    drained = await through_vllm(name)
    assert (drained.text, drained.ended.finish_reason) == ("", end)
    assert drained.collector.hidden_output_bytes == len("Thinking...more")
    assert drained.usages[-1].output_tokens == 3


@pytest.mark.parametrize(
    ("name", "model"),
    [("26a-embedding-first", "qwen2.5-7b-instruct"), ("26d-models-ollama-style", "llama3:latest")],
)
async def test_without_a_model_the_first_that_can_chat_is_asked(name: str, model: str) -> None:
    async with field_case(name) as case:
        provider = VLLMProvider(f"{case.url}/v1", None)
        drained = await drain(provider, "Capital?")
        await provider.close()
    assert drained.text == "Paris."
    assert provider.model == case.asked[0]["model"] == model


async def test_a_refusal_in_words_is_the_answer() -> None:
    drained = await through_vllm("03e-refusal-delta")
    assert drained.text == "I can't help with that."
    assert drained.ended.finish_reason == "refusal"


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("05b-openai-error-json-200", ModelNotFound, "Model tiny is not loaded"),
        ("05c-openai-html-200", Unavailable, "web page"),
        ("05g-openai-error-in-sse", CreditExhausted, "quota exceeded"),
        ("05h-openai-vllm-old-error-in-sse", ContextTooLong, "4,096 tokens"),
        ("05j-llamacpp-error-field", Unavailable, "context shift is disabled"),
        ("19c-empty-finish-broken-off", Unavailable, "stopped answering before the end"),
    ],
)
async def test_what_is_no_answer_is_told_in_the_servers_words(
    name: str, kind: type[SignalboxError], says: str
) -> None:
    drained = await through_vllm(name)
    assert type(drained.error) is kind
    assert says in drained.error.message
    assert drained.error.hint


async def test_text_before_an_error_is_kept() -> None:
    assert (await through_vllm("05j-llamacpp-error-field")).text == "Par"


@pytest.mark.parametrize(
    ("body", "kind", "says", "billed"),
    [
        (
            {"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}},
            Overloaded,
            "Busy",
            False,
        ),
        ({"error": "no such route"}, Unavailable, "no such route", True),
        ({"detail": "Not Found"}, Unavailable, "Not Found", True),
    ],
)
async def test_an_error_as_json_in_http_200_is_an_error_on_anthropics_wire_too(
    body: dict[str, Any], kind: type[SignalboxError], says: str, billed: bool
) -> None:
    (drained,) = await said_by_anthropic(json.dumps(body).encode())
    assert type(drained.error) is kind
    assert says in drained.error.message
    assert getattr(drained.error, "may_be_billed", None) is billed


async def test_a_web_page_was_never_billed() -> None:
    (drained,) = await said_by_anthropic(b"\xef\xbb\xbf\r\n <!doctype html><title>Sign in</title>")
    assert type(drained.error) is Unavailable
    assert "web page" in drained.error.message
    assert not drained.error.may_be_billed


async def test_an_error_event_that_is_no_json_is_told_in_its_words() -> None:
    body = b"event: error\ndata: upstream went away\n\n"
    for (drained,) in (await said_by_anthropic(body), await said_by_vllm(body)):
        assert type(drained.error) is Unavailable
        assert "upstream went away" in drained.error.message


async def test_a_whole_message_of_anthropics_wire_is_an_answer() -> None:
    message = {
        "type": "message",
        "model": MODEL,
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "A" * 40},
            {"type": "text", "text": "Looking."},
            {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Zürich"}},
            {"type": "tool_use", "id": "t2", "name": "weather", "input": {}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 20, "output_tokens": 5},
    }
    (drained,) = await said_by_anthropic(json.dumps(message).encode())
    assert drained.text == "Looking."
    assert drained.collector.hidden_output_bytes == 30
    assert [(call.id, call.arguments_json) for call in drained.collector.tool_calls] == [
        ("t1", '{"city": "Zürich"}'),
        ("t2", "{}"),
    ]
    assert drained.collector.usage_final
    assert drained.usages[-1].total_tokens == 25
    assert (drained.ended.finish_reason, drained.ended.model) == ("tool_calls", MODEL)


async def test_a_whole_refusal_of_anthropics_wire_says_why() -> None:
    message = {
        "type": "message",
        "model": MODEL,
        "content": [],
        "stop_reason": "refusal",
        "stop_details": {"explanation": "This could enable harm."},
        "usage": {"input_tokens": 20, "output_tokens": 5},
    }
    (drained,) = await said_by_anthropic(json.dumps(message).encode())
    assert type(drained.error) is ContentRefused
    assert "This could enable harm." in drained.error.message
    assert drained.usages, "a refusal is billed"


@pytest.mark.parametrize(
    ("name", "text"), [("12a-split-emoji", "Hi 🚀 there"), ("12d-zwj", "👨\u200d👩\u200d👧")]
)
async def test_characters_that_were_cut_apart_are_whole(name: str, text: str) -> None:
    drained = await through_vllm(name)
    assert drained.text == text
    for event in drained.events:
        if isinstance(event, TextDelta):
            event.text.encode()


async def test_a_half_that_never_gets_its_other_one_is_replaced() -> None:
    halves = data(chunk("tiny", {"content": "a"})).replace(b'"a"', rb'"Hi \ud83d"')
    lone = data(chunk("tiny", {"content": "a"})).replace(b'"a"', rb'" \ude80 "')
    end = data(chunk("tiny", {}, finish="stop")) + data("[DONE]")
    last, between = await said_by_vllm(halves + end, halves + lone + end)
    assert last.text == "Hi \ufffd"
    assert between.text == "Hi \ufffd \ufffd "


async def test_characters_cut_apart_in_a_tool_calls_arguments_are_whole() -> None:
    first = pieces(piece("X", "f", index=0, id="x")).replace(b'"X"', rb'"\"\ud83d"')
    second = pieces(piece("X", index=0)).replace(b'"X"', rb'"\ude80\""')
    start, _, end = first.partition(b"\n\n")
    (drained,) = await said_by_vllm(start + b"\n\n" + second)
    assert end
    assert drained.collector.tool_calls[0].arguments_json == '"🚀"'


def broken(error: SignalboxError | None) -> str:
    assert error is not None
    return error.message


async def test_an_error_beside_half_an_answer_is_an_error() -> None:
    """Whole bodies and events: what came before stays, and the server's own words are told."""
    whole = {
        **chunk("tiny", {"content": "Par"}, finish="stop"),
        "error": {"message": "CUDA error", "code": 500},
    }
    named = b"event: error\n" + data({"message": "CUDA error", "code": 500})
    drained = await said_by_vllm(json.dumps(whole).encode(), data(chunk("tiny", {"content": "Par"})) + named)
    assert [one.text for one in drained] == ["", "Par"]
    assert all("CUDA error" in broken(one.error) for one in drained)
    assert not any(isinstance(event, AnswerEnded) for one in drained for event in one.events)


async def test_an_error_that_is_told_only_inside_its_data_is_one() -> None:
    body = anthropic_event("message_start", {"message": {"model": MODEL, "usage": {"input_tokens": 3}}})
    unnamed = b'data: {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}\n\n'
    (drained,) = await said_by_anthropic(body + unnamed)
    assert type(drained.error) is Overloaded


async def test_text_that_ends_in_half_an_emoji_is_told_and_so_are_arguments() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "look", "arguments": '{"a": "\ud83d'}}
    body = data_of(chunk("tiny", {"content": "Hi \ud83d", "tool_calls": [call]}, finish="stop")) + data(
        "[DONE]"
    )
    (drained,) = await said_by_vllm(body)
    assert drained.text == "Hi \ufffd"
    assert drained.collector.tool_calls[0].arguments_json == '{"a": "\ufffd'


def data_of(payload: dict[str, Any]) -> bytes:
    """An event whose text is escaped: half of an emoji is no UTF-8."""
    return f"data: {json.dumps(payload)}\n\n".encode()


async def test_what_a_chunk_leaves_out_changes_nothing() -> None:
    chunks = (
        {"choices": [{"index": 0, "delta": {"content": "Par", "tool_calls": ["no call", 7]}}]},
        {"choices": [{"index": 0, "finish_reason": None}]},
        {
            "choices": [
                {"index": 0, "delta": {"content": [{"type": "text", "text": 5}, {"type": "image"}, "is"]}}
            ]
        },
        {
            "choices": [
                {"index": 0, "delta": {"content": [{"type": "thinking", "thinking": {"n": 5, "t": "hm"}}]}}
            ]
        },
        {"choices": [{"index": 0, "finish_reason": "stop"}]},
    )
    (drained,) = await said_by_vllm(b"".join(map(data, chunks)) + data("[DONE]"))
    assert drained.text == "Paris"
    assert drained.ended.model == "tiny"
    assert drained.collector.tool_calls == ()
    assert drained.collector.hidden_output_bytes == 2


async def test_a_kind_of_delta_that_is_not_known_yet_is_no_text_and_no_end() -> None:
    begun = anthropic_event("message_start", {"message": {"model": MODEL, "usage": {"input_tokens": 3}}})
    new = anthropic_event("content_block_delta", {"index": 0, "delta": {"type": "song_delta", "text": "la"}})
    text = anthropic_event(
        "content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "Paris"}}
    )
    no_reason = anthropic_event(
        "message_delta", {"delta": {"stop_reason": None}, "usage": {"output_tokens": 2}}
    )
    end = anthropic_event(
        "message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}
    )
    whole, half = await said_by_anthropic(
        begun + new + text + no_reason + end, begun + new + text + no_reason
    )
    assert (whole.text, whole.ended.finish_reason) == ("Paris", "stop")
    assert half.text == "Paris"
    assert "the message has no end" in broken(half.error)
    assert [one.collector.usage_final for one in (whole, half)] == [True, False]
