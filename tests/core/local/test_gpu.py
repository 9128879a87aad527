"""The GPU's watts: the real NVML bindings over a stand-in library, and a reader that never makes anybody wait."""

from __future__ import annotations

import ctypes.util
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.local.gpu import GpuPower, GpuSampler
from core.local.gpu_sample import GpuSurvey
from tests.support import nvml
from tests.support.gpus import gpu_survey

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in library is a Linux one")
needs_compiler = pytest.mark.skipif(nvml.compiler() is None, reason="no C compiler builds the stand-in")

READ = """
import json, os, sys
from core.local.gpu import total_watts
from core.local.gpu_nvml import NvmlReader
sensor, answers = NvmlReader(), []
for values in json.loads({steps!r}):
    with open(os.environ["NVML_STUB_FILE"], "w") as file:
        file.write(values)
    answers.append(total_watts(sensor.read().gpus))
sys.stdout.write(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nvml.build(tmp_path_factory.mktemp("nvml"))


def readings(library: Path, tmp_path: Path, *steps: str) -> list[float | None]:
    """What one sensor reads as the library's values change."""
    out = nvml.run(library, tmp_path / "values", READ.format(steps=json.dumps(steps)))
    return json.loads(out)


ONE = "count 1\ngpu0.power_mw 350500\n"


@needs_compiler
def test_the_power_of_all_gpus_is_added_up(library: Path, tmp_path: Path) -> None:
    two = "count 2\ngpu0.power_mw 350500\ngpu1.power_mw 100000\n"
    assert readings(library, tmp_path, ONE, two) == [350.5, 450.5]


@needs_compiler
@pytest.mark.parametrize(
    "broken",
    [
        "count 1\ngpu0.no_power 1\n",
        "count 2\ngpu0.power_mw 350500\ngpu1.no_power 1\n",
        "count 1\ngpu0.err 15\n",
        "count 0\n",
    ],
    ids=["no sensor", "one of two without", "lost", "no GPU"],
)
def test_what_cannot_be_read_is_not_known_and_comes_back(library: Path, tmp_path: Path, broken: str) -> None:
    assert readings(library, tmp_path, ONE, broken, broken, ONE) == [350.5, None, None, 350.5]


@needs_compiler
def test_without_a_driver_there_are_no_watts_until_it_is_loaded(library: Path, tmp_path: Path) -> None:
    assert readings(library, tmp_path, "init_err 9\n", ONE) == [None, 350.5]


@pytest.mark.skipif(bool(ctypes.util.find_library("nvidia-ml")), reason="this machine has the real library")
def test_without_the_library_there_are_no_watts(tmp_path: Path) -> None:
    assert readings(tmp_path / "no-such-folder", tmp_path, ONE, ONE) == [None, None]


class Card:
    """A sensor that a test drives: each reading waits until it is let through."""

    def __init__(self) -> None:
        self.values: list[float | None] = []
        self.go = threading.Semaphore(0)
        self.asked = threading.Semaphore(0)
        self.last: float | None = None

    def read(self) -> float | None:
        self.asked.release()
        assert self.go.acquire(timeout=30)
        if self.values:
            self.last = self.values.pop(0)
        return self.last

    def look(self) -> GpuSurvey:
        return gpu_survey(power_w=self.read())

    def let_through(self, *values: float | None) -> None:
        """Let these readings pass, and wait until the one after them is under way."""
        for value in values:
            assert self.asked.acquire(timeout=30)
            self.values.append(value)
            self.go.release()
        assert self.asked.acquire(timeout=30)
        self.asked.release()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def card() -> Card:
    return Card()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sampler(card: Card, clock: Clock) -> Iterator[GpuSampler]:
    sampler = GpuSampler(card.look, clock=clock, every_s=0.0)
    yield sampler
    sampler.close()
    card.go.release(1000)
    for thread in threading.enumerate():
        if thread.name == "signalbox-gpu":
            thread.join(30)


@pytest.fixture
def power(sampler: GpuSampler, clock: Clock) -> GpuPower:
    return GpuPower(sampler, clock=clock)


def test_nobody_waits_for_a_sensor_that_hangs(power: GpuPower, card: Card) -> None:
    assert power.watts() is None  # the reading is under way, and is not waited for
    assert card.asked.acquire(timeout=30)
    card.asked.release()
    assert power.watts() is None
    with power.measure() as span:
        assert span.watts() is None
    card.let_through(300.0)
    assert power.watts() == 300.0


def test_only_one_thread_reads(power: GpuPower, card: Card) -> None:
    for _ in range(50):
        power.watts()
        power.measure().close()
    assert sum(thread.name == "signalbox-gpu" for thread in threading.enumerate()) == 1


def test_an_old_reading_says_nothing_about_now(power: GpuPower, card: Card, clock: Clock) -> None:
    power.watts()
    card.let_through(300.0)
    clock.now += 5
    assert power.watts() == 300.0
    clock.now += 0.1
    assert power.watts() is None


def test_a_reading_that_fails_replaces_the_one_before(power: GpuPower, card: Card) -> None:
    power.watts()
    card.let_through(300.0, None)
    assert power.watts() is None


def test_a_span_has_the_mean_of_its_own_readings(power: GpuPower, card: Card) -> None:
    power.watts()
    card.let_through(100.0)
    with power.measure() as span:
        assert span.watts() == 100.0  # none of its own yet: the newest there is
        card.let_through(200.0, None, 400.0)
        assert span.watts() == 300.0
        with power.measure() as second:
            card.let_through(500.0)
            assert second.watts() == 500.0
        assert span.watts() == pytest.approx(1100 / 3)


