"""The router: admits, calls, retries, checks, falls back once and settles. One request is one ``stream``.

What follows an attempt that failed before the caller has seen a piece of it is said in ``core.routing.recovery``.
After the first piece it ends in a typed failure that keeps the part. Every request that left has a row in the
ledger for each attempt, whatever its end; one that was refused has a row too.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from core.base.async_tools import finish, with_progress
from core.chat import (
    ChatRequest,
    ChatResult,
    Failed,
    Finished,
    PromptProgress,
    ProviderEvent,
    RequestStep,
    RouteDecision,
    Side,
    Started,
    Stopped,
    StreamEnd,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    UsageReported,
    Waiting,
)
from core.errors import (
    AnswerInvalid,
    LedgerUnavailable,
    SignalboxError,
    TransientFailure,
    Unavailable,
)
from core.ledger.models import Outcome, OutcomeStatus, RefusedRequest
from core.routing.admission import AdmissionControl, Backend, LineTooLong
from core.routing.idempotency import IdempotencyGuard
from core.routing.observers import RequestObservers
from core.routing.output_check import OutputChecker
from core.routing.policy import NAMES
from core.routing.preparation import RequestPreparer
from core.routing.quotas import QuotaSnapshot, alerts_of, limits_of
from core.routing.recovery import NextAttempt, RecoveryPlanner
from core.routing.request_run import Attempt, OutputCheck, RequestRun, within
from core.routing.request_stream import RequestStream, StopRequested
from core.routing.settlement import Settlement
from core.routing.timeouts import Deadline, watched
from core.routing.validation import validated
from core.routing.waiting import OnWait
from core.telemetry.logs import request_context

if TYPE_CHECKING:
    from core.ledger.ledger import Ledger
    from core.ledger.limits import BudgetAlert
    from core.local.crash_suspects import CrashSuspects
    from core.settings import Settings

log = logging.getLogger(__name__)

__all__ = ["Backend", "Router"]


class Router:
    """Sends requests to one of two sides. ``on_change`` is called whenever a hold, a count or a side's health may
    have changed."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        ledger: Callable[[], Ledger],
        backends: dict[Side, Backend],
        admission: AdmissionControl,
        preparer: RequestPreparer,
        settlement: Settlement,
        checker: OutputChecker,
        observers: RequestObservers,
        recovery: RecoveryPlanner,
        repeats: IdempotencyGuard,
        suspects: CrashSuspects,
        on_change: Callable[[], None],
        on_alerts: Callable[[Sequence[BudgetAlert]], None],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._backends = backends
        self._admission = admission
        self._preparer = preparer
        self._settlement = settlement
        self._checker = checker
        self._observers = observers
        self._idempotency = repeats
        self._suspects = suspects
        self._recovery = recovery
        self._on_change = on_change
        self._on_alerts = on_alerts

    async def standing(self, project: str | None = None) -> QuotaSnapshot:
        """Read today's counts and the money that is free.

        Raises:
            LedgerUnavailable: they can't be read.
        """
        return await self._admission.standing(project)

    def decide(self, request: ChatRequest, standing: QuotaSnapshot) -> RouteDecision:
        """Return where ``request`` would go at ``standing``. Nothing is sent, held, written or remembered.

        Raises:
            InvalidRequest: the request can't be sent anywhere.
        """
        prepared = self._preparer.shape(validated(request), preview=True)
        return self._admission.foresee(prepared, self._admission.signals(prepared), standing)

    def stream(
        self,
        request: ChatRequest,
        deadline: Deadline | None = None,
        ready: Callable[[], Awaitable[None]] | None = None,
    ) -> RequestStream:
        """Return the events of ``request``, which runs as they are read.

        ``deadline`` is the request's own, where it began to count before this. ``ready`` is awaited first.
        """
        run = RequestRun(request, deadline or Deadline.after(request, self._settings().request_deadline_s))
        return RequestStream(
            self._events(run, ready),
            run.stop,
            run.correlation_id,
            lambda: run.watch and run.watch.traceparent,
        )

    async def _events(
        self, run: RequestRun, ready: Callable[[], Awaitable[None]] | None
    ) -> AsyncGenerator[StreamEvent, None]:
        """Run the request. However it ends, it is settled once, and where somebody reads on, one end follows."""
        cause: BaseException | None = None
        try:
            await self._begin(run, ready)
            if run.request.idempotency_key is not None:
                async with aclosing(
                    _waits(lambda on_wait: self._idempotency.claim_or_wait(run, on_wait))
                ) as waits:
                    async for waiting in waits:
                        yield waiting
            if run.claim is not None and run.claim.answer is not None:
                # The first request's answer for a second one with the same key; nothing is sent or paid.
                run.replay = await self._idempotency.replayed(run)
                yield Started(run.replay.decision, run.correlation_id)
                for event in _as_events(run.replay):
                    yield event
            else:
                run.prepared = self._preparer.shape(run.request)
                run.conversation = run.prepared.conversation
                async with aclosing(_waits(lambda on_wait: self._admitted(run, on_wait))) as waits:
                    async for waiting in waits:
                        yield waiting
                while True:
                    attempt = run.attempt
                    assert attempt is not None, "it was admitted"
                    async with aclosing(self._attempt_events(run, attempt)) as events:
                        async for event in events:
                            yield event
                    if attempt.failure is None:
                        break
                    if attempt.shown or run.deadline.passed:
                        raise attempt.failure
                    async with aclosing(self._next_attempt(run, attempt, attempt.failure)) as waits:
                        async for waiting in waits:
                            yield waiting
                    if run.attempt is attempt:
                        raise attempt.failure
        except BaseException as error:  # noqa: BLE001  also the reader's leaving: the hold must not outlive it
            cause = error
        try:
            yield await self._last_event(run, cause)
        finally:
            del cause  # its traceback holds this frame

    async def _begin(self, run: RequestRun, ready: Callable[[], Awaitable[None]] | None) -> None:
        if run.stop.requested:
            raise StopRequested
        if ready is not None:
            await within(run.deadline, ready(), "getting ready")
        self._observers.began(run)
        validated(run.request)

    async def _last_event(self, run: RequestRun, cause: BaseException | None) -> StreamEnd:
        """Settle the request and return its last event; raise ``cause`` again where nobody is left to read that."""
        is_closed = isinstance(cause, GeneratorExit)
        end: StreamEnd | None
        try:
            end = await finish(self._ended(run, cause))
        except asyncio.CancelledError as error:
            cause, end = error, run.stop.end  # its reader is leaving, or has stopped it, just now
        is_read = not is_closed and (cause is None or isinstance(cause, Exception) or run.stop.take(cause))
        if end is not None and is_read:
            return end
        assert cause is not None
        raise cause

    async def _ended(self, run: RequestRun, cause: BaseException | None) -> StreamEnd:
        """Settle the request and return its last event. ``cause`` is what ended it, ``None`` its own end."""
        with request_context(run.correlation_id):
            try:
                end = await self._end_of(run, cause)
            except Exception as fault:
                # The last line of defence: whatever breaks, the reader gets a typed end.
                log.exception("a fault in Signalbox itself")
                await self._settled_unknown(run)
                end = Failed(_fault(run, fault), run.partial)
            finally:
                if run.claim is not None:
                    await run.claim.release()
                if run.alerts:
                    self._on_alerts(run.alerts)
                self._on_change()
            return run.stop.finish(end)

    async def _settled_unknown(self, run: RequestRun) -> None:
        """Close the row that a fault has left open, at its hold: open, it would keep its money until a restart."""
        attempt = run.attempt
        if attempt is None or attempt.settled:
            return
        attempt.settled = True
        attempt.breaker.abandon(attempt.ticket)
        try:
            await self._settled(run, attempt, Outcome(status="failed", error_kind=SignalboxError.kind))
        except Exception:
            # Its reader gets the first fault; the hold stays counted, and the next start resolves it.
            log.exception("could not be settled")

    async def _end_of(self, run: RequestRun, cause: BaseException | None) -> StreamEnd:
        if cause is None:
            return await self._finished(run)
        if isinstance(cause, SignalboxError):
            if run.attempt is not None:
                run.partial = await self._settle(run, run.attempt, "failed", cause)
            elif not isinstance(cause, LedgerUnavailable):
                await self._refused(run, cause.kind)
            return await self._failed(run, cause)
        if run.attempt is not None:
            run.partial = await self._settle(run, run.attempt, "stopped", run.attempt.failure)
        else:
            await self._refused(run, SignalboxError.kind if isinstance(cause, Exception) else "stopped")
        if isinstance(cause, Exception):
            log.error("a fault in Signalbox itself", exc_info=cause)
            return await self._failed(run, _fault(run, cause))
        self._preparer.ended(run, run.partial, answered=False)
        self._observers.ended(run, "stopped", run.partial)
        if run.stop.reason is not None:
            run.stop.reason.correlation_id = run.correlation_id
            return Failed(run.stop.reason, run.partial)
        return Stopped(run.partial)

    async def _finished(self, run: RequestRun) -> Finished:
        if run.replay is not None:
            self._observers.ended(run, "done", run.replay)
            return Finished(run.replay)
        attempt = run.attempt
        assert attempt is not None
        result = await self._settle(run, attempt, "done")
        self._preparer.ended(run, result, answered=True)
        self._observers.ended(run, "done", result)
        self._backends[attempt.side].learn_speed(result)
        if run.claim is not None:
            run.claim.finish(result)
        return Finished(result)

    async def _failed(self, run: RequestRun, error: SignalboxError) -> Failed:
        error.correlation_id = run.correlation_id
        if run.claim is not None:
            await run.claim.fail(error)
        self._preparer.ended(run, run.partial, answered=False)
        self._observers.ended(run, "refused" if run.attempt is None else "failed", run.partial, error)
        return Failed(error, run.partial)

    async def _refused(self, run: RequestRun, kind: str) -> None:
        """Keep a row of a request that was never sent. A request that is no request (no message) has none."""
        if run.prepared is None:
            return
        try:
            await self._ledger().refuse(
                RefusedRequest(
                    correlation_id=run.correlation_id,
                    error_kind=kind,
                    source=run.request.source,
                    project=run.request.project,
                    decision=run.decision,
                    conversation=run.conversation,
                )
            )
        except SignalboxError as trouble:
            log.warning("the refusal could not be recorded: %s", trouble.own_message)

    # -- attempts -------------------------------------------------------------------------------------------

    async def _admitted(self, run: RequestRun, on_wait: OnWait) -> None:
        await within(run.deadline, self._admission.admit(run, on_wait), "waiting to be sent")

    async def _attempt_events(self, run: RequestRun, attempt: Attempt) -> AsyncGenerator[StreamEvent, None]:
        """Run one attempt; ``attempt.failure`` says whether another may follow.

        What has to be checked first is kept back: the text of an answer with a schema, and tool calls.

        Raises:
            SignalboxError: no other attempt may follow.
        """
        self._observers.attempt_began(run, attempt)
        self._on_change()
        yield Started(attempt.decision, run.correlation_id, attempt.hold_nanodollars)
        answer, shown = attempt.answer, _shown_kinds(attempt.request)
        asked = False
        try:
            upstream = await self._upstream(run, attempt)
            asked = True
            async with aclosing(upstream):
                async for event in upstream:
                    was_begun = answer.begun
                    answer.add(event)
                    if answer.begun and not was_begun:
                        self._heard(attempt, None)
                    if isinstance(event, shown):
                        attempt.shown = attempt.shown or not isinstance(event, UsageReported | PromptProgress)
                        yield cast("StreamEvent", event)
                        answer.ask()
            if answer.ended is None:
                raise Unavailable(
                    f"{NAMES[attempt.side]} closed the stream before the answer ended.",
                    hint="The text that arrived is kept; continue or try again.",
                    may_be_billed=True,
                )
        except SignalboxError as error:
            if asked:
                self._heard(attempt, error)
            if not isinstance(error, TransientFailure):
                raise
            attempt.failure = error
        self._leave_local(attempt)
        if attempt.failure is not None:
            attempt.failure = await self._backends[attempt.side].explained(attempt.failure, attempt.opened_at)
        booting = self._backends[attempt.side].is_starting
        attempt.breaker.end(attempt.ticket, attempt.failure, booting=booting)
        if attempt.failure is not None:
            return
        attempt.check_result = await self._checker.judged(run, attempt)
        if attempt.check_result is None or attempt.check_result.accepted:
            for event in self._withheld(run, attempt, attempt.check_result):
                yield event
        else:
            attempt.failure = self._invalid(run, attempt, attempt.check_result)

    def _heard(self, attempt: Attempt, error: SignalboxError | None) -> None:
        """Tell the side what its server said; the status may be another then."""
        backend = self._backends[attempt.side]
        backend.heard(attempt.decision.model, error, era=attempt.ticket.generation)
        self._on_change()

    async def _next_attempt(
        self, run: RequestRun, failed: Attempt, failure: SignalboxError
    ) -> AsyncGenerator[StreamEvent, None]:
        """Open the first attempt of those that may follow ``failed``; ``run.attempt`` is it then."""
        for following in await self._recovery.after(run, failed, failure, failed.check_result):
            async with aclosing(_waits(self._opening(run, failed, following, failure))) as waits:
                async for waiting in waits:
                    yield waiting
            if run.attempt is not failed:
                return

    async def _upstream(self, run: RequestRun, attempt: Attempt) -> AsyncGenerator[ProviderEvent, None]:
        """Return the provider's events; the request leaves when the first one is asked for."""
        decision, settings = attempt.decision, self._settings()
        # The model is the one that was held for, whatever the settings say by now.
        model = decision.model if attempt.side == "api" else run.request.model
        provider = await within(
            run.deadline, self._backends[attempt.side].provider(decision.model), "reaching the provider"
        )
        if attempt.side == "local":
            self._suspects.began(id(attempt), run.request)
        attempt.answer.restart()
        return watched(
            provider.stream(
                dataclasses.replace(attempt.request, model=model, max_tokens=_max_tokens(decision)),
                attempt.answer.leave,
            ),
            who=NAMES[attempt.side],
            side=attempt.side,
            first_token_s=settings.first_token_timeout_s,
            between_tokens_s=settings.between_tokens_timeout_s,
            deadline=run.deadline,
        )

    def _withheld(
        self, run: RequestRun, attempt: Attempt, check_result: OutputCheck | None
    ) -> list[StreamEvent]:
        """Return what was kept back for the check, now that it has passed (or the caller has to decide)."""
        text = attempt.answer.text if check_result is None else check_result.text
        attempt.schema_valid = check_result.valid if check_result is not None else None
        if check_result is not None and check_result.repaired:
            attempt.text = check_result.text
            run.steps.append(
                RequestStep(
                    kind="repaired", detail=f"Repaired: {', '.join(check_result.repaired)}", side=attempt.side
                )
            )
        events: list[StreamEvent] = []
        if attempt.request.response_format is not None and text:
            events.append(TextDelta(text))
        if attempt.request.tools:
            events += _tool_events(attempt.answer.tool_calls)
        return events

    def _invalid(self, run: RequestRun, attempt: Attempt, check_result: OutputCheck) -> AnswerInvalid:
        attempt.schema_valid = False
        run.steps.append(
            RequestStep(kind="invalid", detail="; ".join(check_result.problems[:3]), side=attempt.side)
        )
        quote = f": {check_result.problems[0]}."
        invalid = AnswerInvalid(
            f"{NAMES[attempt.side]}'s answer doesn't match what was asked for{quote}",
            hint=check_result.hint,
            problems=check_result.problems,
        )
        return invalid.quoting(quote)

    # -- after an attempt that ended badly ------------------------------------------------------------------

    def _opening(
        self, run: RequestRun, failed: Attempt, following: NextAttempt, failure: SignalboxError
    ) -> Callable[[OnWait], Awaitable[None]]:
        """Return the work that closes ``failed`` and opens ``following``, or leaves ``run`` as it is."""

        async def work(on_wait: OnWait) -> None:
            if following.wait_s:
                on_wait(Waiting("retry", following.detail, following.wait_s))
                await within(run.deadline, asyncio.sleep(following.wait_s), "waiting to try again")
            if following.decision.side == "local":
                await self._admission.wait_for_restart(run, on_wait)
            billed = isinstance(failure, AnswerInvalid)
            result = self._settlement.result(run, failed, "done" if billed else "failed")
            outcome = self._settlement.outcome(
                run, result, failed, "done" if billed else "failed", None if billed else failure
            )
            try:
                opened = await self._admission.reopen(
                    run,
                    following.decision,
                    following.request,
                    outcome,
                    on_wait,
                    on_late=lambda late: self._moved_on(run, failed, late, following, outcome),
                )
            except (SignalboxError, LineTooLong) as error:
                log.info("no further attempt (%s)", getattr(error, "own_message", str(error)))
                return
            self._moved_on(run, failed, opened, following, outcome)

        return work

    def _moved_on(
        self, run: RequestRun, failed: Attempt, opened: Attempt, following: NextAttempt, outcome: Outcome
    ) -> None:
        failed.settled = True
        failed.breaker.abandon(failed.ticket)
        cost = self._settlement.carry_over(run, failed, outcome)
        run.steps.append(
            RequestStep(
                kind=following.kind,
                detail=following.detail,
                side=opened.side,
                took_ms=following.wait_s * 1000,
                cost_nanodollars=cost,
            )
        )
        run.retries += following.kind == "retried"
        run.fell_back = run.fell_back or following.kind == "fell_back"
        run.asked_again = run.asked_again or following.kind == "asked_again"
        run.attempt = opened
        self._observers.attempt_ended(run, outcome)

    # -- the end --------------------------------------------------------------------------------------------

    async def _settle(
        self, run: RequestRun, attempt: Attempt, status: OutcomeStatus, error: SignalboxError | None = None
    ) -> ChatResult:
        """Turn what arrived into a result, and tell the ledger, once. Never raises for the ledger's sake.

        The ledger keeps what it can't write and tries again; an answer is not lost because of it.
        """
        self._leave_local(attempt)
        result = self._settlement.result(run, attempt, status)
        if status == "done" and run.claim is not None:
            try:
                await run.claim.keep(result)
            except Exception:
                # The answer is there and paid for: it is settled and given, whatever became of keeping it.
                log.exception("the answer could not be kept for its idempotency key")
        if not attempt.settled:
            attempt.settled = True
            attempt.breaker.abandon(attempt.ticket)
            outcome = self._settlement.outcome(run, result, attempt, status, error)
            result = self._settlement.with_counted(run, result, attempt, outcome)
            self._observers.attempt_ended(run, outcome)
            try:
                await self._settled(run, attempt, outcome)
            except SignalboxError as trouble:
                log.warning("could not be settled: %s", trouble.own_message)
            except Exception:
                # Figures that no ledger can hold: without them it is counted at its hold, never too little.
                log.exception("settled without its usage")
                unknown = dataclasses.replace(
                    outcome, usage=None, savings=None, cost_nanodollars=None, may_have_billed=True
                )
                await self._settled(run, attempt, unknown)
        return result

    async def _settled(self, run: RequestRun, attempt: Attempt, outcome: Outcome) -> None:
        """Close the row, and hear which shares of the limits are reached by that: a bill may be above its hold."""
        settings = self._settings()
        on_api = attempt.side == "api"  # a local answer takes nothing from any limit
        settled = await self._ledger().settle(
            run.correlation_id,
            attempt.number,
            outcome,
            limits=limits_of(settings, run.request.project) if on_api else (),
            alert_percents=alerts_of(settings) if on_api else (),
        )
        run.alerts.extend(settled.alerts)

    def _leave_local(self, attempt: Attempt) -> None:
        """Give back the place at the local server and stop counting its time."""
        if attempt.side == "local":
            broken = attempt.answer.ended is None
            self._suspects.ended(id(attempt), answered=attempt.answer.first is not None, broken=broken)
        if attempt.machine_time is not None:
            attempt.machine_time.leave()
        if attempt.slot is not None:
            ended_well = attempt.answer.ended is not None
            attempt.slot.leave(attempt.answer.seconds if ended_well else None)


