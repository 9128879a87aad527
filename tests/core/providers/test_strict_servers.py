"""What a strict server refuses for one of its optional parts is asked again without it, and remembered."""

from __future__ import annotations

import re
from typing import Any

import pytest

from core.chat import CacheMarks, ChatRequest, ImagePart, JsonSchemaFormat, Message, ToolCall
from core.errors import ContextTooLong, InvalidRequest, SignalboxError
from core.providers import AnthropicProvider, VLLMProvider
from core.providers.concessions import LEAST_WORTHWHILE_TOKENS
from tests.support.anthropic_server import KEY, MODEL, AnthropicServer
from tests.support.field_case import field_case
from tests.support.openai_server import OpenAIServer, Streams, provider_for, vllm_error
from tests.support.providers import WEATHER, Drained, drain
from tests.support.wire_server import Refuses

FORMAT = JsonSchemaFormat(schema={"type": "object", "properties": {"a": {"type": "integer"}}})
DETAIL = {
    "detail": [
        {
            "type": "extra_forbidden",
            "loc": ["body", "stream_options", "continuous_usage_stats"],
            "msg": "Extra inputs are not permitted",
            "input": True,
        }
    ]
}


def refused(message: str, status: int = 400) -> Refuses:
    return vllm_error(status, "BadRequestError", message)


async def asked(*refusals: Refuses, then: int = 1, **options: Any) -> tuple[OpenAIServer, Drained]:
    """Ask until the server's refusals are over, and ``then`` once more; returns the last answer."""
    async with OpenAIServer(*refusals) as server:
        provider = provider_for(server)
        for _ in range(then):
            drained = await drain(provider, "hi", **options)
        await provider.close()
    return server, drained


async def test_a_field_of_ours_that_a_strict_server_refuses_is_left_out_and_remembered() -> None:
    async with field_case("06a-strict-continuous") as case:
        provider = VLLMProvider(f"{case.url}/v1", "tiny")
        first, second = await drain(provider, "Capital?"), await drain(provider, "Capital?")
        await provider.close()
    assert first.text == second.text == "Paris."
    assert [sorted(body["stream_options"]) for body in case.asked] == [
        ["continuous_usage_stats", "include_usage"],
        ["include_usage"],
        ["include_usage"],
    ]
    assert first.usages[-1].total_tokens == 10


