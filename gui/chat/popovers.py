"""What opens over an answer: why it went where it went, and where a link leads."""

from __future__ import annotations

from PySide6.QtCore import QObject, QPoint, Qt, Signal
from PySide6.QtWidgets import QWidget

from gui.chat.answer_message import AnswerMessage
from gui.chat.links import LinkPopover
from gui.chat.open_chats import OpenChats
from gui.chat.thread_view import ThreadView
from gui.widgets.decision_card import DecisionCard


class Popovers(QObject):
    """Signals:
    closed: one is gone, and the focus may be nowhere.
    """

    closed = Signal()

    def __init__(self, chats: OpenChats, thread: ThreadView, page: QWidget) -> None:
        super().__init__(page)
        self._chats, self._thread, self._page = chats, thread, page
        thread.badge_opened.connect(self._open_decision)
        thread.link_clicked.connect(self._open_link)

    def _open_decision(self, answer_id: str) -> None:
        view = self._thread.view_of(answer_id)
        message = self._chats.shown.tree[answer_id]
        shown = message.result or message.decision
        if isinstance(view, AnswerMessage) and shown is not None:
            card = DecisionCard(shown, self._page)
            card.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            card.destroyed.connect(self.closed)
            card.popup_at(view.badge)

    def _open_link(self, target: str, place: QPoint) -> None:
        popover = LinkPopover(target, self._page)
        popover.destroyed.connect(self.closed)
        popover.show_at(place)
