"""What one look at the machine says of each thing that can raise an alert: over its threshold, under it, unknown.

Pure functions; ``core.local.alert_engine`` adds up for how long it has been so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.base.text import in_memory_gb, memory_size
from core.local.alerts import AlertAction, AlertKind
from core.local.gpu_sample import ADVERSE_REASONS, GpuReading, MachineSample, ServerFigures
from core.local.server import ServerState

if TYPE_CHECKING:
    from core.settings import Settings

BELOW_SLOWDOWN_C = 3
PERCENT_MARGIN = 5.0
TEMPERATURE_MARGIN_C = 3.0
QUEUE_MARGIN = 0.5
"""A share of the threshold: a line of ten is well under it at five."""
STATE_AFTER_S = 5.0
"""What is no figure but a fact (a GPU that is gone, a server that failed) needs no longer to be believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Percents, degrees Celsius (``None``: 3 below what the card says), requests and seconds."""

    vram_percent: float = 85
    temperature_c: float | None = None
    kv_cache_percent: float = 95
    queue_requests: int = 10
    after_s: float = 10.0

    @classmethod
    def of(cls, settings: Settings) -> Thresholds:
        return cls(
            vram_percent=settings.vram_alert_percent,
            temperature_c=settings.temperature_alert_c,
            kv_cache_percent=settings.kv_cache_alert_percent,
            queue_requests=settings.queue_alert_requests,
            after_s=settings.alert_after_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a sample says of one matter.

    ``over`` and ``clear`` are both false between the threshold and the margin under it, and both ``None`` where it
    is not known. ``subject`` and ``figure`` make the text (``GPU 0 memory``, ``22.1 of 24.0 GB``), ``limit`` ends
    it (``over 85 %``), ``note`` follows. Without a ``figure`` the ``note`` is the text. ``level`` is the figure as
    a number. With ``has_to_rise`` it is only told of while it grows, or after three times as long.
    """

    kind: AlertKind
    gpu: int | None = None
    over: bool | None
    clear: bool | None
    title: str
    subject: str = ""
    figure: str = ""
    limit: str = ""
    note: str = ""
    level: float = 0.0
    action: AlertAction = ""
    after_s: float
    has_to_rise: bool = False


def looks(
    sample: MachineSample, server: ServerState, thresholds: Thresholds, *, was_used: bool
) -> tuple[Look, ...]:
    """Return what ``sample`` says. What is not there (no such GPU, a server that is not ready) has no look.

    ``was_used``: somebody started the server, or it was ready; one that was never there is no alert when it fails.
    """
    found: list[Look] = []
    for gpu in sample.gpus:
        found += _of_gpu(gpu, server, thresholds)
    if server.phase == "ready":
        found += _of_figures(sample.server, thresholds)
    found += _of_server(server, thresholds, was_used=was_used)
    return tuple(found)


def _of_gpu(gpu: GpuReading, server: ServerState, thresholds: Thresholds) -> Iterator[Look]:
    name = f"GPU {gpu.index}"
    yield _vram(gpu, name, server, thresholds)
    if (temperature := _temperature(gpu, name, thresholds)) is not None:
        yield temperature
    reasons = None if gpu.lost else gpu.throttle_reasons
    harmful = [reason for reason in reasons or () if reason in ADVERSE_REASONS]
    yield Look(
        kind="throttling",
        gpu=gpu.index,
        over=None if reasons is None else bool(harmful),
        clear=None if reasons is None else not harmful,
        title=f"{name} is throttling",
        subject=f"{name} slows itself down",
        figure=", ".join(harmful),
        note="Answers take longer meanwhile.",
        level=1.0,
        action="drain",
        after_s=thresholds.after_s,
    )
    yield Look(
        kind="gpu_lost",
        gpu=gpu.index,
        over=gpu.lost,
        clear=not gpu.lost,
        title=f"{name} does not answer any more",
        note=f"{gpu.name} was there and does not answer its driver any more. What runs on it may hang: send to the "
        "API until it is back, and look at the driver's log (dmesg).",
        action="drain",
        after_s=min(thresholds.after_s, STATE_AFTER_S),
    )


