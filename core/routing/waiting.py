"""Runs work to its end while its reader hears what it waits for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from core.chat import Waiting

OnWait = Callable[[Waiting], None]


async def told_of(work: Callable[[OnWait], Awaitable[None]]) -> AsyncGenerator[Waiting, None]:
    """Run ``work`` to its end and yield what it says of waiting meanwhile.

    Raises:
        whatever ``work`` raises. Closing this cancels ``work`` and waits for its end.
    """
    heard: deque[Waiting] = deque()
    news = asyncio.Event()

    def on_wait(waiting: Waiting) -> None:
        heard.append(waiting)
        news.set()

    async def worked() -> None:
        try:
            await work(on_wait)
        finally:
            news.set()  # the task's own callbacks come a round of the loop later

    task = asyncio.ensure_future(worked())
    task.add_done_callback(lambda _: news.set())  # it may be cancelled before it begins
    try:
        while not task.done() or heard:
            if not heard:
                await news.wait()
            news.clear()
            while heard:
                yield heard.popleft()
        await task
    finally:
        if not task.done():
            task.cancel()
            await to_its_end(task)
        if not task.cancelled():
            task.exception()  # a refusal that came when its reader had left is nobody's fault to log


async def to_its_end(task: asyncio.Future[Any]) -> None:
    """Wait until ``task`` is done although the surrounding one is being cancelled; it raises nothing itself.

    A cancellation that comes meanwhile is not lost: the surrounding task gets it where it waits next.
    """
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    mine = asyncio.current_task()
    if cancelled and mine is not None:
        mine.uncancel()  # so that it is counted once: timeouts and task groups tell theirs from others by the count
        mine.cancel()
