"""Usage reports of every shape that the SDKs type, against fixtures whose counts and cost were worked out by hand.

Each case of ``tests/data/usage`` says *because*: the arithmetic of its cost. A field or a value that a new SDK
brings, and that no case has, fails here before it is billed wrongly.
"""

from __future__ import annotations

import importlib
import json
import types
import typing
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel

from core.chat import Usage
from core.pricing.prices import PriceTable
from tests.support.providers import anthropic_usage, openai_usage

FILES = [
    json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parents[2] / "data" / "usage").glob("*.json"))
]
CASES = [
    pytest.param(file, case, id=f"{file['type'].rpartition('.')[2]}: {case['name']}")
    for file in FILES
    for case in file["cases"]
]
# Usages that no message of ours is billed by: other products, totals of a session, or parts of the above.
OTHER_BILLS = {
    "BatchUsage",
    "BetaDreamUsage",
    "BetaManagedAgentsCacheCreationUsage",
    "BetaManagedAgentsServerToolUsage",
    "BetaManagedAgentsSessionUsage",
}
# Fields whose every value means the same to a price: names of models, reasons why something was not done.
FREE_WORDS = ("model", "reason")
TABLE = PriceTable()


def sdk_type(name: str) -> type[BaseModel]:
    module, _, attribute = name.rpartition(".")
    return typing.cast("type[BaseModel]", getattr(importlib.import_module(module), attribute))


def read(file: dict[str, Any], case: dict[str, Any], *, as_sdk_objects: bool) -> Usage | None:
    raw, before = case["usage"], case.get("before")
    if as_sdk_objects:
        raw = sdk_type(file["type"]).model_validate(raw)
        before = sdk_type("anthropic.types.Usage").model_validate(before) if before else None
    return openai_usage(raw) if file["wire"] == "openai" else anthropic_usage(before, raw)


@pytest.mark.parametrize("as_sdk_objects", [False, True], ids=["plain", "sdk"])
@pytest.mark.parametrize(("file", "case"), CASES)
def test_a_report_is_read_into_disjoint_counts_and_costs_what_the_hand_says(
    file: dict[str, Any], case: dict[str, Any], as_sdk_objects: bool
) -> None:
    usage = read(file, case, as_sdk_objects=as_sdk_objects)
    assert usage is not None
    expected: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in case["expected"].items()
    }
    assert usage == Usage(**expected)
    at = datetime.fromisoformat(case["at"])
    cost = TABLE.cost_nanodollars(case["model"], usage, provider=file["provider"], at=at)
    assert cost == case["cost_nanodollars"], case["because"]


@pytest.mark.parametrize("file", FILES, ids=[file["type"] for file in FILES])
def test_every_field_and_value_that_the_sdk_types_has_a_case(file: dict[str, Any]) -> None:
    seen = {path for case in file["cases"] for path in paths(case["usage"])}
    missing = sorted(set(typed_paths(sdk_type(file["type"]))) - seen)
    assert missing == [], f"the SDK types what no fixture of {file['type']} covers"


def test_every_usage_that_the_sdks_type_is_a_fixture_or_another_bill() -> None:
    covered: set[str] = set()
    for file in FILES:
        covered |= {model.__name__ for model in models_of(sdk_type(file["type"]))}
    found: set[str] = set()
    for module in ("anthropic.types", "anthropic.types.beta", "openai.types"):
        for name, value in vars(importlib.import_module(module)).items():
            if name.endswith("Usage") and isinstance(value, type) and issubclass(value, BaseModel):
                found.add(value.__name__)
    assert found - covered - OTHER_BILLS == set()
    assert found >= OTHER_BILLS


