"""From the box to an answer: drafts, where a prompt would go, sending it, and asking again.

Brings files and pictures into the composer: read in a worker, refused with a reason when they can't be sent.

Asks where a conversation should go, writes it in a worker, and says where it is.

What opens over an answer: why it went where it went, and where a link leads.

Asks the router, while the user types, where the prompt would go; only the latest answer counts.

The conversations that are in memory: the one that is shown, and those that still stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QPoint, Qt, QTimer, QUrl, Signal
from PySide6.QtGui import QDesktopServices, QImage
from PySide6.QtWidgets import QFileDialog, QWidget

from core.chat import ChatRequest
from core.errors import SignalboxError
from gui.chat.answer_message import AnswerMessage
from gui.chat.composer import Composer, local_paths, png_of
from gui.chat.markdown.links import LinkPopover
from gui.chat.options import OptionsController
from gui.chat.paste import image_attachment, read_file
from gui.chat.request_builder import MalformedSchema
from gui.chat.session import Session, new_conversation
from gui.chat.storage.export import ExportFormat, file_name, write_export
from gui.chat.storage.models import Conversation
from gui.chat.storage.store import ConversationStore
from gui.chat.storage.write_behind import WriteBehindStore
from gui.chat.thread_view import ThreadView
from gui.shell.tasks import Tasks
from gui.widgets.decision_card import DecisionCard
from gui.widgets.route_line import RouteLine
from gui.widgets.toast import ToastHost

if TYPE_CHECKING:
    from gui.shell.bridge import Bridge


MOST_FILES = 20


class AttachmentController(QObject):
    """Serves one composer."""

    def __init__(self, composer: Composer, bridge: Bridge, tasks: Tasks, parent: QWidget) -> None:
        super().__init__(parent)
        self._composer, self._bridge, self._tasks, self._window = composer, bridge, tasks, parent
        composer.attach_asked.connect(self._choose)
        composer.files_given.connect(self.attach_urls)
        composer.image_given.connect(self._on_image)

    def attach_urls(self, urls: list[QUrl]) -> None:
        self._tasks.start(self._attach(local_paths(urls)))

    def _choose(self) -> None:
        dialog = QFileDialog(self._window, "Attach files")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFiles)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.urlsSelected.connect(self.attach_urls)
        dialog.open()

    async def _attach(self, names: list[str]) -> None:
        notes: list[str] = []
        for name in names[:MOST_FILES]:
            pasted = await self._bridge.run_blocking(read_file, Path(name))
            if pasted.attachment is not None:
                self._composer.add_attachment(pasted.attachment)
            if pasted.note:
                notes.append(pasted.note)
        if len(names) > MOST_FILES:
            notes.append(f"Only the first {MOST_FILES} of {len(names):,} files were attached.")
        self._composer.set_note(" ".join(notes))

    def _on_image(self, image: QImage) -> None:
        self._tasks.start(self._attach_image(image))

    async def _attach_image(self, image: QImage) -> None:
        content = await self._bridge.run_blocking(png_of, image)
        pasted = image_attachment("Pasted image.png", content, "image/png")
        if pasted.attachment is not None:
            self._composer.add_attachment(pasted.attachment)
        self._composer.set_note(pasted.note)


class ExportController(QObject):
    """Signals:
    failed: a sentence for the user.
    """

    failed = Signal(str)

    def __init__(self, bridge: Bridge, tasks: Tasks, toasts: ToastHost, parent: QWidget) -> None:
        super().__init__(parent)
        self._bridge, self._tasks, self._toasts, self._window = bridge, tasks, toasts, parent

    def ask_where(self, conversation: Conversation, kind: ExportFormat) -> None:
        """Open the system's dialog; nothing waits for it."""
        dialog = QFileDialog(self._window, "Export this chat")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.selectFile(file_name(conversation.title, kind))
        dialog.fileSelected.connect(partial(self._chosen, conversation, kind))
        dialog.open()

    def _chosen(self, conversation: Conversation, kind: ExportFormat, name: str) -> None:
        self._tasks.start(self.write(conversation, kind, Path(name)))

    async def write(self, conversation: Conversation, kind: ExportFormat, path: Path) -> None:
        """Write the file whole or not at all."""
        try:
            await self._bridge.run_blocking(write_export, conversation, kind, path)
        except OSError as error:
            reason = error.strerror or str(error)
            self.failed.emit(
                f"{path.name} can’t be written: {reason}. Nothing was lost; choose another folder."
            )
            return
        folder = QUrl.fromLocalFile(str(path.parent))
        show: Callable[[], object] = partial(QDesktopServices.openUrl, folder)
        self._toasts.show(f"Exported to {path.name}", "Open folder", show, "check-circle-fill")


