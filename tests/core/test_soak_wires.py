"""Broken bytes on both wires, through the whole core: each request ends once, and never for too little."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from core.chat import Failed, Finished, Stopped, UsageReported
from core.errors import SignalboxError
from tests.core.providers.test_sse import anthropic_parts, fuzzed, openai_parts
from tests.support.two_sides import TwoSides, two_sides
from tests.support.wire_server import Raw

ENDS = (Finished, Failed, Stopped)


async def drive(sides: TwoSides, side: str, chance: random.Random, most_bytes: int) -> None:
    """Ask ``side`` again and again, until its server has sent ``most_bytes`` of broken streams."""
    backend = sides.core._api if side == "api" else sides.core._local
    server, parts = (sides.api, anthropic_parts) if side == "api" else (sides.local, openai_parts)
    sent_bytes = 0
    while sent_bytes < most_bytes:
        pieces = [
            "".join(chance.choices('ab é🚀"\\\n', k=chance.randint(0, 30)))
            for _ in range(chance.randint(0, 8))
        ]
        chunks, _ = fuzzed(chance, parts(pieces))
        sent_bytes += sum(map(len, chunks))
        server.replies.append(Raw(chunks=tuple(chunks), cut=chance.random() < 0.3))
        backend.breakers.reset()
        events = await asyncio.wait_for(sides.events(f"hi {sent_bytes}"), 60)
        where = (side, chunks, events[-1])
        assert not server.replies, where
        assert [isinstance(event, ENDS) for event in events] == [False] * (len(events) - 1) + [True], where
        end = events[-1]
        assert isinstance(end, Finished | Failed), where
        if isinstance(end, Failed):
            assert type(end.error) is not SignalboxError, where  # that is a fault of our own
        told = [event.usage for event in events if isinstance(event, UsageReported)]
        result = end.result if isinstance(end, Finished) else end.partial
        if side == "api" and told and result is not None:
            known = result.cost_nanodollars or 0
            assert known or result.unresolved_nanodollars, where


@pytest.mark.parametrize("side", ["local", "api"])
async def test_broken_streams_end_once_and_are_never_free(home: Path, side: str) -> None:
    async with two_sides(home, ROUTING_MODE=f"{side}-only") as sides:
        await drive(sides, side, random.Random(8), 10_000)


@pytest.mark.soak
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("side", ["local", "api"])
async def test_ten_million_broken_bytes_end_once_and_are_never_free(home: Path, side: str) -> None:
    async with two_sides(home, ROUTING_MODE=f"{side}-only") as sides:
        await drive(sides, side, random.Random(), 5_000_000)
