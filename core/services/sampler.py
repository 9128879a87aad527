"""Puts together what the machine's parts say of themselves: one ``MachineSample`` a second, or as often as set."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from core.base.observable import Listeners
from core.local.gpu_exporter import ExporterPoller
from core.local.gpu_sample import GpuSurvey, MachineSample, ServerFigures
from core.local.host_figures import HostFigures

if TYPE_CHECKING:
    from core.local.gpu import GpuSampler
    from core.settings import Settings

log = logging.getLogger(__name__)

_LOOK_WITHIN_S = 0.4
"""As long a sample waits for its look at the GPUs, which takes milliseconds; then it goes with the one before."""

Rates = Callable[[], tuple[int | None, int | None]]


class Sampler:
    """Takes samples on the loop that called ``start``, while it is kept or somebody listens.

    ``gpus`` looks at this machine's GPUs, where no exporter's address is set; ``server`` gives the local server's
    figures. ``rates`` gives the dollars an hour of the API and of the machine, in nano-dollars; it may be replaced.
    """

    def __init__(
        self,
        gpus: GpuSampler,
        server: Callable[[], ServerFigures] = ServerFigures,
        *,
        host: HostFigures | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._gpus = gpus
        self._server = server
        self._host = host or HostFigures()
        self._clock = clock
        self._sleep = sleep
        self.rates: Rates = lambda: (None, None)
        self._interval_s = 1.0
        self._url: str | None = None
        self._exporter: ExporterPoller | None = None
        self._listeners = Listeners[MachineSample](log, "the machine's samples")
        self._listening = 0
        self._kept = False
        self._latest: MachineSample | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._looked = asyncio.Event()
        gpus.on_look(self._heard)

    @property
    def latest(self) -> MachineSample:
        """The newest sample; one without figures before the first."""
        return self._latest or MachineSample(at=datetime.now(UTC), gpu_problem=self._gpus.newest().problem)

    def configure(self, settings: Settings) -> None:
        """Take the settings; they count at once."""
        self._interval_s = 1 / settings.gpu_samples_per_second
        self._url = settings.gpu_metrics_url
        self._changed.set()

    def start(self, *, kept: bool) -> None:
        """Begin; ``kept``: also while nobody listens."""
        self._loop = asyncio.get_running_loop()
        self._kept = kept
        self._gpus.open()
        self._follow()

    async def stop(self) -> None:
        self._loop, self._kept = None, False
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    def subscribe(self, listener: Callable[[MachineSample], None]) -> Callable[[], None]:
        """Call ``listener`` with each new sample, on the core's loop; returns the unsubscriber. From any thread."""
        remove = self._listeners.add(listener)
        self._count(1)
        done = False

        def unsubscribe() -> None:
            nonlocal done
            if not done:
                done = True
                remove()
                self._count(-1)

        return unsubscribe

    def _count(self, more: int) -> None:
        self._listening += more
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._follow)

    def _follow(self) -> None:
        """Run while it is wanted, and only then."""
        wanted = self._loop is not None and (self._kept or self._listening > 0)
        if wanted and self._task is None:
            self._task = asyncio.create_task(self._sample_forever(), name="machine's samples")
        elif not wanted and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _sample_forever(self) -> None:
        await asyncio.to_thread(__import__, "psutil")
        due_s = self._clock()
        try:
            while True:
                try:
                    await self._sample()
                except Exception:
                    # It is read from many parts: whatever breaks in one of them, the next round tries again.
                    log.exception("the machine could not be sampled")
                due_s = max(due_s + self._interval_s, self._clock())
                await self._wait_until(due_s)
        finally:
            await self._follow_exporter(None)

    async def _wait_until(self, due_s: float) -> None:
        """Return at ``due_s``, or at once where the settings changed."""
        self._changed.clear()
        slept = asyncio.ensure_future(self._sleep(max(0.0, due_s - self._clock())))
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({slept, changed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            slept.cancel()
            changed.cancel()

    async def _sample(self) -> None:
        survey = await self._survey()
        api, machine = self.rates()
        sample = self._latest = MachineSample(
            at=datetime.now(UTC),
            gpus=survey.gpus,
            gpu_problem=survey.problem,
            driver_version=survey.driver_version,
            cuda_version=survey.cuda_version,
            host=self._host.read(),
            server=self._server(),
            api_nanodollars_per_hour=api,
            machine_nanodollars_per_hour=machine,
        )
        self._listeners.tell(lambda: sample)

    async def _follow_exporter(self, url: str | None) -> ExporterPoller | None:
        """Ask the exporter at ``url``, and no other one any more."""
        exporter = self._exporter
        if exporter is not None and exporter.url != url:
            self._exporter = None
            await exporter.stop()
        if url is not None and self._exporter is None:
            self._exporter = ExporterPoller(url)
            self._exporter.start()
        return self._exporter

    async def _survey(self) -> GpuSurvey:
        exporter = await self._follow_exporter(self._url)
        if exporter is not None:
            exporter.interval_s = self._interval_s
            return exporter.newest()
        self._looked.clear()
        if self._gpus.poke():
            with contextlib.suppress(TimeoutError):  # the newest one says how old it is
                async with asyncio.timeout(min(_LOOK_WITHIN_S, self._interval_s / 2)):
                    await self._looked.wait()
        return self._gpus.newest()

    def _heard(self, survey: GpuSurvey) -> None:
        """Hear, in the thread that looks, that there is a new look."""
        del survey
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
                loop.call_soon_threadsafe(self._looked.set)
