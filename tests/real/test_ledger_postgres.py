"""The ledger on a real PostgreSQL server, by the same code as on a file."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.chat import Usage
from core.errors import BudgetExceeded, LedgerUnavailable
from core.spend.ledger import Ledger, Outcome
from tests.support.ledgers import hold, month_limit, new_request, open_ledger
from tests.support.postgres import PostgresServer, missing

REASON = missing()
ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.real, pytest.mark.skipif(REASON is not None, reason=REASON or "")]


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as running:
        yield running


def paid(nanodollars: int | None) -> Outcome:
    return Outcome(status="done", usage=Usage(output_tokens=1), cost_nanodollars=nanodollars, latency_ms=1.5)


async def test_a_request_from_hold_to_report(home: Path, server: PostgresServer) -> None:
    async with open_ledger(home, url=server.url) as ledger:
        first = new_request("api", project="p")
        await ledger.begin(first, hold(60, 100))
        with pytest.raises(BudgetExceeded):
            await ledger.begin(new_request(), hold(41, 100))
        await ledger.switch_side(
            Outcome(status="failed"), new_request("local", correlation_id=first.correlation_id), None
        )
        await ledger.settle(first.correlation_id, paid(0))
        second = new_request()
        await ledger.begin(second, hold(40, 100))
        assert await ledger.settle(second.correlation_id, paid(13))
        assert not await ledger.settle(second.correlation_id, paid(13))
        budget = await ledger.budget(month_limit(100))
        assert (budget.spent_nanodollars, budget.held_nanodollars, budget.unresolved_count) == (73, 0, 1)
        rows = {row.key: row for row in await ledger.report()}
        assert (rows["anthropic"].requests, rows["anthropic"].attempts, rows["embedded"].fell_back) == (
            1,
            2,
            1,
        )
        assert [len(await ledger.report(by=by)) for by in ("model", "day", "rule")] == [2, 1, 1]
        volume = await ledger.volume()
        assert (volume.local_today, volume.requests_today) == (1, 2)
        await ledger.reset_local_count()
        assert await ledger.local_count_today() == 0
        assert [row.latency_ms for row in await ledger.recent(1)] == [1.5]
        check = await ledger.check()
        assert (check.attempts, check.differences) == (3, ())
    async with open_ledger(home, url=server.url) as ledger:
        assert (await ledger.budget()).spent_nanodollars == 73


async def test_processes_that_ask_at_once_never_pass_the_limit(home: Path, server: PostgresServer) -> None:
    command = [sys.executable, "-m", "tests.support.ledger_child", "hold", str(home), "2000", server.url]
    children = [
        asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=90)
        for _ in range(3)
    ]
    for child in await asyncio.gather(*children):
        assert child.returncode == 0, child.stderr
    async with open_ledger(home, url=server.url) as ledger:
        held = (await ledger.budget()).held_nanodollars
        assert 2000 - 7 < held <= 2000
        assert (await ledger.recover()).nanodollars == held
        assert (await ledger.budget()).spent_nanodollars == held
        assert (await ledger.check()).ok


async def test_a_server_that_restarts_loses_no_result(home: Path, server: PostgresServer) -> None:
    async with open_ledger(home, url=server.url) as ledger:
        request = new_request()
        await ledger.begin(request, hold(60))
        await asyncio.to_thread(server.stop)
        assert not await ledger.settle(request.correlation_id, paid(13))
        assert ledger.unsaved == (request.correlation_id,)
        with pytest.raises(LedgerUnavailable):
            await ledger.begin(new_request(), hold(1))
        await asyncio.to_thread(server.start)
        await ledger.begin(new_request("local"), None)
        assert ledger.unsaved == ()
        budget = await ledger.budget()
        assert (budget.spent_nanodollars, budget.held_nanodollars) == (13, 0)


async def test_a_restart_that_nobody_noticed_costs_nothing(home: Path, server: PostgresServer) -> None:
    async with open_ledger(home, url=server.url) as ledger:
        await ledger.begin(new_request(), hold(60))
        assert (await ledger.budget()).held_nanodollars == 60
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        await ledger.begin(new_request(), hold(1))
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        assert (await ledger.budget()).held_nanodollars == 61


async def test_a_server_that_does_not_answer_is_said_in_plain_words(
    home: Path, server: PostgresServer
) -> None:
    await asyncio.to_thread(server.stop)
    try:
        with pytest.raises(LedgerUnavailable) as failure:
            await Ledger(server.url, home).open()
        assert "LEDGER_URL" in failure.value.hint
    finally:
        await asyncio.to_thread(server.start)
