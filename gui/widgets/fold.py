"""A part of a card that opens and closes: its title is a button; closed, a few words stand for it."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from gui.theme.theme import set_property, theme
from gui.widgets.inline_row import InlineRun, paint_runs, row_width
from gui.widgets.labels import plain_label
from gui.widgets.marks import paint_focus_ring
from gui.widgets.painted_button import PaintedButton

_open: dict[str, bool] = {}
"""How each fold was left, by its key: it stays so for the next card of this run."""


class _FoldButton(PaintedButton):
    """A caret and the title, which begins where the titles that don't fold begin: a style sheet's button can't."""

    def __init__(self, title: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setText(title)
        self.setAccessibleName(title)
        self._open = False

    def set_open(self, is_open: bool) -> None:
        self._open = is_open
        self.update()

    def runs(self) -> list[InlineRun]:
        caret = InlineRun(kind="icon", name="caret-down" if self._open else "caret-right", size=12)
        return [caret, InlineRun(text=self.text(), token="text", weight=600, gap=4)]

    def sizeHint(self) -> QSize:
        return QSize(round(row_width(self.runs()) + 0.5) + theme().px(6), theme().px(24))

    def paintEvent(self, event: QPaintEvent) -> None:
        unit, box = theme(), QRectF(self.rect())
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self.underMouse() or self.isDown():
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(unit.color("select" if self.isDown() else "hover"))
            painter.drawRoundedRect(box, unit.px(4), unit.px(4))
        paint_runs(painter, box, self.runs())
        if self.hasFocus():
            paint_focus_ring(painter, box, unit.px(3))
        painter.end()


class Fold(QWidget):
    """Signals: ``toggled`` after the body was shown or hidden, so that a popover can fit itself again."""

    toggled = Signal()

    def __init__(
        self, title: str, summary: str, body: QWidget, *, key: str, opened: bool, parent: QWidget
    ) -> None:
        super().__init__(parent)
        self._key, self.body = key, body
        self.button = _FoldButton(title, self)
        self.is_open = _open.get(key, opened)
        self.button.clicked.connect(self._on_click)
        self._summary = plain_label(summary, self)
        set_property(self._summary, role="small", level="3")
        head = QHBoxLayout()
        head.setContentsMargins(0, 0, 0, 0)
        head.addWidget(self.button)
        head.addStretch(1)
        head.addWidget(self._summary)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.addLayout(head)
        self._column.addWidget(body)
        theme().changed.connect(self._restyle)
        self._restyle()

    def _on_click(self) -> None:
        self.is_open = _open[self._key] = not self.is_open
        self._restyle()
        self.toggled.emit()

    def _restyle(self) -> None:
        unit = theme()
        shown = self.is_open
        self.button.set_open(shown)
        self.button.setAccessibleDescription("Shown" if shown else self._summary.text())
        self.button.setToolTip("Hide" if shown else "Show")
        self._summary.setVisible(not shown)
        self.body.setVisible(shown)
        self._column.setSpacing(unit.px(6))
