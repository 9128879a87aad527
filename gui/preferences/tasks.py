"""Starts coroutines from Qt slots, keeps them alive and cancels them when their widget goes.

asyncio holds only weak references to tasks, and a bare task's exception is told when the task is
collected, if ever. Here every task is held, and a failure goes to the loop's exception handler at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from PySide6.QtCore import QObject


class Tasks(QObject):
    """The running jobs of one widget. ``key`` names a job that a newer one of the same key replaces."""

    def __init__(self, owner: QObject) -> None:
        super().__init__(owner)
        self._running: set[asyncio.Task[Any]] = set()
        self._by_key: dict[str, asyncio.Task[Any]] = {}
        running = self._running
        owner.destroyed.connect(lambda: _cancel_all(running))

    def start(self, job: Coroutine[Any, Any, Any], *, key: str | None = None) -> asyncio.Task[Any]:
        """Run ``job`` on the GUI loop; with a ``key``, cancel the one before it first."""
        if key is not None and (before := self._by_key.get(key)) is not None:
            before.cancel()
        task = asyncio.ensure_future(job)
        self._running.add(task)
        if key is not None:
            self._by_key[key] = task
        task.add_done_callback(self._ended)
        return task

    def runs(self, key: str) -> bool:
        """Whether the job of ``key`` is still at work. A button is not disabled meanwhile: that would
        send the focus, and what is typed next, to another field."""
        return key in self._by_key

    def cancel(self) -> None:
        _cancel_all(self._running)

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
