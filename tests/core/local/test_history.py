"""The machine's last 24 hours: tiers, peaks, gaps, clocks that are set, and the file that outlives a restart."""

from __future__ import annotations

import itertools
import math
import os
import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.local.gpu_sample import GpuReading, HostReading, MachineSample, ServerFigures
from core.local.history import History, MachineEvent, Series
from core.local.history_events import server_event
from core.local.history_file import HistoryFile
from core.local.history_rings import KEPT_S, MAX_CARDS, TIERS, HistoryRings
from core.local.server import Crash, ServerFailure, ServerState

START_S = 1_800_000_000.0
SILENT_S = 2.5


def sample(
    at_s: float, used: int | None = 5, *, uuid: str = "GPU-a", cpu: float | None = 10.0, gpus: int = 1
) -> MachineSample:
    return MachineSample(
        at=datetime.fromtimestamp(at_s, UTC),
        gpus=tuple(
            GpuReading(
                index=index,
                uuid=f"{uuid}{index}",
                name="L4",
                source="nvml",
                vram_used_bytes=used,
                temperature_c=60.0,
                utilization_percent=90.0,
                power_w=70.0,
                memory_bandwidth_percent=40.0,
            )
            for index in range(gpus)
        ),
        host=HostReading(cpu_percent=cpu, memory_used_bytes=8 << 30),
        server=ServerFigures(running_requests=1, waiting_requests=0, kv_cache_percent=20.0),
        api_nanodollars_per_hour=1,
        machine_nanodollars_per_hour=2,
    )


def vram(history: History) -> Series:
    found = history.find("vram_used_bytes", 0)
    assert found is not None
    return found


def fed(seconds: int, *, step_s: float = 1.0, start_s: float = START_S) -> HistoryRings:
    rings = HistoryRings()
    for number in range(int(seconds / step_s)):
        rings.take(sample(start_s + number * step_s, used=number), step_s * 2.5)
    return rings


def test_each_second_of_the_last_minutes_is_there() -> None:
    rings = fed(120)
    line = vram(rings.read(START_S + 119, 60, 600))
    assert line.values == tuple(float(number) for number in range(59, 120))
    assert line.times_s == tuple(START_S + number for number in range(59, 120))


@pytest.mark.parametrize("seconds", [60, 900, 7200, KEPT_S])
def test_a_peak_of_one_second_is_in_every_view(seconds: int) -> None:
    rings = HistoryRings()
    for number in range(7200):
        rings.take(sample(START_S + number, used=9_000 if number == 7170 else 100), SILENT_S)
    line = vram(rings.read(START_S + 7199, seconds, 200))
    assert max(value for value in line.values if value is not None) == 9_000
    assert min(value for value in line.values if value is not None) == 100
    assert len(line.values) <= 200


def test_a_closed_panel_is_a_gap_and_not_a_line() -> None:
    rings = fed(100)
    for number in range(400, 500):
        rings.take(sample(START_S + number, used=7), SILENT_S)
    line = vram(rings.read(START_S + 499, 500, 2000))
    gap = line.values.index(None)
    assert line.values[gap - 1] == 99.0
    assert line.values[gap + 1] == 7.0
    assert line.times_s[gap + 1] == START_S + 400
    assert line.values.count(None) == 1


def test_slow_sampling_is_no_row_of_gaps() -> None:
    rings = fed(300, step_s=5.0)
    assert None not in vram(rings.read(START_S + 295, 300, 600)).values


def test_a_sensor_that_says_nothing_is_a_gap_at_once_and_never_zero() -> None:
    rings = HistoryRings()
    for number, used in enumerate([5, 6, None, None, 8]):
        rings.take(sample(START_S + number, used=used), SILENT_S)
    history = rings.read(START_S + 4, 10, 600)
    assert vram(history).values == (5.0, 6.0, None, 8.0)
    assert history.find("cpu_percent") is not None
    assert None not in history.find("cpu_percent").values  # type: ignore[union-attr]


def test_silence_until_now_ends_the_line() -> None:
    rings = fed(10)
    assert vram(rings.read(START_S + 9, 60, 600)).values[-1] == 9.0
    assert vram(rings.read(START_S + 30, 60, 600)).values[-1] is None


