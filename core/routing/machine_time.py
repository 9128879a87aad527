"""The local machine's time and what it costs: who is served at once shares it, each answer carries its part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.pricing.local_cost import LocalCost, LocalRates, Meter, local_rates

if TYPE_CHECKING:
    from core.local.gpu import GpuPower, PowerSpan
    from core.settings import Settings


class MachineTime:
    """One request's time at the machine, from ``CostMeter.enter`` to ``leave``."""

    def __init__(self, machine: CostMeter, ticket: int, span: PowerSpan | None) -> None:
        self._machine = machine
        self._ticket = ticket
        self._span = span
        self._cost: LocalCost | None = None
        self.busy_ms = 0.0

    def leave(self) -> None:
        """End it. Leaving twice is the same as once."""
        if self._cost is None:
            self.busy_ms, self._cost = self._machine.left(self._ticket, self._span)

    @property
    def cost(self) -> LocalCost:
        """What its share of the machine cost; it has to have left."""
        self.leave()
        assert self._cost is not None
        return self._cost


class CostMeter:
    """Prices the local side. ``power`` reads what the GPUs draw; without one only what the user says counts."""

    def __init__(self, power: GpuPower | None = None) -> None:
        self._power = power
        self._meter = Meter()
        self._watts_by_hand: float | None = None
        self._uses_gpu = False
        self.rates = LocalRates(fixed_nanodollars_per_hour=None)

    def configure(self, settings: Settings, *, uses_gpu: bool) -> None:
        """Take new prices. ``uses_gpu`` is false for the embedded model, whose work no GPU's sensor shows."""
        self.rates = local_rates(settings)
        self._watts_by_hand = settings.local_watts
        self._uses_gpu = uses_gpu

    def enter(self) -> MachineTime:
        """Begin a request's time at the machine."""
        measured = (
            self._uses_gpu and self._power is not None and self.rates.watt_nanodollars_per_hour is not None
        )
        span = self._power.measure() if measured and self._power is not None else None
        return MachineTime(self, self._meter.enter(), span)

    def left(self, ticket: int, span: PowerSpan | None) -> tuple[float, LocalCost]:
        """Return a request's share of the busy time in milliseconds and its cost; called by ``MachineTime``."""
        busy_ms = self._meter.leave(ticket)
        watts: float | None = None
        if span is not None:
            with span:
                watts = span.watts()
        return busy_ms, self.rates.cost(busy_ms, self._watts_by_hand if watts is None else watts)

    def watts_now(self, measured: float | None) -> float | None:
        """Return the watts that count: those ``measured`` by the GPUs where they do the work, else what was set."""
        return self._watts_by_hand if measured is None or not self._uses_gpu else measured

    def estimated_nanodollars(self, busy_ms: float) -> int | None:
        """Return what ``busy_ms`` milliseconds would cost fully loaded; ``None``: not known."""
        return self.rates.cost(busy_ms, self._watts_by_hand).loaded_nanodollars
