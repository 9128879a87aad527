"""What a usage costs at given rates: the integer arithmetic that estimate, hold and settlement share.

Rates are whole multiples of 10^-25 USD a token: price tables hold USD a million tokens, at most 18 decimals
deep, and one decimal more keeps a tenth of a rate (a surcharge of 1.1 times) whole. Nothing is rounded before
the last step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from core.chat import Usage

CacheWrite = Literal["5m", "1h"]

RATE_PER_DOLLAR_A_MTOK = 10**19
RATE_PER_DOLLAR_A_KCOUNT = 10**22
_RATE_PER_NANODOLLAR = 10**16

_STANDARD = ("standard", "default", "auto", "standard_only")
# Inference kept in the United States costs 1.1 times every token price (Anthropic, "Data residency"); models
# from before that choice report "not_available". Other places have no price that is known.
_TENTHS_BY_GEO: Mapping[str, int] = {"us": 11, "global": 10, "not_available": 10}


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates of one tier, for more than ``above_tokens`` input tokens. ``None``: that class has no price."""

    above_tokens: int
    fresh: int | None
    cache_read: int | None
    cache_write_5m: int | None
    cache_write_1h: int | None
    output: int | None
    thinking: int | None
    request: int
    web_search: int | None


Tiers = tuple[Rates, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a usage says about its price beside its counts.

    ``tier`` is the word under which the table files it, ``None`` for the standard one. ``tenths`` multiplies
    the token prices. ``one_call`` is false where several calls to the model were added up.
    """

    tier: str | None = None
    tenths: int = 10
    web_searches: int = 0
    one_call: bool = True


def read_terms(usage: Usage) -> Terms | None:
    """Return the terms at which ``usage`` is priced; ``None`` when one of them has no price that is known."""
    service_tier, speed = (word.lower() for word in (usage.service_tier or "", usage.speed or ""))
    chosen = [word for word in (service_tier, speed) if word and word not in _STANDARD]
    tenths = 10 if usage.region is None else _TENTHS_BY_GEO.get(usage.region.lower())
    if len(chosen) > 1 or tenths is None or usage.unpriced_extras:
        return None  # two tiers at once are such as a fast batch
    if usage.call_kinds not in ((), ("message",)):
        return None
    return Terms(
        tier=chosen[0] if chosen else None,
        tenths=tenths,
        web_searches=usage.web_searches,
        one_call=not usage.call_kinds,
    )


def cost_nanodollars(tiers: Tiers, usage: Usage, terms: Terms) -> int | None:
    """Return what ``usage`` costs in nano-dollars, rounded half to even; ``None`` where a class has no price."""
    if not terms.one_call and len(tiers) > 1:
        return None  # each call had its own tier, and only their sum is known
    rates = _tier_for(tiers, usage.input_tokens)
    # Thinking tokens are already inside the output count; only a few models price them apart.
    thinking = min(usage.thinking_tokens or 0, usage.output_tokens)
    cost = 0
    for tokens, rate in (
        (usage.fresh_input_tokens, rates.fresh),
        (usage.cache_read_tokens, rates.cache_read),
        (usage.cache_write_5m_tokens, rates.cache_write_5m),
        (usage.cache_write_1h_tokens, rates.cache_write_1h),
        (usage.output_tokens - thinking, rates.output),
        (thinking, rates.thinking),
    ):
        if tokens:
            if rate is None:
                return None
            cost += tokens * rate
    extras = _extras(rates, terms)
    return None if extras is None else _round_half_even(cost * terms.tenths // 10 + extras)


def worst_case_nanodollars(
    tiers: Tiers, input_tokens: int, output_tokens: int, cache_write: CacheWrite | None, terms: Terms
) -> int | None:
    """Return the most that such counts can cost in nano-dollars, rounded up.

    Every input token is priced at the dearest class it can fall in and every tier up to ``input_tokens`` is
    considered, so that no usage within the counts costs more at the same terms.
    """
    dearest: int | None = None
    for rates in tiers:
        if rates.above_tokens >= input_tokens and dearest is not None:
            break
        input_rate, output_rate = _dearest_input(rates, cache_write), rates.output
        extras = _extras(rates, terms)
        if input_rate is None or output_rate is None or extras is None:
            return None
        if rates.thinking is not None and rates.thinking > output_rate:
            output_rate = rates.thinking
        tokens = input_tokens * input_rate + output_tokens * output_rate
        cost = tokens * terms.tenths // 10 + extras
        if dearest is None or cost > dearest:
            dearest = cost
    return None if dearest is None else -(-dearest // _RATE_PER_NANODOLLAR)


def rate_of(dollars_per_mtok: Decimal) -> int:
    return int(dollars_per_mtok * RATE_PER_DOLLAR_A_MTOK)


def dollars_per_mtok(rate: int | None) -> Decimal | None:
    """Return a rate as the price tables write it, in USD a million tokens."""
    return None if rate is None else (Decimal(rate) / RATE_PER_DOLLAR_A_MTOK).normalize() + 0


def _tier_for(tiers: Tiers, input_tokens: int) -> Rates:
    """Return the tier that the *total* input reaches: it then prices every token, not those above it."""
    for rates in reversed(tiers[1:]):
        if input_tokens > rates.above_tokens:
            return rates
    return tiers[0]


def _dearest_input(rates: Rates, cache_write: CacheWrite | None) -> int | None:
    dearest = rates.fresh
    if dearest is None:
        return None
    if rates.cache_read is not None and rates.cache_read > dearest:
        dearest = rates.cache_read
    if cache_write is None:
        return dearest
    # A breakdown by lifetime may be missing from a report, so a mark of either lifetime can settle as the other.
    for write in (
        rates.cache_write_5m,
        rates.cache_write_1h if cache_write == "1h" else rates.cache_write_5m,
    ):
        if write is None:
            return None
        if write > dearest:
            dearest = write
    return dearest


def _extras(rates: Rates, terms: Terms) -> int | None:
    if not terms.web_searches:
        return rates.request
    return None if rates.web_search is None else rates.request + terms.web_searches * rates.web_search


def _round_half_even(cost: int) -> int:
    whole, rest = divmod(cost, _RATE_PER_NANODOLLAR)
    half = _RATE_PER_NANODOLLAR // 2
    return whole + (rest > half or (rest == half and whole % 2 == 1))
