"""The complexity score: bounded, ordered as a person would order it, and cheap on huge prompts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.chat import ChatRequest, JsonSchemaFormat, Message, Tool
from core.routing.complexity import FEATURES, score
from core.routing.signals import read_signals

SIMPLE = ("What is the capital of France?", "Translate 'good morning' to German.", "hi", "")
HARD = (
    "Prove that the sum of two even integers is even, then explain step by step why the proof fails for "
    "odd ones, and compare it with a proof by induction. You must not use modular arithmetic.",
    "Implement a typed retry helper with exponential back-off and jitter. It must never sleep more than "
    "30 s, at most 5 tries, and should explain every trade-off. Refactor this:\n```python\ndef f(x):\n"
    "    return x\n```\nWhat is the root cause of the race condition? Why does the deadlock appear?",
)


@pytest.mark.parametrize("easy", SIMPLE)
@pytest.mark.parametrize("hard", HARD)
def test_hard_prompts_score_above_easy_ones(easy: str, hard: str) -> None:
    assert score(easy)[0] < 0.3 < 0.6 <= score(hard)[0]


@given(st.text(max_size=3000), st.integers(1, 200))
def test_score_is_bounded_and_explained(prompt: str, turns: int) -> None:
    total, features = score(prompt, turn_count=turns)
    assert 0 <= total <= 1
    assert total == pytest.approx(min(1.0, sum(feature.contribution for feature in features)))
    names = {spec.name: spec.weight for spec in FEATURES}
    for feature in features:
        assert 0 < feature.value <= 1
        assert feature.contribution == pytest.approx(feature.value * names[feature.name])


def test_a_huge_prompt_is_read_at_its_head_and_tail_only() -> None:
    middle = "x" * 2_000_000
    assert score("a " + middle)[0] == score("a " + "x" * 3_000_000)[0]
    assert "reasoning" in {f.name for f in score(middle + " explain why, prove it")[1]}


@given(st.text(max_size=400))
def test_the_bound_is_never_under_one_token_a_byte(prompt: str) -> None:
    read = read_signals(ChatRequest.from_prompt(prompt), default_max_tokens=1024)
    assert read.input_tokens_bound >= len(prompt.encode())
    assert read.max_output_tokens == 1024


def test_lone_surrogates_are_counted_not_fatal() -> None:
    read = read_signals(ChatRequest.from_prompt("a\ud800b"), default_max_tokens=10)
    assert read.input_tokens_bound >= 3


def test_kinds_are_read() -> None:
    request = ChatRequest(
        messages=(
            Message(role="user", text="q"),
            Message(role="assistant", text="a"),
            Message(role="user", text="b"),
        ),
        tools=(Tool(name="t", description="d", parameters={"type": "object"}),),
        response_format=JsonSchemaFormat(schema={"type": "object"}),
        max_tokens=7,
        batch=True,
    )
    read = read_signals(request, default_max_tokens=1024)
    assert (read.has_tools, read.has_schema, read.batch, read.max_output_tokens) == (True, True, True, 7)
    assert "depth" in {feature.name for feature in read.features}
