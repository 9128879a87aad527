"""From the box to an answer: drafts, where a prompt would go, sending it, and asking again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt, QTimer

from core.chat import ChatRequest
from gui.chat.composer import Composer
from gui.chat.open_chats import OpenChats
from gui.chat.options_desk import OptionsDesk
from gui.chat.requests import MalformedSchema
from gui.chat.route_preview import RoutePreview
from gui.chat.session import Session
from gui.chat.thread_view import ThreadView
from gui.tasks import Tasks

if TYPE_CHECKING:
    from gui.bridge import Bridge

DRAFT_MS = 500


class Asking(QObject):
    """Works on the conversation that is shown; nothing is sent before ``start``."""

    def __init__(
        self,
        chats: OpenChats,
        bridge: Bridge,
        tasks: Tasks,
        composer: Composer,
        thread: ThreadView,
        options: OptionsDesk,
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
