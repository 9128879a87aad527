"""Builds the router from its rooms, and keeps what the core needs of them at hand."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.local.crash_suspects import CrashSuspects
from core.local.gpu import GpuPower, GpuSampler
from core.local.local_gpus import LocalGpus
from core.local.manager import LocalServerManager
from core.routing.admission import AdmissionControl, Backend
from core.routing.backends import ApiBackend, LocalBackend
from core.routing.idempotency import KEEP_S, IdempotencyGuard, ResponseCache
from core.routing.idempotency_store import IdempotencyStore
from core.routing.local_queue import LocalQueue
from core.routing.machine_time import CostMeter
from core.routing.observers import RequestObservers
from core.routing.output_check import OutputChecker
from core.routing.preparation import RequestPreparer
from core.routing.recovery import Backoff, RecoveryPlanner
from core.routing.router import Router
from core.routing.settlement import Settlement
from core.structured.scoreboard import Scoreboard
from core.telemetry.metrics import Metrics
from core.telemetry.traces import Tracer

if TYPE_CHECKING:
    from core.chat import Side
    from core.ledger.ledger import Ledger
    from core.ledger.limits import BudgetAlert
    from core.pricing.prices import PriceTable
    from core.settings import SettingProblem, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    router: Router
    api: ApiBackend
    local: LocalBackend
    preparer: RequestPreparer
    machine: CostMeter
    gpus: GpuSampler
    scoreboard: Scoreboard
    metrics: Metrics
    tracer: Tracer
    kept: IdempotencyStore


def assemble(
    *,
    settings: Callable[[], Settings],
    closing: Callable[[], Sequence[SettingProblem]],
    ledger_problem: Callable[[], str | None],
    ledger: Callable[[], Ledger],
    prices: PriceTable,
    home: Path,
    server_manager: LocalServerManager,
    on_demand: bool,
    wait_for_local: Callable[[float], Awaitable[None]],
    on_change: Callable[[], None],
    on_alerts: Callable[[Sequence[BudgetAlert]], None],
) -> Assembled:
    """Return a router between two sides; ``settings``, ``closing`` and ``ledger`` are asked anew for each request.

    ``closing`` are the settings that can't be read and close the API side, ``ledger_problem`` why the ledger does.
    """
    scoreboard, metrics, tracer = Scoreboard(), Metrics(), Tracer()
    gpus = GpuSampler(LocalGpus(lambda: server_manager.state).look)
    machine = CostMeter(GpuPower(gpus))
    api = ApiBackend(prices, scoreboard, closing=closing, ledger_problem=ledger_problem)
    local = LocalBackend(server_manager, machine, scoreboard, on_demand=on_demand)
    backends: dict[Side, Backend] = {"local": local, "api": api}
    preparer = RequestPreparer(
        settings=settings,
        prices=prices,
        machine=machine,
        templates_folder=home / "templates",
        api_model=api.model_for,
        local_model=lambda: local.server_state.model,
        prefill_tokens_per_s=lambda: local.prefill_tokens_per_s,
    )

    def keep_s() -> float:
        return settings().idempotency_keep_hours * 3600.0

    kept = IdempotencyStore(home, keep_s)
    router = make_router(
        settings=settings,
        ledger=ledger,
        prices=prices,
        backends=backends,
        preparer=preparer,
        queue=local.queue,
        machine=machine,
        scoreboard=scoreboard,
        metrics=metrics,
        tracer=tracer,
        wait_for_local=wait_for_local,
        answers=ResponseCache(time.monotonic, keep_s=lambda: keep_s() or KEEP_S),
        kept=kept,
        suspects=server_manager.suspects,
        on_change=on_change,
        on_alerts=on_alerts,
    )
    return Assembled(
        router=router,
        api=api,
        local=local,
        preparer=preparer,
        machine=machine,
        gpus=gpus,
        scoreboard=scoreboard,
        metrics=metrics,
        tracer=tracer,
        kept=kept,
    )


def make_router(
    *,
    settings: Callable[[], Settings],
    ledger: Callable[[], Ledger],
    prices: PriceTable,
    backends: dict[Side, Backend],
    preparer: RequestPreparer,
    queue: LocalQueue,
    machine: CostMeter,
    scoreboard: Scoreboard,
    metrics: Metrics,
    tracer: Tracer,
    wait_for_local: Callable[[float], Awaitable[None]],
    answers: ResponseCache,
    kept: IdempotencyStore | None = None,
    suspects: CrashSuspects | None = None,
    backoff: Backoff | None = None,
    on_change: Callable[[], None] = lambda: None,
    on_alerts: Callable[[Sequence[BudgetAlert]], None] = lambda _: None,
) -> Router:
    """Return a router between ``backends``, whatever they are: what it is made of is joined here only."""
    checker = OutputChecker(scoreboard)
    admission = AdmissionControl(
        settings=settings,
        ledger=ledger,
        backends=backends,
        preparer=preparer,
        queue=queue,
        machine=machine,
        wait_for_local=wait_for_local,
    )
    return Router(
        settings=settings,
        ledger=ledger,
        backends=backends,
        admission=admission,
        preparer=preparer,
        settlement=Settlement(prices),
        checker=checker,
        observers=RequestObservers(metrics, tracer, checker),
        recovery=RecoveryPlanner(settings, admission, backoff),
        repeats=IdempotencyGuard(answers, kept, ledger),
        suspects=suspects or CrashSuspects(),
        on_change=on_change,
        on_alerts=on_alerts,
    )
