"""What leaving a warm side costs, in cash and in machine time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.chat import CacheLifetime
from core.context.cache_memory import CachePrices, minimum_cache_tokens
from core.context.switching_cost import LOCAL_LIFETIME_S, PrefillSpeed, WarmPrefix, switching_cost

SONNET = CachePrices(fresh=3_000_000_000, read=300_000_000, write_5m=3_750_000_000, write_1h=6_000_000_000)


def api(tokens: int = 100_000, at_s: float = 1000.0, lifetime: CacheLifetime = "5m") -> WarmPrefix:
    return WarmPrefix(side="api", cached_tokens=tokens, at_s=at_s, lifetime=lifetime)


def test_the_apis_toll_is_writing_what_could_have_been_read() -> None:
    found = switching_cost(api(), 1060.0, prices=SONNET)
    assert found is not None
    assert (found.side, found.cached_tokens, found.expires_in_s) == ("api", 100_000, 240.0)
    assert found.nanodollars == 345_000_000, "100,000 tokens at 3.75 - 0.30 dollars a million"
    hour = switching_cost(api(lifetime="1h"), 1060.0, prices=SONNET)
    assert hour is not None
    assert (hour.nanodollars, hour.expires_in_s) == (570_000_000, 3540.0)


@pytest.mark.parametrize(("lifetime", "lasts_s"), [("5m", 300.0), ("1h", 3600.0)])
def test_it_is_free_when_the_lifetime_is_over(lifetime: CacheLifetime, lasts_s: float) -> None:
    assert switching_cost(api(lifetime=lifetime), 1000.0 + lasts_s - 0.1, prices=SONNET) is not None
    assert switching_cost(api(lifetime=lifetime), 1000.0 + lasts_s, prices=SONNET) is None


def test_the_local_toll_is_machine_time() -> None:
    last = WarmPrefix(side="local", cached_tokens=6000, at_s=0.0)
    speed = PrefillSpeed(tokens_per_s=2000.0, nanodollars_per_hour=720_000_000)
    found = switching_cost(last, 60.0, prefill=speed, prices=SONNET)
    assert found is not None
    assert found.nanodollars == 600_000, "3 s of a machine at 0.72 dollars an hour"
    assert found.expires_in_s == LOCAL_LIFETIME_S - 60


@pytest.mark.parametrize(
    "prefill",
    [
        None,
        PrefillSpeed(),
        PrefillSpeed(tokens_per_s=1000.0),
        PrefillSpeed(nanodollars_per_hour=1),
        PrefillSpeed(tokens_per_s=0.0, nanodollars_per_hour=1),
    ],
)
def test_an_unknown_price_is_none_and_not_nothing(prefill: PrefillSpeed | None) -> None:
    local = switching_cost(WarmPrefix(side="local", cached_tokens=10, at_s=0.0), 1.0, prefill=prefill)
    assert local is not None
    assert local.nanodollars is None
    unpriced = switching_cost(api(), 1001.0)
    assert unpriced is not None
    assert unpriced.nanodollars is None


def test_nothing_warm_is_no_toll() -> None:
    assert switching_cost(None, 0.0, prices=SONNET) is None
    assert switching_cost(api(tokens=0), 1000.0, prices=SONNET) is None


@given(tokens=st.integers(0, 10**7), age_s=st.floats(-10, 10_000), hour=st.booleans())
def test_a_toll_is_never_negative_and_never_outlives_its_cache(tokens: int, age_s: float, hour: bool) -> None:
    lifetime: CacheLifetime = "1h" if hour else "5m"
    found = switching_cost(api(tokens, 1000.0, lifetime), 1000.0 + age_s, prices=SONNET)
    assert (found is None) == (tokens == 0 or age_s >= (3600 if hour else 300))
    if found is not None:
        assert found.nanodollars is not None
        assert found.nanodollars >= 0
        assert 0 < found.expires_in_s <= (3600 if hour else 300)


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("claude-sonnet-4-5-20250929", 1024),
        ("claude-opus-4-1-20250805", 1024),
        ("claude-opus-4-5-20251101", 4096),
        ("claude-haiku-4-5-20251001", 4096),
        ("claude-3-5-haiku-20241022", 2048),
        ("claude-unheard-of", 4096),
        ("llama-3", 4096),
    ],
)
def test_the_shortest_prefix_a_model_caches(model: str, tokens: int) -> None:
    assert minimum_cache_tokens(model) == tokens
