"""Alerts: raised after a minimum time, ended once it is well under, told once; nothing is made of the unknown."""

from __future__ import annotations

import dataclasses
import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.local.alert_engine import AlertEngine, Told
from core.local.alert_rules import Look, Thresholds, looks
from core.local.alerts import Alert
from core.local.gpu_sample import (
    HARDWARE_HEAT,
    POWER_LIMIT,
    SYNC_BOOST,
    GpuProcess,
    GpuReading,
    MachineSample,
    ServerFigures,
)
from core.local.server import ServerFailure, ServerState

NOON = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
SILENT_S = 2.5
GB = 1 << 30
READY = ServerState(phase="ready", kind="compose", model="qwen")


class Watched:
    """An engine that is shown one sample a second (or as told)."""

    def __init__(self, **thresholds: Any) -> None:
        self.engine = AlertEngine()
        self.thresholds = Thresholds(**thresholds)
        self.now = NOON
        self.tick_s = 0.0
        self.told: list[Told] = []

    def see(
        self,
        *,
        server: ServerState = READY,
        figures: ServerFigures | None = None,
        seconds: int = 1,
        step_s: float = 1.0,
        was_used: bool = True,
        gpus: tuple[GpuReading, ...] | None = None,
        **gpu: Any,
    ) -> tuple[Alert, ...]:
        for _ in range(seconds):
            self.now += timedelta(seconds=step_s)
            self.tick_s += step_s
            seen = MachineSample(
                at=self.now,
                gpus=(reading(**gpu),) if gpus is None else gpus,
                server=figures or ServerFigures(),
            )
            found = looks(seen, server, self.thresholds, was_used=was_used)
            self.told += self.engine.step(found, self.now, self.tick_s, SILENT_S)
        return self.engine.alerts()

    def restarted(self) -> Watched:
        after = Watched()
        after.thresholds, after.now = self.thresholds, self.now
        after.engine.restore(json.loads(json.dumps(self.engine.kept())), self.now)
        return after


def reading(**fields: Any) -> GpuReading:
    plain: dict[str, Any] = {
        "index": 0,
        "uuid": "GPU-0",
        "name": "L4",
        "source": "nvml",
        "vram_total_bytes": 24 * GB,
        "vram_used_bytes": 2 * GB,
        "temperature_c": 50.0,
        "throttle_reasons": (),
    }
    return GpuReading(**(plain | fields))


FULL = {"vram_used_bytes": int(22.1 * GB)}


def test_memory_over_its_threshold_for_long_enough_is_told_with_figures() -> None:
    watched = Watched(after_s=12)
    assert watched.see(**FULL, seconds=12) == ()
    (alert,) = watched.see(**FULL)
    assert alert.text == "GPU 0 memory: 22.1 of 24.0 GB for 12 s, over 85 %."
    assert (alert.kind, alert.gpu, alert.action, alert.quiet) == ("vram", 0, "drain", False)
    assert alert.began_at == NOON + timedelta(seconds=1)
    assert [(told.turn, told.alert.id) for told in watched.told] == [("began", alert.id)]


def test_memory_that_vllm_sets_aside_is_said_to_be_so_by_design() -> None:
    ours = (GpuProcess(pid=1, name="vllm", vram_used_bytes=21 * GB, is_local_server=True),)
    (alert,) = Watched().see(**FULL, processes=ours, seconds=20)
    assert "vLLM sets its share of it aside by design" in alert.text
    foreign = (dataclasses.replace(ours[0], name="game", is_local_server=False),)
    (alert,) = Watched().see(**FULL, processes=foreign, seconds=20)
    assert "design" not in alert.text
    embedded = ServerState(phase="ready", kind="embedded", model="m")
    (alert,) = Watched().see(**FULL, processes=ours, seconds=20, server=embedded)
    assert "vLLM" not in alert.text


def test_it_ends_only_well_under_the_threshold_and_says_for_how_long_it_was() -> None:
    watched = Watched()
    (alert,) = watched.see(**FULL, seconds=20)
    (still,) = watched.see(vram_used_bytes=20 * GB, seconds=60)  # 83 %: under, and not well under
    assert still.ended_at is None
    (ended,) = watched.see(seconds=30)
    assert ended.id == alert.id
    assert ended.ended_at is not None
    assert "Ended after 1 min 30 s; the highest was 22.1 of 24.0 GB." in ended.text
    assert [told.turn for told in watched.told] == ["began", "ended"]
    watched.engine.acknowledge(ended.id)
    assert watched.engine.alerts() == ()


