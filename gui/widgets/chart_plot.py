"""What draws a chart: pyqtgraph for grid and lines; a layer over it for bars, limits, events, words and the cursor.

Measured on 620 x 150 px (ms a frame): 900 jumpy points take 0.8 at width 1 antialiased and 58 at width 1.5; drawn
as single segments the latter takes 6. So wide lines are segmented, and a line never has more than two points for
each pixel of the plot. Pens are cosmetic: 1 px is one *device* pixel at 200 %, so widths follow the pixel ratio.

pyqtgraph has no types, so its objects are ``Any`` here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyqtgraph as pg  # pyright: ignore[reportMissingTypeStubs]
from numpy.typing import NDArray
from PySide6.QtCore import QEvent, QPointF, QRectF, QSizeF, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QFontMetricsF,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
    QResizeEvent,
)
from PySide6.QtWidgets import QVBoxLayout, QWidget

from gui.theme.theme import theme
from gui.widgets.chart_data import Bars, ChartEvent, Drawable, Line, known_or_none, value_at
from gui.widgets.chart_places import limit_label_place, name_places, set_apart
from gui.widgets.chart_scale import even_ticks, tick_decimals, time_text, time_ticks, x_ticks, y_ticks
from gui.widgets.marks import hatch_brush, paint_focus_ring
from gui.widgets.painted_button import paint_box

Floats = NDArray[np.float64]
_pg: Any = pg
BAR_SHARE = 0.58
APART_PX = 6
"""Lines of events that are closer than this are one."""
_BAND_ALPHA = 0.2
_TIME_TICK_PX, _NUMBER_TICK_PX = 100, 70
_SMOOTH_POINTS = 200
"""A line of so few points is drawn in one piece, also when wide: single segments show their joints."""
_WIDTHS = {"live": 1.0, "curve": 2.0, "loaded": 2.0, "projection": 2.0}
_DASHED = ("loaded", "projection")
_TEXT_TOKENS = {"local": "local_text", "api": "api_text", "held": "held_text", "danger": "danger_text"}


def as_floats(values: Any) -> Floats:
    """Return values as an array; ``None`` becomes NaN, which is a gap."""
    return np.asarray(values, dtype=np.float64)


def decimate(x: Floats, y: Floats, buckets: int) -> tuple[Floats, Floats]:
    """Thin a line to the least and the greatest value of each bucket; gaps, the first and the last point stay.

    pyqtgraph's own peak method leaves out what remains after the last whole bucket, which in a live chart is the
    newest value.
    """
    count = len(x)
    if buckets < 1 or count <= 2 * buckets:
        return x, y
    starts = np.linspace(0, count, buckets, endpoint=False).astype(np.intp)
    ends = np.append(starts[1:], count) - 1
    low, high = np.fmin.reduceat(y, starts), np.fmax.reduceat(y, starts)
    falls = y[starts] > y[ends]
    broken = np.logical_or.reduceat(np.isnan(y), starts)
    thin_x = np.stack([x[starts], (x[starts] + x[ends]) / 2, x[ends]], axis=1)
    thin_y = np.stack(
        [np.where(falls, high, low), np.where(falls, low, high), np.full(buckets, np.nan)], axis=1
    )
    kept = np.ones_like(thin_y, dtype=bool)
    kept[:, 2] = broken
    return np.append(thin_x[kept], x[-1]), np.append(thin_y[kept], y[-1])


class Plot(QWidget):
    """Draws ``chart.data``; the keyboard is the chart's.

    Signals: ``pointed`` the x under the pointer, ``None`` when it left the plot.
    """

    pointed = Signal(object)

    def __init__(self, chart: Drawable, parent: QWidget) -> None:
        super().__init__(parent)
        self.chart = chart
        self.setMouseTracking(True)
        self.view: Any = _pg.PlotWidget()
        self.view.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.view.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.view.setFrameShape(self.view.Shape.NoFrame)
        self._item: Any = self.view.getPlotItem()
        self._item.setMenuEnabled(False)
        self._item.hideButtons()
        self._box: Any = self._item.getViewBox()
        self._box.setMouseEnabled(False, False)
        self._box.setDefaultPadding(0.0)
        for side in ("left", "bottom"):
            self._item.hideAxis(side)  # the layer writes the ticks: pyqtgraph leaves out those at the ends
        for side in ("left", "right", "top", "bottom"):
            self._item.getAxis(
                side
            ).unlinkFromView()  # hidden ones would still lay their labels out at each move
        self._item.layout.setContentsMargins(0, 0, 0, 0)
        self._item.layout.setSpacing(0)
        self._curves: list[Any] = []
        self._grid: list[Any] = []
        self._grid_drawn: tuple[object, ...] = ()
        self._y_ticks: list[float] = [0.0, 1.0]
        self._y_range = (0.0, 1.0)
        self._axis_px = self._right_px = 0
        self.x_range = (0.0, 1.0)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.view)
        self.layer = _Layer(self)
        self.readout = _Readout(self)
        self.restyle()

    # -- geometry --------------------------------------------------------------------------------

    def area(self) -> QRectF:
        """Where the lines are, in this widget's pixels."""
        px = theme().px
        top = px(18) if self.chart.name_events and self.chart.data.events else px(8)
        bottom = px(20) if self.chart.show_x else px(6)
        if self.chart.show_x and self.chart.x_title:
            bottom += px(16)
        return QRectF(
            self._axis_px,
            top,
            max(1, self.width() - self._axis_px - self._right_px),
            max(1, self.height() - top - bottom),
        )

    def to_px(self, x: float, y: float) -> QPointF:
        """Return where a point of the chart is."""
        area, (x0, x1), (y0, y1) = self.area(), self.x_range, self._y_range
        return QPointF(
            area.left() + (x - x0) / (x1 - x0) * area.width(),
            area.bottom() - (y - y0) / (y1 - y0) * area.height(),
        )

    def curve_px(self, line: Line) -> tuple[Floats, Floats]:
        """Return where the points of a line are."""
        area, (x0, x1), (y0, y1) = self.area(), self.x_range, self._y_range
        return (
            area.left() + (as_floats(line.x) - x0) / (x1 - x0) * area.width(),
            area.bottom() - (as_floats(line.y) - y0) / (y1 - y0) * area.height(),
        )

    def x_at(self, place: QPointF) -> float | None:
        """Return the x at a pixel, ``None`` outside of the plot."""
        area = self.area()
        if not area.adjusted(-2, 0, 2, 0).contains(place):
            return None
        x0, x1 = self.x_range
        return x0 + (place.x() - area.left()) / area.width() * (x1 - x0)

    def wanted_axis_px(self) -> int:
        """Return the room that the ticks' words need at the left."""
        self._measure()
        metrics = QFontMetricsF(theme().font("caption"))
        widest = max(metrics.horizontalAdvance(text) for _, text in self.y_labels())
        return max(theme().px(34), round(widest) + theme().px(10))

    def wanted_right_px(self) -> int:
        """Return the room that the labels at the lines' ends need."""
        px = theme().px
        metrics = QFontMetricsF(theme().font("caption", 600))
        labels = [line.label for line in self.chart.data.lines if line.label]
        if not labels:
            return px(14)
        return round(max(metrics.horizontalAdvance(label) for label in labels)) + px(14)

    # -- drawing ---------------------------------------------------------------------------------

    def draw(self, x_range: tuple[float, float], axis_px: int, right_px: int) -> None:
        """Draw the chart's data over ``x_range``."""
        self._measure()
        self.x_range = x_range
        self._axis_px, self._right_px = axis_px, right_px
        self._lay()
        self._draw_lines()
        self.layer.update()

    def refresh(self) -> None:
        """Draw again at another size, or with another focus."""
        self._lay()
        self._draw_lines()
        self.layer.update()
        if self.readout.isVisibleTo(self):
            self.readout.show_at(self.chart.cursor_x)

    def show_cursor(self, x: float | None, *, with_readout: bool) -> None:
        self.layer.update()
        self.readout.show_at(x if with_readout else None)

    def restyle(self) -> None:
        unit = theme()
        self.view.setBackground(unit.color("surface"))
        self.refresh()

    def _pen(self, token: str, width: float) -> QPen:
        """A cosmetic pen of ``width`` px as the eye counts them."""
        pen = QPen(theme().color(token), width * self.devicePixelRatioF())
        pen.setCosmetic(True)
        return pen

    def _lay(self) -> None:
        area = self.area()
        self.layer.setGeometry(self.rect())
        self._item.setContentsMargins(
            self._axis_px, area.top(), self._right_px, max(0.0, self.height() - area.bottom())
        )
        self._box.setXRange(*self.x_range, padding=0)
        self._box.setYRange(*self._y_range, padding=0)
        self._draw_grid()
        self._item.layout.activate()

    def _draw_grid(self) -> None:
        pen = self._pen("grid", 1.0)
        drawn = (*self._y_ticks, pen.color().rgba(), pen.widthF())
        if drawn == self._grid_drawn:
            return
        self._grid_drawn = drawn
        while len(self._grid) > len(self._y_ticks):
            self._item.removeItem(self._grid.pop())
        while len(self._grid) < len(self._y_ticks):
            line: Any = _pg.InfiniteLine(angle=0, movable=False)
            line.setZValue(-10)
            self._item.addItem(line, ignoreBounds=True)
            self._grid.append(line)
        for line, tick in zip(self._grid, self._y_ticks, strict=True):
            line.setPen(pen)
            line.setValue(tick)

    def _measure(self) -> None:
        """Find the range of y: the one that was given, or one from zero that takes in all that is drawn."""
        if self.chart.y_range is not None:
            self._y_range, self._y_ticks = self.chart.y_range, even_ticks(*self.chart.y_range)
            return
        data = self.chart.data
        parts = [as_floats(line.y) for line in data.lines]
        parts += [as_floats(edge) for band in data.bands for edge in (band.low, band.high)]
        parts += [as_floats([limit.value for limit in data.thresholds]), self._stack_tops()]
        known = np.concatenate(parts)
        known = known[np.isfinite(known)]
        low, high = (min(0.0, float(known.min())), max(0.0, float(known.max()))) if len(known) else (0.0, 1.0)
        self._y_ticks = y_ticks(low, high)
        self._y_range = (self._y_ticks[0], self._y_ticks[-1])

    def _stack_tops(self) -> Floats:
        tops: dict[float, float] = {}
        for part in self.chart.data.bars:
            for x, y in zip(as_floats(part.x), as_floats(part.y), strict=True):
                if np.isfinite(y):
                    tops[float(x)] = tops.get(float(x), 0.0) + float(y)
        return as_floats(list(tops.values()))

    def y_labels(self) -> list[tuple[float, str]]:
        """Return the ticks of y with their words."""
        given, decimals = self.chart.tick_text, tick_decimals(self._y_ticks)
        texts = [given(tick) if given else f"{tick:,.{decimals}f}" for tick in self._y_ticks]
        if self.chart.unit_on_tick and self.chart.unit and given is None:
            texts[-1] = f"{texts[-1]} {self.chart.unit}"
        return list(zip(self._y_ticks, texts, strict=True))

    def x_labels(self) -> list[tuple[float, str]]:
        """Return the ticks of x with their words."""
        low, high = self.x_range
        is_time = self.chart.x_kind == "time"
        most = max(2, int(self.area().width() // theme().px(_TIME_TICK_PX if is_time else _NUMBER_TICK_PX)))
        if is_time:
            ticks, step_s = time_ticks(low, high, most)
            return [(at, time_text(at, step_s)) for at in ticks]
        ticks = x_ticks(low, high, most)
        decimals = tick_decimals(ticks)
        return [(at, f"{at:,.{decimals}f}") for at in ticks]

    def _draw_lines(self) -> None:
        lines = self.chart.data.lines
        while len(self._curves) > len(lines):
            self._item.removeItem(self._curves.pop())
        while len(self._curves) < len(lines):
            curve: Any = _pg.PlotCurveItem()
            self._item.addItem(curve)
            self._curves.append(curve)
        for curve, line in zip(self._curves, lines, strict=True):
            self._draw_line(curve, line)

    def _draw_line(self, curve: Any, line: Line) -> None:
        ratio = self.devicePixelRatioF()
        x, y = decimate(as_floats(line.x), as_floats(line.y), int(self.area().width() * ratio))
        if line.step:
            x, y = np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1]
        pen = self._pen(line.token, _WIDTHS[line.style])
        dashed = line.style in _DASHED
        if dashed:
            pen.setDashPattern([5 / pen.widthF() * ratio, 4 / pen.widthF() * ratio])
            pen.setCapStyle(Qt.PenCapStyle.FlatCap)
        pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
        # Not for dashes, which each segment would begin anew.
        segmented = pen.widthF() > 1 and not dashed and len(x) > _SMOOTH_POINTS
        curve.setSegmentedLineMode("on" if segmented else "off")
        curve.setData(x=x, y=y, pen=pen, antialias=True, connect="finite")

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.refresh()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        super().mouseMoveEvent(event)
        self.pointed.emit(self.x_at(event.position()))

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self.pointed.emit(None)


class _Layer(QWidget):
    """Bands, bars, limits, events, labels at the lines' ends, and the cursor."""

    def __init__(self, plot: Plot) -> None:
        super().__init__(plot)
        self._plot = plot
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(theme().font("caption"))
        area = self._plot.area()
        painter.save()
        painter.setClipRect(area.adjusted(-1, -1, 1, 1))
        self._paint_bands(painter)
        self._paint_bars(painter, area)
        painter.restore()
        self._paint_thresholds(painter, area)
        uprights, taken = self._paint_events(painter, area)
        taken += self._paint_ends(painter, area)
        self._paint_limit_labels(painter, area, uprights, taken)
        self._paint_cursor(painter, area)
        self._paint_axes(painter, area)
        if self._plot.chart.hasFocus():
            paint_focus_ring(painter, QRectF(self.rect()), theme().px(4))
        painter.end()

    def _paint_axes(self, painter: QPainter, area: QRectF) -> None:
        px, chart = theme().px, self._plot.chart
        painter.setPen(theme().color("text3"))
        metrics = QFontMetricsF(painter.font())
        for tick, text in self._plot.y_labels():
            y = self._plot.to_px(0, tick).y() + (metrics.ascent() - metrics.descent()) / 2
            painter.drawText(QPointF(area.left() - px(6) - metrics.horizontalAdvance(text), y), text)
        if not chart.show_x:
            return
        base = area.bottom() + px(5) + metrics.ascent()
        for tick, text in self._plot.x_labels():
            width = metrics.horizontalAdvance(text)
            middle = self._plot.to_px(tick, 0).x()
            painter.drawText(QPointF(min(max(0.0, middle - width / 2), self.width() - width - 2), base), text)
        if chart.x_title:
            box = QRectF(area.left(), self.height() - px(17), area.width(), px(16))
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, chart.x_title)

    def _paint_bands(self, painter: QPainter) -> None:
        painter.setPen(Qt.PenStyle.NoPen)
        for band in self._plot.chart.data.bands:
            fill = QColor(theme().color(band.token))
            fill.setAlphaF(_BAND_ALPHA)
            painter.setBrush(fill)
            x, low, high = as_floats(band.x), as_floats(band.low), as_floats(band.high)
            known = np.isfinite(low) & np.isfinite(high)
            for part in np.split(np.arange(len(x)), np.flatnonzero(np.diff(known.astype(np.int8))) + 1):
                if len(part) > 1 and known[part[0]]:
                    there = [self._plot.to_px(float(x[n]), float(high[n])) for n in part]
                    back = [self._plot.to_px(float(x[n]), float(low[n])) for n in part[::-1]]
                    painter.drawPolygon(QPolygonF([*there, *back]))

    def _paint_bars(self, painter: QPainter, area: QRectF) -> None:
        bars = self._plot.chart.data.bars
        if not bars:
            return
        places = np.unique(np.concatenate([as_floats(part.x) for part in bars]))
        slot = float(np.diff(places).min()) if len(places) > 1 else 1.0
        width = max(1.0, round(BAR_SHARE * (self._plot.to_px(slot, 0).x() - self._plot.to_px(0, 0).x())))
        sums: dict[float, float] = {}
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        for part in bars:
            self._paint_part(painter, part, width, sums)
        zero = round(self._plot.to_px(0, 0).y())
        painter.fillRect(QRectF(area.left(), zero, area.width(), 1), theme().color("control"))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)

    def _paint_part(self, painter: QPainter, part: Bars, width: float, sums: dict[float, float]) -> None:
        for x, y in zip(as_floats(part.x), as_floats(part.y), strict=True):
            if not np.isfinite(y) or y <= 0:
                continue
            below = sums.get(float(x), 0.0)
            sums[float(x)] = below + float(y)
            foot, top = self._plot.to_px(float(x), below), self._plot.to_px(float(x), below + float(y))
            bottom = round(foot.y())
            if below:  # the gap between two parts
                bottom -= 1
                gap = QRectF(round(foot.x() - width / 2), bottom, width, 1)
                painter.fillRect(gap, theme().color("surface"))
            box = QRectF(round(foot.x() - width / 2), round(top.y()), width, max(1, bottom - round(top.y())))
            if part.hatched:
                painter.setBrushOrigin(box.topLeft())
                painter.fillRect(box, hatch_brush(self.devicePixelRatioF()))
            else:
                painter.fillRect(box, theme().color(part.token))

    def _paint_thresholds(self, painter: QPainter, area: QRectF) -> None:
        for _, y in self._limits(area):
            pen = QPen(theme().color("danger"), 1)
            pen.setDashPattern([6, 4])
            painter.setPen(pen)
            painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))

    def _limits(self, area: QRectF) -> list[tuple[str, float]]:
        """Return the label of each limit that is in sight, and where its line is."""
        limits = self._plot.chart.data.thresholds
        found = [(limit.label, round(self._plot.to_px(0, limit.value).y()) + 0.5) for limit in limits]
        return [(label, y) for label, y in found if area.top() - 1 <= y <= area.bottom() + 1]

    def _paint_limit_labels(
        self, painter: QPainter, area: QRectF, uprights: list[float], taken: list[QRectF]
    ) -> None:
        limits = self._limits(area)
        if not limits:
            return
        curves = [self._plot.curve_px(line) for line in self._plot.chart.data.lines]
        metrics = QFontMetricsF(painter.font())
        painter.setPen(theme().color("danger_text"))
        for label, y in limits:
            size = QSizeF(metrics.horizontalAdvance(label), metrics.ascent() + metrics.descent())
            place = limit_label_place(size, y, area, uprights, taken, curves)
            painter.drawText(QPointF(place.left(), place.top() + metrics.ascent()), label)
            taken.append(place)

    def _paint_events(self, painter: QPainter, area: QRectF) -> tuple[list[float], list[QRectF]]:
        """Draw them; returns where the lines are, and the places of their names."""
        unit, chart = theme(), self._plot.chart
        painter.save()
        painter.setFont(unit.font("caption", 600, tabular=False))
        metrics = QFontMetricsF(painter.font())
        uprights: list[float] = []
        names: list[QRectF] = []
        named: list[tuple[ChartEvent, float, float]] = []
        low, high = self._plot.x_range
        seen = [event for event in chart.data.events if low <= event.x <= high]
        for happened in set_apart(seen, lambda at: self._plot.to_px(at, 0).x(), unit.px(APART_PX)):
            x = round(self._plot.to_px(happened.x, 0).x()) + 0.5
            pen = QPen(unit.color(happened.token), 1)
            pen.setDashPattern([2, 3])
            painter.setPen(pen)
            painter.drawLine(QPointF(x, area.top()), QPointF(x, area.bottom()))
            uprights.append(x)
            if chart.name_events and happened.label:
                named.append((happened, x, metrics.horizontalAdvance(happened.label)))
        # What has no room for its name is in the read-out.
        for (happened, _, width), start in zip(
            named, name_places(named, area.left(), self.width()), strict=True
        ):
            if start is not None:
                painter.setPen(unit.color(_TEXT_TOKENS.get(happened.token, happened.token)))
                painter.drawText(QPointF(start, area.top() - 5), happened.label)
                names.append(QRectF(start, 0, width, area.top() - 5 + metrics.descent()))
        painter.restore()
        return uprights, names

    def _paint_ends(self, painter: QPainter, area: QRectF) -> list[QRectF]:
        """Draw the newest value of each line, and its label beside the plot; returns the places of the former."""
        unit = theme()
        painter.save()
        painter.setFont(unit.font("caption", 600, tabular=False))
        metrics = QFontMetricsF(painter.font())
        labels: list[tuple[float, str, str]] = []
        dots: list[QRectF] = []
        for line in self._plot.chart.data.lines:
            last = known_or_none(line.y[-1]) if len(line.y) else None
            if last is None:
                continue
            end = self._plot.to_px(float(as_floats(line.x)[-1]), last)
            if not area.adjusted(-2, -2, 2, 2).contains(end):
                continue
            if line.style == "live":
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(unit.color(line.token))
                painter.drawEllipse(end, unit.px(3), unit.px(3))
                dots.append(QRectF(end.x() - unit.px(3), end.y() - unit.px(3), unit.px(6), unit.px(6)))
            if line.label:
                labels.append((end.y(), line.label, _TEXT_TOKENS.get(line.token, line.token)))
        lowest = -1e9
        for y, text, token in sorted(labels):
            y = max(y, lowest + metrics.height())
            lowest = y
            painter.setPen(unit.color(token))
            painter.drawText(QPointF(area.right() + unit.px(8), y + metrics.ascent() / 2 - 1), text)
        painter.restore()
        return dots

    def _paint_cursor(self, painter: QPainter, area: QRectF) -> None:
        chart, unit = self._plot.chart, theme()
        if chart.cursor_x is None:
            return
        x = round(self._plot.to_px(chart.cursor_x, 0).x()) + 0.5
        if not area.left() - 1 <= x <= area.right() + 1:
            return
        painter.setPen(QPen(unit.color("control"), 1))
        painter.drawLine(QPointF(x, area.top()), QPointF(x, area.bottom()))
        for line in chart.data.lines:
            value = value_at(line, chart.cursor_x)
            if value is not None:
                painter.setPen(QPen(unit.color(line.token), 2))
                painter.setBrush(unit.color("surface"))
                painter.drawEllipse(self._plot.to_px(chart.cursor_x, value), unit.px(4), unit.px(4))


