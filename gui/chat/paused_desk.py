"""Asks about paused conversations on the chat page, by their titles where they are chats of this panel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from core.errors import SignalboxError
from gui.chat.paused_cards import PausedCards, chat_hash
from gui.chat.thread_view import ThreadView
from gui.tasks import Tasks

if TYPE_CHECKING:
    from gui.bridge import Bridge


class PausedDesk(QObject):
    """``titles`` gives the titles of the chats that are known, by their ids.

    Signals:
        resumed: a conversation goes on.
        failed: why it could not be let go on.
        shown: cards came or went.
    """

    resumed = Signal()
    failed = Signal(str)
    shown = Signal()

    def __init__(
        self,
        bridge: Bridge,
        tasks: Tasks,
        cards: PausedCards,
        thread: ThreadView,
        titles: Callable[[], dict[str, str]],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._bridge, self._tasks, self._cards, self._thread = bridge, tasks, cards, thread
        self._chats = titles
        cards.resume_asked.connect(self.resume)
        cards.kept.connect(self.show)
        thread.card_changed.connect(self.show)
        bridge.status_changed.connect(self.show)

    def titles(self) -> dict[str, str]:
        """Return the titles of this panel's chats that are paused, by the core's name for them."""
        status = self._bridge.status
        paused = {item.conversation for item in status.paused} if status is not None else set[str]()
        if not paused:
            return {}
        named = {chat_hash(chat): title for chat, title in self._chats().items()}
        return {name: title for name, title in named.items() if name in paused}

    def show(self) -> None:
        status = self._bridge.status
        if status is None:
            return
        # A prompt that was just refused for it has a card of its own, which asks the same.
        card = self._thread.loose_card
        without = card.plan.conversation if card is not None else None
        self._cards.show_paused(status.paused, self.titles(), without)
        self.shown.emit()

    def keep(self, conversation: str) -> None:
        self._cards.keep(conversation)

    def resume(self, conversation: str) -> None:
        """Let a paused conversation go on."""
        self._tasks.start(self._resume(conversation), key=f"resume {conversation}")

    async def _resume(self, conversation: str) -> None:
        try:
            await self._bridge.call(self._bridge.core.resume(conversation))
        except SignalboxError as error:
            self.failed.emit(str(error))
        else:
            self.resumed.emit()
