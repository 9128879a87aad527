"""AnthropicProvider when the other side refuses, stalls, breaks off or is gone, and when it is left."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from core.chat import ChatRequest, TextDelta
from core.errors import (
    AuthenticationFailed,
    ContentRefused,
    ContextTooLong,
    CreditExhausted,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    RateLimited,
    SignalboxError,
    TimedOut,
    Unavailable,
)
from core.providers import AnthropicProvider
from tests.support.anthropic_server import KEY, MODEL, AnthropicServer, Fault, Says, provider_for, refusal
from tests.support.providers import drain, silent_server
from tests.support.wire_server import Raw, Refuses

REFUSALS: list[tuple[Refuses, type[SignalboxError], str]] = [
    (refusal(400, "invalid_request_error", "messages: bad"), InvalidRequest, "messages: bad"),
    (
        refusal(400, "invalid_request_error", "prompt is too long: 207791 tokens > 200000 maximum"),
        ContextTooLong,
        "200,000",
    ),
    (
        refusal(
            400,
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000",
        ),
        InvalidRequest,
        "21,041",
    ),
    (
        refusal(400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
        CreditExhausted,
        "credit",
    ),
    (
        refusal(400, "invalid_request_error", "You have reached your specified API usage limits."),
        CreditExhausted,
        "usage limits",
    ),
    (refusal(401, "authentication_error", "invalid x-api-key"), AuthenticationFailed, "ANTHROPIC_API_KEY"),
    (refusal(402, "billing_error"), CreditExhausted, "credit"),
    (refusal(403, "permission_error"), PermissionDenied, "another model"),
    (refusal(404, "not_found_error", "model: claude-nope"), ModelNotFound, "has no model claude-nope."),
    (Refuses(status=404, body="<html>nginx</html>"), Unavailable, "ANTHROPIC_BASE_URL"),
    (refusal(413, "request_too_large"), ContextTooLong, "size"),
    (refusal(429, "rate_limit_error", retry_after="12"), RateLimited, "12 s"),
    (refusal(500, "api_error", "Internal"), Unavailable, "HTTP 500"),
    (Refuses(status=502, body="<html>Bad gateway</html>"), Unavailable, "HTTP 502"),
    (refusal(504, "timeout_error"), Unavailable, "HTTP 504"),
    (refusal(529, "overloaded_error", "Overloaded", retry_after_ms="1500"), Overloaded, "Overloaded"),
    (Refuses(status=307, body="", headers={"location": "/elsewhere"}), Unavailable, "/elsewhere"),
    (refusal(404, "not_found_error", "/v1/models/x was not found"), Unavailable, "ANTHROPIC_BASE_URL"),
]


@pytest.mark.parametrize(
    ("reply", "kind", "says"), REFUSALS, ids=lambda value: str(getattr(value, "status", ""))
)
async def test_refusals_become_the_taxonomy(reply: Refuses, kind: type[SignalboxError], says: str) -> None:
    async with AnthropicServer(reply) as server:
        drained = await drain(provider_for(server), "hi")
    assert type(drained.error) is kind
    assert says in str(drained.error)
    assert drained.error.hint
    assert "<html" not in str(drained.error)
    assert KEY not in str(drained.error)
    assert len(server.received) == 1, "retrying is the router's job"


async def test_counts_and_waits_are_read_from_the_refusal() -> None:
    async with AnthropicServer(REFUSALS[1][0], REFUSALS[11][0], REFUSALS[15][0]) as server:
        provider = provider_for(server)
        too_long, limited, overloaded = [(await drain(provider, "hi")).error for _ in range(3)]
    assert isinstance(too_long, ContextTooLong)
    assert (too_long.input_tokens, too_long.limit_tokens) == (207_791, 200_000)
    assert isinstance(limited, RateLimited)
    assert limited.retry_after_s == 12
    assert isinstance(overloaded, Overloaded)
    assert overloaded.retry_after_s == 1.5


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault("overloaded_error", "Overloaded"), Overloaded),
        (Fault("api_error", "Internal server error"), Unavailable),
        (Fault("rate_limit_error", "Slow down"), RateLimited),
        (Fault("new_kind_of_error", "?"), Unavailable),
    ],
)
async def test_an_error_event_keeps_text_and_usage(fault: Fault, kind: type[SignalboxError]) -> None:
    async with AnthropicServer(Says("Once", " upon", " a", fault_after=(2, fault))) as server:
        drained = await drain(provider_for(server), "Tell me a story")
    assert type(drained.error) is kind
    assert drained.text == "Once upon"
    assert drained.usages[0].fresh_input_tokens == server.books[0].input_tokens


@pytest.mark.parametrize("reply", [Says("Once", " upon", cut_after=1), Says("Once", ends=False)])
async def test_a_connection_cut_mid_stream_is_unavailable(reply: Says) -> None:
    async with AnthropicServer(reply) as server:
        drained = await drain(provider_for(server), "Tell me a story")
    assert type(drained.error) is Unavailable
    assert "before the end" in drained.error.message
    assert drained.text == "Once"
    assert len(drained.usages) == 1


async def test_a_stall_ends_in_a_timeout_that_names_its_seconds() -> None:
    async with AnthropicServer(Says("Once", " upon", hold_after=1)) as server:
        drained = await drain(provider_for(server, timeout_s=0.2), "Tell me a story")
        await asyncio.wait_for(server.lost.wait(), 10)
    assert isinstance(drained.error, TimedOut)
    assert (drained.error.phase, drained.error.may_be_billed) == ("between_tokens", True)
    assert "0.2 s" in drained.error.message
    assert drained.text == "Once"


async def test_a_server_that_takes_the_request_and_says_nothing_is_a_timeout_before_the_first_token() -> None:
    async with silent_server() as (url, lost):
        drained = await drain(AnthropicProvider(KEY, url, MODEL, timeout_s=0.2), "hi")
        await asyncio.wait_for(lost.wait(), 10)
    assert isinstance(drained.error, TimedOut)
    assert (drained.error.phase, drained.error.may_be_billed) == ("first_token", True)


async def test_a_short_call_does_not_wait_as_long_as_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.providers.http.CALL_TIMEOUT_S", 0.2)
    async with silent_server() as (url, lost):
        provider = AnthropicProvider(KEY, url, MODEL)
        with pytest.raises(TimedOut, match=r"0\.2 s"):
            await provider.check()
        with pytest.raises(TimedOut, match=r"0\.2 s"):
            await provider.count_tokens(ChatRequest.from_prompt("hi"))
        await asyncio.wait_for(lost.wait(), 10)


async def test_cancelling_before_the_headers_closes_the_connection() -> None:
    async with silent_server() as (url, lost):
        task = asyncio.create_task(drain(AnthropicProvider(KEY, url, MODEL), "hi"))
        await asyncio.wait_for(lost.asked.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(lost.wait(), 10)


async def test_a_server_that_is_gone_is_unavailable() -> None:
    async with AnthropicServer() as server:
        provider = provider_for(server)
        assert (await drain(provider, "hi")).error is None
    drained = await drain(provider, "hi")
    assert type(drained.error) is Unavailable
    assert server.url in drained.error.message
    assert "ANTHROPIC_BASE_URL" in drained.error.hint


async def test_a_server_killed_mid_stream_is_unavailable() -> None:
    async with AnthropicServer(Says("Once", " upon", hold_after=1)) as server:
        task = asyncio.create_task(drain(provider_for(server), "Tell me a story"))
        await asyncio.wait_for(server.holding.wait(), 10)
        await server.stop()
        drained = await task
    assert type(drained.error) is Unavailable


async def test_cancelling_closes_the_upstream_connection() -> None:
    async with AnthropicServer(Says("Once", " upon", hold_after=1)) as server:
        provider = provider_for(server)
        task = asyncio.create_task(drain(provider, "Tell me a story"))
        await asyncio.wait_for(server.holding.wait(), 10)
        assert not server.lost.is_set()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.lost.wait(), 10)
        assert server.cancelled == 1
        assert (await drain(provider, "hi")).text == "Hello there", "the provider goes on working"
    assert not server.books[0].finished


async def test_leaving_the_stream_closes_the_upstream_connection() -> None:
    async with AnthropicServer(Says("Once", " upon", hold_after=1)) as server:
        stream = provider_for(server).stream(ChatRequest.from_prompt("Tell me a story"))
        async with aclosing(stream) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    break
        await asyncio.wait_for(server.lost.wait(), 10)


async def test_a_refusal_without_a_word_is_an_error_that_says_why() -> None:
    said = "This could enable harm."
    async with AnthropicServer(
        Says(stop_reason="refusal", explanation=said), Says("I will", stop_reason="refusal")
    ) as server:
        provider = provider_for(server)
        silent, partial = await drain(provider, "hi"), await drain(provider, "hi")
    assert type(silent.error) is ContentRefused
    assert said in silent.error.message
    assert silent.usages, "a refusal is billed"
    assert partial.ended.finish_reason == "refusal"
    assert partial.text == "I will"


async def test_something_else_at_the_address_is_no_answer() -> None:
    page = Raw(chunks=(b"<html><body>Welcome to the hotel</body></html>",))
    garbage = Raw(chunks=(b"event: message_start\ndata: {not json\n\n",))
    latin = Raw(chunks=(b"event: message_start\ndata: \xff\xfe\n\n",))
    async with AnthropicServer(page, garbage, latin) as server:
        provider = provider_for(server)
        for _ in range(3):
            drained = await drain(provider, "hi")
            assert type(drained.error) is Unavailable
            assert drained.events == []


@pytest.mark.parametrize("key", ["", "  "])
async def test_no_key_is_said_without_a_call(key: str) -> None:
    drained = await drain(AnthropicProvider(key, None, MODEL), "hi")
    assert isinstance(drained.error, AuthenticationFailed)
    assert drained.error.missing


@pytest.mark.parametrize("key", ["sk-ant-\nx", "sk-ant-é", "two words"])
async def test_a_mangled_key_never_reaches_a_message(key: str) -> None:
    drained = await drain(AnthropicProvider(key, None, MODEL), "hi")
    assert isinstance(drained.error, AuthenticationFailed)
    assert not drained.error.missing
    assert key not in str(drained.error)


@pytest.mark.parametrize(
    "url", ["http://", "ftp://127.0.0.1", "not a url", "http://127.0.0.1:99999", "http://[::1"]
)
async def test_an_address_that_is_none_is_unavailable(url: str) -> None:
    drained = await drain(AnthropicProvider(KEY, url, MODEL), "hi")
    assert type(drained.error) is Unavailable
    assert "ANTHROPIC_BASE_URL" in str(drained.error)
