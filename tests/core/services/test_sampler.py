"""A sample a second: what is in it, when it is taken, and what no part that hangs or breaks can stop."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from core import RouterCore
from core.local.gpu import GpuSampler
from core.local.gpu_sample import GpuSurvey, HostReading, MachineSample, ServerFigures
from core.services.sampler import Sampler
from core.settings import Settings
from tests.support.gpus import gpu_survey
from tests.support.openai_server import OpenAIServer

HOST = HostReading(cpu_percent=12.0, memory_used_bytes=1, memory_total_bytes=2)
PAGE = 'DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-far",modelName="H100"} 55\n'


class Host:
    def read(self) -> HostReading:
        return HOST


class Pace:
    """Its own sleep: a test lets it end, and sees how long it would have been."""

    def __init__(self) -> None:
        self.slept: asyncio.Queue[float] = asyncio.Queue()
        self.go = asyncio.Semaphore(0)

    async def __call__(self, seconds: float) -> None:
        self.slept.put_nowait(seconds)
        await self.go.acquire()


class Watched:
    def __init__(self, look: Callable[[], GpuSurvey], **options: Any) -> None:
        self.pace = Pace()
        self.now = 1000.0
        self.gpus = GpuSampler(look)
        self.sampler = Sampler(
            self.gpus,
            options.pop("server", lambda: ServerFigures(running_requests=3)),
            host=Host(),  # type: ignore[arg-type]
            clock=lambda: self.now,
            sleep=self.pace,
        )
        self.samples: asyncio.Queue[MachineSample] = asyncio.Queue()

    async def next(self) -> MachineSample:
        async with asyncio.timeout(30):
            return await self.samples.get()

    async def pause_s(self) -> float:
        async with asyncio.timeout(30):
            return await self.pace.slept.get()


@asynccontextmanager
async def watched(
    look: Callable[[], GpuSurvey] = gpu_survey, *, kept: bool = False, **options: Any
) -> AsyncGenerator[Watched]:
    one = Watched(look, **options)
    one.sampler.start(kept=kept)
    try:
        yield one
    finally:
        await one.sampler.stop()
        one.gpus.close()


async def test_a_sample_has_what_each_part_says() -> None:
    async with watched(lambda: gpu_survey(temperature_c=63.0)) as one:
        one.sampler.rates = lambda: (5, 7)
        one.sampler.subscribe(one.samples.put_nowait)
        sample = await one.next()
        assert dataclasses.replace(sample, at=sample.at) == MachineSample(
            at=sample.at,
            gpus=gpu_survey(temperature_c=63.0).gpus,
            driver_version="580.65.06",
            cuda_version="13.0",
            host=HOST,
            server=ServerFigures(running_requests=3),
            api_nanodollars_per_hour=5,
            machine_nanodollars_per_hour=7,
        )
        assert one.sampler.latest == sample


async def test_it_looks_as_often_as_is_set_and_a_change_counts_at_once() -> None:
    async with watched() as one:
        one.sampler.subscribe(one.samples.put_nowait)
        await one.next()
        assert await one.pause_s() == 1.0
        one.sampler.configure(Settings.model_validate({"gpu_samples_per_second": 0.5}))
        await one.next()
        assert await one.pause_s() == 2.0 + 1.0, "the next one was due in a second"
        one.now += 60  # the machine slept: what was missed is not made up for
        one.pace.go.release(), one.pace.go.release()
        await one.next()
        assert await one.pause_s() == 0.0


async def test_it_runs_only_while_somebody_listens() -> None:
    async with watched() as one:
        unsubscribe = one.sampler.subscribe(one.samples.put_nowait)
        await one.next()
        unsubscribe()
        unsubscribe()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "machine's samples"]
        one.sampler.subscribe(one.samples.put_nowait)
        await one.next()


async def test_a_listener_may_come_from_another_thread() -> None:
    async with watched() as one:
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[MachineSample] = loop.create_future()

        def hear(sample: MachineSample) -> None:
            assert asyncio.get_running_loop() is loop
            if not heard.done():
                heard.set_result(sample)

        await asyncio.to_thread(one.sampler.subscribe, hear)
        async with asyncio.timeout(30):
            assert (await heard).host == HOST


async def test_a_driver_that_hangs_holds_up_no_sample() -> None:
    go = threading.Event()

    def hangs() -> GpuSurvey:
        assert go.wait(60)
        return gpu_survey()

    try:
        async with watched(hangs) as one:
            one.sampler.subscribe(one.samples.put_nowait)
            for _ in range(2):
                sample = await one.next()
                one.pace.go.release()
                assert (sample.gpus, sample.host) == ((), HOST)
                assert sample.gpu_problem == "The GPUs are being looked for."
    finally:
        go.set()


async def test_a_part_that_breaks_costs_one_sample(caplog: pytest.LogCaptureFixture) -> None:
    figures: list[ServerFigures | None] = [None, ServerFigures()]

    def server() -> ServerFigures:
        found = figures.pop(0)
        if found is None:
            raise ZeroDivisionError
        return found

    async with watched(server=server) as one:
        one.sampler.subscribe(one.samples.put_nowait)
        await one.pause_s()
        one.pace.go.release()
        await one.next()
    assert "could not be sampled" in caplog.text


async def test_an_exporter_that_is_set_replaces_this_machines_gpus() -> None:
    async with OpenAIServer() as server, watched() as one:
        server.metrics = PAGE
        one.sampler.configure(Settings.model_validate({"gpu_metrics_url": f"{server.url}/metrics"}))
        one.sampler.subscribe(one.samples.put_nowait)
        sample = await one.next()
        assert (sample.gpus, sample.gpu_problem) == ((), "The exporter is being asked.")
        while not sample.gpus:
            one.pace.go.release()
            sample = await one.next()
        assert [(gpu.uuid, gpu.source, gpu.temperature_c) for gpu in sample.gpus] == [
            ("GPU-far", "prometheus", 55)
        ]
        one.sampler.configure(Settings())
        while sample.gpus[0].source != "nvml":
            sample = await one.next()
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "GPU exporter"]


async def test_the_core_samples_for_whoever_listens(tmp_path: Path) -> None:
    core = RouterCore(home=tmp_path)
    samples: asyncio.Queue[MachineSample] = asyncio.Queue()
    core.machine.subscribe(samples.put_nowait)
    async with core, asyncio.timeout(30):
        sample = await samples.get()
        assert sample.host.memory_total_bytes
        assert core.machine.latest == sample
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "machine's samples"]
