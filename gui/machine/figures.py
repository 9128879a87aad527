"""How the machine's figures are written: with their unit, and where one is not known, why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from core import MEMORY_GB, counted, format_cost, in_memory_gb
from gui.widgets.formatting import speed

if TYPE_CHECKING:
    from core import GpuReading, HostReading, MachineSample, ServerFigures

NOT_REPORTED = "this card does not report it"


def whole_gigabytes(size_bytes: float) -> str:
    """Return ``24 GB`` for a card of 23.99."""
    return f"{round(size_bytes / MEMORY_GB)} GB"


def why_not(gpu: GpuReading, field: str) -> str:
    """Return why a figure of a card is not there."""
    if gpu.lost:
        return "the GPU does not answer"
    return dict(gpu.why).get(field) or NOT_REPORTED


def not_available(why: str) -> str:
    return f"Not available: {why}" if why else "Not available"


def vram_words(gpu: GpuReading) -> tuple[str, str]:
    """Return the present value and what follows it, as ``9.8`` and ``GB of 24.0``."""
    if gpu.vram_used_bytes is None or gpu.lost:
        return "", not_available(why_not(gpu, "vram_used_bytes"))
    of = f" of {in_memory_gb(gpu.vram_total_bytes)}" if gpu.vram_total_bytes else ""
    return in_memory_gb(gpu.vram_used_bytes), f"GB{of}"


def temperature_words(gpu: GpuReading) -> tuple[str, str]:
    if gpu.temperature_c is None or gpu.lost:
        return "", not_available(why_not(gpu, "temperature_c"))
    limit = gpu.slowdown_temperature_c
    return f"{gpu.temperature_c:.0f}", "°C" if limit is None else f"°C · slows down at {limit:.0f}"


def utilization_words(gpu: GpuReading) -> tuple[str, str]:
    if gpu.utilization_percent is None or gpu.lost:
        return "", not_available(why_not(gpu, "utilization_percent"))
    return f"{gpu.utilization_percent:.0f}", "%"


def power_words(gpu: GpuReading) -> tuple[str, str]:
    if gpu.power_w is None or gpu.lost:
        return "", not_available(why_not(gpu, "power_w"))
    return f"{gpu.power_w:.0f}", "W" if gpu.power_limit_w is None else f"W of {gpu.power_limit_w:.0f}"


def cpu_words(host: HostReading) -> tuple[str, str]:
    return ("", "Not available") if host.cpu_percent is None else (f"{host.cpu_percent:.0f}", "%")


def memory_words(host: HostReading) -> tuple[str, str]:
    if host.memory_used_bytes is None:
        return "", "Not available"
    of = f" of {in_memory_gb(host.memory_total_bytes)}" if host.memory_total_bytes else ""
    return in_memory_gb(host.memory_used_bytes), f"GB{of}"


def speed_words(server: ServerFigures) -> tuple[str, str]:
    if server.generation_tokens_per_s is None:
        silent = server.running_requests is None
        return "", not_available(
            "the local server reports nothing now" if silent else "the local server does not report it"
        )
    number, _, unit = speed(server.generation_tokens_per_s).partition(" ")
    return number, unit


def money_words(sample: MachineSample) -> tuple[str, str]:
    """Return both rates: ``$0.42`` and ``API · $0.31 machine``."""
    api, machine = sample.api_nanodollars_per_hour, sample.machine_nanodollars_per_hour
    told = "machine not known" if machine is None else f"{format_cost(machine)} machine"
    return ("", f"API not available · {told}") if api is None else (format_cost(api), f"API · {told}")


def server_words(server: ServerFigures) -> str:
    """Return the local server's own figures in a line, with those that are known; empty where none is."""
    parts: list[str] = []
    idle = server.running_requests == 0 and not server.waiting_requests
    if idle:
        parts.append("idle")
    for number, word in ((server.running_requests, "running"), (server.waiting_requests, "waiting")):
        if number is not None and not idle:
            parts.append(f"{number:,} {word}")
    if server.kv_cache_percent is not None:
        parts.append(f"KV cache {server.kv_cache_percent:.0f} %")
    for rate, way in ((server.generation_tokens_per_s, "out"), (server.prompt_tokens_per_s, "in")):
        if rate is not None and (rate or not idle):
            parts.append(f"{speed(rate)} {way}")
    if server.prefix_cache_hit_percent is not None:
        parts.append(f"prefix cache {server.prefix_cache_hit_percent:.0f} %")
    if server.ttft_ms is not None:
        parts.append(f"first token {server.ttft_ms:,.0f} ms")
    return " · ".join(parts)


