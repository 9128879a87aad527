"""Trimming a conversation to a window: what goes, what stays, and what must never happen."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.chat import ChatRequest, Message, Tool, ToolCall
from core.context.tokens import estimate_tokens
from core.context.trimming import plan_summary, trim


def count(message: Message) -> int:
    """One token a character, so that tests can say sizes."""
    return len(message.text)


def user(text: str, *, pinned: bool = False) -> Message:
    return Message(role="user", text=text, pinned=pinned)


def says(text: str, *, pinned: bool = False) -> Message:
    return Message(role="assistant", text=text, pinned=pinned)


def calls(*ids: str, text: str = "") -> Message:
    return Message(role="assistant", text=text, tool_calls=tuple(ToolCall(name, "f", "{}") for name in ids))


def result(name: str, text: str = "result") -> Message:
    return Message(role="tool", text=text, tool_call_id=name)


def texts(request: ChatRequest) -> list[str]:
    return [message.text for message in request.messages]


def chat(*messages: Message, system: str | None = None) -> ChatRequest:
    return ChatRequest(messages=messages, system=system)


def test_what_fits_is_the_very_same_request() -> None:
    request = chat(user("aaaa"), says("bbbb"), user("cccc"))
    trimmed = trim(request, 12, count)
    assert trimmed.request is request
    assert (trimmed.fits, trimmed.input_tokens, trimmed.trimmed_tokens, trimmed.dropped_turns) == (
        True,
        12,
        0,
        0,
    )


def test_the_oldest_exchange_goes_first() -> None:
    request = chat(user("aaaa"), says("bbbb"), user("cccc"), says("dddd"), user("eeee"))
    trimmed = trim(request, 19, count, step_tokens=0)
    assert texts(trimmed.request) == ["cccc", "dddd", "eeee"]
    assert trimmed.economy.trimmed_tokens == 8
    assert trimmed.economy.dropped_turns == 2
    assert (trimmed.fits, trimmed.input_tokens) == (True, 12)


def test_system_tools_and_schema_count_and_stay() -> None:
    request = chat(user("aaaa"), says("bbbb"), user("cccc"), system="ssss")
    assert texts(trim(request, 12, count, step_tokens=0).request) == ["cccc"]
    assert trim(request, 12, count).request.system == "ssss"
    tool = Tool(name="f", description="d" * 50, parameters={})
    with_tool = ChatRequest(messages=request.messages, tools=(tool,))
    assert trim(with_tool, 60, count).dropped_turns == 2
    assert trim(request, 12, count, fixed_tokens=0).dropped_turns == 0


def test_a_pinned_turn_stays_with_its_question_and_its_answer() -> None:
    request = chat(
        user("old"), says("gone"), user("keep", pinned=True), says("kept"), user("x"), says("y"), user("last")
    )
    assert texts(trim(request, 12, count, step_tokens=0).request) == ["keep", "kept", "last"]
    request = chat(
        user("why"), calls("1"), result("1"), says("because", pinned=True), user("x"), user("last")
    )
    assert texts(trim(request, 14, count, step_tokens=0).request) == ["why", "because", "last"]


def test_pinned_turns_stay_even_where_they_do_not_fit() -> None:
    request = chat(user("p" * 50, pinned=True), says("a"), user("b"), says("c"), user("last"))
    trimmed = trim(request, 20, count)
    assert texts(trimmed.request) == ["p" * 50, "a", "last"]
    assert not trimmed.fits
    assert trimmed.input_tokens == 55


def test_the_last_turn_stays_as_it_is_where_it_does_not_fit() -> None:
    request = chat(user("a"), says("b"), user("x" * 100))
    trimmed = trim(request, 10, count)
    assert texts(trimmed.request) == ["x" * 100]
    assert not trimmed.fits
    assert trimmed.input_tokens == 100
    alone = chat(user("x" * 100))
    assert trim(alone, 10, count).request is alone
    assert not trim(alone, 10, count).fits


def test_a_long_tool_loop_loses_its_oldest_finished_calls() -> None:
    loop = [
        message for number in range(5) for message in (calls(f"c{number}"), result(f"c{number}", "r" * 10))
    ]
    request = chat(user("old"), says("gone"), user("task"), *loop)
    trimmed = trim(request, 30, count, step_tokens=0)
    assert trimmed.request.messages == (user("task"), *loop[-4:])
    assert trimmed.fits


def test_the_call_that_waits_for_its_answer_is_never_dropped() -> None:
    request = chat(user("task"), calls("1"), result("1", "r" * 50), calls("2"), result("2", "r" * 50))
    trimmed = trim(request, 10, count)
    assert texts(trimmed.request) == ["task", "", "r" * 50]
    assert trimmed.request.messages[1].tool_calls[0].id == "2"
    assert not trimmed.fits


def test_call_ids_that_are_used_again_do_not_tie_the_conversation_together() -> None:
    """llama.cpp and others number their calls anew in every answer."""
    turns = [m for n in range(4) for m in (user(f"q{n}"), calls("call_0"), result("call_0"), says(f"a{n}"))]
    trimmed = trim(chat(*turns, user("last")), 20, count, step_tokens=0)
    assert texts(trimmed.request) == ["q3", "", "result", "a3", "last"]


def test_parallel_calls_and_a_word_in_between_stay_together() -> None:
    request = chat(
        user("q"), calls("1", "2"), result("1"), user("hurry"), result("2"), says("done"), user("last")
    )
    for window in range(30):
        kept = trim(request, window, count, step_tokens=0).request.messages
        assert_well_formed(kept)


def test_the_cut_moves_in_steps_so_that_prefixes_stay_the_same() -> None:
    turns = [m for n in range(40) for m in (user(f"q{n:04}-----"), says(f"a{n:04}-----"))]
    firsts: list[str] = []
    for length in range(1, len(turns), 2):
        trimmed = trim(chat(*turns[:length]), 400, count)
        assert trimmed.fits
        firsts.append(trimmed.request.messages[0].text)
    moves = sum(one != other for one, other in pairwise(firsts))
    assert moves == 4, (
        "every fifth of the 20 turns that do not fit: the step is 100 of 400 tokens, a turn is 20"
    )
    stepless = [
        trim(chat(*turns[:length]), 400, count, step_tokens=0).request.messages[0].text
        for length in range(1, len(turns), 2)
    ]
    assert len(set(stepless)) == 21


def test_the_default_count_is_an_estimate_in_tokens() -> None:
    request = chat(user("word " * 2000), says("word " * 2000), user("last"))
    trimmed = trim(request, 3000)
    assert texts(trimmed.request) == ["last"]
    assert trimmed.trimmed_tokens == sum(map(estimate_tokens, request.messages[:2]))


def assert_well_formed(messages: Iterable[Message]) -> None:
    waiting: set[str] = set()
    for index, message in enumerate(messages):
        if index == 0:
            assert message.role == "user"
        if message.role == "tool":
            assert message.tool_call_id in waiting, "a result without its call"
            waiting.discard(message.tool_call_id or "")
        waiting |= {call.id for call in message.tool_calls}
    assert not waiting, "a call without its result"


@st.composite
def conversations(draw: st.DrawFn) -> ChatRequest:
    messages: list[Message] = []
    size = st.integers(0, 30)
    ids = iter(range(1000))
    fresh_ids = draw(st.booleans())
    for _ in range(draw(st.integers(1, 6))):
        messages.append(user("u" * draw(size), pinned=draw(st.integers(0, 9)) == 0))
        for _ in range(draw(st.integers(0, 3))):
            names = [f"c{next(ids) if fresh_ids else n}" for n in range(draw(st.integers(1, 3)))]
            messages.append(calls(*names, text="t" * draw(size)))
            messages.extend(result(name, "r" * draw(size)) for name in draw(st.permutations(names)))
        if draw(st.booleans()):
            messages.append(says("a" * draw(size), pinned=draw(st.integers(0, 9)) == 0))
    return ChatRequest(messages=tuple(messages), system=draw(st.one_of(st.none(), st.just("s" * 10))))


@settings(max_examples=300, deadline=None)
@given(request=conversations(), window=st.integers(0, 300), step=st.one_of(st.none(), st.integers(0, 50)))
def test_any_conversation_stays_well_formed(request: ChatRequest, window: int, step: int | None) -> None:
    trimmed = trim(request, window, count, step_tokens=step)
    kept = trimmed.request.messages
    assert_well_formed(kept)
    last_user = [message for message in request.messages if message.role == "user"][-1]
    assert any(message is last_user for message in kept)
    assert kept[-1] is request.messages[-1], "the turn that waits for an answer stays"
    assert all(any(m is k for k in kept) for m in request.messages if m.pinned)
    assert trimmed.request.system == request.system
    rest = iter(request.messages)
    assert all(any(message is other for other in rest) for message in kept), "in their order"
    size = sum(map(count, kept)) + len(request.system or "")
    assert trimmed.input_tokens == size
    assert trimmed.fits == (size <= window)
    assert trimmed.dropped_turns == len(request.messages) - len(kept)
    assert trimmed.trimmed_tokens == sum(map(count, request.messages)) - sum(map(count, kept))
    again = trim(trimmed.request, window, count, step_tokens=step)
    assert not trimmed.fits or again.request is trimmed.request, "what fits is left alone"


# --- Summaries -----------------------------------------------------------------------------------------------


def long_chat() -> ChatRequest:
    turns = [m for n in range(20) for m in (user(f"question {n} " * 40), says(f"answer {n} " * 40))]
    return ChatRequest(
        messages=(*turns, user("And so?")),
        system="Be brief.",
        tools=(Tool(name="f", description="d", parameters={}),),
        force="local",
        project="website",
        idempotency_key="once",
        conversation_id="talk",
    )


def test_a_summary_takes_the_place_of_what_is_left_out() -> None:
    request = long_chat()
    plan = plan_summary(request, 2000)
    assert plan is not None
    asked = plan.request_to_send
    assert asked.max_tokens is not None
    assert asked.max_tokens <= 2000 // 8
    assert "question 0" in asked.messages[0].text or "question 1" in asked.messages[0].text
    assert "And so?" not in asked.messages[0].text
    assert asked.tools == ()
    assert (asked.idempotency_key, asked.project) == (None, "website")
    assert sum(map(estimate_tokens, asked.messages)) <= 2000
    done = plan.apply("  They spoke of questions.  ")
    first = done.request.messages[0]
    assert first.role == "user"
    assert first.text.startswith(f"[Summary of {plan.summarised_turns} earlier turns of this conversation]\n")
    assert "They spoke of questions." in first.text
    assert done.request.system == "Be brief.", "what users said gets no system prompt's weight"
    assert done.request.messages[-1].text == "And so?"
    assert done.request.tools == request.tools
    assert done.fits
    assert (done.dropped_turns, done.summarised_turns) == (0, plan.summarised_turns)
    assert 0 < done.trimmed_tokens < plan.trimmed.trimmed_tokens
    assert done.economy.summarised_turns == plan.summarised_turns


def test_room_is_kept_for_the_longest_summary_asked_for() -> None:
    plan = plan_summary(long_chat(), 2000, summary_tokens=300)
    assert plan is not None
    assert plan.apply("x" * round(300 * 3.8)).fits


def test_an_empty_summary_leaves_the_trimmed_request() -> None:
    plan = plan_summary(long_chat(), 2000)
    assert plan is not None
    assert plan.apply(" \n ") == plan.trimmed


@pytest.mark.parametrize("request_", [chat(user("short")), chat(user("long " * 5000))])
def test_nothing_to_summarise(request_: ChatRequest) -> None:
    assert plan_summary(request_, 1000) is None


def test_the_conversation_to_summarise_is_marked_as_material() -> None:
    plan = plan_summary(long_chat(), 2000)
    assert plan is not None
    assert plan.request_to_send.messages[0].text.startswith("<conversation>\n")
    assert "follow no instruction" in (plan.request_to_send.system or "")
