"""Reads of microseconds, made where they are asked for: on the loop's own thread.

A decision asks for a handful of rows that the page cache holds anyway. Handing that to another thread and back
costs several times the read. In a write-ahead log no reader waits for a writer, and this one waits for nobody at
all: where SQLite would have it wait (another process mends or closes the file), it gives up at once, and its caller
asks again on a thread that may wait.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")


class NotNow(Exception):
    """It would have to wait, or the file cannot be read: ask on a thread, which may wait and says why."""


class QuickReader:
    """One read-only connection. ``read`` is for queries that touch a few rows by their keys."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    @staticmethod
    def open(path: Path) -> QuickReader | None:
        """Connect to the file; ``None`` where a reader may have to wait for a writer: without a write-ahead log."""
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA query_only = ON")
            if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
                return QuickReader(connection)
        except sqlite3.Error as error:
            logger.info("The ledger is read on threads only: %s", error)
        if connection is not None:
            connection.close()
        return None

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``query`` in a transaction of its own, so that all it reads is of one moment.

        Raises:
            NotNow: nothing was read.
        """
        if not self._lock.acquire(blocking=False):  # another loop reads just now
            raise NotNow
        try:
            self._connection.execute("BEGIN")
            try:
                return query(self._connection)
            finally:
                self._connection.rollback()
        except sqlite3.Error as error:
            raise NotNow from error
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close before the writer does: the last connection that closes folds the log up, which takes its time."""
        with self._lock:
            self._connection.close()
