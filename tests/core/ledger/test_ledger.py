from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from core.chat import Estimate, RouteDecision, Signals, Usage, new_correlation_id
from core.errors import BudgetExceeded, InvalidRequest, LedgerUnavailable
from core.ledger.ledger import HoldRequest, Ledger, NewRequest, Outcome, SpendLimit
from tests.support.ledgers import EVENING, HandClock, hold, month_limit, new_request, open_ledger

USAGE = Usage(fresh_input_tokens=10, cache_read_tokens=5, cache_write_1h_tokens=2, output_tokens=7)
NOTHING_SENT = Outcome(status="failed", may_have_billed=False, error_kind="unavailable")


def paid(nanodollars: int | None) -> Outcome:
    return Outcome(
        status="done",
        usage=USAGE,
        cost_nanodollars=nanodollars,
        latency_ms=12.5,
        ttft_ms=3.25,
        price_version="p 1",
    )


def a_decision() -> RouteDecision:
    nothing = Estimate(model=None, cost_nanodollars=None, hold_nanodollars=None)
    return RouteDecision(
        side="api",
        provider="anthropic",
        model="claude-x",
        rule="complex",
        reason="It has tools.",
        mode="hybrid",
        signals=Signals(input_tokens=10, input_tokens_bound=10, max_output_tokens=20, complexity=0.5),
        local_estimate=nothing,
        api_estimate=nothing,
        complexity_threshold=0.6,
        local_requests_today=1,
        routing_threshold=3000,
    )


async def test_a_hold_that_fits_exactly_passes_and_one_nanodollar_more_does_not(home: Path) -> None:
    async with open_ledger(home) as ledger:
        admission = await ledger.begin(new_request(), hold(60, 100))
        assert (admission.held_nanodollars, admission.spent_nanodollars) == (60, 0)
        with pytest.raises(BudgetExceeded) as refused:
            await ledger.begin(new_request(), hold(41, 100))
        error = refused.value
        assert (error.limit_name, error.limit_nanodollars) == ("SPEND_LIMIT_DOLLARS", 100)
        assert (error.spent_nanodollars, error.held_nanodollars, error.held_count) == (0, 60, 1)
        assert (error.asked_nanodollars, error.free_nanodollars) == (41, 40)
        await ledger.begin(new_request(), hold(40, 100))
        assert len(await ledger.recent()) == 2


async def test_a_settled_request_counts_its_true_cost_and_frees_the_rest(home: Path) -> None:
    async with open_ledger(home) as ledger:
        request = new_request()
        await ledger.begin(request, hold(60, 100))
        assert await ledger.settle(request.correlation_id, 1, paid(13))
        budget = await ledger.budget(month_limit(100))
        assert (budget.spent_nanodollars, budget.held_nanodollars, budget.held_count) == (13, 0, 0)
        assert budget.free_nanodollars == 87
        (row,) = await ledger.attempts(request.correlation_id)
        assert (row.usage, row.cost_nanodollars, row.price_version) == (USAGE, 13, "p 1")
        assert (row.status, row.state, row.latency_ms, row.ttft_ms) == ("done", "settled", 12.5, 3.25)


async def test_settling_twice_counts_once(home: Path) -> None:
    async with open_ledger(home) as ledger:
        request = new_request()
        await ledger.begin(request, hold(60))
        assert await ledger.settle(request.correlation_id, 1, paid(13))
        assert not await ledger.settle(request.correlation_id, 1, paid(99))
        assert not await ledger.settle(request.correlation_id, 1, NOTHING_SENT)
        assert (await ledger.budget()).spent_nanodollars == 13
        assert (await ledger.check()).ok


async def test_settling_what_was_never_begun_is_an_error(home: Path) -> None:
    async with open_ledger(home) as ledger:
        with pytest.raises(InvalidRequest):
            await ledger.settle(new_correlation_id(), 1, paid(1))
        assert ledger.unsaved == ()


async def test_an_identifier_is_used_once(home: Path) -> None:
    async with open_ledger(home) as ledger:
        request = new_request()
        await ledger.begin(request, hold(60))
        with pytest.raises(InvalidRequest):
            await ledger.begin(request, hold(60))
        assert (await ledger.budget()).held_nanodollars == 60


