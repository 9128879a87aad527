"""The ledger on a real PostgreSQL server, by the same code as on a file."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis.stateful import run_state_machine_as_test

from core.chat import Usage
from core.errors import (
    BudgetExceeded,
    DuplicateRequest,
    InvalidRequest,
    LedgerUnavailable,
    RateExceeded,
    RunawayPaused,
)
from core.ledger.ledger import (
    HoldRequest,
    Ledger,
    Outcome,
    RateLimit,
    RefusedRequest,
    RunawayLimit,
    TokenLimit,
)
from core.scores import ScoreEntry
from tests.core.ledger.test_ledger_machine import LedgerMachine, machine_settings
from tests.support.ledgers import EVENING, HandClock, hold, month_limit, new_request, open_ledger
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
            1, Outcome(status="failed"), new_request("local", correlation_id=first.correlation_id), None
        )
        await ledger.settle(first.correlation_id, 2, paid(0))
        second = new_request()
        await ledger.begin(second, hold(40, 100))
        assert await ledger.settle(second.correlation_id, 1, paid(13))
        assert not await ledger.settle(second.correlation_id, 1, paid(13))
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
        assert (await ledger.volume()).local_today == 0
        assert [row.latency_ms for row in await ledger.recent(1)] == [1.5]
        check = await ledger.check()
        assert (check.attempts, check.differences) == (3, ())
    async with open_ledger(home, url=server.url) as ledger:
        assert (await ledger.budget()).spent_nanodollars == 73


async def test_limits_rates_keys_and_what_is_settled_by_hand(home: Path, server: PostgresServer) -> None:
    tokens = TokenLimit(name="DAILY_TOKEN_BUDGET", tokens=100)
    month = month_limit(1000)
    rate = RateLimit(name="MAX_API_REQUESTS_PER_MINUTE", per_minute=3)
    runaway = RunawayLimit(conversation="c", per_minute=1)
    async with open_ledger(home, HandClock(), server.url) as ledger:
        first = replace(new_request(project="web"), idempotency_key="k")
        asked = HoldRequest(nanodollars=600, tokens=60, limits=(month, tokens), alert_percents=(50, 80))
        admission = await ledger.begin(first, asked, rates=(rate, runaway))
        assert [(alert.limit_name, alert.percent) for alert in admission.alerts] == [
            ("SPEND_LIMIT_DOLLARS", 50),
            ("DAILY_TOKEN_BUDGET", 50),
        ]
        with pytest.raises(DuplicateRequest):
            await ledger.begin(replace(new_request(), idempotency_key="k"), None)
        with pytest.raises(BudgetExceeded) as refused:
            await ledger.begin(new_request(), HoldRequest(nanodollars=1, tokens=41, limits=(month, tokens)))
        assert refused.value.unit == "tokens"
        with pytest.raises(InvalidRequest):
            await ledger.begin(first, None)
        with pytest.raises(RunawayPaused):
            await ledger.begin(new_request(), None, rates=(runaway,))
        assert [paused.conversation for paused in await ledger.paused()] == ["c"]
        assert await ledger.resume("c")
        await ledger.begin(new_request("local"), None, rates=(rate, runaway))
        await ledger.begin(new_request("local"), None, rates=(rate,))
        with pytest.raises(RateExceeded):
            await ledger.begin(new_request("local"), None, rates=(rate,))
        await ledger.switch_side(1, Outcome(status="failed"), first, HoldRequest(nanodollars=200))
        await ledger.settle(first.correlation_id, 2, paid(None))
        await ledger.refuse(RefusedRequest(correlation_id="r", error_kind="busy"))
        assert [row.correlation_id for row in await ledger.unresolved()] == [first.correlation_id]
        assert (await ledger.resolve(first.correlation_id, 70)).counted_nanodollars == 70
        assert (await ledger.reprice(lambda row: (9, "p"))).count == 1
        assert all(result.armed for result in await ledger.self_test((month, tokens)))
        _, (cash, used), _ = await ledger.standing((month, tokens))
        assert (cash.used, cash.held, used.used) == (79, 0, 61)
        await ledger.add_score(ScoreEntry(provider="p", model="m", kind="tools", passed=True))
        assert [row.tried for row in await ledger.scores("2026-01-01")] == [1]
        assert sum(row.refused for row in await ledger.report(by="side", daily=True)) == 1
        assert (await ledger.check()).differences == ()
        assert (await ledger.check(EVENING)).differences == ()
        audit = await ledger.verify_audit()
        assert audit.ok, audit.problems


async def test_a_ledger_of_the_first_release_is_brought_up_to_date(
    home: Path, server: PostgresServer
) -> None:
    import psycopg

    dump = (ROOT / "tests/core/ledger/ledger_v1.sql").read_text(encoding="utf-8")
    dump = dump.replace("id INTEGER NOT NULL", "id BIGSERIAL NOT NULL", 1).replace(
        " DOUBLE,", " DOUBLE PRECISION,"
    )
    dump = (
        dump.replace("BEGIN TRANSACTION;", "").replace("COMMIT;", "").replace("    window ", '    "window" ')
    )
    dump = re.sub(r"(\s)window TEXT", r'\1"window" TEXT', dump).replace("(window,", '("window",')
    with psycopg.connect(server.url) as connection:
        connection.execute(dump.encode())
        connection.execute("SELECT setval('ledger_attempts_id_seq', (SELECT max(id) FROM ledger_attempts))")
    async with open_ledger(home, url=server.url) as ledger:
        check = await ledger.check()
        assert (check.attempts, check.differences) == (25, ())
        assert sum(row.requests for row in await ledger.report()) == 24
        await ledger.begin(new_request(), hold(1))
        audit = await ledger.verify_audit()
        assert audit.ok, audit.problems


def test_the_machine_of_random_operations_runs_on_it_too(server: PostgresServer) -> None:
    import psycopg

    class OnPostgres(LedgerMachine):
        def __init__(self) -> None:
            with psycopg.connect(server.url) as connection:
                connection.execute("DROP SCHEMA public CASCADE")
                connection.execute("CREATE SCHEMA public")
            super().__init__()

        def opened(self) -> Ledger:
            ledger = Ledger(server.url, Path(self.folder.name), clock=self.clock)
            self.run(ledger.open())
            return ledger

    run_state_machine_as_test(OnPostgres, settings=machine_settings(4, 20))


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
        assert not await ledger.settle(request.correlation_id, 1, paid(13))
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
