"""The verbs of a local server: anybody asks, one task carries them out, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from core.local.server import ServerVerb


@dataclass(frozen=True, slots=True)
class Command:
    """A verb that somebody waits for."""

    verb: ServerVerb
    done: asyncio.Future[None]

    def settle(self) -> None:
        """Let go whoever waits for it; the server's state says how it ended."""
        if not self.done.done():
            self.done.set_result(None)


class VerbQueue:
    """Used on one event loop. A start that is at work gives way as soon as a stop or a restart waits."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Command] = asyncio.Queue()
        self._stops_waiting = 0
        self._stop_asked = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        return self._queue.empty()

    async def ask(self, verb: ServerVerb) -> None:
        """Add ``verb``, and return when it was carried out or given up."""
        if verb != "start":
            self._stops_waiting += 1
            self._stop_asked.set()
        command = Command(verb, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(command)
        await asyncio.shield(command.done)

    async def next(self) -> Command:
        """Wait for the next one. Who carries it out calls ``stopped`` where it is no start, and settles it."""
        return await self._queue.get()

    def stopped(self) -> None:
        """Note that the stop of one command was carried out: starts may go on once no other one waits."""
        self._stops_waiting -= 1
        if self._stops_waiting == 0:
            self._stop_asked.clear()

    async def unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do ``work`` to its end, or cancel it once a stop waits. Says whether it came to its end.

        Raises:
            whatever ``work`` raises.
        """
        doing = asyncio.create_task(work)
        stopped = asyncio.create_task(self._stop_asked.wait())
        try:
            await asyncio.wait({doing, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                doing.cancel()
                await asyncio.wait({doing})
            if not doing.cancelled():
                doing.result()
            return not doing.cancelled()
        finally:
            doing.cancel()
            stopped.cancel()
            await asyncio.wait({doing, stopped})

    def give_up(self) -> None:
        """Let go whoever waits for a command that nobody will carry out."""
        while not self._queue.empty():
            self._queue.get_nowait().settle()