@pytest.mark.parametrize(
    ("outcome", "spent", "unresolved", "unpriced", "state"),
    [
        (NOTHING_SENT, 0, 0, 0, "released"),
        (Outcome(status="failed", error_kind="unavailable"), 60, 1, 0, "unresolved"),
        (Outcome(status="stopped"), 60, 1, 0, "unresolved"),
        (paid(None), 60, 0, 1, "settled"),
        (Outcome(status="stopped", usage=USAGE, cost_nanodollars=5), 5, 0, 0, "settled"),
        (paid(70), 70, 0, 0, "settled"),
    ],
)
async def test_what_a_closed_request_counts_for(
    home: Path, outcome: Outcome, spent: int, unresolved: int, unpriced: int, state: str
) -> None:
    async with open_ledger(home) as ledger:
        request = new_request()
        await ledger.begin(request, hold(60))
        await ledger.settle(request.correlation_id, 1, outcome)
        budget = await ledger.budget()
        assert budget.spent_nanodollars == spent
        assert (budget.unresolved_count, budget.unpriced_count) == (unresolved, unpriced)
        assert budget.unresolved_nanodollars == (spent if unresolved else 0)
        assert (await ledger.recent())[0].state == state
        assert (await ledger.check()).ok


async def test_the_truth_that_arrives_late_replaces_an_unresolved_count(home: Path) -> None:
    async with open_ledger(home) as ledger:
        request = new_request()
        await ledger.begin(request, hold(60))
        await ledger.settle(request.correlation_id, 1, Outcome(status="failed"))
        assert await ledger.settle(request.correlation_id, 1, paid(13))
        budget = await ledger.budget()
        assert (budget.spent_nanodollars, budget.unresolved_count) == (13, 0)
        assert (await ledger.check()).ok


async def test_an_unpriced_model_is_refused_while_a_limit_applies(home: Path) -> None:
    async with open_ledger(home) as ledger:
        with pytest.raises(BudgetExceeded) as refused:
            await ledger.begin(new_request(), hold(None, 100))
        assert refused.value.asked_nanodollars is None
        await ledger.begin(new_request(), hold(None))
        limits = (month_limit(100),)
        request = new_request()
        await ledger.begin(request, HoldRequest(nanodollars=None, limits=limits, allow_unpriced=True))
        await ledger.settle(request.correlation_id, 1, paid(None))
        assert (await ledger.budget()).unpriced_count == 1
        (row,) = await ledger.report(by="model")
        assert (row.unpriced, row.cost_nanodollars) == (1, 0)


async def test_a_limit_of_zero_lets_only_local_requests_through(home: Path) -> None:
    async with open_ledger(home) as ledger:
        with pytest.raises(BudgetExceeded):
            await ledger.begin(new_request(), hold(1, 0))
        await ledger.begin(new_request("local"), hold(0, 0))
        await ledger.begin(new_request("local"), None)


async def test_the_local_side_takes_no_cash_even_cut_off(home: Path) -> None:
    async with open_ledger(home) as ledger:
        request = new_request("local")
        await ledger.begin(request, None)
        await ledger.settle(request.correlation_id, 1, Outcome(status="failed", loaded_nanodollars=9))
        budget = await ledger.budget()
        assert (budget.spent_nanodollars, budget.unresolved_count) == (0, 0)
        (row,) = await ledger.report(by="provider")
        assert (row.failed, row.cost_nanodollars, row.loaded_nanodollars) == (1, 0, 9)


async def test_a_fallback_keeps_what_the_first_side_may_have_billed(home: Path) -> None:
    async with open_ledger(home) as ledger:
        first = new_request("api", project="a")
        await ledger.begin(first, hold(60, 100))
        second = new_request("local", correlation_id=first.correlation_id)
        admission = await ledger.switch_side(
            1, Outcome(status="failed", error_kind="overloaded"), second, None
        )
        assert (admission.attempt, admission.held_nanodollars, admission.spent_nanodollars) == (2, 0, 60)
        await ledger.settle(first.correlation_id, 2, Outcome(status="done", usage=USAGE, cost_nanodollars=0))
        rows = {row.key: row for row in await ledger.report()}
        assert (rows["anthropic"].requests, rows["anthropic"].attempts, rows["anthropic"].unresolved) == (
            0,
            1,
            1,
        )
        assert (rows["embedded"].requests, rows["embedded"].fell_back) == (1, 1)
        assert [row.status for row in await ledger.attempts(first.correlation_id)] == ["superseded", "done"]
        assert (await ledger.check()).ok


