"""The breakers, on a clock of the test's own."""

from __future__ import annotations

import pytest

from core.errors import (
    AuthenticationFailed,
    ContentRefused,
    ContextTooLong,
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    QueueFull,
    RateLimited,
    SignalboxError,
    TimedOut,
    TransientFailure,
    Unavailable,
)
from core.routing.circuit_breaker import MAX_ENDS, Breaker, Breakers


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


def test_failures_that_left_the_window_are_not_counted() -> None:
    clock = Clock()
    breaker = Breaker(clock, min_requests=4, error_rate=0.5, window_s=60)
    for _ in range(3):
        breaker.fail(breaker.begin())
    clock.now += 61
    for _ in range(3):
        breaker.succeed(breaker.begin())
    breaker.fail(breaker.begin())
    assert breaker.phase == "closed", "one of four"


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


def test_a_retry_after_of_nothing_is_no_wish() -> None:
    breaker = Breaker(Clock())
    breaker.fail(breaker.begin(), retry_after_s=0)
    assert breaker.phase == "closed"


def test_after_a_retry_after_the_first_to_come_is_the_probe() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    breaker.fail(breaker.begin(), retry_after_s=5)
    clock.now += 4.9
    assert not breaker.allows
    clock.now += 0.1
    assert breaker.begin().is_probe
    assert not breaker.allows


@pytest.mark.parametrize("rate", [0.25, 0.5, 1.0])
def test_the_rate_is_that_of_the_window(rate: float) -> None:
    breaker = Breaker(Clock(), min_requests=4, error_rate=rate)
    good = round(20 * (1 - rate))
    for _ in range(good):
        breaker.succeed(breaker.begin())
    needed = 0
    while breaker.phase == "closed":
        breaker.fail(breaker.begin())
        needed += 1
    assert needed >= 4 * rate
    assert needed >= rate * (good + needed) > needed - 1 or needed == 4


def test_a_busy_window_stays_small_and_right() -> None:
    clock = Clock()
    breaker = Breaker(clock, error_rate=0.5)
    for _ in range(3 * MAX_ENDS):
        breaker.succeed(breaker.begin())
    for number in range(MAX_ENDS // 2):
        assert breaker.phase == "closed", number
        breaker.fail(breaker.begin())
    assert breaker.phase == "open"


def booting(error: TransientFailure) -> TransientFailure:
    error.booting = True
    return error


OUTCOMES: list[tuple[SignalboxError | None, bool]] = [
    (Unavailable("down"), True),
    (TimedOut("silent", phase="connect"), True),
    (TimedOut("silent"), True),
    (Overloaded("529"), True),
    (RateLimited("429"), True),
    (None, False),
    (ContentRefused("no"), False),
    (AuthenticationFailed("401"), False),
    (InvalidRequest("404: no such model"), False),
    (ContextTooLong("too long"), False),
    (DeadlineExceeded("over"), False),
    (QueueFull("our own line"), False),
    (booting(Unavailable("Loading model")), False),
    (booting(Unavailable("Loading model", retry_after_s=30)), False),
]


@pytest.mark.parametrize(
    ("error", "is_failure"), OUTCOMES, ids=lambda value: getattr(value, "kind", str(value))
)
def test_only_what_speaks_of_health_opens(error: SignalboxError | None, is_failure: bool) -> None:
    breaker = Breaker(Clock(), min_requests=4)
    for _ in range(8):
        if breaker.allows:
            breaker.end(breaker.begin(), error)
    assert breaker.phase == ("open" if is_failure else "closed")


@pytest.mark.parametrize(
    ("error", "is_failure"), OUTCOMES, ids=lambda value: getattr(value, "kind", str(value))
)
def test_what_a_probe_met_decides(error: SignalboxError | None, is_failure: bool) -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now += 10
    breaker.end(breaker.begin(), error)
    if is_failure:
        assert breaker.phase == "open"
    elif error is None or isinstance(error, ContentRefused):
        assert breaker.phase == "closed", "it answered"
    else:
        assert (breaker.phase, breaker.allows) == ("half_open", True), "the next one probes"


def test_a_server_known_to_be_starting_does_not_open_the_breaker_whatever_it_says() -> None:
    breaker = Breaker(Clock(), min_requests=1)
    breaker.end(breaker.begin(), Unavailable("Nothing answers"), booting=True)
    breaker.end(breaker.begin(), Overloaded("503", retry_after_s=60), booting=True)
    assert breaker.phase == "closed"


def test_each_provider_and_model_has_its_own_breaker() -> None:
    breakers = Breakers(Clock(), min_requests=1)
    opus = breakers.of("anthropic", "claude-opus-5")
    opus.fail(opus.begin())
    assert breakers.of("anthropic", "claude-opus-5") is opus
    breakers.of("embedded", None)
    breakers.of("anthropic", "claude-sonnet-5")
    assert breakers.phases() == {
        ("anthropic", "claude-opus-5"): "open",
        ("embedded", None): "closed",
        ("anthropic", "claude-sonnet-5"): "closed",
    }


def test_a_provider_may_be_reset_alone() -> None:
    breakers = Breakers(Clock(), min_requests=1, cooldown_s=10)
    for provider in ("anthropic", "embedded"):
        breaker = breakers.of(provider, "m")
        breaker.fail(breaker.begin())
    assert breakers.of("anthropic", "m").retry_in_s == 10
    assert breakers.of("embedded", "m").retry_in_s == 10
    breakers.reset("embedded")
    assert breakers.phases() == {("anthropic", "m"): "open", ("embedded", "m"): "closed"}
    breakers.reset()
    assert set(breakers.phases().values()) == {"closed"}


def test_names_from_outside_do_not_make_breakers_without_end() -> None:
    breakers = Breakers(Clock(), max_breakers=8, min_requests=1)
    broken_one = breakers.of("anthropic", "claude-opus-5")
    broken_one.fail(broken_one.begin())
    for number in range(1000):
        breakers.of("anthropic", f"made-up-{number}")
    phases = breakers.phases()
    assert len(phases) == 8
    assert phases["anthropic", "claude-opus-5"] == "open", "an open breaker is kept before closed ones"
    assert ("anthropic", "made-up-999") in phases


def test_with_only_open_breakers_the_oldest_goes_and_its_late_words_change_nothing() -> None:
    clock = Clock()
    breakers = Breakers(clock, max_breakers=2, min_requests=1)
    first = breakers.of("anthropic", "m0")
    late = first.begin()
    for number in range(3):
        breaker = breakers.of("anthropic", f"m{number}")
        breaker.fail(breaker.begin())
    assert set(breakers.phases()) == {("anthropic", "m1"), ("anthropic", "m2")}
    again = breakers.of("anthropic", "m0")
    again.fail(late)
    assert again.phase == "closed"
