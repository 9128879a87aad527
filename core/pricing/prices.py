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
from typing import Protocol

from core.chat import Side, Usage
from core.pricing import price_rates
from core.pricing.compiled_prices import CompiledModel, compile_model, is_settled, table_name
from core.pricing.price_overrides import FILE_NAME, Overrides, PriceOverride, PriceOverridesFile
from core.pricing.price_rates import (
    RATE_PER_DOLLAR_A_KCOUNT,
    CacheWrite,
    Rates,
    Terms,
    Tiers,
    dollars_per_mtok,
    read_terms,
)

__all__ = ["CacheWrite", "ModelPrices", "PriceTable", "Priced"]

_MODELS_KEPT = 1024
_LOOK_EVERY_S = 1.0


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


_PLAIN = Usage()
"""A usage at the standard terms."""


class _Loaded:
    """What one reading of the overrides gave, and the models compiled with it."""

    def __init__(self, overrides: Overrides) -> None:
        self.overrides = overrides
        self.models: dict[tuple[str, str], CompiledModel | None] = {}
        # These lookups are on the way of every request, so answers are kept: those that no date can change, and
        # those that no date can change from now on.
        self.always: dict[tuple[object, ...], tuple[Tiers, Terms] | None] = {}
        self.from_now: dict[tuple[object, ...], tuple[Tiers, Terms] | None] = {}


class PastRequest(Protocol):
    """What a price needs of a request that is over; a row of the ledger is one."""

    @property
    def usage(self) -> Usage | None: ...
    @property
    def side(self) -> str: ...
    @property
    def served_model(self) -> str | None: ...
    @property
    def model(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def started_at(self) -> datetime: ...


class PriceTable:
    """The prices of ``genai-prices`` as they are installed (loaded on first use, about 0.3 s), and the user's own.

    ``overrides_path`` names the user's file, ``prices.json`` in the home folder; a change of it is seen within
    a second. ``clock`` counts seconds; ``now`` tells the date, which prices have.
    """

    def __init__(
        self,
        overrides_path: Path | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._file = None if overrides_path is None else PriceOverridesFile(overrides_path)
        self._clock = clock
        self._now = now
        self._base_version: str | None = None
        self._seen: tuple[object, ...] | None = None
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
        """What of the user's file cannot be used, as sentences for a person. The API is not asked for it."""
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

    def set_aside_if_broken(self) -> None:
        """At a start: put a file without prices in it aside; it is told of until somebody has dealt with it."""
        if self._file is not None and self._state.overrides.lost:
            self._file.set_aside_if_broken()
            self.reload()

    def closed_for(self, model: str, *, provider: str = "anthropic") -> str:
        """Return why nothing may be spent on ``model``: a price of the user's own is lost. Empty where none is."""
        overrides = self._loaded().overrides
        if overrides.lost:
            return overrides.lost
        if overrides.lost_models and overrides.lost_models & {model, table_name(provider, model)}:
            return f"its price in {FILE_NAME} can't be used"
        return ""

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

        The local side costs no cash, even where the user has set a price for its model: ask ``price`` for that.
        ``at`` is the moment the request began (naive is UTC), by default now: prices have dates.
        """
        if side == "local":
            return 0
        found = self._tiers(self._loaded(), provider, model, at, usage)
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
            found = self._tiers(state, provider, name, at, usage)
            cost = None if found is None else price_rates.cost_nanodollars(found[0], usage, found[1])
            if cost is not None:
                return Priced(nanodollars=cost, version=self._version(name in own, state), model=name)
        return None

    def price_row(self, row: PastRequest) -> tuple[int, str] | None:
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
        like: Usage | None = None,
        at: datetime | None = None,
    ) -> int | None:
        """Return the most a request can cost in nano-dollars, rounded up; ``None`` is unpriced.

        Every input token is priced at the dearest class it can fall in (a cache write only when
        ``cache_write`` says that one is asked for) and every tier up to ``input_tokens`` is considered, so
        no usage within these counts settles above it at the tier, region and server tools of ``like``
        (``None``: the standard ones). ``max_output_limit`` is the most the model can answer, where known: no
        hold is placed for more.
        """
        if side == "local":
            return 0
        state = self._loaded()
        found = self._tiers(state, provider, model, at, like or _PLAIN)
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

    def has_own_price(self, model: str, *, provider: str = "anthropic") -> bool:
        """Say whether a price of the user's own is in effect for ``model``."""
        return self._is_overridden(self._loaded(), provider, model)

    def prices_of(
        self, model: str, *, provider: str = "anthropic", at: datetime | None = None
    ) -> tuple[ModelPrices, ...]:
        """Return the standard prices of ``model`` by tier, lowest first; empty where it has none."""
        found = self._tiers(self._loaded(), provider, model, at, _PLAIN)
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
        self, state: _Loaded, provider: str, model: str, at: datetime | None, usage: Usage
    ) -> tuple[Tiers, Terms] | None:
        key = (
            provider,
            model,
            usage.service_tier,
            usage.speed,
            usage.region,
            usage.web_searches,
            usage.call_kinds,
            usage.unpriced_extras,
        )
        kept = state.from_now if at is None else state.always
        try:
            return kept[key]
        except KeyError:
            pass
        found = self._model(state, provider, model)
        terms = read_terms(usage)
        answer: tuple[Tiers, Terms] | None = None
        settled = True
        if found is not None and terms is not None:
            now = self._now() if at is None else at
            tiers = found.tiers(now, terms.tier)
            answer = None if tiers is None else (tiers, terms)
            settled = is_settled(found.candidates(terms.tier), now if at is None else None)
        if settled:
            if len(kept) >= _MODELS_KEPT:
                kept.clear()
            kept[key] = answer
        return answer

    def _model(self, state: _Loaded, provider: str, model: str) -> CompiledModel | None:
        key = (provider, model)
        try:
            return state.models[key]
        except KeyError:
            if len(state.models) >= _MODELS_KEPT:  # model names may come from outside: never grow without end
                state.models.clear()
            compiled = state.models[key] = compile_model(provider, model, state.overrides.models)
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
