"""What must not happen when things go wrong between two awaits: no hold that outlives its request, no prompt
shown to whom it is not for, no other model than was held for, no request that never ends."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from core.chat import ChatRequest, Failed, Finished, Message, Started, TextDelta
from core.errors import AuthenticationFailed, LedgerUnavailable, Overloaded, SignalboxError
from core.local.server import ServerState
from core.local.server_log import LogPage
from core.router_core import RouterCore
from core.routing.circuit_breaker import Breakers
from core.settings import SettingsStore
from tests.support.anthropic_server import AnthropicServer, Says, refusal
from tests.support.openai_server import Streams, vllm_error
from tests.support.two_sides import TwoSides, two_sides

HARD = "Prove step by step why the algorithm is optimal, compare it, and explain the trade-offs. " * 4
BUSY = refusal(529, "overloaded_error", "Overloaded")
ENGINE_DOWN = vllm_error(500, "InternalServerError", "EngineCore died")


async def nothing_is_held(sides: TwoSides) -> None:
    """Every row is closed, nothing is held, and the sums agree.

    A hold whose request was stopped while it was being written is given up by the writer right after it: that
    may be a moment later.
    """
    quiet = 0
    async with asyncio.timeout(10):
        while quiet < 5:
            await asyncio.sleep(0.01)
            open_rows = [row for row in await sides.core.ledger.recent(1000) if row.status == "open"]
            quiet = 0 if open_rows else quiet + 1
    assert (await sides.core.ledger.budget()).held_nanodollars == 0
    assert (await sides.core.ledger.check()).differences == ()


class Gate:
    """Stops a coroutine function where it begins, once armed, until ``opened``; ``reached`` tells of it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self, *arguments: Any, **named: Any) -> Any:
        self.reached.set()
        await self.opened.wait()
        return await self._inner(*arguments, **named)


