"""Request rates: the pure rule, and the ledger that shares it between requests and processes."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import BudgetExceeded, RateExceeded, RunawayPaused
from core.spend.ledger import Ledger, Outcome, RateLimit, RunawayLimit
from core.spend.rates import MINUTE_NS, Conformed, TooSoon, conform
from tests.support.ledgers import HandClock, hold, ledger_child, new_request, open_ledger

NOW_NS = 1_800_000_000 * 10**9
per_minutes = st.integers(1, 1_000_000)


def burst(per_minute: int, at_ns: int, tat_ns: int = 0) -> tuple[int, int]:
    """Ask until refused; return how many conformed, and the state."""
    count = 0
    while isinstance(answer := conform(tat_ns, at_ns, per_minute), Conformed):
        tat_ns, count = answer.tat_ns, count + 1
    return count, tat_ns


@given(st.integers(1, 2000))
def test_a_silent_minute_allows_exactly_the_rate_at_once(per_minute: int) -> None:
    count, tat_ns = burst(per_minute, NOW_NS)
    assert count == per_minute
    # And again after a silent minute (the interval is rounded up by less than a nanosecond a request).
    assert burst(per_minute, NOW_NS + MINUTE_NS + per_minute, tat_ns)[0] == per_minute


@given(st.integers(1, 2000))
def test_the_wait_that_is_named_is_exact_to_the_nanosecond(per_minute: int) -> None:
    _, tat_ns = burst(per_minute, NOW_NS)
    refused = conform(tat_ns, NOW_NS, per_minute)
    assert isinstance(refused, TooSoon)
    assert isinstance(conform(tat_ns, NOW_NS + refused.wait_ns, per_minute), Conformed)
    assert isinstance(conform(tat_ns, NOW_NS + refused.wait_ns - 1, per_minute), TooSoon)


@given(per_minutes, st.lists(st.integers(0, MINUTE_NS // 4), max_size=120))
def test_no_span_of_time_sees_more_than_a_burst_and_the_steady_rate(per_minute: int, gaps: list[int]) -> None:
    now_ns, tat_ns, passed = NOW_NS, 0, list[int]()
    for gap in gaps:
        now_ns += gap
        answer = conform(tat_ns, now_ns, per_minute)
        if isinstance(answer, Conformed):
            tat_ns = answer.tat_ns
            passed.append(now_ns)
    for first, start in enumerate(passed):
        for last in range(first, len(passed)):
            span_ns = passed[last] - start
            assert last - first + 1 <= per_minute + span_ns * per_minute // MINUTE_NS + 1


@given(per_minutes, st.integers(3 * MINUTE_NS, 10**18))
def test_a_clock_set_back_stops_nobody(per_minute: int, back_ns: int) -> None:
    _, tat_ns = burst(1, NOW_NS)
    assert isinstance(conform(tat_ns, NOW_NS - back_ns, per_minute), Conformed)


def test_a_rate_of_nothing_lets_nothing_through() -> None:
    assert conform(0, NOW_NS, 0) == TooSoon(MINUTE_NS)


async def test_the_ledger_holds_a_rate_and_says_when_the_next_request_fits(home: Path) -> None:
    clock = HandClock()
    rate = RateLimit(name="MAX_REQUESTS_PER_MINUTE", per_minute=3)
    async with open_ledger(home, clock) as ledger:
        for _ in range(3):
            await ledger.begin(new_request("local"), None, rates=(rate,))
        with pytest.raises(RateExceeded) as refused:
            await ledger.begin(new_request("local"), None, rates=(rate,))
        assert (refused.value.limit_name, refused.value.retry_after_s) == ("MAX_REQUESTS_PER_MINUTE", 20.0)
        assert len(await ledger.recent()) == 3
        clock.move(seconds=19.999)
        with pytest.raises(RateExceeded):
            await ledger.begin(new_request("local"), None, rates=(rate,))
        clock.move(seconds=0.001)
        await ledger.begin(new_request("local"), None, rates=(rate,))


async def test_a_refused_request_uses_up_no_rate(home: Path) -> None:
    rate = RateLimit(name="MAX_REQUESTS_PER_MINUTE", per_minute=1)
    tighter = RateLimit(name="MAX_API_REQUESTS_PER_MINUTE", per_minute=1)
    async with open_ledger(home, HandClock()) as ledger:
        with pytest.raises(BudgetExceeded):
            await ledger.begin(new_request(), hold(11, 10), rates=(rate,))
        await ledger.begin(new_request(), hold(1, 10), rates=(tighter,))
        with pytest.raises(RateExceeded) as refused:
            await ledger.begin(new_request(), hold(1, 10), rates=(rate, tighter))
        assert refused.value.limit_name == "MAX_API_REQUESTS_PER_MINUTE"
        await ledger.begin(new_request(), hold(1, 10), rates=(rate,))


async def test_a_retry_counts_against_the_rate_too(home: Path) -> None:
    rate = RateLimit(name="MAX_API_REQUESTS_PER_MINUTE", per_minute=2)
    failed = Outcome(status="failed", may_have_billed=False)
    async with open_ledger(home, HandClock()) as ledger:
        request = new_request()
        await ledger.begin(request, hold(1), rates=(rate,))
        await ledger.switch_side(failed, request, hold(1), rates=(rate,))
        with pytest.raises(RateExceeded):
            await ledger.switch_side(failed, request, hold(1), rates=(rate,))
        assert [row.status for row in await ledger.attempts(request.correlation_id)] == ["superseded", "open"]
        assert (await ledger.budget()).held_nanodollars == 1
        assert (await ledger.check()).ok


async def test_a_rate_outlives_a_restart(home: Path) -> None:
    clock, rate = HandClock(), RateLimit(name="MAX_REQUESTS_PER_MINUTE", per_minute=1)
    async with open_ledger(home, clock) as ledger:
        await ledger.begin(new_request("local"), None, rates=(rate,))
    async with open_ledger(home, clock) as ledger:
        with pytest.raises(RateExceeded):
            await ledger.begin(new_request("local"), None, rates=(rate,))


async def test_two_processes_share_one_rate(home: Path) -> None:
    # Each asks 60 times as fast as it can; the rate is for both together and so slow that time adds nothing.
    processes = [ledger_child("rate", home, 40) for _ in range(2)]
    begun = [int((await asyncio.to_thread(process.communicate, timeout=60))[0]) for process in processes]
    assert sum(begun) == 40
    async with open_ledger(home) as ledger:
        assert len(await ledger.recent(1000)) == 40


async def test_a_runaway_conversation_is_paused_until_a_person_resumes_it(home: Path) -> None:
    clock, runaway = HandClock(), RunawayLimit(conversation="c0ffee", per_minute=3)
    other = RunawayLimit(conversation="other", per_minute=3)
    async with open_ledger(home, clock) as ledger:
        for _ in range(3):
            await ledger.begin(new_request(), hold(1), rates=(runaway,))
        with pytest.raises(RunawayPaused) as paused:
            await ledger.begin(new_request(), hold(1), rates=(runaway,))
        assert (paused.value.conversation, paused.value.per_minute) == ("c0ffee", 3)
        assert "c0ffee" in paused.value.hint
        await ledger.begin(new_request(), hold(1), rates=(other,))
        # It stays paused however long it waits, through a restart, and whatever the limit is meanwhile.
        clock.move(days=3)
    async with open_ledger(home, clock) as ledger:
        with pytest.raises(RunawayPaused):
            await ledger.begin(
                new_request(), hold(1), rates=(RunawayLimit(conversation="c0ffee", per_minute=999),)
            )
        (waiting,) = await ledger.paused()
        assert (waiting.conversation, waiting.per_minute) == ("c0ffee", 3)
        assert clock.now - waiting.since >= timedelta(days=3)
        assert await ledger.resume("c0ffee") is True
        assert await ledger.resume("c0ffee") is False
        assert await ledger.paused() == []
        await ledger.begin(new_request(), hold(1), rates=(runaway,))
        assert [entry.kind for entry in await ledger.audit_entries(3)] == ["begin", "resume", "begin"]
        assert len(await ledger.recent()) == 5
        assert (await ledger.verify_audit()).ok


async def test_a_runaway_retry_is_paused_and_keeps_its_attempt(home: Path) -> None:
    runaway = RunawayLimit(conversation="c", per_minute=1)
    async with open_ledger(home, HandClock()) as ledger:
        request = new_request()
        await ledger.begin(request, hold(60), rates=(runaway,))
        with pytest.raises(RunawayPaused):
            await ledger.switch_side(Outcome(status="failed"), request, hold(60), rates=(runaway,))
        assert [row.status for row in await ledger.attempts(request.correlation_id)] == ["open"]
        assert (await ledger.budget()).held_nanodollars == 60
        assert (await ledger.check()).ok


async def test_a_pause_holds_in_another_ledger_at_once(home: Path) -> None:
    clock, runaway = HandClock(), RunawayLimit(conversation="c", per_minute=1)
    async with open_ledger(home, clock) as first:
        second = Ledger(None, home, clock=clock)
        await second.open()
        await first.begin(new_request("local"), None, rates=(runaway,))
        with pytest.raises(RunawayPaused):
            await second.begin(new_request("local"), None, rates=(runaway,))
        with pytest.raises(RunawayPaused):
            await first.begin(new_request("local"), None, rates=(runaway,))
        assert await first.resume("c")
        await second.begin(new_request("local"), None, rates=(runaway,))
        await second.close()


async def test_states_whose_time_has_passed_are_swept_out(home: Path) -> None:
    clock = HandClock()
    async with open_ledger(home, clock) as ledger:
        for number in range(1100):
            limit = RunawayLimit(conversation=f"c{number}", per_minute=10)
            await ledger.begin(new_request("local"), None, rates=(limit,))
        count = await ledger._read(  # pyright: ignore[reportPrivateUsage]
            lambda connection: connection.exec_driver_sql("SELECT count(*) FROM ledger_rates").scalar_one()
        )
        assert count < 1100
