"""Small files: read within bounds, written whole or not at all, locked between processes, set aside when broken.

Whoever reads one that is being written, and a power cut, sees the old content or the new. A FIFO, a device or a
folder in a file's place is refused at once: nothing here waits for it.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import itertools
import json
import logging
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from core.base.permissions import PRIVATE_FILE, check_only_ours, make_private

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

_Value = TypeVar("_Value")

_RENAME_TIMEOUT_S = 5.0
_RETRY_S = 0.01

# What a system lacks is 0 there.
_WITHOUT_WAITING = (
    getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


# -- reading --------------------------------------------------------------------------------------------


class NotAFile(OSError):
    """A folder, FIFO, device or socket stands where a file should be. ``strerror`` says which."""


class FileTooLarge(OSError):
    """The file holds more than was asked for at most. ``strerror`` says how much that is."""


def check_regular(path: Path, status: os.stat_result) -> None:
    """Refuse what is no plain file; ``status`` is what ``path`` leads to.

    Raises:
        NotAFile: it is something else.
    """
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "no plain file")
        raise NotAFile(errno.EINVAL, f"it is {kind}, not a file", str(path))


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe (FIFO)",
    stat.S_IFLNK: "a link of another user",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular_file(path: Path, *, only_ours: bool = False) -> BinaryIO:
    """Open a plain file to read its bytes, without ever waiting for somebody to write to a FIFO.

    A link is followed: what it leads to is asked. ``only_ours`` refuses what another user may have written.

    Raises:
        FileNotFoundError: nothing is there.
        NotAFile: it is a folder, a FIFO, a device or a socket.
        NotOnlyOurs: ``only_ours``, and another user owns it or may write it.
        OSError: it can't be opened.
    """
    check_regular(path, os.stat(path))  # before it is opened: opening some devices does something
    descriptor = os.open(path, os.O_RDONLY | _WITHOUT_WAITING)
    try:
        status = os.fstat(descriptor)
        check_regular(path, status)
        if only_ours:
            check_only_ours(path, status)
        return os.fdopen(descriptor, "rb")
    except BaseException:  # raised again: whatever it was, the file is closed
        os.close(descriptor)
        raise


def read_regular_file(path: Path, most_bytes: int, *, only_ours: bool = False) -> bytes:
    """Return a plain file's content, which may be ``most_bytes`` long. Never waits for a FIFO.

    Raises:
        FileTooLarge: it is longer.
        OSError: as ``open_regular_file``, or it can't be read.
    """
    with open_regular_file(path, only_ours=only_ours) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise FileTooLarge(errno.EFBIG, f"it is larger than {most_bytes:,} bytes", str(path))
    return content


_BYTE_ORDER_MARKS = (  # UTF-32's little-endian mark begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LOOKED_AT_BYTES = 512


def marked_encoding(start: bytes, *, whole: bool = True) -> tuple[str, int] | None:
    """Return the encoding that a byte order mark names, and the mark's length in bytes.

    ``""`` where there is no mark. ``None``: not ``whole``, and more bytes are needed to tell.
    """
    if not whole and any(mark.startswith(start) and mark != start for mark, _ in _BYTE_ORDER_MARKS):
        return None
    return next(
        ((name, len(mark)) for mark, name in _BYTE_ORDER_MARKS if start.startswith(mark)),
        ("", 0),
    )


def decode_text(content: bytes) -> str:
    """Return the text of a file: UTF-8, or the UTF-16 or UTF-32 that editors and shells of Windows write.

    A byte order mark is left out.

    Raises:
        ValueError: it is no text in any of them, or holds NUL characters.
    """
    found = marked_encoding(content)
    name, skipped = found or ("", 0)
    if not name:
        name = _unmarked_encoding(content)
    text = content[skipped:].decode(name)
    if "\0" in text:
        raise ValueError("it holds NUL characters, so it is no text")
    return text


def _unmarked_encoding(content: bytes) -> str:
    """Tell UTF-16 without a mark by the NUL beside each of its ASCII letters."""
    looked_at = content[:_LOOKED_AT_BYTES]
    pairs = len(looked_at) // 2
    if pairs == 0 or len(content) % 2 or b"\0" not in looked_at:
        return "utf-8"
    first, second = looked_at[0::2].count(0), looked_at[1::2].count(0)
    if first == 0 and second * 2 >= pairs:
        return "utf-16-le"
    return "utf-16-be" if second == 0 and first * 2 >= pairs else "utf-8"


def open_for_appending(path: Path) -> int:
    """Open a log, which is made where there is none, and return its descriptor. A link is never followed.

    Raises:
        NotAFile: a folder, FIFO, device or socket stands there.
        NotOnlyOurs: another user owns it or may write it.
        OSError: it is a link, or can't be opened.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_LINK | _WITHOUT_WAITING
    try:
        descriptor = os.open(path, flags, PRIVATE_FILE)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a FIFO that nobody reads, or a socket
            check_regular(path, os.lstat(path))
        raise
    try:
        status = os.fstat(descriptor)
        check_regular(path, status)
        check_only_ours(path, status)
        make_private(path, status)
    except BaseException:  # raised again: whatever it was, the file is closed
        os.close(descriptor)
        raise
    return descriptor