async def test_a_fallback_that_cannot_be_written_settles_the_first_attempt(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_sides(home) as sides:

        async def full(*arguments: Any, **named: Any) -> Any:
            raise LedgerUnavailable("The disk is full.")

        sides.api.replies.append(BUSY)
        monkeypatch.setattr(sides.core.ledger.current, "switch_side", full)
        end = (await sides.events(HARD))[-1]
        assert isinstance(end, Failed)
        assert type(end.error) is Overloaded, "the provider's error, not the ledger's"
        await nothing_is_held(sides)


@pytest.mark.parametrize("towards", ["local", "api"])
async def test_stopping_while_the_fallback_is_written_leaves_no_hold(
    home: Path, monkeypatch: pytest.MonkeyPatch, towards: str
) -> None:
    async with two_sides(home) as sides:
        (sides.api if towards == "local" else sides.local).replies.append(
            BUSY if towards == "local" else ENGINE_DOWN
        )
        gate = Gate(sides.core.ledger.current.switch_side)
        monkeypatch.setattr(sides.core.ledger.current, "switch_side", gate)
        task = asyncio.ensure_future(sides.core.ask(HARD if towards == "local" else "hi"))
        await gate.reached.wait()
        task.cancel()
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await nothing_is_held(sides)
        assert (await sides.core.ledger.budget()).spent_nanodollars == 0


async def test_random_stops_with_fallbacks_leave_nothing_open(home: Path) -> None:
    choice = random.Random(7)
    async with two_sides(home) as sides:
        sides.api.default = Says("one ", "two ", "three ")

        async def one(number: int) -> None:
            if number % 3 == 0:
                sides.api.replies.append(BUSY)
            task = asyncio.ensure_future(sides.core.ask(HARD))
            for _ in range(choice.randrange(60)):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        for start in range(0, 60, 10):
            await asyncio.gather(*(one(number) for number in range(start, start + 10)))
        await nothing_is_held(sides)


async def test_stopping_the_core_ends_and_settles_what_streams(home: Path) -> None:
    async with two_sides(home) as sides:
        sides.api.replies.append(Says("one ", "two", hold_after=1))
        task = asyncio.ensure_future(sides.core.ask(HARD))
        await asyncio.wait_for(sides.api.holding.wait(), 5)
        await asyncio.wait_for(sides.core.stop(), 10)
        assert task.done()
        await asyncio.wait_for(sides.api.lost.wait(), 5)
        await sides.core.start()
        await nothing_is_held(sides)


async def test_a_stream_that_nobody_reads_is_ended_by_the_stop_too(home: Path) -> None:
    async with two_sides(home) as sides:
        sides.api.replies.append(Says("one ", "two", hold_after=1))
        async with aclosing(sides.core.stream(ChatRequest.from_prompt(HARD))) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    break
            await sides.core.stop()
        await asyncio.wait_for(sides.api.lost.wait(), 5)
        end = [event async for event in sides.core.stream(ChatRequest.from_prompt("hi"))][-1]
        assert isinstance(end, Failed), "a core that is stopped says so"
        await sides.core.start()
        await nothing_is_held(sides)


async def test_start_stop_start(home: Path) -> None:
    async with two_sides(home) as sides:
        await sides.core.start()
        await sides.core.stop()
        await sides.core.stop()
        await sides.core.start()
        assert (await sides.core.ask("hi")).text == "Hello there"


async def test_with_the_limit_used_up_a_local_prompt_is_shown_to_nobody(home: Path) -> None:
    async with two_sides(home, SPEND_LIMIT_DOLLARS="0") as sides:
        result = await sides.core.ask("my private prompt")
        assert (result.side, result.decision.rule) == ("local", "budget")
        assert sides.api.received == []


async def test_the_model_sent_is_the_model_held_for(home: Path) -> None:
    async with two_sides(home, ANTHROPIC_MODEL="") as sides:
        sides.core.settings.set("anthropic_model", "claude-haiku-4-5-20251001")
        async with aclosing(sides.core.stream(ChatRequest.from_prompt(HARD))) as events:
            async for event in events:
                if isinstance(event, Started):
                    sides.core.settings.set("anthropic_model", "claude-opus-4-1")
                    await asyncio.sleep(0)
                if isinstance(event, Finished):
                    assert event.result.model == event.result.decision.model == "claude-haiku-4-5-20251001"
        assert [r.body["model"] for r in sides.api.received if r.path == "/v1/messages"] == [
            "claude-haiku-4-5-20251001"
        ]


async def test_closed_before_anything_was_sent_costs_nothing(home: Path) -> None:
    async with two_sides(home) as sides:
        async with aclosing(sides.core.stream(ChatRequest.from_prompt(HARD))) as events:
            async for event in events:
                assert isinstance(event, Started)
                break
        assert (await sides.core.ledger.budget()).spent_nanodollars == 0
        await nothing_is_held(sides)


class Starting:
    """A local server that is starting until it is told to be ready."""

    def __init__(self) -> None:
        self.state = ServerState(phase="starting", kind="external", model="tiny")
        self._listeners: list[Any] = []

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def restart(self) -> None: ...

    async def observe(self) -> None: ...

    async def detach(self) -> None:
        await self.stop()

    def log_page(self, cursor: int, most: int) -> LogPage:
        return LogPage((), cursor)

    def log_tail(self, lines: int = 200) -> list[str]:
        return []

    def on_change(self, listener: Any) -> Any:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)


@pytest.mark.parametrize(("mode", "force"), [("hybrid", "api"), ("api-only", None)])
async def test_what_only_the_api_may_serve_does_not_wait_for_local(
    home: Path, monkeypatch: pytest.MonkeyPatch, mode: str, force: Any
) -> None:
    monkeypatch.setattr("core.local.manager.choose_server", lambda *_: Starting())
    env = {"SIGNALBOX_HOME": str(home), "ROUTING_MODE": mode}
    async with RouterCore(SettingsStore(env=env), local_start="eager") as core:
        with pytest.raises(AuthenticationFailed):
            await asyncio.wait_for(core.ask("hi", force=force), 5)


@pytest.mark.parametrize("limit", ["0", "500"])
async def test_what_local_will_serve_waits_for_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr("core.local.manager.choose_server", lambda *_: Starting())
    async with AnthropicServer() as api:
        env = {"SIGNALBOX_HOME": str(home), "SPEND_LIMIT_DOLLARS": limit}
        env |= {"ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": "sk-ant-x"} if limit == "0" else {}
        async with RouterCore(SettingsStore(env=env), local_start="eager") as core:
            asking = asyncio.ensure_future(core.ask("hi"))
            done, _ = await asyncio.wait([asking], timeout=0.3)
            assert not done, "it waits for the server that is starting"
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