def test_what_is_not_known_neither_raises_nor_ends() -> None:
    watched = Watched()
    nothing = {"vram_used_bytes": None}
    assert watched.see(**nothing, seconds=100) == ()
    (alert,) = watched.see(**FULL, seconds=20)
    (held,) = watched.see(**nothing, seconds=100)
    assert held.ended_at is None
    assert held.text.startswith(alert.text)
    assert "No reading since" in held.text
    (again,) = watched.see(**FULL)
    assert again.text == alert.text
    assert len(watched.told) == 1


def test_a_hole_of_a_moment_only_holds_the_counting_up() -> None:
    watched = Watched(after_s=10)
    watched.see(**FULL, seconds=8)
    watched.see(vram_used_bytes=None)
    assert len(watched.see(**FULL, seconds=4)) == 1
    other = Watched(after_s=10)
    other.see(**FULL, seconds=8)
    other.see(vram_used_bytes=None, seconds=15)
    assert other.see(**FULL, seconds=9) == ()


def test_time_in_which_nobody_looked_does_not_count() -> None:
    watched = Watched(after_s=10)
    watched.see(**FULL, seconds=5)
    watched.see(**FULL, step_s=3600.0)
    assert watched.see(**FULL, seconds=9) == ()
    (alert,) = watched.see(**FULL, seconds=1)
    assert "for 10 s" in alert.text
    watched.see(step_s=3600.0)
    assert watched.see(seconds=9)[0].ended_at is None


@pytest.mark.parametrize(
    ("own", "slowdown", "at_c", "limit"),
    [(None, 88.0, 85.0, "over 85 °C"), (70, 88.0, 71.0, "over 70 °C"), (None, None, 120.0, "")],
)
def test_temperature_goes_by_the_cards_own_slow_down(
    own: int | None, slowdown: float | None, at_c: float, limit: str
) -> None:
    watched = Watched(temperature_c=own)
    found = watched.see(temperature_c=at_c, slowdown_temperature_c=slowdown, seconds=20)
    assert [limit in alert.text for alert in found] == ([True] if limit else [])


def test_a_card_at_its_power_limit_is_working_hard_and_a_hot_one_throttles() -> None:
    watched = Watched()
    assert watched.see(throttle_reasons=(POWER_LIMIT, SYNC_BOOST), seconds=60) == ()
    (alert,) = watched.see(throttle_reasons=(POWER_LIMIT, HARDWARE_HEAT), seconds=60)
    assert alert.kind == "throttling"
    assert "temperature (hardware)" in alert.text
    assert Watched().see(throttle_reasons=None, seconds=60) == ()


def test_a_lost_gpu_is_told_of_and_its_figures_are_not_known() -> None:
    watched = Watched()
    watched.see(**FULL, seconds=20)
    hot = {"temperature_c": 95.0, "slowdown_temperature_c": 90.0, "throttle_reasons": (HARDWARE_HEAT,)}
    watched.see(**FULL, **hot, seconds=20)
    found = watched.see(lost=True, seconds=20, temperature_c=None, throttle_reasons=None)
    assert {alert.kind: alert.ended_at for alert in found} == {
        "gpu_lost": None,
        "vram": None,
        "temperature": None,
        "throttling": None,
    }
    assert "dmesg" in found[0].text
    for ended in watched.see(seconds=20, slowdown_temperature_c=90.0):
        assert ended.ended_at is not None
        assert ("the highest was" in ended.text) == (ended.kind in ("vram", "temperature")), ended.text


def test_each_gpu_has_its_own_alert() -> None:
    watched = Watched()
    found = watched.see(gpus=tuple(reading(index=n, **FULL) for n in range(3)), seconds=20)
    assert sorted(alert.gpu or 0 for alert in found) == [0, 1, 2]
    assert len({alert.id for alert in found}) == 3


def test_an_exporter_that_is_not_asked_any_more_leaves_no_alert_behind() -> None:
    watched = Watched()
    watched.see(**FULL, seconds=20)
    (alert,) = watched.see(gpus=())
    assert alert.ended_at is not None
    assert "not looked at any more" in alert.text


def queue(waiting: int) -> ServerFigures:
    return ServerFigures(waiting_requests=waiting)


def test_a_queue_is_told_of_while_it_grows_or_stays_long() -> None:
    watched = Watched(queue_requests=10, after_s=10)
    assert watched.see(figures=queue(12), seconds=20) == ()
    (growing,) = watched.see(figures=queue(14))
    assert growing.text == "Local queue: 14 waiting for 20 s, 10 or more."
    steady = Watched(queue_requests=10, after_s=10)
    assert len(steady.see(figures=queue(12), seconds=31)) == 1
    short = Watched(queue_requests=10, after_s=10)
    assert short.see(figures=queue(9), seconds=100) == ()


