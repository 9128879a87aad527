"""Answers kept on the disk by idempotency key, so that another process can give them again instead of paying.

One SQLite file in the home folder, ``answers.sqlite3``, readable by its owner only. It holds answers, and of the
requests nothing but hashes (of the key and of what was asked). It is bounded in number and size; what is older than
``keep_s`` is deleted and overwritten. A key whose first request still runs has a row without an answer, which names
the process that runs it; once that process is dead, the next one takes the key.

It keeps answers, not money: a file that is lost, full or broken makes a repeated request an error (the ledger knows
the key for a day), never a second payment.

An answer is kept whole, and nothing of the prompt. One that this version can't read is never guessed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from core.base import sqlite_file
from core.base.async_tools import finish
from core.base.permissions import make_private_folder
from core.chat import ChatResult
from core.errors import DuplicateRequest
from core.ledger.process_identity import ProcessIdentity, current_process, is_alive
from core.serialization import from_json, to_json

if TYPE_CHECKING:
    import sqlite3


log = logging.getLogger(__name__)
T = TypeVar("T")

FILE_NAME = "answers.sqlite3"
MAX_ENTRIES = 10_000
MAX_BYTES = 64 * 2**20
BUSY_TIMEOUT_S = 2.0
TENDED_EVERY_S = 3600.0
UNKNOWN_OWNER_S = 3600.0
"""A request on another host, whose process can't be looked at, has ended by then: its hold has expired too."""

DEAD_KEPT_S = 24 * 3600.0
"""How long the mark of a request that died is left for the next one with its key; the ledger forgets it then."""

_VERSION = 1
_SCHEMA = (
    """CREATE TABLE answers (
        key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, correlation_id TEXT NOT NULL, at_us INTEGER NOT NULL,
        claim TEXT, owner_host TEXT, owner_pid INTEGER, owner_started TEXT,
        answer TEXT, size_bytes INTEGER NOT NULL DEFAULT 0
    )""",  # claim: who runs it, null once it is answered; at_us: when that was
    "CREATE INDEX answers_by_age ON answers (claim IS NULL, at_us, size_bytes)",
)


class KeepingFailed(Exception):
    """The file can't be used; the text says why, for the log and the status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A key that is this request's to answer. ``after_death_of`` is the request whose process died with the key."""

    key: str
    claim: str
    after_death_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """An answer that is there, ``age_s`` seconds old."""

    result: ChatResult
    age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """Another process runs the first request with this key."""

    correlation_id: str


Found = Lease | StoredAnswer | Elsewhere


def _make(file: sqlite3.Connection) -> None:
    for statement in _SCHEMA:
        file.execute(statement)


