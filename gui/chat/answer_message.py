"""An answer on screen: its text as it arrives, its badge, its actions and its failure."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from gui.chat.failures.cards import FailureCard
from gui.chat.failures.plan import Facts, Plan
from gui.chat.failures.plans import PLAN_CUT_EARLY, plan_break_off, plan_failure
from gui.chat.markdown.highlighter import LexerCache
from gui.chat.markdown.markdown_view import MarkdownView
from gui.chat.message_view import BUSY_WHY, PAD_PX, MessageView, VersionSwitch, show_pin
from gui.chat.storage.models import COPIED, StoredMessage
from gui.chat.waits import FirstToken, Wait
from gui.theme.theme import set_property, theme
from gui.widgets.copying import Copier
from gui.widgets.icon_button import IconButton
from gui.widgets.labels import plain_label
from gui.widgets.route_badge import RouteBadge

STOPPED_EARLY = "Stopped before the first token"
REPLAY = "Replay on the other side, with its price; this answer is kept"


class AnswerMessage(MessageView):
    """Signals:
    regenerate_asked: the answer's id.
    replay_asked: the answer's id; offer its prompt to the sides.
    badge_opened: the answer's id; open its decision at the badge.
    acted: the answer's id and the ``Action`` of its failure card.
    """

    regenerate_asked = Signal(str)
    replay_asked = Signal(str)
    badge_opened = Signal(str)
    acted = Signal(str, str)

    def __init__(self, message: StoredMessage, lexers: LexerCache, parent: QWidget | None = None) -> None:
        super().__init__(message, parent)
        self.setAccessibleName("Answer")
        self._message = message
        self.view = MarkdownView(lexers)
        self.view.link_clicked.connect(self.link_clicked)
        self.badge = RouteBadge()
        self.badge.opened.connect(lambda: self.badge_opened.emit(self.message_id))
        self._note = plain_label()
        set_property(self._note, role="small", level="3")
        self.copy_button = IconButton("copy", "Copy answer", size=24, icon_size=14)
        Copier(self.copy_button, lambda: self.view.source)
        self.again_button = IconButton(
            "arrow-clockwise", "Regenerate; this answer is kept", size=24, icon_size=14
        )
        self.again_button.clicked.connect(lambda: self.regenerate_asked.emit(self.message_id))
        self.replay_button = IconButton("arrows-left-right", REPLAY, size=24, icon_size=14)
        self.replay_button.clicked.connect(lambda: self.replay_asked.emit(self.message_id))
        self.pin_button = IconButton("push-pin", "Pin", size=24, icon_size=14)
        self.pin_button.clicked.connect(self.ask_pin)
        self.versions = VersionSwitch("answer")
        self.versions.stepped.connect(self.emit_step)
        self.card: FailureCard | None = None
        self._awaits_first = False
        self._foot = QHBoxLayout()
        self._foot.addWidget(self.badge, 1)
        self._foot.addWidget(self._note)
        for widget in (
            self.versions,
            self.pin_button,
            self.copy_button,
            self.replay_button,
            self.again_button,
        ):
            self._foot.addWidget(widget)
        self._column = QVBoxLayout(self)
        self._column.addWidget(self.view)
        self._column.addLayout(self._foot)
        self._respace()
        self.set_pinned(message.pinned)

    def _respace(self) -> None:
        unit = theme()
        self._foot.setSpacing(unit.px(2))
        self._column.setContentsMargins(unit.px(PAD_PX), 0, unit.px(PAD_PX), 0)
        self._column.setSpacing(unit.px(9))

    def set_pinned(self, pinned: bool) -> None:
        super().set_pinned(pinned)
        show_pin(self.pin_button, pinned=pinned)
        self._show_tools()

    def start(self, text: str) -> None:
        """Begin to stream; ``text`` is what arrived before this widget was made."""
        self.view.start_stream(text)
        self.show_state(self._message)

    def append(self, text: str) -> None:
        self.view.append(text)

    @property
    def note(self) -> str:
        """The words beside the badge: stopped, declined, empty, or what is waited for."""
        return self._note.text()

    def set_waiting(self, words: str) -> None:
        """Say what is waited for before the request leaves, such as a local server that is starting."""
        self._note.setText(words)
        self._note.setVisible(bool(words))

    def set_wait(self, wait: Wait) -> None:
        """Show, where the badge will be, what the request waits for."""
        self.badge.setVisible(True)
        self._note.hide()
        self.badge.set_waiting(wait.goal, wait.words, wait.detail)

    def set_progress(
        self, tokens: int, tok_s: float | None, held: int | None, first: FirstToken | None = None
    ) -> None:
        """Show how far it is; ``first`` is what it waits for until its first token."""
        self._awaits_first = first is not None and tokens == 0
        if first is not None and tokens == 0:
            self.badge.set_streaming(0, None, held, before=first.words)
        else:
            self.badge.set_streaming(tokens, tok_s, held)

    @property
    def awaits_first_token(self) -> bool:
        """Whether the badge says what the first token waits for."""
        return self._awaits_first

    def finish(self, message: StoredMessage) -> None:
        """The stream ended."""
        self.view.finish()
        self.show_state(message)

    def show_state(self, message: StoredMessage, facts: Facts | None = None) -> None:
        """Show badge, note and card for a message's state."""
        self._message = message
        streaming = message.status == "streaming"
        self._show_badge(message)
        self.view.setVisible(streaming or bool(message.text.strip()))
        self._show_tools()
        note = ""
        if message.status == "stopped":
            # With a badge, that says it.
            early = "Stopped before it was sent" if message.decision is None else ""
            note = "Stopped" if message.text else early
        elif message.status == "done" and message.result is not None:
            if message.result.finish_reason == "refusal":
                note = "The model declined to answer."
            elif not message.text.strip():
                note = message.result.empty_because or "The answer is empty."
        elif message.origin not in ("", COPIED) and message.decision is None:
            note = f"From {message.origin}"
        self._note.setText(note)
        self._note.setVisible(bool(note))
        self.set_plan(_plan(message, facts or Facts()))

    def show_cost(self, message: StoredMessage) -> None:
        """Show what the ledger learned of its cost; the failure's card of an answer without text stays."""
        self._message = message
        self._show_badge(message)
        if message.text:
            self.set_plan(plan_break_off(message))

    def _show_tools(self) -> None:
        has_ended, has_text = self._message.status != "streaming", bool(self._message.text)
        self.again_button.setVisible(has_ended)
        self.replay_button.setVisible(has_ended)
        self.copy_button.setVisible(has_ended and has_text)
        self.pin_button.setVisible(has_ended and has_text and self.shows_pin)

    def set_plan(self, plan: Plan | None) -> None:
        """Show a failure's card, or take it away."""
        if self.card is not None:
            self._column.removeWidget(self.card)
            self.card.hide()
            self.card.deleteLater()
            self.card = None
        if plan is not None:
            self.card = FailureCard(plan)
            self.card.acted.connect(self._emit_action)
            self._column.addWidget(self.card)

    def _emit_action(self, action: str) -> None:
        self.acted.emit(self.message_id, action)

    def _show_badge(self, message: StoredMessage) -> None:
        self.badge.setVisible(message.decision is not None)
        if message.decision is None:
            return
        if message.status == "streaming":
            self.badge.set_decision(message.decision)
        elif message.result is not None and (message.text or message.status == "done"):
            self.badge.set_result(message.result, message.settled_later)
        elif message.status == "stopped":
            self.badge.set_stopped(STOPPED_EARLY, message.decision, message.spending)
        else:
            words = "Cut off" if message.status == "interrupted" else "No answer"
            self.badge.set_failed(words, message.decision, message.spending)

    def set_place(self, number: int, count: int, *, busy: bool) -> None:
        self.versions.set_place(number, count, busy=busy)
        self.again_button.setEnabled(not busy)
        self.again_button.setToolTip(BUSY_WHY if busy else "Regenerate; this answer is kept")
        self.replay_button.setEnabled(not busy)
        self.replay_button.setToolTip(BUSY_WHY if busy else REPLAY)

    @property
    def is_in_use(self) -> bool:
        return self.card is not None or self.view.is_unfolded

    def restyle(self) -> None:
        self._respace()
        self.view.restyle()


def _plan(message: StoredMessage, facts: Facts) -> Plan | None:
    if message.status == "streaming":
        return None
    if message.text:
        return plan_break_off(message)
    if message.status == "interrupted":
        return PLAN_CUT_EARLY
    if message.error is None:
        return None
    side = message.decision.side if message.decision is not None else None
    return plan_failure(message.error, replace(facts, side=side))
