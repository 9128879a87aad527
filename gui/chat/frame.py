"""How the chat page is laid out: the list at the left; head, messages and composer in a column beside it."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtWidgets import QHBoxLayout, QSplitter, QVBoxLayout, QWidget

from gui.chat.composer import Composer
from gui.chat.conversation_list import ConversationList
from gui.chat.header_row import HeaderRow
from gui.chat.paused_cards import PausedCards
from gui.chat.thread_view import ThreadView
from gui.chat.trouble_bar import TroubleBar
from gui.chat.welcome_hint import WelcomeHint
from gui.theme import theme

LIST_MIN_PX, LIST_MAX_PX = 200, 320
LIST_ENOUGH_PX = 240
"""Not zoomed: as wide as the list has to be at most."""


class ChatFrame(QObject):
    """Composer and cards keep to the messages' column, however wide the page is.

    ``right`` is all that is beside the list, ``beside`` the row in it that has room for a drawer.
    """

    def __init__(
        self,
        page: QWidget,
        *,
        conversations: ConversationList,
        header: HeaderRow,
        trouble: TroubleBar,
        paused: PausedCards,
        hint: WelcomeHint,
        thread: ThreadView,
        composer: Composer,
    ) -> None:
        super().__init__(page)
        self._paused, self._thread = paused, thread
        self._main = QWidget()
        self._main.installEventFilter(self)
        main = QVBoxLayout(self._main)
        main.setContentsMargins(0, 0, 0, 0)
        main.setSpacing(0)
        self._composer_row = QHBoxLayout()
        self._composer_row.addWidget(composer)
        main.addWidget(header)
        main.addWidget(trouble)
        self._paused_row = QHBoxLayout()
        self._paused_row.addWidget(paused)
        main.addLayout(self._paused_row)
        main.addWidget(hint, 1)
        main.addWidget(thread, 1)
        main.addLayout(self._composer_row)
        self.right = QWidget()
        self.beside = QHBoxLayout(self.right)
        self.beside.setContentsMargins(0, 0, 0, 0)
        self.beside.setSpacing(0)
        self.beside.addWidget(self._main, 1)
        splitter = QSplitter(Qt.Orientation.Horizontal)
        splitter.setObjectName("chat")
        splitter.setChildrenCollapsible(False)
        splitter.setHandleWidth(1)
        splitter.addWidget(conversations)
        splitter.addWidget(self.right)
        splitter.setStretchFactor(1, 1)
        unit = theme()
        self._conversations = conversations
        self._size_list()
        splitter.setSizes([unit.px(236), 1000])
        outer = QHBoxLayout(page)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(splitter)
        thread.hide()
        unit.changed.connect(self._size_list)
        unit.changed.connect(self.respace)

    def _size_list(self) -> None:
        """Zoomed, it may be wider, but in the smallest window it leaves the composer its room."""
        unit = theme()
        self._conversations.setMinimumWidth(min(unit.px(LIST_MIN_PX), LIST_ENOUGH_PX))
        self._conversations.setMaximumWidth(unit.px(LIST_MAX_PX))

    def respace(self) -> None:
        """Keep composer and cards in the messages' column."""
        unit = theme()
        left = self._thread.column_margin_for(self._main.width())
        self._composer_row.setContentsMargins(left, 0, left, unit.px(16))
        above = unit.px(12) if self._paused.isVisibleTo(self._main) else 0
        self._paused_row.setContentsMargins(left, above, left, above // 2)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self._main and event.type() == QEvent.Type.Resize:
            self.respace()
        return False
