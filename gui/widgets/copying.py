"""What every button that copies does: put the text on the clipboard, and say for a moment that it is there."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer
from PySide6.QtGui import QAccessible, QAccessibleAnnouncementEvent, QGuiApplication, QIcon
from PySide6.QtWidgets import QAbstractButton, QWidget

from gui.theme.theme import theme

SIGN_MS = 1500
TOLD = "told"
"""Set on a button while it shows the sign, so that one that hides itself stays."""


def announce(widget: QWidget, words: str) -> None:
    """Tell a screen reader something once that is not the name of anything."""
    QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(widget, words))


class Copier(QObject):
    """Makes ``button`` copy what ``text`` returns. Its icon is a check for 1.5 s, and its word, if any, "Copied".

    The accessible name stays: a screen reader hears ``Copied`` as an announcement, without the focus moving.
    ``text`` is asked at each press, and copied letter by letter.
    """

    def __init__(self, button: QAbstractButton, text: Callable[[], str]) -> None:
        super().__init__(button)
        self._button, self._text = button, text
        self._before: tuple[QIcon, str, str] | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SIGN_MS)
        self._timer.timeout.connect(self.put_back)
        button.clicked.connect(self.copy)

    @property
    def is_told(self) -> bool:
        """Whether the sign is shown."""
        return self._before is not None

    def copy(self) -> None:
        """Put the text on the clipboard and show the sign."""
        QGuiApplication.clipboard().setText(self._text())
        button = self._button
        if self._before is None:
            self._before = button.icon(), button.text(), button.toolTip()
            button.setIcon(theme().icon("check", "ok_text"))
            if button.text():
                button.setText("Copied")
            button.setToolTip("Copied")
            button.setProperty(TOLD, True)
            button.update()
        self._timer.start()
        announce(button, "Copied")

    def put_back(self) -> None:
        """Show the button as it was."""
        if self._before is None:
            return
        button = self._button
        icon, words, tip = self._before
        self._before = None
        self._timer.stop()
        button.setIcon(icon)
        button.setText(words)
        button.setToolTip(tip)
        button.setProperty(TOLD, None)
        button.update()
