"""What a card tells beside the charts, folded: clocks, fan, errors, why it is throttled, and who uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QGridLayout, QLabel, QSizePolicy, QWidget

from gui.machine import figures
from gui.theme.theme import theme
from gui.widgets.fold import Fold
from gui.widgets.labels import label

if TYPE_CHECKING:
    from core import GpuReading, MachineSample


class GpuDetails(Fold):
    """Hidden where there is no card. Only while it is open does it follow the samples."""

    def __init__(self, parent: QWidget) -> None:
        body = QWidget()
        self._grid = QGridLayout(body)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setColumnStretch(1, 1)
        self._lines: list[tuple[QLabel, QLabel]] = []
        self._shown: list[tuple[str, str]] = []
        self._of: tuple[GpuReading, MachineSample] | None = None
        super().__init__("Details", "", body, key="machine/gpu details", opened=False, parent=parent)
        self.toggled.connect(self._fill)
        self.hide()

    @property
    def rows(self) -> list[tuple[str, str]]:
        """What it says, name by name."""
        return list(self._shown)

    def show_gpu(self, gpu: GpuReading | None, sample: MachineSample) -> None:
        """Follow ``gpu``."""
        self._of = None if gpu is None else (gpu, sample)
        self.setVisible(gpu is not None)
        if gpu is None:
            return
        summary = figures.details_summary(gpu)
        if summary != self.button.summary:
            self.button.set_summary(summary)
        if self.is_open:
            self._fill()

    def _fill(self) -> None:
        if self._of is None or not self.is_open:
            return
        gpu, sample = self._of
        rows = [*figures.detail_rows(gpu, sample), *figures.process_rows(gpu)]
        if rows == self._shown:
            return
        self._shown = rows
        while len(self._lines) < len(rows):
            pair = (label("", "small", level="2"), label("", "small", selectable=True))
            pair[1].setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
            for column, made in enumerate(pair):
                self._grid.addWidget(made, len(self._lines), column)
            self._lines.append(pair)
        for place, pair in enumerate(self._lines):
            name, value = rows[place] if place < len(rows) else ("", "")
            for made, words in zip(pair, (name, value), strict=True):
                made.setVisible(place < len(rows))
                if made.text() != words:
                    made.setText(words)
                    made.setToolTip(words)
        self._grid.setHorizontalSpacing(theme().px(16))
        self._grid.setVerticalSpacing(theme().px(2))
