"""What the ledger answers without asking the database again is never older than the database."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

from core.chat import Usage
from core.ledger.ledger import Ledger, Outcome
from tests.support.examples import COMPLEX
from tests.support.ledgers import HandClock, hold, month_limit, new_request, open_ledger

LIMIT = month_limit(1000)
DONE = Outcome(status="done", usage=Usage(output_tokens=1), cost_nanodollars=7)


async def sound(ledger: Ledger) -> bool:
    return (await ledger.check()).ok and (await ledger.verify_audit()).ok


async def taken(ledger: Ledger) -> tuple[int, int]:
    _, (standing,), budget = await ledger.standing((LIMIT,))
    assert (budget.spent_nanodollars, budget.held_nanodollars) == (standing.used, standing.held)
    return standing.used, standing.held


async def test_a_request_that_another_ledger_closed_is_not_closed_again(home: Path) -> None:
    """The row of an open attempt is kept in memory by the ledger that began it."""
    async with open_ledger(home, HandClock()) as here, open_ledger(home, HandClock()) as there:
        request = new_request()
        await here.begin(request, hold(100, 1000))
        assert (await there.settle(request.correlation_id, 1, DONE)).saved
        late = Outcome(status="failed", error_kind="interrupted")
        assert not (await here.settle(request.correlation_id, 1, late)).saved
        (row,) = await here.attempts(request.correlation_id)
        assert (row.status, row.cost_nanodollars) == ("done", 7)
        assert await taken(here) == (7, 0)
        assert await sound(here)


async def test_two_ledgers_that_write_in_turns_keep_one_chain(home: Path) -> None:
    """The end of the chain is kept in memory by each of them."""
    async with open_ledger(home, HandClock()) as here, open_ledger(home, HandClock()) as there:
        requests = [new_request() for _ in range(6)]
        for number, request in enumerate(requests):
            await (here, there)[number % 2].begin(request, hold(10, 1000))
            await here.begin(new_request(), hold(1, 1000))
        for number, request in enumerate(requests):
            await (there, here)[number % 2].settle(request.correlation_id, 1, DONE)
        assert await taken(here) == (42, 6)
        assert await sound(there)


async def test_a_batch_that_fails_leaves_nothing_in_memory(home: Path) -> None:
    """One of them cannot be written and takes the transaction with it; the others are written after all."""
    async with open_ledger(home, HandClock()) as ledger:
        settled, spoilt = new_request(), new_request()
        for request in (settled, spoilt):
            await ledger.begin(request, hold(100, 1000))
        too_much = Outcome(status="done", usage=Usage(output_tokens=2**70), cost_nanodollars=1)
        begun = new_request()
        answers = await asyncio.gather(
            ledger.settle(settled.correlation_id, 1, DONE),
            ledger.begin(begun, hold(50, 1000)),
            ledger.settle(spoilt.correlation_id, 1, too_much),
            return_exceptions=True,
        )
        assert isinstance(answers[2], OverflowError)
        assert await taken(ledger) == (7, 150)
        await ledger.settle(spoilt.correlation_id, 1, DONE)
        await ledger.settle(begun.correlation_id, 1, DONE)
        assert await taken(ledger) == (21, 0)
        assert await sound(ledger)


async def test_more_open_requests_than_are_kept_in_memory(home: Path) -> None:
    async with open_ledger(home, HandClock()) as ledger:
        requests = [new_request() for _ in range(600)]
        await asyncio.gather(*(ledger.begin(request, hold(1, 1000)) for request in requests))
        assert await taken(ledger) == (0, 600)
        answers = await asyncio.gather(
            *(ledger.settle(request.correlation_id, 1, DONE) for request in requests)
        )
        assert all(answer.saved for answer in answers)
        assert await taken(ledger) == (4200, 0)
        assert await sound(ledger)


async def test_an_open_row_is_stored_as_it_is_kept_in_memory(home: Path) -> None:
    """Each column that an attempt may have at its beginning; the audit log's digest is of the row in memory."""
    async with open_ledger(home, HandClock()) as ledger:
        plain = new_request(project="web")
        request = dataclasses.replace(
            plain,
            decision=COMPLEX,
            source="cli",
            conversation="c" * 16,
            idempotency_key="k",
        )
        asked = dataclasses.replace(hold(100, 1000), tokens=30)
        await ledger.begin(request, asked)
        (row,) = await ledger.attempts(request.correlation_id)
        assert (row.status, row.project, row.hold_nanodollars) == ("open", "web", 100)
        assert await sound(ledger)
