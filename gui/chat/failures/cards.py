"""Cards for failures and for paused conversations, and the local server's log in a popover."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, QTimer, Signal
from PySide6.QtWidgets import QPlainTextEdit, QPushButton, QVBoxLayout, QWidget

from core import exact_duration
from core.chat import ChatRequest
from gui.chat.failures.plan import SENDING, Action, Plan
from gui.chat.failures.plans import paused_sentence
from gui.chat.markdown.prose import code_font
from gui.theme.theme import set_property, theme
from gui.widgets.budget_bar import BudgetSummary
from gui.widgets.error_card import ErrorCard, ShortCard
from gui.widgets.labels import plain_label
from gui.widgets.popover import Popover

if TYPE_CHECKING:
    from core import PausedConversation

COUNT_MS = 250


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
        self._can_send = True
        self._clock = QTimer(self)
        self._clock.setInterval(COUNT_MS)
        self._clock.timeout.connect(self._count_down)
        if plan.retry_at_ms is not None and plan.fix is not None:
            self._count_down()

    def _count_down(self) -> None:
        """Keep the first button off until it is time, and say how long that is."""
        button = self.buttons[0]
        assert self.plan.fix is not None
        assert self.plan.retry_at_ms is not None
        left_s = math.ceil(self.plan.retry_at_ms / 1000 - time.time())
        button.setEnabled(left_s <= 0 and self._can_send)
        button.setText(self.plan.fix[0] if left_s <= 0 else f"{self.plan.fix[0]} in {exact_duration(left_s)}")
        if left_s > 0:
            self._clock.start()
        else:
            self._clock.stop()

    def set_can_send(self, can_send: bool) -> None:
        """Say whether there is a prompt to send: without one, the buttons that send it are off."""
        if can_send == self._can_send:
            return
        self._can_send = can_send
        for button, action in zip(self.buttons, self._offered(), strict=True):
            if action in SENDING:
                button.setEnabled(can_send)
        if self._clock.isActive():
            self._count_down()

    @property
    def buttons(self) -> list[QPushButton]:
        """The card's buttons, the first is the fix."""
        if isinstance(self.card, ErrorCard):
            return self.card.buttons
        return [] if self.card.button is None else [self.card.button]

    def _offered(self) -> list[Action]:
        offered: list[Action] = [] if self.plan.fix is None else [self.plan.fix[1]]
        return offered if self.plan.short else [*offered, *(action for _, _, action in self.plan.actions)]

    def _act(self, action: Action) -> Callable[[], object]:
        return lambda: self.acted.emit(action)

    @staticmethod
    def _budget(plan: Plan) -> QWidget | None:
        amounts = plan.amounts
        if amounts is None:
            return None
        summary = BudgetSummary()
        summary.set_amounts(
            (amounts.spent_nanodollars or 0) - amounts.unsettled_nanodollars,
            amounts.held_nanodollars or 0,
            amounts.limit_nanodollars,
            held_count=amounts.held_count,
            estimated=plan.facts.estimated,
            unsettled=amounts.unsettled_nanodollars,
            asked=amounts.asked_nanodollars,
            unit="tokens" if amounts.unit == "tokens" else "nanodollars",
        )
        return summary


class LogPopover(Popover):
    """The last lines of a log, newest at the bottom."""

    def __init__(self, title: str, lines: Sequence[str], parent: QWidget) -> None:
        super().__init__(title, parent, width_px=680, height_px=360)
        px = theme().px
        heading = plain_label(title)
        set_property(heading, role="body", weight=600)
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setFont(code_font())
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.text.setPlainText("\n".join(lines) or "The log is empty.")
        self.text.setAccessibleName(title)
        self.column.setContentsMargins(px(14), px(12), px(14), px(14))
        self.column.setSpacing(px(8))
        self.column.addWidget(heading)
        self.column.addWidget(self.text)

    def open_at(self, place: QPoint) -> None:
        """Open at ``place``, a point of the screen, with the newest line in sight."""
        self.popup_at_point(place, gap_px=0, focus=self.text)
        bar = self.text.verticalScrollBar()
        bar.setValue(bar.maximum())


SHOWN = 3


def chat_hash(conversation_id: str) -> str:
    """Return the name that the core has for a chat of this panel."""
    from core import conversation_of  # only a paused conversation needs it

    return conversation_of(ChatRequest(messages=(), conversation_id=conversation_id))


def paused_title(title: str | None) -> str:
    """Return what a paused conversation is called; ``None`` is one that no chat here belongs to."""
    return "A conversation of another program is paused" if title is None else f"“{title}” is paused"


class PausedCards(QWidget):
    """Signals:
    resume_asked: the conversation that may go on.
    kept: the conversation that stays paused; its card goes, the bell keeps it.
    """

    resume_asked = Signal(str)
    kept = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._kept: set[str] = set()
        self._shown: tuple[tuple[str, str], ...] = ()
        self.cards: dict[str, ErrorCard] = {}
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(theme().px(8))
        self.hide()

    def show_paused(
        self, paused: Iterable[PausedConversation], titles: dict[str, str], without: str | None = None
    ) -> None:
        """Ask for each of ``paused``; ``without`` is asked about elsewhere on the page."""
        listed = list(paused)
        self._kept &= {item.conversation for item in listed}
        asked = [
            item for item in listed if item.conversation not in self._kept and item.conversation != without
        ]
        asked = asked[:SHOWN]
        shown = tuple((item.conversation, titles.get(item.conversation, "")) for item in asked)
        if shown == self._shown:
            return
        self._shown = shown
        for card in self.cards.values():
            self._column.removeWidget(card)
            card.hide()
            card.deleteLater()
        self.cards = {}
        for item in asked:
            self.cards[item.conversation] = card = self._card(item, titles.get(item.conversation))
            self._column.addWidget(card)
        self.setVisible(bool(asked))

    def keep(self, conversation: str) -> None:
        """Take the card away; it comes again when the conversation is paused anew."""
        self._kept.add(conversation)
        self.kept.emit(conversation)

    def _card(self, item: PausedConversation, title: str | None) -> ErrorCard:
        conversation, since = item.conversation, item.since.astimezone()
        return ErrorCard(
            paused_title(title),
            paused_sentence(item.per_minute),
            actions=[
                ("Let it go on", "", lambda: self.resume_asked.emit(conversation)),
                ("Keep it paused", "", lambda: self.keep(conversation)),
            ],
            kept=f"Paused at {since:%H:%M}. What it sends meanwhile is refused and costs nothing.",
            tone="held",
            icon="pause-circle-fill",
        )
