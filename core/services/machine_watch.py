"""Looks at the machine again and again, and keeps what was seen: samples, history, alerts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from core.local.alerts import Alert
from core.local.gpu_sample import MachineSample
from core.local.history import History

if TYPE_CHECKING:
    from core.local.server import ServerState
    from core.services.machine_keeper import MachineKeeper
    from core.services.money_rates import MoneyRates
    from core.services.sampler import Sampler
    from core.services.status import Problem


class MachineWatch:
    """``subscribe`` hears each sample and ``subscribe_alerts`` each change of the alerts, on the core's loop."""

    def __init__(self, sampler: Sampler, keeper: MachineKeeper, rates: MoneyRates) -> None:
        self._sampler, self._keeper, self._rates = sampler, keeper, rates
        sampler.rates = rates.read

    def start(self, *, kept: bool) -> None:
        """Keep the history and look for alerts, where the samples are taken all the time (``kept``)."""
        if kept:
            self._keeper.start(self._sampler.subscribe)

    async def stop(self) -> None:
        """Save what is new, and end."""
        await self._keeper.stop()
        await self._rates.close()

    def server_changed(self, state: ServerState) -> None:
        """Note what happened to the local server."""
        self._keeper.server_changed(state)

    def problems(self) -> list[Problem]:
        """Return what was not kept, or not told to the webhook."""
        return self._keeper.problems()

    @property
    def latest(self) -> MachineSample:
        """The newest sample; one without figures before the first."""
        return self._sampler.latest

    @property
    def machine_rate_words(self) -> str:
        """What ``machine_nanodollars_per_hour`` holds: ``rent or wear and power``, ``power alone``, or nothing."""
        return self._rates.machine_words

    def subscribe(self, listener: Callable[[MachineSample], None]) -> Callable[[], None]:
        """Call ``listener`` with each new sample (1 a second, or as set); returns the unsubscriber."""
        return self._sampler.subscribe(listener)

    async def history(self, seconds: float, *, most_points: int = 600) -> History:
        """Return the last ``seconds`` of every metric, each series of at most ``most_points`` (peaks kept).

        At least 20 points. ``None`` in a series begins a gap: nobody looked, or the sensor said nothing.
        """
        return self._keeper.history(seconds, most_points)

    def alerts(self) -> tuple[Alert, ...]:
        """Return what needs somebody, and what is over and not acknowledged; newest first. From any thread."""
        return self._keeper.alerts()

    def subscribe_alerts(self, listener: Callable[[tuple[Alert, ...]], None]) -> Callable[[], None]:
        """Call ``listener`` with all alerts whenever they change; returns the unsubscriber."""
        return self._keeper.subscribe_alerts(listener)

    async def acknowledge(self, alert_id: str) -> None:
        """Note that somebody has seen it; one that is over leaves the list."""
        self._keeper.acknowledge(alert_id)

    async def snooze(self, alert_id: str, minutes: float) -> None:
        """Tell nothing of its matter for ``minutes``, also where it ends and begins again, and after a restart."""
        self._keeper.snooze(alert_id, minutes)
