"""Coroutines started from Qt slots: kept alive until they end, and cancelled when their owner goes.

asyncio holds only weak references to tasks, and a bare task's exception is told when the task is
collected, if ever. Here every task is held, and a failure goes to the loop's exception handler at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from PySide6.QtCore import QObject


class Tasks:
    """The running jobs of one widget or page. With an ``owner`` they are cancelled when Qt deletes it."""

    def __init__(self, owner: QObject | None = None) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._by_key: dict[str, asyncio.Task[Any]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        if owner is not None:
            running = self._running
            owner.destroyed.connect(lambda: _cancel_all(running))

    def start(self, job: Coroutine[Any, Any, Any], *, key: str | None = None) -> asyncio.Task[Any]:
        """Run ``job`` on the GUI loop; with a ``key``, cancel the one of that key before it first.

        A timer of Qt's may fire while that loop stands still, as it does before the window's last job is run: what
        it starts waits for the loop.
        """
        if key is not None and (before := self._by_key.get(key)) is not None:
            before.cancel()
        with suppress(RuntimeError):
            self._loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(job, loop=self._loop)
        self._running.add(task)
        if key is not None:
            self._by_key[key] = task
        task.add_done_callback(self._ended)
        return task

    def runs(self, key: str) -> bool:
        """Whether the job of ``key`` is still at work. A button is not disabled meanwhile: that would
        send the focus, and what is typed next, to another field."""
        return key in self._by_key

    def __len__(self) -> int:
        return len(self._running)

    def cancel(self) -> None:
        """Ask everything to end; ``close`` also waits for it."""
        _cancel_all(self._running)

    async def wait(self) -> None:
        """Wait until nothing runs any more, what is started meanwhile included."""
        while self._running:
            await asyncio.gather(*self._running, return_exceptions=True)

    async def close(self) -> None:
        """Cancel everything and wait for its clean-up."""
        while self._running:
            self.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        for key in [key for key, kept in self._by_key.items() if kept is task]:
            del self._by_key[key]
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            task.get_loop().call_exception_handler(
                {"message": "A job of the panel failed", "exception": error, "task": task}
            )


def _cancel_all(tasks: set[asyncio.Task[Any]]) -> None:
    for task in list(tasks):
        task.cancel()
