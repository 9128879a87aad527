"""A failure's plan as a card, and the local server's log in a popover."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QLabel, QPlainTextEdit, QVBoxLayout, QWidget

from gui.chat.failures import Action, Plan
from gui.chat.prose import code_font
from gui.theme import set_property, theme
from gui.widgets.budget_bar import BudgetSummary
from gui.widgets.error_card import ErrorCard, ShortCard


class FailureCard(QWidget):
    """Signals:
    acted: the ``Action`` of the button that was pressed.
    """

    acted = Signal(str)

    def __init__(self, plan: Plan, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.plan = plan
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.card: ErrorCard | ShortCard
        if plan.short:
            fix = None if plan.fix is None else (plan.fix[0], self._act(plan.fix[1]))
            self.card = ShortCard(plan.title, plan.sentence, fix, tone=plan.tone, icon=plan.icon)
        else:
            self.card = ErrorCard(
                plan.title,
                plan.sentence,
                None if plan.fix is None else (plan.fix[0], self._act(plan.fix[1])),
                [(label, icon, self._act(action)) for label, icon, action in plan.actions],
                kept=plan.kept,
                log=plan.log,
                tone=plan.tone,
                icon=plan.icon,
                body=self._budget(plan),
            )
        column.addWidget(self.card)

    def _act(self, action: Action) -> Callable[[], object]:
        return lambda: self.acted.emit(action)

    @staticmethod
    def _budget(plan: Plan) -> QWidget | None:
        amounts = plan.amounts
        if amounts is None:
            return None
        summary = BudgetSummary()
        summary.set_amounts(
            amounts.spent_nanodollars or 0,
            amounts.held_nanodollars or 0,
            amounts.limit_nanodollars,
            held_count=amounts.held_count,
            asked=amounts.asked_nanodollars,
        )
        return summary


class LogPopover(QFrame):
    """The last lines of a log, newest at the bottom; Esc or a click elsewhere closes it."""

    def __init__(self, title: str, lines: Sequence[str], parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        set_property(self, popover=True)
        unit = theme()
        heading = QLabel(title)
        set_property(heading, role="body", weight=600)
        text = QPlainTextEdit()
        text.setReadOnly(True)
        text.setFont(code_font())
        text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        text.setPlainText("\n".join(lines) or "The log is empty.")
        text.setAccessibleName(title)
        column = QVBoxLayout(self)
        column.setContentsMargins(unit.px(14), unit.px(12), unit.px(14), unit.px(14))
        column.setSpacing(unit.px(8))
        column.addWidget(heading)
        column.addWidget(text)
        self.resize(unit.px(680), unit.px(360))
        text.verticalScrollBar().setValue(text.verticalScrollBar().maximum())
        text.setFocus()
