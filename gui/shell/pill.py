"""A pill of the header strip: one 32 px button that says a state and opens the page it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from PySide6.QtCore import QRectF, QSize
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from gui.theme.theme import theme
from gui.widgets.inline_row import InlineRun, paint_runs, row_width
from gui.widgets.marks import BusyTurn, paint_focus_ring
from gui.widgets.painted_button import PaintedButton, paint_box

Tone = Literal["", "held", "danger"]
DETAIL_DROP = 5
BAR_DROP = 4
ICON_DROP = 3
LIMIT_DROP = 1
SHORT, NO_LIMIT = 4, 5
"""The densities at which words are shortened, and at which the limit goes too."""


class Pill(PaintedButton):
    """``density`` 0 shows everything, 1 leaves the detail out, 2 the bar too, 3 the icon.

    4 shortens the label and stands closer, 5 leaves out what the figure is of. State and figure stay.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._runs: list[InlineRun] = []
        self._tone: Tone = ""
        self._density = 0
        self._turn = BusyTurn(self)

    def set_runs(
        self, runs: Sequence[InlineRun], *, tone: Tone = "", name: str, description: str = ""
    ) -> None:
        """Show a row. ``name`` and ``description`` are the same facts for a screen reader and the tooltip."""
        self._runs, self._tone = list(runs), tone
        self._turn.set_busy(any(run.kind == "lamp" and run.name == "busy" for run in runs))
        self.describe(name, description)
        self.setToolTip(description or name)
        self._on_theme()

    @property
    def tone(self) -> Tone:
        return self._tone

    @property
    def density(self) -> int:
        return self._density

    def set_density(self, density: int) -> None:
        if density != self._density:
            self._density = density
            self._on_theme()

    def shown(self, density: int | None = None) -> list[InlineRun]:
        """Return the runs that a density shows."""
        level = self._density if density is None else density
        kept = [run for run in self._runs if run.drop == 0 or run.drop <= DETAIL_DROP - level]
        if level < SHORT:
            return kept
        return [replace(run, text=run.short) if run.short else run for run in kept]

    def width_at(self, density: int | None = None) -> int:
        """Return the width in pixels at a density."""
        level = self._density if density is None else density
        return round(row_width(self.shown(level)) + 0.5) + 2 * self._pad(level)

    @staticmethod
    def _pad(density: int) -> int:
        return theme().px(11 if density < SHORT else 7)

    def sizeHint(self) -> QSize:
        return QSize(self.width_at(), theme().px(32))

    def paintEvent(self, event: QPaintEvent) -> None:
        unit = theme()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box, radius = QRectF(self.rect()), unit.px(6)
        ground = "select" if self.isDown() else "hover" if self.underMouse() else "surface"
        paint_box(painter, box, radius, line=self._tone or "border", ground=ground)
        pad = self._pad(self._density)
        paint_runs(painter, box.adjusted(pad, 0, -pad + 2, 0), self.shown(), self._turn.phase)
        if self.hasFocus():
            paint_focus_ring(painter, box, radius)
        painter.end()
