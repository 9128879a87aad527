"""Every sensor and every fault of NVIDIA's cards: the real bindings over a stand-in library."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import nvml

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the stand-in library is a Linux one"),
    pytest.mark.skipif(nvml.compiler() is None, reason="no C compiler builds the stand-in"),
]

READ = """
import dataclasses, json, os, sys
from core.local.gpu_nvml import NvmlReader
from core.local.gpu_processes import ProcessNames
from core.local.server import ServerState
now = [0.0]
state = ServerState(phase="ready", kind={kind!r}, pid={pid!r})
reader = NvmlReader(ProcessNames(lambda: state, clock=lambda: now[0]), clock=lambda: now[0])
answers = []
for values in json.loads({steps!r}):
    with open(os.environ["NVML_STUB_FILE"], "w") as file:
        file.write(values)
    answers.append(dataclasses.asdict(reader.read()))
    now[0] += 11
sys.stdout.write(json.dumps(answers))
"""

MIB = 2**20


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nvml.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def looks(library: Path, tmp_path: Path) -> Any:
    """What one reader sees as the library's values change; 11 s are between two looks."""

    def read(*steps: str, kind: str = "compose", pid: int | None = None) -> list[dict[str, Any]]:
        code = READ.format(steps=json.dumps(steps), kind=kind, pid=pid)
        return json.loads(nvml.run(library, tmp_path / "values", code))

    return read


def only(survey: dict[str, Any]) -> dict[str, Any]:
    (gpu,) = survey["gpus"]
    return gpu


@pytest.mark.parametrize("values", ["count 1\n", "count 1\ngpu0.err 15\n"])
def test_one_look_holds_no_card_open(library: Path, tmp_path: Path, values: str) -> None:
    (tmp_path / "values").write_text(values)
    code = """
import pynvml
from core.local.gpu_nvml import look_once
assert len(look_once().gpus) == 1
try:
    pynvml.nvmlDeviceGetCount()
except pynvml.NVMLError_Uninitialized:
    print("let go")
"""
    assert nvml.run(library, tmp_path / "values", code) == "let go\n"


def test_every_sensor(looks: Any) -> None:
    (survey,) = looks(
        "count 1\ndriver 575.10\ncuda 12090\ngpu0.name NVIDIA RTX 4090 Laptop GPU\ngpu0.uuid GPU-abc\n"
        "gpu0.total_mib 16384\ngpu0.used_mib 8000\ngpu0.reserved_mib 384\ngpu0.temp 71\ngpu0.slowdown 97\n"
        "gpu0.util 88\ngpu0.mem_util 55\ngpu0.power_mw 149500\ngpu0.power_limit_mw 150000\ngpu0.sm_mhz 1800\n"
        "gpu0.mem_mhz 9001\ngpu0.fan 40\ngpu0.ecc 2\ngpu0.throttle 0x25\ngpu0.mig 1\n"
        "gpu0.pid0 1000001\ngpu0.pid0_mib 7000\ngpu0.pid1 1000002\ngpu0.gpid0 1000003\ngpu0.gpid0_mib 12\n"
        "name.1000001 VLLM::EngineCore\nname.1000002 /usr/bin/python3\nname.1000003 /usr/lib/xorg/Xorg\n"
    )
    assert (survey["problem"], survey["driver_version"], survey["cuda_version"]) == ("", "575.10", "12.9")
    assert only(survey) == {
        "index": 0,
        "uuid": "GPU-abc",
        "name": "NVIDIA RTX 4090 Laptop GPU",
        "source": "nvml",
        "vram_total_bytes": 16384 * MIB,
        "vram_used_bytes": 8000 * MIB,
        "vram_reserved_bytes": 384 * MIB,
        "vram_free_bytes": 8000 * MIB,
        "temperature_c": 71.0,
        "slowdown_temperature_c": 97.0,
        "utilization_percent": 88.0,
        "memory_bandwidth_percent": 55.0,
        "power_w": 149.5,
        "power_limit_w": 150.0,
        "sm_clock_mhz": 1800,
        "memory_clock_mhz": 9001,
        "fan_percent": 40,
        "ecc_errors": 2,
        "throttle_reasons": ["power limit", "temperature"],  # 0x01 says that it is idle, which is none
        "processes": [
            {
                "pid": 1000001,
                "name": "VLLM::EngineCore",
                "vram_used_bytes": 7000 * MIB,
                "is_local_server": True,
            },
            {"pid": 1000003, "name": "Xorg", "vram_used_bytes": 12 * MIB, "is_local_server": False},
            {"pid": 1000002, "name": "python3", "vram_used_bytes": None, "is_local_server": False},
        ],
        "mig": True,
        "unified_memory": False,
        "lost": False,
        "gone": False,
        "why": [],
    }


