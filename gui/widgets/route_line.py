"""The route line: where the prompt being typed would go, why, and what it would cost on each side."""

from __future__ import annotations

from PySide6.QtCore import QEasingCurve, QRectF, QSize, QVariantAnimation
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from core import format_cost, sentence
from core.chat import RouteDecision, Side
from gui.theme.theme import theme
from gui.widgets.formatting import NO_CHARGE, NO_CHARGE_WHY, SIDE_ICONS, refused_why, side_word
from gui.widgets.inline_row import InlineRun, paint_runs, row_width, text_width
from gui.widgets.marks import paint_points
from gui.widgets.painted_button import Painted

_WIDEST_ESTIMATE = "~$0.0000"
_PAD = 12
_SKETCH = 52
_RESTING = "Type a prompt to see where it would go"


class RouteLine(Painted):
    """34 px high. The figures on the right stand in fixed columns, so typing never makes them jump."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, across=QSizePolicy.Policy.Ignored)
        self._decision: RouteDecision | None = None
        self._note = _RESTING
        self._swing = 0.0
        self._animation = QVariantAnimation(self)
        self._animation.setEasingCurve(QEasingCurve.Type.OutCubic)
        self._animation.valueChanged.connect(self._on_swing)
        self.set_decision(None)

    @property
    def decision(self) -> RouteDecision | None:
        return self._decision

    def set_decision(self, decision: RouteDecision | None, note: str | None = None) -> None:
        """Show a decision, or with ``None`` rest with ``note``."""
        before = self._decision.side if self._decision else None
        self._decision = decision
        self._note = note or _RESTING
        if decision is None:
            self._announce("Route", self._note, "")
        else:
            costs = ", ".join(f"{side_word(side)} {self._estimate(side)}" for side in ("local", "api"))
            self._announce(f"{self._where(decision)}: {decision.reason}", costs, self._tooltip(decision))
            if decision.side is not None and decision.side != before:
                self._move_blade(1.0 if decision.side == "api" else 0.0, at_once=before is None)
        self.update()

    def _announce(self, name: str, description: str, tooltip: str) -> None:
        if name != self.accessibleName():
            self.setAccessibleName(name)
        if description != self.accessibleDescription():
            self.setAccessibleDescription(description)
        self.setToolTip(tooltip)

    @staticmethod
    def _where(decision: RouteDecision) -> str:
        """Say what would happen: nothing was sent yet, so nothing was refused."""
        return "Would be refused" if decision.side is None else side_word(decision.side)

    @staticmethod
    def _tooltip(decision: RouteDecision) -> str:
        lines = [" ".join(part for part in (sentence(decision.reason), decision.refusal_hint) if part)]
        for side in ("local", "api"):
            estimate = decision.estimate(side)
            model = f" ({estimate.model})" if estimate.model else ""
            if (why := refused_why(decision, side)) is not None:
                if why != decision.reason:
                    lines.append(f"{side_word(side)}{model}: {why}")
            elif side == "local" and estimate.cost_nanodollars is None:
                lines.append(f"Local{model}: {NO_CHARGE_WHY}")
            else:
                worst = estimate.hold_nanodollars
                tail = f", at worst {format_cost(worst)}" if worst else ""
                lines.append(
                    f"{side_word(side)}{model}: {format_cost(estimate.cost_nanodollars, estimate=True)}{tail}"
                )
        return "\n".join(lines)

    def _estimate(self, side: Side) -> str:
        if self._decision is None:
            return ""
        if refused_why(self._decision, side) is not None:
            return "–"
        cost = self._decision.estimate(side).cost_nanodollars
        if cost is None:
            return NO_CHARGE if side == "local" else "Unpriced"
        return format_cost(cost, estimate=True)

    def _move_blade(self, target: float, *, at_once: bool) -> None:
        self._animation.stop()
        duration_ms = theme().animation_ms
        if at_once or duration_ms == 0 or not self.isVisible():
            self._swing = target
            return
        self._animation.setDuration(duration_ms)
        self._animation.setStartValue(self._swing)
        self._animation.setEndValue(target)
        self._animation.start()

    def _on_swing(self, value: object) -> None:
        if isinstance(value, float):
            self._swing = value
            self.update()

    def sizeHint(self) -> QSize:
        return QSize(theme().px(480), theme().px(34))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme().px(240), theme().px(34))

    def _words(self) -> list[InlineRun]:
        decision = self._decision
        if decision is None:
            return [InlineRun(text=self._note, token="text3", elide=True)]
        token = "held_text" if decision.side is None else f"{decision.side}_text"
        return [
            InlineRun(text=self._where(decision), token=token, weight=600),
            InlineRun(text=decision.reason, elide=True),
        ]

    def _columns(self) -> list[list[InlineRun]]:
        if self._decision is None:
            return []
        columns: list[list[InlineRun]] = []
        for side in ("local", "api"):
            chosen = self._decision.side == side
            text = self._estimate(side)
            figure = InlineRun(
                text=text, token="text" if chosen else "text2", weight=600 if chosen else 400, gap=6
            )
            if text == "Unpriced":
                figure = InlineRun(kind="tag", text=text, token="held_text", gap=6)
            columns.append([InlineRun(kind="icon", name=SIDE_ICONS[side], token=f"{side}_text"), figure])
        return columns

    def paintEvent(self, event: QPaintEvent) -> None:
        unit = theme()
        px = unit.px
        painter = QPainter(self)
        box = QRectF(self.rect())
        sketch = QRectF(px(_PAD), box.center().y() - px(8), px(_SKETCH), px(16))
        decided = self._decision is not None and self._decision.side is not None
        paint_points(painter, sketch, self._swing if decided else None, line_px=px(3))
        widest = max(text_width(text, weight=600) for text in (_WIDEST_ESTIMATE, NO_CHARGE))
        columns = self._columns()
        column = max([px(16) + px(6) + widest, *(row_width(runs) for runs in columns)])
        right = box.right() - px(_PAD)
        for runs in reversed(columns):
            paint_runs(painter, QRectF(right - column, 0, column + 1, box.height()), runs)
            right -= column + px(8)
        left = sketch.right() + px(10)
        paint_runs(painter, QRectF(left, 0, max(0.0, right - left - px(8)), box.height()), self._words())
        painter.end()
