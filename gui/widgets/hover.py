"""A button whose popup closes stops looking pointed at, where the pointer has left it meanwhile."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QCursor
from PySide6.QtWidgets import QApplication, QWidget
from shiboken6 import isValid


def watch_hover(popup: QWidget, button: QWidget) -> None:
    """Settle ``button`` once ``popup``, which deletes itself when it closes, is gone.

    While a popup is open, Qt tells the widgets under it nothing of the pointer.
    """
    popup.destroyed.connect(lambda: settle_hover(button))


def settle_hover(button: QWidget) -> None:
    """Take the hover from a button that the pointer is not over any more."""
    if not isValid(button) or not button.underMouse():  # the whole window may be going
        return
    if not button.rect().contains(button.mapFromGlobal(QCursor.pos())):
        button.setAttribute(Qt.WidgetAttribute.WA_UnderMouse, False)
        QApplication.sendEvent(button, QEvent(QEvent.Type.Leave))
        button.update()
