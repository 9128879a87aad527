"""A model's prices, compiled once from ``genai-prices`` and the user's own to integer rates with their dates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from core.pricing.price_overrides import PriceOverride
from core.pricing.price_rates import RATE_PER_DOLLAR_A_KCOUNT, Rates, Tiers, rate_of

if TYPE_CHECKING:
    from genai_prices.types import (
        ModelInfo,
        ModelPrice,
        StartDateConstraint,
        TieredPrices,
        TimeOfDateConstraint,
    )

    _Constraint = StartDateConstraint | TimeOfDateConstraint | None

_Active = Callable[[datetime], bool]

# The words under which the tables file a service tier: Anthropic's "batch", its "fast", OpenAI's "flex".
_TIER_CONTEXTS = ("processing", "speed", "service_tier")


@dataclass(frozen=True, slots=True)
class DatedTiers:
    """Tiers that hold while ``active`` says so. ``lasts``: once they hold, they hold from then on."""

    active: _Active | None
    lasts: bool
    tiers: Tiers


@dataclass(frozen=True, slots=True)
class CompiledModel:
    """A model's prices, compiled. ``overridden``: a price of the user's own is among them."""

    context_tokens: int | None
    max_output_tokens: int | None
    overridden: bool
    dated: tuple[DatedTiers, ...]
    by_service_tier: Mapping[str, tuple[DatedTiers, ...]]

    def candidates(self, service_tier: str | None) -> tuple[DatedTiers, ...]:
        """Return the entries of a tier, the one that wins first."""
        return self.dated if service_tier is None else self.by_service_tier.get(service_tier, ())

    def tiers(self, at: datetime, service_tier: str | None) -> Tiers | None:
        """Return the tiers in force at ``at``, or ``None`` where that service tier has no known price."""
        for dated in self.candidates(service_tier):
            if dated.active is None or dated.active(at):
                return dated.tiers
        # Before its first date, a model has the oldest price the table knows.
        return self.dated[-1].tiers if service_tier is None and self.dated else None


def is_settled(candidates: tuple[DatedTiers, ...], now: datetime | None) -> bool:
    """Say whether no date can change which entry holds: ever (``now`` of ``None``), or from now on."""
    if not candidates or candidates[0].active is None:
        return True
    return now is not None and candidates[0].lasts and candidates[0].active(now)


def table_name(provider: str, model: str) -> str | None:
    """Return the name that the built-in table files ``model`` under, ``None`` where it doesn't know it."""
    from genai_prices.data_snapshot import get_snapshot

    try:
        return get_snapshot().find_provider_model(model, None, provider, None)[1].id
    except LookupError:
        return None


def compile_model(provider: str, model: str, overrides: Mapping[str, PriceOverride]) -> CompiledModel | None:
    """Compile the prices of ``model``; ``None`` where neither the table nor the user knows it.

    An override goes by the name asked for, or by the name that the table files it under.
    """
    from genai_prices.data_snapshot import get_snapshot

    try:
        owner, info = get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return _compile_override(overrides.get(model))
    override = overrides.get(model) or overrides.get(info.id)
    standard = _standard_prices(info)
    if not standard:
        return _compile_override(override)
    own = override or PriceOverride()
    dated = tuple(
        DatedTiers(_active(constraint), _lasts(constraint), _overlaid(_compile_tiers(prices), own))
        for constraint, prices in standard
    )
    # A model borrowed from another provider's table keeps its prices but not its service tiers.
    borrowed = all(info is not candidate for candidate in owner.models)
    return CompiledModel(
        context_tokens=own.context_tokens or info.context_window,
        max_output_tokens=own.max_output_tokens,
        overridden=own.has_prices,
        dated=dated,
        by_service_tier={} if borrowed else _compile_service_tiers(info, standard),
    )


def _compile_override(override: PriceOverride | None) -> CompiledModel | None:
    """Compile a model that only the user's file knows.

    Without its own price, reading from a cache costs what input does and thinking what output does. Writing
    to one mostly costs *more* than input, so without a price it has none.
    """
    if override is None:
        return None
    bare = Rates(
        above_tokens=-1,
        fresh=None,
        cache_read=None if override.input is None else rate_of(override.input),
        cache_write_5m=None,
        cache_write_1h=None,
        output=None,
        thinking=None if override.output is None else rate_of(override.output),
        request=0,
        web_search=None,
    )
    return CompiledModel(
        context_tokens=override.context_tokens,
        max_output_tokens=override.max_output_tokens,
        overridden=override.has_prices,
        dated=(DatedTiers(None, True, _overlaid((bare,), override)),),
        by_service_tier={},
    )