SENSORS = [
    ("memory_v2 1\ngpu0.no_memory", "vram_used_bytes"),
    ("temp_v 1\ngpu0.no_temp", "temperature_c"),
    ("slowdown 1\ngpu0.no_margin", "slowdown_temperature_c"),
    ("util", "utilization_percent"),
    ("util", "memory_bandwidth_percent"),
    ("power", "power_w"),
    ("power_limit_mw", "power_limit_w"),
    ("sm_mhz", "sm_clock_mhz"),
    ("mem_mhz", "memory_clock_mhz"),
    ("fan", "fan_percent"),
    ("ecc", "ecc_errors"),
    ("throttle", "throttle_reasons"),
    ("drawing 1\ngpu0.no_processes", "processes"),
    ("mig", "mig"),
]


def test_what_a_card_refuses_is_unknown_with_its_reason_and_never_0(looks: Any) -> None:
    reasons = {
        3: "the card does not report it",
        4: "only an administrator may ask for it",
        13: "the driver is too old",
    }
    steps = [f"count 1\ngpu0.no_{sensor} {code}\n" for sensor, _ in SENSORS for code in reasons]
    surveys = iter(looks(*steps))
    for _, field in SENSORS:
        for code, words in reasons.items():
            gpu = only(next(surveys))
            if field == "slowdown_temperature_c":  # it does not change, and is kept
                continue
            if field == "throttle_reasons" and code == 13:  # an older driver has another name for it
                assert gpu[field] == []
                continue
            assert gpu[field] is None, (field, code)
            assert words in dict(gpu["why"])[field]
            others = {name for _, name in SENSORS} - {name for name, _ in gpu["why"]}
            assert all(gpu[name] is not None for name in others), (field, code)


def test_a_number_that_stands_for_no_value_is_unknown(looks: Any) -> None:
    (survey,) = looks("count 1\ngpu0.power_mw 0xffffffff\ngpu0.fan 0xffffffff\n")
    gpu = only(survey)
    assert (gpu["power_w"], gpu["fan_percent"]) == (None, None)
    assert dict(gpu["why"])["power_w"] == "the card does not report it"


def test_a_card_whose_threshold_is_not_told_has_none_or_that_of_its_margin(looks: Any) -> None:
    refused, near = looks(
        "count 1\ngpu0.no_slowdown 1\ngpu0.no_margin 1\n", "count 1\ngpu0.no_slowdown 1\ngpu0.margin 20\n"
    )
    assert only(refused)["slowdown_temperature_c"] is None
    assert only(near)["slowdown_temperature_c"] == 83.0


def test_an_older_driver_is_asked_in_its_own_way(looks: Any) -> None:
    (survey,) = looks(
        "count 1\ngpu0.no_memory_v2 13\ngpu0.no_temp_v 13\ngpu0.no_throttle 13\ngpu0.throttle 8\n"
    )
    gpu = only(survey)
    assert (gpu["vram_used_bytes"], gpu["vram_reserved_bytes"]) == (20500 * MIB, None)
    assert gpu["temperature_c"] == 63.0
    assert gpu["throttle_reasons"] == ["hardware slow-down"]
    assert [name for name, _ in gpu["why"]] == ["vram_reserved_bytes"]


def test_a_card_without_memory_of_its_own(looks: Any) -> None:
    unified, forbidden = looks(
        "count 1\ngpu0.no_memory_v2 1\ngpu0.no_memory 1\n", "count 1\ngpu0.no_memory_v2 4\ngpu0.no_memory 4\n"
    )
    assert only(unified)["unified_memory"]
    assert only(unified)["vram_total_bytes"] is None
    assert not only(forbidden)["unified_memory"]


def test_nine_gpus_of_which_one_is_lost_in_the_middle_of_a_look(looks: Any) -> None:
    before, lost, back = looks("count 9\n", "count 9\ngpu4.no_power 15\n", "count 9\n")
    assert [gpu["index"] for gpu in before["gpus"]] == list(range(9))
    assert [gpu["lost"] for gpu in lost["gpus"]] == [False] * 4 + [True] + [False] * 4
    assert {field: lost["gpus"][4][field] for _, field in SENSORS} == dict.fromkeys(f for _, f in SENSORS)
    assert dict(lost["gpus"][4]["why"]) == {"lost": "the driver has lost it"}
    assert not any(gpu["lost"] for gpu in back["gpus"])


