"""Moves an SQLite ledger's write-ahead log into its file, beside the writer and not inside its commits.

SQLite would do it by itself in whichever commit fills a thousand pages, and that commit takes many times as long as
the others: some request waits for it. A PASSIVE checkpoint on a connection of its own blocks nobody. What was
written meanwhile is left over, so the writer then folds up that rest, which is little: a log that is folded up to
its end is written from its beginning again, and the disk is half as long about a file that does not grow.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from pathlib import Path

logger = logging.getLogger(__name__)

EVERY_OPERATIONS = 256
"""About a thousand pages, SQLite's own measure."""


class Checkpointer:
    """``wrote`` is told how many operations were committed; ``rest_is_due`` asks the writer for the rest."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pending = 0
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self.rest_is_due = False

    def wrote(self, operations: int) -> None:
        """Called by the writer after each commit."""
        self._pending += operations
        if self._pending >= EVERY_OPERATIONS:
            self._pending = 0
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="signalbox-ledger-checkpoint", daemon=True
                )
                self._thread.start()
            self._wake.set()

    def close(self) -> None:
        """End the thread. Blocks until done."""
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._wake.clear()
            if not self._closing.is_set():
                self._checkpoint()

    def _checkpoint(self) -> None:
        try:
            with contextlib.closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            # Its answer counts only what was in the log when it began.
            self.rest_is_due = True
        except sqlite3.Error as error:
            # The log keeps what it has; the next commits ask again.
            logger.debug("The ledger's log could not be folded into its file: %s", error)
