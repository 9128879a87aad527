"""A small tag that says where a setting's value comes from; a lock when it cannot be changed here."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from gui.theme.theme import theme
from gui.widgets.inline_row import InlineRun, paint_runs, row_width
from gui.widgets.painted_button import Painted, paint_box

ORIGIN_WORDS: dict[str, str] = {
    "default": "Default",
    ".env": ".env",
    "home .env": "Home .env",
    "environment": "Environment",
    "panel": "Set here",
    "keyring": "Keyring",
    "session": "This run only",
    "none": "Not set",
}


class OriginTag(Painted):
    """20 px high. ``origin`` is a settings origin, or any short text; ``locked`` shows the lock."""

    def __init__(
        self,
        origin: str = "default",
        parent: QWidget | None = None,
        *,
        locked: bool = False,
        tooltip: str = "",
    ) -> None:
        super().__init__(parent)
        self._origin, self._locked, self._was = origin, locked, ""
        self.set_origin(origin, locked=locked, tooltip=tooltip)

    @property
    def text(self) -> str:
        return f"Was {self._was}" if self._was else ORIGIN_WORDS.get(self._origin, self._origin)

    def set_origin(self, origin: str, *, locked: bool = False, tooltip: str = "") -> None:
        """Show an origin. When locked, ``tooltip`` names the variable that wins."""
        self._origin, self._locked, self._was = origin, locked, ""
        self.setToolTip(tooltip)
        self.setAccessibleName(f"Comes from: {self.text}" + (", locked" if locked else ""))
        self.setAccessibleDescription(tooltip)
        self._restyle()

    def set_was(self, value: str) -> None:
        """Show the value in force beside one that is not applied yet, in an outline instead of a fill."""
        self._was, self._locked = value, False
        self.setToolTip("")
        self.setAccessibleName(self.text)
        self.setAccessibleDescription("")
        self._restyle()

    def _row(self) -> list[InlineRun]:
        runs = [InlineRun(kind="icon", name="lock-simple", size=12)] if self._locked else []
        token = "text" if self._was else "text2"
        return [*runs, InlineRun(text=self.text, token=token, role="caption", weight=500, gap=4)]

    def sizeHint(self) -> QSize:
        px = theme().px
        return QSize(round(row_width(self._row()) + 0.5) + 2 * px(6), px(20))

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def paintEvent(self, event: QPaintEvent) -> None:
        unit = theme()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRectF(self.rect())
        if self._was:
            paint_box(painter, box, unit.px(4), line="ink", ground="surface")
        else:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(unit.color("sunken"))
            painter.drawRoundedRect(box, unit.px(4), unit.px(4))
        paint_runs(painter, box.adjusted(unit.px(6), 0, 0, 0), self._row())
        painter.end()