DEBOUNCE_MS = 150


class RoutePreview(QObject):
    """``request`` returns what would be sent now, or ``None`` for nothing; it may raise ``SignalboxError``."""

    def __init__(
        self,
        bridge: Bridge,
        tasks: Tasks,
        line: RouteLine,
        request: Callable[[], ChatRequest | None],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._bridge, self._tasks, self._line, self._request = bridge, tasks, line, request
        self._asked = 0
        self._asking = False
        self._again = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DEBOUNCE_MS)
        self._timer.timeout.connect(self._ask)

    def changed(self) -> None:
        """The prompt, its options or the router's state changed."""
        self._asked += 1  # whatever is under way is out of date
        self._timer.start()

    def clear(self) -> None:
        """Nothing is in the box any more: say so at once."""
        self._asked += 1
        self._timer.stop()
        self._line.set_decision(None)

    def _ask(self) -> None:
        try:
            request = self._request()
        except SignalboxError as error:
            self._line.set_decision(None, error.message)
            return
        if request is None:
            self._line.set_decision(None)
        elif self._asking:
            self._again = True  # one question at a time: a slow one must not queue up others behind it
        else:
            self._asking = True
            self._tasks.start(self._decide(request, self._asked))

    async def _decide(self, request: ChatRequest, asked: int) -> None:
        try:
            decision = await self._bridge.call(self._bridge.core.decide(request))
        except SignalboxError as error:
            if asked == self._asked:
                self._line.set_decision(None, error.message)
        else:
            if asked == self._asked:
                self._line.set_decision(decision)
        finally:
            self._asking = False
            if self._again:
                self._again = False
                self._timer.start()


