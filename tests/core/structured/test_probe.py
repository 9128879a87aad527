"""The probe: what it asks, how it judges, and what a failure on the way means."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from core.chat import ChatRequest, ChatResult, RequestStep, Tool, ToolCall
from core.errors import AnswerInvalid, InvalidRequest, SignalboxError, Unavailable
from core.routing.validation import validated
from core.scores import ScoreEntry
from core.structured.probe import SCHEMA_PROMPTS, TOOL_PROMPTS, ProbeProgress, probe, probe_prompts
from core.structured.schema import check_schema
from core.structured.scoreboard import MIN_TRIED

GOOD_ANSWERS: dict[str, Any] = {
    "Which city": {"city": "Paris", "in_europe": True},
    "Name three": {"colours": ["red", "green", "blue"]},
    "How many minutes": {"minutes": 120},
    "Is this review": {"verdict": "good"},
    "Take the name": {"name": "Ida", "age": 34},
    "When did": {"date": "1969-07-20"},
    "What is half": {"result": 3.5},
    "List two": {"fruits": [{"name": "lemon", "colour": "yellow"}, {"name": "plum", "colour": "purple"}]},
    "Repeat this": {"text": 'He said "no" and left.'},
    "Take the parts": {"street": "12 Mill Lane", "city": "Leeds", "phone": None},
}
"""What a model that knows its business says, by how the prompt begins."""


def answered(text: str = "", *calls: ToolCall, **more: Any) -> ChatResult:
    fields: dict[str, Any] = {
        "usage": None,
        "provider": "vllm-local",
        "side": "local",
        "model": "m",
        "finish_reason": "tool_calls" if calls else "stop",
        "decision": None,
        "cost_nanodollars": 0,
        "loaded_nanodollars": None,
        "price_version": None,
        "latency_ms": 1.0,
        "ttft_ms": None,
        "correlation_id": "id",
        "started_at": datetime.now(UTC),
    }
    return ChatResult(text=text, tool_calls=calls, **(fields | more))


def needed(request: ChatRequest) -> Tool:
    return next(tool for prompt, _, tool in TOOL_PROMPTS if prompt == request.messages[0].text)


def example(schema: Any) -> Any:
    """A value that matches one of the probe's own schemas."""
    if "enum" in schema:
        return schema["enum"][0]
    pattern = schema.get("pattern", "")
    if pattern:
        return "2026-12-03" if "{4}" in pattern else "09:30" if ":" in pattern else "EUR"
    match schema["type"]:
        case "object":
            return {name: example(inner) for name, inner in schema["properties"].items()}
        case "array":
            return [example(schema["items"])]
        case "string":
            return "text"
        case "boolean":
            return True
        case _:
            return schema.get("minimum", 1)


async def able(request: ChatRequest) -> ChatResult:
    """A model that gets everything right."""
    if request.tools:
        tool = needed(request)
        return answered("", ToolCall("c1", tool.name, json.dumps(example(tool.parameters))))
    prompt = request.messages[0].text
    return answered(
        next(json.dumps(value) for start, value in GOOD_ANSWERS.items() if prompt.startswith(start))
    )


def tally(entries: list[ScoreEntry], kind: str) -> tuple[int, int]:
    of_kind = [entry for entry in entries if entry.kind == kind]
    return sum(entry.passed for entry in of_kind), len(of_kind)


# -- what it asks ---------------------------------------------------------------------------------------------


def test_it_is_small_fixed_and_can_be_sent() -> None:
    prompts = probe_prompts()
    assert (len(TOOL_PROMPTS), len(SCHEMA_PROMPTS), len(prompts)) == (20, 10, 30)
    assert len(TOOL_PROMPTS) >= MIN_TRIED
    assert len({prompt.request.messages[0].text for prompt in prompts}) == 30
    for first, second in zip(prompts, probe_prompts(), strict=True):
        assert first.request.messages == second.request.messages
        assert first.request.tools == second.request.tools
        assert len(first.request.messages[0].text) < 100
        validated(first.request)
    for _, tools, tool in TOOL_PROMPTS:
        assert tool in tools
        check_schema(tool.parameters)


# -- how it judges --------------------------------------------------------------------------------------------


async def test_a_model_that_gets_everything_right() -> None:
    seen: list[ProbeProgress] = []
    entries = await probe(able, seen.append)
    assert tally(entries, "tools") == (20, 20), [progress.problems for progress in seen]
    assert tally(entries, "schema") == (10, 10), [progress.problems for progress in seen]
    assert {(entry.provider, entry.model) for entry in entries} == {("vllm-local", "m")}
    assert [(progress.done, progress.total) for progress in seen] == [(done, 30) for done in range(1, 31)]
    assert [progress.entry for progress in seen] == entries


