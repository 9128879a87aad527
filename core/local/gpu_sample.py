"""What one look at the machine saw: each GPU, the processor, the memory. What is not known is ``None``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

GpuSource = Literal["nvml", "sysfs", "prometheus"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    pid: int
    name: str
    vram_used_bytes: int | None
    is_local_server: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """One GPU. Shares are percents from 0 to 100, clocks MHz, temperatures degrees Celsius, power watts.

    ``slowdown_temperature_c`` is the card's own threshold. ``lost``: it was there and does not answer any more.
    ``why`` says for a figure (by field name) why it is not there, where that is known.
    """

    index: int
    uuid: str
    name: str
    source: GpuSource
    vram_total_bytes: int | None = None
    vram_used_bytes: int | None = None
    vram_reserved_bytes: int | None = None
    vram_free_bytes: int | None = None
    temperature_c: float | None = None
    slowdown_temperature_c: float | None = None
    utilization_percent: float | None = None
    memory_bandwidth_percent: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    fan_percent: float | None = None
    ecc_errors: int | None = None
    throttle_reasons: tuple[str, ...] | None = None
    processes: tuple[GpuProcess, ...] | None = None
    mig: bool | None = None
    unified_memory: bool = False
    lost: bool = False
    why: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReading:
    """The computer Signalbox runs on: percents of all cores, bytes."""

    cpu_percent: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFigures:
    """The local server's own figures: vLLM's ``/metrics``, or what is measured here (tokens/s of answers)."""

    running_requests: int | None = None
    waiting_requests: int | None = None
    kv_cache_percent: float | None = None
    generation_tokens_per_s: float | None = None
    prompt_tokens_per_s: float | None = None
    prefix_cache_hit_percent: float | None = None
    ttft_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSample:
    """``at`` in UTC. ``gpu_problem`` says in a sentence why no GPU could be asked, empty where one was.

    ``api_nanodollars_per_hour`` and ``machine_nanodollars_per_hour`` are rates now (cash of the API over the last
    minutes; the machine's rent or wear, power and ops time), ``None`` where unknown.
    """

    at: datetime
    gpus: tuple[GpuReading, ...] = ()
    gpu_problem: str = ""
    driver_version: str | None = None
    cuda_version: str | None = None
    host: HostReading = HostReading()
    server: ServerFigures = ServerFigures()
    api_nanodollars_per_hour: int | None = None
    machine_nanodollars_per_hour: int | None = None
