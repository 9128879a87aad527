"""Near a limit or a context's end the provider's own count decides, for the first attempt and for a fallback."""

from __future__ import annotations

from pathlib import Path

from core.chat import Failed, Finished, Started
from core.errors import ContextTooLong
from tests.support.openai_server import vllm_error
from tests.support.two_sides import two_sides

BROKEN = vllm_error(500, "InternalServerError", "boom")
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
        assert reason.startswith("Capability: ")
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
