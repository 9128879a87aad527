"""All GPUs of this machine, whoever made them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.local.gpu_nvml import NvmlReader
from core.local.gpu_processes import ProcessNames
from core.local.gpu_sample import GpuSurvey
from core.local.gpu_sysfs import SYSFS, SysfsCards

if TYPE_CHECKING:
    from core.local.server import ServerState


class LocalGpus:
    """``look`` blocks, and one thread uses it. ``state`` is the local server's, ``root`` where sysfs is mounted."""

    def __init__(self, state: Callable[[], ServerState | None] = lambda: None, root: Path = SYSFS) -> None:
        self._nvml = NvmlReader(ProcessNames(state))
        self._sysfs = SysfsCards(root)

    def look(self) -> GpuSurvey:
        """Return NVIDIA's cards and after them those of AMD and Intel, or why there is none."""
        survey = self._nvml.read()
        first = 1 + max((gpu.index for gpu in survey.gpus), default=-1)
        others = tuple(replace(card, index=first + place) for place, card in enumerate(self._sysfs.read()))
        if not others:
            return survey
        problem = survey.problem if survey.gpus else ""
        return replace(survey, gpus=survey.gpus + others, problem=problem)
