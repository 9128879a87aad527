"""The core as the panel and the command line see it, between two servers that speak the real wires."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from core.chat import (
    ChatRequest,
    Failed,
    Finished,
    JsonSchemaFormat,
    Started,
    StreamEvent,
    TextDelta,
    Tool,
    Usage,
)
from core.errors import (
    AuthenticationFailed,
    BudgetExceeded,
    ContextTooLong,
    InvalidRequest,
    LedgerUnavailable,
    Overloaded,
    RateLimited,
    SignalboxError,
    Unavailable,
)
from core.pricing.spending import Spending
from core.router_core import RouterCore
from core.settings import SettingsStore
from tests.support.anthropic_server import Fault, Says, error_body, refusal, sse
from tests.support.openai_server import TOO_LONG, Streams, vllm_error
from tests.support.two_sides import TwoSides, two_sides
from tests.support.wire_server import Raw, Received

HARD = "Prove step by step why the algorithm is optimal, compare it, and explain the trade-offs. " * 4
TOOL = Tool(name="look", description="d", parameters={"type": "object"})
BUSY = refusal(529, "overloaded_error", "Overloaded")
ENGINE_DOWN = vllm_error(500, "InternalServerError", "EngineCore died")


def last(events: list[StreamEvent]) -> StreamEvent:
    assert sum(isinstance(event, Finished | Failed) for event in events) == 1
    return events[-1]


def asked(received: list[Received]) -> list[str]:
    """Return the paths of what was sent, without the probes of the local server."""
    return [request.path for request in received if request.method == "POST"]


async def spent(sides: TwoSides) -> tuple[int, int]:
    """Return what the ledger says is spent and held, in nano-dollars, after checking its sums."""
    budget = await sides.core.ledger.budget()
    assert (await sides.core.ledger.check()).differences == ()
    return budget.spent_nanodollars, budget.held_nanodollars


async def test_a_simple_prompt_is_answered_locally_and_costs_no_cash(home: Path) -> None:
    async with two_sides(home) as sides:
        result = await sides.core.ask("hi")
        assert (result.text, result.side, result.provider) == ("Hello there", "local", "vllm-local")
        assert (result.decision.rule, result.cost_nanodollars) == ("simple", 0)
        assert result.usage is not None
        assert sides.api.received == []
        assert await spent(sides) == (0, 0)
        (row,) = await sides.core.ledger.recent()
        assert (row.correlation_id, row.status, row.rule) == (result.correlation_id, "done", "simple")


async def test_a_complex_prompt_goes_to_the_api_and_settles_to_the_servers_books(home: Path) -> None:
    async with two_sides(home) as sides:
        usage = {
            "input_tokens": 100,
            "cache_read_input_tokens": 2000,
            "cache_creation_input_tokens": 300,
            "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 100},
            "output_tokens": 1,
        }
        sides.api.replies.append(Says("Because", " so", usage=usage, final_usage={"output_tokens": 50}))
        events = await sides.events(HARD)
        started = events[0]
        assert isinstance(started, Started)
        assert started.hold_nanodollars > 0
        end = last(events)
        assert isinstance(end, Finished)
        result = end.result
        assert (result.text, result.decision.rule) == ("Because so", "complex")
        assert result.usage == Usage(
            fresh_input_tokens=100,
            cache_read_tokens=2000,
            cache_write_5m_tokens=200,
            cache_write_1h_tokens=100,
            output_tokens=50,
        )
        # $3 in, $0.30 read, $3.75 and $6 write, $15 out a million tokens: 3000, 300, 3750, 6000, 15000 a token.
        assert result.cost_nanodollars == 100 * 3000 + 2000 * 300 + 200 * 3750 + 100 * 6000 + 50 * 15000
        assert result.cost_nanodollars < started.hold_nanodollars
        assert await spent(sides) == (result.cost_nanodollars, 0)


def _refused_by_api(kind: int) -> Any:
    return {
        429: refusal(429, "rate_limit_error", retry_after="3"),
        529: BUSY,
        401: refusal(401, "authentication_error"),
        400: refusal(400, "invalid_request_error"),
    }[kind]


@pytest.mark.parametrize(
    ("reply", "falls_back", "error"),
    [
        (_refused_by_api(529), True, Overloaded),
        (_refused_by_api(429), True, RateLimited),
        (Raw(chunks=(b"",), cut=True), True, Unavailable),
        (_refused_by_api(401), False, AuthenticationFailed),
        (_refused_by_api(400), False, InvalidRequest),
    ],
)
@pytest.mark.parametrize("mode", ["hybrid", "api-only", "off"])
async def test_fallback_from_the_api(
    home: Path, reply: Any, falls_back: bool, error: type[SignalboxError], mode: str
) -> None:
    switch = {"ENABLE_FALLBACK": "false"} if mode == "off" else {"ROUTING_MODE": mode}
    async with two_sides(home, **switch) as sides:
        sides.api.replies.append(reply)
        events = await sides.events(HARD)
        end = last(events)
        if falls_back and mode == "hybrid":
            assert isinstance(end, Finished)
            starts = [event.decision for event in events if isinstance(event, Started)]
            assert [(d.side, d.fell_back_from) for d in starts] == [("api", None), ("local", "api")]
            assert end.result.text == "Hello there"
            assert starts[1].reason.startswith("API unavailable: ")
        else:
            assert isinstance(end, Failed)
            assert type(end.error) is error
            assert end.error.hint
            assert asked(sides.local.received) == []
        assert (await spent(sides))[1] == 0


async def test_fallback_to_the_api_passes_the_budget_gate(home: Path) -> None:
    async with two_sides(home, SPEND_LIMIT_DOLLARS="0.000001") as sides:
        sides.local.replies.append(ENGINE_DOWN)
        end = last(await sides.events("hi"))
        assert isinstance(end, Failed)
        assert isinstance(end.error, Unavailable)
        assert [r for r in sides.api.received if r.path == "/v1/messages"] == []
    async with two_sides(home) as sides:
        sides.local.replies.append(ENGINE_DOWN)
        end = last(await sides.events("hi"))
        assert isinstance(end, Finished)
        assert (end.result.side, end.result.decision.fell_back_from) == ("api", "local")
        assert await spent(sides) == (end.result.cost_nanodollars, 0)


async def test_only_one_fallback(home: Path) -> None:
    async with two_sides(home) as sides:
        sides.api.replies.append(BUSY)
        sides.local.replies.append(ENGINE_DOWN)
        events = await sides.events(HARD)
        assert isinstance(last(events), Failed)
        assert len([event for event in events if isinstance(event, Started)]) == 2
        assert asked([*sides.api.received, *sides.local.received]) == ["/v1/messages", "/v1/chat/completions"]


async def test_a_forced_request_does_not_fall_back(home: Path) -> None:
    async with two_sides(home) as sides:
        sides.local.replies.append(ENGINE_DOWN)
        assert isinstance(last(await sides.events("hi", force="local")), Failed)
        assert sides.api.received == []


@pytest.mark.parametrize("how", ["cut", "fault"])
async def test_after_the_first_token_the_text_is_kept_and_nothing_falls_back(home: Path, how: str) -> None:
    fault = (2, Fault("overloaded_error", "Overloaded")) if how == "fault" else None
    async with two_sides(home) as sides:
        sides.api.replies.append(
            Says("one ", "two ", "three", cut_after=2 if how == "cut" else None, fault_after=fault)
        )
        events = await sides.events(HARD)
        end = last(events)
        assert isinstance(end, Failed)
        assert end.partial is not None
        assert end.partial.text == "one two "
        assert end.partial.usage is not None
        assert end.partial.usage_estimated
        assert end.partial.cost_nanodollars
        # More may have been billed than arrived, so the limit counts the hold until somebody knows better.
        (row,) = await sides.core.ledger.recent()
        assert (row.state, row.cost_nanodollars) == ("unresolved", None)
        assert row.counted_nanodollars == row.hold_nanodollars > end.partial.cost_nanodollars
        assert await spent(sides) == (row.counted_nanodollars, 0)


@pytest.mark.parametrize("told", [False, True], ids=["cut", "an error is told"])
async def test_what_breaks_after_the_final_usage_costs_exactly_that(home: Path, told: bool) -> None:
    """A connection that is lost behind the reason of the end takes nothing from the answer; an error does."""
    async with two_sides(home) as sides:
        usage = {"input_tokens": 20, "output_tokens": 1}
        model = "claude-sonnet-4-6-20260501"
        message = {"id": "m", "type": "message", "role": "assistant", "model": model, "content": []}
        chunks = (
            sse("message_start", {"message": {**message, "usage": usage}}),
            sse("content_block_start", {"index": 0, "content_block": {"type": "text", "text": "Hello"}}),
            sse("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}),
        )
        if told:
            chunks += (sse("error", error_body("api_error", "Internal server error")),)
        sides.api.replies.append(Raw(chunks=chunks, cut=True))
        end = last(await sides.events(HARD))
        assert isinstance(end, Failed if told else Finished)
        (row,) = await sides.core.ledger.recent()
        assert (row.status, row.state) == ("failed" if told else "done", "settled")
        assert row.cost_nanodollars == row.counted_nanodollars == 20 * 3_000 + 1 * 15_000


async def test_stopping_closes_the_upstream_connection_and_settles_to_the_partial_usage(home: Path) -> None:
    async with two_sides(home) as sides:
        sides.api.replies.append(Says("one ", "two ", "three", hold_after=2))
        got: list[str] = []
        async with aclosing(sides.core.stream(ChatRequest.from_prompt(HARD, max_tokens=16_000))) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    got.append(event.text)
                if "".join(got) == "one two ":
                    break
        await asyncio.wait_for(sides.api.lost.wait(), 5)
        (row,) = await sides.core.ledger.recent()
        assert (row.status, row.state) == ("stopped", "settled")
        assert row.usage is not None
        assert row.usage.input_tokens == sides.api.books[0].input_tokens
        # What arrived, a second of the fastest model's writing, and the moment it took to get here.
        assert 200 <= row.usage.output_tokens < 16_000
        assert row.cost_nanodollars == row.counted_nanodollars < row.hold_nanodollars
        assert await spent(sides) == (row.cost_nanodollars, 0)


@pytest.mark.parametrize("kind", ["thinking", "server_tool_use"])
async def test_stopping_amid_output_that_nobody_can_count_keeps_the_hold(home: Path, kind: str) -> None:
    async with two_sides(home) as sides:
        model = "claude-sonnet-4-6-20260501"
        message = {"id": "m", "type": "message", "role": "assistant", "model": model, "content": []}
        block = {"type": kind, "thinking": "", "signature": "", "id": "s", "name": "web_search", "input": {}}
        chunks = (
            sse("message_start", {"message": {**message, "usage": {"input_tokens": 20, "output_tokens": 1}}}),
            sse("content_block_start", {"index": 0, "content_block": block}),
            sse("ping", {}),
            sse("content_block_start", {"index": 1, "content_block": {"type": "text", "text": "Hello"}}),
        )
        sides.api.replies.append(Raw(chunks=chunks))
        async with aclosing(sides.core.stream(ChatRequest.from_prompt(HARD))) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    break
        (row,) = await sides.core.ledger.recent()
        assert (row.status, row.state) == ("stopped", "unresolved")
        assert row.counted_nanodollars == row.hold_nanodollars


async def test_a_stopped_answer_is_never_settled_below_what_the_api_reported(home: Path) -> None:
    """Not even where that is above the hold: a bill above its hold counts."""
    async with two_sides(home) as sides:
        usage = {"input_tokens": 200_000, "output_tokens": 1}
        sides.api.replies.append(Says("one ", "two", usage=usage, hold_after=1))
        async with aclosing(sides.core.stream(ChatRequest.from_prompt(HARD))) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    break
        (row,) = await sides.core.ledger.recent()
        assert row.state == "settled"
        assert row.counted_nanodollars >= 200_000 * 3_000 > row.hold_nanodollars


async def test_cancelling_a_waiting_task_settles_too(home: Path) -> None:
    async with two_sides(home) as sides:
        sides.api.replies.append(Says("one", hold_after=1))
        task = asyncio.ensure_future(sides.core.ask(HARD))
        await asyncio.wait_for(sides.api.holding.wait(), 5)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await asyncio.wait_for(sides.api.lost.wait(), 5)
        assert (await spent(sides))[1] == 0


async def test_a_request_over_the_limit_is_refused_with_the_figures(home: Path) -> None:
    async with two_sides(home, SPEND_LIMIT_DOLLARS="0.01", LOCAL_SERVER="none") as sides:
        with pytest.raises(BudgetExceeded) as caught:
            await sides.core.ask(HARD, max_tokens=2000)
        error = caught.value
        assert (error.limit_nanodollars, error.spent_nanodollars, error.held_nanodollars) == (
            10_000_000,
            0,
            0,
        )
        assert error.asked_nanodollars is not None
        assert error.asked_nanodollars > 10_000_000
        assert "Nothing was charged" in error.hint
        assert [r for r in sides.api.received if r.path == "/v1/messages"] == []


async def test_near_the_limit_the_providers_own_count_decides(home: Path) -> None:
    # 4,000 bytes bound the input at over $0.012, but they are few words to the server.
    async with two_sides(home, SPEND_LIMIT_DOLLARS="0.01", LOCAL_SERVER="none") as sides:
        result = await sides.core.ask("word " * 800, max_tokens=10, force="api")
        assert result.side == "api"
        assert "/v1/messages/count_tokens" in [r.path for r in sides.api.received]


async def test_many_at_once_never_pass_the_limit(home: Path) -> None:
    limit = 100_000_000  # $0.10 holds six worst cases of 1,024 tokens at $15 a million
    async with two_sides(home, SPEND_LIMIT_DOLLARS="0.10", LOCAL_SERVER="none") as sides:
        sides.api.default = Says("word ", "word", final_usage={"output_tokens": 1024})

        async def one() -> str:
            try:
                return (await sides.core.ask("hi", max_tokens=1024)).side
            except (BudgetExceeded, Unavailable):
                return "refused"

        ends = await asyncio.gather(*(one() for _ in range(40)))
        total, held = await spent(sides)
        assert held == 0
        assert 0 < total <= limit
        books = sum(entry.input_tokens * 3000 + entry.output_tokens * 15000 for entry in sides.api.books)
        assert books == total
        assert "refused" in ends
        assert ends.count("api") >= 6


async def test_an_address_that_is_none_is_not_replaced_by_anthropics_own(home: Path) -> None:
    """Whoever set a proxy's address wants neither key nor prompts to go elsewhere."""
    async with two_sides(home, ANTHROPIC_BASE_URL="nonsense") as sides:
        decision = await sides.core.decide(ChatRequest.from_prompt(HARD))
        assert (decision.side, decision.rule) == ("local", "unavailable")
        assert "ANTHROPIC_BASE_URL" in decision.reason
        with pytest.raises(Unavailable, match="ANTHROPIC_BASE_URL"):
            await sides.core.test_anthropic_key()


