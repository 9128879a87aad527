"""Models on this machine, servers that run here, and downloads."""

from __future__ import annotations

from gui.machine.controller import MachineController
from gui.shell.pages import Shell
from gui.widgets.card import Card


class ModelsPane(Card):
    """Models on this machine, servers that run here, and downloads."""

    def __init__(self, shell: Shell, controller: MachineController) -> None:
        super().__init__()
        self._shell, self._controller = shell, controller
