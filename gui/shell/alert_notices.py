"""The machine's alerts outside of its page: in the bell, in the bar, and on the desktop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from gui.shell.local_words import pressing_alerts
from gui.shell.notices import Action, Notice

if TYPE_CHECKING:
    from core import Alert
    from gui.shell.bridge import Bridge

Tell = Callable[[str, str, str], object]
"""Key, title and text of a desktop notification."""


class AlertNotices(QObject):
    """Each alert is told on the desktop once, when it begins while no window of ours is in front; nine GPUs as one.

    Signals: ``changed`` the notices are others.
    """

    changed = Signal()

    def __init__(
        self, bridge: Bridge, show: Callable[[str], object], in_front: Callable[[], bool], parent: QObject
    ) -> None:
        super().__init__(parent)
        self._bridge, self._show, self._in_front = bridge, show, in_front
        self._told: set[tuple[str, datetime]] = set()
        self.tell: Tell | None = None
        bridge.alerts_changed.connect(self._on_alerts)

    def notices(self, *, quiet: bool) -> list[Notice]:
        """Return what the bell lists of the machine; ``quiet`` keeps it out of the bar."""
        found: list[Notice] = []
        for alert in _one_of_each(self._bridge.alerts):
            show = self._show_action(alert.id)
            key = f"machine alert {alert.id}"
            found.append(Notice(key=key, title=alert.title, text=alert.text, actions=(show,), quiet=quiet))
        return found

    def _show_action(self, alert_id: str) -> Action:
        return "Show", lambda: self._show(alert_id)

    def _on_alerts(self, alerts: tuple[Alert, ...]) -> None:
        aloud = [alert for alert in alerts if not alert.quiet]
        new = [alert for alert in aloud if (alert.id, alert.began_at) not in self._told]
        # Not the quiet ones: when its snooze ends, an alert that still holds is news again.
        self._told = {(alert.id, alert.began_at) for alert in aloud}
        for alert in _one_of_each(new):
            if self.tell is not None and not self._in_front():
                self.tell(f"machine-alert-{alert.id}", alert.title, alert.text)
        self.changed.emit()


def _one_of_each(alerts: Sequence[Alert]) -> Sequence[Alert]:
    """Those that press, one of each kind; the core's part of it is loaded with the first one."""
    pressing = pressing_alerts(alerts)
    if not pressing:
        return ()
    from core import one_of_each_kind

    return one_of_each_kind(pressing)
