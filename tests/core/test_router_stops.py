"""Stopped, refused or broken at an awkward moment: nothing is counted or paid twice, each request has its end."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from core.chat import (
    ChatRequest,
    ChatResult,
    Failed,
    Finished,
    JsonSchemaFormat,
    Started,
    Stopped,
    StreamEvent,
    TextDelta,
    Waiting,
)
from core.errors import BudgetExceeded, DuplicateRequest, SignalboxError, Unavailable
from core.ledger.models import LedgerRow
from core.routing.idempotency import Claim
from core.routing.request_stream import RequestStream
from core.routing.settlement import Settlement
from tests.core.test_router_faults import Gate, nothing_is_held
from tests.support.anthropic_server import Fault, Says, refusal
from tests.support.providers import silent_server
from tests.support.two_sides import TwoSides, two_sides

SCHEMA = JsonSchemaFormat(
    schema={"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
)
TURNED_AWAY = refusal(429, "rate_limit_error", "Slow down")


async def test_a_stop_while_it_is_asked_again_counts_the_first_answer_once(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        sides.api.replies.append(Says("no JSON at all"))
        request = ChatRequest.from_prompt("Give me JSON.", response_format=SCHEMA)
        gate = Gate(sides.core.ledger.current.switch_side)
        monkeypatch.setattr(sides.core.ledger.current, "switch_side", gate)
        task = asyncio.ensure_future(sides.core.ask(request))
        await gate.reached.wait()
        task.cancel()
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await nothing_is_held(sides)
        first, second = await sides.core.ledger.attempts(request.correlation_id)
        assert first.state == "settled"
        assert first.cost_nanodollars
        assert (second.state, second.counted_nanodollars) == ("released", 0), "it was never sent"


@pytest.mark.parametrize("kind", ["overloaded_error", "rate_limit_error", "api_error"])
async def test_an_answer_that_had_begun_is_not_sent_again(home: Path, kind: str) -> None:
    async with two_sides(home, ROUTING_MODE="api-only", MAX_RETRIES="2") as sides:
        sides.api.replies += [Says("x", fault_after=(0, Fault(kind, "Overloaded")))] * 3
        assert isinstance((await sides.events())[-1], Failed)
        assert len(await sides.core.ledger.recent()) == 1, "sent again, it would be paid twice"


async def test_a_stop_between_two_tries_charges_nothing(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-only", MAX_RETRIES="2") as sides:
        sides.api.replies += [refusal(429, "rate_limit_error", "Slow down", retry_after="5")]
        async with aclosing(sides.core.stream(ChatRequest.from_prompt("hi"))) as events:
            async for event in events:
                if isinstance(event, Waiting) and event.reason == "retry":
                    break
        await nothing_is_held(sides)
        assert (await sides.core.ledger.budget()).spent_nanodollars == 0


async def test_a_stop_after_one_retry_does_not_wait_for_the_next_ones_rate(home: Path) -> None:
    rates = {"MAX_RETRIES": "2", "MAX_API_REQUESTS_PER_MINUTE": "2"}
    async with two_sides(home, ROUTING_MODE="api-only", **rates) as sides:
        sides.api.replies += [TURNED_AWAY, TURNED_AWAY]
        async with asyncio.timeout(10):  # the rate itself would take half a minute
            async with aclosing(sides.core.stream(ChatRequest.from_prompt("hi"))) as events:
                async for event in events:
                    if isinstance(event, Waiting) and event.reason == "rate":
                        break
        await nothing_is_held(sides)
        assert len(sides.api.received) == 2


async def test_an_answer_that_was_paid_is_there_for_its_key_though_its_reader_left(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        gate = Gate(sides.core.ledger.current.settle)
        monkeypatch.setattr(sides.core.ledger.current, "settle", gate)
        asked = {"idempotency_key": "once"}
        task = asyncio.ensure_future(sides.core.ask("hi", **asked))
        await gate.reached.wait()
        task.cancel()
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        again = await sides.core.ask("hi", **asked)
        assert again.replayed
        assert len(sides.api.received) == 1


async def test_an_answer_that_cannot_be_kept_for_its_key_is_given_and_settled(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: Claim, result: ChatResult) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Claim, "keep", broken)
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        result = await sides.core.ask("hi", idempotency_key="once")
        await nothing_is_held(sides)
        (row,) = await sides.core.ledger.attempts(result.correlation_id)
        assert (row.status, row.cost_nanodollars) == ("done", result.cost_nanodollars)
        assert result.cost_nanodollars


async def test_a_fault_while_it_is_settled_counts_the_hold_and_leaves_none(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise ValueError("a fault")

    monkeypatch.setattr(Settlement, "result", broken)
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        request = ChatRequest.from_prompt("hi")
        end = [event async for event in sides.core.stream(request)][-1]
        assert isinstance(end, Failed)
        await nothing_is_held(sides)
        (row,) = await sides.core.ledger.attempts(request.correlation_id)
        assert (row.status, row.cost_nanodollars) == ("failed", None)
        assert row.counted_nanodollars, "the provider may have billed it"


async def test_a_key_is_for_one_question(home: Path) -> None:
    async with two_sides(home) as sides:
        await sides.core.ask("hi", idempotency_key="once")
        with pytest.raises(DuplicateRequest):
            await sides.core.ask("something else", idempotency_key="once")


async def test_a_stopping_core_says_so_to_who_reads(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        sides.api.replies.append(Says("Hello there", hold_after=1))
        seen = []
        async with aclosing(sides.core.stream(ChatRequest.from_prompt("hi"))) as events:
            async for event in events:
                seen.append(event)
                if isinstance(event, TextDelta):
                    await sides.core.stop()
        assert isinstance(seen[-1], Failed)
        assert isinstance(seen[-1].error, Unavailable)


async def test_a_request_that_cannot_be_ended_keeps_no_core_from_stopping(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(self: RequestStream, reason: SignalboxError) -> None:
        raise RuntimeError("asynchronous generator is already running")

    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        sides.api.replies.append(Says("Hello there", hold_after=1))
        stream = sides.core.stream(ChatRequest.from_prompt("hi"))
        async for event in stream:
            if isinstance(event, TextDelta):
                break
        monkeypatch.setattr(RequestStream, "stop_and_settle", broken)
        closed = asyncio.Event()
        close = sides.core.ledger.close

        async def closes() -> None:
            await close()
            closed.set()

        monkeypatch.setattr(sides.core.ledger, "close", closes)
        await sides.core.stop()
        assert closed.is_set()
        assert "a request could not be ended" in caplog.text
        await stream.aclose()


async def test_a_fault_of_ours_ends_in_a_typed_failure(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        await sides.core.decider()  # reads the keys
        provider = await sides.core._api.provider(None)  # pyright: ignore[reportPrivateUsage]

        def broken(request: ChatRequest, on_sent: object) -> None:
            raise ValueError("a fault")

        monkeypatch.setattr(provider, "stream", broken)
        events = await sides.events()
        assert [type(event) for event in events] == [Started, Failed]
        await nothing_is_held(sides)


async def test_decide_knows_the_limit_of_a_project(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-only", PROJECT_SPEND_LIMITS="acme=0.00001") as sides:
        decision = await sides.core.decide(ChatRequest.from_prompt("hi", project="acme"))
        assert (decision.side, decision.refusal) == (None, "budget")
        with pytest.raises(BudgetExceeded, match="project acme"):
            await sides.core.ask("hi", project="acme")


async def test_a_refused_request_has_its_row(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-only", SPEND_LIMIT_DOLLARS="0.00001") as sides:
        request = ChatRequest.from_prompt("hi")
        with pytest.raises(BudgetExceeded) as refused:
            await sides.core.ask(request)
        assert refused.value.correlation_id == request.correlation_id
        (row,) = await sides.core.ledger.attempts(request.correlation_id)
        assert (row.status, row.error_kind) == ("refused", "budget_exceeded")


async def test_the_whole_cost_has_the_answer_that_was_asked_for_again(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        sides.api.replies += [Says("no JSON at all"), Says('{"a": 1}')]
        result = await sides.core.ask("Give me JSON.", response_format=SCHEMA)
        rows = await sides.core.ledger.attempts(result.correlation_id)
        assert [step.kind for step in result.steps] == ["invalid", "asked_again"]
        assert result.schema_valid
        assert result.cost_nanodollars == sum(row.cost_nanodollars or 0 for row in rows)
        assert result.loaded_nanodollars == result.cost_nanodollars


async def test_a_refusal_is_shown_though_json_was_asked_for(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        sides.api.replies.append(Says("I can't help with that.", stop_reason="refusal"))
        events = await sides.events("Give me JSON.", response_format=SCHEMA)
        assert TextDelta("I can't help with that.") in events
        assert isinstance(events[-1], Finished)


async def test_every_end_names_its_request(home: Path) -> None:
    """Also those that come before the router, or after it was told to stop."""
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        sides.api.replies.append(Says("Hello there", hold_after=1))
        cut, late = ChatRequest.from_prompt("hi"), ChatRequest.from_prompt("too late")
        ends = []
        async with aclosing(sides.core.stream(cut)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    await sides.core.stop()
                if isinstance(event, Failed):
                    ends.append(event)
        ends += [event async for event in sides.core.stream(late)]
        assert [end.error.correlation_id for end in ends] == [cut.correlation_id, late.correlation_id]


async def stopped_while_it_waits(sides: TwoSides, reached: asyncio.Event, **options: object) -> LedgerRow:
    """Ask, stop once ``reached`` is set, and return the row."""
    request = ChatRequest.from_prompt("hi", **options)
    stream = sides.core.stream(request)

    async def read() -> list[StreamEvent]:
        return [event async for event in stream]

    reading = asyncio.ensure_future(read())
    await reached.wait()
    stream.stop()
    assert isinstance((await reading)[-1], Stopped)
    await nothing_is_held(sides)
    (row,) = await sides.core.ledger.attempts(request.correlation_id)
    assert row.status == "stopped"
    return row


async def test_a_stop_before_the_first_byte_left_costs_nothing(home: Path) -> None:
    """It connects, and shakes hands for TLS: the request itself has not left."""
    connecting = asyncio.Event()

    async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connecting.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(says_nothing, "127.0.0.1", 0)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with two_sides(home, ROUTING_MODE="api-only", ANTHROPIC_BASE_URL=url) as sides:
            row = await stopped_while_it_waits(sides, connecting)
    assert (row.state, row.cost_nanodollars, row.counted_nanodollars) == ("released", 0, 0)


async def test_a_stop_after_it_left_keeps_counting(home: Path) -> None:
    async with (
        silent_server() as (url, lost),
        two_sides(home, ROUTING_MODE="api-only", ANTHROPIC_BASE_URL=url) as sides,
    ):
        row = await stopped_while_it_waits(sides, lost.asked)
    assert (row.state, row.cost_nanodollars) == ("unresolved", None)
    assert row.counted_nanodollars == row.hold_nanodollars
