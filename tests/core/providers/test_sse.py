"""The reader of event streams: by the standard, however the bytes are cut, and bounded."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Iterable
from itertools import pairwise
from typing import Any, cast

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.chat import ProviderEvent, TextDelta, Usage, UsageReported
from core.errors import SignalboxError, Unavailable
from core.providers import AnswerCollector, sse
from core.providers.anthropic_stream import AnthropicReader
from core.providers.errors import Endpoint
from core.providers.openai_stream import OpenAIReader
from core.providers.sse import AnswerStream, EventStreamParser, ServerSentEvent, WireReader
from tests.support.anthropic_server import sse as anthropic_event
from tests.support.openai_server import chunk, data
from tests.support.usage_reports import assert_nothing_is_lost, is_in_doubt, odd_report

Event = tuple[bytes, bytes]
ENDPOINT = Endpoint(
    who="The server",
    side="api",
    base_url="http://127.0.0.1:1",
    key_setting="KEY",
    url_setting="URL",
    timeout_s=1,
)


def events_of(*chunks: bytes, max_event_bytes: int = sse.MAX_EVENT_BYTES) -> list[Event]:
    parser = EventStreamParser(max_event_bytes)
    return [(event.name, event.data) for one in chunks for event in parser.feed(one)]


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(stream) + 1) for place in places}), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [(b"", b"a")]),
        (b"data: a\r\rdata: b\r\n\r\n", [(b"", b"a"), (b"", b"b")]),
        (b"\xef\xbb\xbfdata: a\n\n", [(b"", b"a")]),
        (
            b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n",
            [(b"", b"b")],
        ),  # a second BOM is part of the name
        (b"data:a\n\n", [(b"", b"a")]),
        (b"data:  a \n\n", [(b"", b" a ")]),
        (b"data\n\ndata:\n\ndata: \n\n", []),
        (b"event: x\n\ndata: a\n\n", [(b"", b"a")]),  # a name without data ends with its event
        (b"event: x\ndata: a\n\ndata: b\n\n", [(b"x", b"a"), (b"", b"b")]),
        (b"data: a\nevent:x\n\n", [(b"x", b"a")]),
        (b"data: a\ndata: b\n\n", [(b"", b"a\nb")]),
        (b": ping\n\n:\nid: 7\nretry: 10\nfoo: bar\ndataa: x\ndata: a\n\n", [(b"", b"a")]),
        (b'error: {"code": 500}\n\n', [(b"error", b'{"code": 500}')]),
        (b"data: a\n", []),  # an event without its end is none
        (b"\n\n\n", []),
        (b"", []),
    ],
)
def test_events_are_read_by_the_standard_wherever_they_are_cut(stream: bytes, events: list[Event]) -> None:
    assert events_of(stream) == events
    assert events_of(*(bytes([byte]) for byte in stream)) == events
    for place in range(len(stream)):
        assert events_of(stream[:place], stream[place:]) == events


FIELDS = st.sampled_from(
    [b"data", b"event", b"id", b"error", b": c", b"data:", b"data: ", b"", b"\xef\xbb\xbfdata"]
)
LINES = st.tuples(FIELDS, st.binary(max_size=6), st.sampled_from([b"\n", b"\r", b"\r\n"])).map(b"".join)


@settings(deadline=None)
@given(lines=st.lists(LINES, max_size=20), places=st.lists(st.integers(0, 10_000), max_size=40))
def test_cuts_change_nothing(lines: list[bytes], places: list[int]) -> None:
    stream = b"".join(lines)
    assert events_of(*cut(stream, places)) == events_of(stream)


@settings(deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=10))
def test_any_bytes_are_read_alike_cut_or_not(stream: bytes, places: list[int]) -> None:
    whole, parts = EventStreamParser(64), EventStreamParser(64)
    events = whole.feed(stream)
    assert [event for one in cut(stream, places) for event in parts.feed(one)] == events
    assert (parts.kind, parts.too_long) == (whole.kind, whole.too_long)


@pytest.mark.parametrize(
    "endless", [b"data: " + b"x" * 100, b"data: x\n" * 40, b": " + b"x" * 100, b"data\n" * 100]
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_line_or_event_without_an_end_is_given_up(endless: bytes, size: int) -> None:
    parser = EventStreamParser(64)
    stream = b"data: first\n\n" + endless + b"\n\ndata: later\n\n"
    events = [event for at in range(0, len(stream), size) for event in parser.feed(stream[at : at + size])]
    assert [event.data for event in events] == [b"first"]
    assert parser.too_long


class Body:
    """An open response of exactly these pieces; ``breaks`` instead of its end."""

    def __init__(self, *pieces: bytes, breaks: Exception | None = None) -> None:
        self.pieces = pieces
        self.breaks = breaks
        self.headers: dict[str, str] = {}
        self.closed = False

    async def aiter_bytes(self) -> AsyncGenerator[bytes, None]:
        for piece in self.pieces:
            yield piece
        if self.breaks is not None:
            raise self.breaks

    async def aclose(self) -> None:
        self.closed = True


class Read:
    """What an answer came to."""

    def __init__(self) -> None:
        self.events: list[ProviderEvent] = []
        self.error: SignalboxError | None = None

    @property
    def collector(self) -> AnswerCollector:
        collector = AnswerCollector()
        collector.add_all(self.events)
        return collector

    @property
    def outcome(self) -> tuple[Any, ...]:
        """All that matters of it, told in one piece."""
        told = self.collector
        error = self.error and (type(self.error), self.error.message)
        return (
            told.text,
            told.tool_calls,
            told.hidden_output_bytes,
            told.usage,
            told.usage_final,
            told.ended,
            error,
        )


async def read(reader: WireReader, *pieces: bytes, breaks: Exception | None = None) -> Read:
    told = Read()
    body = Body(*pieces, breaks=breaks)
    try:
        async with AnswerStream(cast("httpx2.Response", body), reader, ENDPOINT, max_tokens=1000) as answer:
            while events := await answer.read():
                told.events.extend(events)
        told.events.append(reader.end(()))
    except SignalboxError as error:
        told.error = error
    assert body.closed
    return told


def anthropic(*pieces: bytes, breaks: Exception | None = None) -> Read:
    return asyncio.run(read(AnthropicReader("claude-x", ENDPOINT), *pieces, breaks=breaks))


def openai(*pieces: bytes, breaks: Exception | None = None) -> Read:
    return asyncio.run(read(OpenAIReader("tiny", ENDPOINT), *pieces, breaks=breaks))


TEXT = "Züri 🚀 👨\u200d👩 \u2028 \n\r\n"


def escaped(event: bytes) -> bytes:
    """The same event with every character beyond ASCII as JSON's escapes, a pair for each emoji."""
    escapes = (
        character if character.isascii() else json.dumps(character)[1:-1] for character in event.decode()
    )
    return "".join(escapes).encode()


