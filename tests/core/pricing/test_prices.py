"""The compiled rates against ``genai_prices.calc_price`` itself, for every model of the default provider."""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import genai_prices
import pytest
from genai_prices.data_snapshot import DataSnapshot, get_snapshot, set_custom_snapshot
from genai_prices.types import (
    ClauseEquals,
    ClauseStartsWith,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
)
from hypothesis import given
from hypothesis import strategies as st

from core.chat import Usage
from core.pricing.prices import PriceTable

DEFAULT_MODEL = "claude-sonnet-4-6-20260501"
PROVIDERS = {provider.id: provider for provider in get_snapshot().providers}
# Plain text models: what only images, audio or web searches cost is no part of our Usage.
MODELS = [
    (name, model.id)
    for name in ("anthropic", "openai", "google", "deepseek", "mistral")
    for model in PROVIDERS[name].models
    if PriceTable().is_priced(model.id, provider=name)
]

tokens = st.one_of(
    st.integers(0, 3), st.integers(0, 2_000_000), st.sampled_from([99_999, 100_000, 200_000, 200_001])
)
usages = st.builds(
    Usage,
    fresh_input_tokens=tokens,
    cache_read_tokens=tokens,
    cache_write_5m_tokens=tokens,
    cache_write_1h_tokens=tokens,
    output_tokens=tokens,
)
moments = st.datetimes(datetime(2025, 1, 1), datetime(2027, 6, 1), timezones=st.just(UTC))


def by_the_library(
    model: str, usage: Usage, at: datetime, provider: str, context: dict[str, str] | None = None
) -> int:
    priced = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=usage.input_tokens,
            cache_read_tokens=usage.cache_read_tokens,
            cache_write_tokens=usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
            cache_write_5m_tokens=usage.cache_write_5m_tokens,
            cache_write_1h_tokens=usage.cache_write_1h_tokens,
            output_tokens=usage.output_tokens,
        ),
        model,
        provider_id=provider,
        genai_request_timestamp=at,
        price_context=context,
    )
    return int((priced.total_price * 10**9).to_integral_value(rounding=ROUND_HALF_EVEN))


@given(st.sampled_from(MODELS), usages, moments)
def test_every_class_tier_and_date_costs_what_the_library_says(
    model: tuple[str, str], usage: Usage, at: datetime
) -> None:
    provider, name = model
    ours = PriceTable().cost_nanodollars(name, usage, provider=provider, at=at)
    assert ours == by_the_library(name, usage, at, provider)


@given(
    st.sampled_from([m for p, m in MODELS if p == "anthropic"]),
    usages,
    moments,
    st.sampled_from(["batch", "fast"]),
)
def test_a_service_tier_costs_what_the_library_says_or_is_unpriced(
    name: str, usage: Usage, at: datetime, tier: str
) -> None:
    key = "processing" if tier == "batch" else "speed"
    variants = [
        variant
        for model in PROVIDERS["anthropic"].models
        if model.id == name
        for variant in model.price_variants or ()
        if variant.when == {key: tier} and (variant.constraint is None or variant.constraint.active(at))
    ]
    tiered = Usage(
        fresh_input_tokens=usage.fresh_input_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        output_tokens=usage.output_tokens,
        service_tier=tier,
    )
    ours = PriceTable().cost_nanodollars(name, tiered, at=at)
    assert ours == (by_the_library(name, tiered, at, "anthropic", {key: tier}) if variants else None)


@given(st.sampled_from(MODELS), usages, moments)
def test_no_usage_within_the_counts_costs_more_than_its_worst_case(
    model: tuple[str, str], usage: Usage, at: datetime
) -> None:
    provider, name = model
    table = PriceTable()
    cost = table.cost_nanodollars(name, usage, provider=provider, at=at)
    worst = table.worst_case_nanodollars(
        name, usage.input_tokens, usage.output_tokens, provider=provider, cache_write="1h", at=at
    )
    assert cost is not None
    assert worst is not None
    assert cost <= worst


