"""A stream that is stopped goes on to one typed end, and few hands pass each token on."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import CodeType, SimpleNamespace

import pytest

from core.chat import (
    AnswerEnded,
    ChatRequest,
    ChatResult,
    Failed,
    Finished,
    ProviderEvent,
    Started,
    Stopped,
    StreamEvent,
    TextDelta,
    Usage,
    UsageReported,
    Waiting,
)
from core.errors import Unavailable
from core.routing import request_run
from core.routing.request_stream import RequestStream
from core.telemetry.logs import correlation_id, traceparent
from tests.core.test_router_faults import Gate, nothing_is_held
from tests.support.anthropic_server import Says, refusal, sse
from tests.support.breaking_sides import BEGUN, MODELS
from tests.support.two_sides import TwoSides, two_sides
from tests.support.virtual_time import settle
from tests.support.wire_server import Raw

MOST_HANDS = 5
"""From the provider's generator to the reader: each costs every token a little, and has rules for its end."""


class Reader:
    """Reads a stream to its end in a task of its own; ``has_text`` is set at the first piece of text."""

    def __init__(self, events: AsyncIterator[StreamEvent]) -> None:
        self.seen: list[StreamEvent] = []
        self.has_text = asyncio.Event()
        self.task = asyncio.ensure_future(self._read(events))

    async def _read(self, events: AsyncIterator[StreamEvent]) -> int:
        """Return how many cancellations are left over, as ``asyncio.timeout`` counts them."""
        async for event in events:
            self.seen.append(event)
            if isinstance(event, TextDelta):
                self.has_text.set()
        await asyncio.sleep(0)
        task = asyncio.current_task()
        return -1 if task is None else task.cancelling()


async def read_to_end(events: AsyncIterator[StreamEvent]) -> list[StreamEvent]:
    return [event async for event in events]


async def stream_with_text(sides: TwoSides, monkeypatch: pytest.MonkeyPatch) -> tuple[RequestStream, Gate]:
    """Return a stream that was read to its first text, and the gate that its settling will come to."""
    gate = Gate(sides.core.ledger.current.settle)
    monkeypatch.setattr(sides.core.ledger.current, "settle", gate)
    sides.api.replies.append(Says("Hello ", "there", hold_after=1))
    stream = sides.core.stream(ChatRequest.from_prompt("hi"))
    async for event in stream:
        if isinstance(event, TextDelta):
            break
    return stream, gate


def stopped_result(events: list[StreamEvent]) -> ChatResult:
    ends = [event for event in events if isinstance(event, Finished | Failed | Stopped)]
    assert ends == events[-1:], "exactly one end, and it is the last event"
    (end,) = ends
    assert isinstance(end, Stopped)
    assert end.result is not None
    return end.result


async def the_ledger_says(sides: TwoSides, result: ChatResult) -> None:
    await nothing_is_held(sides)
    (row,) = await sides.core.ledger.attempts(result.correlation_id)
    assert row.status == "stopped"
    assert (row.cost_nanodollars, row.usage) == (result.cost_nanodollars, result.usage)