async def test_whoever_never_heard_of_the_next_attempt_settles_the_one_it_knows(home: Path) -> None:
    async with open_ledger(home) as ledger:
        request = new_request()
        await ledger.begin(request, hold(60, 100))
        failed = Outcome(status="failed", error_kind="overloaded", may_have_billed=False)
        await ledger.switch_side(1, failed, request, hold(60, 100))
        stopped = Outcome(status="stopped", usage=USAGE, cost_nanodollars=13)
        assert await ledger.settle(request.correlation_id, 1, stopped)
        first, second = await ledger.attempts(request.correlation_id)
        assert (first.status, first.counted_nanodollars) == ("superseded", 0)
        assert (second.status, second.state, second.counted_nanodollars) == ("stopped", "released", 0)
        assert (await ledger.budget()).held_nanodollars == 0
        assert not await ledger.settle(request.correlation_id, 1, stopped), "it has ended once"
        with pytest.raises(InvalidRequest):
            await ledger.settle(request.correlation_id, 3, stopped)
        assert (await ledger.check()).ok


async def test_a_true_cost_that_comes_late_leaves_a_superseded_attempt_superseded(home: Path) -> None:
    async with open_ledger(home) as ledger:
        request = new_request()
        await ledger.begin(request, hold(20, 100))
        await ledger.switch_side(1, Outcome(status="failed"), request, hold(20, 100))
        await ledger.settle(request.correlation_id, 2, paid(5))
        assert await ledger.settle(request.correlation_id, 1, paid(13))
        first, second = await ledger.attempts(request.correlation_id)
        assert (first.status, first.counted_nanodollars) == ("superseded", 13)
        assert (second.status, second.counted_nanodollars) == ("done", 5)
        (row,) = await ledger.report()
        assert (row.requests, row.attempts) == (1, 2)
        assert (await ledger.check()).ok


async def test_a_fallback_that_does_not_fit_changes_nothing(home: Path) -> None:
    async with open_ledger(home) as ledger:
        first = new_request("local")
        await ledger.begin(first, None)
        second = new_request("api", correlation_id=first.correlation_id)
        with pytest.raises(BudgetExceeded):
            await ledger.switch_side(1, NOTHING_SENT, second, hold(60, 10))
        assert [row.status for row in await ledger.attempts(first.correlation_id)] == ["open"]
        await ledger.settle(first.correlation_id, 1, NOTHING_SENT)
        with pytest.raises(InvalidRequest):
            await ledger.switch_side(1, NOTHING_SENT, second, hold(60))
        assert (await ledger.volume()).local_today == 1


async def test_limits_of_a_day_and_of_a_project_hold_too(home: Path) -> None:
    clock = HandClock()
    today = SpendLimit(name="DAILY_SPEND_LIMIT_DOLLARS", nanodollars=50, window="day")
    of_project = SpendLimit(name="PROJECT", nanodollars=30, project="a")
    both = HoldRequest(nanodollars=30, limits=(today, of_project))
    async with open_ledger(home, clock) as ledger:
        request = new_request(project="a")
        await ledger.begin(request, both)
        await ledger.settle(request.correlation_id, 1, paid(30))
        with pytest.raises(BudgetExceeded) as refused:
            await ledger.begin(
                new_request(project="a"), HoldRequest(nanodollars=1, limits=(today, of_project))
            )
        assert refused.value.limit_name == "PROJECT"
        with pytest.raises(BudgetExceeded) as refused:
            await ledger.begin(new_request(project="b"), HoldRequest(nanodollars=21, limits=(today,)))
        assert refused.value.limit_name == "DAILY_SPEND_LIMIT_DOLLARS"
        assert (await ledger.budget(of_project)).free_nanodollars == 0
        clock.move(minutes=20)
        await ledger.begin(new_request(project="b"), HoldRequest(nanodollars=21, limits=(today,)))


async def test_a_new_month_starts_at_nothing_but_open_holds_still_count(home: Path) -> None:
    clock = HandClock(EVENING.replace(day=30))
    async with open_ledger(home, clock) as ledger:
        old, running = new_request(), new_request()
        await ledger.begin(old, hold(50, 100))
        await ledger.settle(old.correlation_id, 1, paid(50))
        await ledger.begin(running, hold(50, 100))
        clock.move(minutes=20)
        budget = await ledger.budget(month_limit(100))
        assert (budget.window_label, budget.spent_nanodollars, budget.held_nanodollars) == ("2026-12", 0, 50)
        with pytest.raises(BudgetExceeded):
            await ledger.begin(new_request(), hold(51, 100))
        await ledger.settle(running.correlation_id, 1, paid(50))
        assert (await ledger.budget()).spent_nanodollars == 0
        assert [row.key for row in await ledger.report(by="day")] == ["2026-11-30"]


