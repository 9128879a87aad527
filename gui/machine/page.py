"""The Machine page: the local server and its log at the left; GPU, models, settings and alerts at the right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QWidget

from gui.machine.controller import MachineController
from gui.machine.view import PANES, MachineView
from gui.shell.local_words import pressing_alerts
from gui.shell.pages import FocusArea, Page, Shell, Target

if TYPE_CHECKING:
    from core import Alert


class MachinePage(Page):
    """Sections: ``server``, ``preflight``, ``log``, ``gpu``, ``models``, ``settings``, ``alerts``."""

    id = "machine"

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.controller = MachineController(shell.bridge)
        self.view = MachineView(shell, self.controller)
        self._pane_was_asked_for = False
        shell.bridge.alerts_changed.connect(self._count_alerts)
        self._count_alerts(shell.bridge.alerts)

    @property
    def widget(self) -> QWidget:
        return self.view

    @property
    def areas(self) -> Sequence[FocusArea]:
        return self.view.areas

    def _count_alerts(self, alerts: tuple[Alert, ...]) -> None:
        self.view.set_alert_count(len(pressing_alerts(alerts)))

    async def start(self) -> None:
        await self.controller.start()

    async def stop(self) -> None:
        await self.controller.stop()

    def show(self, target: Target) -> None:
        self._pane_was_asked_for = self._pane_was_asked_for or target.section in PANES
        self.view.show_section(target.section, target.detail)

    @property
    def place(self) -> str:
        return self.view.pane_in_front

    def restore(self, place: str) -> None:
        if place in PANES and not self._pane_was_asked_for:
            self.view.show_pane(place)
