"""Asks for the name of a new folder."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from gui.theme.theme import set_property, theme
from gui.widgets.labels import label

WIDTH_PX = 360
MOST_NAME_CHARS = 100


class FolderDialog(QDialog):
    """Shown with ``open()``. Enter makes the folder, Esc makes none."""

    def __init__(self, parent: QWidget, on_name: Callable[[str], None]) -> None:
        super().__init__(parent)
        self.setWindowTitle("New folder")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._on_name = on_name
        self.field = QLineEdit()
        self.field.setMaxLength(MOST_NAME_CHARS)
        self.field.setAccessibleName("Name of the folder")
        self.field.textChanged.connect(lambda: self.make.setEnabled(bool(self.name)))
        self.make = QPushButton("Move to new folder")
        set_property(self.make, primary=True)
        self.make.setDefault(True)
        self.make.setEnabled(False)
        self.make.clicked.connect(self._take)
        cancel = QPushButton("Cancel")
        cancel.setAutoDefault(False)
        cancel.clicked.connect(self.reject)
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        buttons.addStretch(1)
        buttons.addWidget(cancel)
        buttons.addWidget(self.make)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 18, 20, 16)
        layout.setSpacing(8)
        layout.addWidget(label("New folder", "title"))
        layout.addWidget(self.field)
        layout.addSpacing(8)
        layout.addLayout(buttons)
        self.setFixedWidth(theme().px(WIDTH_PX))
        self.field.setFocus()

    @property
    def name(self) -> str:
        return " ".join(self.field.text().split())

    def _take(self) -> None:
        name = self.name
        self.accept()
        self._on_name(name)
