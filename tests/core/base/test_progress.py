"""Work that runs while its reader hears what it waits for, and what happens when the reader goes."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from contextlib import aclosing

import pytest

from core.base.async_tools import finish, with_progress

Tell = Callable[[str], None]
LINE = "the line"


async def test_the_reader_hears_of_waiting_and_of_the_end() -> None:
    async def work(on_wait: Tell) -> None:
        on_wait(LINE)
        await asyncio.sleep(0)
        on_wait(LINE)

    assert [heard async for heard in with_progress(work)] == [LINE, LINE]


async def test_what_the_work_raises_reaches_the_reader() -> None:
    async def work(on_wait: Tell) -> None:
        on_wait(LINE)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        async for _ in with_progress(work):
            pass


@pytest.mark.parametrize("with_timeout", [False, True])
async def test_a_cancellation_while_the_work_ends_is_not_lost(with_timeout: bool) -> None:
    """The reader has left, and waits for the work's clean end: the cancel that comes then counts all the same."""
    closing, may_end, went_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work(on_wait: Tell) -> None:
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

    async def work(on_wait: Tell) -> None:
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

    async def work(on_wait: Tell) -> None:
        on_wait(LINE)
        raise ValueError("no")

    async with aclosing(with_progress(work)) as heard:
        async for _ in heard:
            await asyncio.sleep(0)
            break
    gc.collect()
    assert faults == []


async def test_a_late_reader_hears_nothing_that_was_replaced_meanwhile() -> None:
    async def work(on_wait: Tell) -> None:
        for news in ("place 3", "place 2", "again", "place 1"):
            on_wait(news)

    heard = with_progress(work, replaces=lambda newer, older: newer[:5] == older[:5])
    assert [news async for news in heard] == ["place 2", "again", "place 1"]


async def test_finish_returns_what_the_work_returns_and_raises_what_it_raises() -> None:
    async def divide(by: int) -> float:
        return 1 / by

    assert await finish(divide(2)) == 0.5
    with pytest.raises(ZeroDivisionError):
        await finish(divide(0))


@pytest.mark.parametrize("fails", [False, True])
async def test_finish_ends_the_work_before_the_cancellation_is_raised(fails: bool) -> None:
    begun, may_end, late = asyncio.Event(), asyncio.Event(), []

    async def work() -> str:
        begun.set()
        await may_end.wait()
        if fails:
            raise ValueError
        return "done"

    async def take(result: str) -> None:
        await asyncio.sleep(0)
        late.append(result)

    caller = asyncio.ensure_future(finish(work(), on_late=take))
    await begun.wait()
    for _ in range(2):
        caller.cancel()
        await asyncio.sleep(0)
    assert not caller.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert late == ([] if fails else ["done"])
    gc.collect()
