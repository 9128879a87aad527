"""Small files of ours: written whole or not at all, locked between processes, set aside when they are broken.

Whoever reads one that is being written, and a power cut, sees the old content or the new.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path

_RENAME_TIMEOUT_S = 5.0
_RETRY_S = 0.01


def write_whole(path: Path, text: str, *, mode: int = 0o600, durable: bool = True) -> None:
    """Write ``text`` to a new file in the same folder and rename it over ``path``. Blocks.

    ``mode`` is who may read it. ``durable`` flushes it to the disk first, which takes milliseconds: what a power
    cut may take can do without.

    Raises:
        OSError: it can't be written; what was there is left as it was.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".new")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if mode != 0o600:  # as it was made
            os.chmod(temporary, mode)
        _rename(temporary, path)
    except BaseException:  # raised again: whatever it was, nothing half-written stays
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def set_aside(path: Path, *, name: str = "{name}.broken-{number}", beside: Sequence[str] = ()) -> Path:
    """Rename a broken file to the next free ``….broken-<n>``, so that nothing of it is lost; return where it is.

    ``name`` may use ``{name}``, ``{stem}``, ``{suffix}`` and ``{number}``. ``beside`` are the endings of files that
    belong to it and go with it.

    Raises:
        OSError: it cannot be renamed; it stays where it is.
    """
    names = (
        path.with_name(name.format(name=path.name, stem=path.stem, suffix=path.suffix, number=number))
        for number in itertools.count(1)
    )
    target = next(free for free in names if not free.exists())
    path.rename(target)
    for ending in beside:
        side_file = path.with_name(path.name + ending)
        if side_file.exists():
            side_file.rename(target.with_name(target.name + ending))
    return target


def _rename(source: str, target: Path) -> None:
    # Windows refuses to replace a file that someone has open; readers hold it for microseconds.
    deadline = time.monotonic() + _RENAME_TIMEOUT_S
    while True:
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if sys.platform != "win32" or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)


LOCK_TIMEOUT_S = 5.0


@contextlib.contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold the lock ``path``, which is created and stays. The system frees it when the holder dies.

    Raises:
        TimeoutError: another process (or thread) held it for ``LOCK_TIMEOUT_S`` seconds.
        OSError: the file cannot be made, or this file system has no locks.
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