# -- writing --------------------------------------------------------------------------------------------


def write_whole(path: Path, text: str, *, mode: int = PRIVATE_FILE, durable: bool = True) -> None:
    """Write ``text`` to a new file in the same folder and rename it over ``path``. Blocks.

    ``mode`` is who may read it. ``durable`` flushes it to the disk first, which takes milliseconds: what a power
    cut may take can do without. A link of the user's own stays one: what it leads to is written.

    Raises:
        NotAFile: a folder, FIFO, device or another user's link stands there.
        OSError: it can't be written; what was there is left as it was.
    """
    with writing_whole(path, mode=mode, durable=durable) as file:
        file.write(text.encode("utf-8"))


@contextlib.contextmanager
def writing_whole(path: Path, *, mode: int = PRIVATE_FILE, durable: bool = True) -> Generator[BinaryIO]:
    """As ``write_whole``, for bytes that come piece by piece: give them to the file that the block is handed.

    Raises:
        NotAFile, OSError: as ``write_whole``; an error of the block leaves what was there as it was, too.
    """
    import tempfile  # it draws much with it, and most starts write nothing whole

    path = _own_link_followed(path)
    with contextlib.suppress(FileNotFoundError):
        # As root even /dev/null could be renamed over.
        check_regular(path, os.lstat(path) if path.is_symlink() else os.stat(path))
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".new")
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if mode != PRIVATE_FILE:  # as it was made
            os.chmod(temporary, mode)
        _rename(temporary, path)
    except BaseException:  # raised again: whatever it was, nothing half-written stays
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _own_link_followed(path: Path) -> Path:
    """Return what a link of this user (or root) leads to. Another user's is not followed, and so refused."""
    try:
        link = os.lstat(path)
    except FileNotFoundError:
        return path
    if not stat.S_ISLNK(link.st_mode) or (sys.platform != "win32" and link.st_uid not in (os.geteuid(), 0)):
        return path
    return path.resolve()


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


def read_own_json(path: Path, most_bytes: int, read: Callable[[Any], _Value]) -> _Value | None:
    """Return what ``read`` makes of the JSON in a file of Signalbox's own; ``None`` where there is none.

    ``None`` too where it is broken: longer than ``most_bytes``, no JSON, or not what ``read`` expects. It is set
    aside then, and the log says where. Blocks.

    Raises:
        NotOnlyOurs: another user owns it or may write it.
        OSError: as ``read_regular_file``, or a broken one can't be set aside.
    """
    try:
        content = read_regular_file(path, most_bytes, only_ours=True)
    except FileNotFoundError:
        return None
    except FileTooLarge:
        content = b""
    try:
        return read(json.loads(decode_text(content)))
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError):
        log.warning("%s is broken; it was set aside as %s", path, set_aside(path))
        return None


def set_aside_files(path: Path) -> tuple[Path, ...]:
    """Return the broken contents of ``path`` that ``set_aside`` put beside it and nobody has dealt with yet."""
    numbered = re.compile(re.escape(path.name) + r"\.broken-(\d+)")
    try:
        found = [
            (int(match[1]), name) for name in os.listdir(path.parent) if (match := numbered.fullmatch(name))
        ]
    except OSError:  # no folder yet, or one that can't be read, which is said elsewhere
        return ()
    return tuple(path.with_name(name) for _, name in sorted(found))


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
def locked(path: Path, *, within_s: float | None = None) -> Generator[None]:
    """Hold the lock ``path``, which is created and stays. The system frees it when the holder dies.

    Raises:
        TimeoutError: another process (or thread) held it for ``within_s`` seconds (``LOCK_TIMEOUT_S`` unless told).
        OSError: the file cannot be made or is a link, FIFO or device, or this file system has no locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINK | _WITHOUT_WAITING, PRIVATE_FILE)
    try:
        check_regular(path, os.fstat(descriptor))
        deadline = time.monotonic() + (LOCK_TIMEOUT_S if within_s is None else within_s)
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
