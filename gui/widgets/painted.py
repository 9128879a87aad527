"""A widget that paints itself, and the box that many of them paint."""

from __future__ import annotations

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QPainter, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from gui.theme import theme


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
