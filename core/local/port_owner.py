"""Which program of this machine listens on a port, where the system tells."""

from __future__ import annotations

import os
import socket
from pathlib import Path

_LISTENING = "0A"


def is_taken(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server can't be bound to ``port`` now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        if os.name != "nt":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            return False  # a low port: Docker may, we may not
        except OSError:
            return True
    return False


def owner_of(port: int, proc: Path = Path("/proc")) -> str:
    """Return ``python3 (process 4242)`` for the program that listens on ``port``; empty where nobody tells.

    Only Linux tells, and of other users' programs only to root.
    """
    inodes = _listening_inodes(port, proc)
    if not inodes:
        return ""
    try:
        processes = [entry for entry in proc.iterdir() if entry.name.isdigit()]
    except OSError:
        return ""
    for process in processes:
        try:
            if any(os.readlink(link) in inodes for link in (process / "fd").iterdir()):
                name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
                return f"{name} (process {process.name})"
        except OSError:
            continue  # it ended, or it is somebody else's
    return ""


def _listening_inodes(port: int, proc: Path) -> set[str]:
    found: set[str] = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text(encoding="ascii", errors="replace").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 9 and fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found
