"""How a figure is taken and shown: medians over rounds, beside a baseline measured in the same run."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One row of the table. Nothing fails on an aim, in the figure's own unit or as times its baseline."""

    name: str
    value: float
    unit: str
    aim: float | None = None
    aim_times: float | None = None
    baseline: float | None = None
    baseline_name: str = ""
    spread: tuple[float, float] | None = None

    def line(self) -> str:
        text = f"{self.name:<52} {self.value:>10.3f} {self.unit:<5}"
        if self.spread is not None:
            text += f" ({self.spread[0]:.3f} to {self.spread[1]:.3f})"
        if self.baseline:
            text += f"  {self.value / self.baseline:.2f} x {self.baseline_name} ({self.baseline:.3f})"
        if self.aim is not None:
            text += f"  aim {self.aim:g}: {'met' if self.value <= self.aim else 'MISSED'}"
        if self.aim_times is not None and self.baseline:
            reached = self.value <= self.aim_times * self.baseline
            text += f"  aim {self.aim_times:g} x: {'met' if reached else 'MISSED'}"
        return text


def median(values: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Return the median, and the smallest and largest value."""
    return statistics.median(values), (min(values), max(values))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` (0 to 1) of ``values`` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
