"""Work that runs while its reader hears what it waits for, and what happens when the reader goes."""

from __future__ import annotations

import asyncio
import gc
from contextlib import aclosing

import pytest

from core.chat import Waiting
from core.routing.waiting import OnWait, PlaceNews, with_progress

LINE = Waiting("retry", "the line")


async def test_the_reader_hears_of_waiting_and_of_the_end() -> None:
    async def work(on_wait: OnWait) -> None:
        on_wait(LINE)
        await asyncio.sleep(0)
        on_wait(LINE)

    assert [heard async for heard in with_progress(work)] == [LINE, LINE]


async def test_what_the_work_raises_reaches_the_reader() -> None:
    async def work(on_wait: OnWait) -> None:
        on_wait(LINE)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        async for _ in with_progress(work):
            pass


@pytest.mark.parametrize("with_timeout", [False, True])
async def test_a_cancellation_while_the_work_ends_is_not_lost(with_timeout: bool) -> None:
    """The reader has left, and waits for the work's clean end: the cancel that comes then counts all the same."""
    closing, may_end, went_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work(on_wait: OnWait) -> None:
        on_wait(LINE)
        try:
            await asyncio.Event().wait()
        finally:
            closing.set()
            await may_end.wait()

    async def read() -> None:
        async with asyncio.timeout(3600 if with_timeout else None), aclosing(with_progress(work)) as heard:
            async for _ in heard:
                break
        await asyncio.sleep(0)
        went_on.set()

    reader = asyncio.ensure_future(read())
    await closing.wait()
    reader.cancel()
    await asyncio.sleep(0)
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert not went_on.is_set()


async def test_a_timeout_while_the_work_ends_stays_a_timeout() -> None:
    closing = asyncio.Event()

    async def work(on_wait: OnWait) -> None:
        on_wait(LINE)
        try:
            await asyncio.Event().wait()
        finally:
            closing.set()
            await asyncio.sleep(0.05)

    async def read() -> None:
        async with asyncio.timeout(0.02):
            async with aclosing(with_progress(work)) as heard:
                async for _ in heard:
                    break
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await read()


async def test_a_refusal_that_nobody_waits_for_any_more_is_not_logged_as_a_fault() -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))

    async def work(on_wait: OnWait) -> None:
        on_wait(LINE)
        raise ValueError("no")

    async with aclosing(with_progress(work)) as heard:
        async for _ in heard:
            await asyncio.sleep(0)
            break
    gc.collect()
    assert faults == []


async def test_a_late_reader_hears_the_newest_of_each_wait_only() -> None:
    async def work(on_wait: OnWait) -> None:
        on_wait(Waiting("local_queue", "3 ahead.", None, 3))
        on_wait(Waiting("local_queue", "2 ahead.", None, 2))
        on_wait(Waiting("retry", "again"))
        on_wait(Waiting("local_queue", "1 ahead.", None, 1))

    heard = [waiting async for waiting in with_progress(work)]
    assert [(waiting.reason, waiting.position) for waiting in heard] == [
        ("local_queue", 2),
        ("retry", 0),
        ("local_queue", 1),
    ]


def told_places(*places: tuple[float, int, float | None]) -> list[tuple[int, float | None]]:
    """Tell these (when, how many ahead, expected seconds) and return what came through as news."""
    heard: list[tuple[int, float | None]] = []
    times = iter([at for at, _, _ in places])
    news = PlaceNews(lambda ahead, expected_s: heard.append((ahead, expected_s)), lambda: next(times))
    for _, ahead, expected_s in places:
        news.tell(ahead, expected_s)
    return heard


def test_only_a_change_is_news() -> None:
    assert told_places((0, 2, 8.0), (1, 2, 8.4), (2, 2, 6.1), (3, 2, 8.0)) == [(2, 8.0)]
    assert told_places((0, 2, 8.0), (1, 1, 8.0)) == [(2, 8.0), (1, 8.0)]
    assert told_places((0, 2, None), (1, 2, None), (2, 2, 5.0)) == [(2, None), (2, 5.0)]
    assert told_places((0, 2, 8.0), (1, 2, 20.0), (2, 2, None)) == [(2, 8.0), (2, 20.0), (2, None)]
