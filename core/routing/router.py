"""The router: decides, holds, calls, falls back once and settles. One request is one ``stream``.

It retries nothing but the one fallback; every request that left has a row in the ledger, whatever its end.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from core.chat import (
    AnswerEnded,
    ChatRequest,
    ChatResult,
    Failed,
    Finished,
    FinishReason,
    ProviderEvent,
    RouteDecision,
    Side,
    Signals,
    Started,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from core.errors import BudgetExceeded, SignalboxError, TransientFailure, Unavailable
from core.providers import AnswerCollector
from core.providers.base import InferenceProvider
from core.routing.health import Breaker
from core.routing.policy import NAMES, Policy, RouterState, SideState, decide
from core.routing.refusals import refusal_error
from core.routing.signals import read_signals, with_counted_input
from core.routing.standing import Standing, monthly_limit, read_standing
from core.routing.validation import validated
from core.spend.rows import HoldRequest, NewRequest, Outcome, OutcomeStatus

if TYPE_CHECKING:
    from core.settings import Settings
    from core.spend.ledger import Ledger
    from core.spend.prices import PriceTable

log = logging.getLogger(__name__)

LOCAL_BOOT_WAIT_S = 120.0
"""How long a request that only Local can serve waits for a server that is starting."""

BYTES_PER_ARRIVED_TOKEN = 3
"""Output of a broken-off answer is counted from its text at this rate: rather too many tokens than too few."""


class Track(Protocol):
    """What the router needs of a side; ``ApiSide`` and ``LocalSide`` are the real ones."""

    breaker: Breaker

    def state(self, request: ChatRequest, signals: Signals) -> SideState: ...

    async def provider(self, request: ChatRequest) -> InferenceProvider: ...


class _Answer(AnswerCollector):
    """What has arrived of one attempt so far. Times are ``time.perf_counter`` seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.started = time.perf_counter()
        self.first: float | None = None

    @property
    def shown(self) -> bool:
        return self.first is not None

    def add(self, event: ProviderEvent) -> None:
        if self.first is None and isinstance(event, TextDelta | ToolCallDelta):
            self.first = time.perf_counter()
        super().add(event)


@dataclass(slots=True)
class _Run:
    """What one request carries from attempt to attempt."""

    request: ChatRequest
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    hold_nanodollars: int = 0
    fell_back: bool = False
    partial: ChatResult | None = None