def anthropic_parts(pieces: Iterable[str]) -> list[bytes]:
    message = {"model": "claude-x", "usage": {"input_tokens": 20, "output_tokens": 1}}
    tool = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    return [
        anthropic_event("message_start", {"message": message}),
        anthropic_event("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
        *(
            anthropic_event("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": one}})
            for one in pieces
        ),
        anthropic_event("content_block_stop", {"index": 0}),
        anthropic_event("content_block_start", {"index": 1, "content_block": tool}),
        *(
            anthropic_event(
                "content_block_delta",
                {"index": 1, "delta": {"type": "input_json_delta", "partial_json": one}},
            )
            for one in ('{"a": "é', '🚀"}')
        ),
        anthropic_event("content_block_stop", {"index": 1}),
        anthropic_event(
            "message_delta", {"delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}}
        ),
        anthropic_event("message_stop", {}),
    ]


def openai_parts(pieces: Iterable[str]) -> list[bytes]:
    function = {"name": "f", "arguments": '{"a": "é'}
    first = {"index": 0, "id": "t", "function": function}
    return [
        *(data(chunk("tiny", {"content": one})) for one in pieces),
        data(chunk("tiny", {"tool_calls": [first]})),
        data(chunk("tiny", {"tool_calls": [{"index": 0, "function": {"arguments": '🚀"}'}}]})),
        data(chunk("tiny", {}, finish="tool_calls")),
        data(chunk("tiny", usage={"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29})),
        data("[DONE]"),
    ]


WIRES = [
    pytest.param(anthropic, anthropic_parts, id="anthropic"),
    pytest.param(openai, openai_parts, id="openai"),
]


@pytest.mark.parametrize(("through", "parts"), WIRES)
def test_an_answer_cut_at_any_byte_is_the_same(through: Any, parts: Any) -> None:
    stream = b"".join(parts(["Hi", TEXT]))
    whole = through(stream)
    assert whole.error is None
    assert whole.collector.text == f"Hi{TEXT}"
    assert whole.collector.tool_calls[0].arguments_json == '{"a": "é🚀"}'
    assert whole.collector.usage == Usage(fresh_input_tokens=20, output_tokens=9)
    for place in range(len(stream)):
        assert through(stream[:place], stream[place:]).outcome == whole.outcome
    assert through(*(bytes([byte]) for byte in stream)).outcome == whole.outcome


NOISE = st.sampled_from(
    [b": ping\n\n", b"\r\n", b"id: 1\nretry: 5\n\n", b"event: x\n\n", b"data:\n\n", b":\r"]
)
ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=("Cs",)) | st.sampled_from("🚀é"), max_size=8)


@pytest.mark.parametrize(("through", "parts"), WIRES)
@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(ANY_TEXT, max_size=5),
    noise=st.lists(st.tuples(st.integers(0, 50), NOISE), max_size=6),
    places=st.lists(st.integers(0, 10_000), max_size=30),
    ending=st.sampled_from([b"\n", b"\r", b"\r\n"]),
    ascii_only=st.booleans(),
    bom=st.booleans(),
)
def test_noise_cuts_line_ends_and_escapes_change_nothing(
    through: Any,
    parts: Any,
    pieces: list[str],
    noise: list[tuple[int, bytes]],
    places: list[int],
    ending: bytes,
    ascii_only: bool,
    bom: bool,
) -> None:
    plain: list[bytes] = parts(pieces)
    events = [escaped(event) for event in plain] if ascii_only else list(plain)
    for at, extra in noise:
        events.insert(at % (len(events) + 1), extra)
    stream = (b"\xef\xbb\xbf" if bom else b"") + b"".join(events).replace(b"\n", ending)
    expected = through(b"".join(plain))
    assert expected.error is None
    assert through(*cut(stream, places)).outcome == expected.outcome


