"""A core whose decisions and streams a test writes line by line; everything else is the fake core's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from core.chat import (
    ChatRequest,
    ChatResult,
    Failed,
    Finished,
    PromptProgress,
    RouteDecision,
    Started,
    Stopped,
    StreamEvent,
    TextDelta,
    UsageReported,
    Waiting,
)
from core.context.trimming import plan_summary
from core.errors import SignalboxError
from core.pricing.prices import PriceTable
from core.routing.request_stream import RequestStream, StopRequested, StopSwitch
from tests.gui.chat.builders import make_decision, make_result
from tests.support.fake_core import FakeCore


class Gate:
    """Opened by the test on one loop, waited for by the core on another."""

    def __init__(self) -> None:
        self._opened = threading.Event()

    def open(self) -> None:
        self._opened.set()

    async def wait(self) -> None:
        while not self._opened.is_set():  # noqa: ASYNC110 - an asyncio.Event belongs to one loop
            await asyncio.sleep(0.002)


@dataclass
class Script:
    """What one request answers. ``error`` ends it; a ``gate`` holds it up after ``before`` pieces until opened.

    ``waits`` are told before it leaves (``after_start``: once it left, as is an error); ``wait_gate`` ends them.
    """

    text: str = "Paris is the capital of France."
    side: str = "local"
    pieces: int = 4
    delay_s: float = 0.0
    error: SignalboxError | None = None
    before: int = 0
    gate: Gate | None = None
    decision: RouteDecision | None = None
    result: dict[str, Any] = field(default_factory=dict)
    waits: tuple[Waiting | PromptProgress | UsageReported, ...] = ()
    after_start: bool = False
    wait_gate: Gate | None = None


class ScriptedCore(FakeCore):
    """``scripts`` are taken one a request; ``requests`` and ``closed`` say what happened."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.prices = PriceTable()
        self.scripts: list[Script] = []
        self.requests: list[ChatRequest] = []
        self.decided: list[ChatRequest] = []
        self.closed: list[str] = []
        self.decide_with: Callable[[ChatRequest], RouteDecision] = lambda request: make_decision(
            request.force or "local"
        )
        self.decide_gate: Gate | None = None
        self.windows: list[int] = []
        self.summary_gate: Gate | None = None
        self.summary_error: SignalboxError | None = None
        self.summaries_ended = 0

    def say(self, *scripts: Script) -> None:
        self.scripts.extend(scripts)

    async def decide(self, request: ChatRequest) -> RouteDecision:
        self.decided.append(request)
        if self.decide_gate is not None:
            await self.decide_gate.wait()
        return self.decide_with(request)

    async def summarised(self, request: ChatRequest, window_tokens: int) -> ChatRequest:
        self.windows.append(window_tokens)
        try:
            if self.summary_gate is not None:
                await self.summary_gate.wait()
            if self.summary_error is not None:
                raise self.summary_error
            plan = plan_summary(request, window_tokens)
            return request if plan is None else plan.apply("They spoke of towns.").request
        finally:
            self.summaries_ended += 1

    def stream(self, request: ChatRequest) -> RequestStream:
        script = self.scripts.pop(0) if self.scripts else Script()
        decision = script.decision or make_decision(script.side)  # type: ignore[arg-type]
        result = replace(
            make_result(script.text, decision.side or "local", correlation_id=request.correlation_id),
            decision=decision,
            **script.result,
        )
        return stream_of(
            self._events(request, script, decision, result),
            request.correlation_id,
            lambda: replace(result, finish_reason="stopped_by_user"),
        )

    async def _events(
        self, request: ChatRequest, script: Script, decision: RouteDecision, result: ChatResult
    ) -> AsyncGenerator[StreamEvent, None]:
        self.requests.append(request)
        try:
            if not script.after_start:
                async for event in _waited(script):
                    yield event
            if script.error is not None and script.before == 0:
                if script.gate is not None:
                    await script.gate.wait()
                if script.after_start:
                    yield Started(decision, request.correlation_id, 0)
                yield Failed(script.error)
                return
            hold = 16_700_000 if decision.side == "api" else 0
            yield Started(decision, request.correlation_id, hold)
            if script.after_start:
                async for event in _waited(script):
                    yield event
                yield Started(decision, request.correlation_id, hold)
            size = max(1, -(-len(script.text) // script.pieces))
            pieces = [script.text[at : at + size] for at in range(0, len(script.text), size)]
            for number, piece in enumerate(pieces):
                if script.gate is not None and number == script.before:
                    await script.gate.wait()
                if script.error is not None and number == script.before:
                    break
                await asyncio.sleep(script.delay_s)
                yield TextDelta(piece)
            if script.error is not None:
                text = "".join(pieces[: script.before])
                yield Failed(script.error, replace(result, text=text, finish_reason="unknown"))
            else:
                yield Finished(result)
        finally:
            self.closed.append(request.correlation_id)


def stream_of(
    events: AsyncGenerator[StreamEvent, None], request_id: str, stopped: Callable[[], ChatResult]
) -> RequestStream:
    """Return ``events`` as the core gives them: a stop ends them in a ``Stopped``."""
    switch = StopSwitch()

    async def run() -> AsyncGenerator[StreamEvent, None]:
        has_left = False
        try:
            async with aclosing(events):
                async for event in events:
                    has_left = has_left or isinstance(event, Started)
                    yield event
        except (asyncio.CancelledError, StopRequested) as cause:
            if not switch.take(cause):
                raise
            yield switch.finish(Stopped(stopped() if has_left else None))

    return RequestStream(run(), switch, request_id, lambda: None)


async def _waited(script: Script) -> AsyncGenerator[StreamEvent, None]:
    for waiting in script.waits:
        yield waiting
    if script.waits and script.wait_gate is not None:
        await script.wait_gate.wait()
