"""Cards of AMD and Intel, over a tree made like the kernel's."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from core.local.gpu_nvml import NvmlReader
from core.local.gpu_sample import GpuSurvey
from core.local.gpu_sysfs import SysfsCards
from core.local.local_gpus import LocalGpus
from tests.support.gpus import gpu_survey

RADEON: Mapping[str, str] = {
    "vendor": "0x1002",
    "device": "0x744c",
    "product_name": "Radeon RX 7900 XTX",
    "uevent": "DRIVER=amdgpu\nPCI_CLASS=30000\nPCI_SLOT_NAME=0000:03:00.0",
    "mem_info_vram_total": "25753026560",
    "mem_info_vram_used": "20000000000",
    "gpu_busy_percent": "93",
    "mem_busy_percent": "41",
    "hwmon/hwmon4/name": "amdgpu",
    "hwmon/hwmon4/temp1_input": "67000",
    "hwmon/hwmon4/temp1_crit": "100000",
    "hwmon/hwmon4/power1_average": "287000000",
    "hwmon/hwmon4/power1_cap": "339000000",
    "hwmon/hwmon4/fan1_input": "1650",
    "hwmon/hwmon4/fan1_max": "3300",
    "hwmon/hwmon4/freq1_label": "sclk",
    "hwmon/hwmon4/freq1_input": "2371000000",
    "hwmon/hwmon4/freq2_label": "mclk",
    "hwmon/hwmon4/freq2_input": "1249000000",
}
ARC: Mapping[str, str] = {
    "vendor": "0x8086",
    "device": "0xe20b",
    "uevent": "DRIVER=xe\nPCI_SLOT_NAME=0000:05:00.0",
    "hwmon/hwmon7/temp2_input": "54000",
    "hwmon/hwmon7/energy1_input": "1000000000",
    "hwmon/hwmon7/power1_max": "190000000",
    "tile0/gt0/freq0/act_freq": "2400",
}
BUILT_IN: Mapping[str, str] = {"vendor": "0x8086", "device": "0x9a49", "uevent": "DRIVER=i915"}
APU: Mapping[str, str] = {
    "vendor": "0x1002",
    "device": "0x1900",
    "apu_thermal_cap": "",
    "mem_info_vram_total": "536870912",
    "mem_info_vram_used": "500000000",
    "hwmon/hwmon2/temp1_input": "51000",
}


def put(root: Path, card: str, files: Mapping[str, str]) -> Path:
    device = root / "class" / "drm" / card / "device"
    for name, text in files.items():
        path = device / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    return device


def test_a_radeon(tmp_path: Path) -> None:
    put(tmp_path, "card1", RADEON)
    put(tmp_path, "card1-DP-1", RADEON)  # a connector, and no card
    put(tmp_path, "renderD128", RADEON)
    (gpu,) = SysfsCards(tmp_path).read()
    assert (gpu.index, gpu.uuid, gpu.name, gpu.source) == (
        0,
        "0000:03:00.0",
        "AMD Radeon RX 7900 XTX",
        "sysfs",
    )
    assert (gpu.vram_total_bytes, gpu.vram_used_bytes) == (25753026560, 20000000000)
    assert gpu.vram_free_bytes == 5753026560
    assert (gpu.temperature_c, gpu.slowdown_temperature_c) == (67, 100)
    assert (gpu.utilization_percent, gpu.memory_bandwidth_percent, gpu.fan_percent) == (93, 41, 50)
    assert (gpu.power_w, gpu.power_limit_w) == (pytest.approx(287), pytest.approx(339))
    assert (gpu.sm_clock_mhz, gpu.memory_clock_mhz) == (2371, 1249)
    assert {name for name, _ in gpu.why} == {"ecc_errors", "throttle_reasons", "processes"}


def test_an_arc_tells_energy_and_so_its_power_between_two_looks(tmp_path: Path) -> None:
    now = [100.0]
    device = put(tmp_path, "card0", ARC)
    cards = SysfsCards(tmp_path, clock=lambda: now[0])
    (first,) = cards.read()
    assert (first.name, first.temperature_c, first.power_w) == ("Intel GPU 0xe20b", 54, None)
    assert (first.power_limit_w, first.sm_clock_mhz) == (pytest.approx(190), 2400)
    assert (first.vram_used_bytes, dict(first.why)["vram_used_bytes"]) == (
        None,
        "the driver does not report it",
    )
    now[0] += 2
    (device / "hwmon/hwmon7/energy1_input").write_text("1300000000")
    assert cards.read()[0].power_w == pytest.approx(150)
    now[0] += 2
    (device / "hwmon/hwmon7/energy1_input").write_text("5000000")
    assert cards.read()[0].power_w is None, "its counter began anew"


def test_graphics_of_the_processor(tmp_path: Path) -> None:
    put(tmp_path, "card0", BUILT_IN)
    put(tmp_path, "card1", APU)
    (gpu,) = SysfsCards(tmp_path).read()
    assert gpu.unified_memory
    assert (gpu.vram_total_bytes, gpu.vram_used_bytes) == (None, None)
    assert dict(gpu.why)["vram_used_bytes"] == "it uses the computer's memory"
    silent = ("slowdown_temperature_c", "utilization_percent", "power_w", "power_limit_w", "fan_percent")
    clocks = ("sm_clock_mhz", "memory_clock_mhz", "memory_bandwidth_percent")
    assert {name: getattr(gpu, name) for name in (*silent, *clocks)} == dict.fromkeys((*silent, *clocks))
    put(tmp_path, "card1", {"mem_info_vram_total": str(96 * 2**30), "mem_info_vram_used": str(2**30)})
    (gpu,) = SysfsCards(tmp_path).read()
    assert (gpu.unified_memory, gpu.vram_total_bytes) == (True, 96 * 2**30)


@pytest.mark.parametrize("odd", ["", "-5", "nan", "1e9", "9" * 30, "½", "12 13"])
def test_what_is_no_number_is_unknown(tmp_path: Path, odd: str) -> None:
    put(tmp_path, "card0", {**RADEON, "gpu_busy_percent": odd, "hwmon/hwmon4/temp1_input": odd})
    (gpu,) = SysfsCards(tmp_path).read()
    assert (gpu.utilization_percent, gpu.temperature_c) == (None, None)
    assert {"utilization_percent", "temperature_c"} <= dict(gpu.why).keys()


def test_another_makers_card_and_no_tree(tmp_path: Path) -> None:
    assert SysfsCards(tmp_path / "none").read() == ()
    put(tmp_path, "card0", {**RADEON, "vendor": "0x10de"})  # NVIDIA's are NVML's to read
    assert SysfsCards(tmp_path).read() == ()


@pytest.mark.parametrize("nvidia", [GpuSurvey(problem="No NVIDIA driver is installed."), gpu_survey()])
def test_cards_of_several_makers_are_numbered_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nvidia: GpuSurvey
) -> None:
    def read(self: NvmlReader) -> GpuSurvey:
        return nvidia

    monkeypatch.setattr(NvmlReader, "read", read)
    put(tmp_path, "card0", RADEON)
    put(tmp_path, "card10", {**RADEON, "uevent": "PCI_SLOT_NAME=0000:11:00.0"})
    put(tmp_path, "card2", {**RADEON, "uevent": "PCI_SLOT_NAME=0000:07:00.0"})
    survey = LocalGpus(root=tmp_path).look()
    first = len(nvidia.gpus)
    assert [(gpu.index, gpu.uuid) for gpu in survey.gpus[first:]] == [
        (first, "0000:03:00.0"),
        (first + 1, "0000:07:00.0"),
        (first + 2, "0000:11:00.0"),
    ]
    assert survey.problem == "", "a card that can be read is no problem, whoever made it"


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in library is a Linux one")
def test_a_file_that_the_card_refuses_is_unknown(tmp_path: Path) -> None:
    device = put(tmp_path, "card0", RADEON)
    (device / "gpu_busy_percent").unlink()
    (device / "gpu_busy_percent").mkdir()  # reading it fails, as with a card that sleeps
    (gpu,) = SysfsCards(tmp_path).read()
    assert gpu.utilization_percent is None
    assert gpu.temperature_c == 67
