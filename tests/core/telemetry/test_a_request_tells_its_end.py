"""Every request has one line in the log that says what became of it, under its own id."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from core.chat import ChatRequest, TextDelta
from core.errors import BudgetExceeded, SignalboxError
from core.pricing.money import format_cost
from core.telemetry.logs import setup_logging
from tests.core.telemetry.reading import objects
from tests.support.anthropic_server import Says, refusal
from tests.support.two_sides import two_sides

HARD = "Prove step by step why the algorithm is optimal, compare it, and explain the trade-offs. " * 4


def told(home: Path, request: ChatRequest) -> list[str]:
    lines: list[dict[str, Any]] = objects(home)
    return [
        line["message"]
        for line in lines
        if line["logger"] == "core.routing.observers" and line["correlation_id"] == request.correlation_id
    ]


async def test_a_request_that_is_answered_says_where_and_for_how_much(home: Path) -> None:
    async with two_sides(home) as sides:
        setup_logging(home, log_format="json")
        request = ChatRequest.from_prompt(HARD)
        result = await sides.core.ask(request)
        (line,) = told(home, request)
        assert line.startswith(f"done: anthropic {result.model} (complex), ")
        assert " in, " in line
        assert "$0.0" in line
        assert line.endswith(" ms")


async def test_one_that_is_stopped_or_fails_says_so(home: Path) -> None:
    async with two_sides(home, ENABLE_FALLBACK="false") as sides:
        setup_logging(home, log_format="json")
        stopped, failed = ChatRequest.from_prompt(HARD), ChatRequest.from_prompt(HARD)
        sides.api.replies.append(Says("one ", "two", hold_after=1))
        async with aclosing(sides.core.stream(stopped)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    break
        sides.api.replies.append(refusal(529, "overloaded_error", "Overloaded"))
        with pytest.raises(SignalboxError):
            await sides.core.ask(failed)
        assert [line.split(":")[0] for line in told(home, stopped)] == ["stopped"]
        assert [line.split(":")[0] for line in told(home, failed)] == ["failed, overloaded"]


async def test_one_that_breaks_off_says_what_is_counted(home: Path) -> None:
    async with two_sides(home, ENABLE_FALLBACK="false") as sides:
        setup_logging(home, log_format="json")
        request = ChatRequest.from_prompt(HARD)
        sides.api.replies.append(Says("one ", "two ", "three", cut_after=1))
        with pytest.raises(SignalboxError):
            await sides.core.ask(request)
        (line,) = told(home, request)
        (row,) = await sides.core.ledger.recent()
        assert f"up to {format_cost(row.counted_nanodollars)} not settled" in line


async def test_a_replay_is_told_as_one(home: Path) -> None:
    async with two_sides(home) as sides:
        setup_logging(home, log_format="json")
        first, second = (ChatRequest.from_prompt(HARD, idempotency_key="k") for _ in range(2))
        await sides.core.ask(first)
        await sides.core.ask(second)
        assert [line.split(":")[0] for line in told(home, first)] == ["done"]
        (line,) = told(home, second)
        assert line.startswith("replayed: anthropic ")
        assert line.endswith("nothing sent or paid")


async def test_one_that_is_refused_says_that_it_was_not_sent(home: Path) -> None:
    async with two_sides(home, SPEND_LIMIT_DOLLARS="0.01", LOCAL_SERVER="none") as sides:
        setup_logging(home, log_format="json")
        request = ChatRequest.from_prompt(HARD, max_tokens=2000)
        with pytest.raises(BudgetExceeded):
            await sides.core.ask(request)
        (line,) = told(home, request)
        assert line.startswith("refused, budget_exceeded: not sent")
