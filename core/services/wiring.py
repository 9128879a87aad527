"""Builds the router from its rooms, and keeps what the core needs of them at hand."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.local.gpu import GpuPower
from core.local.manager import LocalKeeper
from core.routing.admission import Admission, Track
from core.routing.backends import ApiSide, LocalSide
from core.routing.idempotency import KEEP_S, Answers
from core.routing.idempotency_store import KeptAnswers
from core.routing.machine_time import LocalMachine
from core.routing.observers import Watchers
from core.routing.output_check import Judge
from core.routing.preparation import Shaper
from core.routing.recovery import Following
from core.routing.router import Router
from core.routing.settlement import Settling
from core.structured.scoreboard import Scoreboard
from core.telemetry.metrics import Metrics
from core.telemetry.traces import Tracer

if TYPE_CHECKING:
    from core.chat import Side
    from core.ledger.ledger import Ledger
    from core.ledger.limits import BudgetAlert
    from core.pricing.prices import PriceTable
    from core.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    router: Router
    api: ApiSide
    local: LocalSide
    shaper: Shaper
    machine: LocalMachine
    power: GpuPower
    scoreboard: Scoreboard
    metrics: Metrics
    tracer: Tracer
    kept: KeptAnswers


def assemble(
    *,
    settings: Callable[[], Settings],
    ledger: Callable[[], Ledger],
    prices: PriceTable,
    home: Path,
    keeper: LocalKeeper,
    on_demand: bool,
    wait_for_local: Callable[[float], Awaitable[None]],
    on_change: Callable[[], None],
    on_alerts: Callable[[Sequence[BudgetAlert]], None],
) -> Assembled:
    """Return a router between two sides; ``settings`` and ``ledger`` are asked anew for each request."""
    scoreboard, metrics, tracer = Scoreboard(), Metrics(), Tracer()
    power = GpuPower()
    machine = LocalMachine(power)
    api = ApiSide(prices, scoreboard)
    local = LocalSide(keeper, machine, scoreboard, on_demand=on_demand)
    tracks: dict[Side, Track] = {"local": local, "api": api}
    shaper = Shaper(
        settings=settings,
        prices=prices,
        machine=machine,
        templates_folder=home / "templates",
        api_model=api.model_for,
        local_model=lambda: local.server_state.model,
        prefill_tokens_per_s=lambda: local.prefill_tokens_per_s,
    )
    judge = Judge(scoreboard)
    admission = Admission(
        settings=settings,
        ledger=ledger,
        tracks=tracks,
        shaper=shaper,
        queue=local.queue,
        machine=machine,
        wait_for_local=wait_for_local,
    )

    def keep_s() -> float:
        return settings().idempotency_keep_hours * 3600.0

    kept = KeptAnswers(home, keep_s)
    router = Router(
        settings=settings,
        ledger=ledger,
        tracks=tracks,
        admission=admission,
        shaper=shaper,
        settling=Settling(prices),
        judge=judge,
        watchers=Watchers(metrics, tracer, judge),
        following=Following(settings, admission),
        answers=Answers(time.monotonic, keep_s=lambda: keep_s() or KEEP_S),
        kept=kept,
        on_change=on_change,
        on_alerts=on_alerts,
    )
    return Assembled(
        router=router,
        api=api,
        local=local,
        shaper=shaper,
        machine=machine,
        power=power,
        scoreboard=scoreboard,
        metrics=metrics,
        tracer=tracer,
        kept=kept,
    )
