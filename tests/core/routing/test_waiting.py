"""Work that runs while its reader hears what it waits for, and what happens when the reader goes."""

from __future__ import annotations

import asyncio
import gc
from contextlib import aclosing

import pytest

from core.chat import Waiting
from core.routing.waiting import OnWait, told_of

LINE = Waiting("retry", "the line")


async def test_the_reader_hears_of_waiting_and_of_the_end() -> None:
    async def work(on_wait: OnWait) -> None:
        on_wait(LINE)
        await asyncio.sleep(0)
        on_wait(LINE)

    assert [heard async for heard in told_of(work)] == [LINE, LINE]


async def test_what_the_work_raises_reaches_the_reader() -> None:
    async def work(on_wait: OnWait) -> None:
        on_wait(LINE)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        async for _ in told_of(work):
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
        async with asyncio.timeout(3600 if with_timeout else None), aclosing(told_of(work)) as heard:
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
            async with aclosing(told_of(work)) as heard:
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

    async with aclosing(told_of(work)) as heard:
        async for _ in heard:
            await asyncio.sleep(0)
            break
    gc.collect()
    assert faults == []
