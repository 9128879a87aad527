"""A button that is an icon: always with an accessible name, and a tooltip that shows its shortcut."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QKeyEvent, QKeySequence
from PySide6.QtWidgets import QToolButton, QWidget

from gui.theme.theme import theme


class IconButton(QToolButton):
    """28 px square around a 16 px icon. ``shortcut`` such as ``Ctrl+N`` works in the button's window."""

    def __init__(
        self,
        icon: str,
        accessible_name: str,
        shortcut: str | None = None,
        parent: QWidget | None = None,
        *,
        token: str = "text2",
        outlined: bool = False,
        size: int = 28,
        icon_size: int = 16,
    ) -> None:
        super().__init__(parent)
        self._size, self._icon_size, self._shortcut = size, icon_size, shortcut
        self.setProperty("outlined", outlined)
        self.set_name(accessible_name)
        if shortcut:
            self.setShortcut(QKeySequence(shortcut))
        self.set_icon(icon, token)
        theme().changed.connect(self._restyle)
        self._restyle()

    def keyPressEvent(self, arg__1: QKeyEvent) -> None:
        """Enter presses it too, as every other button; Qt's own tool buttons know only the space bar."""
        if arg__1.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.click()
        else:
            super().keyPressEvent(arg__1)

    def set_icon(self, name: str, token: str = "text2") -> None:
        """Show another Phosphor icon in the colour of ``token``."""
        self.setIcon(theme().icon(name, token))

    def set_name(self, name: str) -> None:
        """Change the accessible name and the tooltip together."""
        self.setAccessibleName(name)
        if self._shortcut:
            keys = QKeySequence(self._shortcut).toString(QKeySequence.SequenceFormat.NativeText)
            self.setToolTip(f"{name} ({keys})")
        else:
            self.setToolTip(name)

    def _restyle(self) -> None:
        side = theme().px(self._size)
        self.setFixedSize(side, side)
        inner = theme().px(self._icon_size)
        self.setIconSize(QSize(inner, inner))