def test_another_card_in_the_place_begins_anew() -> None:
    rings = fed(10)
    rings.take(sample(START_S + 10, used=77, uuid="GPU-b"), SILENT_S)
    history = rings.read(START_S + 10, 60, 600)
    assert vram(history).values == (77.0,)
    assert len(history.find("cpu_percent").values) == 11  # type: ignore[union-attr]


def test_a_card_that_is_lost_keeps_what_was_seen_of_it() -> None:
    rings = fed(10)
    lost = GpuReading(index=0, uuid="lost", name="", source="nvml", lost=True)
    rings.take(replace(sample(START_S + 10), gpus=(lost,)), SILENT_S)
    rings.take(sample(START_S + 11, used=8), SILENT_S)
    line = vram(rings.read(START_S + 11, 60, 600))
    assert line.values[-3:] == (9.0, None, 8.0)


def test_a_clock_that_is_set_back_duplicates_nothing() -> None:
    rings = fed(600)
    rings.add_event(MachineEvent(at_s=START_S + 500, kind="start", words="Starting."))
    for number in range(100, 200):  # it was eight minutes fast
        rings.take(sample(START_S + number, used=1), SILENT_S)
    now_s = START_S + 199
    history = rings.read(now_s, 600, 5000)
    line = vram(history)
    assert list(line.times_s) == sorted(set(line.times_s))
    assert line.times_s[-1] <= now_s
    assert set(line.values[-99:]) == {1.0}
    assert history.events == ()
    later = vram(rings.read(START_S + 599, 600, 5000))
    assert later.values[-1] is None, "what was seen before the clock was set is not the future"


def test_a_clock_that_is_set_forward_leaves_a_gap() -> None:
    rings = fed(60)
    rings.take(sample(START_S + 3600, used=3), SILENT_S)
    assert vram(rings.read(START_S + 3600, 7200, 600)).values[-2:] == (None, 3.0)


@given(
    steps=st.lists(st.floats(-4000, 4000), min_size=1, max_size=40),
    seconds=st.floats(1, KEPT_S),
    most=st.integers(20, 400),
)
def test_whatever_the_clock_does_a_series_is_in_order_and_bounded(
    steps: list[float], seconds: float, most: int
) -> None:
    rings, at_s = HistoryRings(), START_S
    for step in steps:
        at_s += step
        rings.take(sample(at_s, used=None if step > 3000 else 4), SILENT_S)
    history = rings.read(at_s, seconds, most)
    for line in history.series:
        assert len(line.times_s) == len(line.values) <= most
        assert list(line.times_s) == sorted(line.times_s)
        assert all(history.from_s <= time <= history.to_s for time in line.times_s)
        assert not any(value is not None and math.isnan(value) for value in line.values)
        assert all(
            before is not None or after is not None for before, after in itertools.pairwise(line.values)
        )


def test_two_gpus_for_a_day_stay_under_ten_megabytes() -> None:
    rings = HistoryRings()
    rings.take(sample(START_S, gpus=2), SILENT_S)
    assert rings.size_bytes < 2_000_000  # arrays have their whole size from the first sample on
    rings.take(sample(START_S + 1, gpus=500), SILENT_S)
    assert rings.size_bytes < 11_000_000, "an exporter that names any number of GPUs fills no memory"


def saved(file: HistoryFile, rings: HistoryRings, now_s: float) -> None:
    assert file.save(rings.series, rings.gpus, rings.slots(0), rings.events, now_s)


def restored(file: HistoryFile, now_s: float) -> HistoryRings:
    rings = HistoryRings()
    kept = file.load()
    assert kept is not None
    rings.restore(kept.series, kept.gpus, kept.slots, kept.events, now_s)
    return rings


