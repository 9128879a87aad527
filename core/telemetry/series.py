"""Counters, gauges and histograms as plain numbers, and how they become Prometheus families when read.

Counting is a few dictionary steps and imports nothing; ``prometheus_client`` is needed at the first reading only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from prometheus_client.core import Metric

OTHER = "other"
Labels = tuple[str, ...]


class Names:
    """At most ``most`` different label values; each further one is ``other``.

    Model names come from callers and servers: without a bound each typing error would be a time series.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[str, str] = {"": ""}

    def of(self, name: str | None) -> str:
        if not name:
            return ""
        known = self._known.get(name)
        if known is None:
            if len(self._known) > self._most:
                return OTHER
            known = self._known[name] = name[:200]
        return known


class Counts:
    """A counter or a gauge. ``divisor`` turns what is counted (nano-dollars) into the unit shown (dollars).

    A family never holds more than ``most`` label sets: what comes then goes where every label is ``other``.
    """

    def __init__(
        self,
        name: str,
        help_text: str,
        labels: Sequence[str] = (),
        *,
        kind: Literal["counter", "gauge"] = "counter",
        divisor: int = 1,
        most: int = 1000,
    ) -> None:
        self.name, self.help_text, self.labels, self.kind = name, help_text, tuple(labels), kind
        self._divisor = divisor
        self._most = most
        self._values: dict[Labels, float] = {}

    def add(self, labels: Labels = (), amount: float = 1) -> None:
        values = self._values
        if labels in values:
            values[labels] += amount
            return
        labels = self._room_for(labels)
        values[labels] = values.get(labels, 0) + amount

    def set(self, labels: Labels, value: float) -> None:
        self._values[self._room_for(labels)] = value

    def clear(self) -> None:
        self._values.clear()

    def _room_for(self, labels: Labels) -> Labels:
        full = len(self._values) >= self._most and labels not in self._values
        return (OTHER,) * len(labels) if full else labels

    def family(self) -> Metric:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        make = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        family = make(self.name, self.help_text, labels=self.labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value / self._divisor if self._divisor != 1 else value)
        return family


class Histogram:
    """Observations in buckets with the upper ``bounds``; the last bucket takes the rest."""

    def __init__(
        self, name: str, help_text: str, labels: Sequence[str], bounds: Sequence[float], *, most: int = 250
    ) -> None:
        self.name, self.help_text, self.labels = name, help_text, tuple(labels)
        self._bounds = tuple(bounds)
        self._shown_bounds = [f"{bound:g}" if bound < 1e6 else f"{bound:.1f}" for bound in bounds] + ["+Inf"]
        self._most = most
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, labels: Labels, value: float) -> None:
        counts = self._counts.get(labels)
        if counts is None:
            if len(self._counts) >= self._most:
                labels = (OTHER,) * len(labels)
            counts = self._counts.setdefault(labels, [0] * (len(self._bounds) + 1))
            self._sums.setdefault(labels, 0.0)
        # A bucket holds what is less than or equal to its bound.
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[labels] += value

    def family(self) -> Metric:
        from prometheus_client.core import HistogramMetricFamily

        family = HistogramMetricFamily(self.name, self.help_text, labels=self.labels)
        for labels, counts in self._counts.items():
            buckets: list[tuple[str, float]] = []
            so_far = 0
            for bound, count in zip(self._shown_bounds, counts, strict=True):
                so_far += count
                buckets.append((bound, so_far))
            family.add_metric(labels, buckets, self._sums[labels])
        return family


def exposition(families: Iterator[Metric] | Sequence[Metric]) -> str:
    """Return ``families`` in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    kept = list(families)

    class Given:
        def collect(self) -> list[Metric]:
            return kept

    registry.register(Given())
    return generate_latest(registry).decode("utf-8")


def family_of(
    name: str,
    help_text: str,
    labels: Sequence[str],
    values: Mapping[Labels, float],
    *,
    kind: Literal["counter", "gauge"] = "counter",
) -> Metric:
    """Return one family of known ``values``, for text that is made from a table at once."""
    counts = Counts(name, help_text, labels, kind=kind, most=10_000)
    for label_values, value in values.items():
        counts.set(label_values, value)
    return counts.family()
