"""The mark around the row that somebody was led to: it stands for a moment, and follows its row meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

from PySide6.QtCore import QEvent, QObject, QPoint, QRect, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QWidget

from gui.theme.theme import theme

MARK_MS = 2500
_REACH_PX = 6


class RowMark(QWidget):
    """One outline for a whole column of rows. It says nothing: what is marked has the focus as well.

    Signals: ``moved`` when what is marked has another place, since something above it grew.
    """

    moved = Signal()

    def __init__(self, column: QWidget) -> None:
        super().__init__(column)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._column = column
        self._row: QWidget | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(MARK_MS)
        self._timer.timeout.connect(self.clear)
        self.hide()

    @property
    def row(self) -> QWidget | None:
        """What is marked now."""
        return self._row

    def put_on(self, row: QWidget) -> None:
        """Mark ``row``, and nothing else, for ``MARK_MS`` milliseconds."""
        self.clear()
        self._row = row
        for one in self._chain():
            one.installEventFilter(self)
        self._place()
        self.show()
        self.raise_()
        self._timer.start()

    def clear(self) -> None:
        for one in self._chain():
            one.removeEventFilter(self)
        self._row = None
        self.hide()

    def _chain(self) -> Iterator[QWidget]:
        """The row, and whatever of the column it lies in: any of them may move."""
        one = self._row
        while one is not None and one is not self._column:
            yield one
            one = one.parentWidget()

    def _place(self) -> None:
        row, column = self._row, self._column
        if row is not None and column.isAncestorOf(row):
            reach = theme().px(_REACH_PX)
            place = QRect(row.mapTo(column, QPoint(0, 0)), row.size())
            self.setGeometry(place.adjusted(-reach, -reach, reach, reach) & column.rect())

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.Move, QEvent.Type.Resize):
            self._place()
            self.moved.emit()
        return super().eventFilter(watched, event)

    def paintEvent(self, event: QPaintEvent) -> None:
        unit = theme()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(unit.color("ink"), 2))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(1, 1, -1, -1), unit.px(6), unit.px(6))
        painter.end()
