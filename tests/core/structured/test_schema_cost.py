"""The bound on a check's work: never below what the check does, and small for what is ordinary."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.structured.schema_cost import UNBOUNDED, cost_of
from tests.core.structured.values import nested

REFERENCES = st.sampled_from(["#", "#/$defs/a", "#/$defs/b", "#here"])
LEAVES = st.sampled_from([{"type": "null"}, {"minLength": 99}, {"minimum": 10**30}]) | st.builds(
    lambda reference: {"$ref": reference}, REFERENCES
)
PARTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda parts: {"allOf": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda part: {"items": part}, inner),
        st.builds(lambda part, other: {"properties": {"a": part, "b": other}}, inner, inner),
        st.builds(lambda part: {"additionalProperties": part}, inner),
        st.builds(lambda part: {"if": True, "then": part}, inner),
        st.builds(lambda parts: {"prefixItems": parts}, st.lists(inner, min_size=1, max_size=2)),
    ),
    max_leaves=6,
)
NESTED_VALUES = nested(st.integers(0, 3)) | st.recursive(
    st.integers(0, 3), lambda inner: st.fixed_dictionaries({"a": inner}), max_leaves=5
)


@given(PARTS, PARTS, PARTS, NESTED_VALUES)
def test_no_check_finds_more_errors_than_it_was_said_to_take_steps(
    root: dict[str, Any], first: dict[str, Any], second: dict[str, Any], value: Any
) -> None:
    schema = {**root, "$defs": {"a": first, "b": second, "c": {"$anchor": "here", "type": "null"}}}
    cost = cost_of(schema, value)
    if cost.steps < 100_000:
        errors = list(jsonschema_rs.validator_for(schema).iter_errors(value))
        assert len(errors) <= cost.steps


@pytest.mark.parametrize(
    ("schema", "times"),
    [
        ({"properties": {"a": {"$ref": "#"}}}, 1),
        ({"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}, 2),
        ({"additionalProperties": {"$ref": "#"}, "patternProperties": {"a": {"$ref": "#"}}}, 2),
        ({"$id": "#x", "properties": {"a": {"allOf": [{"$ref": "#x"}, {"$ref": "#x"}]}}}, 2),
        ({"allOf": [{"properties": {"a": {"allOf": [{"$ref": "#/allOf/0"}, {"$ref": "#/allOf/0"}]}}}]}, 2),
        ({"properties": {"a": {"$ref": "#/required/a"}}, "required": ["a"]}, 1),
        ({"properties": {"a": {"$ref": "#/title/a"}}, "title": "A"}, 1),
        (
            {"properties": {"a": {"$dynamicRef": "#x"}}, "$dynamicAnchor": "x", "not": {"$dynamicRef": "#x"}},
            None,
        ),
        ({"anyOf": [{"$ref": "#"}]}, None),
        ({"properties": {"a": {"$ref": "https://json-schema.org/draft/2020-12/schema"}}}, None),
        ({"$ref": "other", "$defs": {"a": {"$id": "other"}}}, None),
    ],
)
def test_branches_multiply_at_each_level(schema: dict[str, Any], times: int | None) -> None:
    value: Any = 1
    for _ in range(20):
        value = {"a": value}
    steps = cost_of(schema, value).steps
    if times is None:
        assert steps == UNBOUNDED
    elif times == 1:
        assert steps < 1_000
    else:
        assert times**20 <= steps < UNBOUNDED


def test_ordinary_records_cost_little() -> None:
    schema = {"items": {"properties": {"id": {"type": "integer"}, "tags": {"items": {"type": "string"}}}}}
    cost = cost_of(schema, [{"id": 1, "tags": ["a", "b"]}] * 1_000)
    assert cost.steps < 30_000
    assert cost.chain == 4
    assert cost.text_chars == 8_000