def test_a_full_kv_cache() -> None:
    (alert,) = Watched().see(figures=ServerFigures(kv_cache_percent=97.0), seconds=20)
    assert alert.text.startswith("KV cache: 97 % in use for 10 s, over 95 %.")


@pytest.mark.parametrize(
    ("over", "just_under", "well_under"),
    [
        ({"temperature_c": 86.0}, {"temperature_c": 83.0}, {"temperature_c": 81.0}),
        *(
            tuple({"figures": ServerFigures(**{name: value})} for value in values)
            for name, values in {
                "kv_cache_percent": (97.0, 92.0, 89.0),
                "waiting_requests": (12, 6, 4),
            }.items()
        ),
    ],
)
def test_each_ends_only_well_under_its_threshold(
    over: dict[str, Any], just_under: dict[str, Any], well_under: dict[str, Any]
) -> None:
    watched = Watched(temperature_c=85, queue_requests=10, after_s=10)
    (alert,) = watched.see(**over, seconds=31)
    (still,) = watched.see(**just_under, seconds=60)
    assert (still.id, still.ended_at) == (alert.id, None)
    (ended,) = watched.see(**well_under, seconds=20)
    assert ended.ended_at is not None


def failed(kind: str = "killed", **fields: Any) -> ServerState:
    failure = ServerFailure(kind=kind, what="It was killed from outside", fix="Start it again.")  # type: ignore[arg-type]
    return dataclasses.replace(READY, phase="failed", failure=failure, **fields)


def test_a_server_that_failed_offers_to_start_it_and_an_unhealthy_one_to_restart_it() -> None:
    watched = Watched()
    (alert,) = watched.see(server=failed(), seconds=10)
    assert (alert.kind, alert.action) == ("server_failed", "start")
    assert alert.text == "It was killed from outside. Start it again."
    (starting,) = watched.see(server=dataclasses.replace(READY, phase="starting"), seconds=100)
    assert starting.ended_at is None
    (ended,) = watched.see(seconds=10)
    assert ended.ended_at is not None
    (sick,) = Watched().see(server=failed("unhealthy"), seconds=10)
    assert (sick.kind, sick.action) == ("unhealthy", "restart")


def test_somebody_elses_server_is_not_offered_to_be_started_and_one_that_never_was_is_no_alert() -> None:
    away = ServerState(
        phase="failed", kind="external", detail="No server is reachable at x.", hint="Look there."
    )
    assert Watched().see(server=away, seconds=60, was_used=False) == ()
    (alert,) = Watched().see(server=away, seconds=60)
    assert (alert.action, alert.text) == ("", "No server is reachable at x. Look there.")


def test_figures_of_a_server_that_is_away_are_not_looked_at() -> None:
    watched = Watched()
    assert (
        watched.see(server=dataclasses.replace(READY, phase="stopped"), figures=queue(99), seconds=99) == ()
    )


# -- what people do ---------------------------------------------------------------------------------------------


def test_acknowledged_it_stays_until_it_is_over_and_is_not_told_again() -> None:
    watched = Watched()
    (alert,) = watched.see(**FULL, seconds=20)
    watched.engine.acknowledge(alert.id)
    (seen,) = watched.see(**FULL, seconds=600)
    assert seen.acknowledged
    assert watched.see(seconds=20) == ()


def test_snoozed_it_is_told_again_only_when_the_snooze_is_over() -> None:
    watched = Watched()
    (alert,) = watched.see(**FULL, seconds=20)
    watched.engine.snooze(alert.id, watched.now + timedelta(minutes=10))
    assert watched.see(seconds=30) == (), "over and snoozed: it leaves the list"
    (again,) = watched.see(**FULL, seconds=20)
    assert again.quiet
    assert [told.turn for told in watched.told] == ["began", "ended"]
    (awake,) = watched.see(**FULL, seconds=600)
    assert (awake.quiet, awake.snoozed_until) == (False, None)
    assert [told.turn for told in watched.told] == ["began", "ended", "began"]


def test_one_matter_is_one_entry_however_often_it_comes_back() -> None:
    watched = Watched()
    for _ in range(5):
        watched.see(**FULL, seconds=20)
        watched.see(seconds=20)
    assert len(watched.engine.alerts()) == 1


def test_a_restart_tells_nothing_twice() -> None:
    watched = Watched()
    (alert,) = watched.see(**FULL, seconds=20)
    watched.engine.acknowledge(alert.id)
    after = watched.restarted()
    assert after.engine.alerts() == (), "it is listed once it is seen to hold still"
    (again,) = after.see(**FULL, seconds=20)
    assert (again.id, again.began_at, again.acknowledged, again.quiet) == (
        alert.id,
        alert.began_at,
        True,
        True,
    )
    assert after.told == []
    after.see(seconds=20)
    assert [told.turn for told in after.told] == ["ended"]


