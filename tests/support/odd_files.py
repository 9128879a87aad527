"""What stands where a file should be: FIFOs, sockets, folders, devices; and files that are not only the user's."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

ODD_FILES = ("fifo", "socket", "folder", "device")
STRANGER_UID = 54_321


def make_odd(path: Path, kind: str) -> Path:
    """Put something of ``kind`` at ``path``; the device is reached through a link, as it takes root to make one."""
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "socket":
            here = os.open(".", os.O_RDONLY)
            os.chdir(path.parent)  # a socket's path may not be long
            try:
                with socket.socket(socket.AF_UNIX) as listener:
                    listener.bind(path.name)
            finally:
                os.chdir(here)
                os.close(here)
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to("/dev/zero")
    return path


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``path`` belong to another user than the one that the program believes to run as."""
    if os.geteuid() == 0:
        os.chown(path, STRANGER_UID, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: STRANGER_UID)