def test_a_restart_shows_what_was_before_and_the_gap(tmp_path: Path) -> None:
    rings, file = fed(600), HistoryFile(tmp_path)
    rings.add_event(MachineEvent(at_s=START_S + 5, kind="ready", words="Ready."))
    saved(file, rings, START_S + 599)
    file.close()
    assert stat.S_IMODE(os.stat(file.path).st_mode) == 0o600

    again = restored(HistoryFile(tmp_path), START_S + 900)
    for number in range(900, 960):
        again.take(sample(START_S + number, used=3), SILENT_S)
    again.add_event(MachineEvent(at_s=START_S + 5, kind="ready", words="Ready."))
    history = again.read(START_S + 959, 900 + 60, 600)
    line = vram(history)
    known = [value for value in line.values if value is not None]
    assert max(known) == 599.0
    assert min(known) <= 9.0
    assert line.values.count(None) == 1
    assert [event.words for event in history.events] == ["Ready."]


def test_each_card_has_its_own_past_whatever_its_number_and_also_after_a_restart(tmp_path: Path) -> None:
    rings, file = fed(600), HistoryFile(tmp_path)
    rings.take(sample(START_S + 600, used=77, uuid="GPU-b"), SILENT_S)  # another machine's card is watched
    assert set(vram(rings.read(START_S + 600, 900, 600)).values) == {77.0}
    before = fed(600).read(START_S + 599, 900, 600)
    rings.take(sample(START_S + 601, used=5, uuid="GPU-a"), SILENT_S)  # and the own one again
    assert set(vram(rings.read(START_S + 601, 900, 600)).values) >= set(vram(before).values)
    assert 77.0 not in vram(rings.read(START_S + 601, 900, 600)).values
    saved(file, rings, START_S + 601)
    again = restored(file, START_S + 602)
    again.take(sample(START_S + 602, used=78, uuid="GPU-b"), SILENT_S)
    assert set(vram(again.read(START_S + 602, 900, 600)).values) - {None} == {77.0, 78.0}
    early = HistoryRings()  # it looked before the file was read
    early.take(sample(START_S + 683, used=79, uuid="GPU-b"), SILENT_S)
    kept = file.load()
    assert kept is not None
    early.restore(kept.series, kept.gpus, kept.slots, kept.events, START_S + 683)
    assert set(vram(early.read(START_S + 683, 900, 600)).values) - {None} == {77.0, 79.0}
    assert early.is_rewritten
    assert len(early.read(START_S + 683, 900, 600).find("cpu_percent").values) > 20  # type: ignore[union-attr]
    file.close()


def test_a_hundred_cards_one_after_the_other_are_bounded() -> None:
    rings = HistoryRings()
    for number in range(100):
        rings.take(sample(START_S + number, used=number, uuid=f"GPU-{number}-"), SILENT_S)
        assert vram(rings.read(START_S + number, 900, 600)).values[-1] == number
    assert len(rings.gpus) <= MAX_CARDS


def test_a_first_sample_before_the_file_is_read_draws_no_line_over_the_gap(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path)
    saved(file, fed(600), START_S + 599)
    kept = file.load()
    assert kept is not None
    again = HistoryRings()
    again.take(sample(START_S + 900, used=3), SILENT_S)
    again.restore(kept.series, kept.gpus, kept.slots, kept.events, START_S + 900)
    for number in range(901, 960):
        again.take(sample(START_S + number, used=3), SILENT_S)
    assert vram(again.read(START_S + 959, 900 + 60, 600)).values.count(None) == 1
    file.close()


def test_what_is_saved_twice_or_by_two_panels_is_there_once(tmp_path: Path) -> None:
    rings, file, other = fed(300), HistoryFile(tmp_path), HistoryFile(tmp_path)
    saved(file, rings, START_S + 299)
    saved(other, rings, START_S + 299)
    saved(file, rings, START_S + 299)
    kept = file.load()
    assert kept is not None
    assert len(kept.slots) == 30 + 5
    file.close()
    other.close()


def test_old_and_future_slots_leave_the_file(tmp_path: Path) -> None:
    rings, file = fed(300), HistoryFile(tmp_path)
    saved(file, rings, START_S + 299)
    assert file.save(rings.series, rings.gpus, [], [], START_S + 100)
    kept = file.load()
    assert kept is not None
    tens = [slot.number * 10 for slot in kept.slots if slot.step_s == 10]
    assert (tens[0], tens[-1]) == (START_S, START_S + 100)
    assert all(slot.number * slot.step_s <= START_S + 100 for slot in kept.slots)
    assert file.save(rings.series, rings.gpus, [], [], START_S + 2 * KEPT_S)
    kept = file.load()
    assert kept is not None
    assert kept.slots == ()
    file.close()


