"""One look at this machine's NVIDIA GPUs for the pre-flight checks: names, memory, driver. Blocks; may hang."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuMemory:
    name: str
    total_bytes: int
    used_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverLook:
    """``problem`` says in a sentence why there is nothing to see, empty where there is."""

    gpus: tuple[GpuMemory, ...] = ()
    driver_version: str = ""
    cuda_version: str = ""
    problem: str = ""


def look_at_driver() -> DriverLook:
    """Ask the driver by the vendor's own bindings. Blocks for as long as the driver does."""
    try:
        import pynvml
    except ImportError:
        return DriverLook(problem="NVIDIA's bindings (nvidia-ml-py) are not installed.")
    nvml: Any = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return DriverLook(problem=_words(nvml, error))
    try:
        gpus = tuple(_gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
        cuda = ""
        with contextlib.suppress(nvml.NVMLError):
            number = int(nvml.nvmlSystemGetCudaDriverVersion())
            cuda = f"{number // 1000}.{number % 1000 // 10}"
        version = _text(nvml.nvmlSystemGetDriverVersion())
    except nvml.NVMLError as error:
        return DriverLook(problem=_words(nvml, error))
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()
    problem = "" if gpus else "The driver is there, and finds no GPU."
    return DriverLook(gpus=gpus, driver_version=version, cuda_version=cuda, problem=problem)


def _gpu(nvml: Any, index: int) -> GpuMemory:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
    except nvml.NVMLError:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    name = _text(nvml.nvmlDeviceGetName(handle))
    return GpuMemory(name=name, total_bytes=int(memory.total), used_bytes=int(memory.used))


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _words(nvml: Any, error: Any) -> str:
    match getattr(error, "value", None):
        case nvml.NVML_ERROR_LIBRARY_NOT_FOUND:
            return "There is no NVIDIA driver on this machine."
        case nvml.NVML_ERROR_DRIVER_NOT_LOADED:
            return "The NVIDIA driver is installed and not loaded."
        case nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
            return "The NVIDIA driver was updated, and the old one still runs."
        case nvml.NVML_ERROR_GPU_IS_LOST:
            return "The GPU is lost: it does not answer its driver any more."
        case _:
            return f"The NVIDIA driver says: {error}."
