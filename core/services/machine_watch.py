"""Looks at the machine again and again, and keeps what was seen: samples, history, alerts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from core.local.alerts import Alert
from core.local.gpu_sample import MachineSample
from core.local.history import History


class MachineWatch:
    """``subscribe`` hears each sample and ``subscribe_alerts`` each change of the alerts, on the core's loop."""

    @property
    def latest(self) -> MachineSample:
        """The newest sample; one without figures before the first."""
        return MachineSample(at=datetime.now(UTC))

    def subscribe(self, listener: Callable[[MachineSample], None]) -> Callable[[], None]:
        """Call ``listener`` with each new sample (1 a second, or as set); returns the unsubscriber."""
        del listener
        return lambda: None

    async def history(self, seconds: float, *, most_points: int = 600) -> History:
        """Return the last ``seconds`` of every metric, each series of at most ``most_points`` (peaks kept)."""
        del most_points
        return History(from_s=0.0, to_s=seconds, series=())

    def alerts(self) -> tuple[Alert, ...]:
        """Return what needs somebody, and what is over and not acknowledged; newest first."""
        return ()

    def subscribe_alerts(self, listener: Callable[[tuple[Alert, ...]], None]) -> Callable[[], None]:
        del listener
        return lambda: None

    async def acknowledge(self, alert_id: str) -> None: ...

    async def snooze(self, alert_id: str, minutes: float) -> None: ...
