"""The Chat page: conversations at the left, the one that is shown, its composer, and its options.

How the chat page is laid out: the list at the left; head, messages and composer in a column beside it.

The chat page's keys, in the whole window while the page is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import (
    QAccessible,
    QAccessibleAnnouncementEvent,
    QGuiApplication,
    QHideEvent,
    QKeySequence,
    QResizeEvent,
    QShortcut,
    QShowEvent,
)
from PySide6.QtWidgets import QApplication, QHBoxLayout, QSplitter, QVBoxLayout, QWidget

from gui.chat.composer import Composer
from gui.chat.controller import AttachmentController, ExportController, OpenChats, Popovers, SendController
from gui.chat.conversation_list import ConversationList, ListController
from gui.chat.failures.cards import PausedCards
from gui.chat.failures.controller import FailureController, PausedController
from gui.chat.header_row import HeaderRow
from gui.chat.markdown.highlighter import LexerCache
from gui.chat.options import OptionsController, OptionsDrawer
from gui.chat.session import Session
from gui.chat.storage.export import ExportFormat, to_markdown
from gui.chat.storage.file import StoreTrouble
from gui.chat.storage.store import ConversationStore
from gui.chat.storage.write_behind import WriteBehindStore
from gui.chat.thread_view import ThreadView, WelcomeHint
from gui.chat.user_message import UserMessage
from gui.shell.tasks import Tasks
from gui.theme.theme import theme
from gui.widgets.banner import TroubleBar
from gui.widgets.formatting import time_left
from gui.widgets.toast import ToastHost

if TYPE_CHECKING:
    from core import CoreStatus
    from gui.shell.bridge import Bridge


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


class PageKeys(QObject):
    """``acts`` tells what each key does, such as ``{"Ctrl+N": new_chat}``; Esc is known here."""

    def __init__(
        self,
        page: QWidget,
        acts: Mapping[str, Callable[[], object]],
        *,
        thread: ThreadView,
        listing: ListController,
        options: OptionsController,
        stop: Callable[[], None],
        focus_composer: Callable[[], None],
    ) -> None:
        super().__init__(page)
        self._thread, self._listing, self._options = thread, listing, options
        self._stop, self._focus_composer = stop, focus_composer
        self._shortcuts: list[QShortcut] = []
        for key, act in [*acts.items(), ("Esc", self._on_escape)]:
            shortcut = QShortcut(QKeySequence(key), page)
            shortcut.setContext(Qt.ShortcutContext.WindowShortcut)  # also with the focus on the rail
            shortcut.activated.connect(act)
            self._shortcuts.append(shortcut)
        self.set_enabled(page.isVisible())

    def set_enabled(self, enabled: bool) -> None:
        for shortcut in self._shortcuts:
            shortcut.setEnabled(enabled)

    def _on_escape(self) -> None:
        """Close what is open on top; where nothing is, stop the answer."""
        popup = QApplication.activePopupWidget()
        if popup is not None:
            popup.close()
            return
        editors = [view for view in self._thread.views() if isinstance(view, UserMessage) and view.edit]
        if editors:
            focus = QApplication.focusWidget()
            focused = [view for view in editors if focus is not None and view.isAncestorOf(focus)]
            (focused or editors)[-1].keep()
        elif self._listing.clear_search():
            self._focus_composer()
        elif self._options.is_open:
            self._options.close()
        else:
            self._stop()
            self._focus_composer()


class ChatPage(QWidget):
    """Signals:
    navigate: a page's id and a section of it, such as ``("preferences", "keys")``.
    """

    title = "Chat"
    navigate = Signal(str, str)

    def __init__(self, bridge: Bridge, home: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bridge = bridge
        self._tasks = Tasks()
        self.keeper = WriteBehindStore(bridge, home, self._tasks, self)
        self._closing = False
        self._lexers = LexerCache(bridge.run_blocking, self._tasks, self)
        self.list = ConversationList()
        self.header = HeaderRow()
        self.trouble = TroubleBar()
        self.paused = PausedCards()
        self.thread_view = ThreadView(self._lexers)
        self.thread_view.waiting_words = self._waiting_words
        self.hint = WelcomeHint()
        self.composer = Composer()
        self.drawer = OptionsDrawer(self)
        self.drawer.hide()
        self._toasts = ToastHost(self, clear_of=self.composer)
        self.chats = OpenChats(bridge, self.keeper, self._tasks, self)
        self._listing = ListController(self.chats, self.keeper, self._tasks, self.list, self.header, self)
        self.attaching = AttachmentController(self.composer, bridge, self._tasks, self)
        self.exporting = ExportController(bridge, self._tasks, self._toasts, self)
        self.paused_controller = PausedController(
            bridge, self._tasks, self.paused, self.thread_view, self._listing.titles, self
        )
        self._popovers = Popovers(self.chats, self.thread_view, self)
        frame = ChatFrame(
            self,
            conversations=self.list,
            header=self.header,
            trouble=self.trouble,
            paused=self.paused,
            hint=self.hint,
            thread=self.thread_view,
            composer=self.composer,
        )
        self.paused_controller.shown.connect(frame.respace)
        self.options = OptionsController(
            self,
            bridge,
            lambda: self.session,
            drawer=self.drawer,
            composer=self.composer,
            header=self.header,
            right=frame.right,
            beside=frame.beside,
        )
        self._asking = SendController(
            self.chats, bridge, self._tasks, self.composer, self.thread_view, self.options, self
        )
        self.failures = FailureController(
            self._asking, bridge, self._tasks, self.thread_view, self.composer, self._toasts, self
        )
        self._connect()
        self._keys = PageKeys(
            self,
            {
                "Ctrl+N": self.new_chat,
                "Ctrl+K": self._listing.focus_search,
                "Ctrl+B": self._listing.toggle,
            },
            thread=self.thread_view,
            listing=self._listing,
            options=self.options,
            stop=self.stop,
            focus_composer=self.focus_composer,
        )
        self._show_session_in_head()
        self.setFocusProxy(self.composer.edit)
        self.focus_composer()

    @property
    def session(self) -> Session:
        """The conversation that is shown."""
        return self.chats.shown

    def _connect(self) -> None:
        self.list.chosen.connect(self.open_conversation)
        self.list.new_asked.connect(self.new_chat)
        self.list.renamed.connect(self._rename)
        self.list.delete_asked.connect(self.delete_conversation)
        self.list.export_asked.connect(self._export)
        self.header.export_asked.connect(self._export_shown)
        self.header.copy_asked.connect(self._copy_shown)
        self.header.rename_asked.connect(self._rename_shown)
        self.header.delete_asked.connect(self._delete_shown)
        self.chats.changed.connect(self._on_changed)
        self.chats.ended.connect(self._on_ended)
        self.chats.failed.connect(self._on_failed)
        self._listing.failed.connect(self._on_trouble)
        self.failures.navigate.connect(self.navigate)
        self.failures.changed.connect(self._asking.preview.changed)
        self.exporting.failed.connect(self._say_trouble)
        self.thread_view.card_changed.connect(self._show_session_in_head)
        self._popovers.closed.connect(self._on_popover_closed)
        self.keeper.trouble_changed.connect(self._on_trouble)
        self.trouble.retry_asked.connect(self.keeper.retry)
        self.hint.prompt_chosen.connect(self._asking.use_prompt)
        self.paused_controller.resumed.connect(
            lambda: self._toasts.show("The conversation goes on", icon="play-circle")
        )
        self.paused_controller.failed.connect(self._say_trouble)
        self._bridge.status_changed.connect(self._on_status)

    # Life

    async def start(self) -> None:
        """Open the kept conversations and show them; the composer works from then on."""
        store = await self.keeper.open()
        if store.set_aside is not None:
            self.trouble.say(
                "Your conversations’ file was broken. It is kept as "
                f"{store.set_aside.name}, and a new one is in use.",
                can_retry=False,
            )
        elif store.interrupted:
            answers = f"{store.interrupted} answer{'s were' if store.interrupted > 1 else ' was'}"
            self._toasts.show(f"{answers} cut off when Signalbox ended last time; the text is kept")
        await self._listing.load()
        if self.thread_view.session is None:
            self.thread_view.show_session(self.session)
        self._asking.start()
        if self._bridge.status is not None:
            self._on_status(self._bridge.status)
        self._asking.update_state()
        if self.session.is_blank and not self.composer.text:
            await self._reopen_draft()
        self._asking.preview.changed()

    async def _reopen_draft(self) -> None:
        """A prompt that was being typed in a new chat is there again after a restart."""
        for summary in await self.keeper.read(ConversationStore.summaries, 1):
            if summary.has_draft:
                await self._open(summary.id)

    async def close_page(self) -> None:
        """Stop what streams, write everything, and close the file."""
        self._asking.keep_draft()
        self._closing = True
        self._listing.close()
        self.thread_view.stop_building()
        await self.chats.close()
        await self.keeper.close()
        await self._tasks.close()

    def focus_composer(self) -> None:
        self._asking.focus_composer()

    # Conversations

    def new_chat(self) -> None:
        """Show an empty conversation, which goes to Auto; one that is empty already is used again."""
        if not self.session.is_blank or len(self.session.tree):
            self._asking.keep_draft()
            self._show(self.chats.new())
        elif self.session.options.force is not None:
            self._asking.choose_auto()
        self.focus_composer()

    def open_conversation(self, conversation_id: str) -> None:
        self._tasks.start(self._open(conversation_id))

    async def _open(self, conversation_id: str) -> None:
        if conversation_id == self.session.id:
            return
        try:
            session = await self.chats.find(conversation_id)
        except StoreTrouble as problem:
            self._on_trouble(problem)
            return
        if session is None:
            return
        self._asking.keep_draft()
        self._show(session)

    def _show(self, session: Session) -> None:
        old, self.chats.shown = self.session, session
        self._asking.show_draft()
        self._show_session_in_head()
        self.thread_view.show_session(session)
        self.chats.leave(old)
        self._asking.update_state()
        self.options.show()
        self.list.set_current(session.id)
        self._asking.preview.changed()

    def _show_session_in_head(self) -> None:
        session = self.session
        self.header.set_title(session.title)
        held = session.tree[session.running_id].hold_nanodollars if session.running_id else 0
        self.header.set_totals(session.totals, held)
        has_messages = len(session.tree) > 0
        self.header.set_has_content(has_messages)
        shows_thread = has_messages or self.thread_view.loose_card is not None
        self.hint.setVisible(not shows_thread)
        self.thread_view.setVisible(shows_thread)

    def delete_conversation(self, conversation_id: str) -> None:
        """Take a conversation away; the toast brings it back."""
        title = self._listing.title_of(conversation_id)
        self.chats.delete(conversation_id)
        if conversation_id == self.session.id:
            self._show(self.chats.new())
        self._listing.refresh()
        self._toasts.show(f"Deleted “{title}”", "Undo", lambda: self._restore(conversation_id), "trash")

    def _restore(self, conversation_id: str) -> None:
        self.chats.restore(conversation_id)
        self._listing.refresh()
        self.open_conversation(conversation_id)
        self.focus_composer()

    def _rename(self, conversation_id: str, title: str) -> None:
        self.chats.rename(conversation_id, title)
        self._listing.refresh()

    def _rename_shown(self) -> None:
        self._listing.edit_title(self.session.id)

    def _delete_shown(self) -> None:
        if not self.session.is_blank:
            self.delete_conversation(self.session.id)

    # Answers

    def send(self) -> None:
        """Send what is in the box, or, while an answer streams, once that has ended."""
        self._asking.send()

    def stop(self) -> None:
        self.session.stop()

    def _on_ended(self, session: Session) -> None:
        self._on_changed(session)
        if session is not self.session:
            return
        self._announce("Answer finished")
        self._asking.send_queued()

    def _on_failed(self, session: Session, answer_id: str) -> None:
        """Nothing came: the desk gives the prompt back and says why."""
        self._on_changed(session)
        self._asking.update_state()
        self.failures.take(session, answer_id)
        self._announce("No answer")
        if session is self.session:
            self._asking.update_state()

    def _announce(self, words: str) -> None:
        """Tell a screen reader once that something ended, not for every token."""
        QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(self, words))

    def _on_changed(self, session: Session) -> None:
        if session is self.session:
            self._show_session_in_head()
        self._listing.refresh()

    def _waiting_words(self) -> str:
        status = self._bridge.status
        if status is None or status.local.phase != "starting":
            return "Deciding"
        left = f", {time_left(status.local.eta_s)}" if status.local.eta_s else ""
        return f"Waiting for Local: {status.local.detail or 'starting'}{left}"

    # Trouble and status

    def _on_trouble(self, problem: StoreTrouble | None) -> None:
        if problem is None:
            self.trouble.clear()
        else:
            self.trouble.say(f"{problem.message} {problem.hint}", can_retry=self.keeper.can_retry)

    def _say_trouble(self, words: str) -> None:
        self.trouble.say(words, can_retry=False)

    def _on_status(self, status: CoreStatus) -> None:
        self.hint.set_status(status)
        self.failures.on_status(status)
        self._asking.on_status()

    def _on_popover_closed(self) -> None:
        """The focus is again where it was, or, where that takes none, in the box."""
        if not self._closing and QApplication.focusWidget() is None:
            self.focus_composer()

    # Export

    def _export_shown(self, kind: str) -> None:
        self._export(self.session.id, kind)

    def _copy_shown(self) -> None:
        QGuiApplication.clipboard().setText(to_markdown(self.session.whole()))
        self._toasts.show("Copied as Markdown", icon="copy")

    def _export(self, conversation_id: str, kind: str) -> None:
        self._tasks.start(self._export_whole(conversation_id, cast("ExportFormat", kind)))

    async def _export_whole(self, conversation_id: str, kind: ExportFormat) -> None:
        try:
            conversation = await self.chats.whole(conversation_id)
        except StoreTrouble as problem:
            self._on_trouble(problem)
            return
        if conversation is not None:
            self.exporting.ask_where(conversation, kind)

    # What Qt calls

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._keys.set_enabled(True)

    def hideEvent(self, event: QHideEvent) -> None:
        self._keys.set_enabled(False)
        super().hideEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if self.drawer.isVisible():
            self.options.place()
