"""Conversations that sent like a loop and are paused: the panel asks for each whether it may go on."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from core.chat import ChatRequest
from core.routing.conversations import conversation_of
from core.spend.rows import PausedConversation
from gui.chat.core_failures import paused_sentence
from gui.theme import theme
from gui.widgets.error_card import ErrorCard

SHOWN = 3


def chat_hash(conversation_id: str) -> str:
    """Return the name that the core has for a chat of this panel."""
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
