from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidRequest
from core.pricing.money import (
    NANO_PER_DOLLAR,
    dollars_to_nano,
    exact_dollars,
    format_amount,
    format_cost,
    format_limit,
    nano_to_dollars,
)
from core.settings import SettingsStore


@given(st.integers(-(10**18) + 1, 10**18 - 1))
def test_nanodollars_go_to_dollars_and_back_exactly(nano: int) -> None:
    assert nano_to_dollars(nano) * NANO_PER_DOLLAR == nano
    assert dollars_to_nano(nano_to_dollars(nano)) == nano


@given(st.decimals(-(10**8), 10**8, places=20))
def test_dollars_round_by_at_most_half_a_nanodollar(dollars: Decimal) -> None:
    assert abs(nano_to_dollars(dollars_to_nano(dollars)) - dollars) <= Decimal("0.5e-9")


@pytest.mark.parametrize(
    "wrong", ["", "a lot", "NaN", "Infinity", "1000000000.000000001", "-1e10", "1e999999", "$5"]
)
def test_what_is_no_amount_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidRequest):
        dollars_to_nano(wrong)


def money_settings() -> dict[str, tuple[str, str]]:
    """The bounds of each setting that is an amount of dollars, as its description states them."""
    bounds = {
        info.env_name: re.search(r"from (\d+) to (\d+)", info.allowed)
        for info in SettingsStore(env={}).describe()
        if info.unit.startswith("dollars")
    }
    return {name: (found[1], found[2]) for name, found in bounds.items() if found is not None}


@pytest.mark.parametrize("shape", ["{}", "{}.000000000", " {} "], ids=["plain", "nano", "spaced"])
def test_every_amount_a_setting_may_have_is_one_that_can_be_kept(home: Path, shape: str) -> None:
    settings = money_settings()
    assert {"SPEND_LIMIT_DOLLARS", "DAILY_SPEND_LIMIT_DOLLARS", "OPS_DOLLARS_PER_HOUR"} <= settings.keys()
    for name, bounds in settings.items():
        for bound in map(Decimal, bounds):
            store = SettingsStore(home, env={name: shape.format(bound)})
            assert store.problems == ()
            value = getattr(store.current, name.lower())
            assert dollars_to_nano(value) == bound * NANO_PER_DOLLAR
        beyond = Decimal(bounds[1]) + Decimal("1e-9")
        assert SettingsStore(home, env={name: str(beyond)}).problems


def test_a_float_is_refused_because_it_has_lost_the_amount_already() -> None:
    with pytest.raises(TypeError):
        dollars_to_nano(0.1)  # type: ignore[arg-type]


def test_amounts_far_below_a_nanodollar_are_nothing() -> None:
    assert dollars_to_nano("1e-999999") == 0


@pytest.mark.parametrize(
    ("nano", "shown"),
    [
        (None, "Unpriced"),
        (0, "$0"),
        (1, "<$0.0001"),
        (99_999, "<$0.0001"),
        (100_000, "$0.0001"),
        (2_059_000, "$0.0021"),
        (999_949_999, "$0.9999"),
        (999_950_001, "$1.00"),
        (1_000_000_000, "$1.00"),
        (1_234_567_890_000, "$1,234.57"),
        (-18_360_000, "-$0.0184"),
    ],
)
def test_costs_as_people_read_them(nano: int | None, shown: str) -> None:
    assert format_cost(nano) == shown


def test_an_estimate_is_marked_and_an_unknown_price_is_not() -> None:
    assert format_cost(18_360_000, estimate=True) == "~$0.0184"
    assert format_cost(None, estimate=True) == "Unpriced"


def test_a_limit_keeps_whole_dollars_whole() -> None:
    assert [format_limit(nano) for nano in (0, 500 * NANO_PER_DOLLAR, 1_234 * NANO_PER_DOLLAR)] == [
        "$0",
        "$500",
        "$1,234",
    ]
    assert format_limit(NANO_PER_DOLLAR // 2) == "$0.5000"
    assert format_limit(1_234_560_000_000) == "$1,234.56"


def test_an_amount_is_written_in_its_limits_unit() -> None:
    assert format_amount(100_000, "tokens") == "100,000 tokens"
    assert format_amount(1_500_000_000, "nanodollars") == "$1.50"


def test_a_program_reads_every_digit() -> None:
    assert exact_dollars(20) == "0.000000020"
    assert exact_dollars(1_234_000_000_001) == "1234.000000001"
    assert Decimal(exact_dollars(0) or "1") == 0
    assert exact_dollars(None) is None
