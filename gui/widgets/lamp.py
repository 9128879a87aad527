"""A signal lamp, 10 px: its shape says the state before its colour does."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from gui.theme import theme
from gui.widgets.busy import BusyTurn
from gui.widgets.marks import LampState, paint_lamp
from gui.widgets.painted import Painted

LAMP_WORDS: dict[str, str] = {
    "ready": "Ready",
    "busy": "Busy",
    "alert": "Alert",
    "failed": "Failed",
    "stopped": "Stopped",
    "nokey": "No key",
}


class Lamp(Painted):
    """``set_state`` repaints it and tells a screen reader; the busy ring turns only while visible."""

    def __init__(self, state: LampState = "stopped", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state: LampState = state
        self._turn = BusyTurn(self)
        self.set_state(state)

    @property
    def state(self) -> LampState:
        return self._state

    def set_state(self, state: LampState) -> None:
        self._state = state
        self.setAccessibleName(LAMP_WORDS[state])
        self._turn.set_busy(state == "busy")
        self.update()

    def sizeHint(self) -> QSize:
        side = theme().px(10)
        return QSize(side, side)

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def paintEvent(self, event: QPaintEvent) -> None:
        side = min(self.width(), self.height())
        box = QRectF((self.width() - side) / 2, (self.height() - side) / 2, side, side)
        painter = QPainter(self)
        paint_lamp(painter, box, self._state, self._turn.phase)
        painter.end()