async def test_no_key_and_a_prompt_that_needs_the_api(home: Path) -> None:
    async with two_sides(home, key=None) as sides:
        with pytest.raises(AuthenticationFailed) as caught:
            await sides.core.ask("hi", force="api")
        assert caught.value.missing
        assert (await sides.core.ask("hi")).decision.reason == "API unavailable: no key is set"


async def test_a_context_that_is_too_long_for_local_says_both_numbers(home: Path) -> None:
    async with two_sides(home, key=None) as sides:
        await sides.core.ask("hi")  # the server tells its context of 2,048 tokens
        with pytest.raises((ContextTooLong, AuthenticationFailed)):
            await sides.core.ask("word " * 4000)
        with pytest.raises(ContextTooLong) as caught:
            await sides.core.ask("word " * 4000, force="local")
        assert "2,048" in caught.value.message
    async with two_sides(home) as sides:
        sides.local.replies.append(TOO_LONG)
        with pytest.raises(ContextTooLong):
            await sides.core.ask("hi", force="local")


@pytest.mark.parametrize(
    "bad",
    [
        ChatRequest.from_prompt(""),
        ChatRequest.from_prompt("  \n\t"),
        ChatRequest(messages=()),
        ChatRequest.from_prompt("x", max_tokens=0),
        ChatRequest.from_prompt("x", temperature=9.0),
        ChatRequest.from_prompt("x", response_format=JsonSchemaFormat(schema={"type": "nonsense"})),
        ChatRequest.from_prompt("x", tools=(dataclasses.replace(TOOL, parameters={"type": 5}),)),
    ],
)
async def test_the_callers_faults_cost_nothing_and_go_nowhere(home: Path, bad: ChatRequest) -> None:
    async with two_sides(home) as sides:
        with pytest.raises(InvalidRequest) as caught:
            await sides.core.ask(bad)
        assert caught.value.hint
        assert sides.api.received == []
        assert await sides.core.ledger.recent() == []


