"""A line over the messages while conversations can't be kept: what happened, what stays, what to do."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QWidget

from gui.theme.theme import set_property, theme
from gui.widgets.error_card import IconMark
from gui.widgets.icon_button import IconButton
from gui.widgets.labels import breakable, plain_label


class TroubleBar(QFrame):
    """Signals:
    retry_asked: write again what could not be written.
    """

    retry_asked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        unit = theme()
        set_property(self, tint="held")
        self._words = plain_label()
        self._words.setWordWrap(True)
        set_property(self._words, role="small", tone="held")
        self._retry = QPushButton("Try again")
        set_property(self._retry, tiny=True)
        self._retry.clicked.connect(self.retry_asked)
        close = IconButton("x", "Close this message", size=24, icon_size=12)
        close.clicked.connect(self.hide)
        row = QHBoxLayout(self)
        row.setContentsMargins(unit.px(20), unit.px(6), unit.px(12), unit.px(6))
        row.setSpacing(unit.px(8))
        row.addWidget(IconMark("warning-fill", "held_text", 16, self))
        row.addWidget(self._words, 1)
        row.addWidget(self._retry)
        row.addWidget(close)
        self.hide()

    def say(self, words: str, *, can_retry: bool) -> None:
        self._words.setText(breakable(words))
        self.setAccessibleName(words)
        self._retry.setVisible(can_retry)
        self.show()

    @property
    def words(self) -> str:
        return self.accessibleName() if not self.isHidden() else ""

    def clear(self) -> None:
        if self._retry.isVisibleTo(self):
            self.hide()
