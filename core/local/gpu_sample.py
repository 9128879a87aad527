"""What one look at the machine saw: each GPU, the processor, the memory. What is not known is ``None``."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Literal

GpuSource = Literal["nvml", "sysfs", "prometheus"]

POWER_LIMIT = "power limit"
HEAT = "temperature"
HARDWARE_HEAT = "temperature (hardware)"
HARDWARE_SLOWDOWN = "hardware slow-down"
POWER_BRAKE = "power brake"
SYNC_BOOST = "slowest card of its group"
ADVERSE_REASONS = frozenset({HEAT, HARDWARE_HEAT, HARDWARE_SLOWDOWN, POWER_BRAKE})
"""Reasons for low clocks that somebody should mend. A card at its power limit works as it is meant to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    pid: int
    name: str
    vram_used_bytes: int | None
    is_local_server: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """One GPU. Shares are percents from 0 to 100, clocks MHz, temperatures degrees Celsius, power watts.

    ``slowdown_temperature_c`` is the card's own threshold. ``lost``: it was there and does not answer any more;
    ``gone``: nor does the driver list it.
    ``ecc_errors`` are the uncorrected ones since the driver was loaded. ``throttle_reasons`` say why the clocks are
    held down, empty where nothing does; those of ``ADVERSE_REASONS`` are trouble. ``unified_memory``: it has no
    memory of its own. ``why`` says for a figure (by field name) why it is not there, where that is known.
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
    gone: bool = False
    why: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSurvey:
    """All GPUs at one moment. ``problem`` says in a sentence why none could be asked, empty where one was."""

    gpus: tuple[GpuReading, ...] = ()
    problem: str = ""
    driver_version: str | None = None
    cuda_version: str | None = None

    def without_figures(self, problem: str, why: str) -> GpuSurvey:
        """Return the same cards with nothing known of them but who they are: for a source that fell silent."""
        return replace(
            self,
            problem=problem,
            gpus=tuple(
                GpuReading(
                    index=gpu.index,
                    uuid=gpu.uuid,
                    name=gpu.name,
                    source=gpu.source,
                    unified_memory=gpu.unified_memory,
                    why=tuple((name, why) for name in GPU_FIGURES),
                )
                for gpu in self.gpus
            ),
        )


GPU_FIGURES = tuple(
    one.name
    for one in fields(GpuReading)
    if one.name not in ("index", "uuid", "name", "source", "unified_memory", "lost", "gone", "why")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReading:
    """The computer Signalbox runs on: percents of all cores, bytes."""

    cpu_percent: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFigures:
    """The local server's own figures: vLLM's or llama.cpp's ``/metrics``.

    Tokens a second are those since the look before; ``prefix_cache_hit_percent`` and ``ttft_ms`` (the mean time to
    the first token) are of the last minute's requests, ``None`` where there were none.
    """

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
