"""Server-sent events: the one reader of every streamed answer, whatever the wire.

``EventStreamParser`` turns bytes into events by the WHATWG's standard (HTML, section 9.2), however they are cut.
``AnswerStream`` drives it over an open HTTP response and lets a wire's reader say what each event means. It ends
the answer where the wire says that it ends, also when the body stays open behind it, and it knows a body that is no
event stream (a whole JSON answer, a web page). The SDKs connect, authenticate and read refusals; what streams is
read here, since their typed model of each chunk costs more than everything else of a request.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any, Literal, NamedTuple, Protocol, Self, TypeVar

import httpx2
import msgspec

from core.chat import (
    AnswerEnded,
    OutputProgress,
    PromptProgress,
    ProviderEvent,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)
from core.errors import SignalboxError
from core.providers.errors import Endpoint, is_a_web_page, is_too_long, provider_failure, went_too_far

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_EVENT_BYTES = 16 * 2**20
"""Longest line, event or whole JSON answer; a sealed block of thinking may have hundreds of kilobytes."""
MOST_BYTES_PER_TOKEN = 64
"""A token has about 4 bytes of output; the longest are runs of blanks."""
SPARE_OUTPUT_BYTES = 64 * 1024
_LEAST_CALL_BYTES = 256
"""What a tool call counts for at least: an answer of nothing but names is bounded too."""
_MOST_WIRE_BYTES_PER_TOKEN = 4 * 1024
"""An event a token with counts beside it has 400 bytes."""
SPARE_WIRE_BYTES = 2 * MAX_EVENT_BYTES
TAIL_TIMEOUT_S = 5.0
"""How long an answer that has said its reason to end is waited for: its usage may come in its own event."""
_DRAIN_TIMEOUT_S = 0.1
_DRAIN_MOST_BYTES = 64 * 1024
_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"
_BEGINNING_BYTES = 1024
"""How far the first character of a body is looked for."""

_BODY_ENDS = (httpx2.RequestError, httpx2.StreamError, OSError, TimeoutError)
"""What reading the body behind a whole answer may meet."""

BodyKind = Literal["not known", "events", "json", "page"]


class ServerSentEvent(NamedTuple):
    """``name`` is empty where the server named none."""

    name: bytes
    data: bytes


class ErrorEvent(Exception):
    """An error that a server told with HTTP 200; it has the shape of an SDK's error, so it is told like one."""

    status_code = 200

    def __init__(self, body: Any) -> None:
        super().__init__("the server reported an error in its stream")
        self.body = body
        self.response: httpx2.Response | None = None


class EventStreamParser:
    """Turns the bytes of a body into events, in whatever pieces they come.

    Lines end with LF, CR or CRLF; a BOM, comments, ``id``, ``retry`` and unknown fields mean nothing, and neither
    does an event without data. One field beyond the standard is known: llama.cpp writes ``error: {...}``. A body
    whose first character begins JSON or HTML is no event stream: no field of one begins so.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.kind: BodyKind = "not known"
        self.too_long = False
        """A line, an event or a JSON body went beyond the limit; nothing is read from there on."""
        self._max_bytes = max_event_bytes
        self._head = b""
        self._bom_seen = False
        self._after_cr = False
        self._line: list[bytes] = []
        self._line_bytes = 0
        self._name = b""
        self._data: list[bytes] = []
        self._data_bytes = 0

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Return the events that ``chunk`` completes."""
        if self.kind == "not known":
            chunk = self._begin(chunk)
        if self.kind == "events":
            return [] if self.too_long or not chunk else self._lines(chunk)
        if self.kind == "json":
            self._keep(chunk)
        return []

    def json_body(self) -> bytes:
        """Return the whole of a body that is JSON."""
        return b"".join(self._line)

    def _begin(self, chunk: bytes) -> bytes:
        """Find out what the body is; returns what is to be read of it, nothing as long as that is not known."""
        head = self._head + chunk
        if not self._bom_seen:
            if len(head) < len(_BOM) and _BOM.startswith(head):
                self._head = head
                return b""
            self._bom_seen = True
            head = head.removeprefix(_BOM)
        begins = head[:_BEGINNING_BYTES].lstrip(_BLANK)[:1]
        if not begins and len(head) < _BEGINNING_BYTES:
            self._head = head
            return b""
        self._head = b""
        self.kind = "json" if begins in (b"{", b"[") else "page" if begins == b"<" else "events"
        return head

    def _keep(self, piece: bytes) -> None:
        """Keep the beginning of a line (or of a JSON body) whose end has not come."""
        self._line_bytes += len(piece)
        if self._line_bytes > self._max_bytes:
            self._overflow()
        elif piece:
            self._line.append(piece)

    def _lines(self, chunk: bytes) -> list[ServerSentEvent]:
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]  # the second half of a CRLF
            if not chunk:
                self._after_cr = False
                return []
        self._after_cr = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = chunk.split(b"\n")
        rest = lines.pop()
        events: list[ServerSentEvent] = []
        if lines and self._line:
            self._keep(lines[0])
            lines[0] = b"".join(self._line)
            self._line, self._line_bytes = [], 0
        for line in lines:
            if self.too_long:
                return events
            if len(line) > self._max_bytes:
                self._overflow()
            elif line.startswith(b"data:"):
                self._add(line[5:])
            elif line:
                self._field(line)
            else:
                if self._data_bytes:
                    events.append(ServerSentEvent(self._name, b"\n".join(self._data)))
                self._name, self._data, self._data_bytes = b"", [], 0
        self._keep(rest)
        return events

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"event":
            self._name = value.removeprefix(b" ")
        elif name == b"error":
            self._name = name
            self._add(value)
        elif name == b"data":  # the word alone
            self._add(value)

    def _add(self, value: bytes) -> None:
        value = value.removeprefix(b" ")
        self._data.append(value)
        self._data_bytes += len(value)
        if self._data_bytes + len(self._data) > self._max_bytes:
            self._overflow()

    def _overflow(self) -> None:
        self.too_long = True
        self._line, self._data = [], []


