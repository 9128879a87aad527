"""Many requests through a core with a real ledger and scripted sides, and what the process weighs on the way.

A process of its own, so that nothing else is weighed: ``python -m tests.support.memory_run HOME REQUESTS
CONVERSATIONS KEYS MARK...`` prints one JSON object a mark: requests done, resident bytes, live objects.
With ``keys`` for KEYS, every third request has an idempotency key, so that its answer is kept.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import psutil

from core.chat import ChatRequest, Failed, TextDelta
from core.errors import Overloaded, SignalboxError
from core.router_core import RouterCore
from tests.support.scripted_sides import scripted_core

AT_ONCE = 16
FAILS_EACH, STOPPED_EACH, KEYED_EACH = 50, 31, 3


class Weighed:
    def __init__(self, core: RouterCore, conversations: int, keyed: bool, marks: frozenset[int]) -> None:
        self._core = core
        self._conversations = conversations
        self._keyed = keyed
        self._marks = marks
        self._done = 0
        self._process = psutil.Process()

    async def work(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            await self._one(number)
            self._done += 1
            if self._done in self._marks:
                self._weigh()

    async def _one(self, number: int) -> None:
        words = "explain why, prove it and compare. " if number % 2 else "what is it? "
        request = ChatRequest.from_prompt(
            f"Question {number}: {words * 5}",
            conversation_id=f"conversation {number % self._conversations}",
            idempotency_key=f"key {number}" if self._keyed and number % KEYED_EACH == 0 else None,
        )
        async with aclosing(self._core.stream(request)) as events:
            async for event in events:
                if isinstance(event, Failed):
                    raise event.error
                if number % STOPPED_EACH == 0 and isinstance(event, TextDelta):
                    break

    def _weigh(self) -> None:
        gc.collect()
        weight = {
            "requests": self._done,
            "resident_bytes": self._process.memory_info().rss,
            "objects": len(gc.get_objects()),
        }
        sys.stdout.write(json.dumps(weight) + "\n")
        sys.stdout.flush()


async def main(home: Path, requests: int, conversations: int, keyed: bool, marks: frozenset[int]) -> None:
    asked = 0

    def sometimes(request: ChatRequest) -> SignalboxError | None:
        nonlocal asked
        asked += 1
        return Overloaded("The server is busy.", hint="Wait.") if asked % FAILS_EACH == 0 else None

    async with scripted_core(
        home,
        local_fault=sometimes,
        RUNAWAY_REQUESTS_PER_MINUTE="0",
        ROUTING_THRESHOLD="1000000",
        COMPLEXITY_THRESHOLD="0.2",
    ) as core:
        numbers = iter(range(requests))
        weighed = Weighed(core, conversations, keyed, marks)
        await asyncio.gather(*(weighed.work(numbers) for _ in range(AT_ONCE)))


if __name__ == "__main__":
    home, requests, conversations, keyed, *marks = sys.argv[1:]
    asyncio.run(
        main(Path(home), int(requests), int(conversations), keyed == "keys", frozenset(map(int, marks)))
    )
