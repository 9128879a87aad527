"""GPUs of another machine by DCGM's exporter and nvidia_gpu_exporter: their pages, odd pages, one that is gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.local.gpu_exporter import STALE_S, ExporterPoller, parse_gpus
from core.local.gpu_sample import GPU_FIGURES, GpuProcess
from core.local.metrics_page import MAX_METRICS_BYTES
from tests.support.openai_server import OpenAIServer
from tests.support.wire_server import Refuses

DATA = Path(__file__).parents[2] / "data" / "metrics"
MIB = 2**20


def page(name: str) -> str:
    return (DATA / f"{name}.txt").read_text(encoding="utf-8")


def test_dcgm_exporter() -> None:
    survey = parse_gpus(page("dcgm_exporter"))
    assert (survey.problem, survey.driver_version, survey.cuda_version) == ("", "580.95.05", None)
    busy, idle = survey.gpus
    assert (busy.index, busy.name, busy.source) == (0, "NVIDIA L40S", "prometheus")
    assert busy.uuid == "GPU-a5c1d2e3-0000-4a4a-8b8b-000000000000"
    assert busy.vram_used_bytes == 41487 * MIB
    assert busy.vram_free_bytes == 4102 * MIB
    assert busy.vram_reserved_bytes == 479 * MIB
    assert busy.vram_total_bytes == (41487 + 4102 + 479) * MIB
    assert (busy.temperature_c, busy.slowdown_temperature_c) == (71, 92)
    assert (busy.utilization_percent, busy.memory_bandwidth_percent) == (97, pytest.approx(41.82))
    assert (busy.power_w, busy.power_limit_w) == (287.461, 350)
    assert (busy.sm_clock_mhz, busy.memory_clock_mhz) == (2520, 9001)
    assert busy.throttle_reasons == ("power limit",)
    assert (idle.index, idle.throttle_reasons, idle.ecc_errors) == (1, (), 3)
    assert idle.memory_bandwidth_percent == 0, "the share of time, where its ratio is not shown"


def test_a_figure_that_dcgm_leaves_blank_is_unknown() -> None:
    for gpu in parse_gpus(page("dcgm_exporter")).gpus:
        assert gpu.fan_percent is None
        assert dict(gpu.why)["fan_percent"] == "the exporter does not show it"


def test_the_parts_of_a_mig_card_are_one_card() -> None:
    (gpu,) = parse_gpus(page("dcgm_exporter_mig")).gpus
    assert gpu.mig
    assert (gpu.vram_used_bytes, gpu.vram_total_bytes) == (9100 * MIB, 59100 * MIB)
    assert (gpu.power_w, gpu.temperature_c) == (190.5, 48)


def test_nvidia_gpu_exporter() -> None:
    survey = parse_gpus(page("nvidia_gpu_exporter"))
    assert (survey.driver_version, survey.cuda_version) == ("580.95.05", "13.0")
    (gpu,) = survey.gpus
    assert (gpu.name, gpu.index) == ("NVIDIA GeForce RTX 4090", 0)
    assert (gpu.vram_total_bytes, gpu.vram_used_bytes) == (24 * 2**30, 23219666944)
    assert (gpu.temperature_c, gpu.slowdown_temperature_c) == (86, 90)
    assert (gpu.utilization_percent, gpu.memory_bandwidth_percent, gpu.fan_percent) == (99, 71, 62)
    assert (gpu.sm_clock_mhz, gpu.memory_clock_mhz) == (2580, 10501)
    assert (gpu.power_w, gpu.power_limit_w, gpu.ecc_errors, gpu.mig) == (431.27, 450, 0, False)
    assert gpu.throttle_reasons == ("temperature (hardware)",)
    assert gpu.processes == (
        GpuProcess(pid=4711, name="VLLM::EngineCore", vram_used_bytes=22_000_000_000, is_local_server=True),
        GpuProcess(pid=99, name="/usr/bin/blender", vram_used_bytes=None),
    )


def test_a_page_of_something_else() -> None:
    for text in ("", "<html></html>", page("llama_cpp")):
        survey = parse_gpus(text)
        assert survey.gpus == ()
        assert survey.problem


LINES = st.tuples(
    st.sampled_from(["DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_GPU_TEMP", "nvidia_smi_mig_mode_current"]),
    st.sampled_from(['{UUID="a"}', '{uuid="a",index="-1"}', '{UUID="b",gpu="²"}', "{}", "", '{UUID="']),
    st.text("0123456789.eE+-naif ", max_size=8),
).map(" ".join)


@given(st.lists(LINES | st.text(max_size=10)).map("\n".join))
def test_no_line_breaks_it_and_no_number_is_negative(text: str) -> None:
    for gpu in parse_gpus(text).gpus:
        assert gpu.uuid
        assert gpu.vram_used_bytes is None or gpu.vram_used_bytes >= 0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Pace:
    """Lets a poller look one time after the other."""

    def __init__(self) -> None:
        self._go = asyncio.Semaphore(0)
        self._asleep: asyncio.Queue[float] = asyncio.Queue()

    async def __call__(self, seconds: float) -> None:
        self._asleep.put_nowait(seconds)
        await self._go.acquire()

    async def looked(self) -> float:
        async with asyncio.timeout(20):
            return await self._asleep.get()

    async def again(self) -> float:
        self._go.release()
        return await self.looked()


@contextlib.asynccontextmanager
async def polled(server: OpenAIServer) -> AsyncGenerator[tuple[ExporterPoller, Pace, Clock]]:
    pace, clock = Pace(), Clock()
    poller = ExporterPoller(f"{server.url}/metrics", clock=clock, sleep=pace)
    assert poller.newest().problem
    poller.start()
    try:
        yield poller, pace, clock
    finally:
        await poller.stop()


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        (None, "there is no page of metrics"),
        (Refuses(status=503, body="busy"), "status 503"),
        ("vllm:num_requests_running 1\n", "no GPU metrics"),
        ("#" * (MAX_METRICS_BYTES + 1), "there is no page of metrics"),
    ],
    ids=["404", "503", "another page", "too long"],
)
async def test_an_exporter_in_trouble_says_so_and_is_found_again(
    shown: Refuses | str | None, why: str
) -> None:
    async with OpenAIServer() as server:
        server.metrics = shown
        async with polled(server) as (poller, pace, clock):
            await pace.looked()
            assert (poller.newest().gpus, why in poller.newest().problem) == ((), True)
            server.metrics = page("dcgm_exporter")
            await pace.again()
            assert poller.newest() == parse_gpus(page("dcgm_exporter"))
            server.metrics = shown
            clock.now += STALE_S
            await pace.again()
            assert poller.newest().problem == "", "one question that failed is no news yet"
            clock.now += 1
            gone = poller.newest()
    assert why in gone.problem
    assert [gpu.name for gpu in gone.gpus] == ["NVIDIA L40S"] * 2
    assert all(getattr(gpu, name) is None for gpu in gone.gpus for name in GPU_FIGURES)
    assert not any(gpu.lost for gpu in gone.gpus)


async def test_an_exporter_that_nobody_runs() -> None:
    async with OpenAIServer() as server:
        url = server.url
    pace = Pace()
    poller = ExporterPoller(f"{url}/metrics", sleep=pace)
    poller.start()
    await pace.looked()
    assert poller.newest().problem.startswith(f"{url}/metrics does not show its GPUs: ")
    await poller.stop()
