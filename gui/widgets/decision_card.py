"""The decision card: why one request went where it went, what it read, what it cost, and when it did what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QPoint, QRectF, QSize, Qt
from PySide6.QtGui import QGuiApplication, QKeyEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from core.chat import RULES, ChatResult, RouteDecision, Side, Usage
from core.spend.money import format_cost
from gui.icons import paint_icon
from gui.theme import set_property, theme
from gui.widgets.icon_button import IconButton
from gui.widgets.marks import text_baseline
from gui.widgets.money_label import MoneyLabel
from gui.widgets.sentence import Sentence
from gui.widgets.words import (
    NO_CHARGE_WHY,
    SIDE_ICONS,
    cost_of,
    cost_tooltip,
    count,
    duration,
    side_word,
    speed,
)

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
_WIDTH = 440


@dataclass(frozen=True, slots=True)
class SignalRow:
    """One signal: its name, what was read, and the threshold it was held against (empty where none)."""

    name: str
    value: str
    threshold: str


def signal_rows(decision: RouteDecision) -> list[SignalRow]:
    """Return what the router read, each with the threshold it was compared with."""
    signals = decision.signals
    wants = [
        word
        for word, present in (
            ("tools", signals.has_tools),
            ("a JSON schema", signals.has_schema),
            ("images", signals.has_images),
            ("high stakes", signals.high_stakes),
            ("batch", signals.batch),
        )
        if present
    ]
    return [
        SignalRow(
            "Complexity", f"{signals.complexity:.2f}", f"threshold {decision.complexity_threshold:.2f}"
        ),
        SignalRow(
            "Local today",
            count(decision.local_requests_today),
            f"threshold {count(decision.routing_threshold)}",
        ),
        SignalRow("Input", f"about {count(signals.input_tokens)} tokens", ""),
        SignalRow("Output", f"at most {count(signals.max_output_tokens)} tokens", ""),
        SignalRow("Asks for", ", ".join(wants) or "text only", ""),
        SignalRow("Mode", decision.mode.replace("-", " ").capitalize(), ""),
    ]


def usage_words(usage: Usage) -> str:
    """Return the disjoint token counts, ``320 fresh, 1,820 cached, 512 out``, without those that are 0."""
    parts = [f"{count(usage.fresh_input_tokens)} fresh"]
    if usage.cache_read_tokens:
        parts.append(f"{count(usage.cache_read_tokens)} cached")
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    if written:
        parts.append(f"{count(written)} written to cache")
    return ", ".join([*parts, f"{count(usage.output_tokens)} out"])


class TrackSketch(QWidget):
    """The eight rules as numbered points in order; the main line runs to the one that matched and leaves there."""

    def __init__(self, decision: RouteDecision, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._decision = decision
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        number = RULES.index(decision.rule) + 1
        self.setAccessibleName(
            f"Rule {number} of {len(RULES)} matched: {RULE_WORDS[decision.rule]}, to {side_word(decision.side)}"
        )
        theme().changed.connect(self._restyle)

    def _restyle(self) -> None:
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(theme().px(_WIDTH - 32), theme().px(96))

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


def _label(text: str, parent: QWidget, **properties: object) -> QLabel:
    label = QLabel(text, parent)
    label.setTextFormat(Qt.TextFormat.PlainText)
    set_property(label, **properties)
    return label


class DecisionCard(QFrame):
    """A popover; with a ``ChatResult`` it also has settled costs and the timeline.

    ``popup_at(widget)`` opens it beside a badge; Esc or a click elsewhere closes it.
    """

    def __init__(self, shown: ChatResult | RouteDecision, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowFlags(Qt.WindowType.Popup | Qt.WindowType.FramelessWindowHint)
        self.setAttribute(Qt.WidgetAttribute.WA_TranslucentBackground)
        self._result = shown if isinstance(shown, ChatResult) else None
        self._decision = shown.decision if isinstance(shown, ChatResult) else shown
        decision = self._decision
        self.setAccessibleName("Decision")
        self.setAccessibleDescription(decision.reason)
        self._column = QVBoxLayout(self)
        sentence = Sentence(f"{side_word(decision.side)}. {decision.reason}.", self, role="title", level=None)
        self._column.addWidget(sentence)
        if decision.fell_back_from:
            fell = _label(
                f"{side_word(decision.fell_back_from)} failed first, so it was sent here.",
                self,
                role="small",
                tone="held",
            )
            fell.setWordWrap(True)
            self._column.addWidget(fell)
        self._column.addWidget(TrackSketch(decision, self))
        self._grids: list[QGridLayout] = []
        self._section("What was read", self._signals_grid())
        self._section("Cost on each side", self._costs_grid())
        if self._result is not None:
            self._section("When", self._timeline_grid(self._result))
            self._column.addWidget(self._rule())
            self._column.addLayout(self._id_row(self._result.correlation_id))
        theme().changed.connect(self._respace)
        self._respace()

    def popup_at(self, anchor: QWidget) -> None:
        """Open under ``anchor``, or above it where the screen ends, with the focus inside."""
        self.adjustSize()
        size = self.sizeHint()
        corner = anchor.mapToGlobal(QPoint(0, anchor.height() + theme().px(4)))
        screen = anchor.screen().availableGeometry()
        if corner.y() + size.height() > screen.bottom():
            corner.setY(anchor.mapToGlobal(QPoint(0, 0)).y() - size.height() - theme().px(4))
        corner.setX(max(screen.left(), min(corner.x(), screen.right() - size.width())))
        corner.setY(max(screen.top(), corner.y()))
        self.move(corner)
        self.show()
        self.setFocus(Qt.FocusReason.PopupFocusReason)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.close()
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        unit = theme()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(unit.color("control"), 1))
        painter.setBrush(unit.color("raised"))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), unit.px(6), unit.px(6))
        painter.end()

    # -- sections --------------------------------------------------------------------------------

    def _rule(self) -> QFrame:
        rule = QFrame(self)
        set_property(rule, line=True)
        return rule

    def _section(self, title: str, grid: QGridLayout) -> None:
        self._column.addWidget(self._rule())
        self._column.addWidget(_label(title, self, role="small", weight=600))
        self._column.addLayout(grid)

    def _grid(self, rows: Sequence[Sequence[QWidget]], stretch: int, right_from: int) -> QGridLayout:
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        for y, row in enumerate(rows):
            for x, widget in enumerate(row):
                right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                grid.addWidget(widget, y, x, right if x >= right_from else Qt.AlignmentFlag.AlignVCenter)
        grid.setColumnStretch(stretch, 1)
        self._grids.append(grid)
        return grid

    def _signals_grid(self) -> QGridLayout:
        rows = [
            [
                _label(row.name, self, role="small", level="2"),
                _label(row.value, self, role="small", weight=500),
                _label(row.threshold, self, role="small", level="3"),
            ]
            for row in signal_rows(self._decision)
        ]
        return self._grid(rows, 1, 2)

    def _costs_grid(self) -> QGridLayout:
        head = [_label(word, self, role="caption", level="3") for word in ("", "Estimate", "Settled")]
        rows: list[list[QWidget]] = [list(head)]
        for side in ("local", "api"):
            rows.append(self._cost_row(side))
        return self._grid(rows, 0, 1)

    def _cost_row(self, side: Side) -> list[QWidget]:
        estimate = self._decision.estimate(side)
        model = f" · {estimate.model}" if estimate.model else ""
        name = _label(f"{side_word(side)}{model}", self, role="small", side=side, weight=500, tabular=False)
        guess = MoneyLabel(self)
        hold = estimate.hold_nanodollars
        if estimate.cost_nanodollars is None and side == "local":
            guess.set_cost(None, "loaded", NO_CHARGE_WHY)
        else:
            worst = f"At worst {format_cost(hold)}." if hold else ""
            guess.set_cost(estimate.cost_nanodollars, "estimate", worst)
        settled: QWidget
        if self._result is not None and self._result.side == side:
            money = MoneyLabel(self)
            money.set_cost(*cost_of(self._result), cost_tooltip(self._result))
            settled = money
        else:
            settled = _label("–", self, role="small", level="3")
            settled.setAccessibleName(f"Nothing settled on {side_word(side)}")
        return [name, guess, settled]

    def _timeline_grid(self, result: ChatResult) -> QGridLayout:
        started = result.started_at.astimezone()
        rows: list[tuple[str, str]] = [("Sent", f"{started:%H:%M:%S}")]
        first = "Not available" if result.ttft_ms is None else f"after {duration(result.ttft_ms)}"
        rows.append(("First token", first))
        rate = result.output_tokens_per_s
        tail = f", {speed(rate)}" if rate is not None else ""
        rows.append(("Last token", f"after {duration(result.latency_ms)}{tail}"))
        if result.usage is not None:
            usage = result.usage
            rows.append(
                (
                    "Tokens",
                    usage_words(usage),
                )
            )
        if result.dropped:
            rows.append(("Not sent", f"{', '.join(result.dropped)}: {result.model} doesn't take it"))
        return self._grid(
            [
                [_label(name, self, role="small", level="2"), _label(value, self, role="small")]
                for name, value in rows
            ],
            0,
            1,
        )

    def _id_row(self, correlation_id: str) -> QHBoxLayout:
        row = QHBoxLayout()
        words = _label(correlation_id, self, role="mono", level="2")
        words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        words.setAccessibleName("Correlation id")
        words.setAccessibleDescription(correlation_id)
        copy = IconButton("copy", "Copy the correlation id", parent=self)

        def put() -> None:
            QGuiApplication.clipboard().setText(correlation_id)
            copy.set_icon("check", "ok_text")
            copy.setToolTip("Copied")

        copy.clicked.connect(put)
        row.addWidget(words)
        row.addStretch(1)
        row.addWidget(copy)
        return row

    def _respace(self) -> None:
        px = theme().px
        self.setFixedWidth(px(_WIDTH))
        self._column.setContentsMargins(px(16), px(14), px(16), px(12))
        self._column.setSpacing(px(8))
        for grid in self._grids:
            grid.setHorizontalSpacing(px(16))
            grid.setVerticalSpacing(px(4))
