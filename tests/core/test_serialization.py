"""What is written as JSON reads again, and what the versions before ``core.serialization`` wrote still does."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.chat import RULES, CacheSwitchCost, ChatResult, ContextEconomy, RequestStep, RouteDecision, Usage
from core.serialization import from_json, salvage_json, to_json, to_plain
from tests.support.full_values import (
    FULL_DECISION,
    FULL_RESULT,
    FULL_USAGE,
    PLAIN_DECISION,
    PLAIN_RESULT,
)

WRITTEN = Path(__file__).parents[1] / "data" / "serialization"


def written(name: str) -> str:
    """Return what the code wrote before there was one serialiser."""
    return (WRITTEN / f"{name}.json").read_text(encoding="utf-8").rstrip("\n")


# -- written by versions before ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "decision"), [("ledger_decision_full", FULL_DECISION), ("ledger_decision_plain", PLAIN_DECISION)]
)
def test_the_ledgers_decisions_are_the_same_bytes(name: str, decision: RouteDecision) -> None:
    assert to_json(decision) == written(name)
    assert from_json(RouteDecision, written(name)) == decision


@pytest.mark.parametrize(
    ("name", "result"), [("kept_answer_full", FULL_RESULT), ("kept_answer_plain", PLAIN_RESULT)]
)
def test_a_kept_answer_still_reads(name: str, result: ChatResult) -> None:
    assert from_json(ChatResult, written(name)) == dataclasses.replace(result, generation_ms=None)


@pytest.mark.parametrize(
    ("name", "result"),
    [("conversation_result_full", FULL_RESULT), ("conversation_result_plain", PLAIN_RESULT)],
)
def test_a_conversations_answer_still_reads(name: str, result: ChatResult) -> None:
    assert salvage_json(ChatResult, written(name)) == dataclasses.replace(result, text="", generation_ms=None)


def test_a_conversations_decision_still_reads() -> None:
    assert salvage_json(RouteDecision, written("conversation_decision_full")) == FULL_DECISION
    since = {"local_refuses": "", "api_refuses": ""}
    assert to_plain(FULL_DECISION) == {**json.loads(written("conversation_decision_full")), **since}
    refused = dataclasses.replace(FULL_DECISION, local_refuses="no images", api_refuses="too long")
    assert from_json(RouteDecision, to_json(refused)) == refused


SINCE = {"speed", "region", "web_searches", "call_kinds", "unpriced_extras", "local_refuses", "api_refuses"}
"""Fields that the vocabulary got since those files were written."""

# -- there and back ------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
MOMENTS = st.datetimes(
    datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(UTC) | st.just(timezone(timedelta(hours=5)))
)
MAYBE_MONEY = st.none() | st.integers(-(2**62), 2**62)
FLOATS = st.floats(0, 1e12)
DECISIONS = st.builds(
    partial(dataclasses.replace, FULL_DECISION),
    reason=TEXT,
    rule=st.sampled_from(RULES),
    side=st.sampled_from([None, "local", "api"]),
    complexity_threshold=FLOATS,
    economy=st.none() | st.builds(ContextEconomy, saved_nanodollars=MAYBE_MONEY),
)
RESULTS = st.builds(
    partial(dataclasses.replace, FULL_RESULT),
    decision=DECISIONS,
    text=TEXT,
    usage=st.none() | st.builds(Usage, output_tokens=st.integers(0, 2**62), call_kinds=st.just(("message",))),
    steps=st.lists(
        st.builds(RequestStep, kind=st.just("waited"), detail=TEXT, took_ms=FLOATS), max_size=2
    ).map(tuple),
    cost_nanodollars=MAYBE_MONEY,
    latency_ms=FLOATS,
    started_at=MOMENTS,
)


@given(RESULTS)
def test_any_answer_comes_back(result: ChatResult) -> None:
    assert from_json(ChatResult, to_json(result)) == result
    assert salvage_json(ChatResult, to_json(result)) == result
    assert from_json(ChatResult, json.dumps(to_plain(result))) == result


@given(st.text(st.characters()))
def test_text_of_any_kind_comes_back_but_for_lone_surrogates(text: str) -> None:
    kept = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    result = dataclasses.replace(FULL_RESULT, text=text)
    assert from_json(ChatResult, to_json(result)).text == kept
    by_an_older_version = json.dumps({**to_plain(FULL_RESULT), "text": text})
    assert from_json(ChatResult, by_an_older_version).text == kept
    salvaged = salvage_json(ChatResult, by_an_older_version)
    assert salvaged is not None
    assert salvaged.text == kept


def test_the_examples_have_every_field_set() -> None:
    for full in (FULL_RESULT, FULL_DECISION, FULL_DECISION.signals, FULL_USAGE):
        left = {f.name for f in dataclasses.fields(full) if getattr(full, f.name) == f.default}
        assert left <= SINCE, type(full).__name__


# -- of another version, or damaged --------------------------------------------------------------------------


def test_a_field_of_a_newer_version_is_ignored_and_one_that_is_not_there_has_its_default() -> None:
    values = to_plain(FULL_RESULT)
    values["new_in_2030"] = values["decision"]["signals"]["mood"] = 1
    del values["dropped"], values["decision"]["economy"]
    for read in (from_json(ChatResult, json.dumps(values)), salvage_json(ChatResult, json.dumps(values))):
        assert read is not None
        assert (read.dropped, read.decision.economy, read.text) == ((), None, FULL_RESULT.text)


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("text", None),
        ("cost_nanodollars", "12"),
        ("cost_nanodollars", True),
        ("side", "moon"),
        ("replayed", 1),
        ("latency_ms", "fast"),
        ("tool_calls", {}),
        ("tool_calls", [{"id": "x"}]),
        ("decision", None),
        ("decision.rule", "whim"),
        ("usage.output_tokens", 1.5),
        ("started_at", "yesterday"),
    ],
)
def test_what_has_another_shape_is_not_guessed(path: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=rf"ChatResult was written in another shape: {path}"):
        from_json(ChatResult, changed(path, wrong))


@pytest.mark.parametrize("text", ["", "null", "[]", "not json", '{"text": "\\ud8', "[" * 100_000])
def test_what_is_no_answer_at_all_is_an_error_without_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="ChatResult was written in another shape: the whole"):
        from_json(ChatResult, text)
    assert salvage_json(ChatResult, text) is None


def test_an_error_quotes_nothing_of_what_stands_there() -> None:
    values = {**to_plain(FULL_RESULT), "side": "my secret prompt"}
    with pytest.raises(ValueError, match="shape") as raised:
        from_json(ChatResult, json.dumps(values))
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is raised.value.__context__ is None


@pytest.mark.parametrize(
    ("path", "wrong", "left_out"),
    [
        ("decision.cache.marks.system", "perhaps", {"cache": None}),
        ("decision.toll", {"side": "api"}, {"switching_cost": None}),
        ("decision.toll", 3, {"switching_cost": None}),
        ("decision.economy", [], {"economy": None}),
    ],
)
def test_a_broken_part_of_a_decision_is_left_out_alone(
    path: str, wrong: Any, left_out: dict[str, Any]
) -> None:
    expected = dataclasses.replace(FULL_RESULT, decision=dataclasses.replace(FULL_DECISION, **left_out))
    assert salvage_json(ChatResult, changed(path, wrong)) == expected


def test_broken_steps_are_left_out_one_by_one() -> None:
    steps = [{"kind": "danced"}, *to_plain(FULL_RESULT)["steps"], 7, {"detail": "no kind"}]
    assert salvage_json(ChatResult, changed("steps", steps)) == FULL_RESULT


@pytest.mark.parametrize("path", ["usage.output_tokens", "decision.signals.complexity", "cost_nanodollars"])
def test_a_number_that_can_not_be_read_is_never_zero(path: str) -> None:
    assert salvage_json(ChatResult, changed(path, "many")) is None
    assert salvage_json(Usage, '{"output_tokens": "many", "fresh_input_tokens": 3}') is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: (
            st.lists(x, max_size=3)
            | st.dictionaries(st.sampled_from(["cache", "side", "marks", "steps", "kind"]), x, max_size=3)
        ),
    ),
    st.data(),
)
def test_whatever_stands_anywhere_salvaging_ends(wrong: Any, data: st.DataObject) -> None:
    values: Any = to_plain(FULL_RESULT)
    inner = values
    while True:
        step = data.draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner))))
        if not isinstance(inner[step], dict | list) or not inner[step] or data.draw(st.booleans()):
            break
        inner = inner[step]
    inner[step] = wrong
    read = salvage_json(ChatResult, json.dumps(values))
    assert read is None or isinstance(read, ChatResult)


def test_the_cost_of_switching_keeps_the_name_it_was_stored_under() -> None:
    cost = CacheSwitchCost(side="api", cached_tokens=9_000, nanodollars=None, expires_in_s=1.5)
    decision = dataclasses.replace(PLAIN_DECISION, switching_cost=cost)
    assert json.loads(to_json(decision))["toll"] == to_plain(decision)["toll"] == to_plain(cost)


def changed(path: str, value: Any) -> str:
    """Return the full result as JSON with ``value`` at ``path``."""
    values = inner = to_plain(FULL_RESULT)
    *steps, last = path.split(".")
    for step in steps:
        inner = inner[step]
    inner[last] = value
    return json.dumps(values)
