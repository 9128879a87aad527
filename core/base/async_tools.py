"""Work that goes on although its caller is cancelled, that tells of itself, or that must not hold up an end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def finish(work: Awaitable[T], on_late: Callable[[T], Awaitable[None] | None] | None = None) -> T:
    """Return what ``work`` returns; it comes to its end although the caller is cancelled.

    That cancellation is raised afterwards, and ``on_late`` gets the result, which nobody is left to take.
    """
    task = asyncio.ensure_future(work)
    try:
        await until_done(task)
    except asyncio.CancelledError:
        if not task.cancelled() and task.exception() is None and on_late is not None:
            late = on_late(task.result())
            if late is not None:
                await finish(late)
        raise
    return task.result()


async def until_done(task: asyncio.Future[Any]) -> None:
    """Wait until ``task`` is done, whatever its end. A cancellation that comes meanwhile is raised then."""
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError


async def with_progress(
    work: Callable[[Callable[[T], None]], Awaitable[None]],
    *,
    replaces: Callable[[T, T], bool] = lambda newer, older: False,
) -> AsyncGenerator[T, None]:
    """Run ``work`` to its end and yield what it tells meanwhile.

    A reader that comes late hears no news that the one after it ``replaces``.

    Raises:
        whatever ``work`` raises. Closing this cancels ``work`` and waits for its end.
    """
    heard: deque[T] = deque()
    news = asyncio.Event()

    def tell(item: T) -> None:
        if heard and replaces(item, heard[-1]):
            heard.pop()
        heard.append(item)
        news.set()

    async def worked() -> None:
        try:
            await work(tell)
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
        try:
            if not task.done():
                task.cancel()
                await until_done(task)
        finally:
            if not task.cancelled():
                task.exception()  # a refusal that came when its reader had left is nobody's fault to log


async def in_daemon_thread(work: Callable[[], T], *, name: str) -> T:
    """Return what ``work`` returns, or raise what it raises, from a separate daemon thread.

    ``asyncio.to_thread`` would be waited for when the loop closes. Here a caller that is cancelled leaves the
    thread behind, and the thread ends with the process.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: Exception | None) -> None:
        if answer.done():
            return  # nobody waits any more
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: T | None = None
        failure: Exception | None = None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001  raised again where it is awaited
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(tell, result, failure)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await answer
