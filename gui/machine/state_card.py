"""The local server: its state, its steps while it starts, why it failed, and the buttons."""

from __future__ import annotations

from gui.machine.controller import MachineController
from gui.shell.pages import Shell
from gui.widgets.card import Card


class StateCard(Card):
    """The local server: its state, its steps while it starts, why it failed, and the buttons."""

    def __init__(self, shell: Shell, controller: MachineController) -> None:
        super().__init__()
        self._shell, self._controller = shell, controller
