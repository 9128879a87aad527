"""A chart of the panel: its title and present value, lines and bars over time or numbers, and the same as a table.

This module knows the numbers, the keyboard, the words for a screen reader and the table twin. What draws is in
``gui.widgets.chart_plot``, which imports pyqtgraph (0.5 s) and so is imported with the first numbers only.

A value that is not known is ``None`` and leaves a gap; it is never drawn as zero.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import shiboken6
from PySide6.QtCore import QEvent, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QFocusEvent, QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QStackedWidget, QVBoxLayout, QWidget

from gui.theme.theme import set_property, theme
from gui.widgets.chart_data import (
    Band,
    Bars,
    ChartData,
    ChartEvent,
    Line,
    Threshold,
    default_text,
    is_known,
    known_or_none,
    sample_at,
    value_at,
)
from gui.widgets.chart_scale import time_text
from gui.widgets.empty_state import EmptyState
from gui.widgets.icon_button import IconButton
from gui.widgets.labels import plain_label
from gui.widgets.table import Column, ListModel, Table

if TYPE_CHECKING:
    from gui.widgets.chart_plot import Plot

_PAGE = 10
_DAY_S = 86_400.0


class Chart(QWidget):
    """``set_data`` draws; ``set_empty`` says what stands here while nothing is known.

    ``value_text`` writes a value with its unit ("9.8 GB"), ``tick_text`` one of the axis; both have defaults. Left
    and Right move a cursor from value to value, Home and End to the ends, Esc takes it away.

    Signals: ``hovered`` the x under the pointer or the keyboard's cursor, ``None`` when it left.
    """

    hovered = Signal(object)

    def __init__(
        self,
        title: str,
        unit: str = "",
        parent: QWidget | None = None,
        *,
        x: Literal["time", "number"] = "time",
        x_title: str = "",
        x_text: Callable[[float], str] | None = None,
        value_text: Callable[[float], str] | None = None,
        tick_text: Callable[[float], str] | None = None,
        y_range: tuple[float, float] | None = None,
        show_x: bool = True,
        name_events: bool = True,
        unit_on_tick: bool = False,
    ) -> None:
        super().__init__(parent)
        self.title, self.unit, self.x_title = title, unit, x_title
        self.x_kind: Literal["time", "number"] = x
        self.tick_text, self.y_range = tick_text, y_range
        self.show_x, self.name_events, self.unit_on_tick = show_x, name_events, unit_on_tick
        self._given_x_text, self._given_value_text = x_text, value_text
        self.data = ChartData()
        self.x_range: tuple[float, float] | None = None
        self.cursor_x: float | None = None
        self._given_x_range: tuple[float, float] | None = None
        self._linked: list[Chart] = [self]
        self._live: tuple[str, str] | None = None
        self._explanation = ""
        self._plot: Plot | None = None
        self._table: Table | None = None
        self._twin: ListModel[tuple[Any, ...]] | None = None
        self._empty = EmptyState("Nothing yet", "There is nothing to draw here yet.")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self._build()
        theme().changed.connect(self._restyle)
        self._restyle()
        self._show_data()

    def _build(self) -> None:
        self.title_label = plain_label(self.title)
        set_property(self.title_label, role="small", weight=600, tabular=False)
        self.value_label, self._rest = plain_label(), plain_label()
        for made, properties in ((self.value_label, {"weight": 600}), (self._rest, {"level": "2"})):
            set_property(made, role="small", **properties)
        self.table_button = IconButton("table", f"Show {self.title} as a table", size=24)
        self.table_button.setCheckable(True)
        self.table_button.toggled.connect(self.show_table)
        self._head = QHBoxLayout()
        self._head.setContentsMargins(0, 0, 0, 0)
        self._head.addWidget(self.title_label)
        self._head.addStretch(1)
        for widget in (self.value_label, self._rest, self.table_button):
            self._head.addWidget(widget)
        self._pages = QStackedWidget()
        self._add_page(self._empty)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.addLayout(self._head)
        self._column.addWidget(self._pages, 1)

    # -- what it shows ---------------------------------------------------------------------------

    def set_data(
        self,
        lines: Sequence[Line] = (),
        bars: Sequence[Bars] = (),
        *,
        bands: Sequence[Band] = (),
        thresholds: Sequence[Threshold] = (),
        events: Sequence[ChartEvent] = (),
    ) -> None:
        """Draw other numbers."""
        self.data = ChartData(lines=lines, bars=bars, bands=bands, thresholds=thresholds, events=events)
        self._show_data()

    @staticmethod
    def set_linked(
        given: Sequence[tuple[Chart, ChartData]],
        x_range: tuple[float, float] | None,
        *,
        apart_ms: int | None = None,
    ) -> None:
        """Draw other numbers in linked charts over ``x_range``, each once: one by one, each draws all of them.

        With ``apart_ms`` each chart is drawn so long after the one before: five in one piece are more than a frame.
        """
        for chart, data in given:
            chart.data = data
            chart._make_plot()
        for chart in given[0][0]._together():
            chart._given_x_range = x_range
        given[0][0]._sync(apart_ms)
        for chart, _ in given:
            chart._follow_data()

    def set_empty(
        self, title: str, sentence: str, looked_for: str = "", buttons: Sequence[tuple[str, Any]] = ()
    ) -> None:
        """Say what stands here while nothing is known."""
        shown = self._pages.currentWidget() is self._empty
        self._pages.removeWidget(self._empty)
        self._empty.deleteLater()
        self._empty = EmptyState(title, sentence, buttons, looked_for)
        self._add_page(self._empty)
        if shown:
            self._pages.setCurrentWidget(self._empty)
        self._describe()

    def set_empty_words(self, title: str, sentence: str) -> None:
        """Say something else there."""
        if (self._empty.accessibleName(), self._empty.accessibleDescription()) != (title, sentence):
            self._empty.set_text(title, sentence)
            self._describe()

    def set_live(self, value: str, rest: str = "") -> None:
        """Write the present value at the right, such as ``9.8`` and ``GB of 24.0``, instead of the last one."""
        if self._live == (value, rest):
            return
        self._live = (value, rest)
        self._show_live()
        self._describe()

    def set_explanation(self, words: str) -> None:
        """Say how the present value is computed, as a tooltip of it and to a screen reader."""
        if words != self._explanation:
            self._explanation = words
            for made in (self.title_label, self.value_label, self._rest):
                made.setToolTip(words)
            self._describe()

    def set_x_range(self, low: float, high: float) -> None:
        """Show this part of x, in all linked charts."""
        for chart in self._together():
            chart._given_x_range = (low, high)
        self._sync()

    def set_x_link(self, other: Chart) -> None:
        """Share x with ``other``: the range, the cursor, and the width of the axis at the left."""
        group = [*other._linked, *(chart for chart in self._linked if chart not in other._linked)]
        for chart in group:
            chart._linked = group
        self._sync()

    def set_axes(self, *, show_x: bool, name_events: bool) -> None:
        """Say whether this chart of a column has the words of x, and the events' names."""
        if (show_x, name_events) != (self.show_x, self.name_events):
            self.show_x, self.name_events = show_x, name_events
            self._repaint()

    def show_table(self, shown: bool) -> None:
        """Show the same numbers as a table, or as a chart again."""
        if self.table_button.isChecked() != shown:
            self.table_button.setChecked(shown)  # which comes back here
            return
        what = "chart" if shown else "table"
        self.table_button.set_name(f"Show {self.title} as a {what}")
        self.table_button.set_icon("chart-line" if shown else "table")
        self._show_page()

    @property
    def table(self) -> Table | None:
        """The table twin, once it was shown."""
        return self._table

    @property
    def plot(self) -> Plot | None:
        """What draws, once there was something to draw."""
        return self._plot

    # -- words -----------------------------------------------------------------------------------

    def value_text(self, value: float | None) -> str:
        """Return a value with its unit."""
        if value is None or not is_known(value):
            return "not available"
        if self._given_value_text is not None:
            return self._given_value_text(value)
        return f"{default_text(value)} {self.unit}".strip()

    def x_text(self, x: float) -> str:
        """Return a point of x in words."""
        if self._given_x_text is not None:
            return self._given_x_text(x)
        if self.x_kind == "number":
            return default_text(x)
        low, high = self.x_range or (x, x)
        if high - low > 3 * _DAY_S:
            return time_text(x, _DAY_S)
        clock = time_text(x, 1.0 if high - low < 6 * 3600 else 60.0)
        return f"{time_text(x, _DAY_S)} {clock}" if high - low > _DAY_S else clock

    def readings(self, x: float) -> list[tuple[str, str, str]]:
        """Return name, value and colour token of each series that reaches to ``x``."""
        there = [one for one in self.data.series if sample_at(one, x) is not None]
        return [(one.name, self.value_text(value_at(one, x)), one.token) for one in there]

    # -- the cursor ------------------------------------------------------------------------------

    def set_cursor_x(self, x: float | None) -> None:
        """Put the cursor at ``x`` in this and all linked charts; ``None`` takes it away."""
        for chart in self._together():
            if chart.cursor_x != x:
                chart.cursor_x = x
                if chart._plot is not None:
                    chart._plot.show_cursor(x, with_readout=chart is self)
        self._describe()
        self.hovered.emit(x)

    def _samples(self) -> Sequence[Any]:
        """The x values that the cursor stops at: those of the series with the most."""
        found: Any = max((one.x for one in self.data.series), key=len, default=())
        return found

    def _move_cursor(self, key: int) -> bool:
        samples = self._samples()
        count = len(samples)
        if not count:
            return False
        if self.cursor_x is None:
            place = count - 1 if key in (Qt.Key.Key_Left, Qt.Key.Key_PageUp, Qt.Key.Key_End) else 0
        else:
            here = bisect_left(samples, self.cursor_x)
            steps = {
                Qt.Key.Key_Left: -1,
                Qt.Key.Key_Right: 1,
                Qt.Key.Key_PageUp: -_PAGE,
                Qt.Key.Key_PageDown: _PAGE,
            }
            place = here + steps.get(Qt.Key(key), 0)
        if key == Qt.Key.Key_Home:
            place = 0
        elif key == Qt.Key.Key_End:
            place = count - 1
        self.set_cursor_x(float(samples[min(count - 1, max(0, place))]))
        return True

    # -- what Qt calls ---------------------------------------------------------------------------

    def keyPressEvent(self, event: QKeyEvent) -> None:
        keys = Qt.Key
        moves = (
            keys.Key_Left,
            keys.Key_Right,
            keys.Key_Home,
            keys.Key_End,
            keys.Key_PageUp,
            keys.Key_PageDown,
        )
        if self._plot is None or self._pages.currentWidget() is not self._plot:
            super().keyPressEvent(event)
        elif event.key() in moves and self._move_cursor(event.key()):
            event.accept()
        elif event.key() == keys.Key_Escape and self.cursor_x is not None:
            self.set_cursor_x(None)
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self._repaint()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self._repaint()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._repaint()

    def sizeHint(self) -> QSize:
        return QSize(theme().px(320), theme().px(160))

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.DevicePixelRatioChange:
            self._restyle()
        return super().event(event)

    # -- inside ----------------------------------------------------------------------------------

    def _on_pointed(self, x: float | None) -> None:
        found = None if x is None else self._nearest(x)
        if found != self.cursor_x:
            self.set_cursor_x(found)

    def _nearest(self, x: float) -> float | None:
        samples = self._samples()
        if not len(samples):
            return None
        after = bisect_left(samples, x)
        found = min(
            (place for place in (after - 1, after) if 0 <= place < len(samples)),
            key=lambda place: abs(samples[place] - x),
        )
        return float(samples[found])

    def _together(self) -> list[Chart]:
        return [chart for chart in self._linked if shiboken6.isValid(chart)]

    def _data_range(self) -> tuple[float, float] | None:
        ends = [
            float(x) for one in self.data.series if len(one.x) for x in (one.x[0], one.x[-1]) if x is not None
        ]
        ends += [float(x) for band in self.data.bands if len(band.x) for x in (band.x[0], band.x[-1]) if x]
        if not ends:
            return None
        low, high = min(ends), max(ends)
        if self.data.bars:  # half a slot on both sides
            slots = max(len(one.x) for one in self.data.bars)
            half = (high - low) / max(1, slots - 1) / 2 or 0.5
            low, high = low - half, high + half
        return (low, high) if high > low else (low - 0.5, high + 0.5)

    def _sync(self, apart_ms: int | None = None) -> None:
        """Give all linked charts one range of x, and the widest of their axes."""
        together = self._together()
        ranges = [found for chart in together if (found := chart._data_range()) is not None]
        shared = self._given_x_range
        if shared is None and ranges:
            shared = (min(low for low, _ in ranges), max(high for _, high in ranges))
        plots = [chart._plot for chart in together if chart._plot is not None]
        for chart in together:
            chart.x_range = shared
        if shared is not None:
            width = max((plot.wanted_axis_px() for plot in plots), default=0)
            right = max((plot.wanted_right_px() for plot in plots), default=0)
            for place, plot in enumerate(plots):
                draw = partial(plot.draw, shared, width, right)
                if apart_ms is None:
                    draw()
                else:
                    QTimer.singleShot(place * apart_ms, plot, draw)

    def _show_data(self) -> None:
        self._make_plot()
        self._sync()
        self._follow_data()

    def _make_plot(self) -> None:
        if not self.data.is_empty and self._plot is None:
            from gui.widgets.chart_plot import Plot

            self._plot = Plot(self, self)
            self._plot.pointed.connect(self._on_pointed)
            self._add_page(self._plot)

    def _follow_data(self) -> None:
        self._show_page()
        self._show_live()
        if self.cursor_x is not None and self._plot is not None:
            has_it = self._plot.readout.isVisibleTo(
                self._plot
            )  # of linked charts only the one that is pointed at
            self._plot.show_cursor(self.cursor_x, with_readout=has_it)
        self._describe()

    def _show_page(self) -> None:
        empty = self.data.is_empty
        self.table_button.setEnabled(not empty)
        if empty or self._plot is None:
            self._pages.setCurrentWidget(self._empty)
        elif self.table_button.isChecked():
            self._pages.setCurrentWidget(self._filled_table())
        else:
            self._pages.setCurrentWidget(self._plot)

    def _show_live(self) -> None:
        value, rest = self._live or self._last_value()
        self.value_label.setText(value)
        self._rest.setText(rest)
        self.value_label.setVisible(bool(value))
        self._rest.setVisible(bool(rest))

    @staticmethod
    def _last_of(one: Line | Bars) -> float | None:
        return known_or_none(one.y[-1]) if len(one.y) else None

    def _last_value(self) -> tuple[str, str]:
        live = [line for line in self.data.lines if line.style == "live"]
        if len(live) != 1 or not len(live[0].y):
            return "", ""
        last = self._last_of(live[0])
        text = self.value_text(last)
        if last is None:
            return "", "Not available"
        head, space, unit = text.partition(" ")
        return (head, unit) if space and unit == self.unit else (text, "")

    def _describe(self) -> None:
        """Say the present numbers, and with a cursor those under it, to a screen reader."""
        name = f"{self.title}, chart" + (f", in {self.unit}" if self.unit else "")
        if name != self.accessibleName():
            self.setAccessibleName(name)
        said = self._words()
        if said != self.accessibleDescription():
            self.setAccessibleDescription(said)

    def _words(self) -> str:
        if self.data.is_empty:
            return f"{self._empty.accessibleName()}. {self._empty.accessibleDescription()}".strip()
        if self.cursor_x is not None:
            told = ", ".join(f"{name} {text}" for name, text, _ in self.readings(self.cursor_x))
            return f"At {self.x_text(self.cursor_x)}: {told}."
        if self._live is not None:
            parts = [" ".join(self._live).strip()]
        else:
            parts = [f"{one.name} {self.value_text(self._last_of(one))}" for one in self.data.series]
        parts += [f"line {found.label} at {self.value_text(found.value)}" for found in self.data.thresholds]
        parts += [f"{event.label} at {self.x_text(event.x)}" for event in self.data.events if event.label]
        span = ""
        if self.x_range is not None:
            span = f" From {self.x_text(self.x_range[0])} to {self.x_text(self.x_range[1])}."
        how = f" {self._explanation}" if self._explanation else ""
        return f"{', '.join(parts)}.{span}{how}"

    def _filled_table(self) -> Table:
        series = self.data.series
        by_x: dict[float, list[float | None]] = {}
        for place, one in enumerate(series):
            for x, y in zip(one.x, one.y, strict=True):
                if x is not None:
                    row = by_x.setdefault(float(x), [None] * len(series))
                    row[place] = known_or_none(y)
        rows = [(x, *by_x[x]) for x in sorted(by_x)]
        names = tuple(one.name for one in series)
        if (
            self._table is None
            or self._twin is None
            or names != tuple(column.title for column in self._twin.columns[1:])
        ):
            if self._table is not None:
                self._pages.removeWidget(self._table)
                self._table.deleteLater()
            self._twin = ListModel(self._columns(names))
            self._table = Table(f"{self.title}, table", self._twin)
            self._add_page(self._table)
        self._twin.set_rows(rows)
        return self._table

    def _columns(self, names: Sequence[str]) -> list[Column[tuple[Any, ...]]]:
        first = Column[tuple[Any, ...]](
            key="x",
            title=self.x_title or ("Time" if self.x_kind == "time" else "x"),
            value=lambda row: row[0],
            text=self.x_text,
            width=120,
            number=self.x_kind == "number",
        )
        return [first, *(self._column_of(name, place + 1) for place, name in enumerate(names))]

    def _column_of(self, name: str, place: int) -> Column[tuple[Any, ...]]:
        return Column[tuple[Any, ...]](
            key=str(place),
            title=name,
            value=lambda row: row[place],
            text=self.value_text,
            number=True,
            width=110,
        )

    def _add_page(self, page: QWidget) -> None:
        """All pages get the room that the chart has; none asks for more."""
        page.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        self._pages.addWidget(page)

    def _repaint(self) -> None:
        if self._plot is not None:
            self._plot.refresh()

    def _restyle(self) -> None:
        px = theme().px
        self._column.setSpacing(px(4))
        self._head.setSpacing(px(4))
        self.setMinimumHeight(px(96))
        if self._plot is not None:
            self._plot.restyle()
            self._sync()
