"""Tells log, metrics, traces and the scoreboard what became of a request. Nothing here can fail a request."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from core.chat import ChatResult
from core.errors import SignalboxError
from core.ledger.models import Outcome
from core.pricing.money import format_cost
from core.pricing.spending import unsettled_amount
from core.routing.request_run import Attempt, RequestObservation, RequestRun
from core.telemetry.logs import printable
from core.telemetry.records import RequestRecord, RequestStatus

if TYPE_CHECKING:
    from core.routing.output_check import OutputChecker
    from core.telemetry.metrics import Metrics
    from core.telemetry.traces import Tracer


log = logging.getLogger(__name__)


class RequestObservers:
    def __init__(self, metrics: Metrics, tracer: Tracer, checker: OutputChecker) -> None:
        self._metrics = metrics
        self._tracer = tracer
        self._checker = checker

    def began(self, run: RequestRun) -> None:
        run.watch = RequestObservation(
            self._tracer.request(
                correlation_id=run.correlation_id, model=run.request.model, side=run.request.force
            )
        )

    def attempt_began(self, run: RequestRun, attempt: Attempt) -> None:
        watch = run.watch
        assert watch is not None, "the request has begun"
        watch.attempts += 1
        watch.attempt = watch.trace.attempt(attempt.decision, watch.attempts)

    def attempt_ended(self, run: RequestRun, outcome: Outcome) -> None:
        watch = run.watch
        if watch is not None and watch.attempt is not None:
            watch.attempt.end(
                status=outcome.status,
                error_kind=outcome.error_kind,
                served_model=outcome.model,
                ttft_ms=outcome.ttft_ms,
            )
            watch.attempt = None

    def ended(
        self,
        run: RequestRun,
        status: RequestStatus,
        result: ChatResult | None,
        error: SignalboxError | None = None,
    ) -> None:
        """Tell once how the request ended; ``result`` is whole, partial, or ``None`` where nothing was sent."""
        record = _record(run, status, result, error)
        log.info("%s", _log_line(record))
        self._metrics.request_finished(record)
        self._checker.conclude(run, record.cost_nanodollars)
        if run.watch is not None:
            run.watch.trace.finish(record)


def _log_line(record: RequestRecord) -> str:
    """Say in one line where a request went and what became of it: ``done: anthropic claude-… (complex), …``."""
    model = printable(record.served_model or record.model or "")
    said = [f"{record.provider or 'not sent'} {model}".rstrip()]
    if record.rule is not None:
        said[0] += f" ({record.rule})"
    if record.replayed:
        return f"replayed: {said[0]}, nothing sent or paid"
    if record.usage is not None:
        said.append(f"{record.usage.input_tokens:,} in, {record.usage.output_tokens:,} out")
    if record.unresolved_nanodollars:
        said.append(f"{unsettled_amount(record.unresolved_nanodollars)} not settled")
    elif record.side == "api":
        said.append("cost not known" if record.usage is None else format_cost(record.cost_nanodollars))
    if record.latency_ms is not None:
        said.append(f"{record.latency_ms:.0f} ms")
    status = f"{record.status}, {record.error_kind}" if record.error_kind else record.status
    return f"{status}: {', '.join(said)}"


def _record(
    run: RequestRun, status: RequestStatus, result: ChatResult | None, error: SignalboxError | None
) -> RequestRecord:
    decision = result.decision if result is not None else run.decision
    economy = decision.economy if decision is not None else None
    usage = result.usage if result is not None else None
    if run.earlier_usage is not None:
        usage = run.earlier_usage if usage is None else run.earlier_usage + usage
    kinds = [step.kind for step in run.steps]
    return RequestRecord(
        correlation_id=run.correlation_id,
        status=status,
        source=run.request.source,
        project=run.request.project,
        side=result.side if result is not None else None,
        provider=result.provider if result is not None else None,
        model=decision.model if decision is not None else run.request.model,
        served_model=result.model if result is not None else None,
        rule=decision.rule if decision is not None else None,
        error_kind=error.kind if error is not None else None,
        finish_reason=result.finish_reason if result is not None and status == "done" else None,
        usage=usage,
        cost_nanodollars=result.cost_nanodollars if result is not None else 0,
        loaded_nanodollars=result.loaded_nanodollars if result is not None else None,
        unresolved_nanodollars=result.unresolved_nanodollars
        if result is not None and not result.replayed
        else run.unresolved_nanodollars,
        latency_ms=result.latency_ms if result is not None else None,
        ttft_ms=result.ttft_ms if result is not None else None,
        output_tokens_per_s=result.output_tokens_per_s if result is not None else None,
        queued_ms=sum(step.took_ms for step in run.steps),
        wait_reasons=tuple(sorted(run.wait_reasons)),
        fell_back_from=decision.fell_back_from if decision is not None else None,
        retries=run.retries,
        repairs=kinds.count("repaired") + kinds.count("asked_again"),
        replayed=result.replayed if result is not None else False,
        saved_tokens=economy.saved_tokens if economy is not None else 0,
        saved_nanodollars=economy.saved_nanodollars if economy is not None else None,
    )