class OpenChats(QObject):
    """Any other conversation is read from the store when it is asked for.

    Signals:
        changed: what the head or the list shows of a session may have changed.
        ended: a session's answer ended.
        failed: a session's answer, by its id, failed before its first token.
    """

    changed = Signal(object)
    ended = Signal(object)
    failed = Signal(object, str)

    def __init__(self, bridge: Bridge, keeper: WriteBehindStore, tasks: Tasks, parent: QObject) -> None:
        super().__init__(parent)
        self._bridge, self._keeper, self._tasks = bridge, keeper, tasks
        self._sessions: dict[str, Session] = {}
        self.shown = self.new()

    def new(self) -> Session:
        """Return the session of an empty conversation."""
        return self._adopt(new_conversation())

    def get(self, conversation_id: str) -> Session | None:
        return self._sessions.get(conversation_id)

    async def find(self, conversation_id: str) -> Session | None:
        """Return its session, read where need be; None where there is no such conversation.

        Raises:
            StoreTrouble: it can't be read.
        """
        session = self.get(conversation_id)
        if session is not None:
            return session
        conversation = await self._keeper.read(ConversationStore.load, conversation_id)
        if conversation is None:
            return None
        return self.get(conversation_id) or self._adopt(conversation)

    async def whole(self, conversation_id: str) -> Conversation | None:
        """Return all of a conversation as it is now, without opening it.

        Raises:
            StoreTrouble: it can't be read.
        """
        session = self.get(conversation_id)
        if session is not None:
            return session.whole()
        return await self._keeper.read(ConversationStore.load, conversation_id)

    def leave(self, session: Session) -> None:
        """Only what is shown or streams stays in memory; the rest is read again when it is opened."""
        if session is self.shown or session.is_streaming:
            return
        if self._keeper.is_open and not self._keeper.has_waiting(session.id):
            self._sessions.pop(session.id, None)
            session.deleteLater()

    def titles(self) -> dict[str, str]:
        return {session.id: session.title for session in self._sessions.values()}

    def delete(self, conversation_id: str) -> None:
        """Take a conversation away; ``restore`` brings it back."""
        session = self.get(conversation_id)
        if session is not None:
            session.stop()
            session.deleted = True
        self._keeper.put(("deleted", conversation_id), lambda store: store.delete(conversation_id))

    def restore(self, conversation_id: str) -> None:
        session = self.get(conversation_id)
        if session is not None:
            session.deleted = False
            session.save()
        self._keeper.put(("deleted", conversation_id), lambda store: store.restore(conversation_id))

    def rename(self, conversation_id: str, title: str) -> None:
        session = self.get(conversation_id)
        if session is not None:
            session.rename(title)
        self._keeper.put(("renamed", conversation_id), lambda store: store.rename(conversation_id, title))

    async def close(self) -> None:
        """Stop what streams, and give all of it to the keeper."""
        for session in self._sessions.values():
            session.stop()
        for session in self._sessions.values():
            await session.wait_until_ended()
            session.save()

    def _adopt(self, conversation: Conversation) -> Session:
        session = Session(self._bridge, self._keeper, self._tasks, conversation, self)
        self._sessions[session.id] = session
        session.summary_changed.connect(lambda: self.changed.emit(session))
        session.path_changed.connect(lambda: self.changed.emit(session))
        session.answer_started.connect(lambda: self.changed.emit(session))
        session.answer_ended.connect(lambda: self.ended.emit(session))
        session.failed_before_text.connect(partial(self.failed.emit, session))
        return session


DRAFT_MS = 500


