"""VLLMProvider when the server refuses, loads, stalls, breaks off or is gone, and when it is left."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from core.chat import ChatRequest, TextDelta
from core.errors import (
    AuthenticationFailed,
    ContextTooLong,
    CreditExhausted,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    RateLimited,
    SignalboxError,
    TimedOut,
    Unavailable,
)
from core.providers import VLLMProvider
from tests.support.openai_server import TOO_LONG, OpenAIServer, Streams, provider_for, vllm_error
from tests.support.providers import drain, silent_server, unanswering_port
from tests.support.wire_server import Raw, Refuses

REFUSALS: list[tuple[Refuses, type[SignalboxError], str]] = [
    (vllm_error(404, "NotFoundError", "The model `nope` does not exist.", "model"), ModelNotFound, "nope"),
    (TOO_LONG, ContextTooLong, "2,048"),
    (vllm_error(400, "BadRequestError", "Invalid grammar"), InvalidRequest, "Invalid grammar"),
    (
        Refuses(
            status=400,
            body={
                "error": {
                    "code": 400,
                    "message": "request (9001 tokens) exceeds the available context size (8192 tokens), "
                    "try increasing it",
                    "type": "exceed_context_size_error",
                    "n_prompt_tokens": 9001,
                    "n_ctx": 8192,
                }
            },
        ),
        ContextTooLong,
        "8,192",
    ),
    (Refuses(status=401, body={"error": "Unauthorized"}), AuthenticationFailed, "VLLM_API_KEY"),
    (
        Refuses(
            status=503,
            body={"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
            headers={"retry-after": "3"},
        ),
        Unavailable,
        "Loading model",
    ),
    (vllm_error(503, "ServiceUnavailableError", "busy"), Overloaded, "busy"),
    (vllm_error(429, "RateLimitError", "busy"), RateLimited, "busy"),
    (
        Refuses(
            status=429,
            body={
                "error": {
                    "message": "You exceeded your current quota, please check your plan and billing details.",
                    "type": "insufficient_quota",
                    "code": "insufficient_quota",
                }
            },
        ),
        CreditExhausted,
        "quota",
    ),
    (vllm_error(402, "Error", "Insufficient Balance"), CreditExhausted, "Balance"),
    (vllm_error(400, "BadRequestError", "nope is not a valid model ID"), ModelNotFound, "nope"),
    (
        Refuses(
            status=403,
            body={
                "error": {
                    "message": "Project `p` does not have access to model `nope`",
                    "type": "invalid_request_error",
                    "code": "model_not_found",
                }
            },
        ),
        ModelNotFound,
        "VLLM_MODEL",
    ),
    (vllm_error(500, "InternalServerError", "boom"), Unavailable, "boom"),
    (Refuses(status=404, body={"detail": "Not Found"}), Unavailable, "VLLM_BASE_URL"),
    (Refuses(status=502, body="<html>nginx</html>"), Unavailable, "HTTP 502"),
    (Refuses(status=422, body={"detail": [{"loc": ["body"], "msg": "bad"}]}), InvalidRequest, "bad"),
]


@pytest.mark.parametrize(
    ("reply", "kind", "says"), REFUSALS, ids=lambda value: str(getattr(value, "status", ""))
)
async def test_refusals_become_the_taxonomy(reply: Refuses, kind: type[SignalboxError], says: str) -> None:
    async with OpenAIServer(reply) as server:
        drained = await drain(provider_for(server), "hi")
    assert type(drained.error) is kind
    assert says in str(drained.error)
    assert drained.error.hint
    assert len(server.received) == 1


async def test_a_server_that_is_still_loading_is_told_from_a_broken_one() -> None:
    async with OpenAIServer(REFUSALS[5][0], REFUSALS[6][0], REFUSALS[12][0]) as server:
        provider = provider_for(server)
        errors = [(await drain(provider, "hi")).error for _ in range(3)]
    assert [getattr(error, "booting", None) for error in errors] == [True, False, False]
    assert isinstance(errors[0], Unavailable)
    assert (errors[0].retry_after_s, errors[0].may_be_billed) == (3, False)


async def test_a_stall_ends_in_a_timeout_and_a_closed_connection() -> None:
    async with OpenAIServer(Streams("Once", " upon", hold_after=1)) as server:
        drained = await drain(provider_for(server, timeout_s=0.2), "Tell me a story")
        await asyncio.wait_for(server.lost.wait(), 10)
    assert isinstance(drained.error, TimedOut)
    assert (drained.error.phase, drained.text) == ("between_tokens", "Once")


async def test_a_server_that_takes_the_request_and_says_nothing_is_a_timeout_before_the_first_token() -> None:
    async with silent_server() as (url, lost):
        drained = await drain(VLLMProvider(f"{url}/v1", "tiny", timeout_s=0.2), "hi")
        await asyncio.wait_for(lost.wait(), 10)
    assert isinstance(drained.error, TimedOut)
    assert drained.error.phase == "first_token"


async def test_a_short_call_does_not_wait_as_long_as_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.providers.http.CALL_TIMEOUT_S", 0.2)
    async with silent_server() as (url, lost):
        provider = VLLMProvider(f"{url}/v1", "tiny")
        with pytest.raises(TimedOut, match=r"0\.2 s"):
            await provider.check()
        with pytest.raises(TimedOut, match=r"0\.2 s"):
            await provider.count_tokens(ChatRequest.from_prompt("hi"))
        await asyncio.wait_for(lost.wait(), 10)


async def test_cancelling_before_the_headers_closes_the_connection() -> None:
    async with silent_server() as (url, lost):
        task = asyncio.create_task(drain(VLLMProvider(f"{url}/v1", "tiny"), "hi"))
        await asyncio.wait_for(lost.asked.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(lost.wait(), 10)


async def test_a_connection_that_nobody_accepts_times_out_and_cost_nothing() -> None:
    async with unanswering_port() as port:
        provider = VLLMProvider(f"http://127.0.0.1:{port}/v1", "tiny", connect_timeout_s=0.1)
        drained = await drain(provider, "hi")
    assert isinstance(drained.error, TimedOut)
    assert (drained.error.phase, drained.error.may_be_billed) == ("connect", False)
    assert "0.1 s" in drained.error.message


async def test_the_size_of_a_too_long_prompt_is_read() -> None:
    async with OpenAIServer(TOO_LONG, REFUSALS[3][0]) as server:
        provider = provider_for(server)
        vllm, llama = (await drain(provider, "hi")).error, (await drain(provider, "hi")).error
    assert isinstance(vllm, ContextTooLong)
    assert isinstance(llama, ContextTooLong)
    assert (vllm.input_tokens, vllm.limit_tokens) == (2049, 2048)
    assert (llama.input_tokens, llama.limit_tokens) == (9001, 8192)


async def test_a_wrong_model_and_a_wrong_key_are_told_apart() -> None:
    async with OpenAIServer(api_key="right") as server:
        wrong = await drain(provider_for(server, api_key="wrong-key-9"), "hi")
        none = await drain(provider_for(server), "hi")
        model = await drain(provider_for(server, "nope", api_key="right"), "hi")
    assert type(wrong.error) is AuthenticationFailed
    assert "wrong-key-9" not in str(wrong.error)
    assert type(none.error) is AuthenticationFailed
    assert type(model.error) is ModelNotFound


async def test_an_engine_that_dies_after_http_200_is_unavailable() -> None:
    async with OpenAIServer(Streams("Once", " upon", engine_dies_after=1)) as server:
        drained = await drain(provider_for(server), "Tell me a story")
    assert type(drained.error) is Unavailable
    assert "EngineCore" in drained.error.message
    assert drained.text == "Once"


@pytest.mark.parametrize(
    "reply",
    [
        Streams("Once", " upon", cut_after=1),
        Streams("Once", finish=None),
        Streams("Once", finish="abort"),
    ],
)
async def test_an_answer_that_breaks_off_is_unavailable(reply: Streams) -> None:
    async with OpenAIServer(reply) as server:
        drained = await drain(provider_for(server), "Tell me a story")
    assert type(drained.error) is Unavailable
    assert "before the end" in drained.error.message
    assert drained.text == "Once"


async def test_a_server_killed_mid_stream_is_unavailable() -> None:
    async with OpenAIServer(Streams("Once", " upon", hold_after=1)) as server:
        provider = provider_for(server)
        task = asyncio.create_task(drain(provider, "Tell me a story"))
        await asyncio.wait_for(server.holding.wait(), 10)
        await server.stop()
        drained = await task
        after = await drain(provider, "hi")
    assert type(drained.error) is Unavailable
    assert drained.text == "Once"
    assert type(after.error) is Unavailable
    assert "Nothing answers" in after.error.message


async def test_a_restarted_server_is_found_again() -> None:
    async with OpenAIServer() as server:
        provider = provider_for(server)
        assert (await drain(provider, "hi")).text == "Hello there"
        port = server.port
    again = OpenAIServer()
    again.port = port
    async with again:
        assert (await drain(provider, "hi")).text == "Hello there"


async def test_cancelling_before_the_first_token_closes_the_connection() -> None:
    async with OpenAIServer(Streams("Once", hold_after=0)) as server:
        task = asyncio.create_task(drain(provider_for(server), "Tell me a story"))
        await asyncio.wait_for(server.holding.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.lost.wait(), 10)


async def test_leaving_the_stream_closes_the_connection() -> None:
    async with OpenAIServer(Streams("Once", " upon", hold_after=1)) as server:
        stream = provider_for(server).stream(ChatRequest.from_prompt("Tell me a story"))
        async with aclosing(stream) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    break
        await asyncio.wait_for(server.lost.wait(), 10)


async def test_something_else_at_the_address_is_no_answer() -> None:
    page = Raw(chunks=(b"<html><body>Welcome</body></html>",))
    garbage = Raw(chunks=(b"data: {not json\n\n",))
    wrong_shape = Raw(chunks=(b'data: {"choices": [7]}\n\n', b'data: {"choices": "x"}\n\n', b"data: [1]\n\n"))
    async with OpenAIServer(page, garbage, wrong_shape) as server:
        provider = provider_for(server)
        for _ in range(3):
            drained = await drain(provider, "hi")
            assert type(drained.error) is Unavailable
            assert drained.text == ""


async def test_a_connection_closed_without_an_answer_is_told_from_a_broken_answer() -> None:
    async def close_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(close_at_once, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        drained = await drain(VLLMProvider(f"http://127.0.0.1:{port}/v1", "tiny"), "hi")
    assert type(drained.error) is Unavailable
    assert "without an answer" in drained.error.message
