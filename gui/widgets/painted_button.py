"""The base of widgets and buttons that paint themselves: buttons to keyboard and screen reader, without the box."""

from __future__ import annotations

import weakref

from PySide6.QtCore import QEvent, QRectF, QSize, Qt
from PySide6.QtGui import QCursor, QKeyEvent, QPainter, QPen
from PySide6.QtWidgets import QApplication, QMenu, QPushButton, QSizePolicy, QWidget

from gui.theme.theme import theme


class PaintedButton(QPushButton):
    """``painted`` takes the style sheet's box away; a subclass gives ``sizeHint`` and ``paintEvent``."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("painted", True)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.setAutoDefault(False)
        theme().changed.connect(self._on_theme)

    def describe(self, name: str, description: str = "") -> None:
        """Tell a screen reader what the button says; nothing is announced when it is unchanged."""
        if name != self.accessibleName():
            self.setAccessibleName(name)
        if description != self.accessibleDescription():
            self.setAccessibleDescription(description)

    def _on_theme(self) -> None:
        self.updateGeometry()
        self.update()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter presses it too; Qt's own push buttons know only the space bar outside of dialogs."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.click()
        else:
            super().keyPressEvent(event)

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()


class Painted(QWidget):
    """Its colours and sizes are the theme's: another theme or zoom lays it out and paints it again."""

    def __init__(
        self,
        parent: QWidget | None = None,
        *,
        across: QSizePolicy.Policy = QSizePolicy.Policy.Fixed,
    ) -> None:
        super().__init__(parent)
        self.setSizePolicy(across, QSizePolicy.Policy.Fixed)
        theme().changed.connect(self._restyle)

    def _restyle(self) -> None:
        self.updateGeometry()
        self.update()


def paint_box(painter: QPainter, box: QRectF, radius: float, *, line: str, ground: str | None = None) -> None:
    """Draw a box with a line of one pixel just inside ``box``; ``line`` and ``ground`` are colour tokens."""
    unit = theme()
    painter.setPen(QPen(unit.color(line), 1))
    painter.setBrush(Qt.BrushStyle.NoBrush if ground is None else unit.color(ground))
    painter.drawRoundedRect(box.adjusted(0.5, 0.5, -0.5, -0.5), radius, radius)


def settle_hover(button: QWidget) -> None:
    """Take the hover from a button that the pointer is not over any more.

    Called where a popup hides: while it was open, Qt told the widgets under it nothing of the pointer. Never
    where it is destroyed, and a popup must not keep its button alive: it would delete it while it goes itself.
    """
    if button.rect().contains(button.mapFromGlobal(QCursor.pos())):
        return
    if button.underMouse():
        button.setAttribute(Qt.WidgetAttribute.WA_UnderMouse, False)
        QApplication.sendEvent(button, QEvent(QEvent.Type.Leave))
    button.update()  # on X11 the popup had Qt take the hover away itself, and draw nothing again


def settle_after(menu: QMenu, button: QWidget) -> None:
    """Settle ``button`` when its menu closes."""
    kept = weakref.ref(button)

    def settle() -> None:
        there = kept()
        if there is not None:
            settle_hover(there)

    menu.aboutToHide.connect(settle)
