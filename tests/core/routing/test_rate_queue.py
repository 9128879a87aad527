"""The line for request rates, in front of a rate that is kept exactly, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.chat import Waiting
from core.errors import BudgetExceeded, DeadlineExceeded, RateExceeded
from core.routing.rate_queue import RateLimitQueue
from tests.support.virtual_time import now, run, settle

NAME = "MAX_REQUESTS_PER_MINUTE"


class Rate:
    """A door that lets one through each interval, once a burst of ``per_minute`` is used up."""

    def __init__(self, per_minute: int, burst: int | None = None) -> None:
        self.per_minute = per_minute
        self.interval_s = 60 / per_minute
        self.burst_s = self.interval_s * (per_minute if burst is None else burst)
        self.arrival = 0.0
        self.passed: list[tuple[float, int]] = []
        self.tries = 0

    def door(self, number: int) -> Callable[[], object]:
        async def try_once() -> int:
            self.tries += 1
            await asyncio.sleep(0)  # the ledger's transaction
            theirs = max(self.arrival, now())
            too_soon_s = theirs + self.interval_s - self.burst_s - now()
            if too_soon_s > 1e-9:
                turns = tuple((too_soon_s + n * self.interval_s, 1) for n in range(self.per_minute))
                raise RateExceeded("too soon", limit_name=NAME, retry_after_s=too_soon_s, turns=turns)
            self.arrival = theirs + self.interval_s
            self.passed.append((now(), number))
            return number

        return try_once


async def passes(
    line: RateLimitQueue,
    rate: Rate,
    number: int = 0,
    *,
    max_waiting: int = 64,
    max_wait_s: float = 3600,
    deadline_left_s: float | None = None,
    on_wait: Callable[[Waiting], None] | None = None,
) -> int:
    return await line.passed(
        rate.door(number),  # type: ignore[arg-type]
        max_waiting=max_waiting,
        max_wait_s=max_wait_s,
        deadline_left_s=deadline_left_s,
        on_wait=on_wait,
    )


def test_under_the_rate_nobody_waits() -> None:
    async def main() -> None:
        line, rate = RateLimitQueue(now), Rate(10)
        told: list[Waiting] = []
        assert [await passes(line, rate, n, on_wait=told.append) for n in range(10)] == list(range(10))
        assert (now(), told) == (1000, [])

    run(main())


def test_those_over_the_rate_wait_their_turn_in_order() -> None:
    async def main() -> None:
        line, rate = RateLimitQueue(now), Rate(60, burst=1)
        await asyncio.gather(*(passes(line, rate, n) for n in range(20)))
        assert [number for _, number in rate.passed] == list(range(20))
        assert [at for at, _ in rate.passed] == pytest.approx([1000.0 + n for n in range(20)], abs=0.05)
        # One by one: the line does not hammer the ledger. (Two tries each: the turn comes, and the time comes.)
        assert rate.tries <= 2 * 20 + 20
        assert line.waiting == 0

    run(main())


def test_a_newcomer_does_not_overtake() -> None:
    async def main() -> None:
        line, rate = RateLimitQueue(now), Rate(60, burst=1)
        await passes(line, rate, 0)
        waiting = asyncio.create_task(passes(line, rate, 1))
        await settle()
        rate.arrival = 0.0  # the rate would let one through this very moment
        newcomer = asyncio.create_task(passes(line, rate, 2))
        await asyncio.gather(waiting, newcomer)
        assert [number for _, number in rate.passed] == [0, 1, 2]

    run(main())


def test_a_wait_that_is_too_long_is_refused_at_once_with_an_estimate() -> None:
    async def main() -> None:
        line, rate = RateLimitQueue(now), Rate(1, burst=1)
        await passes(line, rate, 0)
        with pytest.raises(RateExceeded) as caught:
            await passes(line, rate, 1, max_wait_s=30)
        assert now() == 1000
        error = caught.value
        assert (error.limit_name, error.retry_after_s) == (NAME, pytest.approx(60))
        assert error.message == (
            "MAX_REQUESTS_PER_MINUTE is reached. Nobody is ahead in line, the next free turn is in about 60 s, "
            "and a request waits 30 s at most."
        )
        assert line.waiting == 0

    run(main())


def test_the_estimate_counts_those_ahead() -> None:
    async def main() -> None:
        line, rate = RateLimitQueue(now), Rate(6, burst=1)
        await passes(line, rate)
        waiting = [asyncio.create_task(passes(line, rate, n)) for n in range(1, 6)]
        await settle()
        with pytest.raises(RateExceeded, match=r"5 requests are ahead in line.* in about 60 s") as caught:
            await passes(line, rate, 6, max_wait_s=55)
        assert caught.value.retry_after_s == pytest.approx(60)
        assert await asyncio.gather(*waiting) == [1, 2, 3, 4, 5]

    run(main())


def test_the_turns_that_a_refusal_names_make_the_first_estimate_right() -> None:
    """The first one that a rate refuses may have to wait for a part of the interval only."""

    async def main() -> None:
        line, rate = RateLimitQueue(now), Rate(6, burst=1)
        await passes(line, rate)
        await asyncio.sleep(9)
        waiting = [asyncio.create_task(passes(line, rate, n)) for n in range(1, 5)]
        await settle()
        with pytest.raises(RateExceeded) as caught:
            await passes(line, rate, 6, max_wait_s=30)
        assert caught.value.retry_after_s == pytest.approx(1 + 4 * 10)
        await asyncio.gather(*waiting)

    run(main())


def test_a_full_line_refuses() -> None:
    async def main() -> None:
        line, rate = RateLimitQueue(now), Rate(60, burst=1)
        await passes(line, rate)
        waiting = [asyncio.create_task(passes(line, rate, n)) for n in (1, 2)]
        await settle()
        with pytest.raises(RateExceeded, match=r"2 requests are ahead.*no more requests may wait"):
            await passes(line, rate, 3, max_waiting=2)
        await asyncio.gather(*waiting)
        with pytest.raises(RateExceeded, match="Nobody is ahead"):
            await passes(line, rate, 4, max_waiting=0)

    run(main())


def test_a_crowd_that_goes_together_expects_the_same_wait() -> None:
    """Four a minute were sent at once, so the next four go together a minute later, and four more after that."""

    async def main() -> None:
        line, begun = RateLimitQueue(now), list[float]()

        async def door() -> None:
            await asyncio.sleep(0)
            recent = [at for at in begun if at > now() - 60]
            if len(recent) >= 4:
                wait_s = recent[0] + 60 - now()
                turns = tuple((at + 60 - now(), 1) for at in recent)
                raise RateExceeded("too soon", limit_name=NAME, retry_after_s=wait_s, turns=turns)
            begun.append(now())

        expected: dict[int, float | None] = {}
        crowd: list[asyncio.Task[None]] = []

        def hear(number: int, waiting: Waiting) -> None:
            expected.setdefault(number, waiting.expected_s)

        for number in range(12):

            def tell(waiting: Waiting, number: int = number) -> None:
                hear(number, waiting)

            passing = line.passed(door, max_waiting=64, max_wait_s=120, on_wait=tell)
            crowd.append(asyncio.create_task(passing))
            await settle()
        await asyncio.gather(*crowd)
        assert list(expected) == list(range(4, 12))
        assert list(expected.values()) == pytest.approx([60.0] * 4 + [120.0] * 4)
        assert begun == pytest.approx([1000.0] * 4 + [1060.0] * 4 + [1120.0] * 4, abs=0.1)

    run(main())


def test_each_place_is_told_once() -> None:
    async def main() -> None:
        line, rate = RateLimitQueue(now), Rate(600, burst=1)  # ten a second
        await passes(line, rate)
        told: list[int] = []
        crowd = [asyncio.create_task(passes(line, rate, n)) for n in range(1, 41)]
        await settle()
        last = passes(line, rate, 41, on_wait=lambda waiting: told.append(waiting.position))
        await asyncio.gather(*crowd, last)
        assert told == list(range(40, -1, -1))

    run(main())


def test_the_place_in_line_is_told_whenever_it_changes() -> None:
    async def main() -> None:
        line, rate = RateLimitQueue(now), Rate(60, burst=1)
        await passes(line, rate)
        told: list[tuple[float, int]] = []
        first = asyncio.create_task(passes(line, rate, 1))
        await settle()

        def hear(waiting: Waiting) -> None:
            assert waiting.reason == "rate"
            assert NAME in waiting.detail
            assert waiting.expected_s is not None
            told.append((round(now() - 1000 + waiting.expected_s), waiting.position))

        await asyncio.gather(first, passes(line, rate, 2, on_wait=hear))
        assert told[0] == (2, 1)
        assert told[-1] == (2, 0)

    run(main())


def test_a_listener_that_fails_does_not_hurt_the_others() -> None:
    async def main() -> None:
        line, rate = RateLimitQueue(now), Rate(60, burst=1)

        def broken(waiting: Waiting) -> None:
            raise ValueError("broken")

        assert await asyncio.gather(*(passes(line, rate, n, on_wait=broken) for n in range(3))) == [0, 1, 2]

    run(main())


def test_a_deadline_that_comes_first_is_refused_at_once() -> None:
    async def main() -> None:
        line, rate = RateLimitQueue(now), Rate(1, burst=1)
        await passes(line, rate)
        with pytest.raises(RateExceeded, match="this request's deadline is sooner"):
            await passes(line, rate, deadline_left_s=10)
        assert now() == 1000

    run(main())


def test_a_deadline_that_passes_in_the_line_ends_the_wait() -> None:
    """The estimate was too short: another program takes the turns."""

    async def main() -> None:
        line, rate = RateLimitQueue(now), Rate(60, burst=1)
        await passes(line, rate)
        first = asyncio.create_task(passes(line, rate, 1))
        second = asyncio.create_task(passes(line, rate, 2, deadline_left_s=3))
        await settle()
        rate.arrival += 100
        await asyncio.wait([second])
        assert isinstance(second.exception(), DeadlineExceeded)
        assert now() == pytest.approx(1003)
        assert await first == 1  # still in line, and through in the end

    run(main())


def test_a_wait_that_becomes_too_long_ends_with_an_estimate() -> None:
    async def main() -> None:
        line, rate = RateLimitQueue(now), Rate(60, burst=1)
        await passes(line, rate)
        waiting = asyncio.create_task(passes(line, rate, 1, max_wait_s=30))
        await settle()
        rate.arrival += 100
        await asyncio.wait([waiting])
        error = waiting.exception()
        assert isinstance(error, RateExceeded)
        assert error.retry_after_s == pytest.approx(100, abs=1)
        assert now() < 1005  # it does not wait for what it is not going to get

    run(main())


def test_one_who_is_cancelled_makes_room_for_the_next() -> None:
    async def main() -> None:
        line, rate = RateLimitQueue(now), Rate(60, burst=1)
        await passes(line, rate)
        tasks = [asyncio.create_task(passes(line, rate, n)) for n in range(1, 5)]
        await settle()
        tasks[0].cancel()  # the first in line, asleep
        tasks[2].cancel()  # one in the middle
        await asyncio.wait(tasks)
        assert [number for _, number in rate.passed] == [0, 2, 4]
        assert now() == pytest.approx(1002, abs=0.05)
        assert line.waiting == 0

    run(main())


def test_another_error_of_the_ledger_ends_the_wait_and_frees_the_place() -> None:
    async def main() -> None:
        line, rate = RateLimitQueue(now), Rate(60, burst=1)
        await passes(line, rate)
        tries = 0

        async def broke() -> int:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise RateExceeded("too soon", limit_name=NAME, retry_after_s=1)
            raise BudgetExceeded(
                "no money",
                limit_name="X",
                limit_nanodollars=0,
                spent_nanodollars=0,
                held_nanodollars=0,
                asked_nanodollars=1,
            )

        poor = asyncio.create_task(line.passed(broke, max_waiting=9, max_wait_s=60))
        behind = asyncio.create_task(passes(line, rate, 1))
        await asyncio.wait([poor, behind])
        assert isinstance(poor.exception(), BudgetExceeded)
        assert behind.result() == 1

    run(main())


def test_a_ledger_that_says_in_zero_seconds_is_not_asked_in_a_tight_loop() -> None:
    async def main() -> None:
        line = RateLimitQueue(now)
        tries = 0

        async def stubborn() -> None:
            nonlocal tries
            tries += 1
            raise RateExceeded("too soon", limit_name=NAME, retry_after_s=0)

        with pytest.raises(RateExceeded):
            await line.passed(stubborn, max_waiting=1, max_wait_s=1)
        assert tries <= 202

    run(main())


@settings(max_examples=150, deadline=None)
@given(
    per_minute=st.integers(1, 600),
    burst=st.integers(1, 5),
    arrivals=st.lists(st.tuples(st.sampled_from([0.0, 0.1, 1.0, 7.0]), st.booleans()), max_size=25),
)
def test_the_rate_holds_and_the_order_too_whatever_comes(
    per_minute: int, burst: int, arrivals: list[tuple[float, bool]]
) -> None:
    async def main() -> None:
        line, rate = RateLimitQueue(now), Rate(per_minute, burst)
        tasks: list[asyncio.Task[int]] = []
        stopped: set[int] = set()
        for number, (pause_s, stops_one) in enumerate(arrivals):
            await asyncio.sleep(pause_s)
            tasks.append(asyncio.create_task(passes(line, rate, number, max_wait_s=1e6)))
            await settle()
            waiting = [n for n, task in enumerate(tasks) if not task.done()]
            if stops_one and waiting:
                stopped.add(waiting[len(waiting) // 2])
                tasks[waiting[len(waiting) // 2]].cancel()
        if tasks:
            await asyncio.wait(tasks)
        assert [n for _, n in rate.passed] == [n for n in range(len(tasks)) if n not in stopped]
        times = [at for at, _ in rate.passed]
        for early, late in zip(times, times[burst:], strict=False):
            assert late - early >= rate.interval_s - 1e-6
        assert line.waiting == 0

    run(main())
