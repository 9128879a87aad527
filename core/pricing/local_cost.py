"""What the local machine costs: rent or purchase, power and ops time, spread over the requests it answers.

Formulas, all in exact integers of nano-dollars, rounded half to even once for each amount:

* fixed an hour = rent, or purchase / (months of life x 730 hours)
* ops an hour = ops hours a month x price of such an hour / 730 hours
* power an hour = watts x PUE x price of a kWh / 1000
* a request's marginal cost = power while it is answered
* its loaded cost = marginal + (fixed + ops) for its share of the time
* idle = (fixed + ops) for the rest of the period

730 hours are a month: 365 days x 24 hours / 12. Loaded requests and idle time add up to the period's whole cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

from core.pricing.money import NANO_PER_DOLLAR

if TYPE_CHECKING:
    from core.settings import Settings

HOURS_PER_MONTH = 730
_US_PER_HOUR = 3_600_000_000
_MILLIWATTS_PER_WATT = 1000
_SHARES_PER_NS = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCost:
    """What one request cost the machine, in nano-dollars.

    ``marginal_nanodollars`` is the power it drew: ``None`` while the watts or the price of a kWh are not known.
    ``loaded_nanodollars`` adds its share of rent or purchase and of ops time: ``None`` while neither rent nor
    purchase is set. Where only the power is not known, the loaded cost is without it.
    """

    marginal_nanodollars: int | None
    loaded_nanodollars: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleCost:
    """What the machine cost in a period while it answered nobody.

    ``nanodollars`` is rent or purchase and ops time, ``None`` while neither rent nor purchase is set.
    ``power_nanodollars`` comes on top: what it drew while idle, ``None`` where that is not known.
    """

    idle_s: float
    nanodollars: int | None
    power_nanodollars: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRates:
    """The machine's rates in nano-dollars an hour; ``watt_nanodollars_per_hour`` is for one watt, PUE included."""

    fixed_nanodollars_per_hour: int | None
    ops_nanodollars_per_hour: int = 0
    watt_nanodollars_per_hour: int | None = None

    @property
    def hour_nanodollars(self) -> int | None:
        """Rent or purchase and ops time of one hour; ``None`` while neither rent nor purchase is set."""
        if self.fixed_nanodollars_per_hour is None:
            return None
        return self.fixed_nanodollars_per_hour + self.ops_nanodollars_per_hour

    def cost(self, busy_ms: float, watts: float | None = None) -> LocalCost:
        """Return what ``busy_ms`` milliseconds of the machine cost while it drew ``watts``.

        ``busy_ms`` is a request's own share of the time where several ran at once; see ``Meter``.
        """
        busy_us = _us(busy_ms)
        marginal = self._power(busy_us, watts)
        hour = self.hour_nanodollars
        loaded = None if hour is None else _divide_half_even(hour * busy_us, _US_PER_HOUR) + (marginal or 0)
        return LocalCost(marginal_nanodollars=marginal, loaded_nanodollars=loaded)

    def idle(self, period_s: float, busy_s: float, idle_watts: float | None = None) -> IdleCost:
        """Return what the rest of a period of ``period_s`` seconds cost, of which ``busy_s`` were busy.

        The busy part and the rest add up to the whole period's cost to the nano-dollar. ``busy_s`` above the
        period (requests that began before it) leaves no idle time.
        """
        period_us = _us(period_s * 1000)
        busy_us = min(_us(busy_s * 1000), period_us)
        hour = self.hour_nanodollars
        nanodollars = None
        if hour is not None:
            whole = _divide_half_even(hour * period_us, _US_PER_HOUR)
            nanodollars = whole - _divide_half_even(hour * busy_us, _US_PER_HOUR)
        idle_us = period_us - busy_us
        return IdleCost(
            idle_s=idle_us / 1_000_000,
            nanodollars=nanodollars,
            power_nanodollars=self._power(idle_us, idle_watts),
        )

    def now_nanodollars(self, watts: float | None) -> int | None:
        """Return what an hour costs while the machine draws ``watts``, used or not; ``None``: nothing is known.

        What is known is added up, and ``words`` says what that is: where only the price of electricity is set, it
        is the power alone.
        """
        known = [
            part for part in (self.hour_nanodollars, self._power(_US_PER_HOUR, watts)) if part is not None
        ]
        return sum(known) if known else None

    def words(self, watts: float | None) -> str:
        """Return what ``now_nanodollars`` holds and lacks: ``rent or wear and power``, ``power alone``."""
        has_fixed = self.hour_nanodollars is not None
        has_power = watts is not None and self.watt_nanodollars_per_hour is not None
        if not has_fixed:
            return "power alone" if has_power else ""
        fixed = "rent or wear, ops time" if self.ops_nanodollars_per_hour else "rent or wear"
        return f"{fixed} and power" if has_power else f"{fixed}, without power"

    def _power(self, busy_us: int, watts: float | None) -> int | None:
        if self.watt_nanodollars_per_hour is None or watts is None:
            return None
        milliwatts = round(watts * _MILLIWATTS_PER_WATT)
        return _divide_half_even(
            self.watt_nanodollars_per_hour * milliwatts * busy_us, _US_PER_HOUR * _MILLIWATTS_PER_WATT
        )


