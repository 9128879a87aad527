"""Writes conversations behind the page's back, in order, and never forgets what could not be written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from PySide6.QtCore import QObject, QTimer, Signal

from gui.chat.storage.file import StoreTrouble
from gui.chat.storage.store import FILE_NAME, ConversationStore, open_or_memory
from gui.shell.tasks import Tasks

if TYPE_CHECKING:
    from gui.shell.bridge import Bridge

P = ParamSpec("P")
T = TypeVar("T")
Key = tuple[str, str]

RETRY_MS = 10_000


class WriteBehindStore(QObject):
    """The page's door to the store.

    Signals:
        trouble_changed: a ``StoreTrouble`` while something waits to be written, ``None`` when all is well.
        all_written: nothing waits to be written any more.
    """

    trouble_changed = Signal(object)
    all_written = Signal()

    def __init__(self, bridge: Bridge, home: Path, tasks: Tasks, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._bridge = bridge
        self._path = home / FILE_NAME
        self._tasks = tasks
        self._store: ConversationStore | None = None
        self._waiting: dict[Key, Callable[[ConversationStore], object]] = {}
        self._writing: asyncio.Task[Any] | None = None
        self.trouble: StoreTrouble | None = None
        self._retry = QTimer(self)
        self._retry.setSingleShot(True)
        self._retry.setInterval(RETRY_MS)
        self._retry.timeout.connect(self.retry)

    async def open(self) -> ConversationStore:
        """Open the file (or, when that fails, keep this run in memory and say so)."""
        store, problem = await self._bridge.run_blocking(open_or_memory, self._path)
        self._store = store
        if problem is not None:
            self._set_trouble(problem)
        self._begin()
        return store

    @property
    def is_open(self) -> bool:
        return self._store is not None

    @property
    def unreadable_rows(self) -> int:
        """How many rows of the file were left out so far because they can't be read."""
        return 0 if self._store is None else self._store.unreadable_rows

    async def read(
        self, method: Callable[Concatenate[ConversationStore, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a method of the store in a worker.

        Raises:
            StoreTrouble: it could not be read.
        """
        assert self._store is not None, "open() first"
        return await self._bridge.run_blocking(method, self._store, *args, **kwargs)

    def put(self, key: Key, write: Callable[[ConversationStore], object]) -> None:
        """Write soon. A newer write of the same ``key`` takes the place of one that still waits."""
        self._waiting[key] = write
        self._begin()

    def forget(self, key: Key) -> None:
        """Drop a write that still waits."""
        self._waiting.pop(key, None)

    def has_waiting(self, conversation_id: str) -> bool:
        """Whether something of a conversation is not written yet (its messages are not told apart)."""
        return any(kind != "conversation" or key == conversation_id for kind, key in self._waiting)

    @property
    def can_retry(self) -> bool:
        """False when this run is kept in memory only: there is nothing to try again."""
        return self._store is None or not self._store.in_memory

    def retry(self) -> None:
        """Try again what could not be written."""
        self._begin()

    async def flush(self) -> None:
        """Return when everything is written, or has failed once more."""
        self._begin()
        while (writing := self._writing) is not None:
            await asyncio.wait({writing})
            await asyncio.sleep(0)  # until its end was heard, and what came at the last moment is begun

    async def close(self) -> None:
        await self.flush()
        self._retry.stop()
        store, self._store = self._store, None
        if store is not None:
            await self._bridge.run_blocking(store.close)

    def _begin(self) -> None:
        if self._store is None or not self._waiting or self._writing is not None:
            return
        self._writing = self._tasks.start(self._write_all(self._store))
        self._writing.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._writing = None
        if not task.cancelled() and task.exception() is None and task.result():
            self._begin()  # what was put after the last write, and before its end was heard
        if not self._waiting:
            self.all_written.emit()

    async def _write_all(self, store: ConversationStore) -> bool:
        """Write what waits, oldest first; returns whether all of it went well. Stops at a failure."""
        while self._waiting:
            key, write = next(iter(self._waiting.items()))
            try:
                await self._run(write, store)
            except StoreTrouble as problem:
                self._set_trouble(problem)
                self._retry.start()
                return False
            if self._waiting.get(key) is write:
                del self._waiting[key]
        if self.trouble is not None and self.can_retry:
            self._set_trouble(None)
        return True

    def _run(
        self, write: Callable[[ConversationStore], object], store: ConversationStore
    ) -> Awaitable[object]:
        return self._bridge.run_blocking(write, store)

    def _set_trouble(self, problem: StoreTrouble | None) -> None:
        self.trouble = problem
        self.trouble_changed.emit(problem)
