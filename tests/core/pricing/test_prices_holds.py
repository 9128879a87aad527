"""A hold is the most that can be settled: the same prices, tiers and cache classes decide both."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given
from hypothesis import strategies as st

from core.chat import Usage
from core.pricing.price_overrides import PRICE_CLASSES
from core.pricing.price_rates import CacheWrite
from core.pricing.prices import PriceTable

TABLE = PriceTable()
AT = datetime(2026, 11, 1, tzinfo=UTC)
MODELS = [
    (provider.id, model.id)
    for provider in get_snapshot().providers
    if provider.id in ("anthropic", "openai", "google", "deepseek", "mistral", "groq", "x-ai")
    for model in provider.models
    if TABLE.is_priced(model.id, provider=provider.id)
]
CLAUDE = [model for provider, model in MODELS if provider == "anthropic"]
MARKS: list[CacheWrite | None] = [None, "5m", "1h"]
# What the request can ask for, or what can be added without being asked.
TERMS: list[dict[str, Any]] = [
    {},
    {"service_tier": "standard"},
    {"service_tier": "batch"},
    {"speed": "fast"},
    {"service_tier": "flex"},
    {"service_tier": "priority"},
    {"region": "us"},
    {"service_tier": "batch", "region": "us"},
    {"service_tier": "standard", "speed": "fast", "region": "us"},
    {"service_tier": "batch", "speed": "fast"},
    {"service_tier": "standard", "web_searches": 3},
]
tokens = st.integers(0, 3) | st.integers(0, 2_000_000) | st.sampled_from([100_000, 200_001, 272_001])


@st.composite
def counts(draw: st.DrawFn, mark: CacheWrite | None) -> Usage:
    """A usage that a request with these cache marks can have: nothing is written that was not asked for."""
    output = draw(tokens)
    return Usage(
        fresh_input_tokens=draw(tokens),
        cache_read_tokens=draw(tokens),
        cache_write_5m_tokens=draw(tokens) if mark else 0,
        cache_write_1h_tokens=draw(tokens) if mark == "1h" else 0,
        output_tokens=output,
        thinking_tokens=draw(st.none() | st.integers(0, output)),
    )


@given(
    model=st.sampled_from(MODELS),
    mark=st.sampled_from(MARKS),
    terms=st.sampled_from(TERMS),
    spare=st.tuples(tokens, tokens),
    at=st.datetimes(datetime(2025, 1, 1), datetime(2027, 6, 1), timezones=st.just(UTC)),
    data=st.data(),
)
def test_no_usage_within_the_counts_settles_above_its_hold(
    model: tuple[str, str],
    mark: CacheWrite | None,
    terms: dict[str, Any],
    spare: tuple[int, int],
    at: datetime,
    data: st.DataObject,
) -> None:
    provider, name = model
    usage = replace(data.draw(counts(mark)), **terms)
    cost = TABLE.cost_nanodollars(name, usage, provider=provider, at=at)
    held = TABLE.worst_case_nanodollars(
        name,
        usage.input_tokens + spare[0],
        usage.output_tokens + spare[1],
        provider=provider,
        cache_write=mark,
        like=usage,
        at=at,
    )
    assert (cost is None) == (held is None)
    assert cost is None or (held is not None and cost <= held)


@given(model=st.sampled_from(CLAUDE), mark=st.sampled_from(MARKS), data=st.data())
def test_a_batch_settles_within_the_standard_hold(
    model: str, mark: CacheWrite | None, data: st.DataObject
) -> None:
    """What the provider makes cheaper by itself needs no hold of its own."""
    usage = replace(data.draw(counts(mark)), service_tier="batch")
    cost = TABLE.cost_nanodollars(model, usage, at=AT)
    held = TABLE.worst_case_nanodollars(
        model, usage.input_tokens, usage.output_tokens, cache_write=mark, at=AT
    )
    assert held is not None
    assert cost is None or cost <= held


@pytest.mark.parametrize(
    "terms",
    [
        {"service_tier": "priority"},
        {"service_tier": "flex"},
        {"service_tier": "a-new-tier"},
        {"speed": "slow"},
        {"region": "moon"},
        {"call_kinds": ("compaction", "message")},
        {"unpriced_extras": ("tool_code_execution=1",)},
    ],
)
def test_a_tier_nobody_asked_for_and_nobody_has_a_price_for_stays_at_its_hold(terms: dict[str, Any]) -> None:
    """Unpriced, so the ledger keeps the row *unresolved*: counted at its hold until it is settled by hand."""
    usage = Usage(fresh_input_tokens=10, output_tokens=10, **terms)
    assert TABLE.cost_nanodollars("claude-sonnet-4-6", usage, at=AT) is None


def test_a_place_that_a_workspace_adds_is_in_the_hold_once_it_is_known() -> None:
    """A tenth more than a standard hold: the last answer's usage is what the next hold takes its terms from."""
    usage = Usage(fresh_input_tokens=1000, output_tokens=1000, service_tier="standard", region="us")
    cost = TABLE.cost_nanodollars("claude-sonnet-4-6", usage, at=AT)
    standard = TABLE.worst_case_nanodollars("claude-sonnet-4-6", 1000, 1000, at=AT)
    learnt = TABLE.worst_case_nanodollars("claude-sonnet-4-6", 1000, 1000, like=usage, at=AT)
    assert (standard, cost, learnt) == (18_000_000, 19_800_000, 19_800_000)


