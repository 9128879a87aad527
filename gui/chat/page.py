"""The Chat page: conversations at the left, the one that is shown, its composer, and its options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from PySide6.QtCore import QEvent, QObject, QPoint, Qt, QTimer, Signal
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

from core.chat import ChatRequest
from gui.chat.answer_message import AnswerMessage
from gui.chat.attaching import Attaching
from gui.chat.composer import Composer
from gui.chat.conversation_list import ConversationList
from gui.chat.drawer import OptionsDrawer
from gui.chat.export import ExportFormat, to_markdown
from gui.chat.exporting import Exporting
from gui.chat.failure_desk import FailureDesk
from gui.chat.header_row import HeaderRow
from gui.chat.highlighter import LexerShelf
from gui.chat.keeper import Keeper
from gui.chat.links import LinkPopover
from gui.chat.options_desk import OptionsDesk
from gui.chat.paused_cards import PausedCards
from gui.chat.paused_desk import PausedDesk
from gui.chat.records import Conversation
from gui.chat.requests import MalformedSchema
from gui.chat.route_preview import RoutePreview
from gui.chat.session import Session, new_conversation
from gui.chat.store import ConversationStore
from gui.chat.store_file import StoreTrouble
from gui.chat.thread_view import ThreadView
from gui.chat.trouble_bar import TroubleBar
from gui.chat.user_message import UserMessage
from gui.chat.welcome_hint import WelcomeHint
from gui.tasks import Tasks
from gui.theme import theme
from gui.widgets.decision_card import DecisionCard
from gui.widgets.toast import ToastHost
from gui.widgets.words import time_left

if TYPE_CHECKING:
    from core.status import CoreStatus
    from gui.bridge import Bridge

DRAFT_MS = 500


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
        self.keeper = Keeper(bridge, home, self._tasks, self)
        self._sessions: dict[str, Session] = {}
        self._running_list = False
        self._list_again = False
        self._query = ""
        self._started = False
        self._closing = False
        self._shortcuts: list[QShortcut] = []
        self._shelf = LexerShelf(bridge.run_blocking, self._tasks, self)
        self.list = ConversationList()
        self.header = HeaderRow()
        self.trouble = TroubleBar()
        self.paused = PausedCards()
        self.thread_view = ThreadView(self._shelf)
        self.thread_view.waiting_words = self._waiting_words
        self.hint = WelcomeHint()
        self.composer = Composer()
        self.drawer = OptionsDrawer(self)
        self.drawer.hide()
        self._toasts = ToastHost(self, clear_of=self.composer)
        self.session = self._adopt(new_conversation())
        self.preview = RoutePreview(bridge, self._tasks, self.composer.route_line, self._request_now, self)
        self.attaching = Attaching(self.composer, bridge, self._tasks, self)
        self.exporting = Exporting(bridge, self._tasks, self._toasts, self)
        self.desk = FailureDesk(
            self, bridge, self._tasks, self.thread_view, self.composer, self._toasts, self
        )
        self.paused_desk = PausedDesk(bridge, self._tasks, self.paused, self.thread_view, self._titles, self)
        self._draft_timer = QTimer(self)
        self._draft_timer.setSingleShot(True)
        self._draft_timer.setInterval(DRAFT_MS)
        self._draft_timer.timeout.connect(self._keep_draft)
        self._build()
        self.options = OptionsDesk(
            self,
            bridge,
            lambda: self.session,
            drawer=self.drawer,
            composer=self.composer,
            header=self.header,
            right=self._right,
            beside=self._beside,
        )
        self._connect()
        self._add_shortcuts()
        self.composer.set_state("starting")
        self._show_session_in_head()
        self.setFocusProxy(self.composer.edit)
        self.focus_composer()

    # Building

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
        self._paused_row = QHBoxLayout()
        self._paused_row.addWidget(self.paused)
        main.addLayout(self._paused_row)
        main.addWidget(self.hint, 1)
        main.addWidget(self.thread_view, 1)
        main.addLayout(self._composer_row)
        self._right = QWidget()
        self._beside = QHBoxLayout(self._right)
        self._beside.setContentsMargins(0, 0, 0, 0)
        self._beside.setSpacing(0)
        self._beside.addWidget(self._main, 1)
        self.splitter = QSplitter(Qt.Orientation.Horizontal)
        self.splitter.setObjectName("chat")
        self.splitter.setChildrenCollapsible(False)
        self.splitter.setHandleWidth(1)
        self.splitter.addWidget(self.list)
        self.splitter.addWidget(self._right)
        self.splitter.setStretchFactor(1, 1)
        unit = theme()
        self.list.setMinimumWidth(unit.px(200))
        self.list.setMaximumWidth(unit.px(320))
        self.splitter.setSizes([unit.px(236), 1000])
        outer = QHBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self.splitter)
        self.thread_view.hide()

    def _connect(self) -> None:
        self.list.chosen.connect(self.open_conversation)
        self.list.new_asked.connect(self.new_chat)
        self.list.renamed.connect(self._rename)
        self.list.delete_asked.connect(self.delete_conversation)
        self.list.export_asked.connect(self._export)
        self.list.searched.connect(self._search)
        self.header.list_asked.connect(self.toggle_list)
        self.header.export_asked.connect(self._export_shown)
        self.header.copy_asked.connect(self._copy_shown)
        self.header.rename_asked.connect(self._rename_shown)
        self.header.delete_asked.connect(self._delete_shown)
        self.composer.submitted.connect(self.send)
        self.composer.stopped.connect(self.stop)
        self.composer.changed.connect(self._on_composer)
        self.composer.side_chosen.connect(self._on_side)
        self.options.changed.connect(self.preview.changed)
        self.options.closed.connect(self.focus_composer)
        self.thread_view.stepped.connect(self._on_step)
        self.thread_view.edited.connect(self._on_edited)
        self.thread_view.kept.connect(self.focus_composer)
        self.thread_view.regenerate_asked.connect(self.regenerate)
        self.thread_view.badge_opened.connect(self._open_decision)
        self.thread_view.pin_asked.connect(self._pin)
        self.desk.navigate.connect(self.navigate)
        self.desk.changed.connect(self.preview.changed)
        self.exporting.failed.connect(self._say_trouble)
        self.thread_view.card_changed.connect(self._show_session_in_head)
        self.thread_view.link_clicked.connect(self._on_link)
        self.keeper.trouble_changed.connect(self._on_trouble)
        self.trouble.retry_asked.connect(self.keeper.retry)
        self.hint.prompt_chosen.connect(self._use_prompt)
        self.paused_desk.resumed.connect(
            lambda: self._toasts.show("The conversation goes on", icon="play-circle")
        )
        self.paused_desk.failed.connect(self._say_trouble)
        self.paused_desk.shown.connect(self._respace)
        self._bridge.status_changed.connect(self._on_status)
        theme().changed.connect(self._respace)

    def _add_shortcuts(self) -> None:
        keys = (
            ("Ctrl+N", self.new_chat),
            ("Ctrl+K", self._focus_search),
            ("Ctrl+B", self.toggle_list),
            ("Esc", self._on_escape),
        )
        for key, act in keys:
            shortcut = QShortcut(QKeySequence(key), self)
            shortcut.setContext(Qt.ShortcutContext.WindowShortcut)  # also with the focus on the rail
            shortcut.setEnabled(self.isVisible())
            shortcut.activated.connect(act)
            self._shortcuts.append(shortcut)

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
        await self._load_list()
        if self.thread_view.session is None:
            self.thread_view.show_session(self.session)
        self._started = self.options.started = True
        if self._bridge.status is not None:
            self._on_status(self._bridge.status)
        self._update_state()
        if self.session.is_blank and not self.composer.text:
            await self._reopen_draft()
        self.preview.changed()

    async def _reopen_draft(self) -> None:
        """A prompt that was being typed in a new chat is there again after a restart."""
        for summary in await self.keeper.read(ConversationStore.summaries, 1):
            if summary.has_draft:
                await self._open(summary.id)

    async def close_page(self) -> None:
        """Stop what streams, write everything, and close the file."""
        self._keep_draft()
        self._closing = True
        self.thread_view.stop_building()
        for session in self._sessions.values():
            session.stop()
        for session in self._sessions.values():
            await session.wait_until_ended()
            session.save()
        await self.keeper.close()
        await self._tasks.close()

    def focus_composer(self) -> None:
        self.composer.edit.setFocus(Qt.FocusReason.OtherFocusReason)

    # Conversations

    def _adopt(self, conversation: Conversation) -> Session:
        session = Session(self._bridge, self.keeper, self._tasks, conversation, self)
        self._sessions[session.id] = session
        session.summary_changed.connect(lambda: self._on_summary(session))
        session.path_changed.connect(lambda: self._on_summary(session))
        session.answer_started.connect(lambda: self._on_summary(session))
        session.answer_ended.connect(lambda: self._on_ended(session))
        session.failed_before_text.connect(partial(self._on_failed, session))
        return session

    def new_chat(self) -> None:
        """Show an empty conversation, which goes to Auto; one that is empty already is used again."""
        if not self.session.is_blank or len(self.session.tree):
            self._keep_draft()
            self._show(self._adopt(new_conversation()))
        elif self.session.options.force is not None:
            self.session.set_options(replace(self.session.options, force=None))
            self.composer.set_side(None)
            self.preview.changed()
        self.focus_composer()

    def open_conversation(self, conversation_id: str) -> None:
        self._tasks.start(self._open(conversation_id))

    async def _open(self, conversation_id: str) -> None:
        if conversation_id == self.session.id:
            return
        session = self._sessions.get(conversation_id)
        if session is None:
            try:
                conversation = await self.keeper.read(ConversationStore.load, conversation_id)
            except StoreTrouble as problem:
                self._on_trouble(problem)
                return
            if conversation is None:
                return
            session = self._sessions.get(conversation_id) or self._adopt(conversation)
        self._keep_draft()
        self._show(session)

    def _show(self, session: Session) -> None:
        old, self.session = self.session, session
        self.composer.set_content(session.draft, session.draft_attachments)
        self.composer.set_side(session.options.force)
        self._show_session_in_head()
        self.thread_view.show_session(session)
        if not old.is_streaming and old is not session:
            self._forget_session(old)
        self._update_state()
        self.options.show()
        self.list.set_current(session.id)
        self.preview.changed()

    def _forget_session(self, session: Session) -> None:
        """Only what is shown or streams stays in memory; the rest is read again when it is opened."""
        if self.keeper.is_open and not self.keeper.has_waiting(session.id):
            self._sessions.pop(session.id, None)
            session.deleteLater()

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
        session = self._sessions.get(conversation_id)
        if session is not None:
            session.stop()
            session.deleted = True
        row = self.list.model.row_at(self.list.model.index_of(conversation_id))
        title = getattr(row, "title", session.title if session else "")
        self.keeper.put(("deleted", conversation_id), lambda store: store.delete(conversation_id))
        if session is not None and session is self.session:
            self._show(self._adopt(new_conversation()))
        self._refresh_list()
        self._toasts.show(
            f"Deleted “{_shortened(str(title))}”", "Undo", lambda: self._restore(conversation_id), "trash"
        )

    def _restore(self, conversation_id: str) -> None:
        session = self._sessions.get(conversation_id)
        if session is not None:
            session.deleted = False
            session.save()
        self.keeper.put(("deleted", conversation_id), lambda store: store.restore(conversation_id))
        self._refresh_list()
        self.open_conversation(conversation_id)
        self.focus_composer()

    def _rename(self, conversation_id: str, title: str) -> None:
        session = self._sessions.get(conversation_id)
        if session is not None:
            session.rename(title)
        self.keeper.put(("renamed", conversation_id), lambda store: store.rename(conversation_id, title))
        self._refresh_list()

    def _rename_shown(self) -> None:
        if not self.list.isVisible():
            self.toggle_list()
        self.list.edit_title(self.session.id)

    def _delete_shown(self) -> None:
        if not self.session.is_blank:
            self.delete_conversation(self.session.id)

    def show_options(self) -> None:
        """Show the conversation's options in the drawer and under the box."""
        self.options.show()

    # The list

    def _search(self, query: str) -> None:
        self._query = query
        self._refresh_list()

    def _refresh_list(self) -> None:
        if not self.keeper.is_open or self._closing:
            return
        if self._running_list:
            self._list_again = True
            return
        self._running_list = True
        self._tasks.start(self._load_list())

    async def _load_list(self) -> None:
        try:
            await self.keeper.flush()
            if not self.keeper.is_open:
                return
            query = self._query.strip()
            if query:
                rows = await self.keeper.read(ConversationStore.search, query)
                nothing = f"Nothing found for “{_shortened(query)}”"
            else:
                rows = await self.keeper.read(ConversationStore.summaries)
                nothing = "Your conversations will be here"
            self.list.set_current(self.session.id)
            self.list.show_summaries(rows, nothing)
        except StoreTrouble as problem:
            self._on_trouble(problem)
        finally:
            self._running_list = False
            if self._list_again:
                self._list_again = False
                self._refresh_list()

    def _titles(self) -> dict[str, str]:
        titles = self.list.model.titles() | {session.id: session.title for session in self._sessions.values()}
        return {chat: _shortened(title) for chat, title in titles.items()}

    def toggle_list(self) -> None:
        """Ctrl+B."""
        shown = not self.list.isVisible()
        self.list.setVisible(shown)
        self.header.list_button.setVisible(not shown)

    def _focus_search(self) -> None:
        if not self.list.isVisible():
            self.toggle_list()
        self.list.focus_search()

    # Sending

    def send(self) -> None:
        """Send what is in the box, or, while an answer streams, once that has ended."""
        if self.composer.is_empty or not self._started:
            return
        if self.session.is_streaming:
            self.composer.set_state("queued")
            return
        text, attachments = self.composer.text, self.composer.attachments
        self._draft_timer.stop()
        if self._guarded(lambda: self.session.send(text, attachments)):
            self.session.set_draft("", ())
            self.composer.set_content("")
            self.thread_view.set_loose_plan(None)
            self.thread_view.following = True
            self.preview.clear()
            self._update_state()
            self.focus_composer()

    def stop(self) -> None:
        self.session.stop()

    def _guarded(self, act: Any) -> bool:
        """Begin an answer; a malformed schema is shown where it is, and nothing moves."""
        try:
            act()
        except MalformedSchema as error:
            self.options.open_schema(error.message)
            return False
        self._update_state()
        return True

    def _answer_again(self, act: Callable[[], object]) -> None:
        self.thread_view.following = True
        if self._guarded(act):
            self.focus_composer()

    def _on_edited(self, message_id: str, text: str) -> None:
        if not self.session.is_streaming:
            self._answer_again(lambda: self.session.edit(message_id, text))

    def regenerate(self, answer_id: str) -> None:
        """Ask for another version of an answer; the old one is kept."""
        if not self.session.is_streaming:
            self._answer_again(lambda: self.session.regenerate(answer_id))

    def go_on(self, answer_id: str) -> None:
        """Continue an answer that broke off."""
        if not self.session.is_streaming:
            self._answer_again(lambda: self.session.go_on(answer_id))

    def _pin(self, message_id: str, pinned: bool) -> None:
        self.session.pin(message_id, pinned=pinned)
        view = self.thread_view.view_of(message_id)
        if view is not None:
            view.set_pinned(pinned)
        self.preview.changed()

    def _on_step(self, message_id: str, by: int) -> None:
        if not self.session.is_streaming:
            self.thread_view.following = False
            self.session.show_version(message_id, by)

    def _on_ended(self, session: Session) -> None:
        self._on_summary(session)
        if session is not self.session:
            return
        self._announce("Answer finished")
        queued = self.composer.state == "queued"
        ended = session.tree[session.tree.head_id] if session.tree.head_id else None
        self._update_state()
        if queued and ended is not None and ended.status == "done":
            self.send()

    def _on_failed(self, session: Session, answer_id: str) -> None:
        """Nothing came: the desk gives the prompt back and says why."""
        self._on_summary(session)
        self._update_state()
        self.desk.take(session, answer_id)
        self._announce("No answer")
        if session is self.session:
            self._update_state()

    def _announce(self, words: str) -> None:
        """Tell a screen reader once that something ended, not for every token."""
        QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(self, words))

    def _update_state(self) -> None:
        if not self._started:
            self.composer.set_state("starting")
        elif self.session.is_streaming:
            if self.composer.state != "queued":
                self.composer.set_state("streaming")
        else:
            self.composer.set_state("idle")

    def _on_summary(self, session: Session) -> None:
        if session is self.session:
            self._show_session_in_head()
        self._refresh_list()

    def _waiting_words(self) -> str:
        status = self._bridge.status
        if status is None or status.local.phase != "starting":
            return "Deciding"
        left = f", {time_left(status.local.eta_s)}" if status.local.eta_s else ""
        return f"Waiting for Local: {status.local.detail or 'starting'}{left}"

    # The composer

    def _on_composer(self) -> None:
        self._draft_timer.start()
        if self.composer.is_empty:
            self.preview.clear()
        else:
            self.preview.changed()

    def _keep_draft(self) -> None:
        self._draft_timer.stop()
        if not self.session.deleted:
            self.session.set_draft(self.composer.text, self.composer.attachments)

    def _request_now(self) -> ChatRequest | None:
        if self.composer.is_empty or not self._started:
            return None
        return self.session.request_after(self.composer.text, self.composer.attachments)

    def _use_prompt(self, text: str) -> None:
        self.composer.set_content(text)
        self.focus_composer()

    def _on_side(self, _value: str) -> None:
        self.session.set_options(replace(self.session.options, force=self.composer.chosen_side()))
        self.preview.changed()

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
        self.desk.on_status(status)
        if self._started:
            self.options.show_max_tokens()
            if not self.composer.is_empty:
                self.preview.changed()

    # What stands under an answer

    def _open_decision(self, answer_id: str) -> None:
        view = self.thread_view.view_of(answer_id)
        message = self.session.tree[answer_id]
        shown = message.result or message.decision
        if isinstance(view, AnswerMessage) and shown is not None:
            card = DecisionCard(shown, self)
            card.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            card.destroyed.connect(self._after_popover)
            card.popup_at(view.badge)

    def _on_link(self, target: str, place: QPoint) -> None:
        popover = LinkPopover(target, self)
        popover.destroyed.connect(self._after_popover)
        popover.show_at(place)

    def _after_popover(self) -> None:
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
        session = self._sessions.get(conversation_id)
        conversation = session.whole() if session else None
        if conversation is None:
            try:
                conversation = await self.keeper.read(ConversationStore.load, conversation_id)
            except StoreTrouble as problem:
                self._on_trouble(problem)
        if conversation is not None:
            self.exporting.ask_where(conversation, kind)

    # What Qt calls

    def _on_escape(self) -> None:
        """Close what is open on top; where nothing is, stop the answer."""
        popup = QApplication.activePopupWidget()
        if popup is not None:
            popup.close()
            return
        editors = [view for view in self.thread_view.views() if isinstance(view, UserMessage) and view.edit]
        if editors:
            focus = QApplication.focusWidget()
            focused = [view for view in editors if focus is not None and view.isAncestorOf(focus)]
            (focused or editors)[-1].keep()
        elif self.list.isVisible() and self.list.search.text():
            self.list.search.clear()
            self.focus_composer()
        elif self.drawer.isVisible():
            self.options.close()
        else:
            self.session.stop()
            self.focus_composer()

    def _respace(self) -> None:
        unit = theme()
        left = self.thread_view.column_margin_for(self._main.width())
        self._composer_row.setContentsMargins(left, 0, left, unit.px(16))
        above = unit.px(12) if self.paused.isVisibleTo(self._main) else 0
        self._paused_row.setContentsMargins(left, above, left, above // 2)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        for shortcut in self._shortcuts:
            shortcut.setEnabled(True)

    def hideEvent(self, event: QHideEvent) -> None:
        for shortcut in self._shortcuts:
            shortcut.setEnabled(False)
        super().hideEvent(event)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self._main and event.type() == QEvent.Type.Resize:
            self._respace()
        return False

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if self.drawer.isVisible():
            self.options.place()


def _shortened(title: str) -> str:
    return title if len(title) <= 40 else title[:39].rstrip() + "…"
