"""How the chat page looks: the list at the left; head, messages and composer in a column beside it; the drawer.

The view shows what it is given and says what the user did; what that means is ``controller.py``'s business.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent, QObject, QPoint, QRect, Qt, Signal
from PySide6.QtGui import QHideEvent, QKeySequence, QResizeEvent, QShortcut, QShowEvent
from PySide6.QtWidgets import QApplication, QHBoxLayout, QSplitter, QVBoxLayout, QWidget

from gui.chat.answer_message import AnswerMessage
from gui.chat.composer import Composer
from gui.chat.conversation_list import ConversationList
from gui.chat.failures.cards import PausedCards
from gui.chat.find_bar import FindBar
from gui.chat.header_row import HeaderRow
from gui.chat.markdown.highlighter import LexerCache
from gui.chat.markdown.links import LinkPopover
from gui.chat.options import WIDTH_PX, OptionsDrawer
from gui.chat.session import Session
from gui.chat.storage.models import StoredMessage
from gui.chat.thread_view import ThreadView
from gui.chat.transfer_card import TransferCard
from gui.chat.user_message import UserMessage
from gui.chat.welcome_hint import WelcomeHint
from gui.theme.theme import theme
from gui.widgets.banner import TroubleBar
from gui.widgets.copying import announce
from gui.widgets.decision_card import DecisionCard
from gui.widgets.toast import ToastHost

LIST_MIN_PX, LIST_MAX_PX = 200, 320
LIST_ENOUGH_PX = 240
"""Not zoomed: as wide as the list has to be at most."""
NARROW_PX = 700
"""Below this width the list hides, so that the messages keep their room; Ctrl+B shows it all the same."""
BESIDE_PX = 880
"""From this width on the drawer stands beside the messages, so that it hides neither badges nor Send."""


class ChatView(QWidget):
    """Its parts are public, and so are their signals.

    Signals:
        new_asked: Ctrl+N.
        stop_asked: Esc, where nothing was open that it closes.
        find_asked, find_stepped(by), find_closed: Ctrl+F, F3 and Shift+F3, Esc.
        model_asked: Ctrl+L, or the model in the head or the drawer; the widget to open the choice at.
    """

    new_asked = Signal()
    stop_asked = Signal()
    find_asked = Signal()
    find_stepped = Signal(int)
    find_closed = Signal()
    model_asked = Signal(QWidget)

    def __init__(self, lexers: LexerCache, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        lexers.setParent(self)
        self._is_closing = False
        self._is_narrow = False
        self._list_wanted = True
        self.list = ConversationList()
        self.header = HeaderRow()
        self.trouble = TroubleBar()
        self.find_bar = FindBar()
        self.transfer = TransferCard()
        self.paused = PausedCards()
        self.thread_view = ThreadView(lexers)
        self.hint = WelcomeHint()
        self.composer = Composer()
        self.drawer = OptionsDrawer(self)
        self.drawer.hide()
        self.toasts = ToastHost(self, clear_of=lambda: self.composer)
        self._build()
        self._connect()
        self._shortcuts = self._add_shortcuts()
        self.focus_composer()

    def _build(self) -> None:
        self._main = QWidget()
        self._main.installEventFilter(self)
        main = QVBoxLayout(self._main)
        main.setContentsMargins(0, 0, 0, 0)
        main.setSpacing(0)
        self._composer_row = QHBoxLayout()
        self._composer_row.addWidget(self.composer)
        main.addWidget(self.header)
        main.addWidget(self.trouble)
        main.addWidget(self.find_bar)
        self._transfer_row = QHBoxLayout()
        self._transfer_row.addWidget(self.transfer)
        main.addLayout(self._transfer_row)
        self._paused_row = QHBoxLayout()
        self._paused_row.addWidget(self.paused)
        main.addLayout(self._paused_row)
        main.addWidget(self.hint, 1)
        main.addWidget(self.thread_view, 1)
        main.addLayout(self._composer_row)
        self._right = QWidget()
        self._beside = QHBoxLayout(self._right)  # has room for the drawer
        self._beside.setContentsMargins(0, 0, 0, 0)
        self._beside.setSpacing(0)
        self._beside.addWidget(self._main, 1)
        splitter = QSplitter(Qt.Orientation.Horizontal)
        splitter.setObjectName("chat")
        splitter.setChildrenCollapsible(False)
        splitter.setHandleWidth(1)
        splitter.addWidget(self.list)
        splitter.addWidget(self._right)
        splitter.setStretchFactor(1, 1)
        self._size_list()
        splitter.setSizes([theme().px(236), 1000])
        outer = QHBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(splitter)
        self.thread_view.hide()

    def _connect(self) -> None:
        self.header.list_asked.connect(self.toggle_list)
        self.drawer.closed.connect(self.close_options)
        self.header.model_asked.connect(lambda: self.model_asked.emit(self.header.model_pill))
        self.drawer.model_asked.connect(lambda: self.model_asked.emit(self.drawer.model_button))
        self.thread_view.link_clicked.connect(self._open_link)
        self.thread_view.kept.connect(self.focus_composer)
        self.thread_view.progress.told.connect(self.announce)
        theme().changed.connect(self._size_list)
        theme().changed.connect(self._fit_list)
        theme().changed.connect(self.respace)

    def _size_list(self) -> None:
        """Zoomed, it may be wider, but in the smallest window it leaves the composer its room."""
        unit = theme()
        self.list.setMinimumWidth(min(unit.px(LIST_MIN_PX), LIST_ENOUGH_PX))
        self.list.setMaximumWidth(unit.px(LIST_MAX_PX))

    def respace(self) -> None:
        """Keep composer and cards in the messages' column, however wide the page is."""
        unit = theme()
        left = self.thread_view.column_margin_for(self._main.width())
        self._composer_row.setContentsMargins(left, 0, left, unit.px(16))
        above = unit.px(12) if self.transfer.isVisibleTo(self._main) else 0
        self._transfer_row.setContentsMargins(left, above, left, 0)
        above = unit.px(12) if self.paused.isVisibleTo(self._main) else 0
        self._paused_row.setContentsMargins(left, above, left, above // 2)

    # Keys

    def _add_shortcuts(self) -> list[QShortcut]:
        """The page's keys, in the whole window while the page is shown."""
        keys: tuple[tuple[str, Callable[[], object]], ...] = (
            ("Ctrl+N", self.new_asked.emit),
            ("Ctrl+K", self.focus_search),
            ("Ctrl+B", self.toggle_list),
            ("Ctrl+F", self.find_asked.emit),
            ("F3", lambda: self.find_stepped.emit(1)),
            ("Shift+F3", lambda: self.find_stepped.emit(-1)),
            ("Ctrl+L", self.header.model_asked.emit),
            ("Esc", self._on_escape),
        )
        shortcuts: list[QShortcut] = []
        for key, act in keys:
            shortcut = QShortcut(QKeySequence(key), self)
            shortcut.setContext(Qt.ShortcutContext.WindowShortcut)  # also with the focus on the rail
            shortcut.setEnabled(self.isVisible())
            shortcut.activated.connect(act)
            shortcuts.append(shortcut)
        return shortcuts

    def _on_escape(self) -> None:
        """Close what is open on top; where nothing is, stop the answer."""
        popup = QApplication.activePopupWidget()
        if popup is not None:
            popup.close()
            return
        if self.find_bar.isVisible() and self.find_bar.isAncestorOf(QApplication.focusWidget() or self):
            self.find_closed.emit()
            return
        editors = [view for view in self.thread_view.views() if isinstance(view, UserMessage) and view.edit]
        if editors:
            focus = QApplication.focusWidget()
            focused = [view for view in editors if focus is not None and view.isAncestorOf(focus)]
            (focused or editors)[-1].keep()
        elif self.find_bar.isVisible():
            self.find_closed.emit()
        elif self.list.isVisible() and self.list.search.text():
            self.list.search.clear()
            self.focus_composer()
        elif self.drawer.isVisible():
            self.close_options()
        else:
            self.stop_asked.emit()
            self.focus_composer()

    def focus_composer(self) -> None:
        self.composer.edit.setFocus(Qt.FocusReason.OtherFocusReason)

    # The list

    def toggle_list(self) -> None:
        """Ctrl+B."""
        shown = self.list.isHidden()
        if not self._is_narrow:
            self._list_wanted = shown
        self._set_list_shown(shown)

    def _set_list_shown(self, shown: bool) -> None:
        self.list.setVisible(shown)
        self.header.list_button.setVisible(not shown)

    def _fit_list(self) -> None:
        """Hide the list where the page becomes narrow, and show it again, if it was wanted, where it is wide."""
        is_narrow = self.width() < theme().px(NARROW_PX)
        if is_narrow != self._is_narrow:
            self._is_narrow = is_narrow
            self._set_list_shown(self._list_wanted and not is_narrow)

    def focus_search(self) -> None:
        self._show_list()
        self.list.focus_search()

    def edit_title(self, conversation_id: str) -> None:
        """Begin to rename a conversation in its row."""
        self._show_list()
        self.list.edit_title(conversation_id)

    def _show_list(self) -> None:
        if not self.list.isVisible():
            self.toggle_list()

    # The conversation

    def show_head(self, session: Session) -> None:
        """Show a conversation's title and totals, and its messages or, where there are none, the hint."""
        self.header.set_title(session.title)
        self.header.set_totals(session.totals)
        if session.answers_elsewhere and not session.totals.answers:
            self.header.set_unknown_cost(session.answers_elsewhere)
        has_messages = len(session.tree) > 0
        self.header.set_has_content(has_messages)
        shows_thread = has_messages or self.thread_view.loose_card is not None
        self.hint.setVisible(not shows_thread)
        self.hint.set_side(session.options.force)
        self.thread_view.setVisible(shows_thread)

    def announce(self, words: str) -> None:
        """Tell a screen reader once that something ended, not for every token."""
        announce(self, words)

    def show_error(self, words: str) -> None:
        """Say above the messages what went wrong, where trying again is of no use."""
        self.trouble.say(words, can_retry=False)

    def show_max_tokens(self, own: int | None, default: int | None) -> None:
        """Show the chat's limit of tokens, or the setting's where it has none, under the box and in the drawer."""
        self.composer.set_max_tokens(own or default)
        self.drawer.set_default_max_tokens(default)

    # The drawer of options

    def open_options(self) -> None:
        self.header.options_button.setChecked(True)
        self._place_options(slide=not self.drawer.isVisible())

    def close_options(self) -> None:
        self.drawer.hide()
        self._beside.removeWidget(self.drawer)
        self.header.options_button.setChecked(False)
        self.focus_composer()

    def _place_options(self, *, slide: bool = False) -> None:
        """Beside the messages where there is room for both, else over them, down to the composer."""
        unit = theme()
        if self._right.width() >= unit.px(BESIDE_PX):
            self._beside.addWidget(self.drawer)
            self.drawer.show()
            return
        self._beside.removeWidget(self.drawer)
        self.drawer.setParent(self)
        top = self.header.height()
        bottom = self.composer.mapTo(self, QPoint(0, 0)).y() - unit.px(8)
        width = unit.px(WIDTH_PX)
        place = QRect(self.width() - width, top, width, max(unit.px(200), bottom - top))
        if slide:
            self.drawer.slide_to(place)
        else:
            self.drawer.setGeometry(place)
            self.drawer.show()
            self.drawer.raise_()

    # What opens over an answer

    def open_decision(self, message: StoredMessage) -> DecisionCard | None:
        """Say under an answer's badge why it went where it went; ``None`` where it is not shown."""
        view, shown = self.thread_view.view_of(message.id), message.result or message.decision
        if not isinstance(view, AnswerMessage) or shown is None:
            return None
        spending = message.settled_later if message.result is not None else message.spending
        card = DecisionCard(shown, self, spending=spending)
        card.destroyed.connect(self._on_popover_closed)
        card.popup_at(view.badge)
        return card

    def _open_link(self, target: str, place: QPoint) -> None:
        popover = LinkPopover(target, self)
        popover.destroyed.connect(self._on_popover_closed)
        popover.show_at(place)

    def _on_popover_closed(self) -> None:
        """The focus is again where it was, or, where that takes none, in the box."""
        if not self._is_closing and QApplication.focusWidget() is None:
            self.focus_composer()

    def begin_closing(self) -> None:
        """From now on nothing takes the focus, and no more messages are built."""
        self._is_closing = True
        self.thread_view.stop_building()

    # What Qt calls

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self._main and event.type() == QEvent.Type.Resize:
            self.respace()
        return False

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        for shortcut in self._shortcuts:
            shortcut.setEnabled(True)

    def hideEvent(self, event: QHideEvent) -> None:
        for shortcut in self._shortcuts:
            shortcut.setEnabled(False)
        super().hideEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit_list()
        if self.drawer.isVisible():
            self._place_options()
