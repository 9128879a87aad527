"""A machine that a test writes: its samples, its history and its alerts; and an empty shelf of models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Generic, TypeVar

from core.local.alerts import Alert
from core.local.gpu_sample import GpuReading, HostReading, MachineSample, ServerFigures
from core.local.history import History
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
