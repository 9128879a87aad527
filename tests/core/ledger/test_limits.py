"""Several limits at once: cash and tokens, months, days and projects; where they stand, and what they tell."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from core.chat import Usage
from core.errors import BudgetExceeded
from core.ledger import admission, writer
from core.ledger.database import LEDGER_FILE
from core.ledger.ledger import HoldRequest, Ledger, Limit, Outcome, SpendLimit, TokenLimit
from tests.support.ledgers import HandClock, hold, month_limit, new_request, open_ledger

MONTH = SpendLimit(name="SPEND_LIMIT_DOLLARS", nanodollars=1000)
DAY = SpendLimit(name="DAILY_SPEND_LIMIT_DOLLARS", nanodollars=500, window="day")
OF_WEB = SpendLimit(name="PROJECT_SPEND_LIMITS", nanodollars=300, project="web")
TOKENS = TokenLimit(name="DAILY_TOKEN_BUDGET", tokens=100)
ALL: tuple[Limit, ...] = (MONTH, DAY, OF_WEB, TOKENS)


def asking(nanodollars: int, tokens: int = 0, limits: tuple[Limit, ...] = ALL) -> HoldRequest:
    return HoldRequest(nanodollars=nanodollars, tokens=tokens, limits=limits, alert_percents=(50, 80, 100))


def done(nanodollars: int, tokens: int) -> Outcome:
    return Outcome(status="done", usage=Usage(output_tokens=tokens), cost_nanodollars=nanodollars)


async def refusal(ledger: Ledger, asked: HoldRequest, project: str | None = "web") -> BudgetExceeded:
    with pytest.raises(BudgetExceeded) as refused:
        await ledger.begin(new_request(project=project), asked)
    return refused.value


async def test_the_limit_that_does_not_fit_is_the_one_that_is_named(home: Path) -> None:
    async with open_ledger(home, HandClock()) as ledger:
        assert (await refusal(ledger, asking(1001))).limit_name == "SPEND_LIMIT_DOLLARS"
        assert (await refusal(ledger, asking(501))).limit_name == "DAILY_SPEND_LIMIT_DOLLARS"
        assert (await refusal(ledger, asking(301))).limit_name == "PROJECT_SPEND_LIMITS"
        error = await refusal(ledger, asking(300, 101))
        assert (error.limit_name, error.unit, error.asked_nanodollars) == (
            "DAILY_TOKEN_BUDGET",
            "tokens",
            101,
        )
        assert "101 tokens" in error.message
        await ledger.begin(new_request(project="web"), asking(300, 100))
        assert (await refusal(ledger, asking(0, 1))).held_nanodollars == 100


async def test_the_token_budget_counts_the_api_side_only(home: Path) -> None:
    clock = HandClock()
    async with open_ledger(home, clock) as ledger:
        await ledger.begin(new_request("local"), asking(0, 5000))
        await ledger.settle((await ledger.recent())[0].correlation_id, 1, done(0, 5000))
        request = new_request()
        await ledger.begin(request, asking(0, 100))
        assert (await refusal(ledger, asking(0, 1))).unit == "tokens"
        await ledger.settle(request.correlation_id, 1, done(0, 60))
        assert (await refusal(ledger, asking(0, 41))).spent_nanodollars == 60
        await ledger.begin(new_request(), asking(0, 40))
        clock.move(days=1)
        # A new day has its own budget, but what still runs is held in it.
        assert (await refusal(ledger, asking(0, 61))).held_nanodollars == 40
        await ledger.begin(new_request(), asking(0, 60))


@pytest.mark.parametrize(
    ("outcome", "tokens"),
    [
        (Outcome(status="failed"), 80),
        (Outcome(status="failed", may_have_billed=False), 0),
        (Outcome(status="done", usage=Usage(fresh_input_tokens=3, cache_read_tokens=4)), 7),
        (Outcome(status="done", usage=Usage(output_tokens=90), cost_nanodollars=1), 90),
    ],
)
async def test_tokens_whose_count_never_came_count_at_their_hold(
    home: Path, outcome: Outcome, tokens: int
) -> None:
    async with open_ledger(home) as ledger:
        request = new_request()
        await ledger.begin(request, HoldRequest(nanodollars=5, tokens=80))
        await ledger.settle(request.correlation_id, 1, outcome)
        _, (standing,), _ = await ledger.standing((TOKENS,))
        assert (standing.used, standing.held) == (tokens, 0)
        assert (await ledger.check()).ok


async def test_the_standing_of_every_limit_is_read_at_once(home: Path) -> None:
    async with open_ledger(home, HandClock()) as ledger:
        first, lost = new_request(project="web"), new_request()
        await ledger.begin(first, asking(100, 30))
        await ledger.settle(first.correlation_id, 1, done(70, 20))
        await ledger.begin(lost, asking(50, 10))
        await ledger.settle(lost.correlation_id, 1, Outcome(status="failed"))
        await ledger.begin(new_request(project="web"), asking(200, 40))
        await ledger.begin(new_request("local"), None)
        volume, standings, budget = await ledger.standing(ALL)
        assert (volume.requests_today, volume.local_today) == (4, 1)
        assert (budget.spent_nanodollars, budget.held_nanodollars, budget.limit_nanodollars) == (
            120,
            200,
            1000,
        )
        month, day, web, tokens = standings
        assert (month.window_label, month.used, month.held, month.held_count) == ("2026-11", 120, 200, 1)
        assert (month.unresolved, month.unresolved_count) == (50, 1)
        assert (day.window_label, day.used, day.free, day.share_used) == ("2026-11-23", 120, 180, 0.64)
        assert (web.used, web.held, web.free) == (70, 200, 30)
        assert (tokens.used, tokens.held, tokens.unresolved, tokens.free, tokens.unit) == (
            30,
            40,
            10,
            30,
            "tokens",
        )


async def test_each_alert_is_told_once_in_its_window(home: Path) -> None:
    clock = HandClock()
    async with open_ledger(home, clock) as ledger:

        async def told(nanodollars: int) -> list[tuple[str, int]]:
            request = new_request()
            admission = await ledger.begin(request, asking(nanodollars, limits=(MONTH, DAY)))
            await ledger.settle(request.correlation_id, 1, done(nanodollars, 1))
            return [(alert.limit_name, alert.percent) for alert in admission.alerts]

        assert await told(240) == []
        assert await told(10) == [("DAILY_SPEND_LIMIT_DOLLARS", 50)]
        assert await told(1) == []
    async with open_ledger(home, clock) as ledger:
        assert await told(149) == [("DAILY_SPEND_LIMIT_DOLLARS", 80)]
        clock.move(days=1)
        assert await told(100) == [("SPEND_LIMIT_DOLLARS", 50)]
        # A step over several shares tells the highest one, and the others are not told afterwards.
        assert await told(400) == [("SPEND_LIMIT_DOLLARS", 80), ("DAILY_SPEND_LIMIT_DOLLARS", 100)]
        assert await told(0) == []


async def test_an_alert_tells_what_is_used_and_held(home: Path) -> None:
    async with open_ledger(home, HandClock()) as ledger:
        request = new_request(project="web")
        await ledger.begin(request, asking(40, 20))
        await ledger.settle(request.correlation_id, 1, done(30, 10))
        admission = await ledger.begin(new_request(project="web"), asking(140, 45))
        web, tokens = admission.alerts
        assert (web.percent, web.used, web.held, web.limit, web.unit) == (50, 30, 140, 300, "nanodollars")
        assert (web.project, web.window_label) == ("web", "2026-11")
        assert (tokens.percent, tokens.used, tokens.held, tokens.limit, tokens.unit) == (
            50,
            10,
            45,
            100,
            "tokens",
        )


async def test_a_changed_limit_tells_its_own_shares(home: Path) -> None:
    async with open_ledger(home, HandClock()) as ledger:
        low = SpendLimit(name="SPEND_LIMIT_DOLLARS", nanodollars=100)
        assert len((await ledger.begin(new_request(), asking(60, limits=(low,)))).alerts) == 1
        high = SpendLimit(name="SPEND_LIMIT_DOLLARS", nanodollars=200)
        assert (await ledger.begin(new_request(), asking(10, limits=(high,)))).alerts == ()
        (alert,) = (await ledger.begin(new_request(), asking(40, limits=(high,)))).alerts
        assert (alert.percent, alert.limit) == (50, 200)


async def test_a_settlement_that_costs_more_than_it_held_tells_too(home: Path) -> None:
    async with open_ledger(home, HandClock()) as ledger:
        request = new_request()
        await ledger.begin(request, asking(10, limits=(MONTH,)))
        settled = await ledger.settle(
            request.correlation_id, 1, done(900, 1), limits=(MONTH,), alert_percents=(50, 80, 100)
        )
        assert settled
        assert [(alert.percent, alert.used) for alert in settled.alerts] == [(80, 900)]


async def test_a_local_answer_that_follows_tells_what_the_failed_attempt_crossed(home: Path) -> None:
    async with open_ledger(home, HandClock()) as ledger:
        request = new_request()
        await ledger.begin(request, asking(10, limits=(MONTH,)))
        local = new_request("local", correlation_id=request.correlation_id)
        admission = await ledger.switch_side(1, done(900, 1), local, asking(0, limits=(MONTH,)))
        assert [(alert.percent, alert.used) for alert in admission.alerts] == [(80, 900)]
        assert admission.hold_nanodollars == 0


async def test_a_settlement_that_could_not_be_written_at_once_leaves_its_alert_to_the_next(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_ledger(home, HandClock()) as ledger:
        request = new_request()
        await ledger.begin(request, asking(10, limits=(MONTH,)))

        def full(connection: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        with monkeypatch.context() as broken:
            broken.setattr(writer, "commit", full)
            settled = await ledger.settle(
                request.correlation_id, 1, done(600, 1), limits=(MONTH,), alert_percents=(50, 80, 100)
            )
            assert (settled.saved, settled.alerts) == (False, ())
        # Nobody hears what the retry crosses; so it is told by whoever comes next, and by nobody after that.
        told = [(await ledger.begin(new_request(), asking(1, limits=(MONTH,)))).alerts for _ in range(2)]
        assert [[alert.percent for alert in alerts] for alerts in told] == [[50], []]
        assert ledger.unsaved == ()


async def test_alerts_are_told_by_one_of_two_processes_only(home: Path) -> None:
    clock = HandClock()
    async with open_ledger(home, clock) as first:
        second = Ledger(None, home, clock=clock)
        await second.open()
        asked = [ledger.begin(new_request(), asking(30, limits=(MONTH,))) for ledger in (first, second) * 15]
        alerts = [alert for admission in await asyncio.gather(*asked) for alert in admission.alerts]
        assert [alert.percent for alert in alerts] == [50, 80]
        await second.close()


async def test_a_refused_admission_tells_nothing(home: Path) -> None:
    async with open_ledger(home, HandClock()) as ledger:
        await refusal(ledger, asking(400, 101, limits=(DAY, TOKENS)))
        admission = await ledger.begin(new_request(), asking(400, limits=(DAY, TOKENS)))
        assert [alert.percent for alert in admission.alerts] == [80]


async def test_a_limit_of_nothing_is_used_up_and_tells_no_shares(home: Path) -> None:
    nothing = SpendLimit(name="SPEND_LIMIT_DOLLARS", nanodollars=0)
    asked = HoldRequest(nanodollars=0, limits=(nothing,), alert_percents=(50, 100))
    async with open_ledger(home, HandClock()) as ledger:
        assert (await ledger.begin(new_request(), asked)).alerts == ()
        await refusal(ledger, asking(1, limits=(nothing,)))
        _, (standing,), _ = await ledger.standing((nothing,))
        assert (standing.share_used, standing.free) == (1.0, 0)


async def test_what_is_free_is_known_under_a_limit_only(home: Path) -> None:
    async with open_ledger(home, HandClock()) as ledger:
        await ledger.begin(new_request(), asking(60, limits=()))
        assert (await ledger.budget()).free_nanodollars is None
        assert (await ledger.budget(month_limit(100))).free_nanodollars == 40
        assert (await ledger.budget(month_limit(50))).free_nanodollars == 0
        _, (standing,), _ = await ledger.standing((month_limit(100),))
        assert (standing.project, standing.unit, standing.free) == (None, "nanodollars", 40)


# ---------------------------------------------------------------------- the self-test


async def test_armed_limits_are_seen_to_refuse_and_nothing_stays_behind(home: Path) -> None:
    async with open_ledger(home, HandClock()) as ledger:
        request = new_request(project="web")
        await ledger.begin(request, asking(100, 30))
        await ledger.settle(request.correlation_id, 1, done(70, 20))
        await ledger.begin(new_request(), asking(130, 10))
        used_up = SpendLimit(name="USED_UP", nanodollars=10)
        results = await ledger.self_test((*ALL, used_up))
        assert [(result.limit_name, result.armed) for result in results] == [
            ("SPEND_LIMIT_DOLLARS", True),
            ("DAILY_SPEND_LIMIT_DOLLARS", True),
            ("PROJECT_SPEND_LIMITS", True),
            ("DAILY_TOKEN_BUDGET", True),
            ("USED_UP", True),
        ]
        assert "70 tokens is free" in results[3].detail
        assert len(await ledger.recent()) == 2
        assert (await ledger.budget()).held_nanodollars == 130
        assert len(await ledger.audit_entries()) == 4  # the chain's beginning, begin, settle, begin
        await ledger.begin(new_request(), asking(1, 1))
        assert (await ledger.check()).ok
        assert (await ledger.verify_audit()).ok


def pass_everything(_limit: Limit, **_figures: object) -> None:
    return


async def test_a_limit_that_is_not_asked_is_seen_to_be_disarmed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_ledger(home) as ledger:
        monkeypatch.setattr(admission, "check_limit", pass_everything)
        (result,) = await ledger.self_test((MONTH,))
        assert not result.armed
        assert "passed" in result.detail


async def test_a_limit_that_refuses_what_fits_is_seen(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(limit: Limit, **_: object) -> None:
        raise BudgetExceeded(
            "no",
            limit_name=limit.name,
            limit_nanodollars=0,
            spent_nanodollars=0,
            held_nanodollars=0,
            asked_nanodollars=0,
        )

    async with open_ledger(home) as ledger:
        monkeypatch.setattr(admission, "check_limit", refuse)
        (result,) = await ledger.self_test((MONTH,))
        assert not result.armed
        assert "refused all the same" in result.detail


async def test_a_limit_that_compares_with_a_wrong_sum_is_seen(home: Path) -> None:
    async with open_ledger(home) as ledger:
        request = new_request()
        await ledger.begin(request, hold(100))
        await ledger.settle(request.correlation_id, 1, done(100, 1))
        with sqlite3.connect(home / LEDGER_FILE) as other:
            other.execute("UPDATE ledger_totals SET counted_nanodollars = 0")
        other.close()
        (result,) = await ledger.self_test((MONTH,))
        assert not result.armed
        assert "doctor" in result.detail
