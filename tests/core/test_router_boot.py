"""A local server that somebody else starts: while it loads, requests wait for it or go elsewhere, and say why."""

from __future__ import annotations

import asyncio
from pathlib import Path

from core.chat import ChatRequest, Finished, StreamEvent, Waiting
from tests.support.two_sides import TwoSides, two_sides


async def loading_again(sides: TwoSides) -> None:
    """Let the server load its model once more; the core has seen that."""
    sides.local.loading = True
    await sides.core.restart_local()
    assert (await sides.core.status()).local.phase == "starting"


async def test_what_only_local_may_serve_waits_until_it_has_loaded(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="local-only") as sides:
        await loading_again(sides)
        events: list[StreamEvent] = []
        async with asyncio.timeout(30):
            async for event in sides.core.stream(ChatRequest.from_prompt("hi")):
                events.append(event)
                if isinstance(event, Waiting) and event.reason == "local_start":
                    sides.local.loading = False
        assert isinstance(events[-1], Finished)
        assert events[-1].result.model == "tiny"
        (row,) = await sides.core.ledger.recent()
        assert (row.status, row.model) == ("done", "tiny")


async def test_a_preview_names_the_side_that_is_waited_for(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="local-only") as sides:
        await loading_again(sides)
        assert (await sides.core.decide(ChatRequest.from_prompt("hi"))).side == "local"


async def test_what_the_api_may_serve_goes_there_meanwhile_and_says_why(home: Path) -> None:
    async with two_sides(home) as sides:
        await loading_again(sides)
        result = await sides.core.ask("hi")
        assert (result.side, result.decision.rule) == ("api", "unavailable")
        assert result.decision.reason == "Local unavailable: it is starting"
        assert len(await sides.core.ledger.recent()) == 1, "nothing was sent to a server that loads"


async def test_requests_that_come_together_wait_for_the_first_look(home: Path) -> None:
    async with two_sides(home) as sides:
        results = await asyncio.gather(*(sides.core.ask(f"hi {number}") for number in range(5)))
        assert {(result.side, result.decision.model) for result in results} == {("local", "tiny")}
