"""Prices: what a usage costs, from the tables of ``genai-prices`` and the user's own, in exact integers.

One function serves the estimate, the hold, the settlement and the display, so they cannot disagree. The
library prices one call in about 60 microseconds of ``Decimal`` work; here each model is compiled once to
integer rates, which a test holds equal to the library's own answer.

A model, token class or service tier without a known price gives ``None``, never 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from core.chat import Side, Usage
from core.spend import price_rates
from core.spend.price_overrides import Overrides, PriceOverride, PriceOverridesFile
from core.spend.price_rates import (
    RATE_PER_DOLLAR_A_KCOUNT,
    CacheWrite,
    Rates,
    Terms,
    Tiers,
    dollars_per_mtok,
    rate_of,
    read_terms,
)

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

    from core.spend.rows import LedgerRow

__all__ = ["CacheWrite", "ModelPrices", "PriceTable", "Priced"]

_Active = Callable[[datetime], bool]

# The words under which the tables file a service tier: Anthropic's "batch", its "fast", OpenAI's "flex".
_TIER_CONTEXTS = ("processing", "speed", "service_tier")
_MODELS_KEPT = 1024
_LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class _Dated:
    """Tiers that hold while ``active`` says so; later entries of a table win."""

    active: _Active | None
    tiers: Tiers


@dataclass(frozen=True, slots=True)
class _Model:
    """A model's prices, compiled. ``overridden``: a price of the user's own is among them."""

    context_tokens: int | None
    max_output_tokens: int | None
    overridden: bool
    dated: tuple[_Dated, ...]
    by_service_tier: Mapping[str, tuple[_Dated, ...]]

    def tiers(self, at: datetime, service_tier: str | None) -> Tiers | None:
        """Return the tiers in force at ``at``, or ``None`` where that service tier has no known price."""
        if service_tier is not None:
            for dated in self.by_service_tier.get(service_tier, ()):
                if dated.active is None or dated.active(at):
                    return dated.tiers
            return None
        for dated in reversed(self.dated):
            if dated.active is None or dated.active(at):
                return dated.tiers
        return self.dated[0].tiers if self.dated else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """What a usage costs. ``model`` is the name whose prices were used, ``version`` the table they are from."""

    nanodollars: int
    version: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPrices:
    """The prices of one tier in USD a million tokens, for more than ``above_tokens`` input tokens (-1: from none).

    ``None``: that class has no price. ``web_search`` is USD for one search.
    """

    above_tokens: int
    input: Decimal | None
    output: Decimal | None
    cache_read: Decimal | None
    cache_write_5m: Decimal | None
    cache_write_1h: Decimal | None
    thinking: Decimal | None
    web_search: Decimal | None


class _Loaded:
    """What one reading of the overrides gave, and the models compiled with it."""

    def __init__(self, overrides: Overrides) -> None:
        self.overrides = overrides
        self.models: dict[tuple[str, str], _Model | None] = {}
        # Where no date decides, the answer is kept whole: these lookups are on the way of every request.
        self.undated: dict[tuple[str, str, str | None], tuple[Tiers, Terms] | None] = {}


class PriceTable:
    """The prices of ``genai-prices`` as they are installed (loaded on first use, about 0.3 s), and the user's own.

    ``overrides_path`` names the user's file, ``prices.json`` in the home folder; a change of it is seen within
    a second. ``clock`` counts seconds.
    """

    def __init__(
        self, overrides_path: Path | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._file = None if overrides_path is None else PriceOverridesFile(overrides_path)
        self._clock = clock
        self._base_version: str | None = None
        self._seen: tuple[int, int, int] | None = None
        self._look_at = 0.0
        self._state = _Loaded(Overrides())
        self.reload()

    @property
    def version(self) -> str:
        """The table's name and version: ``genai-prices 0.2.3``, or ``genai-prices 0.2.3 + overrides 1a2b3c4d``."""
        state = self._loaded()
        return self._version(bool(state.overrides.digest), state)

    def version_of(self, model: str, *, provider: str = "anthropic") -> str:
        """Return the version to keep on a row of ``model``; it names the overrides only where they were used."""
        state = self._loaded()
        found = self._model(state, provider, model)
        return self._version(found is not None and found.overridden, state)

    @property
    def problems(self) -> tuple[str, ...]:
        """What of the user's file cannot be used, as sentences for a person. The built-in prices stand in."""
        return self._loaded().overrides.problems

    @property
    def overrides(self) -> Mapping[str, PriceOverride]:
        """The user's own prices by model."""
        return self._loaded().overrides.models

    def reload(self) -> None:
        """Read the user's file now, if it has changed."""
        if self._file is None:
            return
        self._look_at = self._clock() + _LOOK_EVERY_S
        seen = self._file.fingerprint()
        if seen != self._seen:
            self._seen = seen
            self._state = _Loaded(self._file.read())

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
        found = self._tiers(self._loaded(), provider, model, at, usage.service_tier)
        return None if found is None else price_rates.cost_nanodollars(found[0], usage, found[1])

    def price(
        self, usage: Usage, *models: str | None, provider: str = "anthropic", at: datetime | None = None
    ) -> Priced | None:
        """Price ``usage`` by the first of ``models`` that has a price; ``None`` is unpriced.

        Give the name that the answer came with, then the one asked for: servers answer with aliases. A name
        that the user has set a price for goes before one that is only in the built-in table.
        """
        state = self._loaded()
        names = [name for name in models if name]
        own = [name for name in names if self._is_overridden(state, provider, name)]
        for name in (*own, *(name for name in names if name not in own)):
            found = self._tiers(state, provider, name, at, usage.service_tier)
            cost = None if found is None else price_rates.cost_nanodollars(found[0], usage, found[1])
            if cost is not None:
                return Priced(nanodollars=cost, version=self._version(name in own, state), model=name)
        return None

    def price_row(self, row: LedgerRow) -> tuple[int, str] | None:
        """Price a row at its own date, in nano-dollars and with the version; ``None`` is unpriced.

        ``Ledger.reprice`` takes it.
        """
        if row.usage is None or row.side == "local":
            return None
        priced = self.price(row.usage, row.served_model, row.model, provider=row.provider, at=row.started_at)
        return None if priced is None else (priced.nanodollars, priced.version)

    def worst_case_nanodollars(
        self,
        model: str,
        input_tokens: int,
        max_output_tokens: int,
        *,
        side: Side = "api",
        provider: str = "anthropic",
        cache_write: CacheWrite | None = None,
        max_output_limit: int | None = None,
        service_tier: str | None = None,
        at: datetime | None = None,
    ) -> int | None:
        """Return the most a request can cost in nano-dollars, rounded up; ``None`` is unpriced.

        Every input token is priced at the dearest class it can fall in (a cache write only when
        ``cache_write`` says that one is asked for) and every tier up to ``input_tokens`` is considered, so
        no usage within these counts settles above it at ``service_tier`` (the words of ``Usage.service_tier``;
        ``None`` is the standard tier). ``max_output_limit`` is the most the model can answer, where known: no
        hold is placed for more.
        """
        if side == "local":
            return 0
        state = self._loaded()
        found = self._tiers(state, provider, model, at, service_tier)
        if found is None:
            return None
        own_limit = self._own_max_output(state, provider, model)
        for limit in (max_output_limit, own_limit):
            if limit is not None and limit < max_output_tokens:
                max_output_tokens = limit
        return price_rates.worst_case_nanodollars(
            found[0], input_tokens, max_output_tokens, cache_write, found[1]
        )

    def context_tokens(self, model: str, *, provider: str = "anthropic") -> int | None:
        """Return the model's context window in tokens, ``None`` where not known."""
        found = self._model(self._loaded(), provider, model)
        return None if found is None else found.context_tokens

    def max_output_tokens_of(self, model: str, *, provider: str = "anthropic") -> int | None:
        """Return the longest answer that the user's file gives ``model``, in tokens.

        ``None`` where it says nothing: the built-in table does not know it.
        """
        return self._own_max_output(self._loaded(), provider, model)

    def is_priced(self, model: str, *, provider: str = "anthropic", at: datetime | None = None) -> bool:
        """Say whether plain input and output of ``model`` have a price."""
        return self.worst_case_nanodollars(model, 1, 1, provider=provider, at=at) is not None

    def prices_of(
        self, model: str, *, provider: str = "anthropic", at: datetime | None = None
    ) -> tuple[ModelPrices, ...]:
        """Return the standard prices of ``model`` by tier, lowest first; empty where it has none."""
        found = self._tiers(self._loaded(), provider, model, at, None)
        return () if found is None else tuple(_shown(rates) for rates in found[0])

    def models(self, *, provider: str = "anthropic") -> tuple[str, ...]:
        """Return the names of the models in the built-in table and in the user's file, sorted."""
        from genai_prices.data_snapshot import get_snapshot

        built_in = (
            model.id
            for candidate in get_snapshot().providers
            if candidate.id == provider
            for model in candidate.models
        )
        return tuple(sorted({*built_in, *self.overrides}))

    def _loaded(self) -> _Loaded:
        if self._file is not None and self._clock() >= self._look_at:
            self.reload()
        return self._state

    def _version(self, overridden: bool, state: _Loaded) -> str:
        if self._base_version is None:
            from importlib.metadata import version

            self._base_version = f"genai-prices {version('genai-prices')}"
        suffix = f" + overrides {state.overrides.digest}" if overridden else ""
        return self._base_version + suffix

    def _is_overridden(self, state: _Loaded, provider: str, model: str) -> bool:
        found = self._model(state, provider, model) if state.overrides.models else None
        return found is not None and found.overridden

    def _own_max_output(self, state: _Loaded, provider: str, model: str) -> int | None:
        found = self._model(state, provider, model) if state.overrides.models else None
        return None if found is None else found.max_output_tokens

    def _tiers(
        self, state: _Loaded, provider: str, model: str, at: datetime | None, service_tier: str | None
    ) -> tuple[Tiers, Terms] | None:
        key = (provider, model, service_tier)
        try:
            return state.undated[key]
        except KeyError:
            pass
        found = self._model(state, provider, model)
        terms = read_terms(service_tier)
        answer: tuple[Tiers, Terms] | None = None
        dates = False
        if found is not None and terms is not None:
            tiers = found.tiers(at or datetime.now(UTC), terms.tier)
            answer = None if tiers is None else (tiers, terms)
            dates = _has_dates(found, terms.tier)
        if not dates:
            if len(state.undated) >= _MODELS_KEPT:
                state.undated.clear()
            state.undated[key] = answer
        return answer

    def _model(self, state: _Loaded, provider: str, model: str) -> _Model | None:
        key = (provider, model)
        try:
            return state.models[key]
        except KeyError:
            if len(state.models) >= _MODELS_KEPT:  # model names may come from outside: never grow without end
                state.models.clear()
            compiled = state.models[key] = _compile(provider, model, state.overrides.models)
            return compiled


