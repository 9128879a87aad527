"""The breaker, on a clock of the test's own."""

from __future__ import annotations

from core.routing.health import Breaker


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def broken(clock: Clock) -> Breaker:
    breaker = Breaker(clock, min_requests=4, error_rate=0.5, cooldown_s=10, cooldown_cap_s=60)
    for _ in range(4):
        breaker.fail(breaker.begin())
    return breaker


def test_opens_on_the_error_rate_and_not_before() -> None:
    breaker = Breaker(Clock(), min_requests=4)
    for _ in range(3):
        breaker.fail(breaker.begin())
    assert breaker.phase == "closed"
    breaker.fail(breaker.begin())
    assert (breaker.phase, breaker.allows, breaker.retry_in_s) == ("open", False, 10.0)


def test_old_failures_leave_the_window() -> None:
    clock = Clock()
    breaker = Breaker(clock, min_requests=4, window_s=60)
    for _ in range(3):
        breaker.fail(breaker.begin())
    clock.now += 61
    breaker.fail(breaker.begin())
    assert breaker.phase == "closed"


def test_half_open_lets_one_probe_through_and_closes_on_its_success() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now += 10
    assert (breaker.phase, breaker.allows) == ("half_open", True)
    probe = breaker.begin()
    assert not breaker.allows
    breaker.succeed(probe)
    assert (breaker.phase, breaker.allows) == ("closed", True)


def test_a_failed_probe_doubles_the_wait_up_to_the_cap() -> None:
    clock = Clock()
    breaker = broken(clock)
    waits: list[float] = []
    for _ in range(4):
        clock.now += breaker.retry_in_s
        breaker.fail(breaker.begin())
        waits.append(breaker.retry_in_s)
    assert waits == [20.0, 40.0, 60.0, 60.0]


def test_retry_after_opens_at_once_and_is_capped() -> None:
    breaker = Breaker(Clock(), cooldown_cap_s=60)
    breaker.fail(breaker.begin(), retry_after_s=5)
    assert breaker.retry_in_s == 5
    breaker.reset()
    breaker.fail(breaker.begin(), retry_after_s=86_400)
    assert breaker.retry_in_s == 60


def test_an_abandoned_probe_makes_room_for_the_next() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now += 10
    breaker.abandon(breaker.begin())
    assert breaker.allows


def test_what_an_old_request_says_is_ignored() -> None:
    breaker = Breaker(Clock())
    old, other = breaker.begin(), breaker.begin()
    breaker.fail(other, retry_after_s=30)
    breaker.succeed(old)
    assert breaker.retry_in_s == 30
    breaker.fail(old)
    assert breaker.retry_in_s == 30


def test_only_the_probe_frees_its_place() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now += 10
    probe, late = breaker.begin(), breaker.begin()
    breaker.abandon(late)
    assert not breaker.allows
    breaker.abandon(probe)
    assert breaker.allows
