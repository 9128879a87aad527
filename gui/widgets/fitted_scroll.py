"""The inside of a popover: as high as its words need at a width, and scrolled only where the screen ends."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget


class FittedScroll(QScrollArea):
    """``column`` takes the widgets; ``fit`` gives it its size.

    A resizable scroll area would give wrapped text the height that it needs at its narrowest.
    """

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.inside = QWidget()
        self.inside.setObjectName("fitted")
        self.column = QVBoxLayout(self.inside)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setStyleSheet("QScrollArea, #fitted { background: transparent; }")
        self.setWidget(self.inside)

    def height_at(self, width: int) -> int:
        """Return the height in pixels that everything needs at ``width``."""
        self.column.activate()
        if self.column.hasHeightForWidth():
            return self.column.totalHeightForWidth(width)
        return self.column.sizeHint().height()

    def fit(self, width: int, most_px: int) -> int:
        """Lay everything out at ``width``, and return the height that is shown of it, at most ``most_px``."""
        height = self.height_at(width)
        if height > most_px:
            width -= self.verticalScrollBar().sizeHint().width()
            height = self.height_at(width)
        self.inside.setFixedSize(width, height)
        return min(height, most_px)
