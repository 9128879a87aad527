"""What needs somebody, and the thresholds behind it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QPushButton, QVBoxLayout, QWidget

from core.errors import SignalboxError
from gui.machine.alert_row import AlertRow
from gui.machine.controller import MachineController
from gui.machine.thresholds import Thresholds
from gui.shell.pages import Shell
from gui.theme.theme import set_property
from gui.widgets.card import Card
from gui.widgets.empty_state import EmptyState
from gui.widgets.labels import ResultLine, label
from gui.widgets.scrolling import scrolled

if TYPE_CHECKING:
    from core import Alert, CoreStatus, MachineSample

EMPTY_PX = 150


class AlertsPane(Card):
    """The newest alert comes first. One that is over stays, greyed, until it is acknowledged."""

    def __init__(self, shell: Shell, controller: MachineController) -> None:
        super().__init__()
        self.setAccessibleName("Alerts")
        self._bridge, self._controller = shell.bridge, controller
        self.rows: dict[str, AlertRow] = {}
        self.thresholds: Thresholds | None = None
        self._count = label("Alerts", weight=600)
        self.drained = ResultLine()
        self.undrain = QPushButton("Use the local server again")
        set_property(self.undrain, tiny=True)
        self.undrain.clicked.connect(lambda: self._do(self._bridge.core.drain_local(False)))
        self.trouble = ResultLine()
        self.empty = EmptyState(
            "No alerts", "What goes over a threshold is listed here. You are notified once."
        )
        self.empty.setFixedHeight(EMPTY_PX)
        inside = QWidget()
        self._column = QVBoxLayout(inside)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.addWidget(self._count)
        self._column.addWidget(self.drained)
        self._column.addWidget(self.undrain, 0, Qt.AlignmentFlag.AlignLeft)
        self._column.addWidget(self.trouble)
        self._list = QVBoxLayout()
        self._column.addLayout(self._list)
        self._column.addWidget(self.empty)
        line = QFrame()
        set_property(line, hairline=True)
        self._column.addWidget(line)
        self._column.addStretch(1)
        self._area = scrolled(inside)
        for ground in (inside, self._area.viewport()):
            ground.setAutoFillBackground(False)  # the card's own shows
        self.body.addWidget(self._area)
        self._bridge.alerts_changed.connect(self._show)
        self._bridge.status_changed.connect(self._on_status)
        self._bridge.machine_sampled.connect(self._on_sample)
        if self._bridge.status is not None:
            self._on_status(self._bridge.status)
        self._show(self._bridge.alerts)

    def show_detail(self, detail: str) -> None:
        """Bring an alert, or a threshold by its setting's name, into view."""
        row = self.rows.get(detail)
        if row is not None:
            self._area.ensureWidgetVisible(row)
            row.acknowledge.setFocus()
        elif self.thresholds is not None:
            self.thresholds.show_detail(detail)

    def _on_status(self, status: CoreStatus) -> None:
        if self.thresholds is None:  # the settings are there once the core runs
            self.thresholds = Thresholds(self._bridge)
            self._column.insertWidget(self._column.count() - 1, self.thresholds)
            if self._bridge.sample is not None:
                self._on_sample(self._bridge.sample)
        self.undrain.setVisible(status.local_drained)
        if status.local_drained:
            self.drained.tell("held", "Everything goes to the API.", "The local server gets no new requests.")
        else:
            self.drained.clear()

    def _on_sample(self, sample: MachineSample) -> None:
        if self.thresholds is not None and self.isVisible():
            limits = [gpu.slowdown_temperature_c for gpu in sample.gpus if gpu.slowdown_temperature_c]
            self.thresholds.set_card_limit(min(limits, default=None))

    def _show(self, alerts: tuple[Alert, ...]) -> None:
        gone = [alert_id for alert_id in self.rows if alert_id not in {alert.id for alert in alerts}]
        for alert_id in gone:
            self._take_away(self.rows.pop(alert_id))
        for place, alert in enumerate(alerts):
            row = self.rows.get(alert.id)
            if row is None:
                row = self.rows[alert.id] = self._make_row(alert)
            else:
                row.show_alert(alert)
            if self._list.indexOf(row) != place:
                self._list.insertWidget(place, row)
        wanting = sum(alert.is_open for alert in alerts)
        self._count.setText(f"Alerts: {wanting:,} open" if alerts else "Alerts")
        self.empty.setVisible(not alerts)

    def _make_row(self, alert: Alert) -> AlertRow:
        row, alert_id = AlertRow(alert), alert.id
        watch = self._bridge.core.machine
        row.acknowledged.connect(lambda: self._do(watch.acknowledge(alert_id)))
        row.snoozed.connect(lambda: self._do(watch.snooze(alert_id, row.snooze_minutes)))
        row.acted.connect(self._act)
        return row

    def _take_away(self, row: AlertRow) -> None:
        if row.isAncestorOf(self.focusWidget() or self) and row.isVisible():
            self.focusNextChild()
        self._list.removeWidget(row)
        row.hide()
        row.deleteLater()

    def _act(self, action: str) -> None:
        core = self._bridge.core
        work = {
            "drain": lambda: core.drain_local(True),
            "restart": core.restart_local,
            "start": core.start_local,
        }
        if action in work:
            self._do(work[action]())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        self._controller.tasks.start(self._await(work))

    async def _await(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await self._bridge.call(work)
        except SignalboxError as error:
            self.trouble.tell("danger", "", str(error))
        else:
            self.trouble.clear()
