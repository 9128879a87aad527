"""The charts of the machine, on one axis of time: a card's figures or the computer's, and the money under them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from PySide6.QtCore import Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QGridLayout, QWidget

from core import MEMORY_GB
from gui.machine import figures
from gui.machine.shown_metrics import (
    API_RATE,
    GPU_METRICS,
    HOST_METRICS,
    MACHINE_RATE,
    ShownMetric,
    dollars_text,
)
from gui.machine.timeline import Timeline
from gui.theme.theme import theme
from gui.widgets.chart import Chart
from gui.widgets.chart_data import ChartData, ChartEvent, Line, Threshold, known_or_none
from gui.widgets.formatting import speed

if TYPE_CHECKING:
    from core import GpuReading, MachineSample, Settings

Mode = Literal["gpu", "host"]
TWO_COLUMNS_PX = 1000
LEAST_DOLLARS = 0.01
"""The axis ends no lower: with nothing spent its ticks are $0, half a cent and a cent."""
APART_MS = 20
"""Each chart is drawn in a frame of its own: all five take some 19 ms."""
_EVENTS: dict[str, tuple[str, str]] = {
    "start": ("Start", "text"),
    "ready": ("Ready", "text"),
    "stop": ("Stop", "text"),
    "crash": ("Crash", "danger"),
    "oom": ("Out of memory", "danger"),
    "alert": ("Alert", "held"),
    "gpu_lost": ("GPU lost", "danger"),
}
"""What an event is called on the axis, and its colour. An alert is called by its own words."""


def _memory_tick(gb: float) -> str:
    """The top of the axis is what there is, and no card has exactly what it is sold with: 24 for 23.99."""
    return f"{gb:.1f}".removesuffix(".0")


MODES: dict[Mode, tuple[ShownMetric, ...]] = {"gpu": GPU_METRICS, "host": HOST_METRICS}
MONEY = "Dollars an hour"


class ChartColumn(QWidget):
    """Draws a ``Timeline``. Above 1000 px of width the charts stand in two columns.

    Signals: ``hovered`` the time under the pointer or the keyboard's cursor, ``None`` when it left.
    """

    hovered = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.charts: dict[str, Chart] = {}
        self._mode: Mode | None = None
        self._sample: MachineSample | None = None
        self._gpu: GpuReading | None = None
        self._last_known: dict[str, GpuReading] = {}
        self._cursor_s: float | None = None
        self._columns = 0
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        theme().changed.connect(self._restyle)
        self._restyle()

    def set_mode(self, mode: Mode) -> None:
        """Show a card's charts, or the computer's where there is no card."""
        if mode == self._mode:
            return
        self._mode = mode
        for chart in self.charts.values():
            self._grid.removeWidget(chart)
            chart.hide()
            chart.deleteLater()
        self.charts = {}
        for figure in MODES[mode]:
            self._add(
                Chart(
                    figure.title,
                    figure.unit,
                    value_text=speed if figure.unit == "tok/s" else figure.with_unit,
                    tick_text=_memory_tick if figure.unit == "GB" else None,
                    y_range=(0.0, 100.0) if figure.to_100 else None,
                )
            )
        self._add(Chart(MONEY, "$ an hour", value_text=dollars_text, tick_text=_dollars_tick))
        self._columns = 0
        self._cursor_s = None
        self._lay()

    def draw(self, timeline: Timeline, settings: Settings) -> None:
        """Draw all charts up to now."""
        if self._mode is None:
            return
        index = None if self._gpu is None else self._gpu.index
        low, high = timeline.now_s - timeline.seconds, timeline.now_s
        events = _events(timeline, low)
        given: list[tuple[Chart, ChartData]] = []
        for figure in MODES[self._mode]:
            chart = self.charts[figure.title]
            line = _line(figure, timeline, index if figure.of_gpu else None)
            chart.y_range = self._y_range(figure, line)
            limits = self._limits(figure, settings)
            given.append((chart, ChartData(lines=[line], thresholds=limits, events=events)))
        lines = [
            _line(API_RATE, timeline, token="api", label=API_RATE.title),
            _line(MACHINE_RATE, timeline, label=MACHINE_RATE.title),
        ]
        known = [line for line in lines if any(value is not None for value in line.y)]
        most = max((value for line in known for value in line.y if value is not None), default=0.0)
        self.charts[MONEY].y_range = (0.0, LEAST_DOLLARS) if most < LEAST_DOLLARS else None
        given.append((self.charts[MONEY], ChartData(lines=known, events=events)))
        Chart.set_linked(given, (low, high), apart_ms=APART_MS)
        if self._cursor_s is None:
            self._write_live()

    @property
    def plot_px(self) -> float:
        """How wide the narrowest chart is."""
        return max(1.0, min((chart.width() for chart in self.charts.values()), default=self.width()))

    def show_live(self, sample: MachineSample, gpu: GpuReading | None) -> None:
        """Write the present values, unless those under the cursor stand there."""
        self._sample, self._gpu = sample, gpu
        if gpu is not None and gpu.vram_total_bytes is not None:
            self._last_known[gpu.uuid] = gpu
        if self._cursor_s is None:
            self._write_live()

    def explain_money(self, holds: str) -> None:
        """Say how the dollars an hour are computed; ``holds`` names what the machine's rate is made of."""
        machine = (
            f"{holds[:1].upper()}{holds[1:]}, used or not" if holds else "Not known: its costs are not set"
        )
        self.charts[MONEY].set_explanation(
            f"API: what the answers of the last five minutes cost, times 12.\nMachine: {machine}."
        )

    def _write_live(self) -> None:
        sample, gpu = self._sample, self._gpu
        if sample is None or self._mode is None:
            return
        words: dict[str, tuple[str, str]] = {MONEY: figures.money_words(sample)}
        if self._mode == "gpu" and gpu is not None:
            words["VRAM"] = figures.vram_words(gpu)
            words["Temperature"] = figures.temperature_words(gpu)
            words["Utilisation"] = figures.utilization_words(gpu)
            words["Power"] = figures.power_words(gpu)
        elif self._mode == "host":
            words["Processor"] = figures.cpu_words(sample.host)
            words["Memory"] = figures.memory_words(sample.host)
            words["Answers"] = figures.speed_words(sample.server)
        for title, (value, rest) in words.items():
            chart = self.charts[title]
            if not chart.data.is_empty:
                chart.set_live(value, rest)
                continue
            chart.set_live("", "")
            why = rest.removeprefix("Not available").removeprefix(": ")
            chart.set_empty_words(
                "Not available", f"{why[:1].upper()}{why[1:]}." if why and not value else ""
            )

    def _write_cursor(self, at_s: float) -> None:
        """Every chart says what it had at that time, not only the one under the pointer."""
        for chart in self.charts.values():
            told = [(name, text) for name, text, _ in chart.readings(at_s)]
            if len(told) == 1:
                chart.set_live(told[0][1], f"at {chart.x_text(at_s)}")
            else:
                rest = " · ".join(f"{name} {text}" for name, text in told)
                chart.set_live("", f"{rest or 'Not available'} at {chart.x_text(at_s)}")

    def _on_hover(self, at_s: float | None) -> None:
        self._cursor_s = at_s
        if at_s is None:
            self._write_live()
        else:
            self._write_cursor(at_s)
        self.hovered.emit(at_s)

    def _add(self, chart: Chart) -> None:
        chart.table_button.hide()  # one table has the numbers of all
        if self.charts:
            chart.set_x_link(next(iter(self.charts.values())))
        chart.hovered.connect(self._on_hover)
        self.charts[chart.title] = chart

    def _y_range(self, figure: ShownMetric, line: Line) -> tuple[float, float] | None:
        if figure.to_100:
            return (0.0, 100.0)
        gpu, host = self._card(), self._sample.host if self._sample else None
        top = {
            "vram_used_bytes": gpu.vram_total_bytes if gpu else None,
            "power_w": gpu.power_limit_w if gpu else None,
            "memory_used_bytes": host.memory_total_bytes if host else None,
        }.get(figure.metric)
        if not top:
            return None
        high = top / figure.scale
        most = max((value for value in line.y if value is not None), default=0.0)
        return (0.0, high) if most <= high else None  # a card may draw more than its limit for a moment

    def _card(self) -> GpuReading | None:
        """Return what is known of the card: one that is lost still had its size and limits."""
        gpu = self._gpu
        return None if gpu is None else self._last_known.get(gpu.uuid, gpu)

    def _limits(self, figure: ShownMetric, settings: Settings) -> Sequence[Threshold]:
        gpu = self._card()
        if gpu is None:
            return ()
        if figure.metric == "vram_used_bytes" and gpu.vram_total_bytes:
            share = settings.vram_alert_percent
            return (Threshold(value=gpu.vram_total_bytes / MEMORY_GB * share / 100, label=f"{share} %"),)
        if figure.metric == "temperature_c":
            told = (settings.temperature_alert_c, gpu.slowdown_temperature_c)
            lines = [Threshold(value=float(at), label=f"{at:.0f} °C") for at in told if at is not None]
            return lines[:1] if len(lines) == 2 and lines[0].value == lines[1].value else lines
        return ()

    # Places

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._lay()

    def _lay(self) -> None:
        columns = 2 if self.width() > theme().px(TWO_COLUMNS_PX) else 1
        if columns == self._columns:
            return
        self._columns = columns
        charts = list(self.charts.values())
        lowest = len(charts) - columns
        for place, chart in enumerate(charts):
            self._grid.removeWidget(chart)
            is_last = place == len(charts) - 1
            alone = columns == 2 and is_last and place % 2 == 0
            self._grid.addWidget(chart, place // columns, place % columns, 1, 2 if alone else 1)
            # The one at the bottom of each column has the axis; a wide one at the bottom has one of its own.
            bottom = is_last or (columns == 2 and place >= lowest - len(charts) % 2)
            chart.set_axes(show_x=bottom, name_events=place < columns)
            chart.show()
        for row in range(self._grid.rowCount()):
            self._grid.setRowStretch(row, 1 if row * columns < len(charts) else 0)

    def _restyle(self) -> None:
        self._grid.setVerticalSpacing(theme().px(4))
        self._grid.setHorizontalSpacing(theme().px(16))
        self._columns = 0
        self._lay()


def _line(
    shown: ShownMetric,
    timeline: Timeline,
    gpu: int | None = None,
    *,
    token: str = "local",
    label: str = "",
) -> Line:
    track = timeline.track(shown.metric, gpu)
    values = [None if value is None else value / shown.scale for value in track.values]
    return Line(name=shown.title, x=list(track.times), y=values, token=token, label=label)


def _events(timeline: Timeline, low_s: float) -> list[ChartEvent]:
    found: list[ChartEvent] = []
    for event in timeline.events:
        words, token = _EVENTS.get(event.kind, (event.kind, "text"))
        if event.at_s >= low_s:
            told = event.words.rstrip(".") if event.kind == "alert" and event.words else words
            found.append(ChartEvent(x=event.at_s, label=told, token=token))
    return found


def _dollars_tick(dollars: float) -> str:
    """A cent's parts are told apart: an axis of four times $0.00 says nothing."""
    known = known_or_none(dollars) or 0.0
    if known >= 10 or known == 0:
        return f"${known:.0f}"
    decimals = 2 if known >= 0.01 else 3
    return f"${known:.{decimals}f}"