def decode_json(data: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Return ``data`` as the decoder's type.

    What msgspec does not take is read by Python's reader: half of a surrogate pair (a server may cut an emoji into
    two events), and bytes that are no UTF-8, which become U+FFFD as the standard of event streams says.

    Raises:
        ValueError: it is no JSON, or of another shape.
    """
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return msgspec.convert(json.loads(data.decode("utf-8", "replace")), decoder.type)


_ANYTHING: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Any)


def decode_error(data: bytes) -> ErrorEvent:
    """Return the error that an event tells; one that is no JSON is told in its own words."""
    try:
        return ErrorEvent(decode_json(data, _ANYTHING))
    except (ValueError, RecursionError):
        return ErrorEvent(data.decode("utf-8", "replace"))


def decode_anything(data: bytes) -> Any:
    """Return a JSON body of any shape.

    Raises:
        ValueError: it is none.
    """
    return decode_json(data, _ANYTHING)


def _output_bytes(event: ProviderEvent) -> int:
    """Return about how much a piece of an answer is: what has characters beyond ASCII is more."""
    if isinstance(event, TextDelta):
        return len(event.text)
    if isinstance(event, ToolCallDelta):
        size = len(event.arguments_json)
        return size if event.id is None else size + _LEAST_CALL_BYTES
    return event.hidden_bytes if isinstance(event, OutputProgress) else 0


def _after_usage(event: ProviderEvent) -> bool:
    return not isinstance(event, UsageReported)


class WireReader(Protocol):
    """What the events of one wire mean. One reader reads one answer."""

    is_ending: bool
    """The answer is whole; its usage may still come."""
    is_complete: bool
    """Nothing that matters can follow."""

    def read(self, event: ServerSentEvent) -> list[ProviderEvent]:
        """Return what an event means.

        Raises:
            ErrorEvent: it tells an error.
            ValueError: it is no event of this wire.
        """
        ...

    def read_whole(self, body: bytes) -> list[ProviderEvent]:
        """Return what a JSON answer means that came instead of a stream; raises as ``read`` does."""
        ...

    def last_events(self) -> list[ProviderEvent]:
        """Return what is known and was not told yet."""
        ...

    def end(self, dropped: tuple[str, ...]) -> AnswerEnded:
        """Return the last event, or raise where the answer has no end."""
        ...


class AnswerStream:
    """One streamed answer: an open response and the reader of its wire. A context manager that closes the response.

    It is read piece by piece and is no generator: a token passes one layer less. ``max_tokens`` is what was asked
    for: an answer that goes on far beyond it ends as broken off.
    """

    def __init__(
        self, response: httpx2.Response, reader: WireReader, endpoint: Endpoint, *, max_tokens: int
    ) -> None:
        self._response = response
        self._reader = reader
        self._endpoint = endpoint
        self._parser = EventStreamParser()
        self._chunks: AsyncGenerator[bytes, None] = response.aiter_bytes()
        self._max_tokens = max_tokens
        self._left_output_bytes = SPARE_OUTPUT_BYTES + MOST_BYTES_PER_TOKEN * max_tokens
        self._left_wire_bytes = SPARE_WIRE_BYTES + _MOST_WIRE_BYTES_PER_TOKEN * max_tokens
        self._begun = False
        self._over = False
        self._tail_until: float | None = None
        self._failure: SignalboxError | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._chunks.aclose()
        finally:
            await self._response.aclose()

    async def read(self) -> list[ProviderEvent]:
        """Return what the next bytes mean; nothing once the answer is over.

        Raises:
            SignalboxError: by kind, after everything that came before it was returned.
        """
        told: list[ProviderEvent] = []
        while not self._over and not told:
            try:
                await self._read_into(told)
            except Exception as error:  # noqa: BLE001  as in told_as_failure; what came before it is told first
                self._over = True
                told.extend(self._reader.last_events())
                if isinstance(error, ErrorEvent):
                    error.response = self._response
                self._failure = provider_failure(error, self._endpoint, begun=self._begun)
                if self._failure is not error:
                    self._failure.__cause__ = error
        for event in told:
            self._left_output_bytes -= _output_bytes(event)
        if self._left_output_bytes < 0:
            told = self._cut_off(told)
        if not told and self._failure is not None:
            raise self._failure
        # What is known of the bill first: a reader that stops at the first piece of text must not lose it.
        return sorted(told, key=_after_usage) if len(told) > 1 else told

    def _cut_off(self, told: list[ProviderEvent]) -> list[ProviderEvent]:
        """End an answer that goes on beyond its bound with what ``told`` has within it; what was counted stays."""
        self._over = True
        self._failure = went_too_far(self._endpoint, self._max_tokens)
        kept: list[ProviderEvent] = []
        beyond = -self._left_output_bytes
        for event in reversed(told):
            if beyond > 0 and not isinstance(event, UsageReported):
                size = _output_bytes(event)
                if size > beyond and isinstance(event, TextDelta):
                    kept.append(TextDelta(event.text[: size - beyond]))
                beyond -= size
            else:
                kept.append(event)
        self._left_output_bytes = 0
        return kept[::-1]

    async def _read_into(self, told: list[ProviderEvent]) -> None:
        reader, parser = self._reader, self._parser
        if reader.is_complete:
            self._over = True
            await self._drain()
            return
        chunk = await (self._tail_chunk() if reader.is_ending else anext(self._chunks, None))
        if chunk is None:
            self._over = True
            if parser.kind == "json" and not parser.too_long:
                told.extend(reader.read_whole(parser.json_body()))
            told.extend(reader.last_events())
            return
        self._left_wire_bytes -= len(chunk)
        if self._left_wire_bytes < 0:
            raise went_too_far(self._endpoint, self._max_tokens)
        for event in parser.feed(chunk):
            news = reader.read(event)
            # While the prompt is read the answer has not begun: a silence is then one before the first token.
            self._begun = self._begun or not news or not isinstance(news[0], PromptProgress)
            told.extend(news)
            if reader.is_complete:
                told.extend(reader.last_events())
                return
        if parser.too_long:
            raise is_too_long(self._endpoint, parser.kind == "json", MAX_EVENT_BYTES)
        if parser.kind == "page":
            raise is_a_web_page(self._endpoint)

    async def _tail_chunk(self) -> bytes | None:
        """Return the next bytes behind a whole answer; ``None`` also where they break off, or do not come."""
        if self._tail_until is None:
            self._tail_until = asyncio.get_running_loop().time() + TAIL_TIMEOUT_S
        try:
            async with asyncio.timeout_at(self._tail_until):
                return await anext(self._chunks, None)
        except _BODY_ENDS as error:  # or time is up: the answer is there all the same
            log.debug("the end of a whole answer's body is missing (%s)", type(error).__name__)
            return None

    async def _drain(self) -> None:
        """Read the end of the body, so that the connection can serve the next request."""
        drained_bytes = 0
        try:
            async with asyncio.timeout(_DRAIN_TIMEOUT_S):
                while drained_bytes <= _DRAIN_MOST_BYTES:
                    chunk = await anext(self._chunks, None)
                    if chunk is None:
                        return
                    drained_bytes += len(chunk)
        except _BODY_ENDS as error:
            log.debug("the body of a whole answer did not end (%s)", type(error).__name__)
