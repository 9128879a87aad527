"""The verbs of the Machine page: start, stop, restart, check, apply; and what the core tells of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject

from gui.shell.tasks import Tasks

if TYPE_CHECKING:
    from gui.shell.bridge import Bridge


class MachineController(QObject):
    """A verb returns at once; what became of it is the core's state, or ``failed``."""

    def __init__(self, bridge: Bridge, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.bridge = bridge
        self.tasks = Tasks(self)
        self.log_cleared_at = 0
        """Where the log's reader cleared it: lines before this cursor stay away, whoever shows it."""

    async def start(self) -> None:
        """The core runs: read what needs it."""

    async def stop(self) -> None:
        await self.tasks.close()
