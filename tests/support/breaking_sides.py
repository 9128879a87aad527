"""A real router on a real ledger, between two sides that break as the test says: no HTTP, no local server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import AbstractContextManager, aclosing, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from core.chat import (
    AnswerEnded,
    ChatRequest,
    ChatResult,
    Estimate,
    Failed,
    Finished,
    ProviderEvent,
    Side,
    Signals,
    Started,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageReported,
)
from core.errors import SignalboxError
from core.ledger.ledger import Ledger
from core.pricing.prices import PriceTable
from core.providers.base import Capabilities, CheckResult, InferenceProvider
from core.routing.admission import Backend
from core.routing.circuit_breaker import Breaker, Breakers
from core.routing.idempotency import ResponseCache
from core.routing.local_queue import LocalQueue
from core.routing.machine_time import CostMeter
from core.routing.policy import Health, SideState
from core.routing.preparation import RequestPreparer
from core.routing.recovery import Backoff
from core.routing.router import Router
from core.routing.timeouts import Deadline
from core.routing.waiting import OnWait
from core.services.wiring import make_router
from core.settings import Settings
from core.structured.scoreboard import Scoreboard
from core.telemetry.metrics import Metrics
from core.telemetry.traces import Tracer

MODELS: dict[Side, str] = {"local": "tiny", "api": "claude-sonnet-4-6-20260501"}
PROVIDERS: dict[Side, str] = {"local": "vllm-local", "api": "anthropic"}
BEGUN = Usage(fresh_input_tokens=5, output_tokens=1)


@dataclass(frozen=True, slots=True)
class Breaks:
    """Sends ``events``, then raises what ``error`` makes, falls silent (``stall``) or just ends (``cut``)."""

    events: tuple[ProviderEvent, ...]
    error: Callable[[], SignalboxError] | str


@dataclass(frozen=True, slots=True)
class Replies:
    """Sends ``events`` and ends well."""

    events: tuple[ProviderEvent, ...]


Behaviour = Breaks | Replies


class Standstill:
    """The running loop's time, which jumps ahead whenever every request under way waits for a silent side.

    So a time-out of any length passes at once, and never on a request that a busy machine has held up.
    """

    def __init__(self, jump_s: float) -> None:
        self._jump_s = jump_s
        self._jumped_s = 0.0
        self._under_way = self._waiting = 0
        loop = asyncio.get_running_loop()
        real_time = loop.time
        loop.time = lambda: real_time() + self._jumped_s  # type: ignore[method-assign]
        self.clock = loop.time

    @contextmanager
    def under_way(self) -> Generator[None]:
        """A request, from its start to its end."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._look()

    @contextmanager
    def waiting(self) -> Generator[None]:
        """A side that says nothing, until it is let go."""
        self._waiting += 1
        self._look()
        try:
            yield
        finally:
            self._waiting -= 1

    def _look(self) -> None:
        if self._waiting and self._waiting == self._under_way:
            self._jumped_s += self._jump_s


class BreakingProvider:
    """``asked`` counts its streams, ``closed`` those that were let go."""

    def __init__(
        self,
        side: Side,
        behaviour: Behaviour,
        log: list[Side],
        context_tokens: int,
        standstill: Standstill,
    ) -> None:
        self.side: Side = side
        self.name = PROVIDERS[side]
        self.model = MODELS[side]
        self.capabilities = Capabilities(
            tools=True, json_schema=True, images=True, context_tokens=context_tokens
        )
        self.asked = self.closed = 0
        self._behaviour = behaviour
        self._log = log
        self._standstill = standstill

    async def stream(
        self, request: ChatRequest, on_sent: Callable[[], None] = lambda: None
    ) -> AsyncIterator[ProviderEvent]:
        on_sent()
        self.asked += 1
        self._log.append(self.side)
        try:
            for event in self._behaviour.events:
                yield event
            if isinstance(self._behaviour, Replies):
                yield AnswerEnded(self.model, "stop")
            elif self._behaviour.error == "stall":
                with self._standstill.waiting():
                    await asyncio.Event().wait()
            elif not isinstance(self._behaviour.error, str):
                raise self._behaviour.error()
        finally:
            self.closed += 1

    async def count_tokens(self, request: ChatRequest) -> int:
        return 5

    async def check(self) -> CheckResult:
        return CheckResult(models=(self.model,), latency_ms=0.1)

    async def close(self) -> None:
        """Nothing is open."""


