"""Reads NVIDIA's GPUs through the vendor's bindings (NVML). It blocks, for minutes with a stuck driver.

What a card refuses to say is ``None`` with its reason. A card that is lost does not take the others with it, and a
driver that was reloaded is begun with anew.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from core.local.gpu_processes import ProcessNames
from core.local.gpu_sample import (
    HARDWARE_HEAT,
    HARDWARE_SLOWDOWN,
    HEAT,
    POWER_BRAKE,
    POWER_LIMIT,
    SYNC_BOOST,
    GpuProcess,
    GpuReading,
    GpuSurvey,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

LOST_AGAIN_S = 10.0
"""While a card is lost, NVML is begun with anew this often: it lists the cards there are when it begins."""

# Error numbers of nvml.h (nvmlReturn_t).
_NOT_SUPPORTED, _NO_PERMISSION, _DRIVER_NOT_LOADED = 3, 4, 9
_LIBRARY_NOT_FOUND, _FUNCTION_NOT_FOUND, _VERSION_MISMATCH = 12, 13, 18
_UNINITIALIZED = 1
_GPU_IS_LOST, _RESET_REQUIRED, _GPU_NOT_FOUND = 15, 16, 28
_LOST = {
    _GPU_IS_LOST: "the driver has lost it",
    _RESET_REQUIRED: "it needs a reset",
    _GPU_NOT_FOUND: "the driver does not find it any more",
}
_NO_DRIVER = {_UNINITIALIZED, _DRIVER_NOT_LOADED, _VERSION_MISMATCH}
_PROBLEMS = {
    _LIBRARY_NOT_FOUND: "No NVIDIA driver is installed on this machine.",
    _DRIVER_NOT_LOADED: "The NVIDIA driver is not loaded.",
    _NO_PERMISSION: "This user may not ask the NVIDIA driver.",
    _VERSION_MISMATCH: "The NVIDIA driver was updated and its old part still runs: restart the computer.",
}
_WHY = {
    _NOT_SUPPORTED: "the card does not report it",
    _FUNCTION_NOT_FOUND: "the driver is too old to report it",
    _NO_PERMISSION: "only an administrator may ask for it",
}
THROTTLE_REASONS = (  # nvml.h, nvmlClocksEventReasons*; idle and clocks that somebody set are left out
    (0x04, POWER_LIMIT),
    (0x08, HARDWARE_SLOWDOWN),
    (0x10, SYNC_BOOST),
    (0x20, HEAT),
    (0x40, HARDWARE_HEAT),
    (0x80, POWER_BRAKE),
)
_ABSENT = {2**32 - 1, 2**64 - 1}
"""What the driver writes where there is no value (NVML_VALUE_NOT_AVAILABLE)."""


def throttle_words(reasons: int) -> tuple[str, ...]:
    """Return in words why the clocks are held down, of NVML's bits."""
    return tuple(word for bit, word in THROTTLE_REASONS if reasons & bit)


class _CardLost(Exception):
    pass


