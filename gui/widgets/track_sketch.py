"""The eight rules as a small track: the line runs to the rule that matched, and leaves there to a side."""

from __future__ import annotations

from PySide6.QtCore import QPoint, QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from core.chat import RULES, RouteDecision
from gui.theme.icons import paint_icon
from gui.theme.theme import theme
from gui.widgets.formatting import SIDE_ICONS, side_word
from gui.widgets.marks import text_baseline
from gui.widgets.painted_button import Painted

WIDTH_PX = 408
RULE_WORDS: dict[str, str] = {
    "forced": "Forced",
    "capability": "Can serve",
    "unavailable": "Available",
    "budget": "Budget",
    "affinity": "Affinity",
    "complex": "Complex",
    "volume": "Volume",
    "simple": "Simple",
}


class TrackSketch(Painted):
    """The eight rules as numbered points in order; the main line runs to the one that matched and leaves there."""

    def __init__(self, decision: RouteDecision, parent: QWidget | None = None) -> None:
        super().__init__(parent, across=QSizePolicy.Policy.Expanding)
        self._decision = decision
        number = RULES.index(decision.rule) + 1
        self.setAccessibleName(
            f"Rule {number} of {len(RULES)} matched: {RULE_WORDS[decision.rule]}, to {side_word(decision.side)}"
        )

    def sizeHint(self) -> QSize:
        return QSize(theme().px(WIDTH_PX), theme().px(96))

    def paintEvent(self, event: QPaintEvent) -> None:
        unit = theme()
        px = unit.px
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        matched = RULES.index(self._decision.rule)
        side = self._decision.side
        end = self.width() - px(72)
        first = px(20)
        step = (end - px(34) - first) / (len(RULES) - 1)
        main, api, local = px(46), px(12), px(80)
        xs = [first + index * step for index in range(len(RULES))]

        def pen(token: str, width: float) -> QPen:
            return QPen(
                unit.color(token),
                width,
                Qt.PenStyle.SolidLine,
                Qt.PenCapStyle.RoundCap,
                Qt.PenJoinStyle.RoundJoin,
            )

        painter.setPen(pen("track", 1.5))
        for y in (api, local):
            painter.drawLine(QPoint(first, y), QPoint(end, y))
        painter.drawLine(QPoint(first, main), QPoint(round(xs[-1]), main))
        painter.setPen(pen("text2", px(3)))
        painter.drawLine(QPoint(px(2), main), QPoint(round(xs[matched]), main))
        if side is not None:
            y = api if side == "api" else local
            start = QPoint(round(xs[matched]), main)
            knee = QPoint(min(end, round(xs[matched]) + px(26)), y)
            painter.setPen(pen(side, px(3)))
            painter.drawPolyline([start, knee, QPoint(end, y)])
        for index, x in enumerate(xs):
            self._paint_point(painter, QRectF(x - px(8), main - px(8), px(16), px(16)), index, matched)
        for name, y in (("api", api), ("local", local)):
            self._paint_end(
                painter, QRectF(end + px(6), y - px(8), px(66), px(16)), name, chosen=name == side
            )
        painter.end()

    def _paint_point(self, painter: QPainter, box: QRectF, index: int, matched: int) -> None:
        unit = theme()
        hit = index == matched
        refused = hit and self._decision.side is None
        fill = "danger" if refused else "ink" if hit else "raised"
        painter.setPen(QPen(unit.color(fill if hit else "text2" if index < matched else "track"), 1.5))
        painter.setBrush(unit.color(fill))
        painter.drawEllipse(box)
        font = unit.font("caption", 600 if hit else 400)
        painter.setFont(font)
        painter.setPen(unit.color("onInk" if hit else "text2" if index < matched else "text3"))
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, str(index + 1))
        if hit:
            name = RULE_WORDS[RULES[index]]
            metrics = painter.fontMetrics()
            width = metrics.horizontalAdvance(name)
            below = self._decision.side == "api"
            y = box.bottom() + unit.px(2) if below else box.top() - unit.px(18)
            x = min(max(0.0, box.center().x() - width / 2), self.width() - width)
            painter.setPen(unit.color("text"))
            line = QRectF(x, y, width + 1, unit.px(16))
            painter.drawText(round(x), int(text_baseline(line, metrics.ascent(), metrics.descent())), name)

    @staticmethod
    def _paint_end(painter: QPainter, box: QRectF, side: str, *, chosen: bool) -> None:
        unit = theme()
        token = f"{side}_text" if chosen else "text3"
        icon = unit.px(14)
        paint_icon(
            painter, QRectF(box.x(), box.center().y() - icon / 2, icon, icon), _ICONS[side], unit.color(token)
        )
        painter.setFont(unit.font("small", 600 if chosen else 400))
        painter.setPen(unit.color(token))
        metrics = painter.fontMetrics()
        baseline = int(text_baseline(box, metrics.ascent(), metrics.descent()))
        painter.drawText(round(box.x() + icon + unit.px(6)), baseline, _WORDS[side])


_ICONS: dict[str, str] = {"local": SIDE_ICONS["local"], "api": SIDE_ICONS["api"]}
_WORDS: dict[str, str] = {"local": "Local", "api": "API"}