class Router:
    """Sends requests to one of two sides. ``wait_for_local`` returns when a starting server has settled.

    ``loaded_nanodollars`` prices milliseconds of the local machine; ``on_change`` is called whenever a hold, a
    count or a side's health may have changed.
    """

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        ledger: Callable[[], Ledger],
        prices: PriceTable,
        local: Track,
        api: Track,
        wait_for_local: Callable[[float], Awaitable[None]],
        loaded_nanodollars: Callable[[float], int | None],
        on_change: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._prices = prices
        self._tracks: dict[Side, Track] = {"local": local, "api": api}
        self._wait_for_local = wait_for_local
        self._loaded_nanodollars = loaded_nanodollars
        self._on_change = on_change

    async def standing(self) -> Standing:
        """Read today's counts and the money that is free. :raises LedgerUnavailable: they can't be read."""
        return await read_standing(self._ledger(), self._settings())

    def decide(self, request: ChatRequest, standing: Standing) -> RouteDecision:
        """Return where ``request`` would go at ``standing``. Nothing is sent, held or written.

        Raises:
            InvalidRequest: the request can't be sent anywhere.
        """
        request = validated(request)
        signals = read_signals(request, default_max_tokens=self._settings().max_tokens_per_request)
        return self._decide(request, signals, standing)

    def _decide(self, request: ChatRequest, signals: Signals, standing: Standing) -> RouteDecision:
        settings = self._settings()
        state = RouterState(
            local=self._tracks["local"].state(request, signals),
            api=self._tracks["api"].state(request, signals),
            local_requests_today=standing.local_requests_today,
            daily_requests=standing.daily_requests,
            free_nanodollars=standing.free_nanodollars,
            limit_label=standing.limit_label,
        )
        policy = Policy(
            mode=settings.routing_mode,
            routing_threshold=settings.routing_threshold,
            complexity_threshold=settings.complexity_threshold,
        )
        return decide(signals, state, policy)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[StreamEvent, None]:
        """Run ``request`` and yield its events; ends in exactly one ``Finished`` or ``Failed``.

        Closing the generator closes the upstream connection and settles what was used.
        """
        run = _Run(request)
        try:
            validated(request)
            async with aclosing(self._attempts(run)) as events:
                async for event in events:
                    yield event
        except SignalboxError as error:
            log.info("request %s failed: %s", request.correlation_id, error.kind)
            yield Failed(error, run.partial)
        finally:
            self._on_change()

    async def _attempts(self, run: _Run) -> AsyncGenerator[StreamEvent, None]:
        decision = await self._admit(run)
        while True:
            assert decision.side is not None
            track = self._tracks[decision.side]
            answer = _Answer()
            try:
                self._on_change()
                yield Started(decision, run.request.correlation_id, run.hold_nanodollars)
                async with aclosing(self._attempt(run, decision, track, answer)) as events:
                    async for event in events:
                        yield event
            except (asyncio.CancelledError, GeneratorExit):
                track.breaker.abandon()
                await _to_its_end(self._settle(run, decision, answer, "stopped"))
                raise
            except TransientFailure as error:
                track.breaker.fail(error.retry_after_s)
                second = None if answer.shown else await self._fall_back(run, decision, answer, error)
                if second is not None:
                    decision = second
                    continue
                run.partial = await self._settle(run, decision, answer, "failed", error)
                raise
            except SignalboxError as error:
                track.breaker.abandon()
                run.partial = await self._settle(run, decision, answer, "failed", error)
                raise
            except BaseException:
                # A fault of ours: the hold must not outlive it.
                track.breaker.abandon()
                await _to_its_end(self._settle(run, decision, answer, "failed"))
                raise
            track.breaker.succeed()
            yield Finished(await self._settle(run, decision, answer, "done"))
            return

    async def _attempt(
        self, run: _Run, decision: RouteDecision, track: Track, answer: _Answer
    ) -> AsyncGenerator[StreamEvent, None]:
        """Pass one provider's events through and keep what they say in ``answer``."""
        track.breaker.begin()
        provider = await track.provider(run.request)
        answer.started = time.perf_counter()
        request = dataclasses.replace(run.request, max_tokens=decision.signals.max_output_tokens)
        events: AsyncIterator[ProviderEvent] = provider.stream(request)
        try:
            async for event in events:
                answer.add(event)
                if not isinstance(event, AnswerEnded):
                    yield event
        finally:
            if isinstance(events, AsyncGenerator):
                await events.aclose()
        if answer.ended is None:
            raise Unavailable(
                f"{NAMES[decision.side or 'local']} closed the stream before the answer ended.",
                hint="The text that arrived is kept; continue or try again.",
                may_be_billed=True,
            )

    async def _admit(self, run: _Run) -> RouteDecision:
        """Decide, count exactly where only that lets it through, place the hold and write the row."""
        request = run.request
        signals = read_signals(request, default_max_tokens=self._settings().max_tokens_per_request)
        decision = self._decide(request, signals, await self.standing())
        if decision.refusal in ("unavailable", "no_key") and self._local_is_starting(request, signals):
            await self._wait_for_local(LOCAL_BOOT_WAIT_S)
            decision = self._decide(request, signals, await self.standing())
        if decision.rule == "budget":
            # The bound (a token a byte) didn't fit; the provider's own count may.
            counted = await self._counted(request, signals)
            if counted is not None:
                decision = self._decide(request, counted, await self.standing())
        for _ in range(2):
            if decision.side is None:
                raise refusal_error(decision, await self.standing())
            record, hold = self._entry(run, decision)
            try:
                admission = await self._ledger().begin(record, hold)
            except BudgetExceeded:
                # Other requests took the money between the decision and the hold: decide on what is left now.
                decision = self._decide(request, decision.signals, await self.standing())
                continue
            run.hold_nanodollars = admission.hold_nanodollars or 0
            return decision
        raise Unavailable(
            "Other requests took the money that was free, twice in a row.",
            hint="Nothing was charged. Try again.",
        )

    def _entry(self, run: _Run, decision: RouteDecision) -> tuple[NewRequest, HoldRequest | None]:
        assert decision.side is not None
        assert decision.provider is not None
        record = NewRequest(
            correlation_id=run.request.correlation_id,
            side=decision.side,
            provider=decision.provider,
            model=decision.model or decision.provider,
            decision=decision,
            source=run.request.source,
            project=run.request.project,
        )
        if decision.side == "local":
            return record, None
        hold = HoldRequest(
            nanodollars=decision.api_estimate.hold_nanodollars, limits=(monthly_limit(self._settings()),)
        )
        return record, hold

    def _local_is_starting(self, request: ChatRequest, signals: Signals) -> bool:
        return self._tracks["local"].state(request, signals).health == "starting"

    async def _counted(self, request: ChatRequest, signals: Signals) -> Signals | None:
        api = self._tracks["api"]
        if api.state(request, signals).health != "up":
            return None
        try:
            provider = await api.provider(request)
            return with_counted_input(signals, await provider.count_tokens(request))
        except SignalboxError as error:
            log.info("request %s: no exact count (%s), the bound stands", request.correlation_id, error.kind)
            return None

    async def _fall_back(
        self, run: _Run, failed: RouteDecision, answer: _Answer, error: TransientFailure
    ) -> RouteDecision | None:
        """Begin the attempt on the other side; ``None`` where no fallback is allowed or possible."""
        settings = self._settings()
        assert failed.side is not None
        if not settings.enable_fallback or run.fell_back or run.request.force is not None:
            return None
        if settings.routing_mode in ("local-only", "api-only"):
            return None
        other: Side = "api" if failed.side == "local" else "local"
        forced = dataclasses.replace(failed.signals, force=other)
        second = self._decide(run.request, forced, await self.standing())
        if second.side is None:
            return None
        run.fell_back = True
        second = dataclasses.replace(
            second,
            signals=failed.signals,
            rule="unavailable",
            reason=f"{NAMES[failed.side]} unavailable: {error.message.rstrip('.')}",
            fell_back_from=failed.side,
        )
        record, hold = self._entry(run, second)
        outcome = self._outcome(self._result(run, failed, answer, "failed"), "failed", error)
        try:
            admission = await self._ledger().switch_side(outcome, record, hold)
        except BudgetExceeded:
            return None
        run.hold_nanodollars = admission.hold_nanodollars or 0
        return second

    async def _settle(
        self,
        run: _Run,
        decision: RouteDecision,
        answer: _Answer,
        status: OutcomeStatus,
        error: SignalboxError | None = None,
    ) -> ChatResult:
        """Turn what arrived into a result, and tell the ledger."""
        result = self._result(run, decision, answer, status)
        await self._ledger().settle(result.correlation_id, self._outcome(result, status, error))
        return result

    @staticmethod
    def _outcome(result: ChatResult, status: OutcomeStatus, error: SignalboxError | None) -> Outcome:
        refused_before_work = isinstance(error, SignalboxError) and not getattr(error, "may_be_billed", False)
        return Outcome(
            status=status,
            usage=result.usage,
            cost_nanodollars=result.cost_nanodollars,
            may_have_billed=not (refused_before_work and result.usage is None and result.ttft_ms is None),
            latency_ms=result.latency_ms,
            ttft_ms=result.ttft_ms,
            error_kind=error.kind if error is not None else None,
            model=result.model,
            price_version=result.price_version,
            loaded_nanodollars=result.loaded_nanodollars if result.side == "local" else None,
        )

    def _result(
        self, run: _Run, decision: RouteDecision, answer: _Answer, status: OutcomeStatus
    ) -> ChatResult:
        assert decision.side is not None
        assert decision.provider is not None
        latency_ms = (time.perf_counter() - answer.started) * 1000
        model = answer.ended.model if answer.ended else decision.model or decision.provider
        usage, estimated = answer.usage, False
        if status != "done" and usage is not None and decision.side == "api":
            usage, estimated = _with_arrived_output(usage, answer), True
        cost: int | None = 0
        if decision.side == "api":
            cost = self._price(decision, model, usage)
        ended_early: FinishReason = "stopped_by_user" if status == "stopped" else "unknown"
        return ChatResult(
            text=answer.text,
            tool_calls=answer.tool_calls,
            usage=usage,
            provider=decision.provider,
            side=decision.side,
            model=model,
            finish_reason=answer.ended.finish_reason if answer.ended else ended_early,
            decision=decision,
            cost_nanodollars=cost,
            loaded_nanodollars=self._loaded_nanodollars(latency_ms) if decision.side == "local" else cost,
            price_version=self._prices.version if decision.side == "api" else None,
            latency_ms=latency_ms,
            ttft_ms=None if answer.first is None else (answer.first - answer.started) * 1000,
            correlation_id=run.request.correlation_id,
            started_at=run.started_at,
            dropped=answer.ended.dropped if answer.ended else (),
            usage_estimated=estimated,
        )

    def _price(self, decision: RouteDecision, served_model: str, usage: Usage | None) -> int | None:
        """Price by the model that served, else by the one asked for: a server may answer with an alias."""
        if usage is None:
            return None
        cost = self._prices.cost_nanodollars(served_model, usage)
        if cost is None and decision.model is not None:
            cost = self._prices.cost_nanodollars(decision.model, usage)
        return cost


def _with_arrived_output(usage: Usage, answer: _Answer) -> Usage:
    """Count the output of a broken-off answer from its text.

    A provider reports the true count at the end only, and bills what it generated until it noticed.
    """
    arrived = len(answer.text.encode("utf-8", "replace"))
    arrived += sum(len(call.arguments_json.encode("utf-8", "replace")) for call in answer.tool_calls)
    from_text = -(-arrived // BYTES_PER_ARRIVED_TOKEN)
    return dataclasses.replace(usage, output_tokens=max(usage.output_tokens, from_text))


async def _to_its_end(work: Awaitable[object]) -> None:
    """Await ``work`` to its end although the surrounding task is being cancelled."""
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                return
    task.result()
