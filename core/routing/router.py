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

from core.chat import (
    ChatRequest,
    ChatResult,
    Failed,
    Finished,
    RequestStep,
    RouteDecision,
    Side,
    Started,
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
from core.routing.idempotency import IdempotencyGuard, ResponseCache
from core.routing.idempotency_store import IdempotencyStore
from core.routing.observers import RequestObservers
from core.routing.output_check import OutputCheck, OutputChecker
from core.routing.policy import NAMES
from core.routing.preparation import RequestPreparer
from core.routing.quotas import QuotaSnapshot, alerts_of, limits_of
from core.routing.recovery import NextAttempt, RecoveryPlanner
from core.routing.request_run import Attempt, RequestRun, within
from core.routing.settlement import Settlement
from core.routing.timeouts import Deadline, watched
from core.routing.validation import validated
from core.routing.waiting import OnWait, finish, with_progress
from core.telemetry.logs import in_request, private, with_traceparent

if TYPE_CHECKING:
    from core.ledger.ledger import Ledger
    from core.ledger.limits import BudgetAlert
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
        following: RecoveryPlanner,
        answers: ResponseCache,
        kept: IdempotencyStore | None = None,
        on_change: Callable[[], None] = lambda: None,
        on_alerts: Callable[[Sequence[BudgetAlert]], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._backends = backends
        self._admission = admission
        self._preparer = preparer
        self._settlement = settlement
        self._checker = checker
        self._observers = observers
        self._repeats = IdempotencyGuard(answers, kept, ledger)
        self._following = following
        self._on_change = on_change
        self._on_alerts = on_alerts

    async def standing(self, project: str | None = None) -> QuotaSnapshot:
        """Read today's counts and the money that is free. :raises LedgerUnavailable: they can't be read."""
        return await self._admission.standing(project)

    def decide(self, request: ChatRequest, standing: QuotaSnapshot) -> RouteDecision:
        """Return where ``request`` would go at ``standing``. Nothing is sent, held, written or remembered.

        Raises:
            InvalidRequest: the request can't be sent anywhere.
        """
        prepared = self._preparer.shape(validated(request), preview=True)
        return self._admission.decide(prepared, self._admission.signals(prepared), standing)

    async def stream(
        self, request: ChatRequest, deadline: Deadline | None = None
    ) -> AsyncGenerator[StreamEvent, None]:
        """Run ``request`` and yield its events; ends in exactly one ``Finished`` or ``Failed``.

        ``deadline`` is the request's own, where it began to count before this.

        Closing the generator closes the upstream connection and settles what was used.
        """
        run = RequestRun(request, deadline or Deadline.after(request, self._settings().request_deadline_s))
        events = self._events_of(run)
        try:
            async with aclosing(in_request(request, events)) as told:
                async for event in told:
                    yield event
        finally:
            if run.alerts:
                self._on_alerts(run.alerts)
            self._on_change()

    async def _events_of(self, run: RequestRun) -> AsyncGenerator[StreamEvent, None]:
        self._observers.began(run)
        try:
            validated(run.request)
            if run.request.idempotency_key is not None:
                async with aclosing(with_progress(lambda on_wait: self._repeats.look(run, on_wait))) as waits:
                    async for waiting in waits:
                        yield waiting
            repeated = run.repeat is not None and run.repeat.answer is not None
            async with aclosing(self._repeated(run) if repeated else self._attempts(run)) as events:
                async for event in events:
                    if run.repeat is not None and isinstance(event, Finished):
                        run.repeat.finish(event.result)
                    yield event
        except SignalboxError as error:
            if run.attempt is None and not isinstance(error, LedgerUnavailable):
                await self._refused(run, error.kind)
            yield await self._failed(run, error)
        except Exception as fault:
            # The last line of defence: whatever breaks, the reader gets a typed end and the hold has been settled.
            log.exception("a fault in Signalbox itself")
            error = SignalboxError(
                f"Something went wrong in Signalbox itself ({type(fault).__name__}).",
                hint="What had arrived is kept. Try again; the log has the details.",
            )
            yield await self._failed(run, error)
        finally:
            if run.repeat is not None:
                if run.result is not None:
                    # Paid for, though its reader has gone: the key has its answer.
                    run.repeat.finish(run.result)
                await run.repeat.release()

    async def _failed(self, run: RequestRun, error: SignalboxError) -> Failed:
        error.correlation_id = run.correlation_id
        if run.repeat is not None:
            await run.repeat.fail(error)
        self._preparer.ended(run, run.partial, answered=False)
        self._observers.ended(run, "refused" if run.attempt is None else "failed", run.partial, error)
        return Failed(error, run.partial)

    async def _repeated(self, run: RequestRun) -> AsyncGenerator[StreamEvent, None]:
        """Give the first request's answer to a second one with the same key; nothing is sent or paid."""
        result = await self._repeats.replayed(run)
        yield Started(result.decision, run.correlation_id)
        for event in _as_events(result):
            yield event
        self._observers.ended(run, "done", result)
        yield Finished(result)

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
            log.warning("the refusal could not be recorded: %s", trouble.message)

    # -- attempts -------------------------------------------------------------------------------------------

    async def _attempts(self, run: RequestRun) -> AsyncGenerator[StreamEvent, None]:
        try:
            run.prepared = self._preparer.shape(run.request)
            run.conversation = run.prepared.conversation
            async with aclosing(with_progress(lambda on_wait: self._admitted(run, on_wait))) as waits:
                async for waiting in waits:
                    yield waiting
            while True:
                attempt = run.attempt
                assert attempt is not None
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
            result = run.result = await self._done(run, attempt)
        except SignalboxError as error:
            if run.attempt is not None:
                run.partial = await self._settle(run, run.attempt, "failed", error)
            raise
        except BaseException:
            # Stopped, closed by whoever read the events, or a fault of ours: the hold must not outlive it.
            if run.result is None:
                stopping = asyncio.ensure_future(self._stopped(run))
                await finish(stopping)
            self._preparer.ended(run, run.result or run.partial, answered=run.result is not None)
            self._observers.ended(run, "done" if run.result else "stopped", run.result or run.partial)
            raise
        self._preparer.ended(run, result, answered=True)
        self._observers.ended(run, "done", result)
        yield Finished(result)

    async def _admitted(self, run: RequestRun, on_wait: OnWait) -> None:
        await within(run.deadline, self._admission.admit(run, on_wait), "waiting to be sent")

    async def _done(self, run: RequestRun, attempt: Attempt) -> ChatResult:
        """Settle a whole answer, although its reader may be leaving just now."""
        settlement = asyncio.ensure_future(self._settle(run, attempt, "done"))
        try:
            return await asyncio.shield(settlement)
        except asyncio.CancelledError:
            await finish(settlement)
            if not settlement.cancelled() and settlement.exception() is None:
                run.result = settlement.result()
            raise

    async def _stopped(self, run: RequestRun) -> None:
        if run.attempt is not None:
            failure = run.attempt.failure
            run.partial = await self._settle(run, run.attempt, "stopped", failure)
        else:
            await self._refused(run, "stopped")

    async def _attempt_events(self, run: RequestRun, attempt: Attempt) -> AsyncGenerator[StreamEvent, None]:
        """Run one attempt; ``attempt.failure`` says whether another may follow.

        Raises:
            SignalboxError: no other attempt may follow.
        """
        self._observers.attempt_began(run, attempt)
        self._on_change()
        yield Started(attempt.decision, run.correlation_id, attempt.hold_nanodollars)
        try:
            async with aclosing(self._provider_events(run, attempt)) as events:
                async for event in events:
                    attempt.shown = attempt.shown or not isinstance(event, UsageReported)
                    yield event
        except TransientFailure as error:
            attempt.failure = error
        self._leave_local(attempt)
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

    async def _next_attempt(
        self, run: RequestRun, failed: Attempt, failure: SignalboxError
    ) -> AsyncGenerator[StreamEvent, None]:
        """Open the first attempt of those that may follow ``failed``; ``run.attempt`` is it then."""
        for following in await self._following.after(run, failed, failure, failed.check_result):
            async with aclosing(with_progress(self._opening(run, failed, following, failure))) as waits:
                async for waiting in waits:
                    yield waiting
            if run.attempt is not failed:
                return

    async def _provider_events(self, run: RequestRun, attempt: Attempt) -> AsyncGenerator[StreamEvent, None]:
        """Pass one provider's events through and keep what they say in the attempt's answer.

        What has to be checked first is kept back: the text of an answer with a schema, and tool calls.
        """
        decision, answer, settings = attempt.decision, attempt.answer, self._settings()
        # The model is the one that was held for, whatever the settings say by now.
        model = decision.model if attempt.side == "api" else run.request.model
        provider = await within(
            run.deadline, self._backends[attempt.side].provider(decision.model), "reaching the provider"
        )
        request = dataclasses.replace(attempt.request, model=model, max_tokens=_max_tokens(decision))
        shown = _shown_kinds(request)
        answer.restart()
        upstream = watched(
            provider.stream(request),
            who=NAMES[attempt.side],
            side=attempt.side,
            first_token_s=settings.first_token_timeout_s,
            between_tokens_s=settings.between_tokens_timeout_s,
            deadline=run.deadline,
        )
        traced = with_traceparent(run.watch.traceparent if run.watch else None, upstream)
        async with aclosing(traced):
            async for event in traced:
                answer.add(event)
                if isinstance(event, shown):
                    yield cast("StreamEvent", event)
                    answer.ask()
        if answer.ended is None:
            raise Unavailable(
                f"{NAMES[attempt.side]} closed the stream before the answer ended.",
                hint="The text that arrived is kept; continue or try again.",
                may_be_billed=True,
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
            RequestStep(
                kind="invalid", detail=private("; ".join(check_result.problems[:3])), side=attempt.side
            )
        )
        return AnswerInvalid(
            f"{NAMES[attempt.side]}'s answer doesn't match what was asked for: {check_result.problems[0]}.",
            hint=check_result.hint,
            problems=check_result.problems,
        )

    # -- after an attempt that ended badly ------------------------------------------------------------------

    def _opening(
        self, run: RequestRun, failed: Attempt, following: NextAttempt, failure: SignalboxError
    ) -> Callable[[OnWait], Awaitable[None]]:
        """Return the work that closes ``failed`` and opens ``following``, or leaves ``run`` as it is."""

        async def work(on_wait: OnWait) -> None:
            run.switching = None  # that of an earlier attempt says nothing about this one
            if following.wait_s:
                on_wait(Waiting("retry", following.detail, following.wait_s))
                await within(run.deadline, asyncio.sleep(following.wait_s), "waiting to try again")
            billed = isinstance(failure, AnswerInvalid)
            result = self._settlement.result(run, failed, "done" if billed else "failed")
            outcome = self._settlement.outcome(
                run, result, failed, "done" if billed else "failed", None if billed else failure
            )
            opening = asyncio.ensure_future(
                self._admission.reopen(run, following.decision, following.request, outcome, on_wait)
            )
            try:
                opened = await asyncio.shield(opening)
            except asyncio.CancelledError:
                # Stopped while it was being written: it may be there, and then it is what has to be settled.
                if run.switching is not None:
                    await finish(run.switching)
                if (
                    run.switching is None
                    or run.switching.cancelled()
                    or run.switching.exception() is not None
                ):
                    opening.cancel()
                await finish(opening)
                if not opening.cancelled() and opening.exception() is None:
                    self._moved_on(run, failed, opening.result(), following, outcome)
                raise
            except (SignalboxError, LineTooLong) as error:
                log.info("no further attempt (%s)", error)
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
        if status == "done" and run.repeat is not None:
            await run.repeat.keep(result)
        if not attempt.settled:
            attempt.settled = True
            attempt.breaker.abandon(attempt.ticket)
            outcome = self._settlement.outcome(run, result, attempt, status, error)
            self._observers.attempt_ended(run, outcome)
            try:
                await self._settled(run, attempt, outcome)
            except SignalboxError as trouble:
                log.warning("could not be settled: %s", trouble.message)
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
        if attempt.machine_time is not None:
            attempt.machine_time.leave()
        if attempt.slot is not None:
            ended_well = attempt.answer.ended is not None
            attempt.slot.leave(attempt.answer.seconds if ended_well else None)


def _shown_kinds(request: ChatRequest) -> tuple[type[Any], ...]:
    """Return the kinds of events that the caller sees at once; the others wait for their check."""
    kinds: list[type[Any]] = [UsageReported]
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
