"""A request that outlives its hold: another process's start-up gives it up, and its true end still counts."""

from __future__ import annotations

from contextlib import aclosing
from datetime import datetime, timedelta
from pathlib import Path

from core.chat import ChatRequest, Finished, Started, StreamEvent, TextDelta
from core.ledger.ledger import Ledger, Outcome
from tests.support.openai_server import vllm_error
from tests.support.two_sides import TwoSides, two_sides


async def start_up_of_another_process(sides: TwoSides) -> int:
    """Recover as a process does that starts when every hold of now has run out; returns what it closed."""
    later = Ledger(None, sides.core.home, clock=lambda: datetime.now().astimezone() + timedelta(hours=2))
    await later.open()
    recovered = await later.recover()
    await later.close()
    return recovered.count + recovered.local_count


async def given_up_meanwhile(sides: TwoSides, request: ChatRequest, at: type[StreamEvent]) -> StreamEvent:
    """Run ``request``, give it up at its first event of the kind ``at``, and return its last event."""
    closed = 0
    last: StreamEvent | None = None
    async with aclosing(sides.core.stream(request)) as events:
        async for event in events:
            last = event
            if isinstance(event, at) and not closed:
                closed = await start_up_of_another_process(sides)
    assert closed == 1
    assert last is not None
    return last


async def test_an_api_answer_that_took_long_is_settled_at_its_cost(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        request = ChatRequest.from_prompt("hi")
        end = await given_up_meanwhile(sides, request, TextDelta)
        assert isinstance(end, Finished)
        (row,) = await sides.core.ledger.attempts(request.correlation_id)
        assert (row.status, row.state, row.error_kind) == ("done", "settled", None)
        assert row.cost_nanodollars == row.counted_nanodollars == end.result.cost_nanodollars
        assert (await sides.core.ledger.check()).ok


async def test_a_local_answer_that_took_long_keeps_its_figures(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="local-only", LOCAL_DOLLARS_PER_HOUR="1") as sides:
        request = ChatRequest.from_prompt("hi")
        end = await given_up_meanwhile(sides, request, TextDelta)
        assert isinstance(end, Finished)
        (row,) = await sides.core.ledger.attempts(request.correlation_id)
        assert (row.status, row.error_kind) == ("done", None)
        assert row.usage == end.result.usage
        assert row.loaded_nanodollars == end.result.loaded_nanodollars
        assert not await sides.core.ledger.current.settle(
            request.correlation_id, 1, Outcome(status="stopped")
        ), "it has ended once"
        assert (await sides.core.ledger.check()).ok


async def test_a_request_that_took_long_may_still_fall_back(home: Path) -> None:
    async with two_sides(home) as sides:
        sides.local.replies.append(vllm_error(500, "InternalServerError", "boom"))
        request = ChatRequest.from_prompt("hi")
        end = await given_up_meanwhile(sides, request, Started)
        assert isinstance(end, Finished)
        assert end.result.side == "api"
        first, second = await sides.core.ledger.attempts(request.correlation_id)
        assert (first.status, second.status) == ("superseded", "done")
        assert (await sides.core.ledger.check()).ok