class IdempotencyStore:
    """The file of one home folder. ``keep_s`` is asked anew each time, and 0 keeps nothing. ``clock`` is wall time.

    Methods are called from the core's loop; the file is used on threads, one call at a time. It is opened by the
    first call that needs it and not before.
    """

    def __init__(
        self,
        home: Path,
        keep_s: Callable[[], float],
        *,
        clock: Callable[[], float] = time.time,
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.path = home / FILE_NAME
        self._keep_s = keep_s
        self._clock = clock
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._owed: set[str] = set()  # claims that could not be given back yet
        self._tended: tuple[float, float] | None = None
        self.problem: str | None = None

    @property
    def is_on(self) -> bool:
        return self._keep_s() > 0

    # -- asked from the loop --------------------------------------------------------------------------------

    async def claim(self, key: str, fingerprint: str, correlation_id: str) -> Found:
        """Take ``key`` (a hash) for a request, or find its answer, or who has it. Cancelled, it takes nothing.

        Raises:
            DuplicateRequest: a different request has it, or its answer can't be read by this version.
            KeepingFailed: the file can't be used.
        """

        async def give_back(found: Found) -> None:
            if isinstance(found, Lease):
                await self.release(found)

        claiming = self._in_thread(lambda file: self._claim(file, key, fingerprint, correlation_id))
        return await finish(claiming, on_late=give_back)

    async def finish(self, place: Lease, result: ChatResult) -> bool:
        """Keep ``result`` for those who come; say whether it was kept. It is whole even if this is cancelled."""
        try:
            return await finish(self._in_thread(lambda file: self._finish(file, place, result)))
        except KeepingFailed:
            return False

    async def release(self, place: Lease) -> None:
        """Give ``place`` back without an answer, even if this is cancelled. After ``finish`` it changes nothing."""
        self._owed.add(place.claim)
        with contextlib.suppress(KeepingFailed):  # it stays owed, and is known as a problem
            await finish(self._in_thread(lambda _: None))

    async def maintain(self) -> None:
        """Delete what is too old, or everything where nothing is to be kept, and give the room back to the disk."""
        if not self.path.exists():
            return
        with contextlib.suppress(KeepingFailed):
            await finish(self._in_thread(self._maintain))

    async def maintain_if_due(self) -> None:
        """Tend the file the first time, each hour, when less or more is to be kept, and while it owes something."""
        keep_s, last = self._keep_s(), self._tended
        if self._owed or last is None or last[0] != keep_s or time.monotonic() >= last[1] + TENDED_EVERY_S:
            self._tended = keep_s, time.monotonic()
            await self.maintain()

    @property
    def owes(self) -> bool:
        """Whether a place could not be given back yet: ``maintain`` tries again."""
        return bool(self._owed)

    async def close(self) -> None:
        def close() -> None:
            with self._lock:
                if self._connection is not None:
                    self._connection.close()
                    self._connection = None

        if self._owed:
            await self.maintain()
        await asyncio.to_thread(close)

    async def _in_thread(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.to_thread(self._run, work)

    # -- on a thread ----------------------------------------------------------------------------------------

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        import sqlite3

        with self._lock:
            try:
                file = self._usable()
                self._give_back(file)
                done = work(file)
            except (sqlite3.Error, OSError) as error:
                reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
                self._failed(reason)
                raise KeepingFailed(reason) from error
            except KeepingFailed as error:
                self._failed(str(error))
                raise
            self.problem = None
            return done

    def _usable(self) -> sqlite3.Connection:
        """Return the open file. One that was deleted meanwhile is begun anew: nobody else would see the old one."""
        if self._connection is not None:
            if self._inode is not None and self._inode == _inode(self.path):
                return self._connection
            self._connection.close()
            self._connection = None
        self._connection = self._open()
        self._inode = _inode(self.path)
        return self._connection

    def _failed(self, reason: str) -> None:
        if self.problem != reason:
            log.warning("answers can't be kept in %s: %s", FILE_NAME, reason)
        self.problem = reason

    def _open(self) -> sqlite3.Connection:
        import sqlite3

        make_private_folder(self.path.parent)
        file = sqlite_file.connect(self.path, busy_timeout_s=BUSY_TIMEOUT_S)
        try:
            file.row_factory = sqlite3.Row
            file.execute("PRAGMA secure_delete = ON")  # a deleted answer is overwritten
            file.execute("PRAGMA auto_vacuum = INCREMENTAL")  # counts before the first table only
            sqlite_file.use_write_ahead_log(file)
            file.execute("PRAGMA synchronous = NORMAL")  # kill -9 loses nothing; the ledger guards the rest
            file.execute("PRAGMA journal_size_limit = 4194304")
            sqlite_file.bring_up_to_date(file, _VERSION, make=_make)
        except BaseException as error:
            file.close()
            if isinstance(error, sqlite_file.NewerFormat):
                raise KeepingFailed("a newer Signalbox wrote it") from error
            if isinstance(error, sqlite_file.ForeignFile):
                raise KeepingFailed("it is another program's database") from error
            raise
        return file

    def _claim(self, file: sqlite3.Connection, key: str, fingerprint: str, correlation_id: str) -> Found:
        found = self._there(file, key, fingerprint)
        if isinstance(found, StoredAnswer | Elsewhere):
            return found  # whoever waits looks often, and mostly needs no write
        with sqlite_file.transaction(file):
            self._delete_old(file)
            found = self._there(file, key, fingerprint)
            if isinstance(found, StoredAnswer | Elsewhere):
                return found
            place = Lease(key=key, claim=uuid.uuid4().hex, after_death_of=found)
            owner = current_process()
            file.execute(
                "INSERT OR REPLACE INTO answers (key, fingerprint, correlation_id, at_us, claim, owner_host, "
                "owner_pid, owner_started) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    key,
                    fingerprint,
                    correlation_id,
                    self._now_us(),
                    place.claim,
                    owner.host,
                    owner.pid,
                    owner.started,
                ),
            )
        return place

    def _there(
        self, file: sqlite3.Connection, key: str, fingerprint: str
    ) -> StoredAnswer | Elsewhere | str | None:
        """Return what is there under ``key``: an answer, who runs it, which request died with it, or nothing."""
        row = file.execute("SELECT * FROM answers WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        age_s = (self._now_us() - row["at_us"]) / 1e6
        first = row["correlation_id"]
        if row["claim"] is None:
            if age_s >= self._keep_s():
                return None
        elif _is_dead(row, age_s):
            return first
        if row["fingerprint"] != fingerprint:
            raise DuplicateRequest(
                "This idempotency key was used for a different request.",
                hint="Nothing was sent or charged. Use a new key for a new question.",
            )
        if row["claim"] is not None:
            return Elsewhere(correlation_id=first)
        try:
            return StoredAnswer(result=from_json(ChatResult, row["answer"]), age_s=max(0.0, age_s))
        except ValueError as error:
            raise DuplicateRequest(
                f"Request {first} has the same idempotency key, and its answer can't be read by this version.",
                hint="Nothing was sent or charged. Send this one with another key.",
            ) from error

    def _finish(self, file: sqlite3.Connection, place: Lease, result: ChatResult) -> bool:
        text = to_json(result)
        size_bytes = len(text.encode())
        if size_bytes > self._max_bytes or not self.is_on:
            self._owed.add(place.claim)
            self._give_back(file)
            return False
        with sqlite_file.transaction(file):
            kept = file.execute(
                "UPDATE answers SET answer = ?, size_bytes = ?, at_us = ?, claim = NULL, owner_host = NULL, "
                "owner_pid = NULL, owner_started = NULL WHERE claim = ?",
                (text, size_bytes, self._now_us(), place.claim),
            ).rowcount
            self._delete_old(file)
            self._delete_too_many(file)
        return kept == 1

    def _give_back(self, file: sqlite3.Connection) -> None:
        for claim in tuple(self._owed):
            with sqlite_file.transaction(file):
                file.execute("DELETE FROM answers WHERE claim = ?", (claim,))
            self._owed.discard(claim)

    def _maintain(self, file: sqlite3.Connection) -> None:
        before = file.total_changes
        with sqlite_file.transaction(file):
            self._delete_old(file)
            self._delete_dead(file)
            self._delete_too_many(file)
        if file.total_changes != before:
            # As a script, or Python would take one step of it only, which is one page.
            file.executescript("PRAGMA incremental_vacuum;")
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _delete_old(self, file: sqlite3.Connection) -> None:
        oldest_us = self._now_us() - round(self._keep_s() * 1e6)
        file.execute("DELETE FROM answers WHERE claim IS NULL AND at_us <= ?", (oldest_us,))

    def _delete_dead(self, file: sqlite3.Connection) -> None:
        """Delete the marks of requests that died long ago, and those beyond the most that are kept."""
        running = file.execute("SELECT * FROM answers WHERE claim IS NOT NULL ORDER BY at_us DESC").fetchall()
        for place, row in enumerate(running):
            age_s = (self._now_us() - row["at_us"]) / 1e6
            if (age_s >= DEAD_KEPT_S or place >= self._max_entries) and _is_dead(row, age_s):
                file.execute("DELETE FROM answers WHERE claim = ?", (row["claim"],))

    def _delete_too_many(self, file: sqlite3.Connection) -> None:
        count, size_bytes = file.execute(
            "SELECT count(*), coalesce(sum(size_bytes), 0) FROM answers WHERE claim IS NULL"
        ).fetchone()
        while count > self._max_entries or size_bytes > self._max_bytes:
            oldest = file.execute(
                "DELETE FROM answers WHERE key = (SELECT key FROM answers WHERE claim IS NULL ORDER BY at_us "
                "LIMIT 1) RETURNING size_bytes"
            ).fetchall()
            count, size_bytes = count - 1, size_bytes - oldest[0]["size_bytes"]

    def _now_us(self) -> int:
        return round(self._clock() * 1e6)


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _is_dead(row: sqlite3.Row, age_s: float) -> bool:
    alive = is_alive(ProcessIdentity(row["owner_host"], row["owner_pid"], row["owner_started"]))
    return not alive if alive is not None else age_s >= UNKNOWN_OWNER_S
