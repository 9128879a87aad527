"""Helpers of the provider tests: drain a stream, keep what arrived, and the error that ended it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from core.chat import AnswerEnded, ChatRequest, ProviderEvent, TextDelta, Tool, Usage, UsageReported
from core.errors import SignalboxError
from core.providers import AnswerCollector, InferenceProvider
from core.providers.usage import AnthropicReports, OpenAIReports

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""The example of the W3C's Trace Context."""
WEATHER = Tool(
    name="weather",
    description="The weather of a city",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


class Lost(asyncio.Event):
    """Set when the client has gone; ``asked`` when a whole request had come."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()


@asynccontextmanager
async def silent_server() -> AsyncIterator[tuple[str, Lost]]:
    """A server that takes a request and says nothing, not even headers, until the client goes."""
    lost = Lost()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        lost.asked.set()
        while await reader.read(65536):
            pass
        lost.set()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", lost


@asynccontextmanager
async def unanswering_port() -> AsyncIterator[int]:
    """A port whose queue of connections is full: the system lets a new one wait, as a firewall would."""
    loop = asyncio.get_running_loop()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        tries: list[asyncio.Task[None]] = []
        for one in waiting:
            one.setblocking(False)
            tries.append(asyncio.ensure_future(loop.sock_connect(one, listener.getsockname())))
        await asyncio.wait(tries[:1])
        try:
            yield listener.getsockname()[1]
        finally:
            for attempt in tries:
                attempt.cancel()
            await asyncio.gather(*tries, return_exceptions=True)
            for one in waiting:
                one.close()


@dataclass
class Drained:
    """Everything a stream gave, and the error it ended with."""

    events: list[ProviderEvent] = field(default_factory=list)
    error: SignalboxError | None = None

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, TextDelta))

    @property
    def usages(self) -> list[Usage]:
        return [event.usage for event in self.events if isinstance(event, UsageReported)]

    @property
    def ended(self) -> AnswerEnded:
        assert self.error is None, self.error
        (ended,) = [event for event in self.events if isinstance(event, AnswerEnded)]
        assert self.events[-1] is ended
        return ended

    @property
    def collector(self) -> AnswerCollector:
        collector = AnswerCollector()
        collector.add_all(self.events)
        return collector


def anthropic_usage(*reports: Any) -> Usage | None:
    """Return the usage after these reports on Anthropic's wire."""
    read = AnthropicReports()
    for report in reports:
        read.add(report)
    return read.usage


def openai_usage(*reports: Any) -> Usage | None:
    """Return the usage after these reports on the OpenAI wire."""
    read = OpenAIReports()
    for report in reports:
        read.add(report)
    return read.usage


async def drain(provider: InferenceProvider, request: ChatRequest | str, **options: Any) -> Drained:
    """Read a stream to its end; anything but a ``SignalboxError`` propagates and fails the test."""
    if isinstance(request, str):
        request = ChatRequest.from_prompt(request, **options)
    drained = Drained()
    try:
        async with aclosing(provider.stream(request)) as events:  # type: ignore[type-var]
            async for event in events:
                drained.events.append(event)
    except SignalboxError as error:
        drained.error = error
    return drained