def test_what_had_ended_and_nobody_acknowledged_is_listed_after_a_restart() -> None:
    watched = Watched()
    watched.see(**FULL, seconds=20)
    (ended,) = watched.see(seconds=20)
    after = watched.restarted()
    (again,) = after.engine.alerts()
    assert (again.id, again.text, again.ended_at, again.quiet) == (
        ended.id,
        ended.text,
        ended.ended_at,
        True,
    )
    assert after.engine.changed
    assert after.see(seconds=20) == (again,)
    assert after.told == []
    after.engine.to_keep = False
    after.engine.acknowledge(again.id)
    assert after.engine.to_keep
    assert after.restarted().engine.alerts() == ()


def test_those_that_began_together_stand_in_the_order_of_their_gpus_also_after_a_restart() -> None:
    watched = Watched()
    full = tuple(reading(index=index, uuid=f"GPU-{index}", **FULL) for index in range(3))
    watched.see(gpus=full, seconds=20)
    watched.see(gpus=tuple(reading(index=index, uuid=f"GPU-{index}") for index in range(3)), seconds=20)
    assert [alert.gpu for alert in watched.engine.alerts()] == [0, 1, 2]
    assert [alert.gpu for alert in watched.restarted().engine.alerts()] == [0, 1, 2]


def test_what_held_at_the_end_and_is_over_after_a_restart_is_listed_as_over() -> None:
    watched = Watched()
    (alert,) = watched.see(**FULL, seconds=20)
    after = watched.restarted()
    (over,) = after.see(seconds=20)
    assert over.id == alert.id
    assert over.ended_at is not None


def test_a_snooze_and_an_end_outlive_a_restart() -> None:
    watched = Watched()
    (alert,) = watched.see(**FULL, seconds=20)
    watched.engine.snooze(alert.id, watched.now + timedelta(hours=1))
    after = watched.restarted().restarted()
    (again,) = after.see(**FULL, seconds=20)
    assert again.quiet
    gone = watched.restarted()
    assert gone.see(seconds=20) == ()
    assert [(told.turn, told.alert.id) for told in gone.told] == [("ended", alert.id)]


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"snoozed": 5, "held": []},
        {"snoozed": [["vram", 0, "yesterday"]], "held": []},
        {"snoozed": [["rm", 0, "2027-01-01"]], "held": []},
        {"snoozed": [], "held": [{"kind": "vram"}]},
        {"snoozed": [], "held": [], "ended": [{"kind": "vram"}]},
    ],
)
def test_a_file_that_is_none_of_ours_is_refused_whole(broken: dict[str, Any]) -> None:
    engine = AlertEngine()
    with pytest.raises((ValueError, TypeError, KeyError)):
        engine.restore(broken, NOON)
    assert engine.kept() == {"snoozed": [], "held": [], "ended": []}


# -- properties -------------------------------------------------------------------------------------------------


def look(percent: float | None, after_s: float) -> Look:
    return Look(
        kind="vram",
        gpu=0,
        over=None if percent is None else percent >= 85,
        clear=None if percent is None else percent < 80,
        title="t",
        subject="s",
        figure=f"{percent} %",
        level=percent or 0.0,
        after_s=after_s,
    )


@given(
    values=st.lists(st.one_of(st.none(), st.floats(70, 95)), max_size=300),
    after_s=st.floats(0, 30),
)
def test_turns_alternate_and_take_their_time(values: list[float | None], after_s: float) -> None:
    engine, turns = AlertEngine(), list[tuple[str, int]]()
    for second, percent in enumerate(values):
        now = NOON + timedelta(seconds=second)
        turns += [
            (told.turn, second) for told in engine.step([look(percent, after_s)], now, second, SILENT_S)
        ]
    assert [turn for turn, _ in turns] == ["began", "ended"] * (len(turns) // 2) + ["began"] * (
        len(turns) % 2
    )
    for (_, before), (_, after) in itertools.pairwise(turns):
        assert after - before >= after_s
    for turn, second in turns:
        since = values[max(0, second - int(after_s)) : second + 1]
        known = [value for value in since if value is not None]
        assert all(value >= 85 if turn == "began" else value < 80 for value in known[-1:])


@given(st.lists(st.floats(80, 95), min_size=1, max_size=300))
def test_around_the_threshold_it_never_flaps(values: list[float]) -> None:
    engine, turns = AlertEngine(), list[str]()
    for second, percent in enumerate(values):
        found = engine.step([look(percent, 0)], NOON + timedelta(seconds=second), second, SILENT_S)
        turns += [told.turn for told in found]
    assert turns in ([], ["began"])
