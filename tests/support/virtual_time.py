"""An event loop whose time is its own: it jumps to the next timer, so that hours of waiting take no time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class StandsStill(AssertionError):
    """Nothing is left that could ever happen, and something still waits: a deadlock."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """``time()`` is both the loop's clock (``asyncio.sleep``, ``asyncio.timeout``) and the one to inject."""

    def __init__(self) -> None:
        self._now = 1000.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        self._now += seconds


class _Jumping(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise StandsStill("nothing is left to happen, and something still waits")
        ready = super().select(0)
        if not ready and timeout > 0:
            self._loop.jump(timeout)
        return ready


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` to its end on a loop of its own, whose time is virtual."""
    loop = VirtualLoop()
    try:
        task = loop.create_task(main)
        loop.run_until_complete(task)
        return task.result()
    finally:
        left = asyncio.all_tasks(loop)
        for other in left:
            other.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()


def now() -> float:
    """The running loop's time: what to give as ``clock``."""
    return asyncio.get_running_loop().time()


async def settle() -> None:
    """Let everything that can run now run."""
    for _ in range(20):
        await asyncio.sleep(0)
