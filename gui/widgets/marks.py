"""The painted marks: lamps that differ in shape, the hatch of held money, bars, the busy ring, the track's points.

Every function paints with the theme's present colours, so a repaint is all that a theme switch needs.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

from PySide6.QtCore import QEvent, QObject, QPointF, QRectF, QSize, Qt, QTimer
from PySide6.QtGui import (
    QBrush,
    QColor,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPen,
    QPixmap,
    QPolygonF,
    QTransform,
)
from PySide6.QtWidgets import QWidget

from gui.theme.theme import theme
from gui.widgets.painted_button import Painted, paint_box

LampState = Literal["ready", "busy", "alert", "failed", "stopped", "nokey"]
LAMP_TOKENS: dict[str, str] = {
    "ready": "ok",
    "busy": "held",
    "alert": "held",
    "failed": "danger",
    "stopped": "control",
    "nokey": "control",
}
BUSY_STEPS = 8
_HATCH_PX = 6


def paint_lamp(painter: QPainter, box: QRectF, state: str, phase: int = 0) -> None:
    """Draw a lamp in a square ``box`` (10 px before zoom). ``phase`` 0..7 turns the busy ring.

    Ready is a disc, busy a three-quarter ring, alert a triangle, failed a square, stopped a ring, no key a
    diamond: shape first, colour second.
    """
    color = theme().color(LAMP_TOKENS[state])
    unit = box.width() / 10
    center = box.center()
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(color)
    if state == "ready":
        painter.drawEllipse(center, 4.5 * unit, 4.5 * unit)
    elif state == "alert":
        top, base = box.top() + 0.5 * unit, box.bottom() - 1 * unit
        painter.drawPolygon(
            QPolygonF([QPointF(center.x(), top), QPointF(box.right(), base), QPointF(box.left(), base)])
        )
    elif state == "failed":
        painter.drawRect(QRectF(center.x() - 4 * unit, center.y() - 4 * unit, 8 * unit, 8 * unit))
    elif state == "busy":
        ring = QRectF(center.x() - 3.6 * unit, center.y() - 3.6 * unit, 7.2 * unit, 7.2 * unit)
        faint = QColor(color)
        faint.setAlphaF(0.35)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(faint, 1.8 * unit))
        painter.drawEllipse(ring)
        painter.setPen(QPen(color, 1.8 * unit, Qt.PenStyle.SolidLine, Qt.PenCapStyle.FlatCap))
        start = 90 - phase * 360 // BUSY_STEPS
        painter.drawArc(ring, start * 16, -270 * 16)
    elif state == "stopped":
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(color, 1.5 * unit))
        painter.drawEllipse(center, 3.6 * unit, 3.6 * unit)
    else:
        reach = 4 * unit
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(color, 1.5 * unit, Qt.PenStyle.SolidLine, Qt.PenCapStyle.FlatCap, _MITER))
        x, y = center.x(), center.y()
        painter.drawPolygon(
            QPolygonF(
                [QPointF(x, y - reach), QPointF(x + reach, y), QPointF(x, y + reach), QPointF(x - reach, y)]
            )
        )
    painter.restore()


_MITER = Qt.PenJoinStyle.MiterJoin


@lru_cache(maxsize=16)
def _hatch_tile(stripe: str, ground: str, side_px: int) -> QPixmap:
    """A seamless tile of 45 degree stripes, ``side_px`` device pixels a side."""
    tile = QPixmap(side_px, side_px)
    tile.fill(QColor(ground))
    painter = QPainter(tile)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(QColor(stripe), side_px * 0.36))
    for shift in (-side_px, 0, side_px):
        painter.drawLine(QPointF(shift - 1, side_px + 1), QPointF(shift + side_px + 1, -1))
    painter.end()
    return tile


def hatch_brush(device_pixel_ratio: float) -> QBrush:
    """Return the hatch of held money. Not ``BDiagPattern``, which repeats every 8 device pixels at any scale."""
    unit = theme()
    side = max(4, round(unit.px(_HATCH_PX) * device_pixel_ratio))
    brush = QBrush(_hatch_tile(unit.hex("held"), unit.hex("held_tint"), side))
    brush.setTransform(QTransform.fromScale(1 / device_pixel_ratio, 1 / device_pixel_ratio))
    return brush


def _device_ratio(painter: QPainter) -> float:
    return painter.device().devicePixelRatio()


def paint_hatch(painter: QPainter, box: QRectF, radius: float = 1.5) -> None:
    """Fill ``box`` with the hatch of held money."""
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(hatch_brush(_device_ratio(painter)))
    painter.setBrushOrigin(box.topLeft())
    painter.drawRoundedRect(box, radius, radius)
    painter.restore()


def paint_bar(
    painter: QPainter,
    box: QRectF,
    filled: float,
    token: str,
    held: float = 0.0,
    *,
    min_held_px: float = 0.0,
    outline: bool = False,
    radius: float = 3.0,
) -> None:
    """Draw filled | held (hatched) | free in ``box``; ``filled`` and ``held`` are shares of its width, 0 to 1."""
    unit = theme()
    radius = min(radius, box.height() / 2)
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    shape = QPainterPath()
    shape.addRoundedRect(box, radius, radius)
    painter.fillPath(shape, unit.color("sunken"))
    if outline:
        paint_box(painter, box, radius, line="border")
    painter.setClipPath(shape)
    filled_width = box.width() * min(1.0, max(0.0, filled))
    held_width = box.width() * min(1.0, max(0.0, held))
    if held > 0:
        held_width = max(held_width, min_held_px)
        filled_width = min(filled_width, box.width() - held_width)
    if filled > 0:
        filled_width = max(filled_width, min(2.0, box.width()))
        painter.fillRect(QRectF(box.x(), box.y(), filled_width, box.height()), unit.color(token))
    if held > 0:
        gap = 1.0 if filled_width > 0 else 0.0
        part = QRectF(box.x() + filled_width + gap, box.y(), held_width - gap, box.height())
        brush = hatch_brush(_device_ratio(painter))
        painter.setBrushOrigin(part.topLeft())
        painter.fillRect(part, brush)
    painter.restore()


def paint_focus_ring(painter: QPainter, box: QRectF, radius: float) -> None:
    """Draw the 2 px ring inside ``box``."""
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(theme().color("focus"), 2))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawRoundedRect(box.adjusted(1, 1, -1, -1), radius, radius)
    painter.restore()


def paint_points(
    painter: QPainter,
    box: QRectF,
    swing: float | None,
    *,
    ground: str = "surface",
    lead: float = 0.34,
    line_px: float = 3.0,
    both: bool = False,
    only: str = "",
) -> None:
    """Draw a set of points: local below, API above, a ring where they part.

    ``swing`` is 0 for local, 1 for API, between while the blade moves, ``None`` when nothing is chosen.
    ``both`` colours both tracks (the mark of the application); ``only`` draws all of it in one colour.
    ``lead`` is where the ring sits, a share of the width.
    """
    unit = theme()
    ring = line_px * 1.25
    below, above = box.bottom() - ring - line_px / 2, box.top() + line_px / 2
    split = QPointF(box.left() + box.width() * lead, below)
    knee = QPointF(split.x() + (below - above) * 0.85, above)
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    api = QPainterPath(split)
    api.lineTo(knee)
    api.lineTo(box.right() - line_px / 2, above)
    local = QPainterPath(QPointF(box.left() + line_px / 2, below))
    local.lineTo(box.right() - line_px / 2, below)

    def stroke(path: QPainterPath, token: str, width: float) -> None:
        cap, join = Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin
        painter.setPen(QPen(unit.color(token), width, Qt.PenStyle.SolidLine, cap, join))
        painter.drawPath(path)

    if only:
        stroke(api, only, line_px)
        stroke(local, only, line_px)
    elif both:
        stroke(api, "api", line_px)
        stroke(local, "local", line_px)
    else:
        idle = line_px * 0.6
        stroke(api, "track", idle)
        stroke(local, "track", idle)
        if swing is not None:
            height = below + (above - below) * swing
            chosen = QPainterPath(QPointF(box.left() + line_px / 2, below))
            chosen.lineTo(split)
            chosen.lineTo(QPointF(knee.x(), height))
            chosen.lineTo(box.right() - line_px / 2, height)
            stroke(chosen, "api" if swing > 0.5 else "local", line_px)
    painter.setPen(QPen(unit.color(only or "ink"), line_px * 0.72))
    painter.setBrush(unit.color(ground))
    painter.drawEllipse(split, ring, ring)
    painter.restore()


def paint_broken_track(painter: QPainter, box: QRectF) -> None:
    """Draw a track that ends at a buffer stop and goes on as dots: nothing to show here yet."""
    unit = theme()
    scale = box.width() / 124
    y = box.center().y()
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(unit.color("track"), 4 * scale, Qt.PenStyle.SolidLine, Qt.PenCapStyle.FlatCap))
    painter.drawLine(QPointF(box.left() + 6 * scale, y), QPointF(box.left() + 62 * scale, y))
    painter.setPen(QPen(unit.color("control"), 4 * scale, Qt.PenStyle.SolidLine, Qt.PenCapStyle.FlatCap))
    painter.drawLine(
        QPointF(box.left() + 63 * scale, y - 14 * scale), QPointF(box.left() + 63 * scale, y + 14 * scale)
    )
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(unit.color("track"))
    painter.drawEllipse(QPointF(box.left() + 6 * scale, y), 6 * scale, 6 * scale)
    for index in range(5):
        painter.drawEllipse(QPointF(box.left() + (75 + index * 11) * scale, y), 2.4 * scale, 2.0 * scale)
    painter.restore()


def text_baseline(box: QRectF, ascent: float, descent: float) -> float:
    """Return the baseline that centres a line of text in ``box``, on whole pixels."""
    return math.floor(box.center().y() + (ascent - descent) / 2 + 0.5)


class BusyTurn(QObject):
    """Repaints ``widget`` while it is busy and visible; ``phase`` is 0 to 7, and 0 with reduced motion."""

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self._widget = widget
        self._busy = False
        self.phase = 0
        self._timer = QTimer(self)
        self._timer.setInterval(1000 // BUSY_STEPS)
        self._timer.timeout.connect(self._step)
        widget.installEventFilter(self)
        theme().changed.connect(self._refresh)

    @property
    def turning(self) -> bool:
        return self._timer.isActive()

    def set_busy(self, busy: bool) -> None:
        if busy != self._busy:
            self._busy = busy
            self._refresh()

    def _refresh(self) -> None:
        if self._busy and self._widget.isVisible() and not theme().reduced_motion:
            self._timer.start()
        else:
            self._timer.stop()
            self.phase = 0

    def _step(self) -> None:
        self.phase = (self.phase + 1) % BUSY_STEPS
        self._widget.update()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.Show, QEvent.Type.Hide):
            QTimer.singleShot(0, self, self._refresh)
        return False


LAMP_WORDS: dict[str, str] = {
    "ready": "Ready",
    "busy": "Busy",
    "alert": "Alert",
    "failed": "Failed",
    "stopped": "Stopped",
    "nokey": "No key",
}


class Lamp(Painted):
    """``set_state`` repaints it and tells a screen reader; the busy ring turns only while visible."""

    def __init__(self, state: LampState = "stopped", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state: LampState = state
        self._turn = BusyTurn(self)
        self.set_state(state)

    @property
    def state(self) -> LampState:
        return self._state

    def set_state(self, state: LampState) -> None:
        self._state = state
        self.setAccessibleName(LAMP_WORDS[state])
        self._turn.set_busy(state == "busy")
        self.update()

    def sizeHint(self) -> QSize:
        side = theme().px(10)
        return QSize(side, side)

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def paintEvent(self, event: QPaintEvent) -> None:
        side = min(self.width(), self.height())
        box = QRectF((self.width() - side) / 2, (self.height() - side) / 2, side, side)
        painter = QPainter(self)
        paint_lamp(painter, box, self._state, self._turn.phase)
        painter.end()


class FocusRing(QWidget):
    """The ring over a widget whose children would cover a border; shown and placed by that widget."""

    def __init__(self, parent: QWidget | None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.hide()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        paint_focus_ring(painter, QRectF(self.rect()), theme().px(4))
        painter.end()
