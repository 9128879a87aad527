"""The machine's figures over the time that is shown: what the core kept of it, and each sample since."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core import GpuReading, History, MachineEvent, MachineSample, MetricName

MOST_POINTS = 900
"""Of a line: more than the widest plot has pixels is not seen."""
LEAST_GAP_S = 15.0
"""So long without a sample is a gap in the line: the slowest sampling is one in 5 s."""

OF_GPU: dict[MetricName, Callable[[GpuReading], float | None]] = {
    "vram_used_bytes": lambda gpu: gpu.vram_used_bytes,
    "temperature_c": lambda gpu: gpu.temperature_c,
    "utilization_percent": lambda gpu: gpu.utilization_percent,
    "power_w": lambda gpu: gpu.power_w,
    "memory_bandwidth_percent": lambda gpu: gpu.memory_bandwidth_percent,
}
OF_MACHINE: dict[MetricName, Callable[[MachineSample], float | None]] = {
    "cpu_percent": lambda sample: sample.host.cpu_percent,
    "memory_used_bytes": lambda sample: sample.host.memory_used_bytes,
    "kv_cache_percent": lambda sample: sample.server.kv_cache_percent,
    "running_requests": lambda sample: sample.server.running_requests,
    "waiting_requests": lambda sample: sample.server.waiting_requests,
    "generation_tokens_per_s": lambda sample: sample.server.generation_tokens_per_s,
    "api_nanodollars_per_hour": lambda sample: sample.api_nanodollars_per_hour,
    "machine_nanodollars_per_hour": lambda sample: sample.machine_nanodollars_per_hour,
}


class Track:
    """One figure over time. What is older than the newest ``bucket_s`` is thinned to its least and its greatest."""

    def __init__(self, bucket_s: float) -> None:
        self.times: list[float] = []
        self.values: list[float | None] = []
        self._bucket_s = bucket_s
        self._open_from = 0

    def load(self, times: tuple[float, ...], values: tuple[float | None, ...]) -> None:
        """Begin with what the core kept."""
        self.times, self.values = list(times), list(values)
        self._open_from = len(times)

    def add(self, at_s: float, value: float | None) -> None:
        """Append a sample. A clock that was set back takes what is not yet true along."""
        while self.times and self.times[-1] >= at_s:
            self.times.pop()
            self.values.pop()
        self._open_from = min(self._open_from, len(self.times))
        if self.times and at_s - self.times[-1] > max(LEAST_GAP_S, 3 * self._bucket_s):
            self._close()
            self._append((self.times[-1] + at_s) / 2, None)
        elif self._open_from < len(self.times) and self._bucket(self.times[-1]) != self._bucket(at_s):
            self._close()
        self._append(at_s, value)

    def forget(self, before_s: float) -> None:
        """Drop what is older, but for one point that the line comes from."""
        gone = bisect_left(self.times, before_s) - 1
        if gone > 0:
            del self.times[:gone], self.values[:gone]
            self._open_from = max(0, self._open_from - gone)

    def _append(self, at_s: float, value: float | None) -> None:
        self.times.append(at_s)
        self.values.append(value)

    def _bucket(self, at_s: float) -> int:
        return math.floor(at_s / self._bucket_s)

    def _close(self) -> None:
        """Thin the newest bucket, which is over."""
        start = self._open_from
        known = [n for n in range(start, len(self.times)) if self.values[n] is not None]
        if len(self.times) - start > 2:
            kept = sorted({min(known, key=self._at), max(known, key=self._at)}) if known else [start]
            self.times[start:] = [self.times[n] for n in kept]
            self.values[start:] = [self.values[n] for n in kept]
        self._open_from = len(self.times)

    def _at(self, place: int) -> float:
        value = self.values[place]
        return 0.0 if value is None else value


class Timeline:
    """The last ``seconds`` of every figure, per GPU and of the machine, and what happened meanwhile."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.now_s = 0.0
        self.events: tuple[MachineEvent, ...] = ()
        self._tracks: dict[tuple[MetricName, int | None], Track] = {}

    def load(self, history: History) -> None:
        """Begin with what the core kept; what came after it, and is here already, stays."""
        later = {key: track for key, track in self._tracks.items() if track.times}
        self._tracks = {}
        self.events = history.events
        self.now_s = max(self.now_s if later else 0.0, history.to_s)
        for series in history.series:
            track = self._track(series.metric, series.gpu)
            track.load(series.times_s, series.values)
        for (metric, gpu), newer in later.items():
            track = self._track(metric, gpu)
            last = track.times[-1] if track.times else history.to_s
            for at_s, value in zip(newer.times, newer.values, strict=True):
                if at_s > last:
                    track.add(at_s, value)

    def add(self, sample: MachineSample) -> None:
        """Append one look at the machine."""
        at_s = self.now_s = sample.at.timestamp()
        for metric, read in OF_MACHINE.items():
            self._add(metric, None, at_s, read(sample))
        for gpu in sample.gpus:
            for metric, read_gpu in OF_GPU.items():
                self._add(metric, gpu.index, at_s, None if gpu.lost else read_gpu(gpu))

    def track(self, metric: MetricName, gpu: int | None = None) -> Track:
        """Return a figure's line, an empty one where nothing is known of it."""
        return self._tracks.get((metric, gpu)) or Track(1.0)

    def highest(self, metric: MetricName, gpu: int | None, steps: list[float]) -> Iterator[float | None]:
        """Yield the highest known value from each of ``steps`` to the next; the last step goes to now."""
        track = self.track(metric, gpu)
        for low, high in zip(steps, [*steps[1:], math.inf], strict=True):
            part = track.values[bisect_left(track.times, low) : bisect_left(track.times, high)]
            yield max((value for value in part if value is not None), default=None)

    def _add(self, metric: MetricName, gpu: int | None, at_s: float, value: float | None) -> None:
        if value is None and (metric, gpu) not in self._tracks:
            return
        track = self._track(metric, gpu)
        track.add(at_s, value)
        track.forget(at_s - self.seconds)

    def _track(self, metric: MetricName, gpu: int | None) -> Track:
        return self._tracks.setdefault((metric, gpu), Track(self.seconds / MOST_POINTS))
