"""A segmented switch: one choice of a few, in one outline. Its segments are real radio buttons."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QButtonGroup, QHBoxLayout, QRadioButton, QSizePolicy, QWidget

from gui.theme.theme import theme
from gui.widgets.inline_row import InlineRun, paint_runs, row_width
from gui.widgets.marks import paint_focus_ring
from gui.widgets.painted_button import paint_box


class _Segment(QRadioButton):
    """Paints itself; QRadioButton gives the arrow keys, the group and the accessible role."""

    def __init__(self, label: str, icon: str | None, switch: SegmentedSwitch) -> None:
        super().__init__(switch)
        self._label, self._icon, self._switch = label, icon, switch
        self.setProperty("painted", True)
        self.setAccessibleName(label)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)

    def set_label(self, label: str) -> None:
        if label != self._label:
            self._label = label
            self.setAccessibleName(label)
            self.updateGeometry()
            self.update()

    def runs(self, *, chosen: bool) -> list[InlineRun]:
        token = "onInk" if chosen else "text2" if self.isEnabled() else "text3"
        runs: list[InlineRun] = []
        if self._icon:
            runs.append(InlineRun(kind="icon", name=self._icon, token=token))
        runs.append(InlineRun(text=self._label, token=token, weight=600 if chosen else 400))
        return runs

    def sizeHint(self) -> QSize:
        px = theme().px
        # The bold width, so that choosing a segment never moves its neighbours.
        return QSize(round(row_width(self.runs(chosen=True))) + 2 * px(12), px(self._switch.height_px))

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def hitButton(self, pos: object) -> bool:
        return True

    def paintEvent(self, event: QPaintEvent) -> None:
        unit = theme()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        first, last = self._switch.ends(self)
        box = QRectF(self.rect())
        painter.setClipPath(_outline(box, unit.px(4), first=first, last=last))
        if self.isChecked():
            painter.fillRect(box, unit.color("ink" if self.isEnabled() else "text3"))
        elif self.underMouse() and self.isEnabled():
            painter.fillRect(box, unit.color("hover"))
        painter.setClipping(False)
        inner = row_width(self.runs(chosen=self.isChecked()))
        row = QRectF(round((box.width() - inner) / 2), 0, inner + 1, box.height())
        paint_runs(painter, row, self.runs(chosen=self.isChecked()))
        if self.hasFocus():
            if self.isChecked():  # a gap of ground between ring and ink, else the ring drowns in it
                painter.setPen(QPen(unit.color("surface"), 1))
                painter.drawRoundedRect(box.adjusted(2.5, 2.5, -2.5, -2.5), unit.px(3), unit.px(3))
            paint_focus_ring(painter, box, unit.px(3))
        painter.end()


def _outline(box: QRectF, radius: float, *, first: bool, last: bool) -> QPainterPath:
    """A box whose outer corners are round at the ends of the switch only."""
    path = QPainterPath()
    path.setFillRule(Qt.FillRule.WindingFill)
    path.addRoundedRect(box, radius, radius)
    if not first:
        path.addRect(QRectF(box.left(), box.top(), radius + 1, box.height()))
    if not last:
        path.addRect(QRectF(box.right() - radius - 1, box.top(), radius + 1, box.height()))
    return path


class SegmentedSwitch(QWidget):
    """``options`` are ``(value, label, icon or None)``; ``value_changed`` fires for the user's choice only.

    28 px high, or 32 with ``compact=False``.
    """

    value_changed = Signal(str)

    def __init__(
        self,
        options: Sequence[tuple[str, str, str | None]],
        parent: QWidget | None = None,
        *,
        accessible_name: str = "",
        compact: bool = True,
    ) -> None:
        super().__init__(parent)
        self.height_px = 28 if compact else 32
        self.setAccessibleName(accessible_name)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self._values = [value for value, _, _ in options]
        self._segments = [_Segment(label, icon, self) for _, label, icon in options]
        self._group = QButtonGroup(self)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        for index, segment in enumerate(self._segments):
            self._group.addButton(segment, index)
            row.addWidget(segment)
        if self._segments:
            self._segments[0].setChecked(True)
            self.setFocusProxy(self._segments[0])
        self._group.idToggled.connect(self._on_toggled)
        self._silent = False
        theme().changed.connect(self._restyle)

    @property
    def value(self) -> str:
        """The chosen value."""
        return self._values[self._group.checkedId()]

    def set_value(self, value: str) -> None:
        """Choose without a signal.

        Raises:
            ValueError: when no segment has that value.
        """
        segment = self._segments[self._values.index(value)]
        self._silent = True
        segment.setChecked(True)
        self._silent = False

    def segment(self, value: str) -> QRadioButton:
        """Return the radio button of a value, for tooltips and shortcuts."""
        return self._segments[self._values.index(value)]

    def set_label(self, value: str, label: str) -> None:
        """Show other words on a segment, such as a count."""
        self._segments[self._values.index(value)].set_label(label)

    def ends(self, segment: QRadioButton) -> tuple[bool, bool]:
        """Say whether a segment is the first and whether it is the last."""
        return segment is self._segments[0], segment is self._segments[-1]

    def _on_toggled(self, index: int, checked: bool) -> None:
        if checked:
            self.setFocusProxy(self._segments[index])  # who leads the keyboard here means the chosen one
        if checked and not self._silent:
            self.value_changed.emit(self._values[index])

    def _restyle(self) -> None:
        for segment in self._segments:
            segment.updateGeometry()
            segment.update()
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        unit = theme()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        paint_box(painter, QRectF(self.rect()), unit.px(4), line="control", ground="surface")
        for segment in self._segments[1:]:
            painter.fillRect(segment.x(), 1, 1, self.height() - 2, unit.color("control"))
        painter.end()
