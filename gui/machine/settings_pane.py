"""The vLLM container's settings, and where it runs."""

from __future__ import annotations

from gui.machine.controller import MachineController
from gui.shell.pages import Shell
from gui.widgets.card import Card


class SettingsPane(Card):
    """The vLLM container's settings, and where it runs."""

    def __init__(self, shell: Shell, controller: MachineController) -> None:
        super().__init__()
        self._shell, self._controller = shell, controller
