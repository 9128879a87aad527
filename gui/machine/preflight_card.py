"""What a start needs, looked at before it."""

from __future__ import annotations

from gui.machine.controller import MachineController
from gui.shell.pages import Shell
from gui.widgets.card import Card


class PreflightCard(Card):
    """What a start needs, looked at before it."""

    def __init__(self, shell: Shell, controller: MachineController) -> None:
        super().__init__()
        self._shell, self._controller = shell, controller
