"""The router: decides, holds, calls, falls back once and settles. One request is one ``stream``.

It retries nothing but the one fallback; every request that reached it has a row in the ledger, whatever its end.
"""

from __future__ import annotations

import asyncio
import dataclasses
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
    ToolCall,
    ToolCallDelta,
    Usage,
    UsageReported,
)
from core.errors import BudgetExceeded, SignalboxError, TransientFailure, Unavailable
from core.observe import get_logger
from core.providers.base import InferenceProvider
from core.routing.health import Breaker
from core.routing.policy import NAMES, Policy, RouterState, SideState, decide
from core.routing.refusals import refusal_error
from core.routing.signals import read_signals, with_counted_input
from core.routing.validation import validated

if TYPE_CHECKING:
    from core.settings import Settings
    from core.spend.ledger import Ledger, Standing
    from core.spend.prices import PriceTable

log = get_logger(__name__)

LOCAL_BOOT_WAIT_S = 120.0
"""How long a request that only Local can serve waits for a server that is starting."""


class Track(Protocol):
    """What the router needs of a side; ``ApiSide`` and ``LocalSide`` are the real ones."""

    breaker: Breaker

    def state(self, request: ChatRequest, signals: Signals) -> SideState: ...

    def provider(self, request: ChatRequest) -> InferenceProvider: ...


@dataclass(slots=True)
class _Answer:
    """What has arrived of one attempt so far. Times are ``time.perf_counter`` seconds."""

    started: float
    first: float | None = None
    pieces: list[str] = field(default_factory=list[str])
    calls: dict[int, list[str]] = field(default_factory=dict[int, list[str]])
    usage: Usage | None = None
    ended: AnswerEnded | None = None

    @property
    def shown(self) -> bool:
        return self.first is not None

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def take(self, event: ProviderEvent) -> None:
        match event:
            case TextDelta(text=text):
                self._mark_first()
                self.pieces.append(text)
            case ToolCallDelta(index=index, id=id_, name=name, arguments_json=arguments):
                self._mark_first()
                call = self.calls.setdefault(index, ["", "", ""])
                call[0] = call[0] or id_ or ""
                call[1] = call[1] or name or ""
                call[2] += arguments
            case UsageReported(usage=usage):
                self.usage = usage
            case AnswerEnded():
                self.ended = event

    def _mark_first(self) -> None:
        if self.first is None:
            self.first = time.perf_counter()

    def tool_calls(self) -> tuple[ToolCall, ...]:
        return tuple(ToolCall(*self.calls[index]) for index in sorted(self.calls))


