"""Request rates: the pure rule, and the ledger that shares it between requests and processes."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import BudgetExceeded, RateExceeded, RunawayPaused
from core.ledger.ledger import Ledger, Outcome, RateLimit, RunawayLimit
from core.ledger.sliding_window import EXACT_UP_TO, MINUTE_US, Log, Passed, TooSoon, begin, from_text, to_text
from tests.support.ledgers import HandClock, hold, ledger_child, new_request, open_ledger

NOW_US = 1_800_000_000 * 10**6
per_minutes = st.one_of(st.integers(1, EXACT_UP_TO + 60), st.integers(1, 1_000_000))
arrivals = st.lists(
    st.tuples(
        st.one_of(st.sampled_from([0, 1, MINUTE_US - 1, MINUTE_US]), st.integers(0, MINUTE_US // 4)),
        st.integers(1, 40),
    ),
    max_size=60,
)
"""The pause before each crowd, and how many it asks for."""


def burst(per_minute: int, at_us: int, log: Log = ()) -> tuple[int, Log]:
    """Ask until refused; return how many passed, and the log."""
    count = 0
    while isinstance(answer := begin(log, at_us, per_minute), Passed):
        log, count = answer.log, count + 1
    return count, log


def most_in_a_minute(times: list[int]) -> int:
    """Return the most of ``times`` that lie in any span of a minute, its first moment in it and its last not."""
    most = first = 0
    for last, at in enumerate(times):
        while times[first] <= at - MINUTE_US:
            first += 1
        most = max(most, last - first + 1)
    return most


@given(st.integers(1, 2000))
def test_a_silent_minute_allows_exactly_the_rate_at_once(per_minute: int) -> None:
    count, log = burst(per_minute, NOW_US)
    assert count == per_minute
    assert burst(per_minute, NOW_US + MINUTE_US, log)[0] == per_minute


@given(per_minutes, arrivals)
def test_no_minute_has_more_than_the_rate(per_minute: int, crowds: list[tuple[int, int]]) -> None:
    now_us, log, passed = NOW_US, Log(), list[int]()
    for gap_us, asked in crowds:
        now_us += gap_us
        for _ in range(asked):
            answer = begin(log, now_us, per_minute)
            if isinstance(answer, Passed):
                log = answer.log
                passed.append(now_us)
    assert most_in_a_minute(passed) <= per_minute
    assert len(log) <= EXACT_UP_TO + 1


@given(st.integers(1, EXACT_UP_TO), arrivals)
def test_a_small_rate_is_used_up_to_the_last_request(per_minute: int, crowds: list[tuple[int, int]]) -> None:
    """Who is refused would have been one too many: the limit is not only kept, it is not undercut either."""
    now_us, log, passed = NOW_US, Log(), list[int]()
    for gap_us, asked in crowds:
        now_us += gap_us
        for _ in range(asked):
            answer = begin(log, now_us, per_minute)
            if isinstance(answer, Passed):
                log = answer.log
                passed.append(now_us)
            else:
                assert most_in_a_minute([*passed, now_us]) == per_minute + 1


@given(st.integers(EXACT_UP_TO + 1, 1_000_000), st.integers(0, MINUTE_US))
def test_a_large_rate_counts_a_request_half_a_second_too_long_at_most_and_never_too_short(
    per_minute: int, after_us: int
) -> None:
    answer = begin((), NOW_US + after_us, per_minute)
    assert isinstance(answer, Passed)
    full = ((answer.log[0][0], per_minute),)
    assert isinstance(begin(full, NOW_US + after_us + MINUTE_US - 1, per_minute), TooSoon)
    again_us = NOW_US + after_us + MINUTE_US + MINUTE_US // EXACT_UP_TO
    assert isinstance(begin(full, again_us, per_minute), Passed)


@given(st.integers(1, 2000), st.integers(0, MINUTE_US // 2))
def test_the_wait_that_is_named_is_exact(per_minute: int, pause_us: int) -> None:
    _, log = burst(per_minute // 2, NOW_US)
    _, log = burst(per_minute, NOW_US + pause_us, log)
    now_us = NOW_US + pause_us
    refused = begin(log, now_us, per_minute)
    assert isinstance(refused, TooSoon)
    assert isinstance(begin(log, now_us + refused.wait_us, per_minute), Passed)
    assert isinstance(begin(log, now_us + refused.wait_us - 1, per_minute), TooSoon)


@given(st.integers(1, 300), arrivals)
def test_a_line_that_takes_the_turns_as_named_is_never_refused(
    per_minute: int, crowds: list[tuple[int, int]]
) -> None:
    now_us, log = NOW_US, Log()
    for gap_us, asked in crowds:
        now_us += gap_us
        for _ in range(asked):
            answer = begin(log, now_us, per_minute)
            log = answer.log if isinstance(answer, Passed) else log
    _, log = burst(per_minute, now_us, log)
    refused = begin(log, now_us, per_minute)
    assert isinstance(refused, TooSoon)
    assert sum(count for _, count in refused.turns) == per_minute
    for wait_us, count in refused.turns:
        for _ in range(count):
            answer = begin(log, now_us + wait_us, per_minute)
            assert isinstance(answer, Passed)
            log = answer.log


@given(per_minutes, st.integers(MINUTE_US + MINUTE_US, 10**15))
def test_a_clock_set_back_makes_nobody_wait_until_it_has_caught_up(per_minute: int, back_us: int) -> None:
    answer = begin(((NOW_US, per_minute),), NOW_US - back_us, per_minute)
    assert isinstance(answer, Passed)
    ((at_us, count),) = answer.log
    assert count == 1
    assert at_us <= NOW_US - back_us + MINUTE_US // EXACT_UP_TO


def test_another_clock_that_is_a_little_ahead_keeps_the_order() -> None:
    answer = begin(((NOW_US + 5, 1),), NOW_US, 3)
    assert answer == Passed(((NOW_US + 5, 2),))


def test_a_lower_limit_holds_at_once() -> None:
    log = tuple((NOW_US + second * 10**6, 1) for second in range(30))
    refused = begin(log, NOW_US + 30 * 10**6, 10)
    assert isinstance(refused, TooSoon)
    assert refused.turns == tuple(((second + 30) * 10**6, 1) for second in range(20, 30))


def test_a_rate_of_nothing_lets_nothing_through() -> None:
    assert begin((), NOW_US, 0) == TooSoon(MINUTE_US)


@given(st.lists(st.tuples(st.integers(0, 2**62), st.integers(1, 10**6))))
def test_a_log_is_kept_as_text(entries: list[tuple[int, int]]) -> None:
    assert from_text(to_text(tuple(entries))) == tuple(entries)


async def test_the_ledger_holds_a_rate_and_says_when_the_next_request_fits(home: Path) -> None:
    clock = HandClock()
    rate = RateLimit(name="MAX_REQUESTS_PER_MINUTE", per_minute=3)
    async with open_ledger(home, clock) as ledger:
        for _ in range(3):
            await ledger.begin(new_request("local"), None, rates=(rate,))
        with pytest.raises(RateExceeded) as refused:
            await ledger.begin(new_request("local"), None, rates=(rate,))
        assert (refused.value.limit_name, refused.value.retry_after_s) == ("MAX_REQUESTS_PER_MINUTE", 60.0)
        assert refused.value.turns == ((60.0, 3),)
        assert len(await ledger.recent()) == 3
        clock.move(seconds=59.999)
        with pytest.raises(RateExceeded):
            await ledger.begin(new_request("local"), None, rates=(rate,))
        clock.move(seconds=0.001)
        await ledger.begin(new_request("local"), None, rates=(rate,))


async def test_sixty_a_minute_are_never_more_than_sixty_in_a_minute(home: Path) -> None:
    """With a bucket that refills while it is emptied, the first minute would have 120 of them."""
    clock = HandClock()
    rate = RateLimit(name="MAX_REQUESTS_PER_MINUTE", per_minute=60)
    begun: list[int] = []
    async with open_ledger(home, clock) as ledger:
        for second in range(121):
            for _ in range(2 if second else 70):
                try:
                    await ledger.begin(new_request("local"), None, rates=(rate,))
                except RateExceeded:
                    continue
                begun.append(second * 10**6)
            clock.move(seconds=1)
    assert begun.count(0) == 60  # at once, after silence
    assert most_in_a_minute(begun) == 60


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
        await ledger.switch_side(1, failed, request, hold(1), rates=(rate,))
        with pytest.raises(RateExceeded):
            await ledger.switch_side(2, failed, request, hold(1), rates=(rate,))
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
            await ledger.switch_side(1, Outcome(status="failed"), request, hold(60), rates=(runaway,))
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
