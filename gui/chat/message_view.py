"""One message on screen: the user's prompt in its box, or an answer with its badge, actions and failure."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPoint, Qt, Signal
from PySide6.QtGui import (
    QEnterEvent,
    QGuiApplication,
    QKeyEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QTextCursor,
)
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from gui.chat.attachment_chip import AttachmentChip
from gui.chat.failure_card import FailureCard
from gui.chat.failures import plan_break_off, plan_failure
from gui.chat.flow import FlowLayout
from gui.chat.highlighter import LexerShelf
from gui.chat.markdown_view import MarkdownView
from gui.chat.plan import Facts, Plan
from gui.chat.prompt_edit import PromptEdit
from gui.chat.prose import plain_block_format, plain_char_format
from gui.chat.records import StoredMessage
from gui.chat.text_pane import TextPane, drawable
from gui.chat.waiting import Wait
from gui.theme import set_property, theme
from gui.widgets.icon_button import IconButton
from gui.widgets.route_badge import RouteBadge

PAD_PX = 14
BUSY_WHY = "Wait for the answer to end, or stop it"


class VersionSwitch(QWidget):
    """``< 2/3 >``: which version of a message is shown. Hidden while there is one.

    Signals:
        stepped: -1 or 1.
    """

    stepped = Signal(int)

    def __init__(self, what: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._what = what
        self.back = IconButton("caret-left", f"Previous version of this {what}", size=24, icon_size=12)
        self.forward = IconButton("caret-right", f"Next version of this {what}", size=24, icon_size=12)
        self._words = QLabel()
        set_property(self._words, role="small", level="2")
        self.back.clicked.connect(lambda: self.stepped.emit(-1))
        self.forward.clicked.connect(lambda: self.stepped.emit(1))
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        for widget in (self.back, self._words, self.forward):
            row.addWidget(widget)
        self.set_place(1, 1)

    def set_place(self, number: int, count: int, *, busy: bool = False) -> None:
        self._words.setText(f"{number}/{count}")
        self._words.setAccessibleName(f"Version {number} of {count} of this {self._what}")
        self.back.setEnabled(number > 1 and not busy)
        self.forward.setEnabled(number < count and not busy)
        self.setVisible(count > 1)

    @property
    def words(self) -> str:
        return self._words.text()


class QuietButton(IconButton):
    """Shows its icon only while the pointer is over the message or the focus is on it."""

    def __init__(self, icon: str, accessible_name: str, message: QWidget) -> None:
        super().__init__(icon, accessible_name, size=24, icon_size=14)
        self._message = message

    @property
    def is_shown(self) -> bool:
        return self.hasFocus() or self._message.underMouse()

    def paintEvent(self, arg__1: QPaintEvent) -> None:
        if self.is_shown:
            super().paintEvent(arg__1)


class _Tools(QWidget):
    """The quiet buttons of a prompt, over the end of its first line."""

    def __init__(self, buttons: tuple[QuietButton, ...], parent: QWidget) -> None:
        super().__init__(parent)
        self._buttons = buttons
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        for button in buttons:
            row.addWidget(button)

    def paintEvent(self, event: QPaintEvent) -> None:
        if any(button.is_shown for button in self._buttons):
            painter = QPainter(self)
            painter.fillRect(self.rect(), theme().color("sunken"))
            painter.end()


class MessageView(QFrame):
    """What both kinds share.

    Signals:
        stepped: the message's id and -1 or 1: show another version.
        link_clicked: an address and where on the screen.
    """

    stepped = Signal(str, int)
    link_clicked = Signal(str, QPoint)

    def __init__(self, message: StoredMessage, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.message_id = message.id
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)

    def emit_step(self, by: int) -> None:
        self.stepped.emit(self.message_id, by)

    def set_place(self, number: int, count: int, *, busy: bool) -> None:
        """Say which version this is, and whether an answer is running (then it can't be changed)."""

    def restyle(self) -> None:
        """Draw again in a new theme or zoom."""


class UserMessage(MessageView):
    """Signals:
    edited: the message's id and its new text.
    kept: the editor was closed, and the prompt is as it was.
    """

    edited = Signal(str, str)
    kept = Signal()

    def __init__(self, message: StoredMessage, parent: QWidget | None = None) -> None:
        super().__init__(message, parent)
        unit = theme()
        set_property(self, sunken=True)
        self._text = message.text
        self.setAccessibleName(f"You: {message.text[:200]}")
        self.pane = TextPane()
        self.pane.setAccessibleName("Your prompt")
        self.copy_button = QuietButton("copy", "Copy prompt", self)
        self.copy_button.clicked.connect(lambda: QGuiApplication.clipboard().setText(self._text))
        self.edit_button = QuietButton("git-branch", "Edit and branch", self)
        self.edit_button.clicked.connect(self._open_editor)
        self.versions = VersionSwitch("prompt")
        self.versions.stepped.connect(self.emit_step)
        self._tools = _Tools((self.edit_button, self.copy_button), self)
        self._editor: QWidget | None = None
        self.edit: PromptEdit | None = None
        row = QHBoxLayout()
        row.setSpacing(unit.px(4))
        row.addWidget(self.pane, 1)
        top = Qt.AlignmentFlag.AlignTop
        row.addWidget(self.versions, 0, top)
        self._reading = QWidget()
        reading = QVBoxLayout(self._reading)
        reading.setContentsMargins(0, 0, 0, 0)
        reading.setSpacing(unit.px(8))
        reading.addLayout(row)
        if message.attachments:
            chips = QWidget()
            flow = FlowLayout(chips, spacing=unit.px(6))
            for attachment in message.attachments:
                flow.addWidget(AttachmentChip(attachment))
            reading.addWidget(chips)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(unit.px(PAD_PX), unit.px(10), unit.px(PAD_PX), unit.px(10))
        self._column.addWidget(self._reading)
        self.pane.setVisible(bool(message.text.strip()) or not message.attachments)
        self.restyle()

    def restyle(self) -> None:
        self.pane.document().setDefaultFont(theme().font("reading"))
        self.pane.clear()
        cursor = QTextCursor(self.pane.document())
        block = plain_block_format()
        block.setBottomMargin(0)
        cursor.setBlockFormat(block)
        cursor.insertText(drawable(self._text), plain_char_format())

    def set_place(self, number: int, count: int, *, busy: bool) -> None:
        self.versions.set_place(number, count, busy=busy)
        self.edit_button.setEnabled(not busy)
        self.edit_button.setToolTip(
            BUSY_WHY if busy else "Edit and branch: the old prompt and answer are kept"
        )

    def _open_editor(self) -> None:
        if self._editor is not None:
            return
        unit = theme()
        self._editor = QWidget(self)
        self.edit = PromptEdit()
        self.edit.set_text(self._text)
        self.edit.setAccessibleName("Edit prompt")
        send = QPushButton("Send as a branch")
        set_property(send, primary=True, compact=True)
        cancel = QPushButton("Keep as it was")
        set_property(cancel, compact=True, flat=True)
        send.clicked.connect(self._send_edit)
        cancel.clicked.connect(self.keep)
        self.edit.submitted.connect(self._send_edit)
        buttons = QHBoxLayout()
        buttons.setSpacing(unit.px(8))
        buttons.addWidget(send)
        buttons.addWidget(cancel)
        buttons.addStretch(1)
        column = QVBoxLayout(self._editor)
        column.setContentsMargins(0, 0, unit.px(8), 0)
        column.setSpacing(unit.px(8))
        column.addWidget(self.edit)
        column.addLayout(buttons)
        self._reading.hide()
        self._column.addWidget(self._editor)
        self.edit.setFocus()

    def _send_edit(self) -> None:
        text = self.edit.text() if self.edit is not None else ""
        if text.strip():
            self._close_editor()
            self.edited.emit(self.message_id, text)

    def keep(self) -> None:
        """Close the editor and leave the prompt as it was."""
        if self._editor is not None:
            self._close_editor()
            self.kept.emit()

    def _close_editor(self) -> None:
        if self._editor is not None:
            self._column.removeWidget(self._editor)
            self._editor.hide()
            self._editor.deleteLater()
            self._editor = self.edit = None
        self._reading.show()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape and self._editor is not None:
            self.keep()
        else:
            super().keyPressEvent(event)

    def enterEvent(self, event: QEnterEvent) -> None:
        self._tools.update()

    def leaveEvent(self, event: QEvent) -> None:
        self._tools.update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        unit = theme()
        self._tools.adjustSize()
        left = self.versions.width() + unit.px(4) if self.versions.isVisibleTo(self) else 0
        self._tools.move(self.width() - self._tools.width() - unit.px(6) - left, unit.px(9))
        self._tools.raise_()


class AnswerMessage(MessageView):
    """Signals:
    regenerate_asked: the answer's id.
    badge_opened: the answer's id; open its decision at the badge.
    acted: the answer's id and the ``Action`` of its failure card.
    """

    regenerate_asked = Signal(str)
    badge_opened = Signal(str)
    acted = Signal(str, str)

    def __init__(self, message: StoredMessage, shelf: LexerShelf, parent: QWidget | None = None) -> None:
        super().__init__(message, parent)
        unit = theme()
        self.setAccessibleName("Answer")
        self._message = message
        self.view = MarkdownView(shelf)
        self.view.link_clicked.connect(self.link_clicked)
        self.badge = RouteBadge()
        self.badge.opened.connect(lambda: self.badge_opened.emit(self.message_id))
        self._note = QLabel()
        set_property(self._note, role="small", level="3")
        self.copy_button = IconButton("copy", "Copy answer", size=24, icon_size=14)
        self.copy_button.clicked.connect(lambda: QGuiApplication.clipboard().setText(self.view.source))
        self.again_button = IconButton(
            "arrow-clockwise", "Regenerate; this answer is kept", size=24, icon_size=14
        )
        self.again_button.clicked.connect(lambda: self.regenerate_asked.emit(self.message_id))
        self.versions = VersionSwitch("answer")
        self.versions.stepped.connect(self.emit_step)
        self.card: FailureCard | None = None
        self._foot = QHBoxLayout()
        self._foot.setSpacing(unit.px(2))
        self._foot.addWidget(self.badge, 1)
        self._foot.addWidget(self._note)
        for widget in (self.versions, self.copy_button, self.again_button):
            self._foot.addWidget(widget)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(unit.px(PAD_PX), 0, unit.px(PAD_PX), 0)
        self._column.setSpacing(unit.px(9))
        self._column.addWidget(self.view)
        self._column.addLayout(self._foot)

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
        self.badge.set_waiting(wait.goal, wait.words, wait.told.detail)

    def set_progress(self, tokens: int, tok_s: float | None, held: int | None) -> None:
        self.badge.set_streaming(tokens, tok_s, held)

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
        for widget in (self.copy_button, self.again_button):
            widget.setVisible(not streaming)
        self.copy_button.setVisible(not streaming and bool(message.text))
        note = ""
        if message.status == "stopped":
            early = (
                "Stopped before it was sent" if message.decision is None else "Stopped before the first token"
            )
            note = "Stopped" if message.text else early
        elif message.status == "done" and message.result is not None:
            if message.result.finish_reason == "refusal":
                note = "The model declined to answer."
            elif not message.text.strip():
                note = "The answer is empty."
        self._note.setText(note)
        self._note.setVisible(bool(note))
        self.set_plan(_plan(message, facts or Facts()))

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
            self.badge.set_result(message.result)
        else:
            words = {
                "stopped": "Stopped",
                "interrupted": "Cut off",
            }.get(message.status, "No answer")
            self.badge.set_failed(words, message.decision)

    def set_place(self, number: int, count: int, *, busy: bool) -> None:
        self.versions.set_place(number, count, busy=busy)
        self.again_button.setEnabled(not busy)
        self.again_button.setToolTip(BUSY_WHY if busy else "Regenerate; this answer is kept")

    def restyle(self) -> None:
        self.view.restyle()


def _plan(message: StoredMessage, facts: Facts) -> Plan | None:
    if message.status == "streaming":
        return None
    if message.text:
        return plan_break_off(message)
    return plan_failure(message.error, facts) if message.error is not None else None
