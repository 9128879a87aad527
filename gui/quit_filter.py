"""Turns the system's wish to quit (Cmd+Q, the end of the session) into an orderly end.

``QApplication.quit`` would stop the loop at once, and what has to be settled and written would not be.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent, QObject


class QuitFilter(QObject):
    """Installed on the application; ``end`` begins the same end as closing the window does."""

    def __init__(self, end: Callable[[], object], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._end = end

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Quit:
            event.ignore()
            self._end()
            return True
        return super().eventFilter(watched, event)
