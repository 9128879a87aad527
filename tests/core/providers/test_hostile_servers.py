"""A server may send anything, as much and as long as it likes: each wire ends in bounds, with a typed error."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from core.base import bounded_http
from core.base.bounded_http import MAX_ANSWER_BYTES, MAX_ERROR_BYTES
from core.chat import ChatRequest, UsageReported
from core.errors import AuthenticationFailed, ContentRefused, SignalboxError, TimedOut, Unavailable
from core.providers import AnthropicProvider, InferenceProvider, VLLMProvider
from core.providers import sse as sse_reader
from core.providers.sse import MOST_BYTES_PER_TOKEN, SPARE_OUTPUT_BYTES
from core.routing.timeouts import watched
from tests.support.anthropic_server import KEY, MODEL, sse
from tests.support.hostile_server import HostileServer, hostile
from tests.support.openai_server import chunk, data
from tests.support.providers import Drained, drain

Wire = Callable[[HostileServer], InferenceProvider]
STREAM = "HTTP/1.1 200 OK\ncontent-type: text/event-stream\nconnection: close"
JSON = "HTTP/1.1 200 OK\ncontent-type: application/json\nconnection: close"
SOCKET_BYTES = 16 * 2**20
"""What may lie in the buffers of both ends when a client has left."""


def vllm(server: HostileServer) -> InferenceProvider:
    return VLLMProvider(f"{server.url}/v1", "tiny")


def anthropic(server: HostileServer) -> InferenceProvider:
    return AnthropicProvider(KEY, server.url, MODEL)


both_wires = pytest.mark.parametrize("wire", [vllm, anthropic])


async def asked(wire: Wire, server: HostileServer, **options: Any) -> Drained:
    provider = wire(server)
    drained = await asyncio.wait_for(drain(provider, "hi", **options), 60)
    await provider.close()
    return drained


async def failure_of(
    wire: Wire, server: HostileServer, call: Callable[[Any], Awaitable[Any]]
) -> SignalboxError:
    provider = wire(server)
    with pytest.raises(SignalboxError) as caught:
        await asyncio.wait_for(call(provider), 60)
    await provider.close()
    return caught.value


def text_event(wire: Wire, text: str) -> bytes:
    if wire is vllm:
        return data(chunk("tiny", {"content": text}))
    return sse("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": text}})


def call_events(wire: Wire, arguments: str) -> tuple[bytes, bytes]:
    """The beginning of a tool call, and a piece of its arguments."""
    if wire is vllm:
        first = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
        piece = {"index": 0, "function": {"arguments": arguments}}
        return data(chunk("tiny", {"tool_calls": [first]})), data(chunk("tiny", {"tool_calls": [piece]}))
    block = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    delta = {"type": "input_json_delta", "partial_json": arguments}
    return (
        sse("content_block_start", {"index": 0, "content_block": block}),
        sse("content_block_delta", {"index": 0, "delta": delta}),
    )


@both_wires
async def test_no_compression_is_asked_for_and_none_is_unpacked(wire: Wire) -> None:
    bomb = gzip.compress(bytes(10 * 2**20))
    async with hostile(f"{STREAM}\ncontent-encoding: gzip", bomb, ends=True) as server:
        drained = await asked(wire, server)
        failed = await failure_of(wire, server, lambda provider: provider.check())
    for error in (drained.error, failed):
        assert type(error) is Unavailable
        assert "compressed" in error.message
        assert error.may_be_billed
    assert all(b"accept-encoding: identity" in head.lower() for head in server.received)


@both_wires
async def test_a_packed_error_is_told_by_its_status(wire: Wire) -> None:
    head = "HTTP/1.1 401 No\ncontent-encoding: gzip\nconnection: close"
    async with hostile(head, gzip.compress(bytes(10 * 2**20)), ends=True) as server:
        drained = await asked(wire, server)
    assert type(drained.error) is AuthenticationFailed


@both_wires
async def test_an_error_without_an_end_is_read_to_its_bound(wire: Wire) -> None:
    async with hostile("HTTP/1.1 500 No\nconnection: close", again=b"x" * 65536) as server:
        drained = await asked(wire, server)
        failed = await failure_of(wire, server, lambda provider: provider.check())
    for error in (drained.error, failed):
        assert type(error) is Unavailable
        assert "HTTP 500" in error.message
        assert len(error.message) < 500
    assert server.sent_bytes < 2 * (MAX_ERROR_BYTES + SOCKET_BYTES)


@both_wires
async def test_an_error_that_drips_is_told_in_time(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_http, "ERROR_TIMEOUT_S", 0.05)
    async with hostile("HTTP/1.1 500 No\nconnection: close", b'{"error": {"mess') as server:
        drained = await asked(wire, server)
    assert type(drained.error) is Unavailable
    assert "HTTP 500" in drained.error.message


@pytest.mark.parametrize(
    ("wire", "call"),
    [
        (vllm, lambda provider: provider.check()),
        (vllm, lambda provider: provider.count_tokens(ChatRequest.from_prompt("hi"))),
        (anthropic, lambda provider: provider.check()),
        (anthropic, lambda provider: provider.count_tokens(ChatRequest.from_prompt("hi"))),
    ],
)
async def test_short_answers_are_bounded_in_bytes(wire: Wire, call: Callable[[Any], Awaitable[Any]]) -> None:
    async with hostile(JSON, b'{"data": [', again=b'{"id": "a"},' * 5000) as server:
        error = await failure_of(wire, server, call)
    assert type(error) is Unavailable
    assert " MB, and was cut off" in error.message
    assert server.sent_bytes < MAX_ANSWER_BYTES + SOCKET_BYTES


@pytest.mark.parametrize("which", ["vllm", "anthropic"])
async def test_short_answers_are_bounded_in_time_however_they_drip(which: str) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n[")
        while not writer.is_closing():
            writer.write(b" ")
            try:
                await writer.drain()
            except ConnectionError:
                break
            await asyncio.sleep(0.02)

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        provider: InferenceProvider = (
            VLLMProvider(f"{url}/v1", None, timeout_s=0.3, connect_timeout_s=0.3)
            if which == "vllm"
            else AnthropicProvider(KEY, url, MODEL, timeout_s=0.3, connect_timeout_s=0.3)
        )
        with pytest.raises(TimedOut):
            await asyncio.wait_for(provider.check(), 30)
        await provider.close()


@both_wires
async def test_a_list_of_models_is_read_as_far_as_anybody_needs_it(wire: Wire) -> None:
    odd = ["x" * 10_000, "esc\x1b[2J", 7, None, ""]
    body = json.dumps({"data": [{"id": name} for name in [*odd, *(f"m{n}" for n in range(20_000))]]})
    async with hostile(JSON, body.encode(), ends=True) as server:
        provider = wire(server)
        found = await provider.check()
        await provider.close()
    assert found.models[0] == "m0"
    assert len(found.models) == 5_000


@both_wires
@pytest.mark.parametrize("body", [b"[" * 100_000, b"[]", b'{"data": 7}', b"no JSON"])
async def test_what_is_no_list_of_models_is_told(wire: Wire, body: bytes) -> None:
    async with hostile(JSON, body, ends=True) as server:
        error = await failure_of(wire, server, lambda provider: provider.check())
    assert type(error) is Unavailable
    assert error.hint


@both_wires
@pytest.mark.parametrize("what", ["text", "arguments", "hidden", "calls"])
async def test_an_answer_far_beyond_max_tokens_ends_as_broken_off(wire: Wire, what: str) -> None:
    begin, piece = call_events(wire, "x" * 1000)
    if what == "text":
        begin, piece = b"", text_event(wire, "word " * 200)
    elif what == "hidden" and wire is vllm:
        begin, piece = b"", data(chunk("tiny", {"reasoning_content": "x" * 1000}))
    elif what == "hidden":
        thought = {"type": "thinking_delta", "thinking": "x" * 1000}
        begin, piece = b"", sse("content_block_delta", {"index": 0, "delta": thought})
    elif what == "calls":  # each of them a new one
        begin, piece = b"", call_events(wire, "")[0]
        if wire is vllm:
            piece = data(chunk("tiny", {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}))
    usage = {"message": {"model": MODEL, "usage": {"input_tokens": 7, "output_tokens": 1}}}
    begin = sse("message_start", usage) + begin if wire is anthropic else begin
    async with hostile(STREAM, begin, again=piece * 20) as server:
        drained = await asked(wire, server, max_tokens=100)
    assert type(drained.error) is Unavailable
    assert "far beyond the 100 tokens" in drained.error.message
    assert drained.error.may_be_billed
    most = SPARE_OUTPUT_BYTES + 100 * MOST_BYTES_PER_TOKEN
    collector = drained.collector
    shown = len(collector.text) + sum(len(call.arguments_json) for call in collector.tool_calls)
    assert shown <= most
    if what == "text":
        assert shown == most, "the part within the bound is kept"
    if wire is anthropic:
        assert isinstance(drained.events[0], UsageReported)
        assert not drained.collector.usage_final
    assert server.sent_bytes < 2 * SOCKET_BYTES


@both_wires
async def test_one_huge_piece_is_cut_at_the_bound(wire: Wire) -> None:
    async with hostile(STREAM, text_event(wire, "x" * 2**20), ends=True) as server:
        drained = await asked(wire, server, max_tokens=1)
    assert "far beyond the 1 tokens" in str(drained.error)
    assert len(drained.text) == SPARE_OUTPUT_BYTES + MOST_BYTES_PER_TOKEN


@both_wires
@pytest.mark.parametrize("noise", [b": keep-alive\n\n", b"event: ping\ndata: {}\n\n", b"\n", b"id: 1\n"])
async def test_noise_without_an_end_is_bounded(
    wire: Wire, noise: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse_reader, "SPARE_WIRE_BYTES", 2**20)
    async with hostile(STREAM, again=noise * 5000) as server:
        drained = await asked(wire, server, max_tokens=10)
    assert type(drained.error) is Unavailable
    assert server.sent_bytes < 2 * SOCKET_BYTES


@both_wires
@pytest.mark.parametrize("begins", [False, True])
async def test_signs_of_life_without_content_do_not_hold_a_request(wire: Wire, begins: bool) -> None:
    """Comments and pings come at their own pace, and the answer never does."""

    async def keep_alive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(STREAM.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        writer.write(text_event(wire, "Par") if begins else b"")
        while not writer.is_closing():
            writer.write(b": ping\n\nevent: ping\ndata: {}\n\n")
            try:
                await writer.drain()
            except ConnectionError:
                break
            await asyncio.sleep(0.01)

    server = await asyncio.start_server(keep_alive, "127.0.0.1", 0)
    async with server:
        scripted = HostileServer("")
        scripted.port = server.sockets[0].getsockname()[1]
        provider = wire(scripted)
        events = watched(
            provider.stream(ChatRequest.from_prompt("hi")),
            who="It",
            side=provider.side,
            first_token_s=0.3,
            between_tokens_s=0.3,
        )
        with pytest.raises(SignalboxError) as caught:
            async for _ in events:
                pass
        await provider.close()
    assert type(caught.value) in (TimedOut, Unavailable)


@both_wires
async def test_what_a_server_says_is_one_line_of_bounded_length(wire: Wire) -> None:
    evil = "\x1b]0;owned\x07\u202e" + "x" * 500_000
    body = json.dumps({"error": {"type": "x", "message": evil}}).encode()
    head = f"HTTP/1.1 {{status}} No\nconnection: close\nretry-after: 1e300\nlocation: http://x/{'y' * 50_000}"
    for status in (301, 400, 429, 500):
        async with hostile(head.format(status=status), body, ends=True) as server:
            drained = await asked(wire, server)
        said = str(drained.error)
        assert said.isprintable()
        assert len(said) < 800


async def test_why_a_model_refused_is_one_line_of_bounded_length() -> None:
    why = {"explanation": "\x1b[2J" + "x" * 500_000}
    usage = {"input_tokens": 7, "output_tokens": 1}
    body = sse("message_start", {"message": {"model": MODEL, "usage": usage}})
    body += sse("message_delta", {"delta": {"stop_reason": "refusal", "stop_details": why}, "usage": usage})
    async with hostile(STREAM, body + sse("message_stop", {}), ends=True) as server:
        drained = await asked(anthropic, server)
    assert type(drained.error) is ContentRefused
    assert str(drained.error).isprintable()
    assert len(drained.error.message) < 500


@both_wires
@pytest.mark.parametrize(
    "head",
    [
        "HTTP/1.1 100 Continue\n\n" * 3,
        "HTTP/1.1 200 OK\nx: " + "y" * 300_000,
        "HTTP/1.1 200 OK\n" + "a: b\n" * 50_000,
    ],
)
async def test_heads_are_bounded(wire: Wire, head: str) -> None:
    async with hostile(head, ends=True) as server:
        drained = await asked(wire, server)
    assert isinstance(drained.error, Unavailable)


@both_wires
async def test_names_that_a_server_gives_are_one_line_of_bounded_length(wire: Wire) -> None:
    evil = "tiny\x1b]0;owned\x07\n" + "x" * 100_000
    if wire is vllm:
        call = {"index": 0, "id": evil, "function": {"name": evil, "arguments": "{}"}}
        body = data(chunk(evil, {"tool_calls": [call]}, finish="tool_calls")) + data("[DONE]")
    else:
        block = {"type": "tool_use", "id": evil, "name": evil, "input": {}}
        body = sse("message_start", {"message": {"model": evil, "usage": {"input_tokens": 7}}})
        body += sse("content_block_start", {"index": 0, "content_block": block})
        body += sse("message_delta", {"delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}})
        body += sse("message_stop", {})
    async with hostile(STREAM, body, ends=True) as server:
        drained = await asked(wire, server, max_tokens=100_000)
    (call,) = drained.collector.tool_calls
    for name in (drained.ended.model, call.id, call.name):
        assert name.startswith("tiny")
        assert name.isprintable()
        assert len(name) <= 256
