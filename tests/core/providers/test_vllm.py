"""VLLMProvider through the real SDK, against a local server that has vLLM's faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from core.chat import (
    ChatRequest,
    ImagePart,
    JsonSchemaFormat,
    Message,
    TextDelta,
    Tool,
    ToolCall,
    Usage,
)
from core.errors import (
    AuthenticationFailed,
    ContextTooLong,
    InvalidRequest,
    Overloaded,
    RateLimited,
    SignalboxError,
    TimedOut,
    Unavailable,
)
from core.observe import traceparent
from core.providers import PROVIDERS, Capabilities, VLLMProvider, complete, provider_side
from core.providers.wire_text import REPAIRED_TEXT
from tests.support.openai_server import TOO_LONG, OpenAIServer, Streams, chunk, data, vllm_error
from tests.support.providers import TRACE, drain, silent_server, unanswering_port
from tests.support.wire_server import Raw, Refuses

WEATHER = Tool(
    name="weather",
    description="The weather of a city",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


def provider_for(server: OpenAIServer, model: str | None = "tiny", **options: Any) -> VLLMProvider:
    return VLLMProvider(server.base_url, model, **options)


async def test_text_streams_with_usage_and_reason() -> None:
    async with OpenAIServer(Streams("Par", "is")) as server:
        drained = await drain(
            provider_for(server), "Capital?", system="Brief.", temperature=1.5, max_tokens=9
        )
    assert drained.text == "Paris"
    assert (drained.ended.model, drained.ended.finish_reason, drained.ended.dropped) == ("tiny", "stop", ())
    assert drained.usages == [Usage(fresh_input_tokens=7, output_tokens=2)]
    body = server.received[0].body
    assert body["messages"] == [
        {"role": "system", "content": "Brief."},
        {"role": "user", "content": "Capital?"},
    ]
    assert (body["temperature"], body["max_tokens"], body["stream"]) == (1.5, 9, True)
    assert body["stream_options"]["include_usage"] is True


async def test_cached_tokens_are_taken_out_of_the_fresh_ones() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 5,
        "total_tokens": 105,
        "prompt_tokens_details": {"cached_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    async with OpenAIServer(Streams("x", usage=usage)) as server:
        drained = await drain(provider_for(server), "hi")
    assert drained.usages[-1] == Usage(
        fresh_input_tokens=36, cache_read_tokens=64, output_tokens=5, thinking_tokens=2
    )
    assert drained.usages[-1].total_tokens == 105


async def test_no_usage_on_the_wire_is_unknown_and_not_zero() -> None:
    async with OpenAIServer(Streams("x", with_usage=False)) as server:
        answer = await complete(provider_for(server), ChatRequest.from_prompt("hi"))
    assert answer.usage is None


async def test_running_usage_is_known_when_the_answer_breaks_off() -> None:
    pieces = [str(number) for number in range(40)]
    async with OpenAIServer(Streams(*pieces, usage_each_chunk=True, cut_after=40)) as server:
        drained = await drain(provider_for(server), "count")
    assert type(drained.error) is Unavailable
    assert drained.usages[-1] == Usage(fresh_input_tokens=7, output_tokens=40)
    assert len(drained.usages) < 6, "not one report a token"


async def test_reasoning_is_no_part_of_the_text() -> None:
    both: dict[str, Any] = {"reasoning_content": "hm", "reasoning": "hm"}
    old: dict[str, Any] = {"reasoning_content": "só"}
    new: dict[str, Any] = {"reasoning": "so"}
    async with OpenAIServer(Streams(both, old, new, "42")) as server:
        drained = await drain(provider_for(server), "6 x 7?")
    assert drained.text == "42"
    assert drained.collector.hidden_output_bytes == 2 + 3 + 2


async def test_tool_calls_in_pieces_and_both_ways() -> None:
    def call(index: int, arguments: str, **first: Any) -> dict[str, Any]:
        name = {"name": first.pop("name")} if "name" in first else {}
        return {"tool_calls": [{"index": index, **first, "function": {**name, "arguments": arguments}}]}

    deltas = (
        call(0, "", id="a", type="function", name="weather"),
        call(0, '{"city": '),
        call(1, '{"city": "Bern"}', id="b", type="function", name="weather"),
        call(0, '"Zürich"}'),
    )
    async with OpenAIServer(Streams(*deltas, finish="tool_calls"), Streams("Sunny")) as server:
        provider = provider_for(server)
        answer = await complete(provider, ChatRequest.from_prompt("weather?", tools=(WEATHER,)))
        assert answer.tool_calls == (
            ToolCall("a", "weather", '{"city": "Zürich"}'),
            ToolCall("b", "weather", '{"city": "Bern"}'),
        )
        assert answer.finish_reason == "tool_calls"
        history = (
            Message(role="user", text="weather?"),
            Message(role="assistant", text="", tool_calls=answer.tool_calls),
            Message(role="tool", text="sun", tool_call_id="a", images=(ImagePart("image/png", "aGk="),)),
            Message(role="tool", text="rain", tool_call_id="b"),
        )
        drained = await drain(provider, ChatRequest(messages=history, tools=(WEATHER,)))
    assert drained.ended.dropped == ("images in a tool's result",)
    first, second = server.received[0].body, server.received[1].body
    assert first["tools"][0]["function"]["strict"] is True
    assert second["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"city": "Zürich"}'
    assert second["messages"][3] == {"role": "tool", "tool_call_id": "b", "content": "rain"}


async def test_images_and_schema_travel() -> None:
    message = Message(role="user", text="What?", images=(ImagePart("image/png", "aGk="),))
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}}
    wanted = JsonSchemaFormat(schema=schema, name="how old?")
    async with OpenAIServer(Streams('{"age": 4}')) as server:
        answer = await complete(
            provider_for(server), ChatRequest(messages=(message,), response_format=wanted)
        )
    assert json.loads(answer.text) == {"age": 4}
    body = server.received[0].body
    assert body["messages"][0]["content"][0]["image_url"]["url"] == "data:image/png;base64,aGk="
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "how_old_", "schema": schema, "strict": True},
    }


async def test_the_model_is_the_servers_first_when_none_is_named() -> None:
    async with OpenAIServer(models=("first", "second")) as server:
        provider = provider_for(server, None)
        assert provider.model is None
        await drain(provider, "hi")
        await drain(provider, "hi", model="second")
        await drain(provider, "hi", model="claude-sonnet-4-6")
    asked = [received.body["model"] for received in server.received if received.method == "POST"]
    assert asked == ["first", "second", "first"]
    assert provider.model == "first"


async def test_a_server_without_a_model_says_so() -> None:
    async with OpenAIServer(models=()) as server:
        drained = await drain(provider_for(server, None), "hi")
    assert type(drained.error) is Unavailable
    assert "VLLM_MODEL" in drained.error.hint


async def test_check_learns_the_context_length() -> None:
    async with OpenAIServer() as server:
        provider = provider_for(server)
        checked = await provider.check()
        given = Capabilities(
            tools=False, json_schema=True, images=False, context_tokens=512, max_output_tokens=8
        )
        limited = provider_for(server, capabilities=given)
        await limited.check()
        drained = await drain(limited, "hi", max_tokens=100)
    assert (checked.models, checked.server) == (("tiny",), "vllm")
    assert provider.capabilities.context_tokens == 2048
    assert limited.capabilities == given
    assert drained.ended.dropped == ("max_tokens above 8",)


async def test_count_tokens_asks_the_servers_tokenizer() -> None:
    async with OpenAIServer() as server:
        request = ChatRequest.from_prompt("one two three", system="four")
        assert await provider_for(server).count_tokens(request) == 4


REFUSALS: list[tuple[Refuses, type[SignalboxError], str]] = [
    (vllm_error(404, "NotFoundError", "The model `nope` does not exist.", "model"), InvalidRequest, "nope"),
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
    async with OpenAIServer(REFUSALS[5][0], REFUSALS[6][0], REFUSALS[8][0]) as server:
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
    monkeypatch.setattr("core.providers.connection.CALL_TIMEOUT_S", 0.2)
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


async def test_the_requests_id_travels_with_it() -> None:
    token = traceparent.set(TRACE)
    try:
        async with OpenAIServer() as server:
            provider, request = provider_for(server), ChatRequest.from_prompt("hi")
            await drain(provider, request)
            await provider.count_tokens(request)
    finally:
        traceparent.reset(token)
    assert [received.path for received in server.received] == ["/v1/chat/completions", "/tokenize"]
    for received in server.received:
        assert received.headers["x-correlation-id"] == request.correlation_id
        assert received.headers["traceparent"] == TRACE


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
    assert type(model.error) is InvalidRequest


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


async def test_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "OPENAI_API_KEY": "sk-environment",
        "OPENAI_ADMIN_KEY": "sk-environment",
        "OPENAI_ORG_ID": "org-environment",
        "OPENAI_PROJECT_ID": "project-environment",
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        "OPENAI_CUSTOM_HEADERS": "Authorization: Bearer environment\nX-Leak: environment",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    async with OpenAIServer() as server:
        drained = await drain(provider_for(server), "hi")
    assert drained.error is None
    assert "environment" not in str(server.received[0].headers)


async def test_broken_unicode_is_repaired_and_said() -> None:
    tool = Tool(name="t", description="\udfff", parameters={"type": "object", "title": "\ud800"})
    async with OpenAIServer() as server:
        drained = await drain(provider_for(server), ChatRequest.from_prompt("a\ud83d", tools=(tool,)))
    assert server.received[0].body["messages"][0]["content"] == "a\ufffd"
    assert drained.ended.dropped == (REPAIRED_TEXT,)


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


def test_the_registry_names_the_three_providers() -> None:
    assert [(name, provider_side(name)) for name in PROVIDERS] == [
        ("anthropic", "api"),
        ("vllm-local", "local"),
        ("embedded", "local"),
    ]


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


class Counting:
    """A server by hand: ``head`` is what it says of itself, ``closes`` whether it goes after each answer, unsaid.

    ``peers`` are the connections on which requests came. The next ``silences`` requests get no answer.
    """

    def __init__(self, server_header: str, closes: bool) -> None:
        self.head = (
            f"HTTP/1.1 200 OK\r\n{server_header}content-type: text/event-stream\r\n"
            "transfer-encoding: chunked\r\n\r\n"
        ).encode()
        self.closes = closes
        self.silences = 0
        self.peers: list[object] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = data(chunk("tiny", {"content": "x"}, finish="stop")) + data("[DONE]")
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if b"content-length" in line.lower()
                )
                await reader.readexactly(length)
                self.peers.append(writer.get_extra_info("peername"))
                if self.silences:
                    self.silences -= 1
                    break
                writer.write(self.head + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")
                if self.closes:
                    await reader.read()  # until the client closes
                    break
        except asyncio.IncompleteReadError:
            pass
        writer.close()


@asynccontextmanager
async def counting(
    server_header: str, *, closes: bool = False
) -> AsyncIterator[tuple[Counting, VLLMProvider]]:
    listen = Counting(server_header, closes)
    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        provider = VLLMProvider(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", "tiny")
        yield listen, provider
        await provider.close()


@pytest.mark.parametrize("server_header", ["", "Server: llama.cpp\r\n"])
async def test_no_connection_to_llama_cpp_is_used_twice(server_header: str) -> None:
    """It says nothing of closing, and closes after each stream."""
    async with counting(server_header, closes=True) as (listen, provider):
        for _ in range(3):
            assert (await drain(provider, "hi")).text == "x"
    assert len(set(listen.peers)) == 3


async def test_a_connection_to_vllm_is_kept() -> None:
    async with counting("Server: uvicorn\r\n") as (listen, provider):
        for _ in range(4):
            assert (await drain(provider, "hi")).text == "x"
    assert len(listen.peers) == 4
    assert len(set(listen.peers)) == 2, "the first tells who serves, the next ones share"


async def test_a_kept_connection_that_was_closed_unseen_is_asked_on_a_new_one() -> None:
    async with counting("Server: uvicorn\r\n") as (listen, provider):
        for _ in range(2):
            await drain(provider, "hi")
        # What is closed already would be seen; this one closes when the request is on its way.
        listen.silences = 1
        assert (await drain(provider, "hi")).text == "x"
    assert len(listen.peers) == 4
    assert listen.peers[1] == listen.peers[2] != listen.peers[3]


@pytest.mark.parametrize("known", [False, True])
async def test_a_new_connection_that_is_closed_unanswered_is_not_asked_again(known: bool) -> None:
    async with counting("Server: uvicorn\r\n") as (listen, provider):
        if known:
            await drain(provider, "hi")
        listen.silences = 2
        drained = await drain(provider, "hi")
    assert type(drained.error) is Unavailable
    assert listen.silences == 1
    assert len(set(listen.peers)) == len(listen.peers) == 1 + known


async def test_a_server_that_became_llama_cpp_has_its_connections_kept_no_longer() -> None:
    async with counting("Server: uvicorn\r\n") as (listen, provider):
        for _ in range(2):
            await drain(provider, "hi")
        listen.head = listen.head.replace(b"uvicorn", b"llama.cpp")
        for _ in range(3):
            await drain(provider, "hi")
    assert len(listen.peers) == 5
    assert len(set(listen.peers)) == 4, "one more on the kept connection, which tells"
