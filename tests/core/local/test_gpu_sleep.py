"""A laptop's card that sleeps is not woken, and one that has nothing to do may fall asleep."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.local.gpu_nvml import NvmlReader
from core.local.gpu_sample import GpuProcess, GpuSurvey
from core.local.gpu_sleep import AGAIN_S, IDLE_S, REST_S, SleepWatch
from core.local.local_gpus import ASLEEP, LocalGpus
from tests.support.gpus import gpu_survey

IDLE = gpu_survey(
    utilization_percent=0.0, processes=(GpuProcess(pid=1, name="Xorg", vram_used_bytes=4_000_000),)
)
BUSY = [
    gpu_survey(utilization_percent=1.0, processes=()),
    gpu_survey(processes=(GpuProcess(pid=1, name="x", vram_used_bytes=2**30),)),
    gpu_survey(processes=(GpuProcess(pid=1, name="v", vram_used_bytes=None, is_local_server=True),)),
]


def put(root: Path, *, status: str = "active", control: str = "auto", vendor: str = "0x10de") -> None:
    device = root / "bus" / "pci" / "devices" / f"0000:01:00.0-{vendor}"
    (device / "power").mkdir(parents=True, exist_ok=True)
    for name, text in {
        "vendor": vendor,
        "class": "0x030000",
        "power/runtime_status": status,
        "power/control": control,
    }.items():
        (device / name).write_text(text + "\n")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_card_that_sleeps_is_not_asked_and_is_once_it_is_awake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[GpuSurvey] = []

    def read(self: NvmlReader) -> GpuSurvey:
        reads.append(BUSY[0])
        return BUSY[0]

    monkeypatch.setattr(NvmlReader, "read", read)
    gpus = LocalGpus(root=tmp_path)
    put(tmp_path, status="suspended")
    assert (gpus.look(), reads) == (GpuSurvey(problem=ASLEEP), [])
    put(tmp_path)
    assert gpus.look() == BUSY[0]
    put(tmp_path, status="suspended")
    (gpu,) = gpus.look().gpus
    assert (gpu.name, gpu.utilization_percent, gpu.lost) == ("NVIDIA L4", None, False)
    assert dict(gpu.why)["temperature_c"] == "it sleeps"
    assert len(reads) == 1


def test_one_without_work_is_left_alone_to_fall_asleep(tmp_path: Path, clock: Clock) -> None:
    put(tmp_path)
    put(tmp_path, vendor="0x8086", control="on")  # another maker's says nothing of it
    sleep = SleepWatch(tmp_path, clock=clock)
    assert sleep.may_ask(IDLE)
    clock.now += IDLE_S - 1
    assert sleep.may_ask(IDLE)
    clock.now += 1
    assert not sleep.may_ask(IDLE)
    clock.now += REST_S  # it did not fall asleep: a screen may hang on it
    assert sleep.may_ask(IDLE)
    clock.now += AGAIN_S - 1
    assert sleep.may_ask(IDLE)
    clock.now += 1
    assert sleep.may_ask(IDLE)
    clock.now += IDLE_S
    assert not sleep.may_ask(IDLE)


@pytest.mark.parametrize("seen", [*BUSY, GpuSurvey(problem="none")])
def test_one_at_work_is_asked_all_the_time(tmp_path: Path, clock: Clock, seen: GpuSurvey) -> None:
    put(tmp_path)
    sleep = SleepWatch(tmp_path, clock=clock)
    for _ in range(10):
        clock.now += IDLE_S / 2
        assert sleep.may_ask(seen)


def test_one_that_never_sleeps_is_asked_all_the_time(tmp_path: Path, clock: Clock) -> None:
    sleep = SleepWatch(tmp_path, clock=clock)
    for control in (None, "on"):
        if control is not None:
            put(tmp_path, control=control)
        for _ in range(10):
            clock.now += IDLE_S / 2
            assert sleep.may_ask(IDLE)
