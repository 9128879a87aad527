"""The machine's metrics that are drawn and listed: what each is called, its unit, and how a value is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core import MEMORY_GB, NANO_PER_DOLLAR, format_cost

if TYPE_CHECKING:
    from core import MetricName


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownMetric:
    """``text`` writes a value without its unit, in that unit; ``scale`` divides what the core keeps to get there.

    Those ``of_gpu`` are a card's, the others the machine's. ``to_100`` is drawn from 0 to 100.
    """

    metric: MetricName
    title: str
    unit: str
    of_gpu: bool = False
    text: Callable[[float], str] = "{:.0f}".format
    scale: float = 1.0
    to_100: bool = False

    def with_unit(self, value: float) -> str:
        return f"{self.text(value)} {self.unit}"


def dollars_text(dollars: float) -> str:
    return format_cost(round(dollars * NANO_PER_DOLLAR))


GPU_METRICS = (
    ShownMetric(
        metric="vram_used_bytes", title="VRAM", unit="GB", of_gpu=True, text="{:.1f}".format, scale=MEMORY_GB
    ),
    ShownMetric(metric="temperature_c", title="Temperature", unit="°C", of_gpu=True, to_100=True),
    ShownMetric(metric="utilization_percent", title="Utilisation", unit="%", of_gpu=True, to_100=True),
    ShownMetric(metric="power_w", title="Power", unit="W", of_gpu=True),
)
HOST_METRICS = (
    ShownMetric(metric="cpu_percent", title="Processor", unit="%", to_100=True),
    ShownMetric(metric="memory_used_bytes", title="Memory", unit="GB", text="{:.1f}".format, scale=MEMORY_GB),
    ShownMetric(metric="generation_tokens_per_s", title="Answers", unit="tok/s", text="{:.1f}".format),
)
KV_CACHE = ShownMetric(metric="kv_cache_percent", title="KV cache", unit="%")
API_RATE = ShownMetric(
    metric="api_nanodollars_per_hour", title="API", unit="an hour", text=dollars_text, scale=NANO_PER_DOLLAR
)
MACHINE_RATE = ShownMetric(
    metric="machine_nanodollars_per_hour",
    title="Machine",
    unit="an hour",
    text=dollars_text,
    scale=NANO_PER_DOLLAR,
)
