"""An SQLite file of ours: connecting, its write-ahead log, its format's number, and what an error of it means.

Importing this module does not import ``sqlite3``.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from core.base.files import check_regular
from core.base.permissions import PRIVATE_FILE, check_only_ours, make_private

if TYPE_CHECKING:
    import sqlite3

log = logging.getLogger(__name__)

Fault = Literal["full", "io", "read_only", "locked", "damaged", "other"]
IN_MEMORY = ":memory:"
SIDE_FILES = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a file. It belongs to that file, and would be replayed into another of its name."""

# SQLite's words, PostgreSQL's and the system's.
_SIGNS: tuple[tuple[Fault, tuple[str, ...]], ...] = (
    ("full", ("disk is full", "no space")),
    ("io", ("disk i/o error", "file too large")),
    ("read_only", ("readonly", "read-only", "unable to open", "permission")),
    ("locked", ("locked", "lock timeout", "busy")),
    ("damaged", ("malformed", "not a database", "corrupt")),
)


class OpenFile:
    """Notices that a file was removed or replaced while connections to it are open: what is written then is gone.

    Make it once they are open. The system keeps an open file under any name, or none, so every write would succeed,
    and a reader who comes later finds another file, or one without its log.
    """

    _OPEN = ("", "-wal")

    def __init__(self, path: Path) -> None:
        self._names = [f"{path}{ending}" for ending in self._OPEN]
        self._known = [_identity(name) for name in self._names]

    def changed(self) -> str | None:
        """Return the name that does not mean the open file any more, ``None`` while all do. Costs microseconds."""
        for number, name in enumerate(self._names):
            known, found = self._known[number], _identity(name)
            if known is None:
                self._known[number] = found  # a log that was not there at first
            elif found != known:
                return name
        return None


def _identity(name: str) -> tuple[int, int] | None:
    try:
        status = os.stat(name)
    except OSError:
        return None
    return status.st_dev, status.st_ino


class NewerFormat(Exception):
    """A newer Signalbox wrote the file. It was left as it is."""


class ForeignFile(Exception):
    """The file has tables and no format's number: it is another program's. It was left as it is."""


def connect(path: Path, *, busy_timeout_s: float) -> sqlite3.Connection:
    """Connect to the file, which is made where there is none. ``busy_timeout_s`` is how long a lock is waited for.

    The file and what SQLite puts beside it are the user's alone, whatever the umask says.

    Transactions begin where they are written: the driver's own BEGIN would be deferred, so that two processes
    could both read and then both write. Any thread may use the connection, one at a time.

    Raises:
        NotAFile: a folder, FIFO or device stands there.
        NotOnlyOurs: somebody else may have written it.
        OSError: it can't be made.
    """
    import sqlite3

    if str(path) != IN_MEMORY:
        _make_private(path)

    return sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)


def _make_private(path: Path) -> None:
    """Make the file, or look at it. One that is there is not opened: closing it would drop SQLite's own locks."""
    try:
        status = path.stat()
    except FileNotFoundError:
        with contextlib.suppress(
            FileExistsError
        ):  # another process was faster, or it is a link that leads nowhere
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, PRIVATE_FILE))
        return  # what SQLite puts beside it takes its mode
    check_regular(path, status)
    check_only_ours(path, status)
    make_private(path, status)
    for ending in SIDE_FILES:
        side_file = path.with_name(path.name + ending)
        with contextlib.suppress(FileNotFoundError):
            status = side_file.stat()
            check_regular(side_file, status)
            make_private(side_file, status)


def use_write_ahead_log(file: sqlite3.Connection) -> None:
    """Let readers and the writer not wait for each other. A file that cannot have it now stays as it is: slower."""
    import sqlite3

    if file.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
        return
    try:
        journal = file.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    except sqlite3.OperationalError as error:
        # Another process is in the file this very moment: it, or the next start, will make the switch.
        log.info("An SQLite file keeps its rollback journal for now: %s", error)
        return
    if journal not in ("wal", "memory"):  # a network file system
        log.warning("A file system has no write-ahead log for SQLite; it uses mode %s.", journal)


def bring_up_to_date(
    file: sqlite3.Connection,
    version: int,
    *,
    make: Callable[[sqlite3.Connection], None],
    upgrade: Callable[[sqlite3.Connection, int], None] | None = None,
) -> None:
    """Make a new file's tables, or bring an older format to ``version``, wholly or not at all.

    ``upgrade`` is called with the format that is there. The number is the file's ``user_version``.

    Raises:
        NewerFormat: its format is above ``version``.
        ForeignFile: it is another program's database.
    """
    if _has_version(file, version):
        return
    with transaction(file):
        if _has_version(file, version):
            return  # another process has done it while this one waited
        there = _version_of(file)
        if there == 0:
            if file.execute("SELECT 1 FROM sqlite_master").fetchone() is not None:
                raise ForeignFile
            make(file)
        elif upgrade is not None:
            upgrade(file, there)
        file.execute(f"PRAGMA user_version = {version}")


def _has_version(file: sqlite3.Connection, version: int) -> bool:
    there = _version_of(file)
    if there > version:
        raise NewerFormat
    return there == version


def _version_of(file: sqlite3.Connection) -> int:
    return int(file.execute("PRAGMA user_version").fetchone()[0])


@contextlib.contextmanager
def transaction(file: sqlite3.Connection) -> Generator[None]:
    """All or nothing, and no other writer meanwhile."""
    file.execute("BEGIN IMMEDIATE")
    try:
        yield
        file.execute("COMMIT")
    except BaseException:  # raised again: whatever it was, nothing stays open
        if file.in_transaction:  # a full disk has rolled back already
            file.execute("ROLLBACK")
        raise


def fault_of(reason: str) -> Fault:
    """Say what an error of a database or of its file means, by its words."""
    words = reason.lower()
    for fault, signs in _SIGNS:
        if any(sign in words for sign in signs):
            return fault
    return "other"
