"""What a day of the machine's figures weighs in memory and on the disk, and what keeping and reading it takes."""

from __future__ import annotations

import tempfile
import time
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

from core.local.gpu_sample import GpuReading, HostReading, MachineSample, ServerFigures
from core.local.history_file import HistoryFile
from core.local.history_rings import HistoryRings
from tests.bench.measure import Figure, median

DAY_S = 24 * 3600
START_S = 1_800_000_000.0
GPUS = 2


def run() -> list[Figure]:
    """A day of two GPUs, looked at once a second."""
    tracemalloc.start()
    rings = HistoryRings()
    for second in range(DAY_S):
        rings.take(_sample(second), 2.5)
    held_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    now_s = START_S + DAY_S
    figures = [
        Figure(
            name="24 h of history, 2 GPUs at 1 Hz, in memory", value=held_bytes / 2**20, unit="MiB", aim=9.5
        ),
        _taking(rings),
    ]
    figures += [
        _reading(rings, now_s, words, seconds)
        for words, seconds in (("15 min", 900), ("2 h", 7200), ("24 h", DAY_S))
    ]
    return [*figures, *_on_disk(rings, now_s)]


def _sample(second: int) -> MachineSample:
    return MachineSample(
        at=datetime.fromtimestamp(START_S + second, UTC),
        gpus=tuple(
            GpuReading(
                index=index,
                uuid=f"GPU-{index}",
                name="L4",
                source="nvml",
                vram_used_bytes=20_000_000_000 + second * 1000 % 1_000_003,
                temperature_c=60.0 + second % 17,
                utilization_percent=float(second % 101),
                power_w=70.0 + second % 7,
                memory_bandwidth_percent=float(second % 53),
            )
            for index in range(GPUS)
        ),
        host=HostReading(cpu_percent=float(second % 97), memory_used_bytes=8 << 30),
        server=ServerFigures(
            running_requests=second % 5,
            waiting_requests=second % 3,
            kv_cache_percent=float(second % 89),
            generation_tokens_per_s=40.0 + second % 11,
        ),
        api_nanodollars_per_hour=second,
        machine_nanodollars_per_hour=750_000_000,
    )


def _taking(rings: HistoryRings) -> Figure:
    samples = [_sample(DAY_S + second) for second in range(1000)]
    times: list[float] = []
    for sample in samples:
        began = time.perf_counter()
        rings.take(sample, 2.5)
        times.append((time.perf_counter() - began) * 1e6)
    middle, spread = median(times)
    return Figure(name="a sample into the history", value=middle, unit="µs", spread=spread)


def _reading(rings: HistoryRings, now_s: float, words: str, seconds: float) -> Figure:
    times: list[float] = []
    for _ in range(9):
        began = time.perf_counter()
        rings.read(now_s, seconds, 600)
        times.append((time.perf_counter() - began) * 1e3)
    middle, spread = median(times)
    return Figure(
        name=f"the history's last {words}, 600 points a line", value=middle, unit="ms", spread=spread
    )


def _on_disk(rings: HistoryRings, now_s: float) -> list[Figure]:
    with tempfile.TemporaryDirectory() as home:
        file = HistoryFile(Path(home))
        file.save(rings.series, rings.gpus, rings.slots(0), (), now_s)
        began = time.perf_counter()
        file.save(rings.series, rings.gpus, rings.slots(now_s - 60), (), now_s)
        saving_ms = (time.perf_counter() - began) * 1e3
        file.close()
        size = file.path.stat().st_size
        began = time.perf_counter()
        kept = file.load()
        assert kept is not None
        HistoryRings().restore(kept.series, kept.gpus, kept.slots, kept.events, now_s)
        loading_ms = (time.perf_counter() - began) * 1e3
        file.close()
    return [
        Figure(name="24 h of history on the disk", value=size / 2**20, unit="MiB"),
        Figure(name="saving its last minute, on a thread", value=saving_ms, unit="ms"),
        Figure(name="reading it at a start, on a thread", value=loading_ms, unit="ms"),
    ]
