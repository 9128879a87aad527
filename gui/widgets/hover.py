"""A button whose popup closes stops looking pointed at, where the pointer has left it meanwhile."""

from __future__ import annotations

import weakref

from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QCursor
from PySide6.QtWidgets import QApplication, QMenu, QWidget


def settle_hover(button: QWidget) -> None:
    """Take the hover from a button that the pointer is not over any more.

    Called where a popup hides: while it was open, Qt told the widgets under it nothing of the pointer. Never
    where it is destroyed, and a popup must not keep its button alive: it would delete it while it goes itself.
    """
    if button.underMouse() and not button.rect().contains(button.mapFromGlobal(QCursor.pos())):
        button.setAttribute(Qt.WidgetAttribute.WA_UnderMouse, False)
        QApplication.sendEvent(button, QEvent(QEvent.Type.Leave))
        button.update()


def settle_after(menu: QMenu, button: QWidget) -> None:
    """Settle ``button`` when its menu closes."""
    kept = weakref.ref(button)

    def settle() -> None:
        there = kept()
        if there is not None:
            settle_hover(there)

    menu.aboutToHide.connect(settle)