async def test_a_stop_between_two_events_ends_in_what_had_arrived(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        sides.api.replies.append(Says("Hello ", "there", hold_after=1))
        stream = sides.core.stream(ChatRequest.from_prompt("hi"))
        seen: list[StreamEvent] = []
        async for event in stream:
            seen.append(event)
            if isinstance(event, TextDelta):
                stream.stop()
        result = stopped_result(seen)
        assert result.text == "Hello "
        assert result.finish_reason == "stopped_by_user"
        assert result.cost_nanodollars
        assert result.usage_estimated
        assert stream.end == seen[-1]
        await the_ledger_says(sides, result)


async def test_a_stop_while_the_provider_is_waited_for_reaches_it(home: Path) -> None:
    """The reader is in the middle of its wait, and is not cancelled by it, nor counted as such."""
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        sides.api.replies.append(Says("Hello ", "there", hold_after=1))
        stream = sides.core.stream(ChatRequest.from_prompt("hi"))
        reader = Reader(stream)
        await reader.has_text.wait()
        await asyncio.sleep(0)
        stream.stop()
        stream.stop()
        assert await reader.task == 0
        seen = reader.seen
        result = stopped_result(seen)
        assert result.text == "Hello "
        await the_ledger_says(sides, result)


async def test_a_reader_that_is_cancelled_as_it_stops_is_cancelled(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        sides.api.replies.append(Says("Hello ", "there", hold_after=1))
        stream = sides.core.stream(ChatRequest.from_prompt("hi"))
        reader = Reader(stream)
        await reader.has_text.wait()
        await asyncio.sleep(0)
        stream.stop()
        reader.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader.task
        assert isinstance(stream.end, Stopped), "it is known all the same"
        await nothing_is_held(sides)


async def test_a_cancellation_that_came_just_before_the_stop_is_no_part_of_it(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        sides.api.replies.append(Says("Hello ", "there", hold_after=1))
        stream = sides.core.stream(ChatRequest.from_prompt("hi"))
        reader = Reader(stream)
        await reader.has_text.wait()
        await asyncio.sleep(0)
        reader.task.cancel()
        stream.stop()
        with pytest.raises(asyncio.CancelledError):
            await reader.task
        assert isinstance(stream.end, Stopped)
        await nothing_is_held(sides)


async def test_a_time_out_of_the_reader_that_runs_out_as_it_stops_is_told(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        sides.api.replies.append(Says("Hello ", "there", hold_after=1))
        stream = sides.core.stream(ChatRequest.from_prompt("hi"))
        loop = asyncio.get_running_loop()

        def run_out_and_stop(limit: asyncio.Timeout) -> None:
            limit.reschedule(loop.time())  # it runs out in the loop's next round, and then the stop comes
            loop.call_soon(stream.stop)

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit:
                async for event in stream:
                    if isinstance(event, TextDelta):
                        loop.call_soon(run_out_and_stop, limit)
        assert isinstance(stream.end, Stopped)
        await nothing_is_held(sides)


async def test_a_stop_in_the_middle_of_a_batch_keeps_the_bill_that_came_with_it(home: Path) -> None:
    """All of it in one write: its text, and behind that how much it was."""
    begun, counted = {"input_tokens": 1000, "output_tokens": 1}, {"output_tokens": 5000}
    text = {"index": 0, "delta": {"type": "text_delta", "text": "Hello "}}
    whole = (
        sse("message_start", {"message": {"model": MODELS["api"], "usage": begun}}),
        *(sse("content_block_delta", text) for _ in range(3)),
        sse("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": counted}),
        sse("message_stop", {}),
    )
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        sides.api.replies.append(Raw(chunks=(b"".join(whole),)))
        stream = sides.core.stream(ChatRequest.from_prompt("hi", max_tokens=8000))
        seen: list[StreamEvent] = []
        async for event in stream:
            seen.append(event)
            if isinstance(event, TextDelta):
                stream.stop()
        result = stopped_result(seen)
        assert result.text == "Hello "
        assert result.usage == Usage(fresh_input_tokens=1000, output_tokens=5000)
        assert not result.usage_estimated
        await the_ledger_says(sides, result)


async def test_a_stop_before_anything_is_read_or_sent_says_so(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        stream = sides.core.stream(ChatRequest.from_prompt("hi"))
        stream.stop()
        assert await read_to_end(stream) == [Stopped(None)]
        assert sides.api.received == []


async def test_a_stop_while_it_waits_charges_nothing(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-only", MAX_RETRIES="2") as sides:
        sides.api.replies += [refusal(429, "rate_limit_error", "Slow down", retry_after="5")]
        stream = sides.core.stream(ChatRequest.from_prompt("hi"))
        seen: list[StreamEvent] = []
        async for event in stream:
            seen.append(event)
            if isinstance(event, Waiting):
                stream.stop()
        assert stopped_result(seen).text == ""
        await nothing_is_held(sides)
        assert (await sides.core.ledger.budget()).spent_nanodollars == 0


async def test_a_stop_that_comes_when_the_answer_is_whole_changes_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        gate = Gate(sides.core.ledger.current.settle)
        monkeypatch.setattr(sides.core.ledger.current, "settle", gate)
        stream = sides.core.stream(ChatRequest.from_prompt("hi"))
        reader = asyncio.ensure_future(read_to_end(stream))
        await gate.reached.wait()
        stream.stop()
        gate.opened.set()
        assert isinstance((await reader)[-1], Finished)
        stream.stop()
        assert isinstance(stream.end, Finished)
        await nothing_is_held(sides)


async def test_a_reader_that_leaves_finds_the_end_at_the_stream(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        sides.api.replies.append(Says("Hello ", "there", hold_after=1))
        stream = sides.core.stream(ChatRequest.from_prompt("hi"))
        async for event in stream:
            if isinstance(event, TextDelta):
                break
        assert stream.end is None
        await stream.aclose()
        assert isinstance(stream.end, Stopped)
        assert stream.end.result is not None
        await the_ledger_says(sides, stream.end.result)
        assert await read_to_end(stream) == []


async def test_a_stream_that_is_dropped_is_settled(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        gate = Gate(sides.core.ledger.current.settle)
        monkeypatch.setattr(sides.core.ledger.current, "settle", gate)
        sides.api.replies.append(Says("Hello ", "there", hold_after=1))
        async for event in sides.core.stream(ChatRequest.from_prompt("hi")):
            if isinstance(event, TextDelta):
                break
        gc.collect()
        await gate.reached.wait()
        gate.opened.set()


async def test_a_core_that_stops_ends_what_is_read_and_what_is_not(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        sides.api.replies += [Says("one ", "two", hold_after=1)] * 2
        core = sides.core
        unread = core.stream(ChatRequest.from_prompt("hi"))
        async for event in unread:
            if isinstance(event, TextDelta):
                break
        read = core.stream(ChatRequest.from_prompt("hi"))
        reader = Reader(read)
        await reader.has_text.wait()
        await core.stop()
        assert await reader.task == 0
        for events in (reader.seen, await read_to_end(unread)):
            (end,) = [event for event in events if isinstance(event, Finished | Failed | Stopped)]
            assert isinstance(end, Failed)
            assert isinstance(end.error, Unavailable)
            assert end.partial is not None
            assert end.error.correlation_id == end.partial.correlation_id


async def test_a_core_that_stops_waits_for_a_reader_that_is_leaving(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        stream, gate = await stream_with_text(sides, monkeypatch)
        closing = asyncio.ensure_future(stream.aclose())
        await gate.reached.wait()
        stopping = asyncio.ensure_future(sides.core.stop())
        await settle()
        gate.opened.set()
        await asyncio.gather(closing, stopping)
        assert stream.end is not None
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_who_reads_on_while_the_core_stops_gets_the_end(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        stream, gate = await stream_with_text(sides, monkeypatch)
        stopping = asyncio.ensure_future(sides.core.stop())
        await gate.reached.wait()
        reading = asyncio.ensure_future(read_to_end(stream))
        await settle()
        gate.opened.set()
        await stopping
        (end,) = await reading
        assert isinstance(end, Failed)
        assert isinstance(end.error, Unavailable)


async def test_who_leaves_while_the_core_stops_waits_for_the_end(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        stream, gate = await stream_with_text(sides, monkeypatch)
        stopping = asyncio.ensure_future(sides.core.stop())
        await gate.reached.wait()
        closing = asyncio.ensure_future(stream.aclose())
        await settle()
        gate.opened.set()
        await asyncio.gather(closing, stopping)
        assert isinstance(stream.end, Failed)
        assert await read_to_end(stream) == []


def test_what_is_waited_for_may_have_been_written_since_the_wait_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A proxy may pass on what a provider wrote in four seconds as one piece, of which the first event is read."""
    now = 100.0
    monkeypatch.setattr(request_run, "time", SimpleNamespace(perf_counter=lambda: now))
    answer = request_run.ResponseBuffer()
    answer.restart()
    now += 4.0
    answer.add(TextDelta("Hello "))
    assert answer.unseen_s == 4.0
    answer.ask()
    now += 0.001
    answer.add(TextDelta("there"))
    assert answer.unseen_s == pytest.approx(4.001), "it was there already: nothing was waited for"
    answer.ask()
    now += 0.5
    answer.add(TextDelta("."))
    assert answer.unseen_s == pytest.approx(4.501), "a late loop looks the same: the next event tells"
    answer.ask()
    now += 0.001
    answer.add(TextDelta(" And"))
    assert answer.unseen_s == pytest.approx(4.502), "it came with more: it had lain in the sockets"
    for piece in (" so", " on"):
        answer.ask()
        now += 0.5
        answer.add(TextDelta(piece))
    assert answer.unseen_s == pytest.approx(1.0), (
        "two waits in a row: the reader had caught up when the first began"
    )


class Watching:
    """A provider that looks, as it makes a token, at who is waiting for it, and what it knows of the request."""

    name, side, model = "anthropic", "api", MODELS["api"]

    def __init__(self) -> None:
        self.hands: list[CodeType] = []
        self.knows: tuple[str | None, str | None] | None = None

    async def stream(
        self, request: ChatRequest, on_sent: Callable[[], None] = lambda: None
    ) -> AsyncIterator[ProviderEvent]:
        on_sent()
        self.knows = correlation_id.get(), traceparent.get()
        yield UsageReported(BEGUN)
        frame = sys._getframe()
        while frame.f_code is not read_one.__code__:
            assert frame.f_back is not None
            self.hands.append(frame.f_code)
            frame = frame.f_back
        yield TextDelta("a token")
        yield UsageReported(BEGUN, final=True)
        yield AnswerEnded(self.model, "stop")


async def read_one(events: AsyncIterator[StreamEvent]) -> StreamEvent:
    return await anext(events)


async def test_a_token_passes_few_hands(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        await sides.core.decider()  # reads the keys
        provider = await sides.core._api.provider(None)  # pyright: ignore[reportPrivateUsage]
        watching = Watching()
        monkeypatch.setattr(provider, "stream", watching.stream)
        request = ChatRequest.from_prompt("hi")
        stream = sides.core.stream(request)
        while not isinstance(await read_one(stream), TextDelta):
            assert correlation_id.get() is None, "the reader has its own context between two events"
        assert isinstance((await read_to_end(stream))[-1], Finished)
        assert watching.knows is not None
        assert watching.knows[0] == request.correlation_id
        names = [code.co_qualname for code in watching.hands]
        assert names[0] == "Watching.stream"
        assert len(names) <= MOST_HANDS, names


async def test_a_second_start_is_told_as_one(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-only", MAX_RETRIES="1") as sides:
        sides.api.replies += [refusal(429, "rate_limit_error", "Slow down"), Says("ok")]
        events = await read_to_end(sides.core.stream(ChatRequest.from_prompt("hi")))
        assert sum(isinstance(event, Started) for event in events) == 2
        assert isinstance(events[-1], Finished)
