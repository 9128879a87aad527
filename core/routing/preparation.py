"""Gets a request ready: trims and compresses it, phrases it for its model, and knows what is warm where.

Joins the rooms of ``core.context`` with prices and the memory of conversations. Nothing here is sent or written.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from core.chat import (
    CachePlan,
    CacheSwitchCost,
    ChatRequest,
    ChatResult,
    ContextEconomy,
    RouteDecision,
    Side,
    Usage,
)
from core.context.cache_memory import CachePrices, PrefixBoundary, minimum_cache_tokens
from core.context.caching import CachePlanner
from core.context.switching_cost import PrefillSpeed, WarmPrefix, switching_cost
from core.context.templates import Rendered, Templates, family_of
from core.context.tokens import estimate_text_tokens, estimate_tokens
from core.context.trimming import trim
from core.providers.anthropic_wire import claude_family, enforces
from core.routing.conversations import (
    Conversations,
    LastAnswer,
    conversation_of,
    prefix_hashes,
    system_hash,
)
from core.routing.request_run import PreparedRequest, RequestRun

if TYPE_CHECKING:
    from core.pricing.prices import PriceTable
    from core.routing.machine_time import CostMeter
    from core.settings import Settings

_A_MILLION = 1_000_000


class RequestPreparer:
    """``api_model`` and ``local_model`` name what each side would serve a request with."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        prices: PriceTable,
        machine: CostMeter,
        templates_folder: Path,
        api_model: Callable[[ChatRequest], str],
        local_model: Callable[[], str | None],
        prefill_tokens_per_s: Callable[[], float | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._prices = prices
        self._machine = machine
        self.templates = Templates(templates_folder)
        self.conversations = Conversations(clock)
        self._api_model = api_model
        self._local_model = local_model
        self._prefill_tokens_per_s = prefill_tokens_per_s
        self._clock = clock
        self._planner = CachePlanner(clock)

    def shape(self, request: ChatRequest, *, preview: bool = False) -> PreparedRequest:
        """Return ``request`` ready to be decided on. A ``preview`` leaves no trace in what is remembered."""
        conversation = conversation_of(request)
        last = self.conversations.last(conversation)
        request, economy = self._shortened(request)
        added = 0
        if request.system or request.tools or request.response_format is not None:
            added = max(self._rendered(request, side).added_bytes for side in ("local", "api"))
        plan = None if preview else self._cache_plan(request)
        marks = plan.marks if plan is not None else None
        if request.cache_marks != marks:
            request = dataclasses.replace(request, cache_marks=marks)
        return PreparedRequest(
            request=request,
            conversation=conversation,
            added_bytes=added,
            last=last,
            switching_cost=self._switching_cost(last, request),
            cache=plan,
            economy=economy,
        )

    def phrased(self, request: ChatRequest, decision: RouteDecision) -> tuple[ChatRequest, str]:
        """Return what is sent to the decision's side, and the name of the template that phrased it."""
        assert decision.side is not None
        rendered = self._rendered(request, decision.side, decision.model)
        return rendered.request, rendered.template

    def template_name(self, side: Side, model: str | None) -> str:
        """Return the name of the template that would phrase a request for ``model`` on ``side``."""
        return self.templates.name_of(family_of(model, side))

    def ended(self, run: RequestRun, result: ChatResult | None, *, answered: bool) -> None:
        """Learn from a request's end: what was cached, and, where it was ``answered``, from which side."""
        if run.prepared is None:
            return
        if run.prepared.cache is not None:
            on_api = result is not None and result.side == "api"
            marked = run.prepared.cache.marks is not None
            usage = result.usage if result is not None and on_api and marked else None
            model = self._api_model(run.prepared.request)
            self._planner.settled(run.correlation_id, usage, self._cache_prices(model))
        if result is None or not answered:
            return
        self.conversations.remember(
            run.conversation,
            result.side,
            result.model,
            result.usage,
            provider=result.provider,
            prefix=prefix_hashes(run.prepared.request),
        )

    def _shortened(self, request: ChatRequest) -> tuple[ChatRequest, ContextEconomy | None]:
        settings = self._settings()
        window = settings.context_window_tokens if request.window_tokens is None else request.window_tokens
        squeeze = settings.compress_prompts if request.compress is None else request.compress
        if not window and not squeeze:
            return request, None
        economy = ContextEconomy()
        if window:
            trimmed = trim(request, window)
            request = trimmed.request
            economy = dataclasses.replace(
                economy, trimmed_tokens=trimmed.trimmed_tokens, dropped_turns=trimmed.dropped_turns
            )
        if squeeze:
            # After the cut: a reference must not point at a turn that was left out.
            from core.context.compression import compress

            compressed = compress(request)
            request = compressed.request
            economy = dataclasses.replace(economy, compressed_tokens=compressed.saved_tokens)
        if not economy.saved_tokens:
            return request, None
        saved = self._prices.cost_nanodollars(
            self._api_model(request), Usage(fresh_input_tokens=economy.saved_tokens)
        )
        return request, dataclasses.replace(economy, saved_nanodollars=saved)

    def _cache_plan(self, request: ChatRequest) -> CachePlan | None:
        """Plan the API's cache for a request that is about to be sent; ``None`` for one that is too short."""
        if self._settings().prompt_caching == "off":
            return None
        model = self._api_model(request)
        head = estimate_text_tokens(request.system or "")
        for tool in request.tools:
            head += estimate_text_tokens(f"{tool.name}{tool.description}{tool.parameters}")
        sizes = [estimate_tokens(message) for message in request.messages]
        if head + sum(sizes) < minimum_cache_tokens(model):
            return None
        boundaries = [PrefixBoundary(hash=system_hash(request), tokens=head, message=None)] if head else []
        tokens = head
        for index, (size, name) in enumerate(zip(sizes, prefix_hashes(request), strict=True)):
            tokens += size
            boundaries.append(PrefixBoundary(hash=name, tokens=tokens, message=index))
        return self._planner.plan(
            boundaries,
            model=model,
            prices=self._cache_prices(model),
            in_tool_loop=request.messages[-1].role == "tool",
            key=request.correlation_id,
        )

    def _rendered(self, request: ChatRequest, side: Side, model: str | None = None) -> Rendered:
        if side == "api":
            name = model or self._api_model(request)
            wanted = request.response_format
            enforced = wanted is None or enforces(claude_family(name), wanted)
        else:
            name, enforced = model or self._local_model(), True
        return self.templates.render(request, family_of(name, side), schema_enforced=enforced)

    def _switching_cost(self, last: LastAnswer | None, request: ChatRequest) -> CacheSwitchCost | None:
        if last is None or (last.prefix and last.prefix[-1] not in prefix_hashes(request)):
            return None  # it does not go on from what is warm there (edited, trimmed)
        prices = self._cache_prices(self._api_model(request)) if last.side == "api" else None
        # The API says what it cached; a local server keeps all that it has read and written.
        tokens = last.cached_tokens if last.side == "api" else last.prefix_tokens
        warm = WarmPrefix(
            side=last.side, cached_tokens=tokens or 0, at_s=last.at, lifetime=last.cache_lifetime
        )
        prefill = PrefillSpeed(
            tokens_per_s=self._prefill_tokens_per_s(),
            nanodollars_per_hour=self._machine.rates.hour_nanodollars,
        )
        return switching_cost(warm, self._clock(), prices=prices, prefill=prefill)

    def _cache_prices(self, model: str) -> CachePrices | None:
        """Return the model's input prices a million tokens, ``None`` where one of them is not known."""
        costs = [
            self._prices.cost_nanodollars(model, usage)
            for usage in (
                Usage(fresh_input_tokens=_A_MILLION),
                Usage(cache_read_tokens=_A_MILLION),
                Usage(cache_write_5m_tokens=_A_MILLION),
                Usage(cache_write_1h_tokens=_A_MILLION),
            )
        ]
        fresh, read, write_5m, write_1h = costs
        if fresh is None or read is None or write_5m is None or write_1h is None:
            return None
        return CachePrices(fresh=fresh, read=read, write_5m=write_5m, write_1h=write_1h)
