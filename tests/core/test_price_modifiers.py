"""What changes a price, as the one line of text of the ledger and of released versions' files, and back."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.chat import ChatResult, Usage
from core.ledger.database import LEDGER_FILE
from core.ledger.models import Outcome
from core.price_modifiers import modifiers_text, split_service_tier, with_modifiers
from core.pricing.prices import PriceTable
from core.serialization import from_json, salvage_json, to_json, to_plain
from tests.support.full_values import FULL_RESULT
from tests.support.ledgers import hold, new_request, open_ledger
from tests.support.providers import anthropic_usage

AT = datetime(2026, 11, 1, tzinfo=UTC)
MODEL = "claude-sonnet-4-6"
COUNTS: dict[str, Any] = {"fresh_input_tokens": 1000, "output_tokens": 1000}
# Text that released versions wrote, the fields it means, and what 1,000 tokens in and out cost with it ($3 and
# $15 a million, 1.1 times that in the United States, half of it in a batch, $10 for 1,000 searches).
RELEASED = [
    (None, {}, 18_000_000),
    ("standard", {"service_tier": "standard"}, 18_000_000),
    ("batch", {"service_tier": "batch"}, 9_000_000),
    ("geo=us", {"region": "us"}, 19_800_000),
    ("standard+geo=us", {"service_tier": "standard", "region": "us"}, 19_800_000),
    (
        "standard+geo=us+web_search=2",
        {"service_tier": "standard", "region": "us", "web_searches": 2},
        39_800_000,
    ),
    ("standard+iterations=message", {"service_tier": "standard", "call_kinds": ("message",)}, 18_000_000),
    ("priority", {"service_tier": "priority"}, None),
    ("batch+speed=fast", {"service_tier": "batch", "speed": "fast"}, None),
    (
        "standard+iterations=compaction,message",
        {"service_tier": "standard", "call_kinds": ("compaction", "message")},
        None,
    ),
    (
        "standard+fallback_credit=redeemed+tool_code_execution=1",
        {
            "service_tier": "standard",
            "unpriced_extras": ("fallback_credit=redeemed", "tool_code_execution=1"),
        },
        None,
    ),
    ("audio=900", {"unpriced_extras": ("audio=900",)}, None),
]
# What no version has written: it is kept, and never priced.
STRANGE = [
    "standard+batch",
    "web_search=",
    "web_search=-1",
    "web_search=1234567890",
    "geo=",
    "a=b=c",
    "=",
    "x=",
]
released = pytest.mark.parametrize(
    ("text", "fields", "cost"), RELEASED, ids=[str(one[0]) for one in RELEASED]
)


@released
def test_text_of_a_released_version_is_read_into_fields(
    text: str | None, fields: dict[str, Any], cost: int | None
) -> None:
    usage = with_modifiers(Usage(**COUNTS), text)
    assert usage == Usage(**COUNTS, **fields)
    assert modifiers_text(usage) == text
    assert PriceTable().cost_nanodollars(MODEL, usage, at=AT) == cost


@pytest.mark.parametrize("text", STRANGE)
def test_text_that_nobody_wrote_is_kept_and_unpriced(text: str) -> None:
    usage = with_modifiers(Usage(**COUNTS), text)
    assert PriceTable().cost_nanodollars(MODEL, usage, at=AT) is None
    kept = modifiers_text(usage)
    assert with_modifiers(Usage(**COUNTS), kept) == usage
    assert kept is not None
    assert sorted(kept.split("+")) == sorted(text.split("+"))


WORDS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789_.:-", min_size=1, max_size=12)
NAMES = WORDS.filter(lambda word: word not in ("speed", "geo", "web_search", "iterations"))
MODIFIED = st.builds(
    Usage,
    service_tier=st.none() | WORDS,
    speed=st.none() | WORDS,
    region=st.none() | WORDS,
    web_searches=st.integers(0, 999_999_999),
    call_kinds=st.lists(WORDS, max_size=3).map(tuple),
    unpriced_extras=st.dictionaries(NAMES, WORDS, max_size=3).map(
        lambda extras: tuple(sorted(f"{name}={value}" for name, value in extras.items()))
    ),
)


@settings(deadline=None)
@given(usage=MODIFIED)
def test_fields_come_back_from_their_text(usage: Usage) -> None:
    assert with_modifiers(Usage(), modifiers_text(usage)) == usage


@settings(deadline=None)
@given(text=st.text(alphabet="ab=+,12", max_size=20))
def test_any_text_is_read_without_losing_a_word(text: str) -> None:
    usage = with_modifiers(Usage(), text)
    again = with_modifiers(Usage(), modifiers_text(usage))
    assert again == usage


WIRE = st.fixed_dictionaries(
    {"input_tokens": st.integers(1, 9)},
    optional={
        "service_tier": st.text(max_size=8),
        "speed": st.text(max_size=8) | st.sampled_from(["fast", "standard"]),
        "inference_geo": st.text(max_size=8) | st.sampled_from(["us", "global"]),
        "server_tool_use": st.dictionaries(
            st.text(max_size=8) | st.just("web_search_requests"), st.integers(0, 2**40), max_size=3
        ),
        "iterations": st.lists(st.fixed_dictionaries({"type": st.text(max_size=8)}), max_size=3),
        "fallback_credit": st.fixed_dictionaries(
            {"status": st.fixed_dictionaries({"type": st.text(max_size=8)})}
        ),
    },
)


@settings(deadline=None)
@given(reports=st.lists(WIRE, min_size=1, max_size=3))
def test_whatever_a_provider_reports_comes_back_from_the_ledgers_text(reports: list[dict[str, Any]]) -> None:
    usage = anthropic_usage(*reports)
    assert usage is not None
    counts = Usage(fresh_input_tokens=usage.fresh_input_tokens)
    assert with_modifiers(counts, modifiers_text(usage)) == usage


# -- where it is kept -------------------------------------------------------------------------------------------


@released
async def test_the_ledgers_column_keeps_its_text_and_gives_the_fields_back(
    home: Path, text: str | None, fields: dict[str, Any], cost: int | None
) -> None:
    usage = Usage(**COUNTS, **fields)
    async with open_ledger(home) as ledger:
        request = new_request()
        await ledger.begin(request, hold(100_000_000))
        outcome = Outcome(status="done", usage=usage, cost_nanodollars=cost)
        await ledger.settle(request.correlation_id, 1, outcome)
        (row,) = await ledger.attempts(request.correlation_id)
    assert row.usage == usage
    connection = sqlite3.connect(home / LEDGER_FILE)
    try:
        assert connection.execute("SELECT service_tier FROM ledger_attempts").fetchall() == [(text,)]
    finally:
        connection.close()


@released
def test_answers_and_conversations_of_a_released_version_are_read(
    text: str | None, fields: dict[str, Any], cost: int | None
) -> None:
    usage = Usage(**COUNTS, **fields)
    old = {**COUNTS, "cache_read_tokens": 0, "thinking_tokens": None, "service_tier": text}
    for read in (from_json, salvage_json):
        assert read(Usage, json.dumps(old)) == usage
        result = read(ChatResult, json.dumps({**to_plain(FULL_RESULT), "usage": old}))
        assert result is not None
        assert result.usage == usage


@settings(deadline=None)
@given(usage=MODIFIED)
def test_answers_and_conversations_of_this_version_are_read(usage: Usage) -> None:
    result = replace(FULL_RESULT, usage=usage)
    for read in (from_json, salvage_json):
        assert read(ChatResult, to_json(result)) == result


def test_a_tier_of_this_version_is_left_alone() -> None:
    usage = Usage(service_tier="standard", region="us", web_searches=1)
    assert split_service_tier(usage) is usage


# -- what two attempts took in all ------------------------------------------------------------------------------


@settings(deadline=None)
@given(first=MODIFIED, second=MODIFIED, counts=st.lists(st.integers(0, 2**40), min_size=10, max_size=10))
def test_a_sum_counts_every_token_once(first: Usage, second: Usage, counts: list[int]) -> None:
    names = (
        "fresh_input_tokens",
        "cache_read_tokens",
        "cache_write_5m_tokens",
        "cache_write_1h_tokens",
        "output_tokens",
    )
    first = replace(first, **dict(zip(names, counts[:5], strict=True)))
    second = replace(second, **dict(zip(names, counts[5:], strict=True)))
    both = first + second
    assert both.total_tokens == sum(counts)
    assert both.input_tokens == first.input_tokens + second.input_tokens
    assert both.web_searches == first.web_searches + second.web_searches
    assert both.service_tier == second.service_tier


@pytest.mark.parametrize(
    ("first", "second", "both"), [(3, 4, 7), (3, None, None), (None, 4, None), (0, 0, 0)]
)
def test_thinking_that_one_did_not_report_is_not_known_of_both(
    first: int | None, second: int | None, both: int | None
) -> None:
    assert (Usage(thinking_tokens=first) + Usage(thinking_tokens=second)).thinking_tokens == both