def test_a_tiered_price_is_in_the_hold() -> None:
    """Five requests of 272,000 tokens and more were admitted on a cap that four had passed (LiteLLM, #40002)."""
    at_tier = TABLE.worst_case_nanodollars("gpt-5.6-sol", 272_000, 10, provider="openai")
    above = TABLE.worst_case_nanodollars("gpt-5.6-sol", 272_001, 10, provider="openai")
    assert at_tier == 272_000 * 4000 + 10 * 20_000
    assert above == 272_001 * 8000 + 10 * 30_000


def test_a_request_without_max_tokens_holds_no_more_than_the_model_can_answer() -> None:
    """A hold of the whole headroom blocked a team at $2,000 with $0.144 spent (LiteLLM, #27509)."""
    asked = TABLE.worst_case_nanodollars("claude-sonnet-4-6", 1000, 1_000_000, at=AT)
    clamped = TABLE.worst_case_nanodollars(
        "claude-sonnet-4-6", 1000, 1_000_000, max_output_limit=64_000, at=AT
    )
    unclamped = TABLE.worst_case_nanodollars("claude-sonnet-4-6", 1000, 10, max_output_limit=64_000, at=AT)
    assert asked == 3_000_000 + 1_000_000 * 15_000
    assert clamped == 3_000_000 + 64_000 * 15_000
    assert unclamped == 3_000_000 + 10 * 15_000


prices = st.none() | st.decimals(0, 1000, allow_nan=False, allow_infinity=False, places=6)


@given(
    own=st.fixed_dictionaries({name: prices for name in PRICE_CLASSES}),
    model=st.sampled_from(["claude-sonnet-4-5", "only-the-user-knows"]),
    mark=st.sampled_from(MARKS),
    data=st.data(),
)
def test_the_users_own_prices_hold_as_they_settle(
    own: dict[str, Any], model: str, mark: CacheWrite | None, data: st.DataObject, tmp_path_factory: Any
) -> None:
    path: Path = tmp_path_factory.mktemp("prices") / "prices.json"
    path.write_text(
        json.dumps({model: {name: str(price) for name, price in own.items() if price is not None}})
    )
    table = PriceTable(path)
    usage = data.draw(counts(mark))
    cost = table.cost_nanodollars(model, usage)
    held = table.worst_case_nanodollars(model, usage.input_tokens, usage.output_tokens, cache_write=mark)
    # A hold needs the price of every class that may come; a usage only of those that did.
    assert held is None or (cost is not None and cost <= held)