async def test_a_clock_set_back_over_midnight_counts_each_request_once(home: Path) -> None:
    clock = HandClock()
    async with open_ledger(home, clock) as ledger:

        async def ask() -> None:
            await ledger.begin(new_request("local"), None)

        await ask()
        clock.move(minutes=20)
        assert (await ledger.volume()).local_today == 0
        await ask()
        await ask()
        assert (await ledger.volume()).local_today == 2
        clock.move(minutes=-20)
        assert (await ledger.volume()).local_today == 1
        await ask()
        assert (await ledger.volume()).local_today == 2
        clock.move(minutes=20)
        assert (await ledger.volume()).local_today == 2
        rows = await ledger.report(by="day")
        assert [(row.key, row.requests) for row in rows] == [("2026-11-23", 2), ("2026-11-24", 2)]


async def test_the_local_count_survives_a_restart_and_can_be_reset(home: Path) -> None:
    async with open_ledger(home) as ledger:
        await ledger.begin(new_request("local"), None)
        await ledger.begin(new_request("api"), hold(1))
    async with open_ledger(home) as ledger:
        assert (await ledger.volume()).local_today == 1
        assert (await ledger.volume()).requests_today == 2
        await ledger.reset_local_count()
        assert (await ledger.volume()).local_today == 0
        await ledger.begin(new_request("local"), None)
    async with open_ledger(home) as ledger:
        assert (await ledger.volume()).local_today == 1
        assert (await ledger.check()).ok


async def test_the_seven_day_mean_averages_whole_days_since_the_ledger_began(home: Path) -> None:
    clock = HandClock()
    async with open_ledger(home, clock) as ledger:
        assert (await ledger.volume()).seven_day_mean == 0.0
        for count in (4, 2, 0, 6):
            for _ in range(count):
                await ledger.begin(new_request("local"), None)
            clock.move(days=1)
        assert (await ledger.volume()).seven_day_mean == 3.0
        clock.move(days=5)
        assert (await ledger.volume()).seven_day_mean == pytest.approx(6 / 7)


async def test_a_report_counts_from_the_hour_it_is_asked_for(home: Path) -> None:
    clock = HandClock()
    async with open_ledger(home, clock) as ledger:
        await ledger.begin(new_request("local"), None)
        clock.move(hours=3)
        request = new_request()
        await ledger.begin(request, hold(60))
        await ledger.settle(request.correlation_id, 1, paid(13))
        (row,) = await ledger.report(since=clock.now - timedelta(hours=1))
        assert (row.key, row.requests, row.input_tokens, row.cached_tokens) == ("anthropic", 1, 17, 5)
        assert (row.cache_write_tokens, row.output_tokens, row.cost_nanodollars) == (2, 7, 13)
        assert len(await ledger.report()) == 2


async def test_the_decision_is_kept_and_pages_follow_each_other(home: Path) -> None:
    async with open_ledger(home) as ledger:
        ids = [new_correlation_id() for _ in range(5)]
        for correlation_id in ids:
            record = NewRequest(
                correlation_id=correlation_id,
                side="api",
                provider="anthropic",
                model="m",
                decision=a_decision(),
            )
            await ledger.begin(record, hold(1))
        first = await ledger.recent(2)
        rest = await ledger.recent(10, before=first[-1].correlation_id)
        assert [row.correlation_id for row in (*first, *rest)] == ids[::-1]
        decision = json.loads(first[0].decision_json or "")
        assert (decision["rule"], decision["signals"]["complexity"]) == ("complex", 0.5)
        assert (first[0].rule, first[0].mode) == ("complex", "hybrid")
        assert [row.key for row in await ledger.report(by="rule")] == ["complex"]


async def test_concurrent_admissions_never_pass_the_limit(home: Path) -> None:
    async with open_ledger(home) as ledger:
        asked = [ledger.begin(new_request(), hold(7, 100)) for _ in range(50)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(answer, BudgetExceeded) for answer in answers) == 50 - 14
        assert (await ledger.budget()).held_nanodollars == 98


