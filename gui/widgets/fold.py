"""A part of a card that opens and closes: its title is a button; closed, a few words stand for it."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from gui.theme import set_property, theme

_open: dict[str, bool] = {}
"""How each fold was left, by its key: it stays so for the next card of this run."""


class Fold(QWidget):
    """Signals: ``toggled`` after the body was shown or hidden, so that a popover can fit itself again."""

    toggled = Signal()

    def __init__(
        self, title: str, summary: str, body: QWidget, *, key: str, opened: bool, parent: QWidget
    ) -> None:
        super().__init__(parent)
        self._key, self.body = key, body
        self.button = QPushButton(self)
        self.button.setText(title)
        self.button.setAutoDefault(False)
        set_property(self.button, fold=True)
        set_property(self.button, role="small", weight=600)
        self.is_open = _open.get(key, opened)
        self.button.clicked.connect(self._on_click)
        self._summary = QLabel(summary, self)
        self._summary.setTextFormat(Qt.TextFormat.PlainText)
        set_property(self._summary, role="small", level="3")
        head = QHBoxLayout()
        head.setContentsMargins(0, 0, 0, 0)
        head.addWidget(self.button)
        head.addStretch(1)
        head.addWidget(self._summary)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.addLayout(head)
        self._column.addWidget(body)
        theme().changed.connect(self._restyle)
        self._restyle()

    def _on_click(self) -> None:
        self.is_open = _open[self._key] = not self.is_open
        self._restyle()
        self.toggled.emit()

    def _restyle(self) -> None:
        unit = theme()
        shown = self.is_open
        self.button.setIconSize(QSize(unit.px(12), unit.px(12)))
        self.button.setIcon(unit.icon("caret-down" if shown else "caret-right", "text2"))
        self.button.setAccessibleDescription("Shown" if shown else self._summary.text())
        self.button.setToolTip("Hide" if shown else "Show")
        self._summary.setVisible(not shown)
        self.body.setVisible(shown)
        self._column.setSpacing(unit.px(6))
