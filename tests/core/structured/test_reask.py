"""Asking once more: the same request with the bad answer and one short correction."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.chat import CacheMarks, ChatRequest, JsonSchemaFormat, Message, Tool, ToolCall
from core.structured.answers import MAX_ECHO_CHARS, check_tool_calls, reask_messages

CITY = Tool(
    name="weather",
    description="The weather",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
REQUEST = ChatRequest(
    messages=(Message(role="user", text="Which city?"),),
    system="Be brief.",
    tools=(CITY,),
    response_format=JsonSchemaFormat(schema={"type": "object"}),
    max_tokens=50,
    temperature=0.3,
    project="p",
    conversation_id="c",
    idempotency_key="k",
    cache_marks=CacheMarks(system=True, messages=(0,)),
)
PROBLEMS = ("at /city: it must be text, and is null",)


def test_a_bad_answer_is_followed_by_one_correction() -> None:
    again = reask_messages(REQUEST, '{"city": null}', PROBLEMS)
    question, answer, correction = again.messages
    assert question == REQUEST.messages[0]
    assert (answer.role, answer.text) == ("assistant", '{"city": null}')
    assert correction.role == "user"
    assert "- at /city: it must be text, and is null" in correction.text
    assert "Send only the corrected JSON value" in correction.text


def test_everything_else_of_the_request_stays() -> None:
    again = reask_messages(REQUEST, "x", PROBLEMS)
    assert dataclasses.replace(again, messages=REQUEST.messages) == REQUEST


def test_a_second_correction_takes_the_place_of_the_first() -> None:
    once = reask_messages(REQUEST, "first", PROBLEMS)
    twice = reask_messages(once, "second", ("at /: new",))
    assert [message.text for message in twice.messages][:2] == ["Which city?", "second"]
    assert len(twice.messages) == 3
    assert "at /: new" in twice.messages[-1].text
    assert PROBLEMS[0] not in twice.messages[-1].text


def test_calls_are_answered_as_calls() -> None:
    calls = (ToolCall("a", "weather", '{"city": 5}'), ToolCall("b", "weather", '{"city": "Oslo"}'))
    again = reask_messages(REQUEST, "Let me look.", PROBLEMS, calls=calls)
    _, answer, first, second = again.messages
    assert (answer.role, answer.text, answer.tool_calls) == ("assistant", "Let me look.", calls)
    assert [(turn.role, turn.tool_call_id) for turn in (first, second)] == [("tool", "a"), ("tool", "b")]
    assert "The tool was not run." in first.text
    assert PROBLEMS[0] in first.text
    twice = reask_messages(again, "", PROBLEMS, calls=calls[:1])
    assert [turn.role for turn in twice.messages] == ["user", "assistant", "tool"]


@pytest.mark.parametrize(
    "calls",
    [
        (ToolCall("a", "weather", '{"city": '),),
        (ToolCall("a", "weather", "[1]"),),
        (ToolCall("", "weather", "{}"),),
        (ToolCall("a", "weather", "{}"), ToolCall("a", "weather", "{}")),
        (ToolCall("a", "nope", "{}"),),
        (ToolCall("a", "weather", json.dumps({"city": "x" * MAX_ECHO_CHARS})),),
    ],
)
def test_calls_that_a_wire_would_refuse_are_told_in_words(calls: tuple[ToolCall, ...]) -> None:
    again = reask_messages(REQUEST, "", PROBLEMS, calls=calls)
    _, answer, correction = again.messages
    assert answer.tool_calls == ()
    assert f"(a call of the tool {calls[0].name}: " in answer.text
    assert correction.role == "user"
    assert "The tool was not run." in correction.text


def test_an_empty_answer_is_still_a_turn() -> None:
    """Anthropic refuses an empty turn, and chat templates two user turns in a row."""
    assert [turn.text for turn in reask_messages(REQUEST, " \n", PROBLEMS).messages][1] == "(no answer)"


def test_an_answer_whose_beginning_was_given_is_one_turn() -> None:
    begun = dataclasses.replace(REQUEST, messages=(*REQUEST.messages, Message(role="assistant", text="{")))
    again = reask_messages(begun, '"city": null}', PROBLEMS)
    assert [turn.role for turn in again.messages] == ["user", "assistant", "user"]
    assert again.messages[1].text == '{"city": null}'


@given(st.text(), st.lists(st.text()), st.integers(1, 400_000))
def test_it_is_bounded_whatever_the_answer(text: str, problems: list[str], times: int) -> None:
    again = reask_messages(REQUEST, (text or "x") * times, [problem * 100 for problem in problems])
    assert sum(len(turn.text) for turn in again.messages) < MAX_ECHO_CHARS + 10 * 320 + 1_000
    assert [turn.role for turn in again.messages] == ["user", "assistant", "user"]
    assert all(turn.text.strip() for turn in again.messages)


@given(
    st.lists(
        st.builds(ToolCall, st.text(max_size=3), st.sampled_from(["weather", "x", ""]), st.text()), min_size=1
    )
)
def test_no_call_that_cannot_be_sent_is_sent(calls: list[ToolCall]) -> None:
    again = reask_messages(REQUEST, "", PROBLEMS, calls=calls)
    ids = [call.id for turn in again.messages for call in turn.tool_calls]
    assert ids == [turn.tool_call_id for turn in again.messages if turn.role == "tool"]
    for turn in again.messages:
        for problem in check_tool_calls(turn.tool_calls, [CITY]):
            assert "no such tool" not in problem
            assert "id" not in problem.split(":")[1]
        arguments: list[Any] = [json.loads(call.arguments_json or "{}") for call in turn.tool_calls]
        assert all(isinstance(each, dict) for each in arguments)
