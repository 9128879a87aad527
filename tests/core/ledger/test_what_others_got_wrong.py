"""Faults that other routers' users reported of their budgets and books, each a test that it cannot happen here."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import tracemalloc
from datetime import timedelta
from pathlib import Path

import pytest

from core.chat import Usage
from core.errors import BudgetExceeded, LedgerUnavailable
from core.ledger.database import LEDGER_FILE
from core.ledger.ledger import HoldRequest, Ledger, Outcome, RateLimit, RunawayLimit, SpendLimit
from tests.support.ledgers import HandClock, hold, month_limit, new_request, open_ledger
from tests.support.many_rows import fill

USAGE = Usage(fresh_input_tokens=10, output_tokens=5)
ENDINGS = (
    Outcome(status="done", usage=USAGE, cost_nanodollars=3),
    Outcome(status="done", usage=USAGE),
    Outcome(status="stopped", usage=USAGE, cost_nanodollars=2),
    Outcome(status="failed"),
    Outcome(status="failed", may_have_billed=False),
)


async def live(ledger: Ledger, seed: int) -> None:
    """One request with a random life: refused, cancelled, retried, fallen back or plain, then ended somehow."""
    chance = random.Random(seed)
    request = new_request(project=chance.choice((None, "p")))
    limits = (month_limit(100_000), SpendLimit(name="OF_P", nanodollars=50_000, project="p"))
    asked = HoldRequest(nanodollars=chance.randrange(2000), tokens=chance.randrange(50), limits=limits)
    begin = asyncio.ensure_future(ledger.begin(request, asked))
    if chance.random() < 0.3:
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        begin.cancel()
    try:
        await begin
    except (asyncio.CancelledError, BudgetExceeded):
        return
    attempt = 1
    for _ in range(chance.randrange(3)):
        again = new_request(chance.choice(("api", "local")), correlation_id=request.correlation_id)
        try:
            attempt = (await ledger.switch_side(attempt, chance.choice(ENDINGS), again, asked)).attempt
        except BudgetExceeded:
            break
    await ledger.settle(request.correlation_id, attempt, chance.choice(ENDINGS))


async def test_no_reservation_leaks_whichever_way_requests_end(home: Path) -> None:
    # Elsewhere: reservations leaked, and requests were turned away while next to nothing was spent.
    async with open_ledger(home) as ledger:
        await asyncio.gather(*(live(ledger, seed) for seed in range(300)))
    async with open_ledger(home) as ledger:
        assert await ledger.holds() == []
        budget = await ledger.budget()
        assert (budget.held_nanodollars, budget.held_count) == (0, 0)
        rows = await ledger.recent(10_000)
        assert budget.spent_nanodollars == sum(row.counted_nanodollars for row in rows)
        free = 100_000 - budget.spent_nanodollars
        assert free > 0
        await ledger.begin(new_request(), hold(free, 100_000))


async def test_a_request_holds_what_it_asks_for_and_not_the_whole_headroom(home: Path) -> None:
    # Elsewhere: a request without max_tokens reserved all that was left, and a team was blocked.
    async with open_ledger(home) as ledger:
        admission = await ledger.begin(new_request(), hold(60, 1_000_000))
        assert (admission.hold_nanodollars, admission.held_nanodollars) == (60, 60)
        await ledger.begin(new_request(), hold(1_000_000 - 60, 1_000_000))


async def test_a_budget_full_of_holds_says_so_and_is_free_again_as_soon_as_they_settle(home: Path) -> None:
    # Elsewhere: agents' worst-case holds filled a budget at nothing spent, and nobody could see why.
    async with open_ledger(home) as ledger:
        requests = [new_request() for _ in range(4)]
        for request in requests:
            await ledger.begin(request, hold(250, 1000))
        with pytest.raises(BudgetExceeded, match=r"\$0 of .* is spent .* is held by 4 running requests"):
            await ledger.begin(new_request(), hold(1, 1000))
        await ledger.settle(requests[0].correlation_id, 1, ENDINGS[0])
        await ledger.begin(new_request(), hold(247, 1000))


@pytest.mark.parametrize("project", [None, "known", "never heard of"])
async def test_calls_at_the_same_time_pass_no_limit_whoever_they_are(home: Path, project: str | None) -> None:
    # Elsewhere: concurrent calls and unknown users bypassed the budget.
    async with open_ledger(home) as ledger:
        asked = [ledger.begin(new_request(project=project), hold(30, 1000)) for _ in range(80)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(answer, BudgetExceeded) for answer in answers) == 80 - 33
        assert (await ledger.budget()).held_nanodollars == 990


async def test_the_enforced_counter_is_the_sum_of_the_rows_and_never_drifts(home: Path) -> None:
    # Elsewhere: the counter that limits compared with crept above what was really spent.
    async with open_ledger(home) as ledger:
        for portion in range(4):
            await asyncio.gather(*(live(ledger, 1000 * portion + seed) for seed in range(100)))
            assert (await ledger.check()).differences == ()
        (result,) = await ledger.self_test((month_limit(10**9),))
        assert result.armed, result.detail


async def test_a_drift_made_by_other_means_is_found_by_the_check_of_the_last_hours(home: Path) -> None:
    clock = HandClock()
    async with open_ledger(home, clock) as ledger:
        for _ in range(2):
            request = new_request()
            await ledger.begin(request, hold(60))
            await ledger.settle(request.correlation_id, 1, ENDINGS[0])
            clock.move(days=1)
        for table, column in (
            ("ledger_hours", "cost_nanodollars"),
            ("ledger_days", "requests"),
            ("ledger_totals", "counted_nanodollars"),
        ):
            for change in (1, -1):
                with sqlite3.connect(home / LEDGER_FILE) as other:
                    other.execute(f"UPDATE {table} SET {column} = {column} + {change}")
                other.close()
                found = await ledger.check(clock.now - timedelta(days=2))
                assert found.ok == (change == -1), found


async def test_without_a_ledger_nothing_is_sent_instead_of_nothing_enforced(home: Path) -> None:
    # Elsewhere: the budget was silently not enforced while its store was away.
    async with open_ledger(home) as ledger:
        await ledger.begin(new_request(), hold(60, 100))
        blocker = sqlite3.connect(home / LEDGER_FILE, isolation_level=None)
        for table in ("ledger_attempts", "ledger_totals", "ledger_audit"):
            blocker.execute(f"ALTER TABLE {table} RENAME TO hidden")
            with pytest.raises(LedgerUnavailable):
                await ledger.begin(new_request(), hold(1, 100))
            blocker.execute(f"ALTER TABLE hidden RENAME TO {table}")
        blocker.close()
        with pytest.raises(BudgetExceeded):
            await ledger.begin(new_request(), hold(41, 100))
        await ledger.begin(new_request(), hold(40, 100))


async def test_memory_does_not_grow_with_requests_projects_and_conversations(home: Path) -> None:
    # Elsewhere: the process grew until it was killed.
    async with open_ledger(home, HandClock()) as ledger:

        async def run(first: int, count: int) -> None:
            for number in range(first, first + count):
                request = new_request(project=f"p{number}")
                rates = (
                    RateLimit(name="MAX_REQUESTS_PER_MINUTE", per_minute=10**6),
                    RunawayLimit(conversation=f"c{number}", per_minute=60),
                )
                asked = HoldRequest(nanodollars=60, limits=(month_limit(10**9),), alert_percents=(50,))
                await ledger.begin(request, asked, rates=rates)
                await ledger.settle(request.correlation_id, 1, ENDINGS[0])

        await run(0, 600)
        tracemalloc.start()
        try:
            await run(600, 600)
            once = tracemalloc.get_traced_memory()[0]
            await run(1200, 1200)
            grown = tracemalloc.get_traced_memory()[0] - once
        finally:
            tracemalloc.stop()
        # What is remembered of a project is some hundred bytes; 1,200 of them that stay would be a megabyte.
        assert grown < 300_000


async def test_pages_of_rows_follow_each_other_without_a_gap_while_rows_are_written(home: Path) -> None:
    # Elsewhere: the log page counted and skipped, and died of many rows.
    fill(home, 1000)
    async with open_ledger(home) as ledger:
        seen: list[str] = []
        page = await ledger.recent(70)
        while page:
            seen += [row.correlation_id for row in page]
            await ledger.begin(new_request(), hold(1))
            page = await ledger.recent(70, before=seen[-1])
        assert seen == [f"00000000-0000-7000-8000-{number:012d}" for number in reversed(range(1000))]


async def test_a_years_report_reads_sums_and_not_the_rows(home: Path) -> None:
    # Elsewhere: the usage page died at a million rows.
    last = fill(home, 20_000)
    async with open_ledger(home) as ledger:
        assert (await ledger.check()).differences == ()
        whole = await ledger.report()
        assert sum(row.requests for row in whole) == 20_000
        # The rows are gone and the sums are not: whatever still answers does not read the rows.
        with sqlite3.connect(home / LEDGER_FILE) as other:
            other.execute("DELETE FROM ledger_attempts")
        other.close()
        assert await ledger.report() == whole
        for by in ("day", "model", "rule", "side"):
            assert sum(row.requests for row in await ledger.report(by=by)) == 20_000
        assert sum(row.requests for row in await ledger.report(daily=True)) == 20_000
        month = await ledger.report(last - timedelta(days=30))
        assert sum(row.requests for row in month) == pytest.approx(20_000 * 30 / 365, rel=0.02)


@pytest.mark.parametrize("hours", [0, 1, 5, 23, 24, 25, 47, 49, 24 * 40])
async def test_a_report_since_any_hour_counts_each_row_once(home: Path, hours: int) -> None:
    last = fill(home, 5_000)
    since = last - timedelta(hours=hours)
    with sqlite3.connect(home / LEDGER_FILE) as other:
        (expected,) = other.execute(
            "SELECT count(*) FROM ledger_attempts WHERE hour >= ?", (int(since.timestamp()) // 3600,)
        ).fetchone()
    other.close()
    async with open_ledger(home) as ledger:
        assert sum(row.requests for row in await ledger.report(since)) == expected


@pytest.mark.soak
async def test_a_ledger_of_a_million_requests_is_whole_and_still_keeps_its_limit(home: Path) -> None:
    last = fill(home, 1_000_000)
    async with open_ledger(home, HandClock(last - timedelta(hours=1))) as ledger:
        check = await ledger.check()
        assert (check.attempts, check.differences) == (1_000_000, ())
        spent = (await ledger.budget()).spent_nanodollars
        limit = month_limit(spent + 100)
        (result,) = await ledger.self_test((limit,))
        assert result.armed, result.detail
        request = new_request()
        await ledger.begin(request, HoldRequest(nanodollars=100, limits=(limit,)))
        with pytest.raises(BudgetExceeded):
            await ledger.begin(new_request(), HoldRequest(nanodollars=1, limits=(limit,)))
        await ledger.settle(request.correlation_id, 1, ENDINGS[0])
        assert sum(row.requests for row in await ledger.report()) == 1_000_001
        assert (await ledger.check(last - timedelta(days=2))).ok


async def test_a_refusal_tells_what_is_not_settled_apart_from_what_is_spent(home: Path) -> None:
    async with open_ledger(home) as ledger:
        lost = new_request()
        await ledger.begin(lost, hold(250_000_000, 1_000_000_000))
        await ledger.settle(lost.correlation_id, 1, Outcome(status="failed"))
        with pytest.raises(BudgetExceeded) as refused:
            await ledger.begin(new_request(), hold(800_000_000, 1_000_000_000))
    assert (
        "$0 of $1.00 is spent this month, up to $0.2500 is not settled and $0 is held"
        in refused.value.message
    )
    assert refused.value.unsettled_nanodollars == 250_000_000