def test_a_broken_file_is_set_aside_and_begun_anew(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path)
    file.path.write_bytes(b"this is no database, but long enough to be looked at" * 40)
    assert file.load() is None
    assert file.path.with_name("machine.history.sqlite3.broken-1").exists()
    assert file.problem == ""
    rings = fed(60)
    saved(file, rings, START_S + 59)
    assert file.load() is not None
    file.close()


def test_a_folder_in_its_place_is_said_and_nothing_breaks(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path)
    file.path.mkdir()
    rings = fed(60)
    assert not file.save(rings.series, rings.gpus, rings.slots(0), (), START_S)
    assert "folder" in file.problem
    assert file.path.is_dir()


def test_a_file_deleted_while_open_is_made_anew(tmp_path: Path) -> None:
    rings, file = fed(60), HistoryFile(tmp_path)
    saved(file, rings, START_S + 59)
    for path in tmp_path.glob("machine.*"):
        path.unlink()
    saved(file, rings, START_S + 60)
    file.close()
    assert HistoryFile(tmp_path).load() is not None


def state(phase: str, **fields: object) -> ServerState:
    return ServerState(phase=phase, **({"kind": "compose", "model": "qwen"} | fields))  # type: ignore[arg-type]


def test_states_become_events_with_words() -> None:
    oom = ServerFailure(kind="gpu_out_of_memory", what="The GPU ran out of memory while loading")
    killed = ServerFailure(kind="killed", what="It was killed from outside (exit code 137)")
    ready, failed = state("ready"), state("failed", failure=oom, detail="x")
    seen = [
        server_event(before, after, 1.0)
        for before, after in (
            (state("stopped"), state("starting")),
            (state("starting"), state("starting", detail="loading")),
            (state("starting"), ready),
            (ready, state("stopping")),
            (state("stopping"), state("stopped")),
            (ready, failed),
            (ready, state("failed", failure=killed)),
            (ready, state("starting", crash=Crash("was ended by signal 9", datetime.now(UTC)))),
        )
    ]
    assert [(event.kind, event.words) if event else None for event in seen] == [
        ("start", "Starting qwen."),
        None,
        ("ready", "qwen is ready."),
        None,
        ("stop", "qwen was stopped."),
        ("oom", "The GPU ran out of memory while loading."),
        ("crash", "It was killed from outside (exit code 137)."),
        ("crash", "The local server was ended by signal 9."),
    ]


def test_what_was_found_running_was_neither_started_nor_made_ready_then() -> None:
    found = state("starting", found_running=True)
    assert server_event(state("stopped", detail="looking for the container"), found, 1.0) is None
    assert server_event(found, state("ready"), 1.0) is None
    loading = state("starting", detail="loading weights")  # it was asked, and is not ready yet
    assert server_event(found, loading, 1.0) is None
    assert server_event(loading, state("ready"), 1.0) is not None
    assert server_event(state("stopped"), state("starting"), 1.0) is not None
    # Nor did anything crash where Docker is missing, or a container that failed long ago is seen at last.
    failed = state("failed", failure=ServerFailure(kind="docker_missing", what="Docker is missing."))
    assert server_event(state("stopped"), failed, 1.0) is None
    assert server_event(state("starting"), failed, 1.0) is not None


def test_looking_for_somebody_elses_server_is_no_event() -> None:
    looking = state("starting", kind="external")
    away = state("failed", kind="external", detail="No server is reachable at x.")
    assert server_event(state("stopped", kind="external"), looking, 1.0) is None
    assert server_event(looking, away, 1.0) is None
    gone = server_event(state("ready", kind="external"), away, 1.0)
    assert gone is not None
    assert (gone.kind, gone.words) == ("crash", "No server is reachable at x.")


def test_tiers_are_multiples_of_each_other() -> None:
    steps = [step for step, _ in TIERS]
    assert all(coarse % fine == 0 for fine, coarse in itertools.pairwise(steps))
