"""The machine's figures over the last 24 hours, downsampled, and what happened meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MetricName = Literal[
    "vram_used_bytes",
    "temperature_c",
    "utilization_percent",
    "power_w",
    "memory_bandwidth_percent",
    "cpu_percent",
    "memory_used_bytes",
    "kv_cache_percent",
    "running_requests",
    "waiting_requests",
    "generation_tokens_per_s",
    "api_nanodollars_per_hour",
    "machine_nanodollars_per_hour",
]
EventKind = Literal["start", "ready", "stop", "crash", "oom", "alert", "gpu_lost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """``times_s`` are POSIX seconds, ``values`` of the same length; ``None`` is a gap. ``gpu`` is an index."""

    metric: MetricName
    gpu: int | None
    times_s: tuple[float, ...]
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineEvent:
    at_s: float
    kind: EventKind
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The part of the history that was asked for."""

    from_s: float
    to_s: float
    series: tuple[Series, ...]
    events: tuple[MachineEvent, ...] = ()

    def find(self, metric: MetricName, gpu: int | None = None) -> Series | None:
        return next((one for one in self.series if one.metric == metric and one.gpu == gpu), None)
