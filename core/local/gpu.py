"""How much power the GPU draws, in watts, as its own sensor says through NVML.

Reading it can take milliseconds, and minutes with a stuck driver, so a daemon thread does it and everybody else
looks at the newest reading. It runs only while somebody asks. NVIDIA's sensor says what the whole board draws,
averaged over a second on most cards (nvmlDeviceGetPowerUsage, in milliwatts).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

log = logging.getLogger(__name__)

EVERY_S = 1.0
"""Seconds between two readings while somebody asks."""
STALE_S = 5.0
"""A reading older than this says nothing about now."""
_STAYS_S = 10.0
_RETRY_S = 60.0

Read = Callable[[], float | None]


class GpuPower:
    """The watts of this machine's GPUs together; ``None`` where there is none, or a sensor is missing or silent.

    ``read`` returns one reading (by default NVML's, loaded on its first use), ``clock`` counts seconds. Methods
    never block and may be called from any thread.
    """

    def __init__(
        self,
        read: Read | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        every_s: float = EVERY_S,
    ) -> None:
        self._read = read or NvmlWatts().read
        self._clock = clock
        self._every_s = every_s
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._spans = 0
        self._asked_at = float("-inf")
        self._reading: tuple[float, float | None] | None = None
        self._sum, self._count = 0.0, 0

    def watts(self) -> float | None:
        """Return the newest reading, and have the next one made; ``None`` until there is one that is not stale."""
        self._ask()
        return self._fresh()

    def measure(self) -> PowerSpan:
        """Begin to average; use it in a ``with`` around a request and ask ``watts`` at its end."""
        with self._lock:
            self._spans += 1
            span = PowerSpan(self, self._sum, self._count)
        self._ask()
        return span

    def close(self) -> None:
        """Let the thread end. A reading that hangs is left behind; it ends with the process."""
        self._closed = True
        self._wake.set()

    def mean_since(self, total: float, count: int) -> float | None:
        """Return the mean of the readings since the sums were ``total`` of ``count``, else the newest one."""
        with self._lock:
            if self._count > count:
                return (self._sum - total) / (self._count - count)
        return self._fresh()

    def end_span(self) -> None:
        with self._lock:
            self._spans -= 1

    def _fresh(self) -> float | None:
        reading = self._reading
        if reading is None or self._clock() - reading[0] > STALE_S:
            return None
        return reading[1]

    def _ask(self) -> None:
        with self._lock:
            self._asked_at = self._clock()
            if self._closed or self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name="signalbox-gpu-power", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            watts = self._read()
            with self._lock:
                self._reading = (self._clock(), watts)
                if watts is not None:
                    self._sum += watts
                    self._count += 1
            # Without a GPU there is nothing to look for every second, but a driver may be loaded later.
            self._wake.wait(self._every_s if self._count else _RETRY_S)
            with self._lock:
                idle = self._spans == 0 and self._clock() - self._asked_at > _STAYS_S
                if self._closed or idle:
                    self._thread = None
                    return


class PowerSpan:
    """The mean power while it is open."""

    def __init__(self, power: GpuPower, total: float, count: int) -> None:
        self._power = power
        self._total, self._count = total, count
        self._open = True

    def watts(self) -> float | None:
        """Return the mean so far, in watts; a span shorter than a reading has the newest one."""
        return self._power.mean_since(self._total, self._count)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._power.end_span()

    def __enter__(self) -> PowerSpan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class NvmlWatts:
    """Reads the sum of all GPUs' power through the vendor's bindings. Blocks; one thread uses it."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._said = ""

    def read(self) -> float | None:
        """Return watts, or ``None``: no library, no driver, no GPU, or one whose power is not known."""
        try:
            import pynvml
        except ImportError as error:
            return self._unknown(f"the NVML bindings are missing: {error}")
        try:
            if self._nvml is None:
                pynvml.nvmlInit()
                self._nvml = pynvml
            nvml = self._nvml
            count = nvml.nvmlDeviceGetCount()
            milliwatts = sum(
                int(nvml.nvmlDeviceGetPowerUsage(nvml.nvmlDeviceGetHandleByIndex(index)))
                for index in range(count)
            )
        except pynvml.NVMLError as error:
            # Begin anew next time: a driver that was reloaded wants a new start, too.
            self._nvml = None
            return self._unknown(f"NVML says: {error}")
        self._said = ""
        return milliwatts / 1000 if count else self._unknown("there is no GPU")

    def _unknown(self, why: str) -> None:
        if why != self._said:
            self._said = why
            log.info("The GPU's power is not known: %s", why)