class BreakingTrack:
    """A side as the router sees it; ``health`` and ``context_tokens`` are what the test says."""

    is_starting = False

    def __init__(self, provider: BreakingProvider, health: Health) -> None:
        self._provider = provider
        self._health: Health = health
        self._breakers = Breakers(time.monotonic)

    def breaker(self, model: str | None) -> Breaker:
        return self._breakers.of(self._provider.name, model)

    def state(self, request: ChatRequest, signals: Signals) -> SideState:
        api = self._provider.side == "api"
        breaker = self.breaker(self._provider.model)
        return SideState(
            provider=self._provider.name,
            model=self._provider.model,
            health=self._health if breaker.allows else "down",
            capabilities=self._provider.capabilities,
            estimate=Estimate(
                model=self._provider.model,
                cost_nanodollars=1_000 if api else None,
                hold_nanodollars=1_000_000 if api else 0,
            ),
            detail="" if self._health == "up" else "the test says so",
        )

    def needs_start(self) -> bool:
        return False

    async def start(self) -> None:
        """Nothing to start."""

    async def explained(self, failure: SignalboxError, since: datetime) -> SignalboxError:
        del since
        return failure

    def telling_start(self, on_wait: OnWait) -> AbstractContextManager[None]:
        del on_wait
        return nullcontext()

    def heard(self, model: str | None, error: SignalboxError | None, *, era: int) -> None:
        """Nothing is kept."""

    async def provider(self, model: str | None) -> InferenceProvider:
        return self._provider

    def learn_speed(self, result: ChatResult) -> None:
        """Nothing is estimated from it."""


@dataclass(slots=True)
class Told:
    """What one request came to: its events, and the sides that were asked, in order."""

    events: list[StreamEvent] = field(default_factory=list[StreamEvent])
    asked: list[Side] = field(default_factory=list[Side])
    left_open: int = 0

    @property
    def end(self) -> Finished | Failed:
        last = self.events[-1]
        assert isinstance(last, Finished | Failed), last
        return last

    @property
    def started(self) -> list[Side | None]:
        return [event.decision.side for event in self.events if isinstance(event, Started)]

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, TextDelta))

    @property
    def arguments(self) -> str:
        return "".join(event.arguments_json for event in self.events if isinstance(event, ToolCallDelta))

    @property
    def reported(self) -> Sequence[Usage]:
        return [event.usage for event in self.events if isinstance(event, UsageReported)]


class Workshop:
    """What all routers of a test share: the ledger in ``home``, the prices and the watchers.

    A side that falls silent is waited for ``silence_s`` of a time that jumps.
    """

    def __init__(self, home: Path, ledger: Ledger, silence_s: float) -> None:
        self.ledger = ledger
        self._standstill = Standstill(silence_s)
        self._home = home
        self._prices = PriceTable()
        self._scoreboard = Scoreboard()
        self._metrics = Metrics()

    async def ask(
        self,
        request: ChatRequest,
        settings: Settings,
        behaviours: dict[Side, Behaviour],
        *,
        health: dict[Side, Health],
        context_tokens: dict[Side, int],
    ) -> Told:
        """Run ``request`` on a router of its own, whose two sides do as they are told."""
        told = Told()
        sides: tuple[Side, Side] = ("local", "api")
        providers = {
            side: BreakingProvider(side, behaviours[side], told.asked, context_tokens[side], self._standstill)
            for side in sides
        }
        backends: dict[Side, Backend] = {side: BreakingTrack(providers[side], health[side]) for side in sides}
        router = self._router(settings, backends)
        deadline = Deadline.after(request, clock=self._standstill.clock)
        with self._standstill.under_way():
            async with aclosing(router.stream(request, deadline)) as events:
                async for event in events:
                    told.events.append(event)
        told.left_open = sum(provider.asked - provider.closed for provider in providers.values())
        return told

    def _router(self, settings: Settings, backends: dict[Side, Backend]) -> Router:
        machine = CostMeter()
        preparer = RequestPreparer(
            settings=lambda: settings,
            prices=self._prices,
            machine=machine,
            templates_folder=self._home / "templates",
            api_model=lambda _: MODELS["api"],
            local_model=lambda: MODELS["local"],
            prefill_tokens_per_s=lambda: None,
        )
        return make_router(
            settings=lambda: settings,
            ledger=lambda: self.ledger,
            prices=self._prices,
            backends=backends,
            preparer=preparer,
            queue=LocalQueue(time.monotonic),
            machine=machine,
            scoreboard=self._scoreboard,
            metrics=self._metrics,
            tracer=Tracer(),
            wait_for_local=_no_wait,
            answers=ResponseCache(time.monotonic),
            backoff=Backoff(random=lambda: 0.0),
        )


async def _no_wait(seconds: float) -> None:
    """A server that is starting does not come up in these tests."""
