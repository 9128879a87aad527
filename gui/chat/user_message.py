"""The user's prompt in its box: read, copied, pinned, or edited into a branch."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import (
    QEnterEvent,
    QKeyEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QTextCursor,
)
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from gui.chat.attachment_chip import AttachmentButton
from gui.chat.markdown.prose import plain_block_format, plain_char_format
from gui.chat.markdown.text_pane import TextPane, drawable
from gui.chat.message_view import BUSY_WHY, PAD_PX, MessageView, QuietButton, VersionSwitch, show_pin
from gui.chat.pictures import Pictures
from gui.chat.prompt_edit import PromptEdit
from gui.chat.storage.models import StoredMessage
from gui.theme.theme import set_property, theme
from gui.widgets.copying import Copier
from gui.widgets.flow import FlowLayout


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


class UserMessage(MessageView):
    """Signals:
    edited: the message's id and its new text.
    typed: the message's id and what stands in its open editor, ``None`` once that is closed.
    kept: the editor was closed, and the prompt is as it was.
    attachment_opened: an ``Attachment`` was pressed.
    """

    edited = Signal(str, str)
    typed = Signal(str, object)
    kept = Signal()
    attachment_opened = Signal(object)

    def __init__(
        self, message: StoredMessage, pictures: Pictures | None = None, parent: QWidget | None = None
    ) -> None:
        super().__init__(message, parent)
        unit = theme()
        set_property(self, sunken=True)
        self._text = message.text
        self.setAccessibleName(f"You: {message.text[:200]}")
        self.pane = TextPane()
        self.pane.setAccessibleName("Your prompt")
        self.copy_button = QuietButton("copy", "Copy prompt", self)
        Copier(self.copy_button, lambda: self._text)
        self.edit_button = QuietButton("git-branch", "Edit and branch", self)
        self.edit_button.clicked.connect(self.open_editor)
        self.pin_button = QuietButton("push-pin", "Pin", self)
        self.pin_button.clicked.connect(self.ask_pin)
        self.versions = VersionSwitch("prompt")
        self.versions.stepped.connect(self.emit_step)
        self._tools = _Tools((self.edit_button, self.copy_button, self.pin_button), self)
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
            flow = FlowLayout(chips, gap=6)
            for attachment in message.attachments:
                button = AttachmentButton(attachment, pictures, large=True)
                button.opened.connect(self.attachment_opened)
                flow.addWidget(button)
            reading.addWidget(chips)
        self._column = QVBoxLayout(self)
        self._column.addWidget(self._reading)
        self.pane.setVisible(bool(message.text.strip()) or not message.attachments)
        self.set_pinned(message.pinned)
        self.restyle()

    @property
    def is_in_use(self) -> bool:
        return self.edit is not None

    def restyle(self) -> None:
        unit = theme()
        self._column.setContentsMargins(unit.px(PAD_PX), unit.px(10), unit.px(PAD_PX), unit.px(10))
        self.pane.document().setDefaultFont(theme().font("reading"))
        self.pane.clear()
        cursor = QTextCursor(self.pane.document())
        block = plain_block_format()
        block.setBottomMargin(0)
        cursor.setBlockFormat(block)
        cursor.insertText(drawable(self._text), plain_char_format())
        self._place_tools()

    def set_pinned(self, pinned: bool) -> None:
        super().set_pinned(pinned)
        show_pin(self.pin_button, pinned=pinned)
        self.pin_button.setVisible(self.shows_pin)
        self._tools.update()

    def set_place(self, number: int, count: int, *, busy: bool) -> None:
        self.versions.set_place(number, count, busy=busy)
        self._place_tools()
        self.edit_button.setEnabled(not busy)
        self.edit_button.setToolTip(
            BUSY_WHY if busy else "Edit and branch: the old prompt and answer are kept"
        )

    def open_editor(self) -> None:
        """Show the prompt in a box to change it, with the caret in it."""
        if self._editor is None:
            self.resume_editor(self._text)
        if self.edit is not None:
            self.edit.setFocus()

    def resume_editor(self, text: str) -> None:
        """Show the box with what was typed in it before, and leave the caret where it is."""
        unit = theme()
        self._editor = QWidget(self)
        self.edit = PromptEdit(framed=True)
        self.edit.set_text(text)
        self.edit.setAccessibleName("Edit prompt")
        send = QPushButton("Send as a branch  Enter")
        send.setToolTip("The old prompt and its answer are kept (Enter)")
        set_property(send, primary=True, compact=True)
        cancel = QPushButton("Keep as it was  Esc")
        cancel.setToolTip("Close the box and send nothing (Esc)")
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
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(unit.px(8))
        column.addWidget(self.edit)
        column.addLayout(buttons)
        self._reading.hide()
        self._tools.hide()
        self._column.addWidget(self._editor)
        self.edit.textChanged.connect(self._tell_typed)

    def _tell_typed(self) -> None:
        if self.edit is not None:
            self.typed.emit(self.message_id, self.edit.text())

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
            self.typed.emit(self.message_id, None)
        self._reading.show()
        self._tools.show()

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
        self._place_tools()

    def _place_tools(self) -> None:
        """At the end of the first line, or left of the switch between versions, which is used more often."""
        unit = theme()
        self._tools.adjustSize()
        # By its hint: where it has just come, the layout has not given it its width yet.
        pager = self.versions.sizeHint().width() + unit.px(PAD_PX) if self.versions.isVisibleTo(self) else 0
        right = self.width() - max(unit.px(6), pager)
        self._tools.move(right - self._tools.width(), unit.px(9))
        self._tools.raise_()
