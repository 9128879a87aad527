"""A row of a form: the name, the field, and under it what is wrong or what it means."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from gui.theme.theme import theme
from gui.widgets.labels import ResultLine, label

NAME_PX = 148


class FormRow(QWidget):
    """``note`` is what the field means; a problem stands in its place while there is one."""

    def __init__(self, name: str, field: QWidget, note: str = "") -> None:
        super().__init__()
        self.field = field
        self._name = label(name, "body", weight=500, wrap=True)
        self._name.setBuddy(field)
        self.note = label(note, "caption", level="3", wrap=True)
        self.note.setVisible(bool(note))
        self.problem = ResultLine()
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.addWidget(self._name, 0, Qt.AlignmentFlag.AlignTop)
        column = QVBoxLayout()
        column.setSpacing(2)
        column.addWidget(field)
        column.addWidget(self.note)
        column.addWidget(self.problem)
        self._row.addLayout(column, 1)
        self.setFocusProxy(field)
        theme().changed.connect(self._restyle)
        self._restyle()

    def say(self, problem: str) -> None:
        """Say what is wrong with the entry; nothing where all is well."""
        if problem:
            self.problem.tell("danger", "", problem)
        else:
            self.problem.clear()
        self.note.setVisible(bool(self.note.text()) and not problem)

    def _restyle(self) -> None:
        px = theme().px
        self._row.setSpacing(px(12))
        self._name.setFixedWidth(px(NAME_PX))
        self._name.setMinimumHeight(px(32))