def test_the_thread_ends_when_nobody_asks_any_more_and_begins_again(
    power: GpuPower, card: Card, clock: Clock
) -> None:
    span = power.measure()
    card.let_through(100.0)
    clock.now += 60
    card.let_through(100.0)  # a request is still measured
    span.close()
    span.close()
    (thread,) = (t for t in threading.enumerate() if t.name == "signalbox-gpu")
    card.go.release()
    thread.join(30)
    assert not thread.is_alive()
    assert card.asked.acquire(timeout=30)
    power.watts()
    card.let_through(250.0)
    assert power.watts() == 250.0


def test_closed_it_reads_no_more(sampler: GpuSampler, power: GpuPower, card: Card) -> None:
    power.watts()
    card.let_through(100.0)
    sampler.close()
    card.go.release(10)
    for thread in threading.enumerate():
        if thread.name == "signalbox-gpu":
            thread.join(30)
    power.watts()
    assert all(thread.name != "signalbox-gpu" for thread in threading.enumerate())


def test_where_the_model_runs_elsewhere_only_what_is_told_counts(
    sampler: GpuSampler, power: GpuPower, card: Card, clock: Clock
) -> None:
    power.follow(elsewhere=True)
    assert power.watts() is None
    assert threads() == 0, "nobody looks at this machine's cards"
    with power.measure() as span:
        power.tell(gpu_survey(power_w=700.0))
        power.tell(gpu_survey(power_w=500.0))
        one_look(sampler, card, 40.0)  # somebody else looks at this machine's
        assert (span.watts(), power.watts()) == (600.0, 500.0)
        power.tell(GpuSurvey(problem="it does not answer"))
        assert (span.watts(), power.watts()) == (600.0, None)
    power.tell(gpu_survey(power_w=500.0))
    clock.now += 6
    assert power.watts() is None
    power.follow(elsewhere=False)
    power.watts()
    card.let_through(40.0)
    power.tell(gpu_survey(power_w=500.0))  # it was on its way
    assert power.watts() == 40.0


# -- a driver that hangs, is lost, and comes back --------------------------------------------------------------


def threads() -> int:
    return sum(thread.name == "signalbox-gpu" for thread in threading.enumerate())


def test_a_driver_that_hangs_makes_the_figures_unknown_and_nothing_piles_up(
    sampler: GpuSampler, card: Card, clock: Clock
) -> None:
    assert sampler.newest().problem == "The GPUs are being looked for."
    sampler.ask()
    assert card.asked.acquire(timeout=30)
    card.asked.release()
    clock.now += 6
    assert sampler.newest().problem == "The GPU's driver has not answered for 6 s."
    card.let_through(300.0)  # and the one after it hangs
    assert sampler.newest() == gpu_survey(power_w=300.0)
    clock.now += 30
    for _ in range(50):
        sampler.poke()
        sampler.ask()
    assert threads() == 1
    silent = sampler.newest()
    assert silent.problem == "The GPU's driver has not answered for 30 s."
    (gpu,) = silent.gpus
    assert (gpu.name, gpu.power_w, gpu.lost) == ("NVIDIA L4", None, False)
    assert dict(gpu.why)["power_w"] == "the driver does not answer"
    card.let_through(200.0)
    assert sampler.newest() == gpu_survey(power_w=200.0)


def one_look(sampler: GpuSampler, card: Card, watts: float) -> None:
    looked = threading.Event()
    sampler.on_look(lambda survey: looked.set())
    assert sampler.poke()
    assert card.asked.acquire(timeout=30)
    card.values.append(watts)
    card.go.release()
    assert looked.wait(30)


def test_figures_that_nobody_asked_for_in_a_while_are_not_shown_as_todays(
    sampler: GpuSampler, card: Card, clock: Clock
) -> None:
    one_look(sampler, card, 300.0)
    assert sampler.newest() == gpu_survey(power_w=300.0)
    clock.now += 3600
    sampler.poke()
    assert card.asked.acquire(timeout=30)
    (gpu,) = sampler.newest().gpus
    assert (gpu.power_w, sampler.newest().problem) == (None, "The GPUs are being looked for.")


def test_a_look_that_raises_is_a_problem_and_the_next_one_is_taken() -> None:
    answers = [OSError("no such device"), gpu_survey(power_w=1.0)]
    looked = threading.Semaphore(0)

    def look() -> GpuSurvey:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    sampler = GpuSampler(look, retry_s=0.0)
    heard: list[GpuSurvey] = []

    def hear(survey: GpuSurvey) -> None:
        heard.append(survey)
        looked.release()

    def fails(survey: GpuSurvey) -> None:
        raise ZeroDivisionError

    sampler.on_look(fails)
    sampler.on_look(hear)
    for _ in range(2):
        assert sampler.poke()
        assert looked.acquire(timeout=30)
    sampler.close()
    assert [survey.problem for survey in heard] == ["The GPUs can't be read: OSError: no such device.", ""]


def test_without_a_gpu_it_is_looked_for_rarely(clock: Clock) -> None:
    looks = threading.Semaphore(0)
    sampler = GpuSampler(lambda: GpuSurvey(problem="There is none."), clock=clock, retry_s=10.0)
    sampler.on_look(lambda survey: looks.release())
    assert sampler.poke()
    assert looks.acquire(timeout=30)
    clock.now += 9.9
    assert not sampler.poke()
    clock.now += 0.2
    assert sampler.poke()
    assert looks.acquire(timeout=30)
    sampler.close()


def test_it_looks_again_after_it_was_closed(sampler: GpuSampler, card: Card) -> None:
    one_look(sampler, card, 100.0)
    sampler.close()
    assert not sampler.poke()
    for thread in threading.enumerate():
        if thread.name == "signalbox-gpu":
            thread.join(30)
    sampler.open()
    one_look(sampler, card, 50.0)
    assert sampler.newest() == gpu_survey(power_w=50.0)
