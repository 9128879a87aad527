"""The one thread that writes to the ledger, many operations to a transaction.

Operations queue up while a commit waits for the disk, and the next transaction takes them all, so a hundred
requests in flight cost a few fsyncs. An operation that is refused has written nothing (see ``operations.py``), so
it leaves the others be; one that fails in any other way takes the transaction with it, and then each is written on
its own. Nobody hears of success before the commit, and then all who wait hear by one call into their loop.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard

from core.base.sqlite_file import OpenFile
from core.errors import LedgerUnavailable, SignalboxError
from core.ledger.database import (
    begin_writing,
    check_place,
    commit,
    explain,
    rollback,
    set_durable,
)
from core.ledger.head_note import HeadNote
from core.ledger.sql import driver_of

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection, Engine

    from core.ledger.totals import RunningTotals

log = logging.getLogger(__name__)

BATCH_MAX = 256
RETRY_S = 2.0
GIVE_UP_AFTER = 3


@dataclass(slots=True, eq=False)
class Operation:
    """``run`` may be called again, after a rollback or after a commit that nobody heard of: that changes nothing
    that was written already.

    ``durable``, asked in the writer's thread, says whether to wait for the disk. An operation with a ``keep_as``
    name is never lost: while it cannot be written it stays in memory and its future says ``False``. A
    ``rehearsal`` runs alone and is rolled back. ``waiter`` belongs to the loop that waits: it is set once
    ``future`` is done. ``was_tried`` is true when ``run`` is called again.
    """

    run: Callable[[Connection], Any]
    durable: Callable[[], bool] = lambda: True
    keep_as: str | None = None
    rehearsal: bool = False
    was_tried: bool = False
    future: Future[Any] = field(default_factory=Future[Any])
    waiter: asyncio.Future[None] | None = None


class Writer:
    """Owns the writing connection and ``books``. ``unsaved`` names the kept operations, oldest first."""

    def __init__(
        self,
        engine: Engine,
        path: Path | None,
        books: RunningTotals,
        *,
        file: OpenFile | None,
        note: HeadNote,
    ) -> None:
        self._engine = engine
        self._path = path
        self._books = books
        self._file = file
        self._note = note
        self._queue: queue.SimpleQueue[Operation | None] = queue.SimpleQueue()
        self._connection: Connection | None = None
        self._durable: bool | None = None
        self._kept: dict[str, Operation] = {}
        self._answered: list[Operation] = []
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="signalbox-ledger", daemon=True)
        self._thread.start()

    @property
    def unsaved(self) -> tuple[str, ...]:
        return tuple(self._kept.copy())

    def submit(self, operation: Operation) -> Future[Any]:
        """Queue an operation.

        Raises:
            LedgerUnavailable: the ledger is closed.
        """
        with self._lock:
            # What this thread itself still has to undo is written even while it closes.
            if self._closed and threading.current_thread() is not self._thread:
                raise LedgerUnavailable("The ledger is closed.", hint="Start Signalbox again.")
            self._queue.put(operation)
        return operation.future

    def close(self) -> None:
        """Write what is queued or kept, then end the thread. Blocks until done."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        closing = False
        while not closing or not self._queue.empty():
            batch, last = self._next_batch()
            closing = closing or last
            self._write_all([*self._kept.values(), *batch])
            self._wake()
            self._note.write_if_due()
        if self._kept:
            log.error("The ledger closes with %d results unsaved: %s", len(self._kept), ", ".join(self._kept))
        self._note_last()
        self._disconnect()

    def _note_last(self) -> None:
        """Note the head as it is left. What no commit has waited for is brought to the disk first."""
        head = self._books.head
        try:
            if self._connection is not None and head is not None and self._file is not None:
                check_place(self._file)
                driver_of(self._connection).execute("PRAGMA wal_checkpoint(PASSIVE)")
                self._note.moved(*head)
        except Exception as error:  # noqa: BLE001 - the ledger is closed all the same
            log.warning("The ledger's end could not be noted (%s)", type(error).__name__)
        self._note.write_if_due(now=True)

    def _next_batch(self) -> tuple[list[Operation], bool]:
        batch: list[Operation] = []
        try:
            item = self._queue.get(timeout=RETRY_S if self._kept else self._note.due_in_s)
            while item is not None:
                if item.future.set_running_or_notify_cancel():
                    batch.append(item)
                if len(batch) >= BATCH_MAX:
                    return batch, False
                item = self._queue.get_nowait()
        except queue.Empty:
            return batch, False
        return batch, True

    def _write_all(self, operations: list[Operation]) -> None:
        """Write them in one transaction; if one fails it, each on its own."""
        rehearsals = [operation for operation in operations if operation.rehearsal]
        together = [operation for operation in operations if not operation.rehearsal]
        failure = self._write(together) if together else None
        unknown = failure if isinstance(failure, CommitUnknown) else None
        failures_in_a_row = 0
        for operation in together if failure is not None else ():
            # One bad entry must not stop the others, but a full disk fails them all: no need to try each.
            if (len(together) > 1 or unknown is not None) and failures_in_a_row < GIVE_UP_AFTER:
                failure = self._write([operation])
            if failure is None:
                failures_in_a_row = 0
            else:
                failures_in_a_row += 1
                self._fail(operation, unknown if unknown is not None and _is_outage(failure) else failure)
        for operation in rehearsals:
            failure = self._write([operation])
            if failure is not None:
                self._fail(operation, failure)

    def _write(self, operations: list[Operation]) -> Exception | None:
        """Return why the transaction failed as a whole; ``None`` once every future is resolved."""
        rehearsal = operations[0].rehearsal
        answers: list[tuple[Any, SignalboxError | None]] = []
        committing = False
        try:
            check_place(self._file)
            durable = any(operation.durable() for operation in operations)
            connection = self._connect(durable=durable)
            begin_writing(connection)
            self._books.begin(connection)
            answers = [_run(connection, operation) for operation in operations]
            for operation in operations:
                operation.was_tried = True
            if not rehearsal:
                self._books.flush(time.time_ns())
                committing = self._path is None
                commit(connection)
                head = self._books.head
                if head is not None and (durable or self._path is None):
                    self._note.moved(*head)
        except Exception as error:  # noqa: BLE001 - whatever fails a commit, the thread lives and its callers hear
            self._undo()
            failure = self._explain(error)
            if committing and _is_outage(failure):
                # A server may commit and die before it says so.
                return CommitUnknown(failure.message, hint=failure.hint)
            return failure
        if rehearsal:
            self._undo()
        for operation, (result, error) in zip(operations, answers, strict=True):
            self._resolve(operation, result, error)
        if self._path is None:
            # Back to the pool, which tests it before the next use: the server may restart in between.
            connection.close()
            self._connection = None
        return None

    def _explain(self, error: Exception) -> Exception:
        """Say why in plain words. Only what the database itself failed at is worth another try."""
        driver = self._engine.dialect.loaded_dbapi
        cause = getattr(error, "orig", None) or error
        if isinstance(cause, (driver.IntegrityError, driver.DataError, driver.ProgrammingError)):
            said = f": {str(cause).strip().partition(chr(10))[0]}."
            return Refused(f"The ledger refused an entry{said}").quoting(said)
        if isinstance(cause, (driver.Error, OSError)) or _of_sqlalchemy(error):
            return explain(error, self._path)
        return error  # a bug in one operation reaches its own caller

    def _connect(self, *, durable: bool) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
            self._durable = None
        if self._durable is not durable:
            set_durable(self._connection, durable)
            self._durable = durable
        return self._connection

    def _undo(self) -> None:
        """Roll back. A connection to a server may be dead, so it is dropped; one to a file stays open.

        Closing the last connection to a file would fold its log up, and on a full disk nobody could even read
        it again.
        """
        self._durable = None
        self._books.forget()
        if self._connection is not None and self._engine.dialect.name == "sqlite":
            try:
                rollback(self._connection)
            except Exception as error:  # noqa: BLE001 - then a new connection has to do
                log.warning("The ledger could not roll back (%s)", type(error).__name__)
            else:
                return
        self._disconnect()

    def _disconnect(self) -> None:
        """Drop the connection with whatever transaction it had: the next write starts from a clean one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    def _resolve(self, operation: Operation, result: Any, error: Exception | None) -> None:
        if operation.keep_as is not None:
            self._kept.pop(operation.keep_as, None)
        if operation.future.done():
            if error is not None:
                log.error("A kept ledger entry could not be applied: %s", _words(error))
            return
        if error is not None:
            operation.future.set_exception(error)
        else:
            operation.future.set_result(result)
        self._answered.append(operation)

    def _fail(self, operation: Operation, failure: Exception) -> None:
        if operation.keep_as is None or not _is_outage(failure):
            self._resolve(operation, None, failure)
            return
        if operation.keep_as not in self._kept:
            log.error("Kept in memory until the ledger can be written again: %s", _words(failure))
        self._kept[operation.keep_as] = operation
        if not operation.future.done():
            operation.future.set_result(False)
            self._answered.append(operation)

    def _wake(self) -> None:
        """Tell every loop of its answers by one call, not by one an answer."""
        by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        for operation in self._answered:
            if operation.waiter is not None:
                by_loop.setdefault(operation.waiter.get_loop(), []).append(operation.waiter)
        self._answered.clear()
        for loop, waiters in by_loop.items():
            try:
                loop.call_soon_threadsafe(_set_done, waiters)
            except RuntimeError:
                log.debug("%d ledger entries were written after their loop had ended", len(waiters))


def _words(error: BaseException) -> str:
    """What a log may keep of an error: what a driver says in it may quote a row."""
    return error.own_message if isinstance(error, SignalboxError) else type(error).__name__


def _set_done(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)


class Refused(LedgerUnavailable):
    """The database takes everything but this entry: trying again would not help."""


class CommitUnknown(LedgerUnavailable):
    """The server did not say whether it committed, and could not be asked again."""


def _is_outage(failure: Exception) -> TypeGuard[LedgerUnavailable]:
    """Whether the database may take the same entry later."""
    return isinstance(failure, LedgerUnavailable) and not isinstance(failure, Refused)


def _of_sqlalchemy(error: Exception) -> bool:
    from sqlalchemy.exc import SQLAlchemyError

    return isinstance(error, SQLAlchemyError)


def _run(connection: Connection, operation: Operation) -> tuple[Any, SignalboxError | None]:
    """Run one operation. A refusal is its answer; whatever else fails it goes up and fails the transaction."""
    try:
        return operation.run(connection), None
    except SignalboxError as refusal:
        return None, refusal
