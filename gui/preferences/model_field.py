"""The editor of a side's own model: typed, or chosen from what its server lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import shiboken6
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QPushButton, QVBoxLayout, QWidget

from core import ModelList
from core.chat import Side
from gui.shell.model_lists import ModelListReader
from gui.shell.tasks import Tasks
from gui.theme.theme import set_property
from gui.widgets.fields import TextField
from gui.widgets.model_picker import ModelChoice, ModelPicker

if TYPE_CHECKING:
    from gui.shell.bridge import Bridge

MODEL_SIDES: dict[str, Side] = {"anthropic_model": "api", "vllm_model": "local"}
"""The settings that name a side's own model."""


class ModelField(TextField):
    """A name that no list has can still be typed."""

    def __init__(
        self, side: Side, bridge: Bridge, *, placeholder: str = "", parent: QWidget | None = None
    ) -> None:
        super().__init__(placeholder=placeholder, parent=parent)
        self._side: Side = side
        self._bridge = bridge
        self._lists = ModelListReader(bridge, Tasks(self), self)
        self._lists.changed.connect(self._show_list)
        self.picker: ModelPicker | None = None
        self.choose = QPushButton("Choose from the list")
        set_property(self.choose, compact=True)
        self.choose.clicked.connect(self._open_picker)
        # Under the name: a model's is long, and is to be seen whole where the page is narrow.
        self._layout.removeWidget(self.edit)
        column = QVBoxLayout()
        column.setSpacing(6)
        column.addWidget(self.edit)
        column.addWidget(self.choose, 0, Qt.AlignmentFlag.AlignLeft)
        self._layout.addLayout(column, 1)

    def set_names(self, name: str, description: str) -> None:
        super().set_names(name, description)
        self.choose.setAccessibleName(f"Choose a model for {name}")

    def set_locked(self, locked: bool) -> None:
        super().set_locked(locked)
        self.choose.setEnabled(not locked)

    def _open_picker(self) -> None:
        picker = ModelPicker(self.edit.text() or None, self, sides=(self._side,), auto=False)
        picker.chosen.connect(self._chosen)
        picker.refresh_asked.connect(lambda: self._lists.read(self._side, refresh=True))
        self.picker = picker
        self._lists.read(self._side)
        self._show_list()
        picker.popup_at(self.choose, align="right", focus=picker.search)

    def _show_list(self) -> None:
        if self.picker is None or not shiboken6.isValid(self.picker):
            self.picker = None
            return
        status = self._bridge.status
        if self._side == "local" and status is not None and status.local.kind not in ("external", "compose"):
            # What answers now is not the server that this names a model of.
            elsewhere = "No server at this address is in use."
            hint = "Set the address, or what runs, first."
            self.picker.show_list(ModelList(side="local", problem=elsewhere, hint=hint))
            return
        self.picker.show_list(self._lists.latest(self._side), is_reading=self._lists.is_reading(self._side))

    def _chosen(self, choice: ModelChoice) -> None:
        self.edit.setText(choice.model or "")
        self._commit()