def test_a_card_that_fell_off_the_bus_keeps_its_place(looks: Any) -> None:
    _, after = looks("count 2\ngpu0.uuid GPU-a\ngpu1.uuid GPU-b\n", "count 1\nreloaded 1\ngpu0.uuid GPU-b\n")
    assert [(gpu["uuid"], gpu["index"], gpu["lost"], gpu["gone"]) for gpu in after["gpus"]] == [
        ("GPU-a", 0, True, True),
        ("GPU-b", 1, False, False),
    ]


def test_a_new_card_does_not_take_the_place_of_one_that_is_gone(looks: Any) -> None:
    _, after = looks("count 1\ngpu0.uuid GPU-a\n", "count 1\nreloaded 1\ngpu0.uuid GPU-c\n")
    assert [(gpu["uuid"], gpu["index"], gpu["lost"]) for gpu in after["gpus"]] == [
        ("GPU-a", 0, True),
        ("GPU-c", 1, False),
    ]


def test_a_driver_that_is_unloaded_and_loaded_again(looks: Any) -> None:
    up, reloaded, unloaded, loaded = looks(
        "count 1\n", "count 1\nreloaded 1\n", "reloaded 2\ninit_err 9\n", "count 1\nreloaded 3\n"
    )
    for survey in (up, reloaded, loaded):
        assert (survey["problem"], only(survey)["lost"], only(survey)["temperature_c"]) == ("", False, 63.0)
    assert unloaded["problem"] == "The NVIDIA driver is not loaded."
    assert only(unloaded)["lost"]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ("init_err 9\n", "The NVIDIA driver is not loaded."),
        ("init_err 18\n", "The NVIDIA driver was updated and its old part still runs: restart the computer."),
        ("init_err 4\n", "This user may not ask the NVIDIA driver."),
        ("count 0\n", "The NVIDIA driver finds no GPU."),
    ],
)
def test_why_there_is_no_gpu(looks: Any, values: str, problem: str) -> None:
    (survey,) = looks(values)
    assert (survey["gpus"], survey["problem"]) == ([], problem)


def test_a_card_that_is_lost_from_the_start_is_shown_and_found_later(looks: Any) -> None:
    lost, found, again, still = looks(
        "count 1\ngpu0.err 15\n", "count 1\n", "count 1\ngpu0.err 15\n", "count 1\ngpu0.err 15\n"
    )
    assert only(lost)["lost"]
    assert (only(found)["lost"], only(found)["uuid"]) == (False, "GPU-0")
    for survey in (again, still):  # NVML is begun anew in between
        assert (only(survey)["lost"], only(survey)["uuid"]) == (True, "GPU-0")


def test_the_embedded_server_is_marked_by_its_own_process(looks: Any) -> None:
    me = "count 1\ngpu0.pid0 {pid}\ngpu0.pid0_mib 5\ngpu0.pid1 1000001\nname.1000001 VLLM::EngineCore\n"
    (survey,) = looks(me.format(pid=os.getpid()), kind="embedded", pid=os.getpid())
    marked = {process["pid"]: process["is_local_server"] for process in only(survey)["processes"]}
    assert marked == {os.getpid(): True, 1000001: False}


def test_the_doctor_names_the_cards(library: Path, tmp_path: Path) -> None:
    def finding(values: str) -> list[str]:
        (tmp_path / "values").write_text(values)
        code = "from core.doctor import checks; f = checks._gpu_now(); print(f.state, f.version, f.detail, sep='|')"
        return nvml.run(library, tmp_path / "values", code).strip().split("|")

    assert finding("count 2\ngpu1.name NVIDIA H100\n") == ["works", "580.65.06", "NVIDIA L4, NVIDIA H100"]
    assert finding("count 1\ngpu0.no_power 15\n") == [
        "broken",
        "580.65.06",
        "NVIDIA L4: the driver has lost it",
    ]
    assert finding("init_err 9\n") == ["missing", "", "The NVIDIA driver is not loaded."]


def test_a_card_that_stays_lost_is_the_card_it_was_also_after_nvml_was_begun_anew(looks: Any) -> None:
    lost = "count 2\ngpu0.err 15\n"
    first, *later = looks("count 2\n", lost, lost, lost)
    for survey in later:
        told = [(gpu["uuid"], gpu["index"], gpu["name"], gpu["lost"]) for gpu in survey["gpus"]]
        assert told == [
            ("GPU-0", 0, first["gpus"][0]["name"], True),
            ("GPU-1", 1, first["gpus"][1]["name"], False),
        ]