class Router:
    """Sends requests to one of two sides. ``wait_for_local`` returns when a starting server has settled."""

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

    async def decide(self, request: ChatRequest) -> RouteDecision:
        """Return where ``request`` would go now. Nothing is sent, held or written.

        Raises:
            InvalidRequest: the request can't be sent anywhere.
            LedgerUnavailable: today's counts and the money spent can't be read.
        """
        request = validated(request)
        signals = read_signals(request, default_max_tokens=self._settings().max_tokens_per_request)
        return await self._decide(request, signals)

    async def _decide(
        self, request: ChatRequest, signals: Signals, standing: Standing | None = None
    ) -> RouteDecision:
        settings = self._settings()
        standing = standing or await self._ledger().standing()
        state = RouterState(
            local=self._tracks["local"].state(request, signals),
            api=self._tracks["api"].state(request, signals),
            local_requests_today=standing.local_requests_today,
            daily_requests=max(float(standing.requests_today), standing.seven_day_mean),
            free_nanodollars=standing.budget.free_nanodollars,
            limit_label=standing.budget.limit_label,
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
        run = _Run(request.correlation_id)
        try:
            request = validated(request)
            async with aclosing(self._attempts(request, run)) as events:
                async for event in events:
                    yield event
        except SignalboxError as error:
            log.info("request %s failed: %s", request.correlation_id, error.kind)
            yield Failed(error, run.partial)
        finally:
            self._on_change()

    async def _attempts(self, request: ChatRequest, run: _Run) -> AsyncGenerator[StreamEvent, None]:
        decision = await self._admit(request, run)
        while True:
            assert decision.side is not None
            track = self._tracks[decision.side]
            answer = _Answer(started=time.perf_counter())
            self._on_change()
            yield Started(decision, request.correlation_id, run.hold_nanodollars)
            try:
                events = self._attempt(request, decision, track, answer)
                async with aclosing(events):
                    async for event in events:
                        yield event
            except (asyncio.CancelledError, GeneratorExit):
                track.breaker.abandon()
                await _finish_whatever_happens(self._settle(run, decision, answer, "stopped"))
                raise
            except TransientFailure as error:
                track.breaker.fail(error.retry_after_s)
                second = None if answer.shown else await self._fall_back(request, run, decision, error)
                if second is not None:
                    decision = second
                    continue
                run.partial = await self._settle(run, decision, answer, "failed", error)
                raise
            except SignalboxError as error:
                track.breaker.abandon()
                run.partial = await self._settle(run, decision, answer, "failed", error)
                raise
            track.breaker.succeed()
            result = await self._settle(run, decision, answer, "done")
            yield Finished(result)
            return

    async def _attempt(
        self, request: ChatRequest, decision: RouteDecision, track: Track, answer: _Answer
    ) -> AsyncGenerator[StreamEvent, None]:
        """Pass one provider's events through and keep what they say in ``answer``."""
        max_tokens = decision.signals.max_output_tokens
        track.breaker.begin()
        provider = track.provider(request)
        events: AsyncIterator[ProviderEvent] = provider.stream(
            dataclasses.replace(request, max_tokens=max_tokens)
        )
        try:
            async for event in events:
                answer.take(event)
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

    async def _admit(self, request: ChatRequest, run: _Run) -> RouteDecision:
        """Decide, count exactly where only that lets it through, place the hold and write the row."""
        settings = self._settings()
        signals = read_signals(request, default_max_tokens=settings.max_tokens_per_request)
        decision = await self._decide(request, signals)
        if (
            decision.rule == "unavailable"
            and decision.side is None
            and self._local_is_starting(request, signals)
        ):
            await self._wait_for_local(LOCAL_BOOT_WAIT_S)
            decision = await self._decide(request, signals)
        if decision.rule == "budget":
            # The bound (a token a byte) didn't fit; the provider's own count may.
            counted = await self._counted(request, signals)
            if counted is not None:
                decision = await self._decide(request, counted)
        for _ in range(2):
            if decision.side is None:
                error = await refusal_error(decision, self._ledger())
                await self._ledger().refuse(request, decision, error.kind)
                raise error
            try:
                run.hold_nanodollars = await self._ledger().begin(request, decision)
            except BudgetExceeded:
                # Another process took the money between the decision and the hold: decide on what is left now.
                decision = await self._decide(request, decision.signals)
                continue
            return decision
        raise Unavailable(
            "Other requests took the money that was free, twice in a row.",
            hint="Nothing was charged. Try again.",
        )

    def _local_is_starting(self, request: ChatRequest, signals: Signals) -> bool:
        return self._tracks["local"].state(request, signals).health == "starting"

    async def _counted(self, request: ChatRequest, signals: Signals) -> Signals | None:
        api = self._tracks["api"]
        if api.state(request, signals).health != "up":
            return None
        try:
            return with_counted_input(signals, await api.provider(request).count_tokens(request))
        except SignalboxError as error:
            log.info("request %s: no exact count (%s); the bound stands", request.correlation_id, error.kind)
            return None

    async def _fall_back(
        self, request: ChatRequest, run: _Run, failed: RouteDecision, error: TransientFailure
    ) -> RouteDecision | None:
        """Return the decision for the other side, or ``None`` where no fallback is allowed or possible."""
        settings = self._settings()
        if not settings.enable_fallback or run.fell_back or request.force is not None:
            return None
        if settings.routing_mode in ("local-only", "api-only"):
            return None
        assert failed.side is not None
        other: Side = "api" if failed.side == "local" else "local"
        forced = dataclasses.replace(failed.signals, force=other)
        second = await self._decide(request, forced)
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
        try:
            run.hold_nanodollars = await self._ledger().switch_side(
                request, second, may_be_billed=error.may_be_billed
            )
        except BudgetExceeded:
            return None
        return second

    async def _settle(
        self,
        run: _Run,
        decision: RouteDecision,
        answer: _Answer,
        status: str,
        error: SignalboxError | None = None,
    ) -> ChatResult:
        """Turn what arrived into a result, and tell the ledger."""
        result = self._result(run, decision, answer, status)
        nothing_billed = (
            answer.usage is None and not answer.shown and not getattr(error, "may_be_billed", False)
        )
        await self._ledger().settle(
            result,
            status=status,
            error_kind=error.kind if error is not None else None,
            nothing_billed=nothing_billed and status == "failed",
        )
        return result

    def _result(self, run: _Run, decision: RouteDecision, answer: _Answer, status: str) -> ChatResult:
        assert decision.side is not None
        assert decision.provider is not None
        now = time.perf_counter()
        latency_ms = (now - answer.started) * 1000
        model = answer.ended.model if answer.ended else decision.model or decision.provider
        usage, estimated = answer.usage, False
        if status != "done" and usage is not None and decision.side == "api":
            usage, estimated = _with_arrived_output(usage, answer), True
        cost = 0
        if decision.side == "api":
            cost = None if usage is None else self._prices.cost_nanodollars(model, usage)
        finish: FinishReason = "stopped_by_user" if status == "stopped" else "unknown"
        return ChatResult(
            text=answer.text,
            tool_calls=answer.tool_calls(),
            usage=usage,
            provider=decision.provider,
            side=decision.side,
            model=model,
            finish_reason=answer.ended.finish_reason if answer.ended else finish,
            decision=decision,
            cost_nanodollars=cost,
            loaded_nanodollars=self._loaded_nanodollars(latency_ms) if decision.side == "local" else cost,
            price_version=self._prices.version if decision.side == "api" else None,
            latency_ms=latency_ms,
            ttft_ms=None if answer.first is None else (answer.first - answer.started) * 1000,
            correlation_id=run.correlation_id,
            started_at=run.started_at,
            dropped=answer.ended.dropped if answer.ended else (),
            usage_estimated=estimated,
        )


@dataclass(slots=True)
class _Run:
    """What one request carries from attempt to attempt."""

    correlation_id: str
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    hold_nanodollars: int = 0
    fell_back: bool = False
    partial: ChatResult | None = None


def _with_arrived_output(usage: Usage, answer: _Answer) -> Usage:
    """Count the output of a broken-off answer from its text: three bytes a token, so rather too many.

    A provider reports output tokens at the end only, and bills what it generated until it noticed.
    """
    arrived = len(answer.text.encode("utf-8", "replace"))
    arrived += sum(len(call[2].encode("utf-8", "replace")) for call in answer.calls.values())
    return dataclasses.replace(usage, output_tokens=max(usage.output_tokens, -(-arrived // 3)))


async def _finish_whatever_happens(work: Awaitable[object]) -> None:
    """Await ``work`` to its end although the surrounding task is being cancelled."""
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                return
