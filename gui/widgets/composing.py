"""Whether an input method is composing: Enter then chooses a word, and must neither send nor save."""

from __future__ import annotations

from PySide6.QtCore import QObject, QTimer
from PySide6.QtGui import QInputMethodEvent


class Composing:
    """The state of one field; it hands each input method event to ``note``.

    Some input methods hand on the Enter that ended the composition too. It comes in the same turn of the loop as
    the committed text, so that the state ends one turn later.
    """

    def __init__(self, field: QObject) -> None:
        self._is_on = False
        self._ends = QTimer(field)
        self._ends.setSingleShot(True)
        self._ends.setInterval(0)
        self._ends.timeout.connect(self._end)

    @property
    def is_on(self) -> bool:
        return self._is_on

    def note(self, event: QInputMethodEvent) -> None:
        """Take an event before the field does."""
        if event.preeditString():
            self._ends.stop()
            self._is_on = True
        elif self._is_on:
            self._ends.start()

    def _end(self) -> None:
        self._is_on = False
