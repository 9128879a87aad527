"""Live figures of the GPUs and the machine, with the money beside them."""

from __future__ import annotations

from gui.machine.controller import MachineController
from gui.shell.pages import Shell
from gui.widgets.card import Card


class ChartsPane(Card):
    """Live figures of the GPUs and the machine, with the money beside them."""

    def __init__(self, shell: Shell, controller: MachineController) -> None:
        super().__init__()
        self._shell, self._controller = shell, controller
