"""A machine that a test writes: its samples, its history and its alerts; and an empty shelf of models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Generic, TypeVar

from core.local.alerts import Alert
from core.local.gpu_sample import GpuReading, HostReading, MachineSample, ServerFigures
from core.local.history import History, MachineEvent, Series
from core.local.models import ModelShelf

T = TypeVar("T")
GIB = 1024**3
NOW = datetime(2026, 6, 18, 14, 17, tzinfo=UTC)


class Listeners(Generic[T]):
    def __init__(self) -> None:
        self._heard: list[Callable[[T], None]] = []

    def __len__(self) -> int:
        return len(self._heard)

    def add(self, listener: Callable[[T], None]) -> Callable[[], None]:
        self._heard.append(listener)
        return lambda: self._heard.remove(listener)

    def tell(self, value: T) -> None:
        for listener in list(self._heard):
            listener(value)


class FakeWatch:
    """``past`` is what ``history`` answers; ``asked`` and ``calls`` are what was asked for."""

    def __init__(self) -> None:
        self.latest = MachineSample(at=NOW)
        self.past: History = History(from_s=0.0, to_s=0.0, series=())
        self.machine_rate_words = "rent or wear and power"
        self.asked: list[float] = []
        self.calls: list[tuple[object, ...]] = []
        self.listeners, self.alert_listeners = Listeners[MachineSample](), Listeners[tuple[Alert, ...]]()
        self._alerts: tuple[Alert, ...] = ()

    def subscribe(self, listener: Callable[[MachineSample], None]) -> Callable[[], None]:
        return self.listeners.add(listener)

    def subscribe_alerts(self, listener: Callable[[tuple[Alert, ...]], None]) -> Callable[[], None]:
        return self.alert_listeners.add(listener)

    async def history(self, seconds: float, *, most_points: int = 600) -> History:
        del most_points
        self.asked.append(seconds)
        return self.past

    def alerts(self) -> tuple[Alert, ...]:
        return self._alerts

    async def acknowledge(self, alert_id: str) -> None:
        self.calls.append(("acknowledge", alert_id))
        self.alert(*(replace(one, acknowledged=True) if one.id == alert_id else one for one in self._alerts))

    async def snooze(self, alert_id: str, minutes: float) -> None:
        self.calls.append(("snooze", alert_id, minutes))

    # What a test does

    def sample(self, sample: MachineSample) -> None:
        """Let the machine be looked at."""
        self.latest = sample
        self.listeners.tell(sample)

    def alert(self, *alerts: Alert) -> None:
        """These are the alerts now."""
        self._alerts = alerts
        self.alert_listeners.tell(alerts)


class FakeShelf:
    """Of models: what is on it is ``now``."""

    def __init__(self) -> None:
        self.now = ModelShelf()
        self.listeners = Listeners[ModelShelf]()

    def shelf(self) -> ModelShelf:
        return self.now

    async def look(self) -> ModelShelf:
        return self.now

    def subscribe(self, listener: Callable[[ModelShelf], None]) -> Callable[[], None]:
        return self.listeners.add(listener)

    def put(self, shelf: ModelShelf) -> None:
        self.now = shelf
        self.listeners.tell(shelf)


def gpu(index: int = 0, **changes: object) -> GpuReading:
    """A card that is well, as the mock has it."""
    reading = GpuReading(
        index=index,
        uuid=f"GPU-{index}",
        name="NVIDIA RTX 4090",
        source="nvml",
        vram_total_bytes=24 * GIB,
        vram_used_bytes=round(9.8 * GIB),
        temperature_c=53.0,
        slowdown_temperature_c=83.0,
        utilization_percent=9.0,
        power_w=96.0,
        power_limit_w=450.0,
    )
    return replace(reading, **changes)  # type: ignore[arg-type]


def machine_sample(*gpus: GpuReading, **changes: object) -> MachineSample:
    """One look at a machine with ``gpus``; without any it says why."""
    sample = MachineSample(
        at=NOW,
        gpus=gpus,
        gpu_problem="" if gpus else "No NVIDIA driver is loaded.",
        driver_version="570.86" if gpus else None,
        cuda_version="12.8" if gpus else None,
        host=HostReading(cpu_percent=21.0, memory_used_bytes=9 * GIB, memory_total_bytes=32 * GIB),
        server=ServerFigures(generation_tokens_per_s=41.5),
        api_nanodollars_per_hour=420_000_000,
    )
    return replace(sample, **changes)  # type: ignore[arg-type]


def an_alert(alert_id: str = "vram-0", **changes: object) -> Alert:
    alert = Alert(
        id=alert_id,
        kind="vram",
        title="VRAM over 85 %",
        text="GPU 0 has used 91 % of its 24.0 GB for 2 minutes.",
        began_at=NOW,
        action="drain",
        gpu=0,
    )
    return replace(alert, **changes)  # type: ignore[arg-type]


def a_day_of_trouble(seconds: float = 900.0, *, gpus: int = 1, now_s: float | None = None) -> History:
    """What the mock shows: VRAM runs over its line, the container dies of it, and is started again."""
    rnd = Random(7)
    to_s = NOW.timestamp() if now_s is None else now_s
    times = tuple(to_s - seconds + seconds * n / 600 for n in range(600))
    shares = [(at - times[0]) / seconds for at in times]

    def gone(share: float) -> bool:
        return 0.46 < share < 0.83

    def vram(share: float) -> float:
        if gone(share):
            return 1.1
        if share >= 0.83:
            return 1.1 + max(0.0, share - 0.87) / 0.13 * 8.7
        return 19.4 + max(0.0, share - 0.1) * 3.2 + max(0.0, share - 0.43) * 80

    def heat(share: float) -> float:
        if gone(share):
            return 50 + 28 * 2 ** (-(share - 0.46) * 18)
        return 53.0 if share >= 0.83 else 75 + 4 * share + rnd.random()

    def load(share: float) -> float:
        return (
            rnd.random() * 2
            if gone(share)
            else rnd.random() * 20
            if share >= 0.83
            else 45 + rnd.random() * 55
        )

    def watts(share: float) -> float:
        return 30 + rnd.random() * 3 if gone(share) else 96.0 if share >= 0.83 else 260 + rnd.random() * 130

    series: list[Series] = []
    for index in range(gpus):
        series += [
            Series(
                metric="vram_used_bytes",
                gpu=index,
                times_s=times,
                values=tuple(vram(one) * GIB for one in shares),
            ),
            Series(metric="temperature_c", gpu=index, times_s=times, values=tuple(map(heat, shares))),
            Series(metric="utilization_percent", gpu=index, times_s=times, values=tuple(map(load, shares))),
            Series(metric="power_w", gpu=index, times_s=times, values=tuple(map(watts, shares))),
        ]
    api = tuple(0.9e9 if gone(one) else 0.22e9 + 0.1e9 * rnd.random() for one in shares)
    series += [
        Series(metric="api_nanodollars_per_hour", gpu=None, times_s=times, values=api),
        Series(
            metric="machine_nanodollars_per_hour",
            gpu=None,
            times_s=times,
            values=tuple(0.18e9 if gone(one) else 0.31e9 for one in shares),
        ),
        Series(
            metric="cpu_percent",
            gpu=None,
            times_s=times,
            values=tuple(15 + rnd.random() * 40 for _ in shares),
        ),
        Series(
            metric="memory_used_bytes",
            gpu=None,
            times_s=times,
            values=tuple((8.5 + one * 1.5) * GIB for one in shares),
        ),
        Series(
            metric="generation_tokens_per_s",
            gpu=None,
            times_s=times,
            values=tuple(None if gone(one) else 38 + rnd.random() * 8 for one in shares),
        ),
    ]
    events = (
        MachineEvent(at_s=to_s - seconds * 0.66, kind="alert", words="VRAM over 85 %"),
        MachineEvent(at_s=to_s - seconds * 0.54, kind="oom", words="Out of memory"),
        MachineEvent(at_s=to_s - seconds * 0.17, kind="start", words="Start"),
    )
    return History(from_s=to_s - seconds, to_s=to_s, series=tuple(series), events=events)
