"""What an answer is said to have cost is what the ledger counts, however it ended; and its speed is measured."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.chat import ChatRequest, ChatResult, Failed, Finished, Stopped, TextDelta
from core.pricing.spending import Spending, likely_nanodollars
from tests.support.anthropic_server import Says, refusal
from tests.support.two_sides import TwoSides, two_sides

USED = {"input_tokens": 400_000, "output_tokens": 1}
CUT = Says("one ", "two ", "three", cut_after=2, usage=USED)
WHOLE = Says("one ", "two ", "three", usage=USED)


async def ended(sides: TwoSides, *, stop_at: int | None = None) -> ChatResult:
    """Ask, stop after so many pieces, and return what came."""
    pieces = 0
    events = sides.core.stream(ChatRequest.from_prompt("hi"))
    async with aclosing(events):
        async for event in events:
            pieces += isinstance(event, TextDelta)
            if stop_at is not None and pieces == stop_at:
                events.stop()
            match event:
                case Finished(result=result):
                    return result
                case Failed(partial=result) | Stopped(result=result):
                    assert result is not None
                    return result
                case _:
                    pass
    raise AssertionError("no end")


@pytest.mark.parametrize(
    ("replies", "stop_at", "words"),
    [
        ([WHOLE], None, "spent"),
        ([Says("one ", "two ", hold_after=2, usage=USED)], 2, "~"),
        ([CUT], None, "not settled"),
        ([refusal(429, "rate_limit_error", "Slow down"), CUT], None, "not settled"),
        ([refusal(400, "invalid_request_error", "No")], None, "no charge"),
    ],
)
async def test_an_answer_costs_what_the_ledger_counts(
    home: Path, replies: list[Any], stop_at: int | None, words: str
) -> None:
    async with two_sides(home, ROUTING_MODE="api-only", MAX_RETRIES="1") as sides:
        sides.api.replies += replies
        result = await ended(sides, stop_at=stop_at)
        rows = await sides.core.ledger.attempts(result.correlation_id)
        spending = Spending.total(row.spending for row in rows)
        assert Spending.of(result) == spending
        assert words in spending.words
        if words == "not settled":
            assert likely_nanodollars(result) == result.cost_nanodollars
            await sides.core.ledger.resolve(result.correlation_id, 10_000_000, attempt=len(rows))
            rows = await sides.core.ledger.attempts(result.correlation_id)
            assert Spending.total(row.spending for row in rows).words == "$0.0100 spent"


async def test_a_local_answer_after_an_attempt_whose_cost_is_open_says_so(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-primary") as sides:
        sides.api.replies.append(Says(cut_after=0, usage=USED))
        result = await ended(sides)
        rows = await sides.core.ledger.attempts(result.correlation_id)
        assert result.side == "local"
        assert Spending.of(result) == Spending.total(row.spending for row in rows)


async def test_only_what_the_server_counted_over_the_time_it_took_is_a_speed(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        sides.api.replies += [
            Says(*["word "] * 8, pace_s=0.02, hold_after=8),
            Says(*["word "] * 6, thinking=("hm ",) * 2, pace_s=0.02),
        ]
        stopped = await ended(sides, stop_at=8)
        assert stopped.usage is not None
        assert stopped.usage_estimated
        assert stopped.output_tokens_per_s is None, "its tokens are an upper bound"
        paced = await ended(sides)
        speed, took_ms = paced.output_tokens_per_s, paced.generation_ms
        assert speed is not None
        assert took_ms is not None
        assert paced.usage is not None
        assert speed == pytest.approx((paced.usage.output_tokens - 1) * 1000 / took_ms)
        at_once = replace(paced, generation_ms=0.8)
        assert at_once.output_tokens_per_s is None, "that is the speed of a buffer"