async def test_a_model_that_talks_instead() -> None:
    async def talks(request: ChatRequest) -> ChatResult:
        return answered("Of course! I would be happy to help.")

    entries = await probe(talks)
    assert tally(entries, "tools") == (0, 20)
    assert tally(entries, "schema") == (0, 10)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda call: ToolCall(call.id, call.name, call.arguments_json[:-1]), "cut off"),
        (lambda call: ToolCall(call.id, call.name, "{}"), "is missing"),
        (lambda call: ToolCall(call.id, "made_up", call.arguments_json), "there is no such tool"),
        (lambda call: ToolCall("", call.name, call.arguments_json), "it has no id"),
    ],
)
async def test_calls_that_could_not_be_run_are_wrong(
    spoil: Callable[[ToolCall], ToolCall], problem: str
) -> None:
    async def spoilt(request: ChatRequest) -> ChatResult:
        right = await able(request)
        return answered(right.text, *map(spoil, right.tool_calls))

    seen: list[ProbeProgress] = []
    entries = await probe(spoilt, seen.append)
    assert tally(entries, "tools") == (0, 20)
    assert tally(entries, "schema") == (10, 10)
    assert problem in seen[0].problems[0]


async def test_the_wrong_tool_is_wrong() -> None:
    async def always_timer(request: ChatRequest) -> ChatResult:
        if any(tool.name == "set_timer" for tool in request.tools):
            return answered("", ToolCall("c", "set_timer", '{"minutes": 3}'))
        return await able(request)

    entries = await probe(always_timer)
    with_another = sum(
        tool.name != "set_timer" and any(each.name == "set_timer" for each in tools)
        for _, tools, tool in TOOL_PROMPTS
    )
    assert tally(entries, "tools") == (20 - with_another, 20)


async def test_a_repair_passes_and_is_counted() -> None:
    async def fenced(request: ChatRequest) -> ChatResult:
        right = await able(request)
        return right if request.tools else answered(f"Sure!\n```json\n{right.text}\n```")

    entries = await probe(fenced)
    assert tally(entries, "schema") == (10, 10)
    assert sum(entry.repaired for entry in entries) == 10


async def test_an_answer_that_had_to_be_asked_for_again_is_wrong_and_has_its_cost() -> None:
    async def second_time_lucky(request: ChatRequest) -> ChatResult:
        right = await able(request)
        steps = (RequestStep(kind="asked_again", detail="The field was missing.", cost_nanodollars=50),)
        return answered(right.text, *right.tool_calls, steps=steps)

    entries = await probe(second_time_lucky)
    assert not any(entry.passed for entry in entries)
    assert {entry.cost_nanodollars for entry in entries} == {50}


# -- what goes wrong on the way -------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [InvalidRequest("tools need a parser"), AnswerInvalid("no")])
async def test_a_server_that_refuses_tools_fails_them(error: SignalboxError) -> None:
    async def no_tools(request: ChatRequest) -> ChatResult:
        if request.tools:
            raise error
        return await able(request)

    entries = await probe(no_tools, provider="vllm-local", model="m")
    assert tally(entries, "tools") == (0, 20)
    assert tally(entries, "schema") == (10, 10)
    with pytest.raises(type(error)):
        await probe(no_tools)  # whose failure would it be?


async def test_a_prompt_that_the_router_refuses_is_no_try_of_the_model() -> None:
    seen: list[ProbeProgress] = []

    async def takes_no_tools(request: ChatRequest) -> ChatResult:
        if request.tools:
            refused = InvalidRequest("Capability: Local doesn't take tools.")
            refused.unasked = True
            raise refused
        return await able(request)

    entries = await probe(takes_no_tools, seen.append)
    assert (tally(entries, "tools"), tally(entries, "schema")) == ((0, 0), (10, 10))
    assert [progress.entry is None for progress in seen] == [True] * 20 + [False] * 10
    assert "doesn't take tools" in seen[0].problems[0]


async def test_a_server_that_goes_away_says_nothing_about_its_model() -> None:
    seen: list[ProbeProgress] = []

    async def dies(request: ChatRequest) -> ChatResult:
        if len(seen) == 7:
            raise Unavailable("gone")
        return await able(request)

    with pytest.raises(Unavailable):
        await probe(dies, seen.append, provider="vllm-local", model="m")
    assert len(seen) == 7
    assert all(progress.entry is not None and progress.entry.passed for progress in seen)


async def test_it_can_be_cancelled_and_keeps_what_it_saw() -> None:
    seen: list[ProbeProgress] = []
    waiting = asyncio.Event()

    async def hangs(request: ChatRequest) -> ChatResult:
        if len(seen) == 3:
            waiting.set()
            await asyncio.Event().wait()
        return await able(request)

    task = asyncio.create_task(probe(hangs, seen.append))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(seen) == 3
