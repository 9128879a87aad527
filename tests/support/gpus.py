"""GPUs that a test makes up."""

from __future__ import annotations

from typing import Any

from core.local.gpu_sample import GpuReading, GpuSurvey


def gpu(index: int = 0, **figures: Any) -> GpuReading:
    given: dict[str, Any] = {"uuid": f"GPU-{index}", "name": "NVIDIA L4", "source": "nvml", **figures}
    return GpuReading(index=index, **given)


def gpu_survey(**figures: Any) -> GpuSurvey:
    """One card with these figures."""
    return GpuSurvey(gpus=(gpu(**figures),), driver_version="580.65.06", cuda_version="13.0")
