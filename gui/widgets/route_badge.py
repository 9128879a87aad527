"""The route badge under an answer: side, reason, tokens, cost, speed, as one button that opens the decision."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QWidget

from core import Spending, counted, sentence_case
from core.chat import ChatResult, RouteDecision, Side
from gui.theme.theme import theme
from gui.widgets.decision_facts import steps_summary
from gui.widgets.formatting import (
    SETTLED_LATER_WHY,
    SIDE_ICONS,
    cost_tooltip,
    side_word,
    speed,
    timing,
    token_counts,
)
from gui.widgets.inline_row import InlineRun, narrow, paint_runs, row_width
from gui.widgets.marks import BusyTurn, paint_focus_ring
from gui.widgets.money_label import spending_runs, spoken_spending
from gui.widgets.painted_button import PaintedButton

_TIMING_DROP = 3
_TOKENS_DROP = 2
_STEPS_DROP = 1
_PAD = 8


class RouteBadge(PaintedButton):
    """26 px high. When narrow the speed leaves first, then tokens, then steps; the reason is elided last."""

    opened = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._side: Side | None = None
        self._body: list[InlineRun] = []
        self._decision: RouteDecision | None = None
        self._turn = BusyTurn(self)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.clicked.connect(self.opened)

    # -- states ----------------------------------------------------------------------------------

    def set_decision(self, decision: RouteDecision) -> None:
        """Say which request this is, before its first token: side and reason."""
        self._decision = decision
        self.set_streaming(0, None, None)

    def set_waiting(self, goal: str, words: str, detail: str) -> None:
        """Say what the request waits for: ``for Local``, and the same with place and time, which run down."""
        lamp = InlineRun(kind="lamp", name="busy", gap=_PAD)
        if self._decision is None:
            body = [replace(lamp, gap=0), InlineRun(text=words, token="text", gap=6, elide=True)]
        else:
            body = [*self._reason(), self._divider(), lamp, InlineRun(text=f"Waiting {words}", gap=6)]
        # The name stays the same while the time runs down: a screen reader hears it once.
        self._show(body, f"Waiting {goal}", busy=True, tooltip=detail)

    def set_streaming(
        self,
        tokens: int,
        tok_s: float | None,
        held: int | None,
        *,
        before: str = "Waiting for the first token",
    ) -> None:
        """Show the tokens so far, their rate if known, and the nano-dollars held for the request.

        ``before`` is what is said until the first token.
        """
        is_counted = self._decision is None or self._decision.side != "api"
        mark = "" if is_counted else "~"  # an API's pieces are several tokens long: the end tells how many
        words = before if tokens == 0 else f"Streaming · {mark}{counted(tokens, 'token')}"
        if tok_s is not None and is_counted:
            words += f" · {speed(tok_s)}"
        body = [
            *self._reason(),
            self._divider(),
            InlineRun(kind="lamp", name="busy", gap=_PAD),
            InlineRun(text=words, gap=6),
        ]
        if held:
            body += [self._divider(), *spending_runs(Spending(held_nanodollars=held), gap=_PAD)]
        # The description stays the same while tokens arrive: a screen reader hears it once, not per token.
        self._show(body, "Streaming", busy=True, tooltip="")

    def set_result(self, result: ChatResult, spending: Spending | None = None) -> None:
        """Show a finished (or stopped, or broken-off) answer.

        ``spending`` is what the ledger said of its cost since, ``None`` where the result's own word stands.
        """
        self._decision = result.decision
        how = cost_tooltip(result) if spending is None else SETTLED_LATER_WHY
        spending = spending or Spending.of(result)
        tokens, times = token_counts(result.usage, estimated=result.usage_estimated), timing(result)
        body = [*self._reason(result.side), *self._steps(result)]
        body += [self._divider(_TOKENS_DROP), InlineRun(text=tokens, gap=_PAD, drop=_TOKENS_DROP)]
        body.append(self._divider())
        if result.replayed:
            body.append(InlineRun(text="Not paid again", token="text", weight=600, gap=_PAD))
        else:
            body += spending_runs(spending, gap=_PAD)
        if times:
            body += [self._divider(_TIMING_DROP), InlineRun(text=times, gap=_PAD, drop=_TIMING_DROP)]
        paid = "replayed, not paid again" if result.replayed else spoken_spending(spending)
        spoken = ", ".join(part for part in (steps_summary(result), tokens, paid, times) if part)
        self._show(body, spoken, busy=False, tooltip=f"{spoken}\n{how}", side=result.side)

    @staticmethod
    def _steps(result: ChatResult) -> list[InlineRun]:
        """Waited, retried, repaired; and whether the answer matches the schema that was asked for."""
        runs: list[InlineRun] = []
        summary = steps_summary(result)
        if summary:
            runs.append(RouteBadge._divider(_STEPS_DROP))
            runs.append(InlineRun(text=sentence_case(summary), gap=_PAD, drop=_STEPS_DROP))
        if result.schema_valid is not None:
            icon, token = ("check-circle-fill", "ok") if result.schema_valid else ("warning-fill", "danger")
            words = "Valid" if result.schema_valid else "Not valid"
            runs.append(RouteBadge._divider(_STEPS_DROP))
            runs.append(InlineRun(kind="icon", name=icon, token=token, size=14, gap=_PAD, drop=_STEPS_DROP))
            runs.append(InlineRun(text=words, gap=4, drop=_STEPS_DROP))
        return runs

    def set_failed(
        self, words: str, decision: RouteDecision | None = None, spending: Spending | None = None
    ) -> None:
        """Show that the answer failed; ``words`` is a short fact, ``spending`` what it cost anyway."""
        self._decision = decision or self._decision
        body = [
            *self._reason(),
            self._divider(),
            InlineRun(kind="lamp", name="failed", gap=_PAD),
            InlineRun(text=words, token="danger_text", gap=6, elide=True),
        ]
        if spending is not None and spending.parts:
            body += [self._divider(), *spending_runs(spending, gap=_PAD)]
            words = f"{words}, {spoken_spending(spending)}"
        self._show(body, words, busy=False, tooltip=words)

    def set_stopped(self, words: str, decision: RouteDecision, spending: Spending | None = None) -> None:
        """Show that the user ended it before anything came: no failure, but it may have cost something."""
        self._decision = decision
        lamp = InlineRun(kind="lamp", name="stopped", gap=_PAD)
        body = [*self._reason(), self._divider(), lamp, InlineRun(text=words, gap=6, elide=True)]
        if spending is not None and spending.parts:
            body += [self._divider(), *spending_runs(spending, gap=_PAD)]
            words = f"{words}, {spoken_spending(spending)}"
        self._show(body, words, busy=False, tooltip=words)

    # -- painting --------------------------------------------------------------------------------

    def _reason(self, side: Side | None = None) -> list[InlineRun]:
        decision = self._decision
        self._side = side or (decision.side if decision else None)
        reason = decision.reason if decision else ""
        if decision and decision.fell_back_from:
            reason = f"Fell back from {side_word(decision.fell_back_from)}. {reason}"
        return [InlineRun(text=reason, token="text", elide=True)]

    @staticmethod
    def _divider(drop: int = 0) -> InlineRun:
        return InlineRun(kind="divider", gap=_PAD, drop=drop)

    def _show(
        self, body: list[InlineRun], spoken: str, *, busy: bool, tooltip: str, side: Side | None = None
    ) -> None:
        caret = [self._divider(), InlineRun(kind="icon", name="caret-right", size=12, gap=_PAD)]
        before = row_width(self._body)
        self._body = [*body, *caret] if self._decision is not None else body
        self._turn.set_busy(busy)
        reason = self._decision.reason if self._decision else ""
        if self._decision is None:
            self.describe(spoken, tooltip)
        else:
            self.describe(f"{side_word(side or self._side)}: {reason}", f"{spoken}. Opens the decision")
        self.setToolTip(tooltip)
        if abs(row_width(self._body) - before) >= 1:
            self.updateGeometry()
        self.update()

    def _side_runs(self) -> list[InlineRun]:
        if self._decision is None:
            return [
                InlineRun(kind="icon", name="hourglass-medium", token="text2", size=14),
                InlineRun(text="Waiting", token="text2", weight=600, gap=6),
            ]
        token = "text2" if self._side is None else f"{self._side}_text"
        icon = "prohibit" if self._side is None else SIDE_ICONS[self._side]
        word = side_word(self._side)
        return [
            InlineRun(kind="icon", name=icon, token=token, size=14),
            InlineRun(text=word, token=token, weight=600, gap=6),
        ]

    def _side_width(self) -> int:
        return round(row_width(self._side_runs()) + 0.5) + 2 * theme().px(_PAD) + 1

    def sizeHint(self) -> QSize:
        px = theme().px
        return QSize(self._side_width() + round(row_width(self._body) + 0.5) + 2 * px(_PAD) + 2, px(26))

    def minimumSizeHint(self) -> QSize:
        return QSize(self._side_width() + theme().px(120), theme().px(26))

    def paintEvent(self, event: QPaintEvent) -> None:
        unit = theme()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        radius, pad, cell = unit.px(4), unit.px(_PAD), self._side_width()
        edges = cell + 2 * pad + 2
        body = narrow(self._body, min(self.width(), self.sizeHint().width()) - edges)
        # What was dropped leaves no empty room behind.
        width = min(self.width(), edges + round(row_width(body) + 0.5))
        box = QRectF(0, 0, width, self.height())
        ground = "select" if self.isDown() else "hover" if self.underMouse() else "surface"
        outline = QPainterPath()
        outline.addRoundedRect(box.adjusted(0.5, 0.5, -0.5, -0.5), radius, radius)
        painter.fillPath(outline, unit.color(ground))
        painter.save()
        painter.setClipPath(outline)
        tint = "sunken" if self._side is None else f"{self._side}_tint"
        painter.fillRect(QRectF(0, 0, cell, box.height()), unit.color(tint))
        painter.fillRect(QRectF(cell, 0, 1, box.height()), unit.color("border"))
        painter.restore()
        painter.strokePath(outline, QPen(unit.color("border"), 1))
        paint_runs(painter, QRectF(pad + 1, 0, cell, box.height()), self._side_runs())
        room = QRectF(cell + pad, 0, max(0.0, width - cell - 2 * pad), box.height())
        paint_runs(painter, room, body, self._turn.phase)
        if self.hasFocus():
            paint_focus_ring(painter, box, unit.px(3))
        painter.end()
