"""The router: decides, holds, calls, falls back once and settles. One request is one ``stream``.

It retries nothing but the one fallback; every request that left has a row in the ledger, whatever its end.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from core.chat import (
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
    UsageReported,
)
from core.errors import BudgetExceeded, LedgerUnavailable, SignalboxError, TransientFailure, Unavailable
from core.providers import AnswerCollector
from core.providers.base import InferenceProvider
from core.routing.health import Breaker, Ticket
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


COUNT_TIMEOUT_S = 3.0
"""How long the provider's own count of the input may take; without it the bound stands."""


class Track(Protocol):
    """What the router needs of a side; ``ApiSide`` and ``LocalSide`` are the real ones."""

    breaker: Breaker

    def state(self, request: ChatRequest, signals: Signals) -> SideState: ...

    def needs_start(self) -> bool:
        """Whether its server counts as up but has to be started first (on demand)."""
        ...

    async def start(self) -> None: ...

    async def provider(self, model: str | None) -> InferenceProvider:
        """Return the provider for ``model``, the one that was decided and held for."""
        ...


class _Answer(AnswerCollector):
    """What has arrived of one attempt so far. Times are ``time.perf_counter`` seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.started = time.perf_counter()
        self.first: float | None = None
        self.sent = False

    @property
    def shown(self) -> bool:
        return self.first is not None

    def add(self, event: ProviderEvent) -> None:
        if self.first is None and isinstance(event, TextDelta | ToolCallDelta):
            self.first = time.perf_counter()
        super().add(event)


@dataclass(slots=True)
class _Attempt:
    """A request on one side: its row in the ledger is open until it is settled."""

    decision: RouteDecision
    side: Side
    ticket: Ticket
    hold_nanodollars: int
    answer: _Answer = field(default_factory=_Answer)
    settled: bool = False


@dataclass(slots=True)
class _Run:
    """What one request carries from attempt to attempt. ``attempt`` is the one whose row is open."""

    request: ChatRequest
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    attempt: _Attempt | None = None
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
        return decide(signals, self._state(request, signals, standing), self._policy())

    def _state(self, request: ChatRequest, signals: Signals, standing: Standing) -> RouterState:
        return RouterState(
            local=self._tracks["local"].state(request, signals),
            api=self._tracks["api"].state(request, signals),
            local_requests_today=standing.local_requests_today,
            daily_requests=standing.daily_requests,
            free_nanodollars=standing.free_nanodollars,
            limit_label=standing.limit_label,
        )

    def _policy(self) -> Policy:
        settings = self._settings()
        return Policy(
            mode=settings.routing_mode,
            routing_threshold=settings.routing_threshold,
            complexity_threshold=settings.complexity_threshold,
        )

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
        try:
            await self._admit(run)
            while True:
                attempt = run.attempt
                assert attempt is not None
                self._on_change()
                yield Started(attempt.decision, run.request.correlation_id, attempt.hold_nanodollars)
                failure: TransientFailure | None = None
                try:
                    async with aclosing(self._events(run, attempt)) as events:
                        async for event in events:
                            yield event
                except TransientFailure as error:
                    failure = error
                breaker = self._tracks[attempt.side].breaker
                if failure is None:
                    breaker.succeed(attempt.ticket)
                    break
                breaker.fail(attempt.ticket, failure.retry_after_s)
                if attempt.answer.shown or not await self._fall_back(run, attempt, failure):
                    raise failure
            result = await self._settle(run, attempt, "done")
        except SignalboxError as error:
            if run.attempt is not None:
                run.partial = await self._settle(run, run.attempt, "failed", error)
            raise
        except BaseException:
            # Stopped, closed by whoever read the events, or a fault of ours: the hold must not outlive it.
            if run.attempt is not None:
                await _to_its_end(asyncio.ensure_future(self._settle(run, run.attempt, "stopped")))
            raise
        yield Finished(result)

    async def _events(self, run: _Run, attempt: _Attempt) -> AsyncGenerator[StreamEvent, None]:
        """Pass one provider's events through and keep what they say in the attempt's answer."""
        decision, answer = attempt.decision, attempt.answer
        # The model is the one that was held for, whatever the settings say by now.
        model = decision.model if attempt.side == "api" else run.request.model
        provider = await self._tracks[attempt.side].provider(decision.model)
        request = dataclasses.replace(run.request, model=model, max_tokens=_max_tokens(decision))
        answer.started, answer.sent = time.perf_counter(), True
        events: AsyncIterator[ProviderEvent] = provider.stream(request)
        try:
            async for event in events:
                answer.add(event)
                if isinstance(event, TextDelta | ToolCallDelta | UsageReported):
                    yield event
        finally:
            if isinstance(events, AsyncGenerator):
                await events.aclose()
        if answer.ended is None:
            raise Unavailable(
                f"{NAMES[attempt.side]} closed the stream before the answer ended.",
                hint="The text that arrived is kept; continue or try again.",
                may_be_billed=True,
            )

    async def _admit(self, run: _Run) -> None:
        """Decide, count exactly where only that lets it through, place the hold and write the row."""
        request = run.request
        signals = read_signals(request, default_max_tokens=self._settings().max_tokens_per_request)
        decision = self._decide(request, signals, await self.standing())
        local = self._tracks["local"]
        if decision.side == "local" and local.needs_start():
            await local.start()
            decision = self._decide(request, signals, await self.standing())
        if decision.side is None and await self._waited_for_local(request, signals):
            decision = self._decide(request, signals, await self.standing())
        if decision.rule == "budget":
            signals = await self._counted(request, signals)
        for _ in range(2):
            decision = self._decide(request, signals, await self.standing())
            if decision.side is None:
                raise refusal_error(decision, await self.standing())
            ticket = self._tracks[decision.side].breaker.begin()
            record, hold = self._entry(run, decision)
            try:
                admission = await self._ledger().begin(record, hold)
            except BudgetExceeded:
                # Other requests took the money between the decision and the hold: decide on what is left now.
                self._tracks[decision.side].breaker.abandon(ticket)
                continue
            except BaseException:
                self._tracks[decision.side].breaker.abandon(ticket)
                raise
            run.attempt = _Attempt(decision, decision.side, ticket, admission.hold_nanodollars or 0)
            return
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

    async def _waited_for_local(self, request: ChatRequest, signals: Signals) -> bool:
        """Wait for a server that is starting, if this request would go there once it is up."""
        state = self._state(request, signals, await self.standing())
        if state.local.health != "starting":
            return False
        once_up = dataclasses.replace(state, local=dataclasses.replace(state.local, health="up"))
        if decide(signals, once_up, self._policy()).side != "local":
            return False
        await self._wait_for_local(LOCAL_BOOT_WAIT_S)
        return True

    async def _counted(self, request: ChatRequest, signals: Signals) -> Signals:
        """Ask the provider's own count where the bound (a token a byte) didn't fit and the count may.

        Only for a request that would go to the API with enough money: what stays local is shown to nobody.
        """
        state = self._state(request, signals, await self.standing())
        unlimited = dataclasses.replace(state, free_nanodollars=sys.maxsize)
        wanted = decide(signals, unlimited, self._policy())
        api = self._tracks["api"]
        answer_alone = api.state(request, with_counted_input(signals, 0)).estimate.hold_nanodollars or 0
        if wanted.side != "api" or answer_alone > state.free_nanodollars:
            return signals
        try:
            async with asyncio.timeout(COUNT_TIMEOUT_S):
                provider = await api.provider(wanted.model)
                pinned = dataclasses.replace(request, model=wanted.model)
                return with_counted_input(signals, await provider.count_tokens(pinned))
        except (SignalboxError, TimeoutError) as error:
            log.info("request %s: no exact count (%r), the bound stands", request.correlation_id, error)
            return signals

    async def _fall_back(self, run: _Run, failed: _Attempt, error: TransientFailure) -> bool:
        """Begin the attempt on the other side; false where no fallback is allowed or possible."""
        settings = self._settings()
        if not settings.enable_fallback or run.fell_back or run.request.force is not None:
            return False
        if settings.routing_mode in ("local-only", "api-only"):
            return False
        other: Side = "api" if failed.side == "local" else "local"
        signals = dataclasses.replace(failed.decision.signals, force=other)
        try:
            second = self._decide(run.request, signals, await self.standing())
        except LedgerUnavailable as trouble:
            log.warning("request %s: no fallback, %s", run.request.correlation_id, trouble.message)
            return False
        if second.side is None:
            return False
        run.fell_back = True
        second = dataclasses.replace(
            second,
            signals=failed.decision.signals,
            rule="unavailable",
            reason=f"{NAMES[failed.side]} unavailable: {error.message.rstrip('.')}",
            fell_back_from=failed.side,
        )
        return await self._switch(run, failed, second, other, error)

    async def _switch(
        self, run: _Run, failed: _Attempt, second: RouteDecision, side: Side, error: TransientFailure
    ) -> bool:
        """Close the failed attempt and open the second in one transaction."""
        breaker = self._tracks[side].breaker
        ticket = breaker.begin()
        record, hold = self._entry(run, second)
        outcome = self._outcome(self._result(run, failed, "failed"), failed, "failed", error)
        switching = asyncio.ensure_future(self._ledger().switch_side(outcome, record, hold))
        stopped: BaseException | None = None
        try:
            await asyncio.shield(switching)
        except asyncio.CancelledError as cancelled:
            # Stopped while it was being written: it may be there, and then it is what has to be settled.
            await _to_its_end(switching)
            stopped = cancelled
        except SignalboxError:
            pass
        if switching.cancelled() or switching.exception() is not None:
            breaker.abandon(ticket)
            if not switching.cancelled():
                log.info("request %s: no fallback (%r)", run.request.correlation_id, switching.exception())
        else:
            failed.settled = True
            run.attempt = _Attempt(second, side, ticket, switching.result().hold_nanodollars or 0)
        if stopped is not None:
            raise stopped
        return run.attempt is not failed

    async def _settle(
        self, run: _Run, attempt: _Attempt, status: OutcomeStatus, error: SignalboxError | None = None
    ) -> ChatResult:
        """Turn what arrived into a result, and tell the ledger, once. Never raises for the ledger's sake.

        The ledger keeps what it can't write and tries again; an answer is not lost because of it.
        """
        result = self._result(run, attempt, status)
        if not attempt.settled:
            attempt.settled = True
            self._tracks[attempt.side].breaker.abandon(attempt.ticket)
            try:
                await self._ledger().settle(
                    result.correlation_id, self._outcome(result, attempt, status, error)
                )
            except SignalboxError as trouble:
                log.warning("request %s could not be settled: %s", result.correlation_id, trouble.message)
        return result

    @staticmethod
    def _outcome(
        result: ChatResult, attempt: _Attempt, status: OutcomeStatus, error: SignalboxError | None
    ) -> Outcome:
        nothing_came = result.usage is None and not attempt.answer.shown
        surely_unbilled = error is not None and not getattr(error, "may_be_billed", False)
        return Outcome(
            status=status,
            usage=result.usage,
            cost_nanodollars=result.cost_nanodollars,
            may_have_billed=not (nothing_came and (surely_unbilled or not attempt.answer.sent)),
            latency_ms=result.latency_ms,
            ttft_ms=result.ttft_ms,
            error_kind=error.kind if error is not None else None,
            model=result.model,
            price_version=result.price_version,
            loaded_nanodollars=result.loaded_nanodollars if result.side == "local" else None,
        )

    def _result(self, run: _Run, attempt: _Attempt, status: OutcomeStatus) -> ChatResult:
        decision, answer = attempt.decision, attempt.answer
        assert decision.provider is not None
        latency_ms = (time.perf_counter() - answer.started) * 1000
        model = answer.ended.model if answer.ended else decision.model or decision.provider
        usage, estimated = answer.usage, False
        if status != "done" and usage is not None and attempt.side == "api":
            usage, estimated = _with_arrived_output(usage, answer), True
        cost: int | None = 0
        if attempt.side == "api":
            cost = self._price(decision, model, usage)
        ended_early: FinishReason = "stopped_by_user" if status == "stopped" else "unknown"
        return ChatResult(
            text=answer.text,
            tool_calls=answer.tool_calls,
            usage=usage,
            provider=decision.provider,
            side=attempt.side,
            model=model,
            finish_reason=answer.ended.finish_reason if answer.ended else ended_early,
            decision=decision,
            cost_nanodollars=cost,
            loaded_nanodollars=self._loaded_nanodollars(latency_ms) if attempt.side == "local" else cost,
            price_version=self._prices.version if attempt.side == "api" else None,
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


def _max_tokens(decision: RouteDecision) -> int:
    """Return what may be generated: what was asked for, or, by default, what the side's context leaves."""
    signals = decision.signals
    if signals.max_output_named or decision.side != "local" or decision.local_context_tokens is None:
        return signals.max_output_tokens
    left = decision.local_context_tokens - round(1.25 * signals.input_tokens)
    return max(1, min(signals.max_output_tokens, left))


def _with_arrived_output(usage: Usage, answer: _Answer) -> Usage:
    """Count the output of a broken-off answer from what arrived, thinking included.

    A provider reports the true count at the end only, and bills what it generated until it noticed.
    """
    arrived = answer.hidden_output_bytes + len(answer.text.encode("utf-8", "replace"))
    arrived += sum(len(call.arguments_json.encode("utf-8", "replace")) for call in answer.tool_calls)
    from_arrived = -(-arrived // BYTES_PER_ARRIVED_TOKEN)
    return dataclasses.replace(usage, output_tokens=max(usage.output_tokens, from_arrived))


async def _to_its_end(task: asyncio.Task[Any]) -> None:
    """Wait until ``task`` is done although the surrounding one is being cancelled; it raises nothing itself."""
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            continue
