"""How long a retry waits: full jitter, a cap, and the server's own wish."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.routing.recovery import Backoff


def at(share: float) -> Backoff:
    return Backoff(base_s=0.25, cap_s=8.0, random=lambda: share)


@pytest.mark.parametrize(
    ("retry", "most_s"), [(1, 0.25), (2, 0.5), (3, 1.0), (6, 8.0), (7, 8.0), (10_000, 8.0), (0, 0.25)]
)
def test_the_range_doubles_up_to_the_cap(retry: int, most_s: float) -> None:
    assert at(0.0).delay_s(retry) == 0
    assert at(0.5).delay_s(retry) == most_s / 2
    assert at(1.0).delay_s(retry) == most_s


def test_the_jitter_is_full_and_even() -> None:
    backoff = Backoff(base_s=1.0, cap_s=8.0, random=random.Random(3).random)
    waits = [wait for _ in range(4000) if (wait := backoff.delay_s(2)) is not None]
    assert 0 <= min(waits) < 0.01
    assert 1.99 < max(waits) < 2
    assert statistics.mean(waits) == pytest.approx(1.0, abs=0.05)


def test_a_servers_wish_is_waited_for_in_full_with_the_jitter_on_top() -> None:
    assert at(0.0).delay_s(1, 3.0) == 3.0
    assert at(0.5).delay_s(3, 3.0) == 3.5
    assert at(0.5).delay_s(1, 0.0) == 0.125


def test_a_wish_beyond_the_cap_is_not_waited_for() -> None:
    assert at(0.5).delay_s(1, 8.0) is not None
    assert at(0.5).delay_s(1, 8.1) is None
    assert at(0.5).delay_s(1, 1e12) is None


@given(
    retry=st.integers(min_value=-5, max_value=10**9),
    share=st.floats(min_value=0, max_value=1, exclude_max=True),
    wish=st.none() | st.floats(min_value=-10, max_value=1e9),
    base=st.floats(min_value=0, max_value=100),
    cap=st.floats(min_value=0, max_value=1000),
)
def test_a_wait_is_within_its_bounds(
    retry: int, share: float, wish: float | None, base: float, cap: float
) -> None:
    wait = Backoff(base_s=base, cap_s=cap, random=lambda: share).delay_s(retry, wish)
    if wish is not None and wish > cap:
        assert wait is None
        return
    assert wait is not None
    assert max(0.0, wish or 0.0) <= wait <= max(0.0, wish or 0.0) + cap
