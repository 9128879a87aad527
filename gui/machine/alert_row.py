"""One alert: what is wrong, since when, and what can be done about it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QMenu, QPushButton, QVBoxLayout, QWidget

from gui.theme.theme import set_property
from gui.widgets.labels import label
from gui.widgets.marks import Lamp
from gui.widgets.painted_button import settle_after

if TYPE_CHECKING:
    from core import Alert

ACTIONS = {
    "drain": "Send everything to the API",
    "restart": "Restart the local server",
    "start": "Start the local server",
}


def clock(at: datetime) -> str:
    """Return a local time, with the day where it is not today's."""
    local = at.astimezone()
    today = datetime.now().astimezone().date()
    return f"{local:%H:%M}" if local.date() == today else f"{local.day} {local:%B %H:%M}"


def when_words(alert: Alert) -> str:
    """Return since when, and what became of it."""
    parts = [f"Since {clock(alert.began_at)}"]
    if alert.ended_at is not None:
        parts = [f"{clock(alert.began_at)} to {clock(alert.ended_at)}, over"]
    if alert.acknowledged:
        parts.append("acknowledged")
    elif alert.snoozed_until is not None:
        parts.append(f"snoozed until {clock(alert.snoozed_until)}")
    return " · ".join(parts)


class AlertRow(QWidget):
    """Signals: ``acted`` with the alert's action, ``acknowledged``, ``snoozed`` for ``snooze_minutes``."""

    acted = Signal(str)
    acknowledged = Signal()
    snoozed = Signal()

    def __init__(self, alert: Alert) -> None:
        super().__init__()
        self.alert = alert
        self.snooze_minutes = 0.0
        self._lamp = Lamp("alert")
        self._title, self._when = label("", weight=600, wrap=True), label("", "small", level="3")
        self._text = label("", level="2", wrap=True, selectable=True)
        self.act = QPushButton()
        self.acknowledge = QPushButton("Acknowledge")
        self.snooze = QPushButton("Snooze")
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        for button in (self.act, self.acknowledge, self.snooze):
            set_property(button, tiny=True)
            buttons.addWidget(button)
        buttons.addStretch(1)
        self.act.clicked.connect(lambda: self.acted.emit(self.alert.action))
        self.acknowledge.clicked.connect(self.acknowledged)
        self.snooze.clicked.connect(self._offer_snooze)
        words = QVBoxLayout()
        words.setSpacing(4)
        for widget in (self._title, self._text, self._when):
            words.addWidget(widget)
        words.addLayout(buttons)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 4, 0, 4)
        row.setSpacing(10)
        row.addWidget(self._lamp, 0, Qt.AlignmentFlag.AlignTop)
        row.addLayout(words, 1)
        self.show_alert(alert)

    def show_alert(self, alert: Alert) -> None:
        """Show what became of it."""
        self.alert = alert
        over, wants = alert.ended_at is not None, alert.is_open
        grave = alert.kind in ("gpu_lost", "unhealthy", "server_failed")
        self._lamp.set_state("stopped" if not wants else "failed" if grave else "alert")
        self._title.setText(alert.title)
        self._text.setText(alert.text)
        self._when.setText(when_words(alert))
        for made in (self._title, self._text):
            set_property(made, level="3" if over else "" if made is self._title else "2")
        self.act.setText(ACTIONS.get(alert.action, ""))
        self.act.setVisible(bool(alert.action) and not over)
        self.acknowledge.setVisible(not alert.acknowledged)
        self.snooze.setVisible(wants)
        for button, words in (
            (self.act, self.act.text()),
            (self.acknowledge, "Acknowledge"),
            (self.snooze, "Snooze"),
        ):
            button.setAccessibleName(f"{words}: {alert.title}")
        self.setAccessibleName(f"{alert.title}. {alert.text} {when_words(alert)}")

    def _offer_snooze(self) -> None:
        menu = QMenu(self.snooze)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addAction("For 1 hour", lambda: self._snooze(60.0))
        menu.addAction("For today", lambda: self._snooze(minutes_left_today()))
        settle_after(menu, self.snooze)
        menu.popup(self.snooze.mapToGlobal(QPoint(0, self.snooze.height() + 4)))
        menu.setActiveAction(menu.actions()[0])

    def _snooze(self, minutes: float) -> None:
        self.snooze_minutes = minutes
        self.snoozed.emit()


def minutes_left_today() -> float:
    """Return the minutes to midnight on this machine's clock."""
    now = datetime.now().astimezone()
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight - now).total_seconds() / 60
