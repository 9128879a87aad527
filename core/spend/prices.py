"""Prices: what a usage costs, from the tables of ``genai-prices``, in exact integers.

One function serves the estimate, the hold, the settlement and the display, so they cannot disagree. The
library prices one call in about 60 microseconds of ``Decimal`` work; here each model is compiled once to
integer rates, which a test holds equal to the library's own answer.

A model, token class or service tier without a known price gives ``None``, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from core.chat import Side, Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

CacheWrite = Literal["5m", "1h"]
_Active = Callable[[datetime], bool]

# Rates are integers of 10^-24 USD a token: the tables hold USD a million tokens, at most 18 decimals deep.
_RATE_PER_DOLLAR_A_MTOK = 10**18
_RATE_PER_DOLLAR_A_KCOUNT = 10**21
_RATE_PER_NANODOLLAR = 10**15

_STANDARD_TIERS = (None, "", "standard", "default", "auto", "standard_only")
# The words under which the tables file a service tier: Anthropic's "batch", its "fast", OpenAI's "flex".
_TIER_CONTEXTS = ("processing", "speed", "service_tier")
_MODELS_KEPT = 1024


@dataclass(frozen=True, slots=True)
class _Rates:
    """Rates of one tier, for more than ``above_tokens`` input tokens. ``None``: that class has no price."""

    above_tokens: int
    fresh: int | None
    cache_read: int | None
    cache_write_5m: int | None
    cache_write_1h: int | None
    output: int | None
    thinking: int | None
    request: int


_Tiers = tuple[_Rates, ...]


@dataclass(frozen=True, slots=True)
class _Dated:
    """Tiers that hold while ``active`` says so; later entries of a table win."""

    active: _Active | None
    tiers: _Tiers


@dataclass(frozen=True, slots=True)
class _Model:
    context_tokens: int | None
    dated: tuple[_Dated, ...]
    by_service_tier: Mapping[str, tuple[_Dated, ...]]

    def tiers(self, at: datetime, service_tier: str | None) -> _Tiers | None:
        """Return the tiers in force at ``at``, or ``None`` where that service tier has no known price."""
        word = service_tier.lower() if service_tier else None
        for dated in self.by_service_tier.get(word, ()) if word else ():
            if dated.active is None or dated.active(at):
                return dated.tiers
        if word not in _STANDARD_TIERS:
            return None
        if len(self.dated) == 1:
            return self.dated[0].tiers
        for dated in reversed(self.dated):
            if dated.active is None or dated.active(at):
                return dated.tiers
        return self.dated[0].tiers


class PriceTable:
    """The prices of ``genai-prices`` as they are installed; loaded on first use (about 0.3 s)."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], _Model | None] = {}
        self._version: str | None = None

    @property
    def version(self) -> str:
        """The table's name and version, such as ``genai-prices 0.2.3``: kept on every priced row."""
        if self._version is None:
            from importlib.metadata import version

            self._version = f"genai-prices {version('genai-prices')}"
        return self._version

    def cost_nanodollars(
        self,
        model: str,
        usage: Usage,
        *,
        side: Side = "api",
        provider: str = "anthropic",
        at: datetime | None = None,
    ) -> int | None:
        """Return the cash ``usage`` costs in nano-dollars, rounded half to even; ``None`` is unpriced.

        The local side costs no cash. ``at`` is the moment of the request (naive is UTC), by default now:
        prices have dates.
        """
        if side == "local":
            return 0
        tiers = self._tiers(provider, model, at, usage.service_tier)
        if tiers is None:
            return None
        cost = _cost(_tier_for(tiers, usage.input_tokens), usage)
        return None if cost is None else _round_half_even(cost)

    def worst_case_nanodollars(
        self,
        model: str,
        input_tokens: int,
        max_output_tokens: int,
        *,
        side: Side = "api",
        provider: str = "anthropic",
        cache_write: CacheWrite | None = None,
        at: datetime | None = None,
    ) -> int | None:
        """Return the most a request can cost in nano-dollars, rounded up; ``None`` is unpriced.

        Every input token is priced at the dearest class it can fall in (a cache write only when
        ``cache_write`` says that one is asked for) and every tier up to ``input_tokens`` is considered, so
        no usage within these counts settles above it.
        """
        if side == "local":
            return 0
        tiers = self._tiers(provider, model, at, None)
        if tiers is None:
            return None
        dearest: int | None = None
        for rates in tiers:
            if rates.above_tokens >= input_tokens and dearest is not None:
                break
            cost = _worst_cost(rates, input_tokens, max_output_tokens, cache_write)
            if cost is None:
                return None
            dearest = cost if dearest is None else max(dearest, cost)
        return None if dearest is None else -(-dearest // _RATE_PER_NANODOLLAR)

    def context_tokens(self, model: str, *, provider: str = "anthropic") -> int | None:
        """Return the model's context window in tokens, ``None`` where not known."""
        found = self._model(provider, model)
        return None if found is None else found.context_tokens

    def is_priced(self, model: str, *, provider: str = "anthropic", at: datetime | None = None) -> bool:
        """Say whether plain input and output of ``model`` have a price."""
        return self.worst_case_nanodollars(model, 1, 1, provider=provider, at=at) is not None

    def _tiers(
        self, provider: str, model: str, at: datetime | None, service_tier: str | None
    ) -> _Tiers | None:
        found = self._model(provider, model)
        return None if found is None else found.tiers(at or datetime.now(UTC), service_tier)

    def _model(self, provider: str, model: str) -> _Model | None:
        key = (provider, model)
        try:
            return self._models[key]
        except KeyError:
            if len(self._models) >= _MODELS_KEPT:  # model names may come from outside: never grow without end
                self._models.clear()
            compiled = self._models[key] = _compile(provider, model)
            return compiled


def _tier_for(tiers: _Tiers, input_tokens: int) -> _Rates:
    """Return the tier that the *total* input reaches: it then prices every token, not those above it."""
    for rates in reversed(tiers):
        if input_tokens > rates.above_tokens:
            return rates
    return tiers[0]


def _cost(rates: _Rates, usage: Usage) -> int | None:
    # Thinking tokens are already inside the output count; only a few models price them apart.
    thinking = min(usage.thinking_tokens or 0, usage.output_tokens)
    cost = rates.request
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
    return cost


def _worst_cost(
    rates: _Rates, input_tokens: int, max_output_tokens: int, cache_write: CacheWrite | None
) -> int | None:
    if rates.fresh is None or rates.output is None:
        return None
    classes = [rates.fresh, rates.cache_read or 0]
    if cache_write is not None:
        classes += [rates.cache_write_5m or 0, rates.cache_write_1h or 0]
    return (
        rates.request
        + input_tokens * max(classes)
        + max_output_tokens * max(rates.output, rates.thinking or 0)
    )


def _round_half_even(cost: int) -> int:
    whole, rest = divmod(cost, _RATE_PER_NANODOLLAR)
    half = _RATE_PER_NANODOLLAR // 2
    return whole + (rest > half or (rest == half and whole % 2 == 1))


def _compile(provider: str, model: str) -> _Model | None:
    from genai_prices.data_snapshot import get_snapshot

    try:
        owner, info = get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return None
    standard = _standard_prices(info)
    if not standard:
        return None
    dated = tuple(_Dated(active, _compile_tiers(prices)) for active, prices in standard)
    # A model borrowed from another provider's table keeps its prices but not its service tiers.
    own = any(info is candidate for candidate in owner.models)
    return _Model(info.context_window, dated, _compile_service_tiers(info, standard) if own else {})


def _standard_prices(info: ModelInfo) -> list[tuple[_Active | None, ModelPrice]]:
    if not isinstance(info.prices, list):
        return [(None, info.prices)]
    return [(price.constraint.active if price.constraint else None, price.prices) for price in info.prices]


def _compile_service_tiers(
    info: ModelInfo, standard: list[tuple[_Active | None, ModelPrice]]
) -> dict[str, tuple[_Dated, ...]]:
    """File each price variant, laid over the standard prices of its dates, under its service tier's word."""
    from genai_prices.types import ModelPrice

    found: dict[str, tuple[_Dated, ...]] = {}
    for variant in info.price_variants or ():
        if len(variant.when) != 1:
            continue
        ((context, word),) = variant.when.items()
        if context not in _TIER_CONTEXTS:
            continue
        variant_active = variant.constraint.active if variant.constraint else None
        overrides = {key: price for key, price in _price_items(variant.prices).items() if price is not None}
        for base_active, base in reversed(standard):
            laid_over = ModelPrice(**(_price_items(base) | overrides))
            dated = _Dated(_both(variant_active, base_active), _compile_tiers(laid_over))
            found[word.lower()] = (*found.get(word.lower(), ()), dated)
    return found


def _both(first: _Active | None, second: _Active | None) -> _Active | None:
    if first is None or second is None:
        return first or second
    return lambda at: first(at) and second(at)


def _price_items(prices: ModelPrice) -> dict[str, Decimal | TieredPrices | None]:
    return dict(vars(prices))


def _compile_tiers(prices: ModelPrice) -> _Tiers:
    """Flatten prices that may each have tiers of their own into one list of tiers, lowest first."""
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
        return None if price is None else int(price * _RATE_PER_DOLLAR_A_MTOK)

    requests = items.get("requests_kcount")
    request = int(requests * _RATE_PER_DOLLAR_A_KCOUNT) if isinstance(requests, Decimal) else 0
    return tuple(
        _Rates(
            above_tokens=above,
            fresh=rate(above, "input_mtok"),
            cache_read=rate(above, "cache_read_mtok", "input_mtok"),
            cache_write_5m=rate(above, "cache_write_5m_mtok", "cache_write_mtok", "input_mtok"),
            cache_write_1h=rate(above, "cache_write_1h_mtok", "cache_write_mtok", "input_mtok"),
            output=rate(above, "output_mtok"),
            thinking=rate(above, "output_reasoning_mtok", "output_mtok"),
            request=request,
        )
        for above in (-1, *sorted(starts))
    )
