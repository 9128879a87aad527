"""Near a limit or a context's end the provider's own count decides, for the first attempt and for a fallback."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from aiohttp import web

from core.chat import ChatRequest, Failed, Finished, ImagePart, Message, Started
from core.errors import BudgetExceeded, ContextTooLong, InvalidRequest
from tests.core.test_router_queue import posted
from tests.support.anthropic_server import AnthropicServer, error_body
from tests.support.openai_server import vllm_error
from tests.support.two_sides import two_sides

BROKEN = vllm_error(500, "InternalServerError", "boom")
PICTURE = ImagePart("image/png", "aGk=")
WORDS = "word " * 1350
"""6,750 bytes and so many tokens at most; the servers count a token a word."""


async def test_a_fallback_near_a_limit_is_counted_too(home: Path) -> None:
    async with two_sides(home, SPEND_LIMIT_DOLLARS="0.02") as sides:
        sides.local.replies.append(BROKEN)
        events = await sides.events(WORDS, max_tokens=100)
        assert isinstance(events[-1], Finished)
        assert events[-1].result.side == "api"
        started = [event for event in events if isinstance(event, Started)]
        assert started[-1].decision.signals.input_tokens_bound < 2000


async def test_a_fallback_that_is_too_dear_even_when_counted_is_none(home: Path) -> None:
    async with two_sides(home, SPEND_LIMIT_DOLLARS="0.003") as sides:
        sides.local.replies.append(BROKEN)
        assert isinstance((await sides.events(WORDS, max_tokens=100))[-1], Failed)
        assert sides.api.books == []


async def test_what_local_counts_as_too_long_goes_to_the_api(home: Path) -> None:
    async with two_sides(home) as sides:
        await sides.core.ask("hi")
        short_words = "1 " * 1990  # looks like half as many tokens as it is
        events = await sides.events(short_words, max_tokens=100)
        assert isinstance(events[-1], Finished), events[-1]
        assert events[-1].result.side == "api"
        reason = events[-1].result.decision.reason
        assert reason.startswith("Can't serve: ")
        assert reason.endswith("Local takes 2,048")
        posts = [request for request in sides.local.received if request.path.endswith("completions")]
        assert len(posts) == 1, "only the first one was sent there"


async def test_what_must_stay_local_and_does_not_fit_is_refused_before_it_is_sent(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="local-only") as sides:
        await sides.core.ask("hi")
        end = (await sides.events("1 " * 1990, max_tokens=100))[-1]
        assert isinstance(end, Failed)
        assert isinstance(end.error, ContextTooLong)
        assert (await sides.core.ledger.recent())[0].status == "refused"


async def test_a_server_that_does_not_count_gets_what_is_estimated_to_fit(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="local-only") as sides:
        await sides.core.ask("hi")
        sides.local.tokenize = vllm_error(404, "NotFoundError", "Not Found")
        assert isinstance((await sides.events("1 " * 1990, max_tokens=100))[-1], Finished)


async def test_where_the_api_does_not_count_the_bound_stands(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AnthropicServer, "_count", _no_count)
    async with two_sides(home, ROUTING_MODE="api-only", SPEND_LIMIT_DOLLARS="0.02") as sides:
        end = (await sides.events(WORDS, max_tokens=100))[-1]
        assert isinstance(end, Failed)
        assert isinstance(end.error, BudgetExceeded)
        assert (end.error.unit, end.error.limit_nanodollars) == ("nanodollars", 20_000_000)
        assert sides.api.books == []
        short = (await sides.events("hi", max_tokens=100))[-1]
        assert isinstance(short, Finished)


async def _no_count(server: AnthropicServer, request: web.Request) -> web.StreamResponse:
    return web.json_response(error_body("overloaded_error", "Overloaded"), status=529)


async def test_a_request_over_the_token_budget_is_refused_in_tokens(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-only", DAILY_TOKEN_BUDGET="1000") as sides:
        assert isinstance((await sides.events("hi", max_tokens=100))[-1], Finished)
        end = (await sides.events("hi", max_tokens=2_000))[-1]
        assert isinstance(end, Failed)
        error = end.error
        assert isinstance(error, BudgetExceeded)
        assert (error.unit, error.limit_nanodollars) == ("tokens", 1_000)
        assert error.limit_name == "DAILY_TOKEN_BUDGET"
        assert error.message.startswith("This prompt doesn't fit under today's 1,000-token budget.")
        assert error.asked_nanodollars > 2_000
        assert (
            f"{1_000 - error.spent_nanodollars:,} are free: {error.spent_nanodollars:,} are used"
            in error.message
        )
        assert 0 < error.spent_nanodollars < 100
        assert "DAILY_TOKEN_BUDGET" in error.hint
        assert len(sides.api.books) == 1


async def test_what_neither_side_takes_is_the_callers_to_change(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="local-only") as sides:
        request = ChatRequest(messages=(Message(role="user", text="What is it?", images=(PICTURE,)),))
        end = [event async for event in sides.core.stream(request)][-1]
        assert isinstance(end, Failed)
        assert isinstance(end.error, InvalidRequest)
        assert "Local doesn't take images" in end.error.message
        assert "Nothing was sent." in end.error.hint
        assert posted(sides.local.received) == 0


@pytest.mark.parametrize(
    ("near_limit", "caching", "reason"),
    [(False, "auto", "seen 2 times"), (True, "auto", "near a limit"), (False, "off", None)],
)
async def test_a_prompt_that_comes_again_is_cached_unless_money_is_short_or_nobody_wants_it(
    home: Path, near_limit: bool, caching: str, reason: str | None
) -> None:
    """Writing a cache is dearer than reading a prompt; where the money is short, the answer comes first."""
    async with two_sides(home, ROUTING_MODE="api-only", PROMPT_CACHING=caching) as sides:
        turns = [Message(role="user", text="word " * 3_000), Message(role="assistant", text="yes")] * 2
        request = ChatRequest(messages=(*turns, Message(role="user", text="and?")), max_tokens=100)
        await sides.core.ask(request)
        if near_limit:
            spent = (await sides.core.ledger.budget()).spent_nanodollars
            limit = (
                Decimal(spent + 50_000_000) / 1_000_000_000
            )  # its tokens cost $0.02, its bytes would $0.09
            sides.core.settings.set("spend_limit_dollars", limit)
        again = ChatRequest(messages=request.messages, max_tokens=100)
        result = await sides.core.ask(again)
        marked = "cache_control" in str(sides.api.received[-1].body)
        assert marked == (not near_limit and caching == "auto")
        plan = result.decision.cache
        assert (plan is None) == (reason is None)
        assert plan is None or plan.reason.startswith(reason or "")
