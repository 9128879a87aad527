"""A server of its own that starts with the first request: who waits for it, and where they go if it fails."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from core.chat import Failed, Started, Waiting
from core.errors import Unavailable
from core.local.server import ServerState
from core.local.server_log import LogPage
from tests.core.test_router_queue import Asked, nothing_is_left
from tests.support.openai_server import OpenAIServer
from tests.support.two_sides import TwoSides, two_sides

STOPPED = ServerState(phase="stopped", kind="embedded", model="tiny")


class OwnServer:
    """Starts when ``may_start`` is set, into what ``becomes`` says."""

    def __init__(self) -> None:
        self.state = STOPPED
        self.becomes = STOPPED
        self.starts = 0
        self.starting = asyncio.Event()
        self.may_start = asyncio.Event()
        self._listeners: list[Callable[[ServerState], None]] = []
        self._start: asyncio.Task[None] | None = None

    def tell(self, state: ServerState) -> None:
        self.state = state
        for listener in list(self._listeners):
            listener(state)

    async def start(self) -> None:
        if self._start is None:
            self._start = asyncio.create_task(self._started())
        await asyncio.shield(self._start)

    async def _started(self) -> None:
        self.starts += 1
        self.tell(dataclasses.replace(STOPPED, phase="starting"))
        self.starting.set()
        await self.may_start.wait()
        self.tell(self.becomes)

    async def stop(self) -> None:
        self.may_start.set()
        if self._start is not None:
            await self._start
        self._start = None

    async def restart(self) -> None: ...

    async def observe(self) -> None: ...

    async def detach(self) -> None:
        await self.stop()

    def log_page(self, cursor: int, most: int) -> LogPage:
        return LogPage((), cursor)

    def log_tail(self, lines: int = 200) -> list[str]:
        return []

    def on_change(self, listener: Callable[[ServerState], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)


def ready_at(server: OpenAIServer) -> ServerState:
    return dataclasses.replace(STOPPED, phase="ready", base_url=server.base_url, context_tokens=2048)


FAILED = dataclasses.replace(STOPPED, phase="failed", detail="there is no memory.", hint="Free some memory.")


@asynccontextmanager
async def own_server(
    home: Path, monkeypatch: pytest.MonkeyPatch, **environment: str
) -> AsyncIterator[tuple[TwoSides, OwnServer]]:
    """Both sides and a core whose local server is its own; by default it becomes ready at the scripted one."""
    own = OwnServer()
    monkeypatch.setattr("core.local.manager.choose_server", lambda *_: own)
    async with two_sides(home, **environment) as sides:
        own.becomes = ready_at(sides.local)
        yield sides, own


async def test_the_first_request_starts_the_server_says_so_and_is_served_there(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with own_server(home, monkeypatch) as (sides, own):
        first = Asked(sides, "hi")
        assert (await first.waiting()).reason == "local_start"
        own.may_start.set()
        assert (await first.result()).side == "local"
        again = Asked(sides, "hi again")
        assert (await again.result()).side == "local"
        assert not any(isinstance(event, Waiting) for event in again.events)
        assert own.starts == 1
        await nothing_is_left(sides)


async def test_a_start_that_fails_sends_the_request_to_the_api_and_says_why(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with own_server(home, monkeypatch) as (sides, own):
        own.becomes = FAILED
        own.may_start.set()
        result = await Asked(sides, "hi").result()
        assert (result.side, result.decision.rule) == ("api", "unavailable")
        assert result.decision.reason == "Local unavailable: it failed: there is no memory"
        assert len(await sides.core.ledger.recent()) == 1, "nothing was sent to a server that never came"


async def test_a_request_that_comes_while_it_starts_is_served_by_the_same_start(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with own_server(home, monkeypatch) as (sides, own):
        first = Asked(sides, "first")
        await own.starting.wait()
        second = Asked(sides, "second", force="local")
        await at_the_door(second)
        own.may_start.set()
        assert [(await one.result()).side for one in (first, second)] == ["local"] * 2
        assert own.starts == 1
        await nothing_is_left(sides)


async def test_a_request_that_waited_for_a_start_in_vain_hears_what_to_do(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with own_server(home, monkeypatch) as (sides, own):
        own.becomes = FAILED
        first = Asked(sides, "first")
        await own.starting.wait()
        second = Asked(sides, "second", force="local")
        await at_the_door(second)
        own.may_start.set()
        error = await second.error()
        assert isinstance(error, Unavailable)
        assert "The local server wasn't ready: it failed: there is no memory" in error.message
        assert error.hint == "Free some memory."
        assert (await first.result()).side == "api"
        assert sides.local.received == []
        await nothing_is_left(sides)


async def at_the_door(asked: Asked) -> None:
    """Wait until the request is admitted to the local server, and waits for it to have started."""
    while not any(isinstance(event, Started) for event in asked.events):  # noqa: ASYNC110 - only waits are told
        await asyncio.sleep(0.01)


async def test_a_server_that_comes_back_elsewhere_is_asked_there(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with own_server(home, monkeypatch) as (sides, own), OpenAIServer() as elsewhere:
        own.may_start.set()
        await Asked(sides, "hi").result()
        seen = len(sides.local.received)
        own.tell(ready_at(elsewhere))
        assert (await Asked(sides, "hi again").result()).side == "local"
        assert len(sides.local.received) == seen
        assert elsewhere.received[-1].body["messages"][-1]["content"] == "hi again"


async def test_a_server_that_is_stopping_is_not_sent_to(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with own_server(home, monkeypatch) as (sides, own):
        own.tell(dataclasses.replace(STOPPED, phase="stopping"))
        result = await Asked(sides, "hi").result()
        assert (result.side, result.decision.reason) == ("api", "Local unavailable: it is stopping")
        forced = (await sides.events("hi", force="local"))[-1]
        assert isinstance(forced, Failed)
        assert isinstance(forced.error, Unavailable)
        assert own.starts == 0
