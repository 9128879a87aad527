"""Dollars an hour: the API's by what its last answers took, the machine's by what is set and measured."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from core.errors import LedgerUnavailable
from core.local.gpu_sample import GpuReading, MachineSample
from core.pricing.local_cost import local_rates
from core.pricing.money import NANO_PER_DOLLAR
from core.pricing.spending import Spending
from core.routing.machine_time import CostMeter
from core.services.money_rates import MoneyRates
from core.settings import Settings
from tests.support.gpus import gpu
from tests.support.two_sides import two_sides


class Ledger:
    """Answers with ``spending``, or raises it, and counts how often it was asked."""

    def __init__(self, spending: Spending | Exception) -> None:
        self.spending = spending
        self.asked: list[datetime] = []

    async def since(self, moment: datetime) -> Spending:
        self.asked.append(moment)
        if isinstance(self.spending, Exception):
            raise self.spending
        return self.spending


def rates(
    ledger: Callable[[datetime], Awaitable[Spending]],
    *gpus: GpuReading,
    uses_gpu: bool = True,
    clock: Callable[[], float] = lambda: 0.0,
    **settings: object,
) -> MoneyRates:
    meter = CostMeter()
    meter.configure(Settings(**settings), uses_gpu=uses_gpu)  # type: ignore[arg-type]
    sample = MachineSample(at=datetime.now(UTC), gpus=gpus)
    return MoneyRates(ledger, meter, lambda: sample, clock=clock)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_api_costs_an_hour_what_its_last_minutes_would_cost() -> None:
    ledger = Ledger(Spending(spent_nanodollars=5_000_000))
    money = rates(ledger.since)
    assert money.read()[0] is None, "nobody was asked yet"
    await settled()
    assert money.read()[0] == 60_000_000
    assert datetime.now(UTC) - ledger.asked[0] < timedelta(minutes=6)


async def test_nothing_spent_is_nothing_and_not_unknown() -> None:
    money = rates(Ledger(Spending()).since)
    money.read()
    await settled()
    assert money.read()[0] == 0


@pytest.mark.parametrize(
    "answer",
    [
        Spending(spent_nanodollars=5, unpriced=1),
        Spending(spent_nanodollars=5, unsettled_nanodollars=3),
        LedgerUnavailable("It can't be read.", hint=""),
        RuntimeError("broken"),
    ],
)
async def test_what_is_not_wholly_known_is_unknown(answer: Spending | Exception) -> None:
    money = rates(Ledger(answer).since)
    money.read()
    await settled()
    assert money.read()[0] is None


async def test_the_ledger_is_not_asked_with_every_sample() -> None:
    now_s = 0.0
    ledger = Ledger(Spending())
    money = rates(ledger.since, clock=lambda: now_s)
    for now_s in range(21):  # noqa: B007  the clock reads it
        money.read()
        await settled()
    assert len(ledger.asked) == 5
    await money.close()


RENT = {"local_dollars_per_hour": Decimal("0.75")}
POWER = {"electricity_dollars_per_kwh": Decimal("0.30"), "power_usage_effectiveness": 1.0}


@pytest.mark.parametrize(
    ("settings", "watts", "dollars", "words"),
    [
        ({}, 100.0, None, ""),
        (RENT, None, "0.75", "rent or wear, without power"),
        (RENT | POWER, 100.0, "0.78", "rent or wear and power"),
        (RENT | POWER, None, "0.75", "rent or wear, without power"),
        (POWER, 100.0, "0.03", "power alone"),
        (POWER, None, None, ""),
        (
            RENT | {"ops_hours_per_month": 7.3, "ops_dollars_per_hour": 50},
            None,
            "1.25",
            "rent or wear, ops time, without power",
        ),
    ],
)
async def test_the_machine_costs_what_is_known_of_it_and_says_what_that_is(
    settings: dict[str, object], watts: float | None, dollars: str | None, words: str
) -> None:
    money = rates(Ledger(Spending()).since, gpu(power_w=watts), **settings)
    wanted = None if dollars is None else int(Decimal(dollars) * NANO_PER_DOLLAR)
    assert money.read()[1] == wanted
    assert money.machine_words == words
    await money.close()


async def test_a_card_that_does_not_say_what_it_draws_makes_the_sum_unknown() -> None:
    money = rates(Ledger(Spending()).since, gpu(power_w=100.0), gpu(1, power_w=None), **POWER)
    assert money.read()[1] is None
    by_hand = rates(Ledger(Spending()).since, gpu(power_w=None), local_watts=200.0, **POWER)
    assert by_hand.read()[1] == 60_000_000
    fallen_off = rates(
        Ledger(Spending()).since, gpu(power_w=100.0), gpu(1, power_w=None, lost=True, gone=True), **POWER
    )
    assert fallen_off.read()[1] == 30_000_000, "what requests cost counts those that are there, too"
    idle = rates(Ledger(Spending()).since, gpu(power_w=100.0), uses_gpu=False, **POWER)
    assert idle.read()[1] == 30_000_000, "a GPU draws its power whoever answers"
    for each in (money, by_hand, fallen_off, idle):
        await each.close()


def test_rates_of_no_settings_are_unknown() -> None:
    assert local_rates(Settings()).now_nanodollars(100.0) is None


async def test_the_ledgers_rows_of_the_last_minutes_are_added_up(home: Path) -> None:
    async with two_sides(home) as sides:
        now = datetime.now(UTC)
        assert await sides.core.ledger.api_spending(now - timedelta(minutes=5)) == Spending()
        local = await sides.core.ask("hi", force="local")
        first = await sides.core.ask("hi", force="api")
        second = await sides.core.ask("hi again", force="api")
        assert local.side == "local"
        spent = await sides.core.ledger.api_spending(now - timedelta(minutes=5))
        assert first.cost_nanodollars
        assert spent == Spending(spent_nanodollars=first.cost_nanodollars + (second.cost_nanodollars or 0))
        assert await sides.core.ledger.api_spending(datetime.now(UTC)) == Spending()


async def test_an_unpriced_answer_and_one_that_never_came_are_named(home: Path) -> None:
    async with two_sides(home, ANTHROPIC_MODEL="claude-unheard-of-9") as sides:
        before = datetime.now(UTC) - timedelta(minutes=1)
        result = await sides.core.ask("hi", force="api")
        assert result.cost_nanodollars is None
        assert (await sides.core.ledger.api_spending(before)).unpriced == 1
