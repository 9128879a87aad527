"""The editors of a setting's value: text, choice, switch and file. One face, so a row needs not know which."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QCheckBox, QComboBox, QFileDialog, QHBoxLayout, QLineEdit, QPushButton, QWidget

from gui.theme.theme import set_property, theme
from gui.widgets.labels import label

NUMBER_PX = 120
THOUSANDS = re.compile(r"-?\d{1,3}([, _]\d{3})+(\.\d+)?")


class Field(QWidget):
    """What all editors share.

    Signals:
        committed: the user's value (``str``, ``bool``, or ``None`` for an emptied field), to be applied now.
        reverted: the user gave up an entry; the field shows the value in force again.
    """

    committed = Signal(object)
    reverted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layout = QHBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(8)

    def show_value(self, value: object) -> None:
        """Show the value that holds; ``None`` shows an empty field."""
        raise NotImplementedError

    def set_names(self, name: str, description: str) -> None:
        """Tell assistive technology what is edited here."""
        raise NotImplementedError

    def set_locked(self, locked: bool) -> None:
        raise NotImplementedError

    def set_invalid(self, invalid: bool) -> None:
        """Mark the entry as refused; the message stands in the row."""

    def give_up(self) -> None:
        """Bring the value in force back, as Esc does."""
        self.reverted.emit()

    def finish(self) -> None:
        """Hand over what is typed and not handed over yet: its page goes, and the focus never left the field."""


class TextField(Field):
    """One line. Applied by Enter or by leaving it; Esc brings back the value that holds."""

    def __init__(
        self, *, placeholder: str = "", number: bool = False, unit: str = "", parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._number = number
        self._shown = ""
        # What was handed over last and not answered yet: accepted (shown) or refused.
        self._handed_over: str | None = None
        self.edit = QLineEdit()
        self.edit.setPlaceholderText(placeholder)
        if number:
            self.edit.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.edit.editingFinished.connect(self._commit)
        self.edit.installEventFilter(self)
        self._layout.addWidget(self.edit, 0 if number else 1)
        if number:
            # In two lines rather than over the field, where a row is narrow.
            self._layout.addWidget(label(unit, "small", level="2", wrap=True), 1)
        theme().changed.connect(self._restyle)
        self._restyle()
        self.setFocusProxy(self.edit)

    def show_value(self, value: object) -> None:
        self._shown = "" if value is None else str(value)
        self._handed_over = None
        # Half an entry is not overwritten because something changed elsewhere meanwhile.
        if self.edit.text() != self._shown and not self.edit.isModified():
            self.edit.setText(self._shown)
            self.edit.setCursorPosition(0)

    def set_names(self, name: str, description: str) -> None:
        self.edit.setAccessibleName(name)
        self.edit.setAccessibleDescription(description)

    def set_locked(self, locked: bool) -> None:
        # Read-only, not disabled: a locked value can still be reached, read out and copied.
        self.edit.setReadOnly(locked)
        self._style_locked()

    def set_invalid(self, invalid: bool) -> None:
        set_property(self.edit, tone="danger" if invalid else "")

    def give_up(self) -> None:
        self.edit.setText(self._shown)
        self.reverted.emit()

    def finish(self) -> None:
        self._commit()

    @property
    def unapplied(self) -> bool:
        """Whether the field holds something else than the value in force."""
        return self.edit.text() != self._shown

    def _restyle(self) -> None:
        if self._number:
            self.edit.setFixedWidth(theme().px(NUMBER_PX))
        if self.edit.isReadOnly():
            self._style_locked()

    def _style_locked(self) -> None:
        sheet = read_only_sheet() if self.edit.isReadOnly() else ""
        if sheet != self.edit.styleSheet():
            self.edit.setStyleSheet(sheet)

    def _commit(self) -> None:
        text = self.edit.text()
        # Leaving a field as it was, or a refused entry as it is, asks nothing new.
        known = self._shown if self._handed_over is None else self._handed_over
        self.edit.setModified(False)
        if self.edit.isReadOnly() or text == known:
            return
        self._handed_over = text
        self.committed.emit(self._read(text))

    def _read(self, text: str) -> str | None:
        text = text.strip()
        if self._number and THOUSANDS.fullmatch(text):
            text = re.sub(r"[, _]", "", text)
        return text or None

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if (
            watched is self.edit
            and isinstance(event, QKeyEvent)
            and event.type() == QEvent.Type.KeyPress
            and event.key() == Qt.Key.Key_Escape
            and self.unapplied
        ):
            self.give_up()
            return True
        return super().eventFilter(watched, event)


def read_only_sheet(*, plain: bool = False) -> str:
    """A focus ring for a field that is read-only; ``plain`` keeps it from looking disabled as well."""
    look = theme()
    ring = f"QLineEdit:read-only:focus {{ border-color: {look.hex('focus')}; }}"
    if not plain:
        return ring
    return (
        f"QLineEdit:read-only {{ background: {look.hex('surface')}; color: {look.hex('text')};"
        f" border-color: {look.hex('control')}; }}"
        f'QLineEdit:read-only[tone="danger"] {{ border-color: {look.hex("danger")}; }}{ring}'
    )


class ChoiceField(Field):
    """One of a few words, shown by their labels."""

    def __init__(self, choices: Sequence[tuple[str, str, str]], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.box = QComboBox()
        for value, text, meaning in choices:
            self.box.addItem(text, value)
            self.box.setItemData(self.box.count() - 1, meaning, Qt.ItemDataRole.ToolTipRole)
        # A wheel turned over the page must scroll it, not change a setting in passing.
        self.box.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.box.installEventFilter(self)
        self.box.activated.connect(self._commit)
        self._layout.addWidget(self.box, 1)
        self.setFocusProxy(self.box)

    def show_value(self, value: object) -> None:
        index = self.box.findData(str(value))
        self.box.setCurrentIndex(index)

    def set_names(self, name: str, description: str) -> None:
        self.box.setAccessibleName(name)
        self.box.setAccessibleDescription(description)

    def set_locked(self, locked: bool) -> None:
        self.box.setEnabled(not locked)

    def _commit(self, index: int) -> None:
        self.committed.emit(self.box.itemData(index))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Wheel and not self.box.hasFocus():
            event.ignore()
            return True
        return super().eventFilter(watched, event)


class SwitchField(Field):
    """On or off."""

    def __init__(self, text: str = "On", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.box = QCheckBox(text)
        self.box.clicked.connect(self._commit)
        self._layout.addWidget(self.box)
        self._layout.addStretch(1)
        self.setFocusProxy(self.box)

    def _commit(self, on: bool) -> None:
        self.committed.emit(on)

    def show_value(self, value: object) -> None:
        self.box.setChecked(bool(value))

    def set_names(self, name: str, description: str) -> None:
        self.box.setAccessibleName(name)
        self.box.setAccessibleDescription(description)

    def set_locked(self, locked: bool) -> None:
        self.box.setEnabled(not locked)


class PathField(TextField):
    """A file's path, typed or chosen. ``patterns`` is a file dialog's filter, such as ``GGUF models (*.gguf)``."""

    def __init__(self, *, patterns: str, placeholder: str = "", parent: QWidget | None = None) -> None:
        super().__init__(placeholder=placeholder, parent=parent)
        self._patterns = patterns
        self.dialog: QFileDialog | None = None
        self.choose = QPushButton("Choose")
        self.choose.clicked.connect(self._open_dialog)
        self._layout.addWidget(self.choose)

    def set_names(self, name: str, description: str) -> None:
        super().set_names(name, description)
        self.choose.setAccessibleName(f"Choose a file for {name}")

    def set_locked(self, locked: bool) -> None:
        super().set_locked(locked)
        self.choose.setEnabled(not locked)

    def _open_dialog(self) -> None:
        dialog = QFileDialog(self, "Choose a model file")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setNameFilters([self._patterns, "All files (*)"])
        here = Path(self.edit.text()).expanduser()
        if self.edit.text() and here.parent.is_dir():
            dialog.setDirectory(str(here.parent))
        dialog.fileSelected.connect(self._chosen)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.dialog = dialog
        dialog.open()  # never exec(): a nested loop would stop the panel's own

    def _chosen(self, path: str) -> None:
        self.edit.setText(path)
        self._commit()
