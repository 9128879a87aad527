"""What a user can do on the chat page: send, stop, edit, regenerate, attach, open.

The controller hears the view's signals and acts on the models: the open conversations, their sessions, the store.
What follows a failed answer is ``failure_controller.py``'s, what is done with the list ``list_controller.py``'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt, QTimer, QUrl
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QFileDialog

from core import counted
from core.chat import ChatRequest
from gui.chat.attachment_viewer import AttachmentViewer
from gui.chat.composer import local_paths
from gui.chat.failure_controller import FailureController
from gui.chat.find_controller import FindController
from gui.chat.late_settlement import LateSettlement
from gui.chat.list_controller import ListController
from gui.chat.model_controller import ModelController
from gui.chat.open_conversations import OpenConversations
from gui.chat.paste import read_file, read_image
from gui.chat.prompt_controller import PromptController
from gui.chat.replay_controller import ReplayController
from gui.chat.request_builder import MalformedSchema
from gui.chat.route_preview import RoutePreview
from gui.chat.session import Session
from gui.chat.storage.file import StoreTrouble
from gui.chat.storage.models import ChatOptions, Place
from gui.chat.storage.store import ConversationStore
from gui.chat.storage.write_behind import WriteBehindStore
from gui.chat.thread_place import go_to_place, place_in
from gui.chat.transfer_controller import TransferController
from gui.chat.view import ChatView
from gui.shell.memory import release_free_memory
from gui.shell.pages import Shell
from gui.shell.tasks import Tasks
from gui.widgets.formatting import time_left

if TYPE_CHECKING:
    from core import CoreStatus

DRAFT_MS = 500
PLACE_MS = 500
MOST_FILES = 20
LONG_CHARS = 100_000
"""A conversation of more text than this is worth giving its memory back: its widgets took 15 MiB and more."""
RELEASE_MS = 2_000
"""By then the widgets of a conversation that was left are gone, and the next one is shown."""


class ChatController(QObject):
    """Works on the conversation that is shown; nothing is sent before ``start``."""

    def __init__(self, shell: Shell, tasks: Tasks, view: ChatView) -> None:
        super().__init__(view)
        self._bridge, self._tasks, self.view = shell.bridge, tasks, view
        self.store = WriteBehindStore(shell.bridge, shell.home, tasks, self)
        self.conversations = OpenConversations(shell.bridge, self.store, tasks, self)
        self.late = LateSettlement(shell.bridge, tasks, self.store, self.conversations, self)
        self.preview = RoutePreview(shell.bridge, tasks, view.composer.route_line, self.request_now, self)
        self.failures = FailureController(self, shell, tasks, view)
        self.find = FindController(tasks, view)
        self.list = ListController(self, shell.bridge, tasks, view)
        self.viewer = AttachmentViewer(shell.bridge, tasks, view)
        self.models = ModelController(self, shell, tasks, view)
        self.prompts = PromptController(self, view)
        self.transfer = TransferController(
            self.store, tasks, view, self.list.refresh, self.prompts.take_imported
        )
        self.replays = ReplayController(self, shell, tasks, view)
        self.is_started = False
        self._draft_timer = QTimer(self)
        self._draft_timer.setSingleShot(True)
        self._draft_timer.setInterval(DRAFT_MS)
        self._draft_timer.timeout.connect(self.keep_draft)
        self.knows_place = False
        """Whether the conversations' file says what was shown last."""
        self._kept_place: Place | None = None
        self._going_to: Place | None = None
        self._place_timer = QTimer(self)
        self._place_timer.setSingleShot(True)
        self._place_timer.setInterval(PLACE_MS)
        self._place_timer.timeout.connect(self._keep_place)
        self._release_timer = QTimer(self)
        self._release_timer.setSingleShot(True)
        self._release_timer.setInterval(RELEASE_MS)
        self._release_timer.timeout.connect(self._release_memory)
        view.thread_view.progress.words = self._waiting_words
        self._hear_view()
        self._hear_models()
        self._update_composer()
        view.show_head(self.session)

    @property
    def session(self) -> Session:
        """The conversation that is shown."""
        return self.conversations.shown

    def _hear_view(self) -> None:
        view = self.view
        view.new_asked.connect(self.new_chat)
        view.stop_asked.connect(self.stop)
        view.list.new_asked.connect(self.new_chat)
        view.header.options_asked.connect(self.toggle_options)
        view.composer.submitted.connect(self.send)
        view.composer.stopped.connect(self.stop)
        view.composer.changed.connect(self._on_typed)
        view.composer.side_chosen.connect(self._on_side)
        view.composer.max_tokens_clicked.connect(self._open_max_tokens)
        view.composer.attach_asked.connect(self._ask_what_to_attach)
        view.composer.files_given.connect(self.attach)
        view.composer.image_given.connect(self._on_image)
        for place in (view.composer, view.thread_view):
            place.pictures = self.viewer.pictures
            place.attachment_opened.connect(self.viewer.open)
        view.drawer.changed.connect(self.set_options)
        view.thread_view.verticalScrollBar().valueChanged.connect(lambda: self._place_timer.start())
        view.thread_view.stepped.connect(self.show_version)
        view.thread_view.edited.connect(self.edit)
        view.thread_view.regenerate_asked.connect(self.regenerate)
        view.thread_view.pin_asked.connect(self.pin)
        view.thread_view.card_changed.connect(lambda: view.show_head(self.session))
        view.trouble.retry_asked.connect(self.store.retry)
        view.hint.prompt_chosen.connect(self.use_prompt)

    def _hear_models(self) -> None:
        self.conversations.changed.connect(self._on_changed)
        self.conversations.ended.connect(self._on_ended)
        self.conversations.failed.connect(self._on_failed)
        self.store.trouble_changed.connect(self.tell_trouble)
        self._bridge.status_changed.connect(self._on_status)
        self.late.changed.connect(self.list.refresh)

    # Life

    async def start(self) -> None:
        """Open the kept conversations and show them; from then on prompts can be sent."""
        store = await self.store.open()
        if store.set_aside is not None:
            self.view.show_error(
                "Your conversations’ file was broken. It is kept as "
                f"{store.set_aside.name}, and a new one is in use."
            )
        elif store.interrupted:
            answers = counted(store.interrupted, "answer was", "answers were")
            self.view.toasts.show(f"{answers} cut off when Signalbox ended last time; what had come is kept")
        await self.list.read_groups()
        await self.list.read()
        if self.view.thread_view.session is None:
            self.view.thread_view.show_session(self.session)
        self.is_started = True
        if self._bridge.status is not None:
            self._on_status(self._bridge.status)
            self.late.on_status(self._bridge.status)
        self._update_composer()
        self.models.start()
        await self.prompts.start()
        if self.session.is_blank and not self.view.composer.text:
            await self._reopen()
        self.preview.changed()

    async def _reopen(self) -> None:
        """Show what was shown last, also after a kill: a chat at its place, or a prompt that was being typed."""
        place = await self.store.read(ConversationStore.place)
        if place is None:
            return
        self.knows_place = True
        self._going_to = self._kept_place = place
        await self.open_now(place.conversation_id)
        if self.session.id == place.conversation_id and place.message_id:
            self._tasks.start(self._go_to(place))
        else:
            self._going_to = None

    async def _go_to(self, place: Place) -> None:
        try:
            await go_to_place(self.view.thread_view, place.message_id, place.offset_px)
        finally:
            self._going_to = None

    def _keep_place(self) -> None:
        """Write what is shown when that changes: a run that is killed writes nothing at its end."""
        self._place_timer.stop()
        going_to = self._going_to
        if going_to is not None and going_to.conversation_id == self.session.id:
            return  # what is shown until that place is reached is nobody's place
        message_id, offset_px = place_in(self.view.thread_view)
        place = Place(conversation_id=self.session.id, message_id=message_id, offset_px=offset_px)
        if self.is_started and place != self._kept_place:
            self._kept_place = place
            self.store.put(("state", "place"), lambda store: store.set_place(place))

    async def stop_all(self) -> None:
        """Stop what streams, write everything, and close the file."""
        self.keep_draft()
        self._keep_place()
        self._place_timer.timeout.disconnect()  # what moves from here on, nobody reads
        self.list.close()
        self.view.begin_closing()
        self.viewer.close_all()
        await self.transfer.close()
        await self.conversations.close()
        await self.store.close()
        await self._tasks.close()

    # Asking

    def send(self) -> None:
        """Send what is in the box, or, while an answer streams, once that has ended."""
        composer = self.view.composer
        if composer.is_empty or not self.is_started:
            return
        if self.session.is_streaming:
            composer.set_state("queued")
            return
        text, attachments = composer.text, composer.attachments
        self._draft_timer.stop()
        if self._began(lambda: self.session.send(text, attachments)):
            self.session.set_draft("", ())
            composer.set_content("")
            self.view.thread_view.set_loose_plan(None)
            self.view.thread_view.following = True
            self.preview.clear()
            self._update_composer()
            self.focus_composer()

    def stop(self) -> None:
        """End the answer that streams; what arrived is kept."""
        self.session.stop()

    def edit(self, message_id: str, text: str) -> None:
        """Ask again with another prompt, beside the old one."""
        self.ask_again(lambda: self.session.edit(message_id, text))

    def regenerate(self, answer_id: str) -> None:
        """Ask for another version of an answer; the old one is kept."""
        self.ask_again(lambda: self.session.regenerate(answer_id))

    def go_on(self, answer_id: str) -> None:
        """Continue an answer that broke off."""
        self.ask_again(lambda: self.session.go_on(answer_id))

    def show_version(self, message_id: str, by: int) -> None:
        """Show the next or the previous version of a message."""
        if not self.session.is_streaming:
            self.view.thread_view.following = False
            self.session.show_version(message_id, by)

    def pin(self, message_id: str, pinned: bool) -> None:
        """Keep a message when the conversation is trimmed, or no longer."""
        self.session.pin(message_id, pinned=pinned)
        view = self.view.thread_view.view_of(message_id)
        if view is not None:
            view.set_pinned(pinned)
        self.preview.changed()

    def use_prompt(self, text: str) -> None:
        """Put ``text`` into the box."""
        self.view.composer.set_content(text)
        self.focus_composer()

    def keep_draft(self) -> None:
        """Keep what is in the box with the conversation."""
        self._draft_timer.stop()
        if not self.session.deleted:
            self.session.set_draft(self.view.composer.text, self.view.composer.attachments)

    def focus_composer(self) -> None:
        self.view.focus_composer()

    def _began(self, act: Callable[[], object]) -> bool:
        """Begin an answer; a malformed schema is shown where it is, and nothing moves."""
        try:
            act()
        except MalformedSchema:
            self._open_options()
            self.view.drawer.focus_schema()
            return False
        self._update_composer()
        return True

    def ask_again(self, act: Callable[[], object]) -> None:
        """Begin another answer in the thread, where none is under way."""
        if self.session.is_streaming:
            return
        self.view.thread_view.following = True
        if self._began(act):
            self.focus_composer()

    def _on_typed(self) -> None:
        self._draft_timer.start()
        self.failures.prompt_changed()
        if self.view.composer.is_empty:
            self.preview.clear()
        else:
            self.preview.changed()

    def request_now(self) -> ChatRequest | None:
        """Return what sending would ask now; ``None`` for an empty box. Raises ``MalformedSchema``."""
        if self.view.composer.is_empty or not self.is_started:
            return None
        return self.session.request_after(self.view.composer.text, self.view.composer.attachments)

    def _update_composer(self) -> None:
        """Show in the box whether it can send, and what it would do."""
        composer = self.view.composer
        if not self.is_started:
            composer.set_state("starting")
        elif self.session.is_streaming:
            if composer.state != "queued":
                composer.set_state("streaming")
        else:
            composer.set_state("idle")

    # Attaching

    def attach(self, urls: list[QUrl]) -> None:
        """Read files in a worker and put them into the box; what can't be sent is refused with a reason."""
        self._attach_files(local_paths(urls))

    def _attach_files(self, names: list[str]) -> None:
        self._tasks.start(self._attach(names))

    def _ask_what_to_attach(self) -> None:
        dialog = QFileDialog(self.view, "Attach files")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFiles)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        # Not urlsSelected: Qt's own dialog never emits it.
        dialog.filesSelected.connect(self._attach_files)
        dialog.open()

    async def _attach(self, names: list[str]) -> None:
        notes: list[str] = []
        for name in names[:MOST_FILES]:
            pasted = await self._bridge.run_blocking(read_file, Path(name))
            if pasted.attachment is not None:
                self.view.composer.add_attachment(pasted.attachment)
            if pasted.note:
                notes.append(pasted.note)
        if len(names) > MOST_FILES:
            notes.append(f"Only the first {MOST_FILES} of {len(names):,} files were attached.")
        self.view.composer.set_note(" ".join(notes))

    def _on_image(self, image: QImage) -> None:
        self._tasks.start(self._attach_image(image))

    async def _attach_image(self, image: QImage) -> None:
        pasted = await self._bridge.run_blocking(read_image, image)
        if pasted.attachment is not None:
            self.view.composer.add_attachment(pasted.attachment)
        self.view.composer.set_note(pasted.note)

    # Options

    def set_options(self, options: ChatOptions) -> None:
        """Take what the drawer says; side and model have their own controls."""
        kept = self.session.options
        self.session.set_options(replace(options, force=kept.force, model=kept.model))
        self._show_max_tokens()
        self.preview.changed()
        self.failures.options_changed()

    def show_options(self) -> None:
        """Show the conversation's options in the drawer and under the box."""
        self.view.drawer.show_options(self.session.options, self._default_max_tokens())
        self.models.show()
        self.prompts.show()
        self._show_max_tokens()

    def toggle_options(self) -> None:
        if self.view.drawer.isVisible():
            self.view.close_options()
        else:
            self._open_options()

    def _open_options(self) -> None:
        self.show_options()
        self.view.open_options()

    def _open_max_tokens(self) -> None:
        self._open_options()
        self.view.drawer.focus_max_tokens()

    def _show_max_tokens(self) -> None:
        self.view.show_max_tokens(self.session.options.max_tokens, self._default_max_tokens())

    def _trims(self) -> bool:
        return self._bridge.core.settings.current.context_window_tokens is not None

    def _default_max_tokens(self) -> int | None:
        return self._bridge.core.settings.current.max_tokens_per_request if self.is_started else None

    def _on_side(self, _value: str) -> None:
        side = self.view.composer.chosen_side()
        self.session.set_options(replace(self.session.options, force=side))
        self.models.keep_to(side)
        self.models.show()
        self.preview.changed()
        self.failures.options_changed()

    # Conversations

    def new_chat(self) -> None:
        """Show an empty conversation, which goes to Auto; one that is empty already is used again."""
        if not self.session.is_blank or len(self.session.tree):
            self.keep_draft()
            self.show(self.conversations.new())
        else:
            fresh = self.conversations.fresh_options()
            self.session.set_options(replace(self.session.options, force=fresh.force, model=fresh.model))
            self.view.composer.set_side(fresh.force)
            self.show_options()
            self.preview.changed()
        self.focus_composer()

    def open(self, conversation_id: str) -> None:
        """Show a conversation; one that is gone is left alone."""
        self._tasks.start(self.open_now(conversation_id))

    def titles(self) -> dict[str, str]:
        """Return the titles of all conversations that are listed or in memory, short enough for a button."""
        return self.list.titles()

    async def open_now(self, conversation_id: str) -> None:
        """Return once the conversation is shown, or is left alone because it is gone."""
        if conversation_id == self.session.id:
            return
        try:
            session = await self.conversations.find(conversation_id)
        except StoreTrouble as problem:
            self.tell_trouble(problem)
            return
        self.list.tell_of_unreadable()
        if session is None:
            return
        self.keep_draft()
        self.show(session)

    def show(self, session: Session) -> None:
        """Show a conversation that is in memory."""
        old, self.conversations.shown = self.session, session
        if sum(len(message.text) for message in old.tree.path()) >= LONG_CHARS:
            self._release_timer.start()
        self.find.conversation_changed()
        self.view.composer.set_content(session.draft, session.draft_attachments)
        self.view.composer.set_side(session.options.force)
        self.view.show_head(session)
        self.view.thread_view.show_session(session)
        self._keep_place()
        self.conversations.forget_unused()
        self._update_composer()
        self.show_options()
        self.view.list.set_current(session.id)
        self.preview.changed()

    def _release_memory(self) -> None:
        self._tasks.start(self._bridge.run_blocking(release_free_memory))

    # What the models say

    def _on_changed(self, session: Session) -> None:
        if session is self.session:
            self.view.show_head(session)
        self.list.refresh()

    def _on_ended(self, session: Session) -> None:
        """Send what waited for the end of an answer that is shown, if the answer came whole."""
        self._on_changed(session)
        if session is not self.session:
            return
        self.view.announce("Answer finished")
        queued = self.view.composer.state == "queued"
        ended = session.tree[session.tree.head_id] if session.tree.head_id else None
        self._update_composer()
        if queued and ended is not None and ended.status == "done":
            self.send()

    def _on_failed(self, session: Session, answer_id: str) -> None:
        """Nothing came: the failure controller gives the prompt back and says why."""
        self._on_changed(session)
        self._update_composer()
        self.failures.take(session, answer_id)
        self.view.announce("No answer")
        if session is self.session:
            self._update_composer()

    def tell_trouble(self, problem: StoreTrouble | None) -> None:
        """Say what keeps the conversations from being read or written; ``None`` takes it back."""
        if problem is None:
            self.view.trouble.clear()
        else:
            self.view.trouble.say(f"{problem.message} {problem.hint}", can_retry=self.store.can_retry)

    def _on_status(self, status: CoreStatus) -> None:
        self.view.hint.set_status(status)
        self.failures.on_status(status)
        if self.is_started:
            self._show_max_tokens()
            self.view.thread_view.offer_pins(self._trims())
            if not self.view.composer.is_empty:
                self.preview.changed()

    def _waiting_words(self) -> str:
        status = self._bridge.status
        if status is None or status.local.phase != "starting":
            return "Deciding"
        eta_s = status.local.eta_s
        left = f", {time_left(eta_s)}" if eta_s is not None else ""
        return f"Waiting for Local: {status.local.detail or 'starting'}{left}"
