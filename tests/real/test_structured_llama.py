"""Checked answers with a real model: llama.cpp's server with the packaged SmolLM2-135M-Instruct."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from core.chat import ChatRequest, ChatResult, ToolCall
from core.providers import complete
from core.structured.answers import check_answer, reask_messages
from core.structured.probe import TIMER, ProbePrompt, judged, probe_prompts
from tests.real.test_llama_providers import ALIAS, Llama, start_llama, stop_llama

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("llama"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def llama() -> Iterator[Llama]:
    server = start_llama()
    yield server
    stop_llama(server)


async def asked(llama: Llama, request: ChatRequest) -> ChatResult:
    provider = llama.vllm()
    try:
        answer = await complete(provider, request)
    finally:
        await provider.close()
    return ChatResult(
        text=answer.text,
        tool_calls=answer.tool_calls,
        usage=answer.usage,
        provider="embedded",
        side="local",
        model=answer.model,
        finish_reason=answer.finish_reason,
        decision=cast("Any", None),
        cost_nanodollars=0,
        loaded_nanodollars=None,
        price_version=None,
        latency_ms=0.0,
        ttft_ms=None,
        correlation_id=request.correlation_id,
        started_at=datetime.now(UTC),
    )


def prompt_that_begins(words: str, max_tokens: int) -> ProbePrompt:
    (prompt,) = [each for each in probe_prompts() if each.request.messages[0].text.startswith(words)]
    return replace(prompt, request=replace(prompt.request, max_tokens=max_tokens))


@pytest.mark.parametrize("words", ["Is this review", "Which city"])
async def test_an_answer_held_to_a_schema_passes_the_check(llama: Llama, words: str) -> None:
    """A grammar holds the model to the schema; only an answer that found no end in its tokens may be wrong."""
    prompt = prompt_that_begins(words, 40)
    result = await asked(llama, prompt.request)
    entry, problems = judged(prompt, result)
    assert entry.passed == (result.finish_reason == "stop"), (result.text, problems)
    assert not entry.repaired
    assert entry.model == ALIAS


async def test_a_cut_answer_is_not_completed(llama: Llama) -> None:
    prompt = prompt_that_begins("List two", 12)
    result = await asked(llama, prompt.request)
    assert result.finish_reason == "length"
    assert prompt.request.response_format is not None
    schema = prompt.request.response_format.schema
    check = check_answer(result.text, schema, finish_reason=result.finish_reason)
    assert not check.valid
    assert check.text == result.text


async def test_prose_is_asked_for_again_on_both_wires(llama: Llama) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    request = ChatRequest.from_prompt("The capital of France?", max_tokens=24, temperature=0)
    first = await asked(llama, request)
    check = check_answer(first.text, schema, finish_reason=first.finish_reason)
    assert not check.valid
    again = reask_messages(request, first.text, check.problems)
    calls = (ToolCall("call_1", TIMER.name, json.dumps({"minutes": "seven"})),)
    with_tool = ChatRequest.from_prompt("Start the timer: 7 minutes.", tools=(TIMER,), max_tokens=8)
    called_again = reask_messages(
        with_tool, "", ("call 1 (set_timer) at /minutes: it must be a whole number",), calls=calls
    )
    for provider in (llama.vllm(), llama.anthropic()):
        for repeated in (again, called_again):
            answer = await complete(provider, repeated)
            assert answer.usage is not None
        await provider.close()
