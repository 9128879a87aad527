"""What llama.cpp worked on when it died is not given to it again."""

from __future__ import annotations

from typing import Any

import pytest

from core.chat import ChatRequest, JsonSchemaFormat, Tool
from core.errors import InvalidRequest
from core.local.crash_suspects import BROKEN_WITHIN_S, STUCK_WITHIN_S, CrashSuspects


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


def asking(**schema: Any) -> ChatRequest:
    return ChatRequest.from_prompt("hi", response_format=JsonSchemaFormat(schema=schema))


DEADLY, HARMLESS, PLAIN = asking(type="string"), asking(type="number"), ChatRequest.from_prompt("hi")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def suspects(clock: Clock) -> CrashSuspects:
    return CrashSuspects(clock)


def test_what_runs_at_a_crash_is_refused(suspects: CrashSuspects) -> None:
    suspects.began(1, DEADLY)
    assert suspects.crashed()
    assert suspects.refuses(asking(type="string"))  # an equal one, of another request
    with pytest.raises(InvalidRequest, match="isn't given it again") as caught:
        suspects.began(2, DEADLY)
    assert caught.value.hint
    assert not suspects.refuses(HARMLESS)
    assert not suspects.refuses(PLAIN)


def test_a_tools_parameters_are_a_schema_too(suspects: CrashSuspects) -> None:
    tool = Tool(name="t", description="", parameters={"type": "object"})
    suspects.began(1, ChatRequest.from_prompt("hi", tools=(tool,)))
    suspects.crashed()
    assert suspects.refuses(ChatRequest.from_prompt("ho", tools=(tool,)))


def test_what_had_ended_well_is_not_suspected(suspects: CrashSuspects) -> None:
    suspects.began(1, DEADLY)
    suspects.ended(1, answered=True, broken=False)
    assert not suspects.crashed()
    assert not suspects.refuses(DEADLY)


@pytest.mark.parametrize(("later_s", "refused"), [(0.0, True), (BROKEN_WITHIN_S + 0.1, False)])
def test_what_broke_off_just_before_is(
    suspects: CrashSuspects, clock: Clock, later_s: float, refused: bool
) -> None:
    """A connection is seen to break before the process is seen to end."""
    suspects.began(1, DEADLY)
    suspects.ended(1, answered=False, broken=True)
    clock.advance(later_s)
    suspects.crashed()
    assert suspects.refuses(DEADLY) == refused


@pytest.mark.parametrize(("later_s", "refused"), [(STUCK_WITHIN_S - 1, True), (STUCK_WITHIN_S + 1, False)])
def test_what_was_given_up_while_it_was_stuck_is(
    suspects: CrashSuspects, clock: Clock, later_s: float, refused: bool
) -> None:
    suspects.began(1, DEADLY)
    suspects.ended(1, answered=False, broken=True)
    clock.advance(later_s)
    suspects.began(2, HARMLESS)
    suspects.ended(2, answered=True, broken=False)
    suspects.crashed(is_stuck=True)
    assert (suspects.refuses(DEADLY), suspects.refuses(HARMLESS)) == (refused, False)


def test_who_waits_for_the_first_token_is_suspected_first(suspects: CrashSuspects) -> None:
    suspects.began(1, HARMLESS)
    suspects.began(2, DEADLY)
    suspects.ended(1, answered=True, broken=True)
    suspects.crashed()
    assert (suspects.refuses(DEADLY), suspects.refuses(HARMLESS)) == (True, False)


def test_a_request_without_a_schema_is_never_suspected(suspects: CrashSuspects) -> None:
    suspects.began(1, PLAIN)
    assert not suspects.crashed()
    suspects.began(2, PLAIN)