async def test_a_listener_that_raises_does_not_silence_the_status(home: Path) -> None:
    async with two_sides(home) as sides:
        seen: asyncio.Queue[Any] = asyncio.Queue()

        def breaks(status: Any) -> None:
            raise LookupError("mine")

        sides.core.subscribe(breaks)
        sides.core.subscribe(seen.put_nowait)
        for expected in (1, 2):
            await sides.core.ask("hi")
            async with asyncio.timeout(10):
                while (await seen.get()).local_requests_today != expected:
                    pass


async def test_a_default_length_is_no_requirement(home: Path) -> None:
    async with two_sides(home, MAX_TOKENS_PER_REQUEST="5000") as sides:
        result = await sides.core.ask("hi")
        assert result.side == "local"
        sent = next(r.body for r in sides.local.received if r.path == "/v1/chat/completions")
        assert 256 <= sent["max_tokens"] < 2048, "what the context of 2,048 tokens leaves"


async def test_the_first_request_already_knows_what_local_takes(home: Path) -> None:
    async with two_sides(home) as sides:
        result = await sides.core.ask("word " * 3000)
        assert (result.side, result.decision.rule) == ("api", "capability")


async def test_an_error_in_the_middle_of_many_is_only_its_own(home: Path) -> None:
    async with two_sides(home) as sides:
        sides.api.default = Says("fine")
        sides.api.replies.append(refusal(400, "invalid_request_error", "Bad."))
        ends = await asyncio.gather(*(sides.core.ask(HARD) for _ in range(8)), return_exceptions=True)
        assert sum(isinstance(end, SignalboxError) for end in ends) == 1
        await nothing_is_held(sides)


async def test_while_one_tries_a_side_that_failed_the_others_go_elsewhere_and_say_why(home: Path) -> None:
    now = 1000.0
    async with two_sides(home) as sides:
        sides.core._local.breakers = Breakers(lambda: now)  # pyright: ignore[reportPrivateUsage]
        sides.local.default = ENGINE_DOWN
        for _ in range(4):
            assert (await sides.core.ask("hi")).side == "api"
        before = datetime.now()
        reason = (await sides.core.ask("hi")).decision.reason
        # It is read later too, so it names the moment.
        said, _, moment = reason.rpartition(" ")
        assert said.startswith("Local unavailable: it failed, and is tried again after")
        left_s = (
            datetime.strptime(moment, "%H:%M:%S") - datetime.strptime(f"{before:%H:%M:%S}", "%H:%M:%S")
        ).seconds
        assert 10 <= left_s <= 10 + (datetime.now() - before).seconds + 2
        now += 11
        sides.local.replies.append(Streams("Here ", "again", hold_after=1))
        trying = asyncio.ensure_future(sides.core.ask("hi"))
        await sides.local.holding.wait()
        other = await sides.core.ask("hi")
        assert other.side == "api"
        assert other.decision.reason == "Local unavailable: it failed, and one request is trying it again"
        sides.local.released.set()
        assert (await trying).text == "Here again"
        sides.local.default = Streams("Hello")
        assert (await sides.core.ask("hi")).side == "local"


async def test_how_fast_local_reads_is_learnt_from_long_prompts_only(home: Path) -> None:
    """From it comes what leaving a warm prompt would cost; a short one's first token says nothing of reading."""
    async with two_sides(home, LOCAL_DOLLARS_PER_HOUR="3.6", ROUTING_MODE="local-first") as sides:
        costs: list[int | None] = []
        for tokens in (50, 1500, 1500):
            usage = {"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1}
            sides.local.replies.append(Streams("Yes", usage=usage))
            question = Message(role="user", text=f"Is {tokens} + {len(costs)} enough?")
            result = await sides.core.ask(ChatRequest(messages=(question,)))
            assert result.side == "local"
            answer = Message(role="assistant", text=result.text)
            further = ChatRequest(messages=(question, answer, Message(role="user", text="And now?")))
            lost = (await sides.core.decide(further)).switching_cost
            assert lost is not None
            assert (lost.side, lost.cached_tokens) == ("local", tokens + 1)
            costs.append(lost.nanodollars)
        assert costs[0] is None, "not known yet, and not nothing"
        assert all(cost is not None and cost > 0 for cost in costs[1:])