def test_known_prices_of_the_default_model() -> None:
    table = PriceTable()
    at = datetime(2026, 11, 1, tzinfo=UTC)
    usage = Usage(
        fresh_input_tokens=1000,
        cache_read_tokens=1000,
        cache_write_5m_tokens=1000,
        cache_write_1h_tokens=1000,
    )
    assert table.cost_nanodollars(DEFAULT_MODEL, usage, at=at) == 3_000_000 + 300_000 + 3_750_000 + 6_000_000
    assert table.cost_nanodollars(DEFAULT_MODEL, Usage(output_tokens=1), at=at) == 15_000
    assert table.worst_case_nanodollars(DEFAULT_MODEL, 1000, 1024, at=at) == 18_360_000
    assert table.context_tokens(DEFAULT_MODEL) == 1_000_000
    assert table.version.startswith("genai-prices ")


def test_a_tier_is_reached_by_the_total_input_and_prices_every_token() -> None:
    table = PriceTable()
    below = Usage(fresh_input_tokens=100_000, cache_read_tokens=100_000)
    above = Usage(fresh_input_tokens=100_000, cache_read_tokens=100_001)
    assert table.cost_nanodollars("claude-sonnet-4-5", below) == 300_000_000 + 30_000_000
    assert table.cost_nanodollars("claude-sonnet-4-5", above) == 600_000_000 + 60_000_600


def test_a_price_has_dates() -> None:
    table = PriceTable()
    usage = Usage(fresh_input_tokens=300_000)
    change = datetime(2026, 3, 13, tzinfo=UTC)
    assert (
        table.cost_nanodollars("claude-sonnet-4-6", usage, at=change - timedelta(seconds=1)) == 1_800_000_000
    )
    assert table.cost_nanodollars("claude-sonnet-4-6", usage, at=change) == 900_000_000


DATED_MODELS = [
    ("anthropic", "claude-sonnet-4-6"),
    ("deepseek", "deepseek-chat"),
    ("deepseek", "deepseek-v4-pro"),
]


@given(
    st.sampled_from(DATED_MODELS), st.sampled_from([None, "batch"]), st.lists(moments, min_size=2, max_size=6)
)
def test_a_table_that_runs_for_months_follows_the_dates_and_the_hours(
    model: tuple[str, str], tier: str | None, times: list[datetime]
) -> None:
    """What the table keeps from one look-up to the next is never what has stopped to hold."""
    provider, name = model
    usage = Usage(fresh_input_tokens=300_000, output_tokens=7, service_tier=tier)
    today = times[0]
    table = PriceTable(now=lambda: today)
    for today in sorted(times):
        running = table.cost_nanodollars(name, usage, provider=provider)
        assert running == PriceTable().cost_nanodollars(name, usage, provider=provider, at=today)
        assert running == table.cost_nanodollars(name, usage, provider=provider, at=today)
    for past in times:
        asked = table.cost_nanodollars(name, usage, provider=provider, at=past)
        assert asked == PriceTable().cost_nanodollars(name, usage, provider=provider, at=past)


@pytest.mark.parametrize(
    ("model", "usage"),
    [
        ("a-model-nobody-knows", Usage(output_tokens=1)),
        ("claude-nobody-9", Usage(output_tokens=1)),
        ("", Usage()),
        ("\ud800", Usage(output_tokens=1)),
        (DEFAULT_MODEL, Usage(output_tokens=1, service_tier="a-tier-nobody-knows")),
    ],
)
def test_an_unknown_price_is_none_and_never_zero(model: str, usage: Usage) -> None:
    assert PriceTable().cost_nanodollars(model, usage) is None


def test_the_worst_case_of_an_unknown_model_is_none() -> None:
    assert PriceTable().worst_case_nanodollars("claude-nobody-9", 10, 10) is None
    assert PriceTable().worst_case_nanodollars(DEFAULT_MODEL, 10, 10, provider="nobody") is None
    assert PriceTable().context_tokens("claude-nobody-9") is None


