"""The one thread that writes to the ledger, many operations to a transaction.

Operations queue up while a commit waits for the disk, and the next transaction takes them all, so a hundred
requests in flight cost a few fsyncs. Each runs in a savepoint: one that is refused leaves the others be, and
nobody hears of success before the commit.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from core.errors import LedgerUnavailable, SignalboxError
from core.spend.database import begin_writing, explain, set_durable

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection, Engine

logger = logging.getLogger(__name__)

BATCH_MAX = 256
RETRY_S = 2.0
GIVE_UP_AFTER = 3


@dataclass(slots=True)
class Operation:
    """``run`` may be called again after a rollback.

    ``durable`` waits for the disk. An operation with a ``keep_as`` name is never lost: while it cannot be
    written it stays in memory and its future says ``False``.
    """

    run: Callable[[Connection], Any]
    durable: bool = True
    keep_as: str | None = None
    future: Future[Any] = field(default_factory=Future[Any])


class Writer:
    """Owns the writing connection. ``unsaved`` names the kept operations, oldest first."""

    def __init__(self, engine: Engine, path: Path | None) -> None:
        self._engine = engine
        self._path = path
        self._queue: queue.SimpleQueue[Operation | None] = queue.SimpleQueue()
        self._connection: Connection | None = None
        self._durable: bool | None = None
        self._kept: dict[str, Operation] = {}
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
        if self._kept:
            logger.error(
                "The ledger closes with %d results unsaved: %s", len(self._kept), ", ".join(self._kept)
            )
        self._disconnect()

    def _next_batch(self) -> tuple[list[Operation], bool]:
        batch: list[Operation] = []
        try:
            item = self._queue.get(timeout=RETRY_S if self._kept else None)
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
        """Write them in one transaction; if the database fails it, each on its own."""
        if not operations:
            return
        failure = self._write(operations)
        if failure is None:
            return
        if len(operations) == 1:
            self._fail(operations[0], failure)
            return
        failures_in_a_row = 0
        for operation in operations:
            # One bad entry must not stop the others, but a full disk fails them all: no need to try each.
            if failures_in_a_row < GIVE_UP_AFTER:
                failure = self._write([operation])
            if failure is None:
                failures_in_a_row = 0
            else:
                failures_in_a_row += 1
                self._fail(operation, failure)

    def _write(self, operations: list[Operation]) -> LedgerUnavailable | None:
        """Return why the transaction failed as a whole; ``None`` once every future is resolved."""
        try:
            connection = self._connect(durable=any(operation.durable for operation in operations))
            begin_writing(connection)
            answers = [_run_in_savepoint(connection, operation) for operation in operations]
            connection.commit()
        except Exception as error:  # noqa: BLE001 - whatever fails a commit, the thread lives and its callers hear
            self._undo()
            return explain(error, self._path)
        for operation, (result, error) in zip(operations, answers, strict=True):
            self._resolve(operation, result, error)
        if self._engine.dialect.name != "sqlite":
            # Back to the pool, which tests it before the next use: the server may restart in between.
            connection.close()
            self._connection = None
        return None

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
        if self._connection is not None and self._engine.dialect.name == "sqlite":
            try:
                self._connection.rollback()
            except Exception as error:  # noqa: BLE001 - then a new connection has to do
                logger.warning("The ledger could not roll back: %s", error)
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
                logger.error("A kept ledger entry could not be applied: %s", error)
        elif error is not None:
            operation.future.set_exception(error)
        else:
            operation.future.set_result(result)

    def _fail(self, operation: Operation, failure: LedgerUnavailable) -> None:
        if operation.keep_as is not None:
            if operation.keep_as not in self._kept:
                logger.error("Kept in memory until the ledger can be written again: %s", failure)
            self._kept[operation.keep_as] = operation
            if not operation.future.done():
                operation.future.set_result(False)
        else:
            operation.future.set_exception(failure)


def _run_in_savepoint(connection: Connection, operation: Operation) -> tuple[Any, Exception | None]:
    """Run one operation; a refusal or a bug undoes that one alone. A failure of the database goes up."""
    driver = connection.dialect.loaded_dbapi
    connection.exec_driver_sql("SAVEPOINT operation")
    try:
        result = operation.run(connection)
    except SignalboxError as error:
        answer = (None, error)
    except (driver.IntegrityError, driver.DataError, driver.ProgrammingError) as error:
        answer = (None, LedgerUnavailable(f"The ledger refused an entry: {error}."))
    except driver.Error:
        raise
    except Exception as error:  # noqa: BLE001 - a bug in one operation reaches its own caller, not the thread
        answer = (None, error)
    else:
        connection.exec_driver_sql("RELEASE SAVEPOINT operation")
        return result, None
    connection.exec_driver_sql("ROLLBACK TO SAVEPOINT operation")
    connection.exec_driver_sql("RELEASE SAVEPOINT operation")
    return answer
