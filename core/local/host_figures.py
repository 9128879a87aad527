"""The computer's own figures: how busy its processor is, and how much of its memory is in use."""

from __future__ import annotations

from core.local.gpu_sample import HostReading


class HostFigures:
    """``read`` gives the share of the processor's time since the ``read`` before; the first one has none."""

    def __init__(self) -> None:
        self._before: tuple[float, float] | None = None

    def read(self) -> HostReading:
        """Return the figures; ``None`` for what the system does not tell. Takes well under a millisecond."""
        import psutil  # not on the way to the first window

        try:
            memory = psutil.virtual_memory()
            used, total = memory.total - memory.available, memory.total
        except (OSError, psutil.Error, ValueError, RuntimeError):
            used = total = None
        return HostReading(cpu_percent=self._cpu_percent(), memory_used_bytes=used, memory_total_bytes=total)

    def _cpu_percent(self) -> float | None:
        import psutil

        try:
            times = psutil.cpu_times()
        except (OSError, psutil.Error, ValueError, RuntimeError):
            return None
        # Linux counts the time of guests as the user's, too; waiting for a disk is idle time.
        all_s = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        idle_s = times.idle + getattr(times, "iowait", 0.0)
        before, self._before = self._before, (all_s, idle_s)
        if before is None or all_s <= before[0]:
            return None
        share = 1 - (idle_s - before[1]) / (all_s - before[0])
        return min(100.0, max(0.0, 100 * share))
