"""VLLMProvider through the real SDK, against a local server that has vLLM's faults."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web

from core.chat import ChatRequest, ImagePart, JsonSchemaFormat, Message, PromptProgress, Tool, ToolCall, Usage
from core.errors import Unavailable
from core.providers import PROVIDERS, Capabilities, complete, provider_side
from core.providers.wire_text import REPAIRED_TEXT
from core.telemetry.logs import traceparent
from tests.support.openai_server import OpenAIServer, Refuses, Streams, provider_for
from tests.support.providers import TRACE, WEATHER, drain


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


async def test_what_steers_the_words_reaches_the_server() -> None:
    async with OpenAIServer(Streams("x")) as server:
        await drain(provider_for(server), "hi", top_p=0.9, stop=("END", "\ud800"), seed=7)
    body = server.received[0].body
    assert (body["top_p"], body["stop"], body["seed"]) == (0.9, ["END", "\ufffd"], 7)


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


async def test_a_server_that_counts_in_no_known_way_is_told_as_that() -> None:
    class Odd(OpenAIServer):
        def routes(self) -> list[web.RouteDef]:
            return [*super().routes(), web.post("/apply-template", self._nothing)]

        async def _tokenize(self, request: web.Request) -> web.StreamResponse:
            return await self._nothing(request)

        async def _nothing(self, request: web.Request) -> web.StreamResponse:
            return web.json_response({"tokens": "many"})

    async with Odd() as server:
        with pytest.raises(Unavailable, match="does not count tokens") as caught:
            await provider_for(server).count_tokens(ChatRequest.from_prompt("one two three"))
    assert "estimate" in caught.value.hint


async def test_a_provider_that_was_never_used_is_closed_like_any_other() -> None:
    async with OpenAIServer() as server:
        provider = provider_for(server)
        await provider.close()
        assert (await drain(provider, "hi")).text
        await provider.close()
        await provider.close()


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


def test_the_registry_names_the_three_providers() -> None:
    assert [(name, provider_side(name)) for name in PROVIDERS] == [
        ("anthropic", "api"),
        ("vllm-local", "local"),
        ("embedded", "local"),
    ]


LLAMA_PROGRESS = (
    {"total": 110, "cache": 10, "processed": 10, "time_ms": 0},
    {"total": 110, "cache": 10, "processed": 52, "time_ms": 400},
    {"total": 110, "cache": 10, "processed": 110, "time_ms": 900},
)


async def test_llama_tells_how_far_it_has_read_the_prompt() -> None:
    async with OpenAIServer(Streams("Par", "is", prompt_progress=LLAMA_PROGRESS)) as server:
        drained = await drain(provider_for(server, name="embedded"), "Capital?")
    progress = [event for event in drained.events if isinstance(event, PromptProgress)]
    assert progress == [PromptProgress(0, 100), PromptProgress(42, 100), PromptProgress(100, 100)]
    assert [one.share for one in progress] == [0.0, 0.42, 1.0]
    assert drained.events[:3] == progress, "all of it before the first token"
    assert drained.text == "Paris"


async def test_only_a_server_that_is_known_to_take_it_is_asked_for_progress() -> None:
    async with OpenAIServer(
        Streams("a"), Streams("b"), Streams("c", prompt_progress=LLAMA_PROGRESS)
    ) as server:
        provider = provider_for(server)
        await drain(provider, "One")
        await drain(provider, "Two")
        server.named = "llama.cpp"
        await drain(provider, "Three")
        await drain(provider, "Four")
        await provider.close()
    assert ["return_progress" in asked.body for asked in server.received] == [False, False, False, True]


async def test_a_server_that_refuses_to_tell_progress_is_asked_without() -> None:
    refused = Refuses(status=400, body={"error": {"message": "Unknown field: return_progress", "code": 400}})
    async with OpenAIServer(refused, Streams("a"), Streams("b")) as server:
        provider = provider_for(server, name="embedded")
        assert (await drain(provider, "One")).text == "a"
        assert (await drain(provider, "Two")).text == "b"
        await provider.close()
    assert ["return_progress" in asked.body for asked in server.received] == [True, False, False]


@pytest.mark.parametrize(
    "told", [None, [], "half", {"total": -1, "processed": 2}, {"total": 5}, {"total": "x"}]
)
async def test_progress_that_makes_no_sense_is_none(told: Any) -> None:
    async with OpenAIServer(Streams("a", prompt_progress=(told,))) as server:
        drained = await drain(provider_for(server, name="embedded"), "hi")
    assert drained.text == "a"
    assert not [event for event in drained.events if isinstance(event, PromptProgress)]
