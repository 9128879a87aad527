"""Above the sections: which entries are not in force, each with a button that leads to its row."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QWidget

from gui.preferences.catalogue import setting_text
from gui.preferences.section import MARGIN_LEFT_PX, MARGIN_RIGHT_PX
from gui.theme.theme import set_property, theme
from gui.widgets.flow import FlowLayout
from gui.widgets.labels import label, plain_label


class TroubleBar(QFrame):
    """Hidden while everything is in force.

    Signals:
        asked: the setting whose row is to be shown.
        changed: another set of settings is not in force.
    """

    asked = Signal(str)
    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        set_property(self, tint="danger")
        self._names: tuple[str, ...] = ()
        self.buttons: list[QPushButton] = []
        self._icon = plain_label()
        self._words = label("", "body")
        holder = QWidget()
        self._flow = FlowLayout(holder)
        row = QHBoxLayout(self)
        row.setContentsMargins(MARGIN_LEFT_PX, 6, MARGIN_RIGHT_PX, 6)
        row.setSpacing(8)
        row.addWidget(self._icon, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self._words, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(holder, 1)
        theme().changed.connect(self._restyle)
        self._restyle()
        self.hide()

    def show_names(self, names: Sequence[str]) -> None:
        """Say which settings are meant, by the names of their rows."""
        if tuple(names) == self._names:
            return
        self._names = tuple(names)
        for button in self.buttons:
            self._flow.removeWidget(button)
            button.hide()
            button.deleteLater()
        self.buttons = []
        for name in names:
            called = setting_text(name).full_label
            button = QPushButton(called)
            button.setAccessibleName(f"Go to {called}, which is not in force")
            button.setAutoDefault(False)
            set_property(button, tiny=True)
            button.clicked.connect(partial(self._ask, name))
            self._flow.addWidget(button)
            self.buttons.append(button)
        self._words.setText("Not in force:")
        self.setAccessibleName(f"Not in force: {', '.join(setting_text(name).full_label for name in names)}")
        self.setVisible(bool(names))
        self.changed.emit()

    def _ask(self, name: str, _checked: bool = False) -> None:
        self.asked.emit(name)

    def _restyle(self) -> None:
        size = theme().px(14)
        height = theme().px(24)
        self._icon.setPixmap(theme().icon("warning-circle-fill", "danger").pixmap(size, size))
        self._icon.setFixedHeight(height)
        self._words.setFixedHeight(height)
