"""The Hugging Face token: whether there is one, a field for another, and Delete.

A token is typed into a password field and leaves it the moment it is saved; nothing here ever holds one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QWidget

from core.errors import SignalboxError
from gui.machine.form_row import FormRow
from gui.shell.bridge import Bridge
from gui.shell.tasks import Tasks
from gui.theme.theme import set_property
from gui.widgets.question import Question

if TYPE_CHECKING:
    from core import KeyStatus

NOTE = "For models that ask for an account. It goes to the container’s environment, never to a file or a log."


class TokenRow(FormRow):
    """Signals: ``changed`` after a token was stored or deleted."""

    changed = Signal()

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self.edit = QLineEdit()
        self.edit.setEchoMode(QLineEdit.EchoMode.Password)
        self.edit.setAccessibleName("Hugging Face token")
        self.edit.setAccessibleDescription(NOTE)
        self.edit.setPlaceholderText("Paste a token that starts with hf_")
        self.save = _button("Save", "Save the Hugging Face token")
        self.delete = _button("Delete", "Delete the Hugging Face token")
        set_property(self.delete, danger=True)
        holder = QWidget()
        line = QHBoxLayout(holder)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(8)
        line.addWidget(self.edit, 1)
        line.addWidget(self.save)
        line.addWidget(self.delete)
        super().__init__("Hugging Face token", holder, NOTE)
        self.setFocusProxy(self.edit)
        self._tasks = Tasks(self)
        self.save.setEnabled(False)
        self.delete.hide()
        self.edit.textChanged.connect(self._typed)
        self.edit.returnPressed.connect(self._save)
        self.save.clicked.connect(self._save)
        self.delete.clicked.connect(self._ask)

    def read(self) -> None:
        """Ask the keyring whether there is a token."""
        self._tasks.start(self._read(), key="read")

    async def _read(self) -> None:
        try:
            self._show(await self._bridge.call(self._bridge.core.key_status("huggingface")))
        except SignalboxError as error:
            self.say(str(error))

    def _show(self, status: KeyStatus) -> None:
        stored = status.masked is not None
        self.say("")
        self.note.setText(f"{status.masked} is stored. {NOTE}" if stored else f"None is stored. {NOTE}")
        self.edit.setPlaceholderText(
            "Paste another to replace it" if stored else "Paste a token that starts with hf_"
        )
        if not stored and self.delete.hasFocus():
            self.edit.setFocus(Qt.FocusReason.OtherFocusReason)
        self.delete.setVisible(stored)

    def _typed(self, text: str) -> None:
        self.save.setEnabled(bool(text.strip()))

    def _save(self) -> None:
        token = self.edit.text().strip()
        if token:
            self._tasks.start(self._store(token), key="store")

    async def _store(self, token: str) -> None:
        try:
            status = await self._bridge.call(self._bridge.core.set_key("huggingface", token))
        except SignalboxError as error:
            self.say(str(error))
            return
        self.edit.clear()
        self._show(status)
        self.changed.emit()

    def _ask(self) -> None:
        question = Question(
            self,
            title="Delete the Hugging Face token?",
            sentence="Models that ask for an account can’t be downloaded without it.",
            do="Delete token",
            keep="Keep",
            on_do=self._start_delete,
            danger=True,
        )
        question.open()

    def _start_delete(self) -> None:
        self._tasks.start(self._delete(), key="store")

    async def _delete(self) -> None:
        try:
            status = await self._bridge.call(self._bridge.core.delete_key("huggingface"))
        except SignalboxError as error:
            self.say(str(error))
            return
        self._show(status)
        self.changed.emit()


def _button(text: str, name: str) -> QPushButton:
    button = QPushButton(text)
    button.setAccessibleName(name)
    button.setAutoDefault(False)
    return button