def _temperature(gpu: GpuReading, name: str, thresholds: Thresholds) -> Look | None:
    """A card that says its temperature and has no threshold is not looked at; a silent one may have had one."""
    limit_c, slowdown_c = thresholds.temperature_c, gpu.slowdown_temperature_c
    if limit_c is None and slowdown_c is not None:
        limit_c = slowdown_c - BELOW_SLOWDOWN_C
    now_c = None if gpu.lost else gpu.temperature_c
    over = clear = None
    if now_c is not None:
        if limit_c is None:
            return None
        over, clear = now_c >= limit_c, now_c < limit_c - TEMPERATURE_MARGIN_C
    return Look(
        kind="temperature",
        gpu=gpu.index,
        over=over,
        clear=clear,
        title=f"{name} is hot",
        subject=f"{name} temperature",
        figure="" if now_c is None else f"{now_c:.0f} °C",
        limit="" if limit_c is None else f"over {limit_c:g} °C",
        note="" if slowdown_c is None else f"The card slows down at {slowdown_c:g} °C.",
        level=now_c or 0.0,
        action="drain",
        after_s=thresholds.after_s,
    )


def _vram(gpu: GpuReading, name: str, server: ServerState, thresholds: Thresholds) -> Look:
    used, total = gpu.vram_used_bytes, gpu.vram_total_bytes
    percent = None if gpu.lost or used is None or not total else 100 * used / total
    ours = any(process.is_local_server for process in gpu.processes or ())
    note = ""
    if ours and server.kind == "embedded":
        note = "The local model is in it."
    elif ours:
        note = (
            "vLLM sets its share of it aside by design (gpu_memory_utilization), so this stays while it runs: "
            "snooze it, or raise the threshold."
        )
    return Look(
        kind="vram",
        gpu=gpu.index,
        over=None if percent is None else percent >= thresholds.vram_percent,
        clear=None if percent is None else percent < thresholds.vram_percent - PERCENT_MARGIN,
        title=f"{name} memory is over {thresholds.vram_percent:g} %",
        subject=f"{name} memory",
        figure="" if used is None or total is None else f"{in_memory_gb(used)} of {memory_size(total)}",
        limit=f"over {thresholds.vram_percent:g} %",
        note=note,
        level=percent or 0.0,
        action="drain",
        after_s=thresholds.after_s,
    )


def _of_figures(figures: ServerFigures, thresholds: Thresholds) -> Iterator[Look]:
    percent, waiting = figures.kv_cache_percent, figures.waiting_requests
    yield Look(
        kind="kv_cache",
        over=None if percent is None else percent >= thresholds.kv_cache_percent,
        clear=None if percent is None else percent < thresholds.kv_cache_percent - PERCENT_MARGIN,
        title="The KV cache is nearly full",
        subject="KV cache",
        figure="" if percent is None else f"{percent:.0f} % in use",
        limit=f"over {thresholds.kv_cache_percent:g} %",
        note="Requests wait for room, or are computed again.",
        level=percent or 0.0,
        action="drain",
        after_s=thresholds.after_s,
    )
    most = thresholds.queue_requests
    yield Look(
        kind="queue",
        over=None if waiting is None else waiting >= most,
        clear=None if waiting is None else waiting < max(1.0, most * QUEUE_MARGIN),
        title="The local server's queue is long",
        subject="Local queue",
        figure="" if waiting is None else f"{waiting:,} waiting",
        limit=f"{most:,} or more",
        level=float(waiting or 0),
        action="drain",
        after_s=thresholds.after_s,
        has_to_rise=True,
    )


def _of_server(server: ServerState, thresholds: Thresholds, *, was_used: bool) -> Iterator[Look]:
    if server.kind == "none":
        return
    known = server.phase not in ("starting", "stopping")
    failed = server.phase == "failed" and was_used
    failure = server.failure
    is_unhealthy = failed and failure is not None and failure.kind == "unhealthy"
    what = failure.what if failure is not None else server.detail
    fix = failure.fix if failure is not None else server.hint
    note = f"{what.rstrip('.') or 'The local server failed'}. {fix}".strip()
    # Nobody here starts somebody else's server.
    verbs = frozenset[str]() if server.kind == "external" else server.verbs
    yield Look(
        kind="unhealthy",
        over=is_unhealthy if known else None,
        clear=not is_unhealthy if known else None,
        title="The local server is not healthy",
        note=note,
        action="restart" if "restart" in verbs else "",
        after_s=min(thresholds.after_s, STATE_AFTER_S),
    )
    has_failed = failed and not is_unhealthy
    yield Look(
        kind="server_failed",
        over=has_failed if known else None,
        clear=not has_failed if known else None,
        title="The local server failed",
        note=note,
        action="start" if "start" in verbs else "",
        after_s=min(thresholds.after_s, STATE_AFTER_S),
    )
