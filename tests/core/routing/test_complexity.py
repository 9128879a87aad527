"""The complexity score: bounded, ordered as a person would order it, and cheap on huge prompts."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.chat import ChatRequest, JsonSchemaFormat, Message, Tool
from core.routing.complexity import FEATURES, read_signals, score
from tests.core.routing import complexity_reference as reference

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


_SPOKEN = """
why Prove proofs derive explain analyse ANALYZE compare trade-off tradeoffs Trade-Offs trade off reason
reasonings step-by-step step by step-by root cause root  cause implications hypotheses infer inferred
implement architect architecture concurrent concurren migrations migrat race condition race-condition
unit tests unit test back-off backoff back off class classes api schema database typed regex must at
least at most at  least required requires requiring constraint given that provided no more than no
theorem lemmas byzantine fault-tolerant fault tolerance fault- asymptotic asymptotically eigen
eigenvalue probability probabilit statistic statistics statute liability contract law modular arithmetic
amortized amortise amortis cryptography kernel api_key _api must_ x1 12.
"""
SPOKEN = (
    *_SPOKEN.split(),
    "\u017fafety",  # the patterns take a long s for an s, a dotless i for an i, a Kelvin sign for a k
    "\u212aernel",
    "opt\u0130mize",
    "opt\u0131mise",
    "migrat\u00e9",
    "\u00e9must",
    "must\u00e9",
)
MARKS = (
    *(
        " \n",
        "\n\n",
        "    ",
        "\n    x",
        "\t\t\t\ty",
        "```",
        "{",
        "};",
        "; \n",
        "def f(",
        "=>",
        "#include",
        "=",
        "\\frac{",
    ),
    *(
        "1 + 2",
        "3-4",
        "7 /",
        "- item\n",
        "\n* item",
        "\n3) item",
        "10. item",
        "\u2022 item",
        "?",
        "? ",
        "?!",
        "\u2028",
        "\x1c",
    ),
    *("\u00a0\u00a0\u00a0\u00a0z", "\u2265", "-", "_", ".", ",", "'", "\u0301"),
)
texts = st.lists(
    st.sampled_from(SPOKEN + MARKS) | st.text(max_size=4),
    max_size=40,
).flatmap(lambda pieces: st.sampled_from(["", " ", "-", "\n"]).map(lambda between: between.join(pieces)))


@given(texts | st.text(max_size=300), st.integers(1, 12))
def test_the_fast_score_is_the_reference_score(prompt: str, turns: int) -> None:
    assert score(prompt, turn_count=turns) == reference.score(prompt, turn_count=turns)


@given(
    st.sampled_from(SPOKEN), st.sampled_from(SPOKEN), st.sampled_from([" ", "-", "  ", "\n", "", "_", "."])
)
def test_any_two_words_beside_each_other_count_as_in_the_reference(one: str, two: str, between: str) -> None:
    for text in (
        f"{one}{between}{two}",
        f"{one}{between}{two}".upper(),
        f"x{one}{between}{two}",
        f"{one}{between}{two} {one}",
    ):
        assert score(text) == reference.score(text)


@pytest.mark.parametrize("mark", MARKS)
def test_each_mark_alone_counts_as_in_the_reference(mark: str) -> None:
    for text in (mark, f"{mark}x", f"word{mark}", f"a\n{mark}b", f"1{mark}2", f" {mark} y\n {mark} z"):
        assert score(text) == reference.score(text)


def test_the_files_of_this_project_score_as_in_the_reference() -> None:
    """Long real texts: prose, code, lists and tables."""
    root = Path(__file__).parents[3]
    read = [*root.glob("*.md"), *sorted((root / "core").rglob("*.py"))]
    assert len(read) > 20
    for path in read:
        text = path.read_text(encoding="utf-8")
        for part in (text, *re.split(r"\n\n", text)[:200]):
            assert score(part) == reference.score(part)


DATA = Path(__file__).parents[4] / "shared" / "data" / "routing"


@pytest.mark.skipif(not DATA.is_dir(), reason="the prompts are not on this machine")
def test_real_prompts_score_as_in_the_reference() -> None:
    for path in sorted(DATA.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                if number % 8 == 0:
                    prompt = json.loads(line)["prompt"]
                    assert score(prompt) == reference.score(prompt)
