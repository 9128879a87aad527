"""Answers against a schema, as the caller of the core sees them: mended, asked for again, or given to the API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.chat import Failed, Finished, JsonSchemaFormat, TextDelta
from core.errors import AnswerInvalid, LedgerUnavailable
from tests.core.test_router_queue import posted
from tests.support.anthropic_server import Says
from tests.support.field_case import CASES
from tests.support.openai_server import Streams
from tests.support.two_sides import TwoSides, two_sides

A_NUMBER = JsonSchemaFormat(
    schema={
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "additionalProperties": False,
    }
)
WRONG = '{"a": "one"}'
LOCAL_ONLY = {"ROUTING_MODE": "local-only"}
LOCAL_FIRST = {"ROUTING_MODE": "local-first"}


async def ended(sides: TwoSides, **options: Any) -> Finished | Failed:
    end = (await sides.events("A number, please.", response_format=A_NUMBER, **options))[-1]
    assert isinstance(end, Finished | Failed)
    return end


async def test_what_is_mended_is_given_as_mended_and_said(home: Path) -> None:
    async with two_sides(home, **LOCAL_ONLY) as sides:
        sides.local.replies.append(Streams("```json\n", '{"a": 1,}\n', "```"))
        events = await sides.events("A number, please.", response_format=A_NUMBER)
        end = events[-1]
        assert isinstance(end, Finished)
        shown = "".join(event.text for event in events if isinstance(event, TextDelta))
        assert shown == end.result.text == '{"a": 1}'
        assert end.result.schema_valid
        (step,) = end.result.steps
        assert (step.kind, step.side) == ("repaired", "local")
        assert step.detail.startswith("Repaired: ")
        assert "comma" in step.detail


async def test_a_map_which_the_api_would_close_is_asked_for_in_words_and_checked(home: Path) -> None:
    schema = json.loads((CASES / "15-map-schema" / "map.json").read_text())
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        sides.api.replies += [Says('{"counts": {"a": "two"}}'), Says('{"counts": {"a": 2}}')]
        events = await sides.events("Count.", response_format=JsonSchemaFormat(schema=schema))
        end = events[-1]
        assert isinstance(end, Finished)
        assert end.result.text == '{"counts": {"a": 2}}'
        assert end.result.schema_valid
        assert [step.kind for step in end.result.steps] == ["invalid", "asked_again"]
        for received in sides.api.received:
            assert "output_config" not in received.body
            assert '"additionalProperties"' in str(received.body["system"])


async def test_an_answer_that_does_not_fit_is_asked_for_again(home: Path) -> None:
    async with two_sides(home, **LOCAL_ONLY) as sides:
        sides.local.replies += [Streams(WRONG), Streams('{"a": 1}')]
        end = await ended(sides)
        assert isinstance(end, Finished)
        assert end.result.text == '{"a": 1}'
        assert [step.kind for step in end.result.steps] == ["invalid", "asked_again"]
        asked = sides.local.received[-1].body["messages"]
        assert [message["role"] for message in asked] == ["user", "assistant", "user"]
        assert asked[1]["content"] == WRONG


async def test_the_api_gets_what_the_local_model_cannot_do(home: Path) -> None:
    async with two_sides(home, **LOCAL_FIRST) as sides:
        sides.local.replies += [Streams(WRONG), Streams(WRONG)]
        sides.api.replies.append(Says('{"a": 1}'))
        end = await ended(sides)
        assert isinstance(end, Finished)
        assert (end.result.side, end.result.text) == ("api", '{"a": 1}')
        assert end.result.decision.rule == "capability"
        assert end.result.decision.reason == "Can't serve: Local's answers didn't match the schema"
        assert [step.kind for step in end.result.steps] == ["invalid", "asked_again", "invalid", "fell_back"]


async def test_without_a_fallback_the_answer_that_does_not_fit_is_the_end(home: Path) -> None:
    async with two_sides(home, **LOCAL_FIRST, ENABLE_FALLBACK="false") as sides:
        sides.local.replies += [Streams(WRONG), Streams(WRONG)]
        end = await ended(sides)
        assert isinstance(end, Failed)
        assert isinstance(end.error, AnswerInvalid)
        assert end.partial is not None
        assert end.partial.text == WRONG
        assert sides.api.books == []


async def test_the_api_is_asked_again_but_is_not_its_own_stronger_model(home: Path) -> None:
    async with two_sides(home) as sides:
        sides.api.replies += [Says(WRONG), Says(WRONG)]
        end = await ended(sides, high_stakes=True)
        assert isinstance(end, Failed)
        assert isinstance(end.error, AnswerInvalid)
        assert len(sides.api.books) == 2
        assert posted(sides.local.received) == 0


async def test_an_answer_that_was_cut_says_so_and_says_nothing_of_the_model(home: Path) -> None:
    async with two_sides(home, **LOCAL_ONLY) as sides:
        sides.local.replies.append(Streams('{"a": ', finish="length"))
        end = await ended(sides)
        assert isinstance(end, Failed)
        assert isinstance(end.error, AnswerInvalid)
        assert "allow more tokens" in end.error.hint
        assert posted(sides.local.received) == 1, "asked again it would be cut again"
        assert sides.core.scores() == ()


async def test_with_no_ledger_to_hold_in_it_is_not_asked_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_sides(home, **LOCAL_FIRST) as sides:
        standing = sides.core.ledger.current.standing

        async def full(*arguments: Any, **named: Any) -> Any:
            if posted(sides.local.received):
                raise LedgerUnavailable("The disk is full.")
            return await standing(*arguments, **named)

        monkeypatch.setattr(sides.core.ledger.current, "standing", full)
        sides.local.replies.append(Streams(WRONG))
        end = await ended(sides)
        assert isinstance(end, Failed)
        assert isinstance(end.error, AnswerInvalid), "what is wrong with the answer, not with the ledger"
        assert end.partial is not None
        assert end.partial.text == WRONG
        assert posted(sides.local.received) == 1
        assert sides.api.books == []


async def test_it_is_not_asked_again_above_the_limit(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="api-only", SPEND_LIMIT_DOLLARS="0.01") as sides:
        sides.api.replies.append(Says(*['{"a": "one", "b": "'], "word " * 500, '"}'))
        end = await ended(sides, max_tokens=500)
        assert isinstance(end, Failed)
        assert isinstance(end.error, AnswerInvalid)
        assert len(sides.api.books) == 1
        assert (await sides.core.ledger.budget()).spent_nanodollars <= 10_000_000
