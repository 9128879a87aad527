"""Serves the metrics, sends the traces, and keeps the gauges at what the status says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from core.errors import SignalboxError
from core.ledger.limits import SpendLimit
from core.services.status import CoreStatus, Problem
from core.telemetry.records import LimitGauge, MoneyGauges, QueueGauges

if TYPE_CHECKING:
    from core.ledger.limits import LimitUsage
    from core.routing.circuit_breaker import Breakers
    from core.settings import Settings
    from core.telemetry.metrics import Metrics
    from core.telemetry.traces import Tracer


class Monitoring:
    def __init__(self, metrics: Metrics, tracer: Tracer, breakers: Iterable[Breakers]) -> None:
        self._metrics = metrics
        self._tracer = tracer
        self._breakers = tuple(breakers)
        self._end_serving: Callable[[], None] | None = None
        self._port: int | None = None
        self._port_problem = ""

    def configure(self, settings: Settings) -> None:
        """Follow the settings: where traces go, and the port on which metrics are read."""
        self._tracer.configure(settings.otel_exporter_otlp_endpoint)
        self._serve(settings.metrics_port)

    async def settled(self) -> None:
        """Return once traces go where ``configure`` said, so that the first request has its own."""
        await self._tracer.settled()

    async def close(self) -> None:
        await self._tracer.close()
        self._serve(None)

    def problems(self) -> list[Problem]:
        return [
            Problem(kind="telemetry", title=title, message=text, hint="")
            for title, text in (
                ("Traces aren't sent", self._tracer.problem),
                ("Metrics aren't served", self._port_problem),
            )
            if text
        ]

    def show(self, status: CoreStatus) -> None:
        """Bring the gauges up to ``status``."""
        self._metrics.set_breakers(
            {key: phase for breakers in self._breakers for key, phase in breakers.phases().items()}
        )
        self._metrics.set_money(_money(status))
        queue = status.queue
        self._metrics.set_local_queue(
            QueueGauges(
                running=queue.running,
                waiting=queue.waiting,
                max_concurrent=queue.max_concurrent,
                expected_wait_s=queue.expected_wait_s,
            )
            if queue is not None
            else None
        )

    def _serve(self, port: int | None) -> None:
        if port == self._port:
            return
        if self._end_serving is not None:
            self._end_serving()
        self._end_serving, self._port, self._port_problem = None, port, ""
        if port is None:
            return
        try:
            self._end_serving = self._metrics.serve(port)
        except SignalboxError as error:
            self._port_problem = str(error)


def _money(status: CoreStatus) -> MoneyGauges | None:
    budget = status.budget
    if budget is None:
        return None
    return MoneyGauges(
        held_count=budget.held_count,
        held_nanodollars=budget.held_nanodollars,
        spent_nanodollars=budget.spent_nanodollars,
        unresolved_count=budget.unresolved_count,
        unresolved_nanodollars=budget.unresolved_nanodollars,
        unpriced_count=budget.unpriced_count,
        limits=tuple(_gauge(standing) for standing in status.limits),
    )


def _gauge(standing: LimitUsage) -> LimitGauge:
    limit = standing.limit
    spend = isinstance(limit, SpendLimit)
    return LimitGauge(
        name=limit.name,
        window=limit.window,
        used=standing.used,
        held=standing.held,
        limit=standing.amount,
        unit="dollars" if spend else "tokens",
        project=limit.project if spend else None,
    )
