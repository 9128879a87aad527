"""What each side can be asked for, as the panel knows it: read on the core's loop, and shown when it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from core.chat import Side
from gui.shell.tasks import Tasks

if TYPE_CHECKING:
    from core import ModelList
    from gui.shell.bridge import Bridge

SIDES: tuple[Side, ...] = ("local", "api")


class ModelListReader(QObject):
    """Signals:
    changed: a side's list is being read, or has come.
    """

    changed = Signal(str)

    def __init__(self, bridge: Bridge, tasks: Tasks, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._bridge, self._tasks = bridge, tasks
        self._reading: set[Side] = set()

    def latest(self, side: Side) -> ModelList:
        """Return what was read last, by whoever asked for it."""
        return self._bridge.core.models.latest(side)

    def is_reading(self, side: Side) -> bool:
        return side in self._reading

    def read(self, *sides: Side, refresh: bool = False) -> None:
        """Have the lists read; one that is being read is not asked for a second time."""
        for side in sides:
            if side not in self._reading:
                self._reading.add(side)
                self._tasks.start(self._read(side, refresh=refresh))
                self.changed.emit(side)

    async def _read(self, side: Side, *, refresh: bool) -> None:
        try:
            await self._bridge.call(self._bridge.core.models.read(side, refresh=refresh))
        finally:
            self._reading.discard(side)
        self.changed.emit(side)

    def side_of(self, model: str) -> Side:
        """Return the side that a model's name belongs to, as far as the lists say so, or else its name."""
        if self.latest("local").find(model) is not None:
            return "local"
        if model.startswith("claude") or self.latest("api").find(model) is not None:
            return "api"
        return "local"
