"""What is held is never less than what may be sent: answers, schemas, and what the API says of its models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.chat import ChatRequest
from tests.support import anthropic_server
from tests.support.anthropic_server import Says
from tests.support.two_sides import two_sides

MODEL = "claude-sonnet-4-6-20260501"


async def test_no_longer_answer_is_asked_for_than_was_held_for(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anthropic_server, "MODELS", ((MODEL, 1_000_000, 128_000),))
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        await (
            sides.core.test_anthropic_key()
        )  # the API says that its model answers with more than is known here
        request = ChatRequest.from_prompt("hi", max_tokens=128_000)
        result = await sides.core.ask(request)
        (row,) = await sides.core.ledger.attempts(request.correlation_id)
        sent = sides.api.received[-1].body["max_tokens"]
        assert row.hold_nanodollars >= 15_000 * sent
        assert result.dropped == (f"max_tokens above {sent}",)


async def test_the_users_own_longest_answer_is_held_for_and_asked_for(home: Path) -> None:
    own = {"input": "3", "output": "15", "max_output_tokens": 1000}
    (home / "prices.json").write_text(json.dumps({MODEL: own}))
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        sides.api.replies.append(Says("x"))
        request = ChatRequest.from_prompt("hi", max_tokens=8000)
        await sides.core.ask(request)
        (row,) = await sides.core.ledger.attempts(request.correlation_id)
        sent = sides.api.received[-1].body["max_tokens"]
        assert sent == 1000
        assert row.hold_nanodollars >= 15_000 * sent
