"""Which of several GPUs is shown: a switch for a few, a list for more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QWidget

from gui.widgets.segmented import SegmentedSwitch

if TYPE_CHECKING:
    from core import GpuReading

MOST_SEGMENTS = 3


class GpuChooser(QWidget):
    """Keeps to a card by its UUID, wherever it comes in the list; a list of other cards is offered anew.

    Signals: ``chosen`` the UUID, by the user.
    """

    chosen = Signal(str)

    def __init__(self, uuid: str) -> None:
        super().__init__()
        self._uuid = uuid
        self._offered: list[tuple[str, str]] = []
        self._control: SegmentedSwitch | QComboBox | None = None
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self.hide()

    def of(self, gpus: Sequence[GpuReading]) -> GpuReading | None:
        """Return the chosen card, the first where that is not there, ``None`` where there is none."""
        return next((gpu for gpu in gpus if gpu.uuid == self._uuid), gpus[0] if gpus else None)

    def offer(self, gpus: Sequence[GpuReading]) -> None:
        """Let the user choose of these."""
        offered = [(gpu.uuid, f"GPU {gpu.index}") for gpu in gpus]
        if offered == self._offered:
            return
        self._offered = offered
        if self._control is not None:
            self._row.removeWidget(self._control)
            self._control.hide()
            self._control.deleteLater()
            self._control = None
        shown = self.of(gpus)
        if len(gpus) < 2 or shown is None:
            return
        if len(gpus) <= MOST_SEGMENTS:
            switch = SegmentedSwitch([(uuid, words, None) for uuid, words in offered], accessible_name="GPU")
            switch.set_value(shown.uuid)
            switch.value_changed.connect(self._choose)
            self._control = switch
        else:
            box = QComboBox()
            box.setAccessibleName("GPU")
            for (uuid, words), gpu in zip(offered, gpus, strict=True):
                box.addItem(words, uuid)
                box.setItemData(box.count() - 1, gpu.name, Qt.ItemDataRole.ToolTipRole)
            box.setCurrentIndex([uuid for uuid, _ in offered].index(shown.uuid))
            box.activated.connect(self._choose_place)
            self._control = box
        self._row.addWidget(self._control)
        self.setFocusProxy(self._control)

    def _choose_place(self, place: int) -> None:
        self._choose(self._offered[place][0])

    def _choose(self, uuid: str) -> None:
        self._uuid = uuid
        self.chosen.emit(uuid)
