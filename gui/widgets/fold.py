"""A part of a card that opens and closes: its whole head is one button; closed, a few words stand for it."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from gui.theme.theme import theme
from gui.widgets.inline_row import InlineRun, paint_runs, row_width
from gui.widgets.marks import paint_focus_ring
from gui.widgets.painted_button import PaintedButton

_GAP_PX = 12
_open: dict[str, bool] = {}
"""How each fold was left, by its key: it stays so for the next card of this run."""


class _FoldButton(PaintedButton):
    """A caret and the title, which begins where the titles that don't fold begin: a style sheet's button can't.

    As wide as the fold: all of the row between title and ``summary`` opens it, not the word alone.
    """

    def __init__(self, title: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setText(title)
        self.setAccessibleName(title)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._open = False
        self._summary = ""

    @property
    def summary(self) -> str:
        return self._summary

    def set_summary(self, summary: str) -> None:
        self._summary = summary
        self.updateGeometry()
        self.update()

    def set_open(self, is_open: bool) -> None:
        self._open = is_open
        self.update()

    def runs(self) -> list[InlineRun]:
        caret = InlineRun(kind="icon", name="caret-down" if self._open else "caret-right", size=12)
        return [caret, InlineRun(text=self.text(), token="text", weight=600, gap=4)]

    def _summary_run(self) -> InlineRun:
        # On the ground of a hovered or pressed row, the fainter words would be too faint.
        over = self.underMouse() or self.isDown()
        return InlineRun(text=self._summary, token="text2" if over else "text3", elide=True)

    def sizeHint(self) -> QSize:
        unit = theme()
        width = row_width(self.runs()) + unit.px(6)
        if self._summary:
            width += unit.px(_GAP_PX) + row_width([self._summary_run()])
        return QSize(round(width + 0.5), unit.px(24))

    def minimumSizeHint(self) -> QSize:
        """As wide as the title: the summary is cut off rather than the card made wider."""
        unit = theme()
        return QSize(round(row_width(self.runs()) + unit.px(6) + 0.5), unit.px(24))

    def paintEvent(self, event: QPaintEvent) -> None:
        unit, box = theme(), QRectF(self.rect())
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self.underMouse() or self.isDown():
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(unit.color("select" if self.isDown() else "hover"))
            painter.drawRoundedRect(box, unit.px(4), unit.px(4))
        end = paint_runs(painter, box, self.runs())
        if self._summary and not self._open:
            run = self._summary_run()
            room = box.right() - unit.px(2) - end - unit.px(_GAP_PX)
            width = min(row_width([run]), room)
            if room > unit.px(_GAP_PX):
                paint_runs(
                    painter, QRectF(box.right() - unit.px(2) - width, box.y(), width, box.height()), [run]
                )
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
        self.button.set_summary(summary)
        self.button.clicked.connect(self._on_click)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.addWidget(self.button)
        self._column.addWidget(body)
        theme().changed.connect(self._restyle)
        self._restyle()

    def set_summary(self, summary: str) -> None:
        """Give the words that stand for the body while it is closed."""
        self.button.set_summary(summary)
        self._restyle()

    def set_open(self, is_open: bool) -> None:
        """Show the body or hide it, for this time: what the user chose is still how the next card begins."""
        if is_open != self.is_open:
            self.is_open = is_open
            self._restyle()
            self.toggled.emit()

    def _on_click(self) -> None:
        self.is_open = _open[self._key] = not self.is_open
        self._restyle()
        self.toggled.emit()

    def _restyle(self) -> None:
        shown = self.is_open
        self.button.set_open(shown)
        self.button.setAccessibleDescription("Shown" if shown else self.button.summary)
        self.button.setToolTip("Hide" if shown else "Show")
        self.body.setVisible(shown)
        self._column.setSpacing(theme().px(6))