def _overlaid(tiers: Tiers, own: PriceOverride) -> Tiers:
    """Lay the user's own prices over the table's: each holds for its class in every tier."""

    def either(mine: Decimal | None, theirs: int | None) -> int | None:
        return theirs if mine is None else rate_of(mine)

    if not own.has_prices:
        return tiers
    return tuple(
        Rates(
            above_tokens=rates.above_tokens,
            fresh=either(own.input, rates.fresh),
            cache_read=either(own.cache_read, rates.cache_read),
            cache_write_5m=either(own.cache_write_5m, rates.cache_write_5m),
            cache_write_1h=either(own.cache_write_1h, rates.cache_write_1h),
            output=either(own.output, rates.output),
            thinking=either(own.thinking if own.thinking is not None else own.output, rates.thinking),
            request=rates.request,
            web_search=rates.web_search,
        )
        for rates in tiers
    )


def _standard_prices(info: ModelInfo) -> list[tuple[_Constraint, ModelPrice]]:
    """Return the standard prices by date, the one that wins first: later entries of a table do."""
    if not isinstance(info.prices, list):
        return [(None, info.prices)]
    return [(price.constraint, price.prices) for price in reversed(info.prices)]


def _compile_service_tiers(
    info: ModelInfo, standard: list[tuple[_Constraint, ModelPrice]]
) -> dict[str, tuple[DatedTiers, ...]]:
    """File each price variant, laid over the standard prices of its dates, under its service tier's word."""
    from genai_prices.types import ModelPrice

    found: dict[str, tuple[DatedTiers, ...]] = {}
    for variant in info.price_variants or ():
        if len(variant.when) != 1:
            continue
        ((context, word),) = variant.when.items()
        if context not in _TIER_CONTEXTS:
            continue
        overrides = {key: price for key, price in _price_items(variant.prices).items() if price is not None}
        for constraint, base in standard:
            laid_over = ModelPrice(**(_price_items(base) | overrides))
            dated = DatedTiers(
                _both(_active(variant.constraint), _active(constraint)),
                _lasts(variant.constraint) and _lasts(constraint),
                _compile_tiers(laid_over),
            )
            found[word.lower()] = (*found.get(word.lower(), ()), dated)
    return found


def _active(constraint: _Constraint) -> _Active | None:
    return None if constraint is None else constraint.active


def _lasts(constraint: _Constraint) -> bool:
    from genai_prices.types import StartDateConstraint

    return constraint is None or isinstance(constraint, StartDateConstraint)


def _both(first: _Active | None, second: _Active | None) -> _Active | None:
    if first is None or second is None:
        return first or second
    return lambda at: first(at) and second(at)


def _price_items(prices: ModelPrice) -> dict[str, Decimal | TieredPrices | None]:
    return dict(vars(prices))


def _compile_tiers(prices: ModelPrice) -> Tiers:
    """Flatten prices that may each have their own tiers into one list of tiers, lowest first."""
    from genai_prices.types import TieredPrices

    items = _price_items(prices)
    starts = {
        tier.start for price in items.values() if isinstance(price, TieredPrices) for tier in price.tiers
    }

    def rate(above_tokens: int, *keys: str) -> int | None:
        # The first key that has a price: a class without its own falls to the wider one it is part of.
        price = next((found for key in keys if (found := items.get(key)) is not None), None)
        if isinstance(price, TieredPrices):
            reached = [tier.price for tier in price.tiers if tier.start <= above_tokens]
            price = reached[-1] if reached else price.base
        return None if price is None else rate_of(price)

    def a_thousand(key: str) -> int | None:
        price = items.get(key)
        return int(price * RATE_PER_DOLLAR_A_KCOUNT) if isinstance(price, Decimal) else None

    return tuple(
        Rates(
            above_tokens=above,
            fresh=rate(above, "input_mtok"),
            cache_read=rate(above, "cache_read_mtok", "input_mtok"),
            cache_write_5m=rate(above, "cache_write_5m_mtok", "cache_write_mtok", "input_mtok"),
            cache_write_1h=rate(above, "cache_write_1h_mtok", "cache_write_mtok", "input_mtok"),
            output=rate(above, "output_mtok"),
            thinking=rate(above, "output_reasoning_mtok", "output_mtok"),
            request=a_thousand("requests_kcount") or 0,
            web_search=a_thousand("web_searches_kcount"),
        )
        for above in (-1, *sorted(starts))
    )