def _waits(work: Callable[[OnWait], Awaitable[None]]) -> AsyncGenerator[Waiting, None]:
    """Run ``work`` and yield what it waits for; of each wait the newest."""
    return with_progress(work, replaces=lambda newer, older: newer.reason == older.reason)


def _fault(run: RequestRun, fault: Exception) -> SignalboxError:
    error = SignalboxError(
        f"Something went wrong in Signalbox itself ({type(fault).__name__}).",
        hint="What had arrived, if anything had, is kept. Try again; the log has the details.",
    )
    error.correlation_id = run.correlation_id
    return error


def _shown_kinds(request: ChatRequest) -> tuple[type[Any], ...]:
    """Return the kinds of events that the caller sees at once; the others wait for their check."""
    kinds: list[type[Any]] = [UsageReported, PromptProgress]
    if request.response_format is None:
        kinds.append(TextDelta)
    if not request.tools:
        kinds.append(ToolCallDelta)
    return tuple(kinds)


def _tool_events(calls: tuple[Any, ...]) -> list[StreamEvent]:
    return [ToolCallDelta(index, call.id, call.name, call.arguments_json) for index, call in enumerate(calls)]


def _as_events(result: ChatResult) -> list[StreamEvent]:
    events: list[StreamEvent] = [TextDelta(result.text)] if result.text else []
    events += _tool_events(result.tool_calls)
    if result.usage is not None:
        events.append(UsageReported(result.usage))
    return events


def _max_tokens(decision: RouteDecision) -> int:
    """Return what may be generated: what was asked for, or, by default, what the side's context leaves."""
    signals = decision.signals
    if signals.max_output_named or decision.side != "local" or decision.local_context_tokens is None:
        return signals.max_output_tokens
    left = decision.local_context_tokens - round(1.25 * signals.input_tokens)
    return max(1, min(signals.max_output_tokens, left))