def _shown(rates: Rates) -> ModelPrices:
    search = rates.web_search
    return ModelPrices(
        above_tokens=rates.above_tokens,
        input=dollars_per_mtok(rates.fresh),
        output=dollars_per_mtok(rates.output),
        cache_read=dollars_per_mtok(rates.cache_read),
        cache_write_5m=dollars_per_mtok(rates.cache_write_5m),
        cache_write_1h=dollars_per_mtok(rates.cache_write_1h),
        thinking=dollars_per_mtok(rates.thinking),
        web_search=None
        if search is None
        else (Decimal(search) / RATE_PER_DOLLAR_A_KCOUNT / 1000).normalize() + 0,
    )


def _has_dates(model: _Model, service_tier: str | None) -> bool:
    if service_tier is None:
        return len(model.dated) > 1
    return any(dated.active is not None for dated in model.by_service_tier.get(service_tier, ()))


def _compile(provider: str, model: str, overrides: Mapping[str, PriceOverride]) -> _Model | None:
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
    dated = tuple(_Dated(active, _overlaid(_compile_tiers(prices), own)) for active, prices in standard)
    # A model borrowed from another provider's table keeps its prices but not its service tiers.
    borrowed = all(info is not candidate for candidate in owner.models)
    return _Model(
        context_tokens=own.context_tokens or info.context_window,
        max_output_tokens=own.max_output_tokens,
        overridden=own.has_prices,
        dated=dated,
        by_service_tier={} if borrowed else _compile_service_tiers(info, standard),
    )


def _compile_override(override: PriceOverride | None) -> _Model | None:
    """Compile a model that only the user's file knows.

    Without a price of its own, reading from a cache costs what input does and thinking what output does. Writing
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
    return _Model(
        context_tokens=override.context_tokens,
        max_output_tokens=override.max_output_tokens,
        overridden=override.has_prices,
        dated=(_Dated(None, _overlaid((bare,), override)),),
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


def _compile_tiers(prices: ModelPrice) -> Tiers:
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
