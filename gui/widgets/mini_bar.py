"""A bar of 48 x 6 px beside a figure that says the same in words."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from gui.theme.theme import theme
from gui.widgets.marks import paint_bar
from gui.widgets.painted_button import Painted


class MiniBar(Painted):
    """``set_share`` takes shares of the whole, 0 to 1; ``held`` is drawn hatched."""

    def __init__(
        self, token: str = "local", parent: QWidget | None = None, *, width: int = 48, height: int = 6
    ) -> None:
        super().__init__(parent)
        self._token, self._width, self._height = token, width, height
        self._share = self._held = 0.0

    def set_share(self, share: float, held: float = 0.0) -> None:
        self._share, self._held = share, held
        self.setAccessibleName(f"{share * 100:.0f} %" + (f", {held * 100:.0f} % held" if held else ""))
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(theme().px(self._width), theme().px(self._height))

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        height = theme().px(self._height)
        box = QRectF(0, (self.height() - height) / 2, self.width(), height)
        paint_bar(painter, box, self._share, self._token, self._held, min_held_px=theme().px(3), radius=3)
        painter.end()