def typed_paths(model: Any, prefix: str = "") -> Iterator[str]:
    """Every field below ``model``, as a path; a literal's values are paths too, such as ``.speed=fast``."""
    for name, field in model.model_fields.items():
        yield f"{prefix}.{name}"
        for part in parts(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from typed_paths(part, f"{prefix}.{name}")
            elif typing.get_origin(part) is typing.Literal and name not in FREE_WORDS:
                yield from (f"{prefix}.{name}={value}" for value in typing.get_args(part))


def models_of(model: Any) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for part in parts(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from models_of(part)


def parts(annotation: Any) -> Iterator[Any]:
    """What an annotation is made of, without the unions, lists and markers around it."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType, list):
        for argument in typing.get_args(annotation):
            yield from parts(argument)
    elif origin is typing.Annotated:
        yield from parts(typing.get_args(annotation)[0])
    else:
        yield annotation


def paths(value: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, child in typing.cast("dict[str, Any]", value).items():
            yield f"{prefix}.{name}"
            yield from paths(child, f"{prefix}.{name}")
    elif isinstance(value, list):
        for child in typing.cast("list[Any]", value):
            yield from paths(child, prefix)
    elif isinstance(value, str):
        yield f"{prefix}={value}"


counts = st.integers(0, 1_000_000)
MODELS = ("claude-sonnet-4-6", "claude-sonnet-4-5", "claude-opus-5-5", "claude-haiku-5-5")


@st.composite
def unstreamed(draw: st.DrawFn) -> dict[str, Any]:
    five, hour, output = draw(counts), draw(counts), draw(counts)
    return {
        "input_tokens": draw(st.integers(1, 1_000_000)),
        "cache_read_input_tokens": draw(counts),
        "cache_creation_input_tokens": five + hour,
        "cache_creation": {"ephemeral_5m_input_tokens": five, "ephemeral_1h_input_tokens": hour},
        "output_tokens": output,
        "output_tokens_details": {"thinking_tokens": draw(st.integers(0, output))},
        "server_tool_use": {"web_search_requests": draw(st.integers(0, 5)), "web_fetch_requests": 1},
        "service_tier": draw(st.sampled_from(["standard", "batch", "priority"])),
        "inference_geo": draw(st.sampled_from(["global", "us", "not_available"])),
        "speed": draw(st.sampled_from(["standard", "fast"])),
    }


# What message_delta may repeat (cumulative), may leave out, and may send as null.
OF_A_DELTA = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens_details",
    "server_tool_use",
)


@given(whole=unstreamed(), model=st.sampled_from(MODELS), data=st.data())
def test_a_streamed_answer_costs_what_the_same_answer_costs_unstreamed(
    whole: dict[str, Any], model: str, data: st.DataObject
) -> None:
    """However the reports are split: grown step by step, repeated, left out or null."""
    reports: list[dict[str, Any]] = []
    start = dict(whole, output_tokens=min(1, whole["output_tokens"]))
    for late in ("output_tokens_details", "server_tool_use"):
        if data.draw(st.booleans(), label=f"{late} comes at the end only"):
            start[late] = None
    reports.append(start)
    outputs = data.draw(st.lists(st.integers(0, whole["output_tokens"]), max_size=4), label="outputs so far")
    for output in sorted(outputs):
        repeated = data.draw(st.sets(st.sampled_from(OF_A_DELTA)), label="repeated")
        nulls = data.draw(st.booleans(), label="the rest is null")
        delta: dict[str, Any] = {name: whole[name] for name in repeated}
        if nulls:
            delta = dict.fromkeys(OF_A_DELTA) | delta
        reports.append(delta | {"output_tokens": output})
    reports.append(
        {
            "output_tokens": whole["output_tokens"],
            "output_tokens_details": whole["output_tokens_details"],
            "server_tool_use": whole["server_tool_use"],
        }
    )
    usage = anthropic_usage(*reports)
    once = anthropic_usage(whole)
    assert usage == once
    assert usage is not None
    assert once is not None
    assert TABLE.cost_nanodollars(model, usage) == TABLE.cost_nanodollars(model, once)


@given(whole=unstreamed())
def test_the_disjoint_counts_add_up_to_what_was_reported(whole: dict[str, Any]) -> None:
    usage = anthropic_usage(whole)
    assert usage is not None
    reported = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
    assert usage.total_tokens == sum(whole[name] for name in reported)


@pytest.mark.parametrize(
    ("by_lifetime", "five_minutes", "one_hour"),
    [
        ({}, 700, 0),
        ({"ephemeral_5m_input_tokens": None}, 700, 0),
        ({"ephemeral_1h_input_tokens": 200}, 500, 200),
        ({"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 200}, 500, 200),
        ({"ephemeral_5m_input_tokens": 900, "ephemeral_1h_input_tokens": 200}, 900, 200),
    ],
)
def test_writes_beyond_the_named_lifetimes_of_a_cache_count(
    by_lifetime: dict[str, Any], five_minutes: int, one_hour: int
) -> None:
    usage = anthropic_usage(
        {"input_tokens": 10, "cache_creation_input_tokens": 700, "cache_creation": by_lifetime}
    )
    assert usage is not None
    assert (usage.cache_write_5m_tokens, usage.cache_write_1h_tokens) == (five_minutes, one_hour)


@given(prompt=st.integers(1, 1_000_000), cached=counts, written=counts, output=counts)
def test_a_cached_token_of_the_other_wire_is_counted_once(
    prompt: int, cached: int, written: int, output: int
) -> None:
    usage = openai_usage(
        {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        }
    )
    assert usage is not None
    outside = cached + written if cached + written > prompt else 0
    assert usage.input_tokens == prompt + outside
    assert usage.total_tokens == prompt + outside + output
    assert min(usage.fresh_input_tokens, usage.cache_read_tokens, usage.cache_write_5m_tokens) >= 0


@given(name=st.text(max_size=30), count=st.integers(1, 10**6))
def test_a_server_tool_that_nobody_knows_makes_the_row_unpriced(name: str, count: int) -> None:
    assume(name not in ("web_search_requests", "web_fetch_requests"))
    usage = anthropic_usage({"input_tokens": 1, "output_tokens": 1, "server_tool_use": {name: count}})
    assert usage is not None
    assert TABLE.cost_nanodollars("claude-sonnet-4-6", usage) is None