def local_rates(settings: Settings) -> LocalRates:
    """Return the rates that the settings give. Rent goes before purchase; a price that is not set is not known."""
    fixed: int | None = None
    if settings.local_dollars_per_hour is not None:
        fixed = _nano(Fraction(settings.local_dollars_per_hour))
    elif settings.gpu_purchase_dollars is not None:
        life_hours = settings.gpu_life_months * HOURS_PER_MONTH
        fixed = _nano(Fraction(settings.gpu_purchase_dollars) / life_hours)
    ops = _exact(settings.ops_hours_per_month) * Fraction(settings.ops_dollars_per_hour) / HOURS_PER_MONTH
    watt: int | None = None
    if settings.electricity_dollars_per_kwh is not None:
        pue = _exact(settings.power_usage_effectiveness)
        watt = _nano(Fraction(settings.electricity_dollars_per_kwh) * pue / 1000)
    return LocalRates(
        fixed_nanodollars_per_hour=fixed, ops_nanodollars_per_hour=_nano(ops), watt_nanodollars_per_hour=watt
    )


class Meter:
    """Splits the machine's busy time between the requests in flight: with four of them, each has a quarter.

    The shares add up to the time in which at least one request was in flight. One loop uses it; ``clock``
    counts nanoseconds.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._at_ns = clock()
        # What a request that was in flight since the meter was last empty would have as its share by now,
        # in fixed point, so that a meter that is never empty for months stays exact.
        self._share = 0
        self._entered: dict[int, int] = {}
        self._next = 0
        self._busy_ns = 0

    @property
    def busy_ms(self) -> float:
        """Milliseconds so far in which at least one request was in flight."""
        self._advance()
        return self._busy_ns / 1_000_000

    def enter(self) -> int:
        """Begin a request; returns the ticket to ``leave`` with."""
        self._advance()
        ticket = self._next
        self._next += 1
        self._entered[ticket] = self._share
        return ticket

    def leave(self, ticket: int) -> float:
        """End a request; returns its share of the busy time in milliseconds, 0.0 if it has left before."""
        self._advance()
        began = self._entered.pop(ticket, None)
        if began is None:
            return 0.0
        return (self._share - began) / _SHARES_PER_NS / 1_000_000

    def _advance(self) -> None:
        now = self._clock()
        passed, self._at_ns = max(0, now - self._at_ns), now
        if self._entered:
            self._busy_ns += passed
            self._share += passed * _SHARES_PER_NS // len(self._entered)


def _exact(number: float) -> Fraction:
    """Read a setting's float as the decimal that the user wrote: 1.1 is eleven tenths."""
    return Fraction(Decimal(str(number)))


def _nano(dollars: Fraction) -> int:
    return round(dollars * NANO_PER_DOLLAR)  # a Fraction rounds half to even, exactly


def _us(milliseconds: float) -> int:
    return max(0, round(milliseconds * 1000))


def _divide_half_even(amount: int, unit: int) -> int:
    whole, rest = divmod(amount, unit)
    return whole + (rest * 2 > unit or (rest * 2 == unit and whole % 2 == 1))
