"""A local server that dies under load: the next requests go to the API and say why, and come back by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from core.chat import ChatRequest, ChatResult, Failed, Message, ToolCall
from core.errors import InvalidRequest, Unavailable
from core.local.external import ExternalServer
from core.local.server import ServerState
from tests.support.anthropic_server import Says
from tests.support.openai_server import OpenAIServer, Streams
from tests.support.two_sides import TwoSides, two_sides


async def state_of(sides: TwoSides, wanted: Callable[[ServerState], bool]) -> ServerState:
    """Wait until the local server's state is as ``wanted``: the test's own timeout is the limit."""
    seen = asyncio.Event()
    unsubscribe = sides.core.subscribe(lambda status: seen.set() if wanted(status.local) else None)
    try:
        while not wanted((await sides.core.status()).local):
            seen.clear()
            await seen.wait()
    finally:
        unsubscribe()
    return (await sides.core.status()).local


async def is_back(sides: TwoSides) -> None:
    await sides.local.__aenter__()
    await state_of(sides, lambda state: state.phase == "ready")


def loop_of(prompt: str, tool_turns: int) -> ChatRequest:
    """A conversation whose last turn answers a tool call, ``tool_turns`` deep; 0 is its first turn."""
    messages = [Message(role="user", text=prompt)]
    for turn in range(tool_turns):
        call = ToolCall(id=f"call{turn}", name="look_up", arguments_json="{}")
        messages += [
            Message(role="assistant", text="", tool_calls=(call,)),
            Message(role="tool", text="found", tool_call_id=call.id),
        ]
    return ChatRequest(messages=tuple(messages), conversation_id="c1", batch=True)


async def test_killed_under_load_the_next_requests_go_to_the_api_and_come_back(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One that is well is looked at every five seconds; that its requests fail has it looked at now.
    monkeypatch.setitem(ExternalServer.__init__.__kwdefaults__ or {}, "interval_s", 3600.0)
    async with two_sides(home) as sides:
        first = await sides.core.ask("hi")
        assert first.side == "local"
        sides.local.default = Streams("Held", hold_after=1)
        under_way = [asyncio.create_task(sides.events(f"hi {number}")) for number in range(3)]
        await sides.local.holding.wait()
        await sides.local.stop()
        ends = await asyncio.gather(*under_way)
        # What had begun to answer breaks off with its text kept, what had not is answered by the API.
        assert all(isinstance(end[-1], Failed) or end[-1].result.side == "api" for end in ends)  # type: ignore[union-attr]

        after = [await sides.core.ask(f"more {number}") for number in range(6)]
        assert {result.side for result in after} == {"api"}
        away = await state_of(sides, lambda state: state.phase == "failed")
        assert "reachable" in away.detail
        reason = (await sides.core.decide(ChatRequest.from_prompt("hi"))).reason
        assert reason.startswith("Local unavailable: it failed: No server is reachable")

        sides.local.default = Streams("Back")
        await is_back(sides)
        again = await sides.core.ask("hi again")
        assert (again.side, again.text) == ("local", "Back")


async def test_a_server_that_may_be_gone_is_looked_at_at_once_and_not_at_the_next_round() -> None:
    wire = OpenAIServer()
    async with wire:
        server = ExternalServer(wire.base_url, interval_s=3600)
        failed = asyncio.Event()
        server.on_change(lambda state: failed.set() if state.phase == "failed" else None)
        await server.start()
        assert server.state.phase == "ready"
        await wire.stop()
        server.look_soon()
        await failed.wait()
        await server.stop()


async def test_where_the_api_is_not_allowed_nothing_goes_there(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="local-only") as sides:
        await sides.core.ask("hi")
        await sides.local.stop()
        for _ in range(6):
            with pytest.raises(Unavailable):
                await sides.core.ask("hi")
        assert [each for each in sides.api.received if each.method == "POST"] == []


async def test_a_tool_loop_goes_to_the_api_and_stays_there_until_its_turn_ends(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="local-first") as sides:
        sides.api.default = Says("From the API")

        async def ask(request: ChatRequest) -> ChatResult:
            return await sides.core.ask(request)

        assert (await ask(loop_of("look", 0))).side == "local"
        assert (await ask(loop_of("look", 1))).side == "local"
        await sides.local.stop()
        assert (await ask(loop_of("look", 2))).side == "api"
        await sides.local.__aenter__()
        await sides.core.start_local()  # looks at once; by itself it would in two seconds
        still = await ask(loop_of("look", 3))
        assert (still.side, still.decision.rule) == ("api", "affinity")
        done = loop_of("look", 3)
        new_turn = replace(
            done,
            messages=(
                *done.messages,
                Message(role="assistant", text="Done."),
                Message(role="user", text="And?"),
            ),
        )
        assert (await ask(new_turn)).side == "local", "back at the turn's boundary"


# -- everything to the API, by the user's wish ------------------------------------------------------------------


async def test_drained_everything_that_may_goes_to_the_api_until_it_is_undone(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="local-first") as sides:
        assert (await sides.core.ask("hi")).side == "local"
        await sides.core.drain_local(True)
        assert sides.core.local_is_drained
        status = await sides.core.status()
        assert status.local_drained
        assert status.local.phase == "ready"
        result = await sides.core.ask("hi")
        assert result.side == "api"
        assert result.decision.rule == "unavailable"
        assert result.decision.reason == "Local unavailable: you sent everything to the API"
        assert (await sides.core.decide(ChatRequest.from_prompt("hi"))).reason == result.decision.reason
        await sides.core.drain_local(False)
        assert not (await sides.core.status()).local_drained
        assert (await sides.core.ask("hi")).side == "local"


async def test_a_drain_is_told_to_who_listens(home: Path) -> None:
    async with two_sides(home) as sides:
        await sides.core.ask("hi")
        told: asyncio.Queue[bool] = asyncio.Queue()
        sides.core.subscribe(lambda status: told.put_nowait(status.local_drained))
        for wanted in (True, False):
            await sides.core.drain_local(wanted)
            while await told.get() is not wanted:
                pass


async def test_what_runs_goes_on_while_drained(home: Path) -> None:
    async with two_sides(home) as sides:
        sides.local.replies.append(Streams("Slow", " answer", hold_after=1))
        running = asyncio.create_task(sides.events())
        await sides.local.holding.wait()
        await sides.core.drain_local(True)
        sides.local.released.set()
        assert (await running)[-1].result.side == "local"  # type: ignore[union-attr]


async def test_a_tool_loop_that_local_began_ends_there_while_drained(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="local-first") as sides:
        assert (await sides.core.ask(loop_of("look", 0))).side == "local"
        await sides.core.drain_local(True)
        assert (await sides.core.ask(loop_of("look", 1))).side == "local"
        ended = replace(loop_of("look", 0), messages=(Message(role="user", text="look"),))
        turn = (
            *loop_of("look", 1).messages,
            Message(role="assistant", text="x"),
            Message(role="user", text="y"),
        )
        assert (await sides.core.ask(replace(ended, messages=turn))).side == "api"


async def test_drained_what_only_local_may_or_can_serve_still_goes_there(home: Path) -> None:
    async with two_sides(home) as sides:
        await sides.core.drain_local(True)
        forced = await sides.core.ask("hi", force="local")
        assert (forced.side, forced.decision.rule) == ("local", "forced")
        sides.core.settings.set("spend_limit_dollars", "0")
        broke = await sides.core.ask("hi")
        assert (broke.side, broke.decision.rule) == ("local", "budget")


async def test_where_nothing_could_go_to_the_api_a_drain_is_refused_and_nothing_changes(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="local-only") as sides:
        with pytest.raises(InvalidRequest, match="local-only"):
            await sides.core.drain_local(True)
        assert not sides.core.local_is_drained
    async with two_sides(home / "keyless", key=None) as sides:
        with pytest.raises(InvalidRequest, match="no key"):
            await sides.core.drain_local(True)
        assert (await sides.core.ask("hi")).side == "local"


async def test_a_mode_that_forbids_the_api_undoes_a_drain(home: Path) -> None:
    async with two_sides(home) as sides:
        await sides.core.drain_local(True)
        sides.core.settings.set("routing_mode", "local-only")
        assert (await sides.core.ask("hi")).side == "local"
        assert not sides.core.local_is_drained


async def test_drained_the_api_that_fails_falls_back_to_local(home: Path) -> None:
    async with two_sides(home) as sides:
        await sides.core.drain_local(True)
        await sides.api.stop()
        assert (await sides.core.ask("hi")).side == "local"
