"""A fake Anthropic server that keeps books of its own, and misbehaves in every way a real one can.

What it bills, and at which prices, is written here anew and shares no code with the product: the input by its
own count as soon as a message starts, every output token it generated until it noticed that the client had
left, cached tokens in their classes. Each reply's fate is drawn from ``seed``, the request's identifier and how
often that came, so a run can be repeated although requests race.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from aiohttp import web

from tests.support.anthropic_server import AnthropicServer, error_body, sse
from tests.support.wire_server import WireServer

T = TypeVar("T")

# Nano-dollars a token: fresh input, cache read, 5-minute write, 1-hour write, output (Anthropic's price list).
PRICES = {
    "claude-sonnet-4-6-20260501": (3_000, 300, 3_750, 6_000, 15_000),
    "claude-haiku-4-5-20251001": (1_000, 100, 1_250, 2_000, 5_000),
    "claude-opus-5": (5_000, 500, 6_250, 10_000, 25_000),
}
MARKER = re.compile(r"\[request ([0-9a-f-]{36})\]")
STALL_S = 30.0
"""How long a stalled reply stays silent: longer than any client of a test waits."""

FATES = {
    "answers": 50,
    "answers at full length": 6,
    "stalls before the first token": 4,
    "stalls in the middle": 5,
    "429": 4,
    "429 with Retry-After": 1,
    "529": 4,
    "500": 4,
    "takes the request and breaks off": 4,
    "breaks off in the middle": 6,
    "breaks off after the usage": 2,
    "says error in the middle": 4,
    "ends early": 3,
    "sends nonsense": 3,
}
PIECES = ("a", "to", " of", " the", " word", "tion, ", " answer", " (signal) ", "é", "、")


@dataclass(slots=True)
class Booking:
    """One line of the books. ``finished``: the last usage went out, and the client may know it."""

    correlation_id: str
    model: str
    fate: str
    fresh_input_tokens: int
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    finished: bool = False

    @property
    def input_tokens(self) -> int:
        written = self.cache_write_5m_tokens + self.cache_write_1h_tokens
        return self.fresh_input_tokens + self.cache_read_tokens + written

    @property
    def nanodollars(self) -> int:
        counts = (
            self.fresh_input_tokens,
            self.cache_read_tokens,
            self.cache_write_5m_tokens,
            self.cache_write_1h_tokens,
            self.output_tokens,
        )
        return sum(count * price for count, price in zip(counts, PRICES[self.model], strict=True))

    def usage(self) -> dict[str, Any]:
        """The usage as a message's start tells it: one output token, whatever comes."""
        return {
            "input_tokens": self.fresh_input_tokens,
            "cache_read_input_tokens": self.cache_read_tokens,
            "cache_creation_input_tokens": self.cache_write_5m_tokens + self.cache_write_1h_tokens,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.cache_write_5m_tokens,
                "ephemeral_1h_input_tokens": self.cache_write_1h_tokens,
            },
            "output_tokens": 1,
        }