@pytest.mark.parametrize(
    ("refusal", "options", "gone", "kept"),
    [
        (Refuses(status=422, body=DETAIL), {}, "continuous_usage_stats", "include_usage"),
        (refused("Unrecognized request argument supplied: stream_options"), {}, "stream_options", "max_tokens"),
        (
            refused("Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                    "'max_completion_tokens' instead."),
            {},
            "max_tokens",
            "'max_completion_tokens': 77",
        ),
        (
            refused("Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) "
                    "value is supported."),
            {"temperature": 0.5},
            "temperature",
            "max_tokens",
        ),
        (refused("Unrecognized request argument supplied: 'seed'"), {"seed": 7}, "seed", "max_tokens"),
        (refused("Unsupported parameter: 'stop'"), {"stop": ("END",)}, "'stop'", "max_tokens"),
        (
            refused("`temperature` and `top_p` cannot both be specified for this model. Please use only one."),
            {"temperature": 0.5, "top_p": 0.9},
            "top_p",
            "'temperature': 0.5",
        ),
        (
            refused("body.tools.0.function.strict: Extra inputs are not permitted"),
            {"tools": (WEATHER,)},
            "'strict'",
            "'weather'",
        ),
        (
            refused("'response_format.type' must be 'json_object' or 'text'"),
            {"response_format": FORMAT},
            "response_format",
            "matches this JSON schema",
        ),
    ],
)  # fmt: skip
async def test_other_optional_fields_too(
    refusal: Refuses, options: dict[str, Any], gone: str, kept: str
) -> None:
    server, drained = await asked(refusal, then=2, max_tokens=77, **options)
    assert drained.error is None
    first, again, next_time = [str(received.body) for received in server.received]
    assert gone in first
    for body in (again, next_time):
        assert re.search(rf"(?<!\w){gone}(?!\w)", body) is None
        assert kept in body
    told = {"temperature", "top_p", "stop", "seed", "response_format"} & {gone.strip("'")}
    assert told == set(drained.ended.dropped)


@pytest.mark.parametrize(
    "refusal",
    [
        refused("Invalid grammar"),
        refused("The model does not support images."),
        refused("'messages' is not supported"),
        refused("Unrecognized request argument supplied: stream_options", status=401),
        refused("Unrecognized request argument supplied: stream_options", status=500),
    ],
)
async def test_what_is_no_optional_part_is_asked_once(refusal: Refuses) -> None:
    server, drained = await asked(refusal)
    assert isinstance(drained.error, SignalboxError)
    assert len(server.received) == 1


async def test_a_server_that_refuses_whatever_it_is_asked_is_asked_a_few_times_at_most() -> None:
    words = " ".join(
        f"{name} is not supported;"
        for name in (
            "continuous_usage_stats",
            "stream_options",
            "max_tokens",
            "temperature",
            "response_format",
        )
    )
    server, drained = await asked(*[refused(words + " roles must alternate; system role not supported")] * 50)
    assert isinstance(drained.error, InvalidRequest)
    assert len(server.received) < 10


TURNS = (
    Message(role="assistant", text="Hello."),
    Message(role="user", text="a"),
    Message(role="user", text="", images=(ImagePart(media_type="image/png", data_base64="AA=="),)),
    Message(role="assistant", text=""),
    Message(role="assistant", text="b"),
    Message(role="assistant", text="", tool_calls=(ToolCall("x", "weather", "{}"),)),
    Message(role="tool", text="dry", tool_call_id="x"),
    Message(role="user", text="c"),
)


async def test_turns_are_merged_where_a_template_wants_them_to_alternate() -> None:
    async with field_case("14-alternate") as case:
        provider = VLLMProvider(f"{case.url}/v1", "tiny")
        request = ChatRequest(
            messages=(Message(role="user", text="Capital?"), Message(role="user", text="Of France?"))
        )
        drained = [await drain(provider, request) for _ in range(2)]
        await provider.close()
    assert [one.text for one in drained] == ["Paris.", "Paris."]
    assert [len(body["messages"]) for body in case.asked] == [2, 1, 1]
    assert case.asked[-1]["messages"][0]["content"] == "Capital?\n\nOf France?"


@pytest.mark.parametrize("status", [400, 500])
async def test_merged_turns_keep_pictures_calls_and_results(status: int) -> None:
    words = "Jinja Exception: Conversation roles must alternate user/assistant/user/assistant/..."
    async with OpenAIServer(refused(words, status)) as server:
        provider = provider_for(server)
        drained = await drain(provider, ChatRequest(messages=TURNS, tools=(WEATHER,)))
        await provider.count_tokens(ChatRequest(messages=TURNS))
        await provider.close()
    assert drained.error is None
    messages = server.received[1].body["messages"]
    assert [message["role"] for message in messages] == [
        "user",
        "assistant",
        "user",
        "assistant",
        "tool",
        "user",
    ]
    assert [part["type"] for part in messages[2]["content"]] == ["text", "image_url"]
    assert messages[3]["content"] == "b"
    assert messages[3]["tool_calls"][0]["id"] == messages[4]["tool_call_id"]
    assert server.received[2].body["messages"] == messages, "and it is counted as it is sent"


@pytest.mark.parametrize(
    "words",
    [
        "System role not supported",
        "Only user and assistant roles are supported!",
        "model doesn't support system",
    ],
)
async def test_a_system_prompt_is_said_by_the_user_where_a_template_knows_none(words: str) -> None:
    server, drained = await asked(refused(words), system="Be brief.")
    assert drained.error is None
    assert server.received[1].body["messages"] == [{"role": "user", "content": "Be brief.\n\nhi"}]


async def test_ids_of_nine_characters_where_a_template_wants_them() -> None:
    words = "Tool call id was call_abc but must be a-z, A-Z, 0-9, with a length of 9."
    messages = (
        Message(role="user", text="a"),
        Message(
            role="assistant",
            text="",
            tool_calls=(ToolCall("call_abc", "f", "{}"), ToolCall("other", "f", "{}")),
        ),
        Message(role="tool", text="2", tool_call_id="other"),
        Message(role="tool", text="1", tool_call_id="call_abc"),
    )
    async with OpenAIServer(refused(words)) as server:
        provider = provider_for(server)
        drained = await drain(provider, ChatRequest(messages=messages))
        await provider.close()
    assert drained.error is None
    _, calls, *results = server.received[1].body["messages"]
    ids = [call["id"] for call in calls["tool_calls"]]
    assert all(re.fullmatch("[a-zA-Z0-9]{9}", call_id) for call_id in ids)
    assert [result["tool_call_id"] for result in results] == ids[::-1]


@pytest.mark.parametrize(
    ("message", "check"),
    [
        (
            "system.0.cache_control.ephemeral.ttl: Extra inputs are not permitted",
            lambda body: "ttl" not in body and "cache_control" in body,
        ),
        ("system.0.cache_control: Extra inputs are not permitted", lambda body: "cache_control" not in body),
        ("`temperature` is deprecated for this model.", lambda body: "temperature" not in body),
    ],
)
async def test_anthropics_wire_has_optional_parts_too(message: str, check: Any) -> None:
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    request = ChatRequest(
        messages=(Message(role="user", text="hi"),),
        system="Be brief.",
        temperature=0.5,
        cache_marks=CacheMarks(system=True, messages=(0,), lifetime="1h"),
    )
    async with AnthropicServer(Refuses(status=400, body=body)) as server:
        provider = AnthropicProvider(KEY, server.url, "claude-sonnet-4-6")
        drained = [await drain(provider, request) for _ in range(2)]
        await provider.close()
    assert [one.error for one in drained] == [None, None]
    first, *others = [str(received.body) for received in server.received]
    assert not check(first)
    assert len(others) == 2
    assert all(check(body) for body in others)


ROOM: list[tuple[str, int, int | None]] = [  # what a server says, what fits, what it says of the prompt
    (
        "'max_tokens' or 'max_completion_tokens' is too large: 32768. This model's maximum context length is 32768 "
        "tokens and your request has 12 input tokens (32768 > 32768 - 12).",
        32756,
        12,
    ),
    (
        "This model's maximum context length is 4096 tokens. However, you requested 4100 tokens (100 in the "
        "messages, 4000 in the completion). Please reduce the length of the messages or completion.",
        3996,
        100,
    ),
    (
        "This model's maximum context length is 4096 tokens. However, you requested 4000 output tokens and your "
        "prompt contains at least 100 input tokens, for a total of at least 4100 tokens.",
        3996,
        100,
    ),
    (
        "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of "
        "4100 tokens: 100 tokens from the input messages and 4000 tokens for the completion. Please reduce the "
        "number of tokens in the input messages or the completion to fit within the limit.",
        3996,
        100,
    ),
    (
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 100 `inputs` tokens "
        "and 4000 `max_new_tokens`",
        3996,
        100,
    ),
    ("max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you provided "
     "100000.", 16384, None),
    ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", 8192, None),
    ("max_tokens must be less than or equal to `8192`, the maximum value", 8192, None),
]  # fmt: skip


@pytest.mark.parametrize(("words", "fits", "prompt"), ROOM)
async def test_a_limit_that_is_too_large_is_lowered_to_what_fits(
    words: str, fits: int, prompt: int | None
) -> None:
    server, drained = await asked(refused(words), max_tokens=32_768)
    assert [received.body["max_tokens"] for received in server.received] == [32_768, fits]
    assert drained.ended.dropped == (f"max_tokens above {fits}",)


@pytest.mark.parametrize(("words", "fits", "prompt"), ROOM)
async def test_where_lowering_does_not_help_the_number_that_fits_is_told(
    words: str, fits: int, prompt: int | None
) -> None:
    server, drained = await asked(refused(words), refused(words), max_tokens=32_768)
    assert type(drained.error) is InvalidRequest
    assert f"{fits:,}" in drained.error.hint
    assert "max tokens" in drained.error.hint
    assert prompt is None or f"prompt's {prompt}" in drained.error.message
    assert len(server.received) == 2


async def test_an_answer_is_not_cut_to_a_stump_by_itself() -> None:
    fits = LEAST_WORTHWHILE_TOKENS - 1
    words = f"max_tokens must be at most {fits}"
    server, drained = await asked(refused(words), max_tokens=32_768)
    assert type(drained.error) is InvalidRequest
    assert str(fits) in drained.error.hint
    assert len(server.received) == 1


async def test_the_field_case_of_a_limit_that_is_too_large() -> None:
    async with field_case("20a-vllm-maxtokens") as case:
        provider = VLLMProvider(f"{case.url}/v1", "tiny")
        drained = await drain(provider, "Capital?", max_tokens=32_768)
        await provider.close()
    assert type(drained.error) is InvalidRequest
    assert "32,756" in drained.error.hint


async def test_the_field_case_of_a_prompt_that_is_too_long() -> None:
    async with field_case("20h-openai") as case:
        provider = VLLMProvider(f"{case.url}/v1", "tiny")
        drained = await drain(provider, "Capital?")
        await provider.close()
    assert isinstance(drained.error, ContextTooLong)
    assert (drained.error.input_tokens, drained.error.limit_tokens) == (9001, 8192)
    assert "Shorten" in drained.error.hint
    assert len(case.asked) == 1


@pytest.mark.parametrize(
    ("words", "counts"),
    [
        ("The input (5000 tokens) is longer than the model's context length (4096 tokens).", (5000, 4096)),
        ("Input validation error: `inputs` must have less than 4095 tokens. Given: 5000", (5000, 4095)),
        ("The decoder prompt (length 5000) is longer than the maximum model length of 4096.", (5000, 4096)),
        (
            "The number of tokens to keep from the initial prompt is greater than the context length (n_keep: "
            "5000>= n_ctx: 4096). Try to load the model with a larger context length, or provide a shorter input.",
            (5000, 4096),
        ),
        ("Reached context length of 4096 tokens, but this model does not support overflow", (None, 4096)),
        ("prompt is too long; exceeded max context length by 5 tokens", (None, None)),
        ("the input length exceeds the context length", (None, None)),
        ("the request exceeds the available context size, try increasing it", (None, None)),
        # The prompt alone is too long, whatever the answer's limit.
        (
            "This model's maximum context length is 4096 tokens. However, you requested 5100 tokens (5000 in the "
            "messages, 100 in the completion).",
            None,
        ),
    ],
)
async def test_a_prompt_that_is_too_long_is_told_as_that(words: str, counts: Any) -> None:
    server, drained = await asked(refused(words), max_tokens=32_768)
    assert type(drained.error) is ContextTooLong
    assert counts is None or (drained.error.input_tokens, drained.error.limit_tokens) == counts
    assert len(server.received) == 1


def led_by(*ids: str) -> ChatRequest:
    """A conversation of one call and its result a turn, with these ids."""
    messages = [Message(role="user", text="hi")]
    for number, call_id in enumerate(ids):
        messages += [
            Message(role="assistant", text="", tool_calls=(ToolCall(call_id, "weather", "{}"),)),
            Message(role="tool", text=str(number), tool_call_id=call_id),
        ]
    return ChatRequest(messages=tuple(messages), tools=(WEATHER,))


async def test_ids_of_another_models_calls_are_taken_by_anthropic() -> None:
    """The case refuses an id of other characters, one that repeats, and a result of no call."""
    both = Message(
        role="assistant",
        text="",
        tool_calls=(ToolCall("call:1", "weather", "{}"), ToolCall("call.1", "weather", "{}")),
    )
    answers = (
        Message(role="tool", text="b", tool_call_id="call.1"),
        Message(role="tool", text="a", tool_call_id="call:1"),
    )
    request = led_by(
        "functions.weather:0", "functions.weather:0", "x" * 100, "x" * 100, "", "call_0", "call_0"
    )
    request = ChatRequest(messages=(*request.messages, both, *answers), tools=request.tools)
    async with field_case("13-tool-ids") as case:
        provider = AnthropicProvider(KEY, case.url, MODEL)
        drained = await drain(provider, request)
        await provider.close()
    assert drained.text == "Done."
    (body,) = case.asked
    blocks = [block for message in body["messages"] for block in message["content"]]
    ids = [block["id"] for block in blocks if block["type"] == "tool_use"]
    results = {
        block["content"][0]["text"]: block["tool_use_id"]
        for block in blocks
        if block["type"] == "tool_result"
    }
    assert [results[str(number)] for number in range(7)] == ids[:7]
    assert [results["a"], results["b"]] == ids[7:]
    assert all(len(call_id) <= 64 for call_id in ids)


async def test_ids_that_are_fine_stay_and_a_conversation_that_goes_on_keeps_its_beginning() -> None:
    server_ids: list[list[str]] = []
    async with OpenAIServer(Streams("ok"), Streams("ok")) as server:
        provider = provider_for(server)
        for ids in (("toolu_01", "a b"), ("toolu_01", "a b", "a b", "toolu_02")):
            await drain(provider, led_by(*ids))
            messages = server.received[-1].body["messages"]
            server_ids.append([call["id"] for message in messages for call in message.get("tool_calls", ())])
        await provider.close()
    assert server_ids == [["toolu_01", "a_b"], ["toolu_01", "a_b", "a_b_2", "toolu_02"]]
