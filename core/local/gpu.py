"""Looks at this machine's GPUs in a thread of its own, for whoever asks: the machine's figures, the cost meter.

A look takes milliseconds, and minutes with a stuck driver, so a daemon thread takes it and everybody else reads the
newest one. There is one thread, whatever hangs; it runs only while somebody asks.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from core.local.gpu_sample import GpuSurvey

if TYPE_CHECKING:
    from types import TracebackType

    from core.local.gpu_sample import GpuReading

log = logging.getLogger(__name__)

EVERY_S = 1.0
"""Seconds between two looks while somebody measures power."""
STALE_S = 5.0
"""A look older than this says nothing about now. A driver that takes longer does not answer."""
_STAYS_S = 10.0
RETRY_S = 10.0
"""Where there is no GPU, this often it is looked whether there is one by now: a driver may be loaded later."""

Look = Callable[[], GpuSurvey]

SEARCHING = GpuSurvey(problem="The GPUs are being looked for.")


class GpuSampler:
    """The newest look at the GPUs. Methods never block and may be called from any thread.

    ``look`` takes one look and may block; ``clock`` counts seconds.
    """

    def __init__(
        self,
        look: Look,
        *,
        clock: Callable[[], float] = time.monotonic,
        every_s: float = EVERY_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self._look = look
        self._clock = clock
        self._every_s = every_s
        self._retry_s = retry_s
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._keepers = 0
        self._asked_at = float("-inf")
        self._poked_at = float("-inf")
        self._poked = False
        self._began_at: float | None = None
        self._seen_at = float("-inf")
        self._survey: GpuSurvey | None = None
        self._listeners: list[Callable[[GpuSurvey], None]] = []

    def on_look(self, listener: Callable[[GpuSurvey], None]) -> None:
        """Call ``listener`` with each new look, in the thread that took it. It must not block."""
        self._listeners.append(listener)

    def newest(self) -> GpuSurvey:
        """Return the newest look; one that is too old keeps its cards, without a figure, and says why."""
        survey, began_at = self._survey, self._began_at
        waited_s = 0.0 if began_at is None else self._clock() - began_at
        if survey is None:
            if waited_s <= STALE_S:
                return SEARCHING
            return GpuSurvey(problem=_silent(waited_s))
        if waited_s > STALE_S:
            return survey.without_figures(_silent(waited_s), "the driver does not answer")
        if began_at is not None and began_at - self._seen_at > 2 * STALE_S:
            return survey.without_figures(SEARCHING.problem, "it is being asked")  # nobody asked for a while
        return survey

    def fresh(self) -> GpuSurvey | None:
        """Return the newest look where it says something about now, else ``None``."""
        return self._survey if self._clock() - self._seen_at <= STALE_S else None

    def poke(self) -> bool:
        """Have a look taken now; returns whether one comes: not where there was no GPU a moment ago."""
        with self._lock:
            self._poked_at = now = self._clock()
            if self._no_gpu() and now - self._seen_at < self._retry_s:
                return False
            self._poked = True
        self._start()
        return not self._closed

    def ask(self) -> None:
        """Have looks taken every ``every_s`` seconds, for some seconds."""
        self._asked_at = self._clock()
        self._start()

    def keep(self) -> None:
        """Have looks taken every ``every_s`` seconds until ``let_go``."""
        with self._lock:
            self._keepers += 1
        self._start()

    def let_go(self) -> None:
        with self._lock:
            self._keepers -= 1

    def open(self) -> None:
        """Look again after ``close``."""
        self._closed = False

    def close(self) -> None:
        """Let the thread end. A look that hangs is left behind; it ends with the process."""
        self._closed = True
        self._wake.set()

    def _start(self) -> None:
        with self._lock:
            if self._closed or self._thread is not None:
                self._wake.set()  # it may wait for longer than is wanted now
                return
            thread = self._thread = threading.Thread(target=self._run, name="signalbox-gpu", daemon=True)
        thread.start()

    def _no_gpu(self) -> bool:
        return self._survey is not None and not self._survey.gpus

    def _run(self) -> None:
        while True:
            with self._lock:
                self._poked = False
                self._wake.clear()
            self._began_at = self._clock()
            survey = self._taken()
            with self._lock:
                self._survey, self._seen_at, self._began_at = survey, self._clock(), None
            for listener in tuple(self._listeners):
                try:
                    listener(survey)
                except Exception:  # a listener is anybody's code; the next look is taken all the same
                    log.exception("a listener for the GPUs failed")
            if self._ends():
                return

    def _taken(self) -> GpuSurvey:
        try:
            return self._look()
        except Exception as error:  # noqa: BLE001  a driver's bindings may raise anything; the next look goes on
            return GpuSurvey(problem=f"The GPUs can't be read: {type(error).__name__}: {error}.")

    def _ends(self) -> bool:
        """Wait until the next look is due; true where nobody wants one."""
        ended_at = time.monotonic()
        while True:
            with self._lock:
                now = self._clock()
                timed = self._keepers > 0 or now - self._asked_at <= _STAYS_S
                if self._closed or not (timed or self._poked or now - self._poked_at <= _STAYS_S):
                    self._thread = None
                    return True
                every_s = self._retry_s if self._no_gpu() else self._every_s
                left_s = ended_at + every_s - time.monotonic() if timed else _STAYS_S
                if self._poked or left_s <= 0:
                    return False
                self._wake.clear()
            self._wake.wait(left_s)


def _silent(waited_s: float) -> str:
    return f"The GPU's driver has not answered for {waited_s:.0f} s."


class GpuPower:
    """The watts of the model's GPUs together; ``None`` where there is none, or a sensor is missing or silent.

    They are this machine's, unless they are ``elsewhere``. Methods never block and may be called from any thread.
    """

    def __init__(self, sampler: GpuSampler, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._sampler = sampler
        self._lock = threading.Lock()
        self._sum, self._count = 0.0, 0
        self._elsewhere = False
        self._told: tuple[float, float | None] | None = None
        self._clock = clock
        sampler.on_look(self._seen)

    def follow(self, *, elsewhere: bool) -> None:
        """``elsewhere``: what this machine's GPUs draw says nothing, only what is told of the others counts."""
        self._elsewhere = elsewhere

    def tell(self, survey: GpuSurvey) -> None:
        """Take what the GPUs elsewhere draw."""
        watts = total_watts(survey.gpus)
        self._told = (self._clock(), watts)
        if self._elsewhere:
            self._count_in(watts)

    def watts(self) -> float | None:
        """Return the newest reading, and have the next one made; ``None`` until there is one that is not stale."""
        if not self._elsewhere:
            self._sampler.ask()
        return self._fresh()

    def measure(self) -> PowerSpan:
        """Begin to average; use it in a ``with`` around a request and ask ``watts`` at its end."""
        with self._lock:
            span = PowerSpan(self, self._sum, self._count, keeps=not self._elsewhere)
        if not self._elsewhere:
            self._sampler.keep()
            self._sampler.ask()
        return span

    def mean_since(self, total: float, count: int) -> float | None:
        """Return the mean of the readings since the sums were ``total`` of ``count``, else the newest one."""
        with self._lock:
            if self._count > count:
                return (self._sum - total) / (self._count - count)
        return self._fresh()

    def end_span(self) -> None:
        self._sampler.let_go()

    def _fresh(self) -> float | None:
        if self._elsewhere:
            told = self._told
            return None if told is None or self._clock() - told[0] > STALE_S else told[1]
        survey = self._sampler.fresh()
        return None if survey is None else total_watts(survey.gpus)

    def _seen(self, survey: GpuSurvey) -> None:
        if not self._elsewhere:
            self._count_in(total_watts(survey.gpus))

    def _count_in(self, watts: float | None) -> None:
        if watts is not None:
            with self._lock:
                self._sum += watts
                self._count += 1


def total_watts(gpus: Sequence[GpuReading]) -> float | None:
    """Return what all GPUs that are there draw together; ``None`` where there is none, or one does not say it."""
    watts = [gpu.power_w for gpu in gpus if not gpu.gone]
    if not watts or None in watts:
        return None
    return sum(each for each in watts if each is not None)


class PowerSpan:
    """The mean power while it is open."""

    def __init__(self, power: GpuPower, total: float, count: int, *, keeps: bool) -> None:
        self._power = power
        self._total, self._count = total, count
        self._keeps = keeps
        self._open = True

    def watts(self) -> float | None:
        """Return the mean so far, in watts; a span shorter than a reading has the newest one."""
        return self._power.mean_since(self._total, self._count)

    def close(self) -> None:
        if self._open:
            self._open = False
            if self._keeps:
                self._power.end_span()

    def __enter__(self) -> PowerSpan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