def test_the_local_side_takes_no_cash_whatever_its_model() -> None:
    assert PriceTable().cost_nanodollars("any.gguf", Usage(output_tokens=10**6), side="local") == 0
    assert PriceTable().worst_case_nanodollars("any.gguf", 10**6, 10**6, side="local") == 0


def test_thinking_tokens_are_inside_the_output_and_cost_no_more() -> None:
    table = PriceTable()
    plain = table.cost_nanodollars(DEFAULT_MODEL, Usage(output_tokens=500))
    assert table.cost_nanodollars(DEFAULT_MODEL, Usage(output_tokens=500, thinking_tokens=400)) == plain


def test_model_names_from_outside_do_not_grow_the_table_without_end() -> None:
    table = PriceTable()
    for number in range(3000):
        table.context_tokens(f"nobody-{number}")
        table.is_priced(f"nobody-{number}")
    state = table._state  # pyright: ignore[reportPrivateUsage]
    assert max(len(state.models), len(state.always), len(state.from_now)) <= 1024
    assert Decimal(table.cost_nanodollars(DEFAULT_MODEL, Usage(output_tokens=1)) or 0) == 15_000


@pytest.fixture
def only_these() -> Generator[Callable[..., None]]:
    """Puts a table of the given models of one provider, ``acme``, in the place of the built-in one."""

    def put(*models: ModelInfo) -> None:
        acme = Provider(
            id="acme", name="Acme", api_pattern="acme", provider_match=ClauseEquals("acme"), models=[*models]
        )
        set_custom_snapshot(DataSnapshot(providers=[acme], from_auto_update=False))

    yield put
    set_custom_snapshot(None)


def of_input(dollars: int) -> ModelPrice:
    return ModelPrice(input_mtok=Decimal(dollars))


def test_only_a_variant_that_is_a_service_tier_alone_is_one(only_these: Callable[..., None]) -> None:
    """A route is chosen otherwise than a tier, and a variant of two conditions holds for neither alone."""
    variants = [
        PriceVariant(when={"processing": "batch", "speed": "fast"}, prices=of_input(7)),
        PriceVariant(when={"route": "eu"}, prices=of_input(8)),
        PriceVariant(when={"service_tier": "flex"}, prices=of_input(1)),
    ]
    only_these(
        ModelInfo(id="m", match=ClauseStartsWith("m"), prices=of_input(2), price_variants=variants),
    )
    table = PriceTable()
    costs = {
        tier: table.cost_nanodollars(
            "m", Usage(fresh_input_tokens=1, service_tier=tier), provider="acme", at=datetime.now(UTC)
        )
        for tier in (None, "flex", "batch", "fast", "eu")
    }
    assert costs == {None: 2000, "flex": 1000, "batch": None, "fast": None, "eu": None}


def test_a_model_that_the_table_lists_without_a_price_is_unpriced_or_the_users(
    only_these: Callable[..., None], tmp_path: Path
) -> None:
    only_these(ModelInfo(id="m", match=ClauseStartsWith("m"), context_window=8192))
    one = Usage(fresh_input_tokens=1)
    assert PriceTable().cost_nanodollars("m-1", one, provider="acme") is None
    assert PriceTable().worst_case_nanodollars("m-1", 1, 1, provider="acme") is None
    (tmp_path / "prices.json").write_text('{"m": {"input": "3", "output": "4"}}')
    own = PriceTable(tmp_path / "prices.json")
    assert own.cost_nanodollars("m-1", one, provider="acme") == 3000
    assert own.worst_case_nanodollars("m-1", 1, 1, provider="acme") == 7000


def test_several_calls_added_up_have_no_cost_where_their_tier_decides() -> None:
    """Each call had its own tier, and only their sum is known: a cost of that sum would be a guess."""
    both = Usage(fresh_input_tokens=300_000, call_kinds=("message",))
    assert PriceTable().cost_nanodollars("claude-sonnet-4-5", both) is None
    at = datetime(2026, 11, 1, tzinfo=UTC)
    assert PriceTable().cost_nanodollars("claude-sonnet-4-6", both, at=at) == 900_000_000
