"""Reads GPUs of AMD and Intel from sysfs, where their drivers (amdgpu, xe, i915) say how they are.

Sources: the kernel's "GPU Power/Thermal Controls and Monitoring" of amdgpu, and sysfs-driver-intel-xe-hwmon and
sysfs-driver-intel-i915-hwmon of its ABI documentation. Nothing is written.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.base.text import shortened
from core.local.gpu_sample import GpuReading

SYSFS = Path("/sys")

_CARD = re.compile(r"card\d+")
_MAKERS = {"0x1002": "AMD", "0x8086": "Intel"}
_OWN_MEMORY_BYTES = 4 * 2**30
"""A processor's graphics have less than this set aside, unless somebody gave them more for models."""
_MOST_BYTES = 4096


class SysfsCards:
    """``root`` is where sysfs is mounted, ``clock`` counts seconds: Intel's cards tell energy, not power."""

    def __init__(self, root: Path = SYSFS, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._energy: dict[str, tuple[float, float]] = {}

    def read(self) -> tuple[GpuReading, ...]:
        """Return each card that has figures, in the order of their numbers."""
        folder = self._root / "class" / "drm"
        try:
            cards = [path for path in folder.iterdir() if _CARD.fullmatch(path.name)]
        except OSError:
            return ()
        found: list[GpuReading] = []
        for card in sorted(cards, key=lambda path: int(path.name.removeprefix("card"))):
            maker = _MAKERS.get(read_text(card / "device" / "vendor") or "")
            if maker is not None and (reading := self._card(len(found), maker, card)) is not None:
                found.append(reading)
        return tuple(found)

    def _card(self, place: int, maker: str, card: Path) -> GpuReading | None:
        device = card / "device"
        sensors = _Sensors(device)
        total = _first(device / "mem_info_vram_total", card / "lmem_total_bytes")
        if total is None and not sensors.folders:
            return None  # graphics without memory or sensors of their own: no place for a model
        used = _number(device / "mem_info_vram_used")
        available = _number(card / "lmem_avail_bytes")
        if used is None and total is not None and available is not None:
            used = max(0, total - available)
        shares = (device / "apu_thermal_cap").exists()
        why: dict[str, str] = {}
        if shares and (total or 0) < _OWN_MEMORY_BYTES:
            total = used = None
            why = dict.fromkeys(_MEMORY, "it uses the computer's memory")
        uuid = _address(device) or card.name
        figures: dict[str, float | None] = {
            "temperature_c": sensors.value("temp", "input", 1e-3),
            "slowdown_temperature_c": sensors.value("temp", "crit", 1e-3),
            "utilization_percent": _number(device / "gpu_busy_percent"),
            "memory_bandwidth_percent": _number(device / "mem_busy_percent"),
            "power_w": self._power(uuid, sensors),
            "power_limit_w": sensors.value("power", "cap", 1e-6) or sensors.value("power", "max", 1e-6),
            "fan_percent": sensors.fan_percent(),
        }
        sm_mhz, memory_mhz = sensors.clock_mhz("sclk"), sensors.clock_mhz("mclk")
        if sm_mhz is None:
            sm_mhz = _first(
                device / "tile0" / "gt0" / "freq0" / "act_freq", card / "gt" / "gt0" / "rps_act_freq_mhz"
            )
        told: dict[str, float | None] = {
            **figures,
            "vram_total_bytes": total,
            "vram_used_bytes": used,
            "sm_clock_mhz": sm_mhz,
            "memory_clock_mhz": memory_mhz,
            "ecc_errors": None,
            "throttle_reasons": None,
            "processes": None,
        }
        for name, value in told.items():
            if value is None:
                why.setdefault(name, "the driver does not report it")
        return GpuReading(
            index=place,
            uuid=uuid,
            name=_name(device, maker),
            source="sysfs",
            vram_total_bytes=total,
            vram_used_bytes=used,
            vram_free_bytes=None if total is None or used is None else max(0, total - used),
            temperature_c=figures["temperature_c"],
            slowdown_temperature_c=figures["slowdown_temperature_c"],
            utilization_percent=figures["utilization_percent"],
            memory_bandwidth_percent=figures["memory_bandwidth_percent"],
            power_w=figures["power_w"],
            power_limit_w=figures["power_limit_w"],
            sm_clock_mhz=sm_mhz,
            memory_clock_mhz=memory_mhz,
            fan_percent=figures["fan_percent"],
            unified_memory=shares,
            why=tuple(why.items()),
        )

    def _power(self, uuid: str, sensors: _Sensors) -> float | None:
        power_w = sensors.value("power", "average", 1e-6)
        if power_w is None:
            power_w = sensors.value("power", "input", 1e-6)
        if power_w is not None:
            return power_w
        energy_j = sensors.value("energy", "input", 1e-6)
        if energy_j is None:
            return None
        now = self._clock()
        before = self._energy.get(uuid)
        self._energy[uuid] = (now, energy_j)
        if before is None or now <= before[0] or energy_j < before[1]:
            return None
        return (energy_j - before[1]) / (now - before[0])


_MEMORY = ("vram_total_bytes", "vram_used_bytes", "vram_free_bytes")


@dataclass(init=False)
class _Sensors:
    """The card's ``hwmon`` folders; drivers number their sensors from 1 or from 2."""

    folders: tuple[Path, ...]

    def __init__(self, device: Path) -> None:
        try:
            self.folders = tuple(sorted((device / "hwmon").iterdir()))
        except OSError:
            self.folders = ()

    def value(self, sensor: str, fact: str, factor: float) -> float | None:
        for folder in self.folders:
            for number in (1, 2):
                found = _number(folder / f"{sensor}{number}_{fact}")
                if found is not None:
                    return found * factor
        return None

    def clock_mhz(self, label: str) -> int | None:
        for folder in self.folders:
            for number in (1, 2):
                if read_text(folder / f"freq{number}_label") == label:
                    found = _number(folder / f"freq{number}_input")
                    return None if found is None else found // 1_000_000
        return None

    def fan_percent(self) -> float | None:
        """Return the fan's speed as a share of its most; a bare number of turns is no share."""
        turns, most = self.value("fan", "input", 1), self.value("fan", "max", 1)
        if turns is not None and most:
            return min(100.0, 100 * turns / most)
        for folder in self.folders:
            pwm = _number(folder / "pwm1")
            if pwm is not None:
                return min(100.0, 100 * pwm / (_number(folder / "pwm1_max") or 255))
        return None


def _name(device: Path, maker: str) -> str:
    product = read_text(device / "product_name")
    if product:
        return shortened(product if maker in product else f"{maker} {product}", 80)
    model = read_text(device / "device") or ""
    return f"{maker} GPU {model}".strip()


def _address(device: Path) -> str | None:
    """Return the card's place on the bus, which stays the same when cards are numbered anew."""
    for line in (read_text(device / "uevent") or "").splitlines():
        if line.startswith("PCI_SLOT_NAME="):
            return line.partition("=")[2]
    return None


def _first(*paths: Path) -> int | None:
    return next((value for path in paths if (value := _number(path)) is not None), None)


def _number(path: Path) -> int | None:
    text = read_text(path)
    if text is None or not re.fullmatch(r"\d{1,19}", text, re.ASCII):
        return None
    return int(text)


def read_text(path: Path) -> str | None:
    """Return a file's text; ``None`` where it is not there, or the card is asleep or gone and refuses."""
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        return None
