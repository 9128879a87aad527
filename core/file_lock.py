"""A lock between processes, on a file beside the one it guards."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Generator
from pathlib import Path

LOCK_TIMEOUT_S = 5.0
_RETRY_S = 0.01


@contextlib.contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold the lock ``path``, which is created and stays. The system frees it when the holder dies.

    :raises TimeoutError: another process (or thread) held it for ``LOCK_TIMEOUT_S`` seconds.
    :raises OSError: the file cannot be made, or this file system has no locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise TimeoutError(f"another copy of Signalbox holds {path}")
            time.sleep(_RETRY_S)
        yield
    finally:
        os.close(descriptor)


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        # flock belongs to the open file, so it also keeps two threads of one process apart.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
