"""What breaks around an answer: the ledger between two attempts, its end, or Signalbox itself; nothing is lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.chat import UsageReported
from core.errors import BudgetExceeded, LedgerUnavailable, SignalboxError, Unavailable
from core.ledger.ledger import Ledger
from core.routing.preparation import RequestPreparer
from core.routing.settlement import Settlement
from tests.core.test_router_queue import Asked, posted
from tests.support.openai_server import Streams, vllm_error
from tests.support.two_sides import two_sides

BROKEN = vllm_error(500, "InternalServerError", "boom")


async def full(*arguments: Any, **named: Any) -> Any:
    raise LedgerUnavailable("The disk is full.")


async def test_without_a_ledger_to_hold_in_nothing_falls_back(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_sides(home) as sides:
        standing = sides.core.ledger.current.standing

        async def fills_up(*arguments: Any, **named: Any) -> Any:
            return await (full if posted(sides.local.received) else standing)(*arguments, **named)

        monkeypatch.setattr(sides.core.ledger.current, "standing", fills_up)
        sides.local.replies.append(BROKEN)
        error = await Asked(sides, "hi").error()
        assert not isinstance(error, LedgerUnavailable), "the server's error, not the ledger's"
        assert "boom" in error.message
        assert sides.api.books == []


async def test_an_answer_that_cannot_be_settled_is_whole_all_the_same(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_sides(home) as sides:
        monkeypatch.setattr(sides.core.ledger.current, "settle", full)
        result = await Asked(sides, "hi", force="api").result()
        assert (result.text, result.finish_reason) == ("Hello there", "stop")
        assert result.cost_nanodollars


async def test_figures_that_no_ledger_holds_are_settled_at_the_hold(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_sides(home) as sides:
        settle = sides.core.ledger.current.settle

        async def bounded(request: str, attempt: int, outcome: Any, **named: Any) -> Any:
            if outcome.usage is not None:
                raise OverflowError("too large for a column")
            return await settle(request, attempt, outcome, **named)

        monkeypatch.setattr(sides.core.ledger.current, "settle", bounded)
        result = await Asked(sides, "hi", force="api").result()
        assert result.text == "Hello there"
        (row,) = await sides.core.ledger.attempts(result.correlation_id)
        assert row.status != "open"
        budget = await sides.core.ledger.budget()
        assert (budget.held_nanodollars, budget.spent_nanodollars) == (0, row.hold_nanodollars)
        assert budget.spent_nanodollars > 0


async def test_a_fault_at_the_very_end_is_told_in_words(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with two_sides(home) as sides:

        def breaks(*arguments: Any, **named: Any) -> None:
            raise LookupError("mine")

        with monkeypatch.context() as broken:
            broken.setattr(RequestPreparer, "ended", breaks)
            error = await Asked(sides, "hi").error()
        assert type(error) is SignalboxError
        assert "Something went wrong in Signalbox itself (LookupError)" in error.message
        assert (await Asked(sides, "hi").result()).text, "the next one is served"


async def test_money_that_is_gone_at_each_try_ends_in_an_error_and_not_in_a_loop(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_sides(home) as sides:
        tries = 0

        async def taken(*arguments: Any, **named: Any) -> Any:
            nonlocal tries
            tries += 1
            raise BudgetExceeded(
                "Others took it.",
                limit_name="SPEND_LIMIT_DOLLARS",
                limit_nanodollars=1,
                spent_nanodollars=1,
                held_nanodollars=0,
                asked_nanodollars=1,
            )

        monkeypatch.setattr(Ledger, "begin", taken)
        error = await Asked(sides, "hi", force="api").error()
        assert isinstance(error, Unavailable)
        assert "again and again" in error.message
        assert tries == 4
        assert sides.api.books == []


async def test_an_answer_is_given_again_even_if_that_cannot_be_written(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_sides(home) as sides:
        sides.local.replies.append(Streams("Hello", with_usage=False))
        first = await Asked(sides, "hi", force="local", idempotency_key="k").result()
        monkeypatch.setattr(sides.core.ledger.current, "replay", full)
        again = Asked(sides, "hi", force="local", idempotency_key="k")
        result = await again.result()
        assert (result.text, result.replay_of) == ("Hello", first.correlation_id)
        assert result.usage is None
        assert not any(isinstance(event, UsageReported) for event in again.events), "unknown is not zero"
        assert posted(sides.local.received) == 1


async def test_a_fault_before_the_row_is_closed_closes_it_at_its_hold(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_sides(home) as sides:

        def breaks(*arguments: Any, **named: Any) -> None:
            raise LookupError("mine")

        with monkeypatch.context() as broken:
            broken.setattr(Settlement, "result", breaks)
            error = await Asked(sides, "hi", force="api").error()
        assert "LookupError" in error.message
        (row,) = await sides.core.ledger.recent()
        assert row.status == "failed"
        budget = await sides.core.ledger.budget()
        assert (budget.held_nanodollars, budget.spent_nanodollars) == (0, row.hold_nanodollars)
        assert budget.spent_nanodollars > 0


async def test_a_fault_that_nothing_can_be_written_after_is_told_all_the_same(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_sides(home) as sides:

        def breaks(*arguments: Any, **named: Any) -> None:
            raise LookupError("mine")

        monkeypatch.setattr(Settlement, "result", breaks)
        monkeypatch.setattr(sides.core.ledger.current, "settle", full)
        error = await Asked(sides, "hi", force="api").error()
        assert "LookupError" in error.message


async def test_a_ledger_that_is_taken_away_sends_nothing_and_says_so(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        await sides.core.ask("hi")
        (home / "ledger.sqlite3").unlink()
        with pytest.raises(LedgerUnavailable, match="removed or replaced"):
            await sides.core.ask("hi again")
        assert len(sides.api.books) == 1
        titles = [problem.title for problem in (await sides.core.status()).problems]
        assert "The ledger's file is gone" in titles


async def test_a_total_that_was_lowered_is_told_at_the_start_and_lifts_no_limit(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        await sides.core.ask("hi")
    with closing(sqlite3.connect(home / "ledger.sqlite3")) as file:
        file.execute("UPDATE ledger_totals SET counted_nanodollars = 0")
        file.commit()
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        titles = [problem.title for problem in (await sides.core.status()).problems]
        assert "The ledger's sums differ from its rows" in titles
        _, (month, *_), _ = await sides.core.ledger.standing()
        assert month.used > 0