def card_words(gpu: GpuReading, sample: MachineSample, metrics_url: str | None) -> str:
    """Return what a card is: ``NVIDIA RTX 4090 · 24 GB · driver 570.86``, and from where it is told of."""
    parts = [gpu.name]
    if gpu.vram_total_bytes:
        parts.append(whole_gigabytes(gpu.vram_total_bytes))
    if gpu.unified_memory:
        parts.append("memory shared with the processor")
    if sample.driver_version and gpu.source != "prometheus":
        parts.append(f"driver {sample.driver_version}")
    if gpu.source == "prometheus":
        host = urlsplit(metrics_url or "").netloc.rpartition("@")[2]
        parts.append(f"from {host}" if host else "from another machine")
    return " · ".join(parts)


def detail_rows(gpu: GpuReading, sample: MachineSample) -> list[tuple[str, str]]:
    """Return what a card has beside the charts, name by name."""

    def told(field: str, text: str | None) -> str:
        return not_available(why_not(gpu, field)) if text is None or gpu.lost else text

    reserved, free = gpu.vram_reserved_bytes, gpu.vram_free_bytes
    clocks = [
        f"{mhz:,} MHz {word}"
        for mhz, word in ((gpu.sm_clock_mhz, "GPU"), (gpu.memory_clock_mhz, "memory"))
        if mhz
    ]
    errors = gpu.ecc_errors
    rows = [
        ("VRAM free", told("vram_free_bytes", None if free is None else f"{in_memory_gb(free)} GB")),
        (
            "VRAM reserved",
            told("vram_reserved_bytes", None if reserved is None else f"{in_memory_gb(reserved)} GB"),
        ),
        ("Memory bandwidth", told("memory_bandwidth_percent", _percent(gpu.memory_bandwidth_percent))),
        ("Clocks", told("sm_clock_mhz", " · ".join(clocks) or None)),
        ("Fan", told("fan_percent", _percent(gpu.fan_percent))),
        ("ECC errors", told("ecc_errors", None if errors is None else f"{errors:,}")),
        ("Throttled", told("throttle_reasons", _reasons(gpu.throttle_reasons))),
    ]
    if gpu.mig:
        rows.append(("MIG", "This card is divided; some figures are of the whole card"))
    if sample.cuda_version:
        rows.append(("CUDA", sample.cuda_version))
    return rows


def details_summary(gpu: GpuReading) -> str:
    """Return the few details that stand for all while they are folded."""
    parts: list[str] = []
    if gpu.throttle_reasons:
        parts.append(f"throttled: {', '.join(gpu.throttle_reasons)}")
    if gpu.sm_clock_mhz is not None:
        parts.append(f"{gpu.sm_clock_mhz:,} MHz")
    if gpu.fan_percent is not None:
        parts.append(f"fan {gpu.fan_percent:.0f} %")
    if gpu.processes is not None:
        parts.append(counted(len(gpu.processes), "process", "processes"))
    return "" if gpu.lost else " · ".join(parts)


def process_rows(gpu: GpuReading) -> list[tuple[str, str]]:
    """Return what uses the card; the local server first and marked."""
    if gpu.processes is None or gpu.lost:
        return [("Processes", not_available(why_not(gpu, "processes")))]
    if not gpu.processes:
        return [("Processes", "None")]
    order = sorted(gpu.processes, key=lambda one: (not one.is_local_server, -(one.vram_used_bytes or 0)))
    rows: list[tuple[str, str]] = []
    for one in order:
        used = (
            "VRAM not available" if one.vram_used_bytes is None else f"{in_memory_gb(one.vram_used_bytes)} GB"
        )
        mark = "the local server · " if one.is_local_server else ""
        rows.append((f"{one.name} ({one.pid})", mark + used))
    return rows


def lost_gpus(gpus: Sequence[GpuReading]) -> list[int]:
    return [gpu.index for gpu in gpus if gpu.lost]


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.0f} %"


def _reasons(reasons: tuple[str, ...] | None) -> str | None:
    return None if reasons is None else ", ".join(reasons) or "No"
