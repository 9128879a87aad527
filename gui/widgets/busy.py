"""What turns a busy ring: 8 steps a second, only while its widget can be seen."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QTimer
from PySide6.QtWidgets import QWidget

from gui.theme import theme
from gui.widgets.marks import BUSY_STEPS


class BusyTurn(QObject):
    """Repaints ``widget`` while it is busy and visible; ``phase`` is 0 to 7, and 0 with reduced motion."""

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self._widget = widget
        self._busy = False
        self.phase = 0
        self._timer = QTimer(self)
        self._timer.setInterval(1000 // BUSY_STEPS)
        self._timer.timeout.connect(self._step)
        widget.installEventFilter(self)
        theme().changed.connect(self._refresh)

    @property
    def turning(self) -> bool:
        return self._timer.isActive()

    def set_busy(self, busy: bool) -> None:
        if busy != self._busy:
            self._busy = busy
            self._refresh()

    def _refresh(self) -> None:
        if self._busy and self._widget.isVisible() and not theme().reduced_motion:
            self._timer.start()
        else:
            self._timer.stop()
            self.phase = 0

    def _step(self) -> None:
        self.phase = (self.phase + 1) % BUSY_STEPS
        self._widget.update()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.Show, QEvent.Type.Hide):
            QTimer.singleShot(0, self, self._refresh)
        return False
