"""Money: integers of nano-dollars (10^-9 USD) inside, ``Decimal`` at the edges, never a float.

One token of the cheapest priced models costs a few nano-dollars; an int64 of them holds nine billion dollars, so
one amount may be a billion and still be summed with others.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation, localcontext
from typing import Literal

from core.errors import InvalidRequest

NANO_PER_DOLLAR = 1_000_000_000
MAX_DOLLARS = Decimal(1_000_000_000)
"""The largest amount, and the highest bound of a setting that is one."""

_HOW_TO_WRITE = "Write it like 500 or 0.25."
_FOUR_PLACES_NANO = 100_000
_CENT_NANO = 10_000_000


def dollars_to_nano(dollars: Decimal | str | int) -> int:
    """Return ``dollars`` (USD) in nano-dollars, rounded half to even below one nano-dollar.

    Raises:
        InvalidRequest: it is not a number, or not one that fits in the ledger's 64 bits.
        TypeError: it is a float, which has already lost the exact amount.
    """
    if isinstance(dollars, float):
        raise TypeError("Money is never a float: pass a Decimal, a str or an int.")
    try:
        amount = Decimal(dollars)
    except InvalidOperation:
        raise InvalidRequest(f"{dollars!r} is not an amount of dollars.", hint=_HOW_TO_WRITE) from None
    if not amount.is_finite() or amount.copy_abs() > MAX_DOLLARS:
        raise InvalidRequest(f"{dollars!r} is not an amount of dollars that can be kept.", hint=_HOW_TO_WRITE)
    with localcontext() as context:
        # Enough digits that the shift is exact, so that only the quantize rounds.
        context.prec = len(amount.as_tuple().digits) + 18
        return int(amount.scaleb(9).to_integral_value(rounding=ROUND_HALF_EVEN))


def nano_to_dollars(nanodollars: int) -> Decimal:
    """Return ``nanodollars`` as an exact amount of USD."""
    sign = 1 if nanodollars < 0 else 0
    digits = tuple(int(digit) for digit in str(abs(nanodollars)))
    return Decimal((sign, digits, -9))


def format_cost(nanodollars: int | None, *, estimate: bool = False) -> str:
    """Return a cost for a person's eye, in USD.

    ``None`` is ``Unpriced``; from $1 two decimals with thousands separators, below four; a positive cost
    too small for four decimals is ``<$0.0001``; exactly nothing is ``$0``. ``estimate`` puts ``~`` before it.
    """
    if nanodollars is None:
        return "Unpriced"
    mark = "~" if estimate else ""
    if nanodollars == 0:
        return f"{mark}$0"
    sign = "-" if nanodollars < 0 else ""
    size = abs(nanodollars)
    if size < _FOUR_PLACES_NANO:
        return f"{mark}-$0.0001" if sign else f"{mark}<$0.0001"
    ten_thousandths = _divide_half_even(size, _FOUR_PLACES_NANO)
    if ten_thousandths < 10_000:
        return f"{mark}{sign}$0.{ten_thousandths:04d}"
    cents = _divide_half_even(size, _CENT_NANO)
    return f"{mark}{sign}${cents // 100:,}.{cents % 100:02d}"


def format_limit(nanodollars: int) -> str:
    """Return a limit: whole dollars stay whole (``$500``), others are written as any cost."""
    if nanodollars % NANO_PER_DOLLAR == 0:
        return f"${nanodollars // NANO_PER_DOLLAR:,}"
    return format_cost(nanodollars)


def format_amount(amount: int, unit: Literal["nanodollars", "tokens"], *, estimate: bool = False) -> str:
    """Return what a limit counts: dollars (with ``~`` for an ``estimate``), or ``100,000 tokens``."""
    return f"{amount:,} tokens" if unit == "tokens" else format_cost(amount, estimate=estimate)


def exact_dollars(nanodollars: int | None) -> str | None:
    """Return all digits for a program to read (``0.00000002``), ``None`` where the amount is not known."""
    return None if nanodollars is None else format(nano_to_dollars(nanodollars), "f")


def _divide_half_even(amount: int, unit: int) -> int:
    whole, rest = divmod(amount, unit)
    return whole + (rest * 2 > unit or (rest * 2 == unit and whole % 2 == 1))
