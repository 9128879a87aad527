"""The steps of a start as a line with a point for each: done, running, still to come."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QFontMetricsF, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from core import StartStep
from gui.machine.words import STEP_NAMES, step_fact, step_words
from gui.theme.icons import paint_icon
from gui.theme.theme import theme
from gui.widgets.painted_button import Painted

_POINT_PX, _LINE_PX = 16, 2
_READY = "Ready"


class StepLine(Painted):
    """From step to step the line is filled as far as the start has come; the last point is Ready.

    A painted picture: its accessible text names every step, its state and its facts.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, across=QSizePolicy.Policy.Expanding)
        self._steps: tuple[StartStep, ...] = ()
        self._is_ready = self._failed = False
        self.setAccessibleName("Steps of the start")

    def show_steps(self, steps: Sequence[StartStep], *, ready: bool) -> None:
        if (tuple(steps), ready) == (self._steps, self._is_ready):
            return
        self._steps, self._is_ready = tuple(steps), ready
        self.setAccessibleDescription(step_words(self._steps, ready=ready))
        self.setToolTip(
            "\n".join(f"{STEP_NAMES[one.name]}: {one.detail}" for one in self._steps if one.detail)
        )
        self.updateGeometry()
        self.update()

    @property
    def steps(self) -> tuple[StartStep, ...]:
        return self._steps

    def sizeHint(self) -> QSize:
        px = theme().px
        told = any(step.status != "waiting" and step_fact(step) for step in self._steps)
        return QSize(px(320), px(_POINT_PX + 4) + (2 if told else 1) * theme().line_px("small") + px(2))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme().px(260), self.sizeHint().height())

    # -- painting --------------------------------------------------------------------------------

    def _points(self) -> list[float]:
        """The x of each point: the first and the last at the ends, the words of the others centred under theirs."""
        reach = theme().px(_POINT_PX) / 2
        parts = len(self._steps)
        width = self.width() - 2 * reach
        return [reach + width * place / max(1, parts) for place in range(parts + 1)]

    def paintEvent(self, event: QPaintEvent) -> None:
        if not self._steps:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        places = self._points()
        y = theme().px(_POINT_PX) / 2 + 1
        states = [step.status for step in self._steps] + ["done" if self._is_ready else "waiting"]
        for at, step in enumerate(self._steps):
            self._paint_line(painter, places[at], places[at + 1], y, step)
        for at, status in enumerate(states):
            self._paint_point(painter, QPointF(places[at], y), status)
        right = -1e9
        for at in range(len(self._steps) + 1):
            right = self._paint_words(painter, places, at, right)
        painter.end()

    def _paint_line(self, painter: QPainter, left: float, right: float, y: float, step: StartStep) -> None:
        unit = theme()
        reach = unit.px(_POINT_PX) / 2
        left, right = left + reach, right - reach
        painter.setPen(Qt.PenStyle.NoPen)

        def fill(start: float, end: float, token: str, width: float) -> None:
            painter.fillRect(QRectF(start, y - width / 2, max(0.0, end - start), width), unit.color(token))

        done = step.status in ("done", "skipped")
        fill(left, right, "ok" if done else "track", unit.px(_LINE_PX))
        if step.status in ("running", "failed"):
            share = step.progress if step.progress is not None else 0.0
            token = "held" if step.status == "running" else "danger"
            fill(left, left + (right - left) * min(1.0, share), token, unit.px(_LINE_PX) * 2)

    def _paint_point(self, painter: QPainter, center: QPointF, status: str) -> None:
        unit = theme()
        side = unit.px(_POINT_PX)
        box = QRectF(center.x() - side / 2, center.y() - side / 2, side, side)
        if status in ("done", "skipped"):
            paint_icon(painter, box, "check-circle-fill", unit.color("ok"))
            return
        if status == "failed":
            paint_icon(painter, box, "x-circle-fill", unit.color("danger"))
            return
        running = status == "running"
        painter.setBrush(unit.color("surface"))
        painter.setPen(QPen(unit.color("held" if running else "control"), unit.px(3) if running else 1.5))
        inset = unit.px(3)
        painter.drawEllipse(box.adjusted(inset, inset, -inset, -inset))

    def _paint_words(self, painter: QPainter, places: list[float], at: int, right: float) -> float:
        """Write one point's words; returns where they end, so that the next ones keep clear of them."""
        unit = theme()
        is_last = at == len(self._steps)
        step = None if is_last else self._steps[at]
        status = "done" if is_last and self._is_ready else "waiting" if step is None else step.status
        name = _READY if step is None else STEP_NAMES[step.name]
        fact = "" if step is None or status == "waiting" else step_fact(step)
        waits = status == "waiting"
        top = float(unit.px(_POINT_PX + 4))
        end = right
        for text, role, weight, token in (
            (name, "small", 600 if status == "running" else 400, "text3" if waits else "text"),
            (fact, "caption", 400, "text2"),
        ):
            font = unit.font(role, weight)
            metrics = QFontMetricsF(font)
            width = metrics.horizontalAdvance(text)
            start = places[at] - width / 2
            start = max(0.0 if at == 0 else right + unit.px(6), start)
            room = self.width() - start
            if at == 0:
                start = 0.0
            elif width > room:
                start = max(right + unit.px(6), self.width() - width)
            painter.setFont(font)
            painter.setPen(unit.color(token))
            shown = metrics.elidedText(text, Qt.TextElideMode.ElideRight, self.width() - start + 1)
            painter.drawText(QPointF(start, top + metrics.ascent()), shown)
            top += unit.line_px("small")
            if text:
                end = max(end, start + width)
        return end