async def test_a_cancelled_admission_leaves_no_hold(home: Path) -> None:
    admitted: set[str] = set()
    async with open_ledger(home) as ledger:

        async def ask() -> None:
            admission = await ledger.begin(new_request(), hold(7))
            admitted.add(admission.correlation_id)

        for turns in range(60):
            task = asyncio.create_task(ask())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    async with open_ledger(home) as ledger:
        rows = await ledger.recent()
        assert {row.correlation_id for row in rows if row.state == "open"} == admitted
        assert (await ledger.budget()).spent_nanodollars == 0


async def test_a_cancelled_settlement_is_written_all_the_same(home: Path) -> None:
    request = new_request()
    async with open_ledger(home) as ledger:
        await ledger.begin(request, hold(60))
        task = asyncio.create_task(ledger.settle(request.correlation_id, 1, paid(13)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    async with open_ledger(home) as ledger:
        assert (await ledger.budget()).spent_nanodollars == 13


async def test_holds_of_a_living_process_are_not_recovered_until_they_expire(home: Path) -> None:
    clock = HandClock()
    async with open_ledger(home, clock) as ledger:
        request = new_request()
        await ledger.begin(request, HoldRequest(nanodollars=60, expires_s=600))
        assert (await ledger.recover()).count == 0
        clock.move(seconds=601)
        recovered = await ledger.recover()
        assert (recovered.count, recovered.nanodollars) == (1, 60)
        assert recovered.correlation_ids == (request.correlation_id,)
        assert (await ledger.budget()).unresolved_nanodollars == 60
        assert (await ledger.recover()).count == 0


async def test_a_closed_ledger_says_so(home: Path) -> None:
    ledger = Ledger(None, home)
    with pytest.raises(LedgerUnavailable):
        await ledger.begin(new_request(), None)
    await ledger.open()
    await ledger.close()
    await ledger.close()
    with pytest.raises(LedgerUnavailable):
        await ledger.budget()


def test_importing_the_ledger_does_not_import_sqlalchemy_or_the_price_tables() -> None:
    code = (
        "import core.ledger.ledger, core.pricing.prices, sys;"
        "sys.exit(bool({'sqlalchemy', 'genai_prices'} & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode
        == 0
    )


async def test_the_check_of_a_span_without_requests_finds_nothing(home: Path) -> None:
    clock = HandClock()
    async with open_ledger(home, clock) as ledger:
        assert (await ledger.check(clock.now)).ok
        await ledger.begin(new_request(), hold(60))
        clock.move(days=9)
        check = await ledger.check(clock.now)
        assert (check.ok, check.attempts) == (True, 0)


async def test_the_oldest_attempt_is_the_one_that_was_written_first(home: Path) -> None:
    async with open_ledger(home) as ledger:
        assert await ledger.oldest() is None
        first, second = new_request(), new_request()
        for request in (first, second):
            await ledger.begin(request, hold(1))
        oldest = await ledger.oldest()
        assert oldest is not None
        assert oldest.correlation_id == first.correlation_id


async def test_the_audit_logs_head_is_its_newest_entry_and_leads_a_later_check(home: Path) -> None:
    async with open_ledger(home) as ledger:
        await ledger.begin(new_request(), hold(1))
        noted = await ledger.audit_head()
        assert noted is not None
        (newest,) = await ledger.audit_entries(1)
        assert (noted.seq, noted.hash) == (newest.seq, newest.hash)
        await ledger.begin(new_request(), hold(1))
        assert (await ledger.verify_audit(expect=noted.hash)).expected_found is True


async def test_what_is_shown_of_a_limit_says_where_a_stopped_answers_estimate_is_in_it(home: Path) -> None:
    month = SpendLimit(name="SPEND_LIMIT_DOLLARS", nanodollars=1_000)
    website = SpendLimit(name="PROJECT_SPEND_LIMITS", nanodollars=1_000, project="website")
    async with open_ledger(home) as ledger:

        async def estimated() -> list[bool]:
            _, limits, budget = await ledger.standing((month, website), estimates=True)
            return [budget.spending.estimated, *(limit.estimated for limit in limits)]

        whole, stopped = new_request(), new_request()
        await ledger.begin(whole, hold(60, 1_000))
        await ledger.settle(whole.correlation_id, 1, paid(20))
        assert await estimated() == [False, False, False]
        await ledger.begin(stopped, hold(60, 1_000))
        await ledger.settle(
            stopped.correlation_id, 1, Outcome(status="stopped", usage=USAGE, cost_nanodollars=5)
        )
        assert await estimated() == [True, True, False]
