"""What the local machine costs: by hand, and as sums that lose nothing."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.pricing.local_cost import LocalCost, LocalRates, Meter, local_rates
from core.settings.model import Settings

HOUR_MS = 3_600_000
RATES = LocalRates(
    fixed_nanodollars_per_hour=750_000_000,
    ops_nanodollars_per_hour=50_000_000,
    watt_nanodollars_per_hour=330_000,
)


def settings(**values: object) -> Settings:
    return Settings.model_validate(values)


def test_rent_power_and_ops_by_hand() -> None:
    rates = local_rates(
        settings(
            local_dollars_per_hour="0.75",
            electricity_dollars_per_kwh="0.30",
            power_usage_effectiveness=1.1,
            ops_hours_per_month=7.3,
            ops_dollars_per_hour="60",
        )
    )
    # 0.30 $/kWh x 1.1 / 1000 = 0.00033 $/Wh; 7.3 h x $60 / 730 h = $0.60 an hour.
    assert rates == LocalRates(
        fixed_nanodollars_per_hour=750_000_000,
        ops_nanodollars_per_hour=600_000_000,
        watt_nanodollars_per_hour=330_000,
    )
    # Half an hour at 350 W: 350 x 0.00033 / 2 = $0.05775; (0.75 + 0.60) / 2 = $0.675.
    assert rates.cost(HOUR_MS / 2, 350) == LocalCost(
        marginal_nanodollars=57_750_000, loaded_nanodollars=675_000_000 + 57_750_000
    )


def test_a_purchase_is_spread_over_its_life() -> None:
    rates = local_rates(settings(gpu_purchase_dollars="2628", gpu_life_months=36))
    assert rates.fixed_nanodollars_per_hour == 100_000_000  # 2628 / (36 x 730) = 0.10


def test_rent_goes_before_purchase() -> None:
    rates = local_rates(settings(local_dollars_per_hour="0", gpu_purchase_dollars="2628"))
    assert rates.fixed_nanodollars_per_hour == 0
    assert rates.cost(1000).loaded_nanodollars == 0


def test_ops_time_is_sixty_dollars_an_hour_by_default() -> None:
    rates = local_rates(settings(ops_hours_per_month=73))
    assert rates.ops_nanodollars_per_hour == 6_000_000_000


def test_what_is_not_set_is_not_known_and_never_zero() -> None:
    nothing = local_rates(settings())
    assert (nothing.fixed_nanodollars_per_hour, nothing.watt_nanodollars_per_hour) == (None, None)
    assert nothing.cost(1000, 300) == LocalCost(marginal_nanodollars=None, loaded_nanodollars=None)
    idle = nothing.idle(3600, 10, 20)
    assert (idle.nanodollars, idle.power_nanodollars, idle.idle_s) == (None, None, 3590)

    ops_only = local_rates(settings(ops_hours_per_month=10))
    assert ops_only.cost(1000, 300).loaded_nanodollars is None

    power_only = local_rates(settings(electricity_dollars_per_kwh="0.36"))
    assert power_only.cost(1000, 100) == LocalCost(marginal_nanodollars=10_000, loaded_nanodollars=None)
    assert power_only.cost(1000, None).marginal_nanodollars is None

    rented = local_rates(settings(local_dollars_per_hour="3.6", electricity_dollars_per_kwh="0.36"))
    assert rented.cost(1000) == LocalCost(marginal_nanodollars=None, loaded_nanodollars=1_000_000)


def test_idle_time_is_a_cost_of_its_own() -> None:
    idle = RATES.idle(3600, 900, 20)
    assert idle.idle_s == 2700
    assert idle.nanodollars == 600_000_000
    assert idle.power_nanodollars == 20 * 330_000 * 3 // 4


def test_a_period_that_was_busier_than_it_is_long_was_never_idle() -> None:
    assert RATES.idle(60, 61).nanodollars == 0
    assert RATES.idle(60, 61).idle_s == 0
    assert RATES.cost(-5).loaded_nanodollars == 0


rates = st.builds(
    LocalRates,
    fixed_nanodollars_per_hour=st.integers(0, 10**13),
    ops_nanodollars_per_hour=st.integers(0, 10**12),
    watt_nanodollars_per_hour=st.none() | st.integers(0, 10**9),
)


@given(
    rates=rates,
    busy_us=st.lists(st.integers(0, 3_600_000_000), max_size=60),
    spare_us=st.integers(0, 10**11),
)
def test_requests_and_idle_time_add_up_to_the_whole_period(
    rates: LocalRates, busy_us: list[int], spare_us: int
) -> None:
    whole_us = sum(busy_us) + spare_us
    loaded = sum(rates.cost(us / 1000).loaded_nanodollars or 0 for us in busy_us)
    idle = rates.idle(whole_us / 1e6, sum(busy_us) / 1e6).nanodollars
    whole = rates.idle(whole_us / 1e6, 0).nanodollars
    assert idle is not None
    assert whole is not None
    # Each amount is rounded once, by half a nano-dollar at most.
    assert abs(loaded + idle - whole) <= (len(busy_us) + 1) // 2 + 1


@given(rates=rates, busy_ms=st.floats(0, 1e9), watts=st.floats(0, 1e6))
def test_the_loaded_cost_is_the_marginal_one_and_the_share_of_the_hour(
    rates: LocalRates, busy_ms: float, watts: float
) -> None:
    with_power, without = rates.cost(busy_ms, watts), rates.cost(busy_ms, None)
    assert with_power.loaded_nanodollars is not None
    assert without.loaded_nanodollars is not None
    assert without.marginal_nanodollars is None
    assert with_power.loaded_nanodollars - without.loaded_nanodollars == (
        with_power.marginal_nanodollars or 0
    )


class Clock:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def pass_ms(self, milliseconds: float) -> None:
        self.now += round(milliseconds * 1_000_000)


def test_requests_in_flight_together_share_the_time() -> None:
    clock = Clock()
    meter = Meter(clock)
    first = meter.enter()
    clock.pass_ms(100)  # alone
    second = meter.enter()
    clock.pass_ms(100)  # two of them: 50 each
    assert meter.leave(first) == pytest.approx(150)
    clock.pass_ms(30)
    assert meter.leave(second) == pytest.approx(80)
    clock.pass_ms(1000)  # idle
    assert meter.busy_ms == 230
    assert meter.leave(second) == 0.0
    third = meter.enter()
    clock.pass_ms(5)
    assert meter.leave(third) == pytest.approx(5)
    assert meter.busy_ms == 235


@given(
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 10**12)), max_size=200),
    seed=st.integers(0, 2**32),
)
def test_the_shares_add_up_to_the_time_that_somebody_was_in_flight(
    steps: list[tuple[bool, int]], seed: int
) -> None:
    clock, chance = Clock(), random.Random(seed)
    meter = Meter(clock)
    waiting: list[int] = []
    shares, union_ns = 0.0, 0
    for enters, passed_ns in [*steps, *[(False, 7)] * len(steps)]:
        union_ns += passed_ns if waiting else 0
        clock.now += passed_ns
        if enters:
            waiting.append(meter.enter())
        elif waiting:
            shares += meter.leave(waiting.pop(chance.randrange(len(waiting))))
    assert waiting == []
    assert meter.busy_ms == union_ns / 1e6
    assert shares == pytest.approx(union_ns / 1e6, rel=1e-9, abs=1e-3)


def test_a_clock_that_is_set_back_takes_no_time_away() -> None:
    clock = Clock()
    meter = Meter(clock)
    ticket = meter.enter()
    clock.pass_ms(10)
    assert meter.busy_ms == 10
    clock.pass_ms(-5)
    assert meter.busy_ms == 10
    clock.pass_ms(5)
    assert meter.leave(ticket) == pytest.approx(15)


def test_years_of_work_stay_exact() -> None:
    clock = Clock()
    meter = Meter(clock)
    meter.enter()
    meter.enter()
    clock.pass_ms(10 * 365 * 24 * HOUR_MS)  # ten years with two that never end
    ticket = meter.enter()
    clock.pass_ms(3)
    assert meter.leave(ticket) == pytest.approx(1, abs=1e-6)


def test_settings_are_read_as_the_decimals_they_are_written_in() -> None:
    rates = local_rates(settings(electricity_dollars_per_kwh=Decimal("0.1"), power_usage_effectiveness=1.1))
    assert rates.watt_nanodollars_per_hour == 110_000