class _Readout(QWidget):
    """The values under the cursor, in a small box beside it."""

    def __init__(self, plot: Plot) -> None:
        super().__init__(plot)
        self._plot = plot
        self._head = ""
        self._rows: list[tuple[str, str, str]] = []
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.hide()

    @property
    def words(self) -> list[str]:
        """What it says, line by line."""
        return [self._head, *(f"{name} {value}" for name, value, _ in self._rows)]

    def show_at(self, x: float | None) -> None:
        if x is None:
            self.hide()
            return
        chart, px = self._plot.chart, theme().px
        self._head, self._rows = chart.x_text(x), chart.readings(x)
        self._rows += [(event.label, "", event.token) for event in self._events_near(x) if event.label]
        plain, strong = QFontMetricsF(theme().font("caption")), QFontMetricsF(theme().font("caption", 600))
        lines = [
            px(16) + plain.horizontalAdvance(name) + px(12) + strong.horizontalAdvance(value)
            for name, value, _ in self._rows
        ]
        width = max([plain.horizontalAdvance(self._head), *lines]) + px(16)
        self.resize(round(width), px(16) * (1 + len(self._rows)) + px(10))
        at = self._plot.to_px(x, 0).x()
        left = at + px(10)
        if left + self.width() > self._plot.width():
            left = at - px(10) - self.width()
        self.move(max(0, round(left)), max(0, round(self._plot.area().top())))
        self.show()
        self.raise_()
        self.update()

    def _events_near(self, x: float) -> list[Any]:
        here = self._plot.to_px(x, 0).x()
        events = self._plot.chart.data.events
        return [event for event in events if abs(self._plot.to_px(event.x, 0).x() - here) <= theme().px(4)]

    def paintEvent(self, event: QPaintEvent) -> None:
        unit = theme()
        px = unit.px
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        paint_box(painter, QRectF(self.rect()), px(4), line="control", ground="raised")
        line = px(16)
        y = float(px(5))
        inside = QRectF(px(8), y, self.width() - px(16), line)
        painter.setFont(unit.font("caption"))
        painter.setPen(unit.color("text2"))
        painter.drawText(inside, Qt.AlignmentFlag.AlignVCenter, self._head)
        for name, value, token in self._rows:
            inside.translate(0, line)
            painter.fillRect(
                QRectF(inside.left(), inside.center().y() - px(1), px(10), px(3)), unit.color(token)
            )
            painter.setFont(unit.font("caption", tabular=False))
            painter.setPen(unit.color("text2"))
            painter.drawText(inside.adjusted(px(16), 0, 0, 0), Qt.AlignmentFlag.AlignVCenter, name)
            painter.setFont(unit.font("caption", 600))
            painter.setPen(unit.color("text"))
            painter.drawText(inside, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, value)
        painter.end()
