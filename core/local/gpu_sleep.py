"""Lets a laptop's GPU sleep: it is neither woken for its figures, nor kept awake by being asked for them.

Linux puts a card to sleep (runtime power management) once nobody uses it, and asking its driver is a use.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from core.local.gpu_sample import GpuSurvey
from core.local.gpu_sysfs import read_text

IDLE_S = 30.0
"""After so long without work it is left alone."""
REST_S = 20.0
"""So long it has to fall asleep."""
AGAIN_S = 600.0
"""What stayed awake, for a screen perhaps, is left alone again after this."""
LITTLE_BYTES = 256 * 2**20
"""Less than this is a desktop's, and keeps no card awake."""

_NVIDIA, _DISPLAY = "0x10de", "0x03"


class SleepWatch:
    """``root`` is where sysfs is mounted, ``clock`` counts seconds."""

    def __init__(self, root: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._idle_since: float | None = None
        self._awake_until = float("-inf")

    def may_ask(self, before: GpuSurvey) -> bool:
        """Whether NVIDIA's cards may be asked now, after what was seen of them ``before``."""
        cards = self._cards()
        if cards and all(status == "suspended" for status, _ in cards):
            self._idle_since = None
            return False
        may_sleep = bool(cards) and all(control == "auto" for _, control in cards)
        now = self._clock()
        if not may_sleep or not _is_idle(before) or now < self._awake_until:
            self._idle_since = None
            return True
        if self._idle_since is None:
            self._idle_since = now
        idle_s = now - self._idle_since
        if idle_s >= IDLE_S + REST_S:
            self._idle_since, self._awake_until = None, now + AGAIN_S
            return True
        return idle_s < IDLE_S

    def _cards(self) -> list[tuple[str | None, str | None]]:
        """Return of each of NVIDIA's cards whether it sleeps, and whether it may."""
        try:
            devices = list((self._root / "bus" / "pci" / "devices").iterdir())
        except OSError:
            return []
        return [
            (read_text(device / "power" / "runtime_status"), read_text(device / "power" / "control"))
            for device in devices
            if read_text(device / "vendor") == _NVIDIA
            and (read_text(device / "class") or "").startswith(_DISPLAY)
        ]


def _is_idle(survey: GpuSurvey) -> bool:
    return bool(survey.gpus) and all(
        not gpu.utilization_percent
        and sum(process.vram_used_bytes or 0 for process in gpu.processes or ()) < LITTLE_BYTES
        and not any(process.is_local_server for process in gpu.processes or ())
        for gpu in survey.gpus
    )
