"""How much memory this machine has, and how much is free: bytes, ``None`` where the system does not say."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def total_bytes() -> int | None:
    """Return the memory there is, or a container's share of it where that is less."""
    if sys.platform == "win32":
        return _windows()[0]
    if sys.platform == "linux":
        limits = [each for each in (_meminfo("MemTotal"), _cgroup("memory.max")) if each is not None]
        return min(limits, default=None)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None


def available_bytes() -> int | None:
    """Return what a program can take without others being swapped out."""
    if sys.platform == "win32":
        return _windows()[1]
    if sys.platform != "linux":
        return None
    free = _meminfo("MemAvailable")
    most, used = _cgroup("memory.max"), _cgroup("memory.current")
    if most is not None and used is not None:
        left = max(0, most - used)
        return left if free is None else min(free, left)
    return free


def _meminfo(name: str) -> int | None:
    try:
        for line in _MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None
    return None


def _cgroup(name: str) -> int | None:
    """Return a figure of this process's container; ``None`` outside one, and for "max"."""
    try:
        return int((_CGROUP / name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _windows() -> tuple[int | None, int | None]:
    if sys.platform != "win32":
        return None, None
    import ctypes

    class MemoryStatus(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            ("total", ctypes.c_ulonglong),
            ("available", ctypes.c_ulonglong),
            ("rest", ctypes.c_ulonglong * 5),
        )

    status = MemoryStatus()
    status.length = ctypes.sizeof(status)
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None, None
    return status.total, status.available
