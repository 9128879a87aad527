"""The audit log's head, noted outside the database: entries that are cut off from its end are missed.

Inside the database nothing tells a chain whose end was cut off, with its kept head, from one that was never longer.
The note is a small file beside the ledger's file, or in the home folder for one on a server. The writer moves it on
after a commit that waited for the disk, at most once a second, and when it closes: so what a power cut may take was
never noted, and what a killed process wrote in its last second may not be either.

A ledger whose chain does not lead through the note is not the one that was written last: an older copy, another
file, or one that was cut. Nothing moves the note then, until a person accepts what is there (``signalbox audit
accept-head``). Whoever may write both the ledger and the note can hide it: ``signalbox audit head`` is for that.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.base.files import write_whole

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = logging.getLogger(__name__)

ENDING = ".head"
NOTE_EVERY_S = 1.0
_MOST_BYTES = 200
_HASH_DIGITS = 64


@dataclass(frozen=True, slots=True)
class NotedHead:
    """The last entry that was noted: its number and its hash."""

    seq: int
    hash: str


class UnreadableNote(Exception):
    """The note is there and is none: somebody else wrote it, or it can't be read."""


def note_path(ledger_file: Path | None, url: str | None, home: Path) -> Path:
    """Return where the head of a ledger is noted. A server's is named by its address, without its password."""
    if ledger_file is not None:
        return ledger_file.with_name(ledger_file.name + ENDING)
    address = (url or "").rpartition("@")[2].rpartition("://")[2]
    return home / f"ledger-{hashlib.sha256(address.encode()).hexdigest()[:12]}{ENDING}"


class HeadNote:
    """The note at ``path``. ``due`` and ``write`` are for the writer's thread.

    ``problem`` says, in words for a person, why the ledger is not the one that was noted; ``None``: it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self._waiting: NotedHead | None = None
        self._noted: NotedHead | None = None
        self._at = 0.0

    def read(self) -> NotedHead | None:
        """Return what is noted, ``None`` where nothing is.

        Raises:
            UnreadableNote: something else is there.
        """
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
        try:
            descriptor = os.open(self.path, flags)
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise UnreadableNote
                words = os.read(descriptor, _MOST_BYTES).decode("ascii").split()
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise UnreadableNote from error
        if len(words) != 2 or not words[0].isdecimal() or len(words[1]) != _HASH_DIGITS:
            raise UnreadableNote
        return NotedHead(int(words[0]), words[1])

    def look(self) -> NotedHead | UnreadableNote | None:
        """Return what ``compare`` needs. Look before the database is read: the note may move on meanwhile."""
        try:
            return self.read()
        except UnreadableNote as error:
            return error

    def compare(self, connection: Connection, noted: NotedHead | UnreadableNote | None) -> str | None:
        """Say what is wrong with the ledger by what was ``noted``, and keep it as ``problem``."""
        self.problem = self._difference(connection, noted)
        return self.problem

    def _difference(self, connection: Connection, noted: NotedHead | UnreadableNote | None) -> str | None:
        from sqlalchemy import select

        from core.ledger.audit import head
        from core.ledger.schema import audit

        if isinstance(noted, UnreadableNote):
            return f"The head of the audit log that was noted in {self.path} can't be read."
        if noted is None:
            return None
        found = connection.execute(select(audit.c.hash).where(audit.c.seq == noted.seq)).scalar()
        if found == noted.hash:
            return None
        if found is not None:
            return (
                f"Entry {noted.seq:,} is not the one that was noted in {self.path}: this is another ledger."
            )
        try:
            kept = head(connection)
        except ValueError:
            kept = None
        last = kept.seq if kept is not None else 0
        missing = (
            f"{noted.seq - last:,} entries at its end are" if last + 1 < noted.seq else "its last entry is"
        )
        return (
            f"By the note in {self.path} the ledger has {noted.seq:,} entries or more, and {missing} missing."
        )

    def moved(self, seq: int, hash_: str) -> None:
        """Take a head that is on the disk; it is written when the time has come."""
        self._waiting = NotedHead(seq, hash_)

    @property
    def due_in_s(self) -> float | None:
        """In how many seconds there is something to write; ``None``: there is nothing."""
        if self._waiting is None or self.problem is not None or self._waiting == self._noted:
            return None
        return max(0.0, self._at + NOTE_EVERY_S - time.monotonic())

    def write_if_due(self, *, now: bool = False) -> None:
        due_in_s, newest = self.due_in_s, self._waiting
        if due_in_s is None or newest is None or (due_in_s > 0 and not now):
            return
        self._at, self._noted = time.monotonic(), newest
        try:
            noted = self.read()
            if noted is None or noted.seq < newest.seq:  # another process may be further
                self.write(newest)
        except (OSError, UnreadableNote) as error:
            log.warning("the audit log's head could not be noted (%s)", type(error).__name__)

    def write(self, head: NotedHead) -> None:
        """Note ``head``, whatever is noted.

        Raises:
            OSError: it can't be written.
        """
        write_whole(self.path, f"{head.seq} {head.hash}\n", durable=False)