class Bookkeeper(AnthropicServer):
    """``fates`` are what may happen to a request, by weight. ``run_ahead`` is the most output tokens it generates
    (and bills) after its client has left; ``paces_s`` are the times it may take for each token.
    """

    def __init__(
        self,
        seed: int,
        *,
        fates: dict[str, int] = FATES,
        run_ahead: int = 8,
        paces_s: Sequence[float] = (0, 0, 0.001, 0.004),
    ) -> None:
        super().__init__()
        self.ledger: list[Booking] = []
        self.handles_that_differ: list[str] = []
        self._seed = seed
        self._fates = fates
        self._run_ahead = run_ahead
        self._paces_s = paces_s
        self._arrivals: defaultdict[str, int] = defaultdict(int)
        self._cached: set[int] = set()
        self._active = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._events = 0
        self._alarm: tuple[int, Callable[[], None]] | None = None

    # -- for the test, from its own thread ------------------------------------------------------------------

    def ring_after(self, events: int) -> threading.Event:
        """Return an event that is set once that many more things have happened here: arrivals, pieces, ends."""
        rung = threading.Event()
        self._alarm = (self._events + events, rung.set)
        return rung

    async def wait_quiet(self) -> None:
        """Return when every connection of a client that left has been noticed and booked."""
        await self._quiet.wait()

    # -- the wire -------------------------------------------------------------------------------------------

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        received = self.received.pop()
        body = received.body
        (marked,) = set(MARKER.findall(json.dumps(body["messages"]))) or {""}
        correlation_id = received.headers.get("x-correlation-id", "")
        if correlation_id != marked:
            self.handles_that_differ.append(f"{marked} came with the header {correlation_id!r}")
        self._arrivals[correlation_id] += 1
        nth = self._arrivals[correlation_id]
        random = Random(f"{self._seed}:{correlation_id}:{nth}")
        (fate,) = random.choices(list(self._fates), list(self._fates.values()))
        self._active += 1
        self._quiet.clear()
        self._happened()
        try:
            return await self._meet(request, body, correlation_id, nth, fate, random)
        finally:
            self._active -= 1
            self._happened()
            if not self._active:
                self._quiet.set()

    def _happened(self) -> None:
        self._events += 1
        if self._alarm is not None and self._events >= self._alarm[0]:
            _, ring = self._alarm
            self._alarm = None
            ring()

    async def _meet(
        self, request: web.Request, body: Any, correlation_id: str, nth: int, fate: str, random: Random
    ) -> web.StreamResponse:
        await asyncio.sleep(random.random() * 0.03)
        refusals = {"429": "rate_limit_error", "529": "overloaded_error", "500": "api_error"}
        if fate.split()[0] in refusals:
            status = fate.split()[0]
            headers = {"retry-after": "1"} if "Retry-After" in fate else {}
            return web.json_response(error_body(refusals[status], "No."), status=int(status), headers=headers)
        booking = self._book(body, correlation_id, nth, fate)
        if fate == "takes the request and breaks off":
            booking.output_tokens = random.randint(0, body["max_tokens"])
            self.cut(request)
            return web.Response()
        try:
            return await self._generate(request, body["max_tokens"], booking, random)
        except (asyncio.CancelledError, ConnectionResetError):
            # The client is gone. What was generated until that was noticed is billed too.
            ahead = random.randint(0, self._run_ahead)
            if not booking.finished:
                booking.output_tokens = min(body["max_tokens"], booking.output_tokens + ahead)
            raise

    def _book(self, body: Any, correlation_id: str, nth: int, fate: str) -> Booking:
        """Count the input: a token for three bytes, and one more for each time the request came before."""
        cached, ttl, fresh = _split_at_last_mark(body)
        booking = Booking(
            correlation_id=correlation_id,
            model=body["model"],
            fate=fate,
            fresh_input_tokens=len(fresh.encode()) // 3 + nth,
        )
        if cached:
            count, name = len(cached.encode()) // 3, hash((body["model"], cached))
            if name in self._cached:
                booking.cache_read_tokens = count
            elif ttl == "1h":
                booking.cache_write_1h_tokens = count
            else:
                booking.cache_write_5m_tokens = count
            self._cached.add(name)
        self.ledger.append(booking)
        return booking

    async def _generate(
        self, request: web.Request, max_tokens: int, booking: Booking, random: Random
    ) -> web.StreamResponse:
        fate = booking.fate
        response = await self.open_stream(request)
        message = {"id": "msg_test", "type": "message", "role": "assistant", "content": []}
        start = {"message": {**message, "model": booking.model, "usage": booking.usage()}}
        booking.output_tokens = 1  # said to have been generated already
        await response.write(sse("message_start", start))
        if fate == "stalls before the first token":
            await asyncio.sleep(STALL_S)
        block = {"index": 0, "content_block": {"type": "text", "text": ""}}
        await response.write(sse("content_block_start", block))
        length = max_tokens if fate == "answers at full length" else random.randint(1, max_tokens)
        stops_at = random.randint(0, length) if "middle" in fate or fate.startswith(("sends", "ends")) else -1
        pace_s = random.choice(self._paces_s)
        for position in range(length + 1):
            if position == stops_at:
                return await self._misbehave(request, response, booking)
            if position == length:
                break
            booking.output_tokens = position + 1
            delta = {"type": "text_delta", "text": random.choice(PIECES)}
            await response.write(sse("content_block_delta", {"index": 0, "delta": delta}))
            self._happened()
            await asyncio.sleep(pace_s)
        await response.write(sse("content_block_stop", {"index": 0}))
        delta = {"stop_reason": "max_tokens" if length == max_tokens else "end_turn", "stop_sequence": None}
        final = {"delta": delta, "usage": {"output_tokens": booking.output_tokens}}
        booking.finished = True
        await response.write(sse("message_delta", final))
        if fate == "breaks off after the usage":
            await asyncio.sleep(0.02)
            self.cut(request)
            return response
        await response.write(sse("message_stop", {}))
        await response.write_eof()
        return response

    async def _misbehave(
        self, request: web.Request, response: web.StreamResponse, booking: Booking
    ) -> web.StreamResponse:
        if booking.fate == "stalls in the middle":
            await asyncio.sleep(STALL_S)
        if booking.fate in ("stalls in the middle", "breaks off in the middle"):
            self.cut(request)
            return response
        if booking.fate == "says error in the middle":
            await response.write(sse("error", error_body("overloaded_error", "Overloaded")))
        elif booking.fate == "sends nonsense":
            await response.write(b'event: content_block_delta\ndata: {"index": 0, "delta": {"ty\n\n')
        await response.write_eof()
        return response

    async def _count(self, request: web.Request) -> web.StreamResponse:
        cached, _, fresh = _split_at_last_mark(self.received.pop().body)
        # Room for what a request that comes again is billed beside its text.
        tokens = len(cached.encode()) // 3 + len(fresh.encode()) // 3 + 8
        return web.json_response({"input_tokens": tokens})


def _split_at_last_mark(body: Any) -> tuple[str, str, str]:
    """Return the text up to the last ``cache_control`` mark, that mark's lifetime, and the text after it."""
    blocks: list[Any] = []
    for content in (body.get("system") or [], *(message["content"] for message in body["messages"])):
        blocks += [{"text": content}] if isinstance(content, str) else content
    marked = [place for place, block in enumerate(blocks) if block.get("cache_control")]
    texts = [str(block.get("text") or "") for block in blocks]
    if not marked:
        return "", "", "".join(texts)
    last = marked[-1]
    lifetime = blocks[last]["cache_control"].get("ttl", "5m")
    return "".join(texts[: last + 1]), lifetime, "".join(texts[last + 1 :])


class ServerThread:
    """Servers on a loop in a thread of their own, so that a test may block while they answer."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-servers", daemon=True)
        self._thread.start()

    def run(self, coroutine: Any, timeout_s: float = 60) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result(timeout_s)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@contextmanager
def served(make: Callable[[], T], *more: Callable[[], WireServer]) -> Generator[tuple[Any, ...]]:
    """Start servers in one thread; yields that ``ServerThread`` and each server."""
    thread = ServerThread()

    async def start() -> list[Any]:
        return [await one().__aenter__() for one in (make, *more)]  # pyright: ignore

    servers = thread.run(start())
    try:
        yield (thread, *servers)
    finally:
        for server in servers:
            thread.run(server.stop())
        thread.end()