@pytest.mark.parametrize(("through", "parts"), WIRES)
@settings(deadline=None)
@given(
    pieces=st.lists(st.text(alphabet="a🚀é", min_size=1, max_size=6), min_size=1, max_size=3),
    places=st.lists(st.integers(0, 40), max_size=6),
)
def test_surrogate_pairs_cut_into_two_events_are_joined(
    through: Any, parts: Any, pieces: list[str], places: list[int]
) -> None:
    text = "".join(pieces)
    units = text.encode("utf-16-le")
    edges = [0, *sorted({2 * (place % (len(units) // 2 + 1)) for place in places}), len(units)]
    halves = [units[start:end].decode("utf-16-le", "surrogatepass") for start, end in pairwise(edges)]
    marks = [f"<{number}>" for number in range(len(halves))]
    stream = b"".join(parts(marks))
    for mark, half in zip(marks, halves, strict=True):
        stream = stream.replace(json.dumps(mark).encode(), json.dumps(half).encode())
    told = through(stream)
    assert told.error is None
    assert told.collector.text == text
    for event in told.events:
        if isinstance(event, TextDelta):
            event.text.encode()


@pytest.mark.parametrize(("through", "parts"), WIRES)
def test_a_whole_answer_stands_when_its_body_breaks_off(through: Any, parts: Any) -> None:
    lost = httpx2.ReadError("reset")
    for missing in (0, 1):
        stream = b"".join(parts(["Hi"])[: -missing or None])
        told = through(stream, breaks=lost)
        assert told.error is None
        assert told.collector.usage == Usage(fresh_input_tokens=20, output_tokens=9)
    assert type(through(b"".join(parts(["Hi"])[:2]), breaks=lost).error) is Unavailable


@pytest.mark.parametrize(("through", "parts"), WIRES)
def test_bytes_that_are_no_utf8_are_replaced(through: Any, parts: Any) -> None:
    stream = b"".join(parts(["a<>b"])).replace(b"<>", b"\xff\xfe")
    assert through(stream).collector.text == "a\ufffd\ufffdb"


@pytest.mark.parametrize("whole", [b'{"a": "', b"data: "])
def test_a_body_without_an_end_is_given_up(whole: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1)
    parser = sse.EventStreamParser
    monkeypatch.setattr(sse, "EventStreamParser", lambda: parser(1000))
    told = openai(whole, *[b"x" * 100] * 20)
    assert type(told.error) is Unavailable
    assert "cut off" in told.error.message


async def test_the_end_of_an_answer_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that says why it ends, and neither its usage nor that it is done, on a body that stays open."""
    monkeypatch.setattr(sse, "TAIL_TIMEOUT_S", 0.05)

    class Open(Body):
        async def aiter_bytes(self) -> AsyncGenerator[bytes, None]:
            yield data(chunk("tiny", {"content": "Hi"}, finish="stop"))
            await asyncio.Event().wait()

    body, reader = Open(), OpenAIReader("tiny", ENDPOINT)
    told: list[ProviderEvent] = []
    async with AnswerStream(cast("httpx2.Response", body), reader, ENDPOINT, max_tokens=1000) as answer:
        while events := await answer.read():
            told.extend(events)
    assert told == [TextDelta("Hi")]
    assert reader.end(()).finish_reason == "stop"
    assert body.closed


async def test_the_usage_of_a_batch_is_told_before_its_text() -> None:
    """Whoever stops at the first piece of text knows the bill that came in the same bytes."""
    body, reader = Body(b"".join(anthropic_parts("abc"))), AnthropicReader("claude-x", ENDPOINT)
    async with AnswerStream(cast("httpx2.Response", body), reader, ENDPOINT, max_tokens=1000) as answer:
        batch = await answer.read()
    begun, final = batch[:2]
    assert isinstance(begun, UsageReported)
    assert isinstance(final, UsageReported)
    assert (begun.final, final.final) == (False, True)
    assert not any(isinstance(event, UsageReported) for event in batch[2:])
    assert [event.text for event in batch if isinstance(event, TextDelta)] == ["a", "b", "c"]


# --- make soak ---------------------------------------------------------------------------------------------------


@given(
    chance=st.randoms(use_true_random=False),
    count=st.integers(1, 5),
    ends=st.lists(st.booleans(), min_size=5, max_size=5),
    texts=st.lists(st.booleans(), min_size=5, max_size=5),
)
def test_no_report_is_settled_below_another(
    chance: random.Random, count: int, ends: list[bool], texts: list[bool]
) -> None:
    """Whatever is reported, in whichever order: the last word has the most of each count, or is no last word."""
    for wire in ("anthropic", "openai"):
        reports = [odd_report(chance, wire) for _ in range(count)]
        collector = AnswerCollector()
        reader: WireReader = (
            AnthropicReader("x", ENDPOINT) if wire == "anthropic" else OpenAIReader("x", ENDPOINT)
        )
        for number, report in enumerate(reports):
            for event in reported(wire, report, end=ends[number], text=texts[number]):
                collector.add_all(reader.read(event))
        collector.add_all(reader.last_events())
        if collector.usage is not None:
            assert_nothing_is_lost(collector.usage, reports, wire)
            assert collector.usage.input_tokens > 0
        if collector.usage_final:
            assert not is_in_doubt(reports)
            assert not collector.usage_doubtful


def reported(wire: str, report: dict[str, Any], *, end: bool, text: bool) -> list[ServerSentEvent]:
    """The events of a report, with the reason of the end in it or not, after a piece of text or none."""
    if wire == "openai":
        delta = {"content": "word"} if text else {}
        body = chunk("x", delta, finish="stop" if end else None) | {"usage": report}
        return [ServerSentEvent(b"", json.dumps(body).encode())]
    told: list[dict[str, Any]] = []
    if text:
        told.append({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "word"}})
    stop = {"stop_reason": "end_turn" if end else None}
    told.append({"type": "message_delta", "delta": stop, "usage": report})
    return [ServerSentEvent(b"", json.dumps(one).encode()) for one in told]


GARBAGE = (
    *(b"\n", b"\r", b"\n\n", b":", b"data:", b"event: error\n", b"[DONE]"),
    *(b"\xf0\x9f", b"{", b"}", b'"', b"\\u", b"\xff"),
)


def broken(chance: random.Random, part: bytes) -> bytes:
    """``part`` with some of its bytes lost, doubled or replaced."""
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(part))
        to = min(len(part), at + chance.choice((0, 0, 1, 5, 40)))
        part = part[:at] + chance.choice((*GARBAGE, b"", chance.randbytes(3))) + part[to:]
    return part


def fuzzed(chance: random.Random, parts: list[bytes]) -> tuple[list[bytes], int]:
    """A stream with broken events in it, in pieces, and how many of its events come before the first broken one."""
    intact = len(parts)
    parts = list(parts)
    for _ in range(chance.choice((0, 1, 1, 3))):
        at = chance.randrange(len(parts))
        parts[at] = broken(chance, parts[at])
        intact = min(intact, at)
    stream = b"".join(parts)
    if chance.random() < 0.2:
        end = chance.randint(0, len(stream))
        intact = min(intact, sum(len(b"".join(parts[: number + 1])) <= end for number in range(len(parts))))
        stream = stream[:end]
    return cut(stream, (chance.randint(0, len(stream)) for _ in range(chance.choice((0, 3, 30))))), intact


def usage_part(wire: str, report: dict[str, Any]) -> bytes:
    """An event in the middle of a stream that has a usage."""
    if wire == "openai":
        return data(chunk("tiny", usage=report))
    return anthropic_event("message_delta", {"delta": {"stop_reason": None}, "usage": report})


@pytest.mark.soak
@pytest.mark.parametrize("wire", ["anthropic", "openai"])
async def test_ten_million_fuzzed_bytes_neither_hang_nor_lose_a_count(wire: str) -> None:
    """Usage that was reported before anything broke is never told as less, whatever other reports say, and nothing
    but our errors comes out."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    fed_bytes = 0
    while fed_bytes < 10_000_000:
        pieces = [
            "".join(chance.choices('ab é🚀"\\\n', k=chance.randint(0, 30)))
            for _ in range(chance.randint(0, 8))
        ]
        if wire == "anthropic":
            reader: WireReader = AnthropicReader("claude-x", ENDPOINT)
            parts, reports = anthropic_parts(pieces), {0: 1, len(pieces) + 7: 9}
        else:
            reader = OpenAIReader("tiny", ENDPOINT)
            parts, reports = openai_parts(pieces), {len(pieces) + 3: 9}
        for _ in range(chance.choice((0, 1, 3))):
            at, report = chance.randint(1, len(pieces) + 1), odd_report(chance, wire)
            parts.insert(at, usage_part(wire, report))
            reports = {place + (place >= at): tokens for place, tokens in reports.items()}
        stream, intact = fuzzed(chance, parts)
        fed_bytes += sum(map(len, stream))
        told = await read(reader, *stream)
        counts = [event.usage for event in told.events if isinstance(event, UsageReported)]
        least = max((tokens for at, tokens in reports.items() if at < intact), default=None)
        if least is not None:
            assert counts, (seed, stream)
            assert counts[-1].input_tokens >= 20, (seed, stream)
            assert counts[-1].output_tokens >= least, (seed, stream)
        assert told.error is not None or told.collector.ended is not None, (seed, stream)
