"""Lets a request in: decides, waits its turn, takes a place at the local server, and opens its row with the hold.

Whatever fails or is cancelled on the way leaves nothing behind: no hold, no place, no breaker's probe.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from core.base.async_tools import finish
from core.chat import ChatRequest, ChatResult, RequestStep, RouteDecision, Side, Signals, Waiting
from core.errors import BudgetExceeded, QueueFull, SignalboxError, Unavailable
from core.ledger.models import Admission, HoldRequest, NewRequest, Outcome
from core.providers.base import InferenceProvider
from core.routing.circuit_breaker import Breaker, Ticket
from core.routing.complexity import is_believable_count, read_signals, with_counted_input
from core.routing.idempotency import key_name
from core.routing.local_queue import LocalQueue, Slot
from core.routing.machine_time import CostMeter
from core.routing.policy import Policy, RouterState, SideState, decide, room_needed
from core.routing.preparation import RequestPreparer
from core.routing.quotas import QuotaSnapshot, alerts_of, limits_of, rates_of, read_standing, refusal_error
from core.routing.rate_queue import RateLimitQueue
from core.routing.request_run import Attempt, PreparedRequest, RequestRun, within
from core.routing.waiting import OnWait

if TYPE_CHECKING:
    from core.ledger.ledger import Ledger
    from core.settings import Settings

log = logging.getLogger(__name__)

LOCAL_BOOT_WAIT_S = 120.0
"""How long a request that only Local can serve waits for a server that is starting."""

COUNT_TIMEOUT_S = 8.0
"""How long the provider's own count of the input may take; without it the bound stands. The first one loads the
SDK, which takes a second on an idle machine."""

DECISIONS_MAX = 4
"""How often a request is decided anew because the money or the local place went to others meanwhile."""


class Backend(Protocol):
    """What the router needs of a side; ``ApiSide`` and ``LocalSide`` are the real ones."""

    def breaker(self, model: str | None) -> Breaker: ...

    def state(self, request: ChatRequest, signals: Signals) -> SideState: ...

    @property
    def is_starting(self) -> bool:
        """Whether its server is not ready yet: what fails then says nothing about its health."""
        ...

    def needs_start(self) -> bool:
        """Whether its server counts as up but has to be started first (on demand)."""
        ...

    async def start(self) -> None: ...

    async def explained(self, failure: SignalboxError, since: datetime) -> SignalboxError:
        """Return ``failure`` of an attempt begun at ``since``; in better words where its server ended meanwhile."""
        ...

    def telling_start(self, on_wait: OnWait) -> AbstractContextManager[None]:
        """Tell ``on_wait`` that the server starts, and each phase that it comes to while this is open."""
        ...

    async def provider(self, model: str | None) -> InferenceProvider:
        """Return the provider for ``model``, the one that was decided and held for."""
        ...

    def heard(self, model: str | None, error: SignalboxError | None, *, era: int) -> None:
        """Take note of what its server said: how a request that was sent ended, or (``None``) that it answers."""
        ...

    def learn_speed(self, result: ChatResult) -> None:
        """Take note of how long a whole answer took, where estimates go by that."""
        ...


class LineTooLong(Exception):
    """The local server's line was not waited for; the text finishes "Local busy: ..."."""


class SideClosed(LineTooLong):
    """A side's breaker opened while a request waited to be sent there."""


class _PlaceTaken(Exception):
    """It is the request's turn by the rates, but the local server has no place for it just now."""


