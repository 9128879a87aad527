"""What is tried after an attempt that ended before the caller saw a piece of it, best first.

- *Turned away* (``RateLimited``, ``Overloaded``): sent again to the same side after a short, jittered wait, at most
  ``MAX_RETRIES`` times in all; not where the server asks for a longer wait than that.
- *Unavailable* (connection, 5xx, silence): the other side at once, if it may be asked; else again as above, unless
  the request may be running (and be billed) already.
- *Invalid* (its answer breaks the schema): asked again once, with what was wrong; then the API, if it was Local.
- Then the other side, once, if the mode allows it; it passes the same limits. Never for the caller's own errors.
"""

from __future__ import annotations

import dataclasses
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.chat import ChatRequest, RouteDecision, Side, StepKind
from core.errors import LedgerUnavailable, Overloaded, RateLimited, SignalboxError, TransientFailure
from core.routing.policy import NAMES
from core.routing.request_run import Attempt, OutputCheck, RequestRun

if TYPE_CHECKING:
    from core.routing.admission import AdmissionControl
    from core.settings import Settings


_MAX_DOUBLINGS = 32  # keeps 2**n a small number, whatever is asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Exponential backoff with full jitter.

    The wait before retry ``n`` is drawn evenly from 0 to ``min(cap_s, base_s * 2**(n - 1))`` seconds. Of the
    schemes that M. Brooker compares in "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015), it has the
    fewest calls in total. ``random`` returns a number from 0 to below 1.
    """

    base_s: float = 0.25
    cap_s: float = 8.0
    random: Callable[[], float] = random.random

    def delay_s(self, retry_number: int, retry_after_s: float | None = None) -> float | None:
        """Return the seconds to wait before retry ``retry_number`` (1 is the first).

        A server's Retry-After is waited for in full, and the jitter comes on top of it, so that all who were
        turned away together do not come back together. ``None``: it asks for more than ``cap_s``, which is too
        long to wait; go elsewhere.
        """
        spread_s = min(self.cap_s, self.base_s * 2.0 ** min(max(0, retry_number - 1), _MAX_DOUBLINGS))
        jitter_s = self.random() * spread_s
        if retry_after_s is None:
            return jitter_s
        return None if retry_after_s > self.cap_s else max(0.0, retry_after_s) + jitter_s


log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NextAttempt:
    """The attempt that is tried after one that ended badly: the same request again, or another phrasing of it."""

    kind: StepKind
    decision: RouteDecision
    detail: str
    request: ChatRequest | None = None
    wait_s: float = 0.0


class RecoveryPlanner:
    """``settings`` are asked anew for each request."""

    def __init__(
        self, settings: Callable[[], Settings], admission: AdmissionControl, backoff: Backoff | None = None
    ) -> None:
        self._settings = settings
        self._admission = admission
        self._backoff = backoff or Backoff()

    async def after(
        self, run: RequestRun, failed: Attempt, failure: SignalboxError, check_result: OutputCheck | None
    ) -> list[NextAttempt]:
        """Return what may be tried next, best first."""
        if check_result is not None:
            again = await self._asked_again(run, failed, check_result)
            stronger = await self._stronger(run, failed, failure)
            return [again, *stronger] if again is not None else stronger
        assert isinstance(failure, TransientFailure)
        other = await self._fallback(run, failed, failure)
        again = self._retry(run, failed, failure)
        if again is not None and other is None:
            return [again]
        if again is not None and isinstance(failure, RateLimited | Overloaded):
            return [again, *([other] if other else [])]
        return [other] if other else []

    def _retry(self, run: RequestRun, failed: Attempt, failure: TransientFailure) -> NextAttempt | None:
        if run.retries >= self._settings().max_retries:
            return None
        if failed.side == "api" and (failure.may_be_billed or failed.answer.begun):
            return None  # it may be running there, or has been: sent again, it would be paid twice
        wait_s = self._backoff.delay_s(run.retries + 1, failure.retry_after_s)
        left_s = run.deadline.left_s
        if wait_s is None or (left_s is not None and wait_s >= left_s):
            return None
        if failure.retry_after_s is None and not failed.breaker.allows:
            return None
        return NextAttempt(
            kind="retried",
            decision=failed.decision,
            detail=f"{NAMES[failed.side]} {_what(failure)}: {failure.own_message.rstrip('.')}",
            wait_s=wait_s,
        )

    def _may_cross(self, run: RequestRun) -> bool:
        settings = self._settings()
        return (
            settings.enable_fallback
            and not run.fell_back
            and run.request.force is None
            and settings.routing_mode not in ("local-only", "api-only")
        )

    async def _fallback(
        self, run: RequestRun, failed: Attempt, failure: SignalboxError
    ) -> NextAttempt | None:
        """Return the attempt on the other side, ``None`` where no fallback is allowed or possible."""
        if not self._may_cross(run):
            return None
        assert run.prepared is not None
        other: Side = "api" if failed.side == "local" else "local"
        signals = dataclasses.replace(failed.decision.signals, force=other)
        try:
            standing = await self._admission.standing(run.request.project)
        except LedgerUnavailable as trouble:
            log.warning("no fallback, %s", trouble)
            return None
        second = self._admission.decide(run.prepared, signals, standing)
        if second.refusal == "budget":
            signals, second = await self._admission.decided_near_limit(run, signals, standing)
        if second.side is None or (other == "api" and not second.api_available):
            return None  # what is known to turn it away would only hide why it failed here
        message = failure.own_message.rstrip(".")  # it is kept in the ledger
        second = dataclasses.replace(
            second,
            signals=dataclasses.replace(signals, force=failed.decision.signals.force),
            rule="unavailable",
            reason=f"{NAMES[failed.side]} unavailable: {message}",
            fell_back_from=failed.side,
        )
        return NextAttempt(
            kind="fell_back", decision=second, detail=f"{NAMES[failed.side]} failed: {message}"
        )

    async def _asked_again(
        self, run: RequestRun, failed: Attempt, check_result: OutputCheck
    ) -> NextAttempt | None:
        if run.asked_again or run.fell_back or check_result.asking_again is None:
            return None
        assert run.prepared is not None
        # The bad answer goes along, so the question is longer and its worst case higher.
        longer = dataclasses.replace(run.prepared, request=check_result.asking_again)
        signals = self._admission.signals(longer)
        try:
            standing = await self._admission.standing(run.request.project)
        except LedgerUnavailable as trouble:
            log.warning("not asked again, %s", trouble)
            return None
        anew = self._admission.decide(longer, dataclasses.replace(signals, force=failed.side), standing)
        if anew.side is None:
            return None
        return NextAttempt(
            kind="asked_again",
            decision=dataclasses.replace(
                failed.decision,
                signals=signals,
                api_estimate=anew.api_estimate,
                local_estimate=anew.local_estimate,
            ),
            detail=f"Asked {NAMES[failed.side]} again: {check_result.problems[0]}",
            request=check_result.asking_again,
        )

    async def _stronger(self, run: RequestRun, failed: Attempt, failure: SignalboxError) -> list[NextAttempt]:
        """After a repair and asking again: the API may get right what the local model did not."""
        if failed.side == "api":
            return []
        other = await self._fallback(run, failed, failure)
        if other is None:
            return []
        decision = dataclasses.replace(
            other.decision, rule="capability", reason="Can't serve: Local's answers didn't match the schema"
        )
        return [dataclasses.replace(other, decision=decision)]


def _what(failure: TransientFailure) -> str:
    """A server that nobody reached turned nothing away."""
    return "turned it away" if isinstance(failure, RateLimited | Overloaded) else "didn't take it"