class SendController(QObject):
    """Works on the conversation that is shown; nothing is sent before ``start``."""

    def __init__(
        self,
        chats: OpenChats,
        bridge: Bridge,
        tasks: Tasks,
        composer: Composer,
        thread: ThreadView,
        options: OptionsController,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._chats, self._composer, self._thread, self._options = chats, composer, thread, options
        self.is_started = False
        self.preview = RoutePreview(bridge, tasks, composer.route_line, self._request_now, self)
        self._draft_timer = QTimer(self)
        self._draft_timer.setSingleShot(True)
        self._draft_timer.setInterval(DRAFT_MS)
        self._draft_timer.timeout.connect(self.keep_draft)
        composer.submitted.connect(self.send)
        composer.stopped.connect(self.stop)
        composer.changed.connect(self._on_composer)
        composer.side_chosen.connect(self._on_side)
        options.changed.connect(self.preview.changed)
        options.closed.connect(self.focus_composer)
        thread.stepped.connect(self._on_step)
        thread.edited.connect(self._on_edited)
        thread.kept.connect(self.focus_composer)
        thread.regenerate_asked.connect(self.regenerate)
        thread.pin_asked.connect(self._pin)
        self.update_state()

    @property
    def session(self) -> Session:
        return self._chats.shown

    def start(self) -> None:
        """From now on prompts can be sent."""
        self.is_started = self._options.started = True

    def send(self) -> None:
        """Send what is in the box, or, while an answer streams, once that has ended."""
        if self._composer.is_empty or not self.is_started:
            return
        if self.session.is_streaming:
            self._composer.set_state("queued")
            return
        text, attachments = self._composer.text, self._composer.attachments
        self._draft_timer.stop()
        if self._began(lambda: self.session.send(text, attachments)):
            self.session.set_draft("", ())
            self._composer.set_content("")
            self._thread.set_loose_plan(None)
            self._thread.following = True
            self.preview.clear()
            self.update_state()
            self.focus_composer()

    def send_queued(self) -> None:
        """An answer of what is shown ended: send what waited for that, if the answer came whole."""
        session = self.session
        queued = self._composer.state == "queued"
        ended = session.tree[session.tree.head_id] if session.tree.head_id else None
        self.update_state()
        if queued and ended is not None and ended.status == "done":
            self.send()

    def stop(self) -> None:
        self.session.stop()

    def regenerate(self, answer_id: str) -> None:
        """Ask for another version of an answer; the old one is kept."""
        self._ask_again(lambda: self.session.regenerate(answer_id))

    def go_on(self, answer_id: str) -> None:
        """Continue an answer that broke off."""
        self._ask_again(lambda: self.session.go_on(answer_id))

    def show_options(self) -> None:
        """Show the conversation's options in the drawer and under the box."""
        self._options.show()

    def show_draft(self) -> None:
        """Put what was being written in the conversation into the box."""
        self._composer.set_content(self.session.draft, self.session.draft_attachments)
        self._composer.set_side(self.session.options.force)

    def keep_draft(self) -> None:
        """Keep what is in the box with the conversation."""
        self._draft_timer.stop()
        if not self.session.deleted:
            self.session.set_draft(self._composer.text, self._composer.attachments)

    def choose_auto(self) -> None:
        """Let the rules decide where the next prompt goes."""
        self.session.set_options(replace(self.session.options, force=None))
        self._composer.set_side(None)
        self.preview.changed()

    def use_prompt(self, text: str) -> None:
        """Put ``text`` into the box."""
        self._composer.set_content(text)
        self.focus_composer()

    def on_status(self) -> None:
        """The core's state changed, and with it perhaps where a prompt would go."""
        if self.is_started:
            self._options.show_max_tokens()
            if not self._composer.is_empty:
                self.preview.changed()

    def update_state(self) -> None:
        """Show in the box whether it can send, and what it would do."""
        if not self.is_started:
            self._composer.set_state("starting")
        elif self.session.is_streaming:
            if self._composer.state != "queued":
                self._composer.set_state("streaming")
        else:
            self._composer.set_state("idle")

    def focus_composer(self) -> None:
        self._composer.edit.setFocus(Qt.FocusReason.OtherFocusReason)

    def _began(self, act: Callable[[], object]) -> bool:
        """Begin an answer; a malformed schema is shown where it is, and nothing moves."""
        try:
            act()
        except MalformedSchema as error:
            self._options.open_schema(error.message)
            return False
        self.update_state()
        return True

    def _ask_again(self, act: Callable[[], object]) -> None:
        if self.session.is_streaming:
            return
        self._thread.following = True
        if self._began(act):
            self.focus_composer()

    def _on_edited(self, message_id: str, text: str) -> None:
        self._ask_again(lambda: self.session.edit(message_id, text))

    def _on_step(self, message_id: str, by: int) -> None:
        if not self.session.is_streaming:
            self._thread.following = False
            self.session.show_version(message_id, by)

    def _pin(self, message_id: str, pinned: bool) -> None:
        self.session.pin(message_id, pinned=pinned)
        view = self._thread.view_of(message_id)
        if view is not None:
            view.set_pinned(pinned)
        self.preview.changed()

    def _on_composer(self) -> None:
        self._draft_timer.start()
        if self._composer.is_empty:
            self.preview.clear()
        else:
            self.preview.changed()

    def _on_side(self, _value: str) -> None:
        self.session.set_options(replace(self.session.options, force=self._composer.chosen_side()))
        self.preview.changed()

    def _request_now(self) -> ChatRequest | None:
        if self._composer.is_empty or not self.is_started:
            return None
        return self.session.request_after(self._composer.text, self._composer.attachments)


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
            card.destroyed.connect(self.closed)
            card.popup_at(view.badge)

    def _open_link(self, target: str, place: QPoint) -> None:
        popover = LinkPopover(target, self._page)
        popover.destroyed.connect(self.closed)
        popover.show_at(place)
