"""The widgets of the Machine page and their places."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtWidgets import QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from gui.machine.alerts_pane import AlertsPane
from gui.machine.charts_pane import ChartsPane
from gui.machine.controller import MachineController
from gui.machine.log_card import LogCard
from gui.machine.models_pane import ModelsPane
from gui.machine.preflight_card import PreflightCard
from gui.machine.settings_pane import SettingsPane
from gui.machine.state_card import StateCard
from gui.shell.pages import FocusArea, Shell

LEFT_PX = 520


class MachineView(QWidget):
    """The left column shows the server whatever is shown at the right, one of ``panes``."""

    def __init__(self, shell: Shell, controller: MachineController) -> None:
        super().__init__()
        self.setAccessibleName("Machine")
        self.state = StateCard(shell, controller)
        self.preflight = PreflightCard(shell, controller)
        self.log = LogCard(shell, controller)
        self.panes: dict[str, QWidget] = {
            "gpu": ChartsPane(shell, controller),
            "models": ModelsPane(shell, controller),
            "settings": SettingsPane(shell, controller),
            "alerts": AlertsPane(shell, controller),
        }
        self._stack = QStackedWidget()
        for pane in self.panes.values():
            self._stack.addWidget(pane)
        self._left = QWidget()
        self._left.setFixedWidth(LEFT_PX)
        left = QVBoxLayout(self._left)
        left.setContentsMargins(0, 0, 0, 0)
        left.setSpacing(12)
        left.addWidget(self.state)
        left.addWidget(self.preflight)
        left.addWidget(self.log, 1)
        row = QHBoxLayout(self)
        row.setContentsMargins(16, 12, 16, 12)
        row.setSpacing(12)
        row.addWidget(self._left)
        row.addWidget(self._stack, 1)

    @property
    def areas(self) -> Sequence[FocusArea]:
        return (FocusArea(self._left), FocusArea(self._stack))

    def show_section(self, section: str, detail: str = "") -> None:
        """Show a pane, or bring the focus to a card of the left column."""
        del detail
        pane = self.panes.get(section)
        if pane is not None:
            self._stack.setCurrentWidget(pane)
