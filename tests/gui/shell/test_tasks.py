"""Jobs started from Qt's slots: also by a timer that fires while the loop stands still."""

from __future__ import annotations

import asyncio

from gui.shell.tasks import Tasks


def test_what_a_timer_starts_beside_the_loop_runs_when_the_loop_does() -> None:
    ran: list[str] = []
    tasks = Tasks()

    async def job(name: str) -> None:
        ran.append(name)

    async def first() -> None:
        tasks.start(job("first"))
        await tasks.wait()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(first())
    tasks.start(job("beside"))
    assert ran == ["first"]
    loop.run_until_complete(tasks.wait())
    loop.close()
    assert ran == ["first", "beside"]
