"""Who owns a hold: a process, told apart from a later one that got the same number.

A process id alone is reused, so an owner is the host, the id and the moment the process started, as the
system itself reports it. Linux reads ``/proc``, Windows asks the kernel, other systems ask ``ps``.
"""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """``started`` is opaque: only equality within one host means something."""

    host: str
    pid: int
    started: str


@functools.lru_cache(maxsize=4)
def _current(pid: int) -> ProcessIdentity:
    return ProcessIdentity(_host(), pid, _started(pid) or "")


def current_process() -> ProcessIdentity:
    return _current(os.getpid())


def is_alive(owner: ProcessIdentity) -> bool | None:
    """Say whether that process still runs; ``None`` when it cannot be known from here (another host)."""
    here = current_process()
    if owner == here:
        return True
    if owner.host != here.host or not owner.started:
        return None
    started = _started(owner.pid)
    return started == owner.started


def _host() -> str:
    """Name the machine, and on Linux the process namespace: a container's ids mean nothing outside it."""
    host = platform.node()
    if sys.platform == "linux":
        try:
            host += "/" + os.readlink("/proc/self/ns/pid")
        except OSError:
            return host
    return host


def _started(pid: int) -> str | None:
    """Return when ``pid`` started, in the system's own words, ``None`` if there is no such process."""
    if sys.platform == "linux":
        return _started_linux(pid)
    if sys.platform == "win32":  # pragma: no cover - its kernel is asked, which no other system has
        return _started_windows(pid)
    return _started_ps(pid)


def _started_linux(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    # The command name in parentheses may hold spaces; field 22 of proc(5) is the 20th after it.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):  # killed and not yet reaped: it runs no more
        return None
    return f"{boot}:{fields[19]}"


def _started_windows(pid: int) -> str | None:  # pragma: no cover - needs the kernel of Windows
    if sys.platform != "win32":
        return None
    import ctypes
    from ctypes import wintypes

    query_limited_information = 0x1000
    still_active = 259
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.OpenProcess.restype = wintypes.HANDLE
    handle = kernel.OpenProcess(query_limited_information, False, pid)
    if not handle:
        return None
    try:
        code = wintypes.DWORD()
        if (
            kernel.GetExitCodeProcess(wintypes.HANDLE(handle), ctypes.byref(code))
            and code.value != still_active
        ):
            return None
        times = [wintypes.FILETIME() for _ in range(4)]
        if not kernel.GetProcessTimes(wintypes.HANDLE(handle), *(ctypes.byref(time) for time in times)):
            return None
        return str((times[0].dwHighDateTime << 32) | times[0].dwLowDateTime)
    finally:
        kernel.CloseHandle(wintypes.HANDLE(handle))


def _started_ps(pid: int) -> str | None:
    from core.base.child_process import child_environment, program

    done = subprocess.run(
        [program("ps") or "/bin/ps", "-o", "lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        env=child_environment(extra={"LC_ALL": "C", "TZ": "UTC"}),  # every process has to hear the same words
    )
    return done.stdout.strip() or None