class AdmissionControl:
    """Decides and admits. ``wait_for_local`` returns when a starting server has settled."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        ledger: Callable[[], Ledger],
        backends: dict[Side, Backend],
        preparer: RequestPreparer,
        queue: LocalQueue,
        machine: CostMeter,
        wait_for_local: Callable[[float], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._backends = backends
        self._preparer = preparer
        self._queue = queue
        self._machine = machine
        self._wait_for_local = wait_for_local
        self._policy_of: tuple[Settings, Policy] | None = None
        self._lines: dict[Side, RateLimitQueue] = {
            "local": RateLimitQueue(time.monotonic),
            "api": RateLimitQueue(time.monotonic),
        }

    def _refusal(self, run: RequestRun, decision: RouteDecision, standing: QuotaSnapshot) -> SignalboxError:
        error = refusal_error(decision, standing)
        if isinstance(error, Unavailable) and run.request.force == "api":
            # Only the API may take it, so this is when sending it again makes sense.
            error.retry_after_s = (
                self._backends["api"].breaker(decision.api_estimate.model).retry_in_s or None
            )
        return error

    async def standing(self, project: str | None = None) -> QuotaSnapshot:
        """Read today's counts and what is free.

        Raises:
            LedgerUnavailable: they can't be read.
        """
        return await read_standing(self._ledger(), self._settings(), project)

    # -- deciding -------------------------------------------------------------------------------------------

    def signals(self, prepared: PreparedRequest) -> Signals:
        return read_signals(
            prepared.request,
            default_max_tokens=self._settings().max_tokens_per_request,
            added_bytes=prepared.added_bytes,
            conversation_side=prepared.last.side if prepared.last is not None else None,
        )

    def decide(
        self, prepared: PreparedRequest, signals: Signals, standing: QuotaSnapshot, *, busy: str = ""
    ) -> RouteDecision:
        """Return where the request goes at ``standing``; ``busy`` says why the local line is not waited for."""
        return decide(signals, self._state(prepared, signals, standing, busy), self._policy())

    def _state(
        self, prepared: PreparedRequest, signals: Signals, standing: QuotaSnapshot, busy: str = ""
    ) -> RouterState:
        local = self._backends["local"].state(prepared.request, signals)
        if busy:
            local = dataclasses.replace(local, busy=busy)
        api = self._backends["api"].state(prepared.request, signals)
        return RouterState(
            local=local,
            api=api,
            local_requests_today=standing.local_requests_today,
            daily_requests=standing.daily_requests,
            free_nanodollars=standing.free_nanodollars,
            limit_label=standing.limit_label,
            free_tokens=standing.free_tokens,
            switching_cost=prepared.switching_cost,
            local_template=self._preparer.template_name("local", local.model),
            api_template=self._preparer.template_name("api", api.model),
            cache=prepared.cache,
            economy=prepared.economy,
        )

    def _policy(self) -> Policy:
        settings = self._settings()
        if self._policy_of is None or self._policy_of[0] is not settings:
            policy = Policy(
                mode=settings.routing_mode,
                routing_threshold=settings.routing_threshold,
                complexity_threshold=settings.complexity_threshold,
            )
            self._policy_of = settings, policy
        return self._policy_of[1]

    # -- admitting ------------------------------------------------------------------------------------------

    async def admit(self, run: RequestRun, on_wait: OnWait) -> None:
        """Open the first attempt of ``run``.

        Raises:
            SignalboxError: by kind; nothing was sent or held.
        """
        prepared = run.prepared
        assert prepared is not None
        project = run.request.project
        signals = self.signals(prepared)
        standing = await self.standing(project)
        decision = self.decide(prepared, signals, standing)
        run.decision = decision
        if decision.side == "local" and self._backends["local"].needs_start():
            with self._backends["local"].telling_start(on_wait):
                await within(run.deadline, self._backends["local"].start(), "the local server was starting")
            standing = await self.standing(project)
            decision = self.decide(prepared, signals, standing)
        if decision.side is None and await self._waited_for_local(run, signals, standing, on_wait):
            standing = await self.standing(project)
            decision = self.decide(prepared, signals, standing)
        if decision.side == "local":
            counted = await self._counted_by_local(run, decision, signals)
            if counted is not signals:
                signals = counted
                decision = self.decide(prepared, signals, standing)
        if decision.rule == "budget":
            signals, decision = await self.decided_near_limit(run, signals, standing)
            prepared = run.prepared or prepared
        for _ in range(DECISIONS_MAX):
            run.decision = decision
            if decision.side is None:
                raise self._refusal(run, decision, standing)
            try:
                run.attempt = await self._passed(run, decision, on_wait)
                return
            except BudgetExceeded as error:
                # Other requests took the money between the decision and the hold: decide on what is left now.
                log.info("decided again: %s", error)
            except SideClosed as error:
                log.info("decided again: %s", str(error))
            except LineTooLong as error:
                run.line_too_long = str(error)
            standing = await self.standing(project)
            decision = self.decide(prepared, signals, standing, busy=run.line_too_long)
        raise Unavailable(
            "Other requests took the money that was free, again and again.",
            hint="Nothing was charged. Try again.",
        )

    async def decided_near_limit(
        self, run: RequestRun, signals: Signals, standing: QuotaSnapshot
    ) -> tuple[Signals, RouteDecision]:
        """Decide anew where only a limit is in the way: on the provider's own count, and without cache marks."""
        assert run.prepared is not None
        if run.prepared.request.cache_marks is not None:
            run.prepared = run.prepared.without_marks()  # writing a cache is dearer; near a limit it can wait
        signals = await self._counted(run.prepared, signals, standing)
        return signals, self.decide(run.prepared, signals, standing)

    async def reopen(
        self,
        run: RequestRun,
        decision: RouteDecision,
        request: ChatRequest | None,
        failed: Outcome,
        on_wait: OnWait,
        on_late: Callable[[Attempt], None],
    ) -> Attempt:
        """Close the attempt that ended badly as ``failed`` and open the next one, both or neither.

        ``request`` is what is sent instead of the one the caller gave, ``None`` for the same. Cancelled while the
        ledger writes it, this gives the attempt to ``on_late``: it is there, and has to be settled.

        Raises:
            SignalboxError: by kind; the earlier attempt is still open.
            LineTooLong: the local server's line is too long.
        """
        return await self._passed(run, decision, on_wait, failed=failed, request=request, on_late=on_late)

    async def wait_for_restart(self, run: RequestRun, on_wait: OnWait) -> None:
        """Wait for a local server that is starting (again), as long as it may take."""
        backend = self._backends["local"]
        if backend.is_starting:
            with backend.telling_start(on_wait):
                await within(
                    run.deadline, self._wait_for_local(LOCAL_BOOT_WAIT_S), "the local server was starting"
                )

    async def _passed(
        self,
        run: RequestRun,
        decision: RouteDecision,
        on_wait: OnWait,
        *,
        failed: Outcome | None = None,
        request: ChatRequest | None = None,
        on_late: Callable[[Attempt], None] | None = None,
    ) -> Attempt:
        side = decision.side
        assert side is not None
        settings, line = self._settings(), self._lines[side]
        rates = rates_of(settings, run.request, side, run.conversation, is_first=failed is None)
        began = time.perf_counter()
        waited = False
        slot: Slot | None = None

        def report_wait(waiting: Waiting) -> None:
            nonlocal waited
            waited = True
            on_wait(waiting)

        async def try_once() -> Attempt:
            nonlocal slot
            taken, slot = slot, None
            if side == "local" and taken is None:
                taken = await self._place_now()
            return await self._open(run, decision, failed, request, taken, on_late, has_waited=waited)

        while True:
            # Who waits for a place keeps nobody from the rates, and who waits for its turn keeps no place.
            if side == "local":
                slot = await self._place(run, decision, report_wait, time.perf_counter() - began)
                if rates and line.waiting:
                    slot.leave()
                    slot = None
            if not rates:
                attempt = await try_once()
                break
            try:
                attempt = await line.passed(
                    try_once,
                    max_waiting=settings.max_waiting_requests,
                    max_wait_s=settings.rate_max_wait_s,
                    deadline_left_s=run.deadline.left_s,
                    on_wait=report_wait,
                )
                break
            except _PlaceTaken:
                continue
        if waited:
            took_ms = (time.perf_counter() - began) * 1000
            run.steps.append(RequestStep(kind="waited", detail="Waited its turn", side=side, took_ms=took_ms))
        return attempt

    async def _place_now(self) -> Slot:
        """Take a place at the local server if one is free.

        Raises:
            _PlaceTaken: none is.
        """
        try:
            return await self._queue.enter(0)
        except (TimeoutError, QueueFull):
            raise _PlaceTaken from None

    async def _open(
        self,
        run: RequestRun,
        decision: RouteDecision,
        failed: Outcome | None,
        request: ChatRequest | None,
        slot: Slot | None,
        on_late: Callable[[Attempt], None] | None,
        *,
        has_waited: bool,
    ) -> Attempt:
        """Take a ticket, then write the row. Gives it and the place back if that fails."""
        side = decision.side
        assert side is not None
        breaker = self._backends[side].breaker(decision.model)
        ticket: Ticket | None = None
        attempt: Attempt | None = None

        def opened(admitted: Admission) -> Attempt:
            assert ticket is not None
            run.alerts.extend(admitted.alerts)
            return Attempt(
                number=admitted.attempt,
                decision=decision,
                side=side,
                request=sent,
                breaker=breaker,
                ticket=ticket,
                hold_nanodollars=admitted.hold_nanodollars or 0,
                hold_tokens=_tokens_held(decision),
                slot=slot,
                machine_time=self._machine.enter() if side == "local" else None,
            )

        def opened_late(admitted: Admission) -> None:
            nonlocal attempt
            attempt = opened(admitted)
            if on_late is not None:
                on_late(attempt)

        try:
            if has_waited and not breaker.allows:
                raise SideClosed("it failed while this request waited")
            sent, decision = self._phrased(run, decision, request)
            ticket = breaker.begin()
            return opened(await self._written(run, decision, failed, opened_late))
        except BaseException:  # raised again: whatever ended it, neither place nor ticket stays taken
            if attempt is None:
                if ticket is not None:
                    breaker.abandon(ticket)
                if slot is not None:
                    slot.leave()
            raise

    def _phrased(
        self, run: RequestRun, decision: RouteDecision, request: ChatRequest | None
    ) -> tuple[ChatRequest, RouteDecision]:
        assert run.prepared is not None
        sent, template = self._preparer.phrased(request or run.prepared.request, decision)
        if decision.template != template:  # its file was changed, or it is another attempt's decision
            decision = dataclasses.replace(decision, template=template)
        return sent, decision

    async def _written(
        self,
        run: RequestRun,
        decision: RouteDecision,
        failed: Outcome | None,
        on_late: Callable[[Admission], None],
    ) -> Admission:
        assert decision.side is not None
        assert decision.provider is not None
        settings, key = self._settings(), run.request.idempotency_key
        record = NewRequest(
            correlation_id=run.correlation_id,
            side=decision.side,
            provider=decision.provider,
            model=decision.model or decision.provider,
            decision=decision,
            source=run.request.source,
            project=run.request.project,
            conversation=run.conversation,
            idempotency_key=None if key is None else key_name(key),
        )
        hold = None
        if decision.side == "api":
            hold = HoldRequest(
                nanodollars=decision.api_estimate.hold_nanodollars,
                tokens=_tokens_held(decision),
                limits=limits_of(settings, run.request.project),
                alert_percents=alerts_of(settings),
            )
        elif failed is not None and run.attempt is not None and run.attempt.side == "api":
            # It holds nothing itself, but what it closes may have cost more than was held for it.
            hold = HoldRequest(
                nanodollars=0,
                limits=limits_of(settings, run.request.project),
                alert_percents=alerts_of(settings),
            )
        rates = rates_of(settings, run.request, decision.side, run.conversation, is_first=failed is None)
        if failed is None:
            return await self._ledger().begin(record, hold, rates=rates)
        assert run.attempt is not None
        # Being cancelled does not undo it: it comes to its end, and what it opened is settled.
        switch = self._ledger().switch_side(run.attempt.number, failed, record, hold, rates=rates)
        return await finish(switch, on_late)

    async def _place(
        self, run: RequestRun, decision: RouteDecision, on_wait: OnWait, waited_s: float = 0.0
    ) -> Slot:
        """Wait for a place at the local server: for long only where the API is no choice.

        ``waited_s`` is how long the request has waited already.

        Raises:
            LineTooLong: the API may be asked instead.
            QueueFull: so many wait already that no more may.
            DeadlineExceeded: the request's time was over first.
        """

        def report_place(ahead: int, expected_s: float | None) -> None:
            detail = f"{ahead} ahead at the local server." if ahead else "The local server is busy."
            on_wait(Waiting("local_queue", detail, expected_s, ahead))

        may_go_elsewhere = self._may_spill(run, decision)
        max_wait_s = self._settings().local_max_wait_s if may_go_elsewhere else None
        left_s = None if max_wait_s is None else max(0.0, max_wait_s - waited_s)
        try:
            return await within(
                run.deadline,
                self._queue.enter(left_s, report_place),
                "waiting for a place at the local server",
            )
        except TimeoutError:
            raise LineTooLong(f"no place came free in {max_wait_s:g} s") from None
        except QueueFull:
            if not may_go_elsewhere:
                raise
            raise LineTooLong(self._queue.state().crowd) from None

    def _may_spill(self, run: RequestRun, decision: RouteDecision) -> bool:
        return (
            not run.line_too_long
            and not run.fell_back
            and decision.fell_back_from is None
            and run.request.force is None
            and decision.mode != "local-only"
            and decision.api_available
            and not (decision.signals.in_tool_loop and decision.signals.conversation_side == "local")
        )

    async def _waited_for_local(
        self, run: RequestRun, signals: Signals, standing: QuotaSnapshot, on_wait: OnWait
    ) -> bool:
        """Wait for a server that is starting, if this request would go there once it is up."""
        assert run.prepared is not None
        if self._once_local_is_up(run.prepared, signals, standing) is None:
            return False
        await self.wait_for_restart(run, on_wait)
        return True

    def _once_local_is_up(
        self, prepared: PreparedRequest, signals: Signals, standing: QuotaSnapshot
    ) -> RouteDecision | None:
        """Return the decision for Local of a request that waits for a server that is starting, else ``None``."""
        state = self._state(prepared, signals, standing)
        if state.local.health != "starting":
            return None
        once_up = dataclasses.replace(state, local=dataclasses.replace(state.local, health="up"))
        decision = decide(signals, once_up, self._policy())
        return decision if decision.side == "local" else None

    def foresee(self, prepared: PreparedRequest, signals: Signals, standing: QuotaSnapshot) -> RouteDecision:
        """Return where the request would go if it were sent: one that nobody takes yet waits for Local to start."""
        decision = self.decide(prepared, signals, standing)
        if decision.side is not None:
            return decision
        return self._once_local_is_up(prepared, signals, standing) or decision

    async def _counted_by_local(self, run: RequestRun, decision: RouteDecision, signals: Signals) -> Signals:
        """Ask the local server's own count where the estimate fits into its context and the truth may not.

        What doesn't fit goes to the API then, instead of being sent and refused. The bound stays: another
        tokenizer may make more of it.
        """
        context_tokens = decision.local_context_tokens
        if context_tokens is None or room_needed(signals, signals.input_tokens_bound) <= context_tokens:
            return signals
        assert run.prepared is not None
        try:
            async with asyncio.timeout(COUNT_TIMEOUT_S):
                provider = await self._backends["local"].provider(decision.model)
                sent, _ = self._preparer.phrased(run.prepared.request, decision)
                counted = await provider.count_tokens(sent)
        except (SignalboxError, TimeoutError) as error:
            log.info("no count of the local server (%s), the estimate stands", error)
            return signals
        return dataclasses.replace(signals, input_tokens=counted)

    async def _counted(self, prepared: PreparedRequest, signals: Signals, standing: QuotaSnapshot) -> Signals:
        """Ask the provider's own count where the bound (a token a byte) didn't fit and the count may.

        Only for a request that would go to the API with enough money: what stays local is shown to nobody.
        """
        state = self._state(prepared, signals, standing)
        unlimited = dataclasses.replace(state, free_nanodollars=sys.maxsize, free_tokens=None)
        wanted = decide(signals, unlimited, self._policy())
        api = self._backends["api"]
        answer_alone = with_counted_input(signals, 0)
        least = api.state(prepared.request, answer_alone).estimate.hold_nanodollars or 0
        tokens_fit = standing.free_tokens is None or signals.max_output_tokens <= standing.free_tokens
        if wanted.side != "api" or least > standing.free_nanodollars or not tokens_fit:
            return signals
        try:
            async with asyncio.timeout(COUNT_TIMEOUT_S):
                provider = await api.provider(wanted.model)
                sent, _ = self._preparer.phrased(prepared.request, wanted)
                counted = await provider.count_tokens(dataclasses.replace(sent, model=wanted.model))
        except (SignalboxError, TimeoutError) as error:
            log.info("no exact count (%s), the bound stands", error)
            return signals
        image_count = sum(len(message.images) for message in sent.messages)
        if not is_believable_count(signals, counted, image_count=image_count):
            log.warning("a count of %d tokens is too low for this input, the bound stands", counted)
            return signals
        return with_counted_input(signals, counted)


def _tokens_held(decision: RouteDecision) -> int:
    """Return the most tokens that a request can take from the token budget."""
    if decision.side != "api":
        return 0
    return decision.signals.input_tokens_bound + decision.signals.max_output_tokens
