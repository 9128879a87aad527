"""Summing up a conversation's beginning: by the model that was asked for, at its own cost, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.chat import ChatRequest, Message
from core.errors import ContentRefused, Overloaded
from tests.support.anthropic_server import Says, refusal
from tests.support.two_sides import two_sides

HAIKU = "claude-haiku-4-5-20251001"
WINDOW_TOKENS = 2000


def long_chat(model: str | None = None) -> ChatRequest:
    turns: list[Message] = []
    for number in range(20):
        turns.append(Message(role="user", text=f"question {number} " + "word " * 200))
        turns.append(Message(role="assistant", text=f"answer {number} " + "word " * 200))
    return ChatRequest(messages=(*turns, Message(role="user", text="And now?")), model=model, project="web")


async def test_it_is_asked_of_the_model_that_the_conversation_names_and_is_in_the_ledger(home: Path) -> None:
    async with two_sides(home) as sides:
        sides.api.replies.append(Says("They talked."))
        shorter = await sides.core.summarised(long_chat(HAIKU), WINDOW_TOKENS)
        assert "They talked." in shorter.messages[0].text
        assert sides.api.received[-1].body["model"] == HAIKU
        (row,) = await sides.core.ledger.recent()
        assert (row.model, row.project, row.state) == (HAIKU, "web", "settled")
        assert row.cost_nanodollars


@pytest.mark.parametrize("says", [Says(" "), Says("No.", stop_reason="refusal")])
async def test_without_a_summary_nothing_is_left_out(home: Path, says: Says) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        sides.api.replies.append(says)
        with pytest.raises(ContentRefused) as refused:
            await sides.core.summarised(long_chat(), WINDOW_TOKENS)
        assert refused.value.hint
        (row,) = await sides.core.ledger.recent()
        assert row.state == "settled", "it was paid for all the same"


async def test_a_summary_that_fails_says_so(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        sides.api.replies.append(refusal(529, "overloaded_error"))
        with pytest.raises(Overloaded):
            await sides.core.summarised(long_chat(), WINDOW_TOKENS)