class NvmlReader:
    """One thread uses it. ``names`` tells the processes' names and which of them is the local server's."""

    def __init__(
        self, names: ProcessNames | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._names = names or ProcessNames()
        self._clock = clock
        self._nvml: Any = None
        self._began_at = 0.0
        self._said = ""
        self._driver: str | None = None
        self._cuda: str | None = None
        self._known: dict[str, GpuReading] = {}
        """Each card that was ever there, by its UUID; its place stays its own, also when others are lost."""
        self._at: dict[int, str] = {}
        self._slowdown_c: dict[str, float] = {}

    def read(self) -> GpuSurvey:
        """Return all cards, or why none can be asked."""
        try:
            import pynvml
        except ImportError as error:
            return self._unknown(f"NVIDIA's bindings are missing: {error}.")
        try:
            gpus = self._cards(pynvml)
        except pynvml.NVMLError as error:
            code = _code(error)
            return self._unknown(_PROBLEMS.get(code, f"The NVIDIA driver says: {error}."))
        finally:
            self._names.forget_others()
        for known in self._known.values():
            gpus.setdefault(known.index, _lost(known, _LOST[_GPU_NOT_FOUND], gone=True))
        if any(gpu.lost for gpu in gpus.values()) and self._clock() - self._began_at >= LOST_AGAIN_S:
            self._end(pynvml)
        self._said = ""
        return GpuSurvey(
            gpus=tuple(gpus[index] for index in sorted(gpus)),
            problem="" if gpus else "The NVIDIA driver finds no GPU.",
            driver_version=self._driver,
            cuda_version=self._cuda,
        )

    def rest(self) -> None:
        """Leave the driver alone until the next ``read``: a card that is held open does not sleep."""
        if self._nvml is not None:
            self._end(self._nvml)

    def _cards(self, nvml: Any) -> dict[int, GpuReading]:
        """Return each card by its place. A driver that was reloaded since is begun with anew at once."""
        had_begun = self._nvml is not None
        try:
            self._begin(nvml)
            count: int = nvml.nvmlDeviceGetCount()
            return {gpu.index: gpu for gpu in (self._card(at) for at in range(count))}
        except nvml.NVMLError as error:
            self._end(nvml)
            if had_begun and _code(error) in _NO_DRIVER:
                return self._cards(nvml)
            raise

    def _begin(self, nvml: Any) -> None:
        if self._nvml is not None:
            return
        nvml.nvmlInit()
        self._nvml, self._began_at = nvml, self._clock()
        self._at.clear()
        self._driver = self._cuda = None
        with contextlib.suppress(nvml.NVMLError):
            self._driver = _text(nvml.nvmlSystemGetDriverVersion())
        with contextlib.suppress(nvml.NVMLError):
            version: int = nvml.nvmlSystemGetCudaDriverVersion_v2()
            self._cuda = f"{version // 1000}.{version % 1000 // 10}"

    def _end(self, nvml: Any) -> None:
        """Begin anew next time. NVML counts its beginnings, so without an end the old one would go on."""
        if self._nvml is not None:
            self._nvml = None
            with contextlib.suppress(nvml.NVMLError):
                nvml.nvmlShutdown()

    def _unknown(self, problem: str) -> GpuSurvey:
        if problem != self._said:
            self._said = problem
            log.info("No GPU can be read: %s", problem)
        gpus = sorted((_lost(gpu, problem) for gpu in self._known.values()), key=lambda gpu: gpu.index)
        return GpuSurvey(gpus=tuple(gpus), problem=problem)

    def _card(self, at: int) -> GpuReading:
        nvml = self._nvml
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(at)
            uuid = self._at.get(at)
            if uuid is None:
                uuid = self._at[at] = _text(nvml.nvmlDeviceGetUUID(handle))
            known = self._known.get(uuid)
            if known is None:
                taken = {gpu.index for gpu in self._known.values()}
                known = self._known[uuid] = GpuReading(
                    index=at if at not in taken else max(taken) + 1,
                    uuid=uuid,
                    name=_text(nvml.nvmlDeviceGetName(handle)),
                    source="nvml",
                )
            return _Card(nvml, handle, known, self._names, self._slowdown_c).reading()
        except _CardLost as error:
            return _lost(self._known[self._at[at]], str(error))
        except nvml.NVMLError as error:
            code = _code(error)
            if code in _NO_DRIVER:
                raise
            lost = self._known.get(self._at.get(at, "")) or self._missing_at(at)
            why = _LOST.get(code, f"the driver says: {error}")
            if lost is None:  # it was never heard of before
                lost = GpuReading(index=at, uuid=f"unknown-{at}", name=f"GPU {at}", source="nvml")
            return _lost(lost, why)

    def _missing_at(self, at: int) -> GpuReading | None:
        """The card that stood there when NVML was begun before: lost ones do not tell who they are."""
        there = set(self._at.values())
        return next((gpu for gpu in self._known.values() if gpu.index == at and gpu.uuid not in there), None)


class _Card:
    """One look at one card."""

    def __init__(
        self, nvml: Any, handle: Any, known: GpuReading, names: ProcessNames, slowdown_c: dict[str, float]
    ) -> None:
        self._nvml, self._handle, self._known = nvml, handle, known
        self._names = names
        self._slowdown_c = slowdown_c
        self._why: dict[str, str] = {}
        self._code = 0

    def reading(self) -> GpuReading:
        nvml = self._nvml
        total, reserved, used, free = self._memory()
        unified = total is None and self._code == _NOT_SUPPORTED  # as a GB10 or a Jetson says
        temperature = self._temperature()
        use = self._ask(
            ("utilization_percent", "memory_bandwidth_percent"), nvml.nvmlDeviceGetUtilizationRates
        )
        reasons = self._reasons()
        mig = self._ask(("mig",), nvml.nvmlDeviceGetMigMode)
        return GpuReading(
            index=self._known.index,
            uuid=self._known.uuid,
            name=self._known.name,
            source="nvml",
            vram_total_bytes=total,
            vram_used_bytes=used,
            vram_reserved_bytes=reserved,
            vram_free_bytes=free,
            temperature_c=temperature,
            slowdown_temperature_c=self._slowdown(temperature),
            utilization_percent=None if use is None else float(use.gpu),
            memory_bandwidth_percent=None if use is None else float(use.memory),
            power_w=_watts(self._number("power_w", nvml.nvmlDeviceGetPowerUsage)),
            power_limit_w=_watts(self._number("power_limit_w", nvml.nvmlDeviceGetEnforcedPowerLimit)),
            sm_clock_mhz=self._number("sm_clock_mhz", nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_SM),
            memory_clock_mhz=self._number(
                "memory_clock_mhz", nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_MEM
            ),
            fan_percent=self._number("fan_percent", nvml.nvmlDeviceGetFanSpeed),
            ecc_errors=self._number(
                "ecc_errors",
                nvml.nvmlDeviceGetTotalEccErrors,
                nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
                nvml.NVML_VOLATILE_ECC,
            ),
            throttle_reasons=None if reasons is None else throttle_words(reasons),
            processes=self._processes(),
            mig=None if mig is None else bool(mig[0]),
            unified_memory=unified,
            why=tuple(self._why.items()),
        )

    def _ask(self, fields: tuple[str, ...], call: Callable[..., Any], *arguments: Any) -> Any:
        """Return the driver's answer; ``None``, with the reason noted, where it refuses."""
        try:
            answer = call(self._handle, *arguments)
        except self._nvml.NVMLError as error:
            self._code = code = _code(error)
            if code in _LOST:
                raise _CardLost(_LOST[code]) from error
            if code in _NO_DRIVER:
                raise
            self._why.update(dict.fromkeys(fields, _WHY.get(code, f"the driver says: {error}")))
            return None
        self._code = 0
        for field in fields:
            self._why.pop(field, None)
        return answer

    def _number(self, field: str, call: Callable[..., Any], *arguments: Any) -> int | None:
        answer = self._ask((field,), call, *arguments)
        if answer is None:
            return None
        if int(answer) in _ABSENT:
            self._why[field] = _WHY[_NOT_SUPPORTED]
            return None
        return int(answer)

    def _memory(self) -> tuple[int | None, int | None, int | None, int | None]:
        nvml = self._nvml
        fields = ("vram_total_bytes", "vram_used_bytes", "vram_free_bytes")
        found = self._ask((*fields, "vram_reserved_bytes"), nvml.nvmlDeviceGetMemoryInfo, nvml.nvmlMemory_v2)
        if found is not None:
            return int(found.total), int(found.reserved), int(found.used), int(found.free)
        found = self._ask(fields, nvml.nvmlDeviceGetMemoryInfo)  # what is reserved is in ``used`` here
        if found is None:
            return None, None, None, None
        return int(found.total), None, int(found.used), int(found.free)

    def _temperature(self) -> float | None:
        nvml = self._nvml
        found = self._number("temperature_c", nvml.nvmlDeviceGetTemperatureV, nvml.NVML_TEMPERATURE_GPU)
        if found is None:
            found = self._number("temperature_c", nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU)
        return None if found is None else float(found)

    def _slowdown(self, temperature_c: float | None) -> float | None:
        """Return the card's threshold, which does not change; newer cards only say how far away it is."""
        nvml, uuid = self._nvml, self._known.uuid
        if uuid in self._slowdown_c:
            return self._slowdown_c[uuid]
        field = "slowdown_temperature_c"
        found = self._number(
            field, nvml.nvmlDeviceGetTemperatureThreshold, nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
        )
        if found is None and temperature_c is not None:
            margin = self._number(field, nvml.nvmlDeviceGetMarginTemperature)
            found = None if margin is None else round(temperature_c) + margin
        if found is not None:
            self._slowdown_c[uuid] = float(found)
        return None if found is None else float(found)

    def _reasons(self) -> int | None:
        nvml, field = self._nvml, "throttle_reasons"
        found = self._number(field, nvml.nvmlDeviceGetCurrentClocksEventReasons)
        if found is None and self._code == _FUNCTION_NOT_FOUND:  # its name before driver 535
            found = self._number(field, nvml.nvmlDeviceGetCurrentClocksThrottleReasons)
        return found

    def _processes(self) -> tuple[GpuProcess, ...] | None:
        nvml = self._nvml
        # Named with their versions, since the bindings refuse an older driver's otherwise.
        computing = self._listed(
            nvml.nvmlDeviceGetComputeRunningProcesses_v3, nvml.nvmlDeviceGetComputeRunningProcesses_v2
        )
        why = self._why.pop("processes", "")
        drawing = self._listed(
            nvml.nvmlDeviceGetGraphicsRunningProcesses_v3, nvml.nvmlDeviceGetGraphicsRunningProcesses_v2
        )
        self._why.pop("processes", None)
        if computing is None and drawing is None:
            self._why["processes"] = why
            return None
        if computing is None:
            self._why["processes"] = f"only those that draw are shown: {why}"
        found: dict[int, int | None] = {}
        for process in (*(computing or ()), *(drawing or ())):
            used = process.usedGpuMemory
            pid = int(process.pid)
            found[pid] = max(found.get(pid) or 0, int(used)) if used is not None else found.get(pid)
        return tuple(
            sorted(
                (self._process(pid, used) for pid, used in found.items()),
                key=lambda process: (-(process.vram_used_bytes or 0), process.pid),
            )
        )

    def _listed(self, newer: Callable[..., Any], older: Callable[..., Any]) -> Any:
        found = self._ask(("processes",), newer)
        return (
            self._ask(("processes",), older) if found is None and self._code == _FUNCTION_NOT_FOUND else found
        )

    def _process(self, pid: int, used: int | None) -> GpuProcess:
        nvml = self._nvml

        def driver_name() -> str:
            try:
                return _text(nvml.nvmlSystemGetProcessName(pid))
            except (nvml.NVMLError, UnicodeDecodeError):
                return ""

        name, is_local_server = self._names.of(pid, driver_name)
        return GpuProcess(pid=pid, name=name, vram_used_bytes=used, is_local_server=is_local_server)


def look_once() -> GpuSurvey:
    """Look once and let the driver go: a laptop's card that is held open would not sleep any more."""
    reader = NvmlReader()
    try:
        return reader.read()
    finally:
        reader.rest()


def _lost(known: GpuReading, why: str, *, gone: bool = False) -> GpuReading:
    return GpuReading(
        index=known.index,
        uuid=known.uuid,
        name=known.name,
        source="nvml",
        lost=True,
        gone=gone,
        why=(("lost", why),),
    )


def _code(error: Any) -> int:
    return int(getattr(error, "value", 0))


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