async def test_decide_makes_no_call_and_writes_nothing(home: Path) -> None:
    async with two_sides(home) as sides:
        decision = await sides.core.decide(ChatRequest.from_prompt(HARD))
        assert (decision.side, decision.rule) == ("api", "complex")
        assert decision.api_estimate.cost_nanodollars
        assert sides.api.received == []
        assert await sides.core.ledger.recent() == []


async def test_an_unpriced_model_is_counted_at_the_dearest_price_and_never_zero(home: Path) -> None:
    async with two_sides(home, ANTHROPIC_MODEL="claude-tomorrow-9") as sides:
        result = await sides.core.ask(HARD)
        assert result.cost_nanodollars is None
        budget = await sides.core.ledger.budget()
        assert budget.unpriced_count == 1
        assert (await sides.core.ledger.check()).ok


async def test_what_unpriced_requests_count_for_is_not_said_to_be_spent(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-only", SPEND_LIMIT_DOLLARS="100") as sides:
        paid = (await sides.core.ask(HARD)).cost_nanodollars
        unpriced = [
            await sides.core.ask(ChatRequest.from_prompt(HARD, model="claude-tomorrow-9")) for _ in "ab"
        ]
        assert [result.cost_nanodollars for result in unpriced] == [None, None]
        _, limits, month = await sides.core.ledger.standing()
        assert month.spending == Spending(spent_nanodollars=paid or 0, unpriced=2)
        assert month.unpriced_nanodollars == month.spent_nanodollars - (paid or 0) > 0
        assert limits
        for limit in limits:
            if limit.unit == "nanodollars":
                counted = (limit.settled, limit.unpriced, limit.estimated)
                assert counted == (paid, month.unpriced_nanodollars, False)
                assert limit.free == limit.amount - limit.used, "and it counts against the limit"


async def test_a_changed_threshold_counts_for_the_next_request(home: Path) -> None:
    async with two_sides(home) as sides:
        assert (await sides.core.ask("hi")).side == "local"
        await asyncio.to_thread(sides.core.settings.set, "routing_threshold", 1)
        result = await sides.core.ask("hi")
        assert (result.side, result.decision.rule) == ("api", "volume")
        assert result.decision.reason == "Volume: 1 of 1 local requests used today"


async def test_a_dead_local_server_is_left_alone_after_some_failures(home: Path) -> None:
    async with two_sides(home) as sides:
        sides.local.default = ENGINE_DOWN
        for _ in range(4):
            assert (await sides.core.ask("hi")).side == "api"
        tried = asked(sides.local.received)
        result = await sides.core.ask("hi")
        assert result.decision.rule == "unavailable"
        assert result.decision.fell_back_from is None
        assert asked(sides.local.received) == tried


async def test_a_ledger_that_is_no_database_is_kept_and_said(home: Path) -> None:
    (home / "ledger.sqlite3").write_bytes(b"these are my holiday photos" * 100)
    async with two_sides(home) as sides:
        with pytest.raises(LedgerUnavailable) as caught:
            await sides.core.ask("hi")
        assert caught.value.hint
        assert [problem.kind for problem in (await sides.core.status()).problems] == ["ledger"]
        kept = await sides.core.ledger.set_aside()
        assert kept.read_bytes().startswith(b"these are my holiday photos")
        assert (await sides.core.ask("hi")).text == "Hello there"
        assert (await sides.core.status()).problems == ()


async def test_status_is_published_when_something_changes(home: Path) -> None:
    async with two_sides(home) as sides:
        seen: asyncio.Queue[Any] = asyncio.Queue()
        stop = sides.core.subscribe(seen.put_nowait)
        await sides.core.ask("hi")
        async with asyncio.timeout(10):
            while (await seen.get()).local_requests_today != 1:
                pass
        stop()
        status = await sides.core.status()
        assert status.budget is not None
        assert (status.api.phase, status.budget.limit_nanodollars) == ("key_set", 500_000_000_000)


async def test_usage_that_the_server_did_not_send_is_unknown(home: Path) -> None:
    async with two_sides(home) as sides:
        sides.local.replies.append(Streams("hi", with_usage=False))
        result = await sides.core.ask("hi")
        assert result.usage is None
        assert result.output_tokens_per_s is None


async def test_a_bad_setting_is_said_and_the_core_starts(home: Path) -> None:
    env = {"SIGNALBOX_HOME": str(home), "ROUTING_THRESHOLD": "many", "LOCAL_SERVER": "none"}
    async with RouterCore(SettingsStore(env=env)) as core:
        problem = next(p for p in (await core.status()).problems if p.kind == "setting")
        assert "ROUTING_THRESHOLD" in problem.title + problem.message
        assert "many" in problem.message
