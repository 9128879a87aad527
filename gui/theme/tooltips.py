"""Tooltips no wider than one reads. Qt breaks the lines of rich text only, and a tooltip of ours is plain text."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QPoint
from PySide6.QtGui import QCursor, QFont, QTextLayout, QTextOption
from PySide6.QtWidgets import QLabel, QWidget

WIDEST_PX = 400
"""Some 60 letters of the small role; not zoomed."""
_QT_CLASS = "QTipLabel"
_BESIDE_POINTER_PX = 8
_FRAME_SHARE = 0.08
"""Of the width: padding, border and Qt's own margin, 31 px of 400. Its hint is of no use: it may be that of before
the label had its font."""


def is_tooltip(widget: QWidget) -> bool:
    """Whether ``widget`` is the label in which Qt shows a tooltip; it has no class in Python."""
    return isinstance(widget, QLabel) and widget.metaObject().className() == _QT_CLASS


def wrapped(text: str, font: QFont, width_px: int) -> str:
    """Return ``text`` with line ends so that no line is wider; a longer word, such as an address, is broken too."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        layout = QTextLayout(paragraph, font)
        option = QTextOption()
        option.setWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        layout.setTextOption(option)
        layout.beginLayout()
        ends: list[int] = []
        line = layout.createLine()
        while line.isValid():
            line.setLineWidth(width_px)
            ends.append(line.textStart() + line.textLength())
            line = layout.createLine()
        layout.endLayout()
        # In UTF-16, as Qt counts: a letter beyond the first plane takes two.
        units = paragraph.encode("utf-16-le", "surrogatepass")
        starts = [0, *ends[:-1]]
        parts = [
            units[2 * a : 2 * b].decode("utf-16-le", "surrogatepass")
            for a, b in zip(starts, ends, strict=False)
        ]
        lines += [part.rstrip(" ") for part in parts] or [""]
    return "\n".join(lines)


class TooltipWrap(QObject):
    """Wraps each tooltip as it is shown, or as its words change. ``widest_px`` follows the zoom."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.widest_px = WIDEST_PX
        self._fitting = False

    def attend(self, tip: QLabel) -> None:
        """Take charge of Qt's label, before it has its first words.

        Its greatest width is set, since Qt places it by its width beside the pointer before it shows it.
        """
        tip.setMaximumWidth(self.widest_px)
        tip.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        resized = event.type() in (QEvent.Type.Resize, QEvent.Type.Show)
        if resized and isinstance(watched, QLabel) and not self._fitting:
            self._fitting = True
            try:
                self._fit(watched)
            finally:
                self._fitting = False
        return False

    def _fit(self, tip: QLabel) -> None:
        tip.setMaximumWidth(self.widest_px)
        room_px = self.widest_px - round(self.widest_px * _FRAME_SHARE)
        if max(tip.fontMetrics().horizontalAdvance(line) for line in tip.text().split("\n")) <= room_px:
            return
        tip.setText(wrapped(tip.text(), tip.font(), room_px))
        tip.resize(tip.sizeHint())
        room, pointer = tip.screen().geometry(), QCursor.pos()
        if tip.geometry().bottom() > room.bottom():  # it was placed with the height of one line
            above = pointer.y() - tip.height() - _BESIDE_POINTER_PX
            tip.move(QPoint(tip.x(), max(room.top(), above)))
