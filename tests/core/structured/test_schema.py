"""The check against a schema: it agrees with the standard, takes bounded time, and fetches nothing."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.request
from typing import Any

import pytest
from hypothesis import assume, given
from jsonschema import Draft202012Validator

from core.structured import schema as schema_module
from core.structured import schema_child
from core.structured.answers import check_answer, reference_problems
from tests.core.structured.values import VALUES, schemas


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The values that were checked in a process of their own."""
    seen: list[Any] = []
    check_in_child = schema_child.check_in_child

    def watched(value: Any, schema: dict[str, Any]) -> Any:
        seen.append(value)
        return check_in_child(value, schema)

    monkeypatch.setattr(schema_child, "check_in_child", watched)
    return seen


def problems(value: Any, schema: dict[str, Any]) -> tuple[str, ...]:
    return check_answer(json.dumps(value), schema).problems


@given(VALUES, schemas())
def test_it_agrees_with_the_reference_implementation(value: Any, schema: dict[str, Any]) -> None:
    value = json.loads(json.dumps(value))
    assume("multipleOf" not in json.dumps(schema) or "." not in json.dumps(value))  # theirs counts in binary
    assert (problems(value, schema) == ()) == Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize(
    ("value", "schema", "words"),
    [
        (1.5, {"type": "integer"}, "at /: it must be a whole number, and is a number"),
        ([], {"type": ["string", "null"]}, "at /: it must be text or null, and is a list"),
        ({}, {"required": ["a"]}, 'at /: the field "a" is missing'),
        ({"a": 1, "b": 2}, {"additionalProperties": False}, 'at /: the fields "a", "b" are not allowed'),
        ({"a": 1}, {"properties": {"a": False}}, "at /: something is in it where nothing is allowed"),
        ("c", {"enum": ["a", "b"]}, 'at /: it must be one of "a", "b"'),
        ("c", {"const": "a"}, 'at /: it must be "a"'),
        (3, {"minimum": 5}, "at /: it must be at least 5"),
        (5, {"exclusiveMaximum": 5}, "at /: it must be less than 5"),
        (7, {"multipleOf": 2}, "at /: it must be a multiple of 2"),
        ("abc", {"maxLength": 2}, "at /: it must have at most 2 characters"),
        ([1], {"minItems": 2}, "at /: it must have at least 2 entries"),
        ([1, 1.0], {"uniqueItems": True}, "at /: its entries must differ"),
        ("x", {"pattern": "^[0-9]+$"}, 'at /: it must match the pattern "^[0-9]+$"'),
        ([1], {"contains": {"type": "string"}}, "at /: no entry is of the kind asked for"),
        (
            {"a": 1},
            {"dependentRequired": {"a": ["b"]}},
            "at /: a field that is due beside another is missing",
        ),
        (1, {"not": {"type": "integer"}}, "at /: it is of a kind that is not allowed"),
        (
            1,
            {"oneOf": [{}, {"type": "integer"}]},
            "at /: it fits more than one of the forms of which it must fit one",
        ),
        ({"a": 1}, {"propertyNames": {"maxLength": 0}}, "at /: it must have at most 0 characters"),
        ({"a": 1}, {"unevaluatedProperties": False}, "at /: it has fields that are not allowed"),
        (
            {"a": {"b": 3}},
            {"anyOf": [{"type": "null"}, {"properties": {"a": {"properties": {"b": {"type": "string"}}}}}]},
            "at /: it fits none of the 2 allowed forms (closest: at a/b, it must be text, and is a whole number)",
        ),
    ],
)
def test_problems_are_plain_words(value: Any, schema: dict[str, Any], words: str) -> None:
    assert problems(value, schema) == (words,)


def test_decimals_are_counted_as_written() -> None:
    assert problems([0.3, 1.1, 19.99, 1e300, 10**30], {"items": {"multipleOf": 0.01}}) == ()
    assert problems(0.35, {"multipleOf": 0.1}) == ("at /: it must be a multiple of 0.1",)


def test_true_is_not_one() -> None:
    assert problems([1, True, 0, False, "1", [1], [True], {"a": 1}, {"a": True}], {"uniqueItems": True}) == ()
    assert problems([{"a": [1]}, {"a": [1.0]}], {"uniqueItems": True}) != ()


def test_format_is_a_remark() -> None:
    assert problems("not a date", {"format": "date"}) == ()


@pytest.mark.parametrize(
    ("draft", "valid"),
    [
        ("http://json-schema.org/draft-04/schema#", True),  # there, a list of schemas is by place
        ("http://json-schema.org/draft-07/schema#", True),
        ("https://json-schema.org/draft/2019-09/schema", True),
        ("https://example.invalid/no-such-draft", False),
    ],
)
def test_the_draft_is_the_one_the_schema_names(draft: str, valid: bool) -> None:
    by_place = {"$schema": draft, "items": [{"type": "string"}]}
    check = check_answer("[5]", by_place)
    if valid:
        assert check.problems == ("at /0: it must be text, and is a whole number",)
    else:  # 2020-12, where a list there has no meaning
        assert check.schema_at_fault


def test_a_recursive_schema_keeps_its_bounds_at_every_level() -> None:
    """``jsonschema`` goes back to its own, unbounded keywords at each ``$schema`` it meets."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "properties": {"name": {"type": "string", "pattern": "^(a+)+$"}, "child": {"$ref": "#"}},
    }
    value: dict[str, Any] = {"name": "a" * 50 + "!"}
    for _ in range(20):
        value = {"name": "a", "child": value}
    (problem,) = problems(value, schema)
    assert problem.endswith('it must match the pattern "^(a+)+$"')


def test_a_property_may_be_called_schema() -> None:
    schema = {"properties": {"$schema": {"type": "integer"}}, "const": {"$schema": "x"}}
    assert problems({"$schema": "x"}, schema) == ("at /$schema: it must be a whole number, and is text",)


@pytest.mark.parametrize("pattern", ["^(a+)+$", "(x+x+)+y", "^(([a-z])+.)+[A-Z]([a-z])+$", "(.*)*(.*)*q$"])
def test_patterns_that_take_for_ever_elsewhere_take_no_time(pattern: str, children: list[Any]) -> None:
    text = "a" * 40 + "x" * 5_000
    assert problems(text, {"pattern": pattern}) == (f'at /: it must match the pattern "{pattern}"',)
    assert problems({text: 1}, {"patternProperties": {pattern: True}, "additionalProperties": False}) != ()
    assert children == []


@pytest.mark.parametrize(
    ("pattern", "right", "wrong"),
    [
        (r"^(?=.*\d).{3,}$", "abc1", "abcd"),  # look-around
        (r"^(a|b)\1$", "aa", "ab"),  # a back-reference
        (r"^[[a]$", "[", "b"),  # Rust reads a class inside a class
        (r"^\<a\>$", "<a>", "a"),  # Rust reads the edges of a word
        (r"^[a&&b]$", "&", "c"),  # Rust reads an intersection
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_patterns_only_re_can_read_are_matched_in_a_process(pattern: str, right: str, wrong: str) -> None:
    assert problems(right, {"pattern": pattern}) == ()
    assert problems([wrong], {"items": {"pattern": pattern}})[0].startswith(
        "at /0: it must match the pattern"
    )


def test_a_long_text_is_matched_in_a_process(children: list[Any]) -> None:
    """Linear in the text still is a second for a long one, with the interpreter's lock held."""
    assert problems("a" * 50_000, {"pattern": "^a+$"}) == ()
    assert len(children) == 1


def test_unevaluated_fields_beside_patterns_are_checked_in_a_process(children: list[Any]) -> None:
    """There, ``jsonschema`` matches the patterns itself, by ``re``."""
    schema = {
        "$ref": "#/$defs/x",
        "unevaluatedProperties": False,
        "$defs": {"x": {"patternProperties": {"^a": {}}}},
    }
    assert problems({"ab": 1}, schema) == ()
    assert problems({"b": 1}, schema) == ("at /: it has fields that are not allowed",)
    assert len(children) == 2


def test_a_process_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[subprocess.TimeoutExpired] = []
    run = subprocess.run

    def watched(*arguments: Any, **options: Any) -> Any:
        try:
            return run(*arguments, **options)
        except subprocess.TimeoutExpired as error:  # raised after the process was killed and waited for
            ended.append(error)
            raise

    monkeypatch.setattr(subprocess, "run", watched)
    monkeypatch.setattr(schema_child, "LIMIT_S", 1.0)
    check = check_answer(json.dumps("a" * 60 + "!"), {"pattern": "^(?=a)(a+)+$"})
    assert ended
    assert not check.valid
    assert check.schema_at_fault
    assert check.problems == ("the schema can't be checked: its patterns take too long to match",)


def test_a_check_that_takes_too_long_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each level asks the next one four times: 4^60 steps."""
    monkeypatch.setattr(schema_module, "LIMIT_S", 0.2)
    schema = {"properties": {"a": {"allOf": [{"$ref": "#"}] * 4}}}
    value: Any = 1
    for _ in range(30):
        value = {"a": value}
    check = check_answer(json.dumps(value), schema)
    assert check.schema_at_fault
    assert "takes more than" in check.problems[0]


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}, {"$dynamicRef": "#"}])
def test_a_schema_that_only_refers_to_itself_ends(schema: dict[str, Any]) -> None:
    assert check_answer("1", schema).schema_at_fault


def test_an_answer_deeper_than_the_checker_ends() -> None:
    schema = {"items": {"$ref": "#"}}
    assert check_answer("[" * 400 + "]" * 400, schema).problems
    assert check_answer("[" * 20 + "]" * 20, schema).valid


@pytest.mark.parametrize(
    "reference", ["http://127.0.0.1:1/schema.json", "https://example.com/s", "file:///etc/hosts"]
)
def test_nothing_is_fetched(reference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[Any] = []

    def fetch(*arguments: Any, **options: Any) -> Any:
        fetched.append(arguments)
        raise OSError("no network in a test")

    monkeypatch.setattr(socket, "create_connection", fetch)
    monkeypatch.setattr(urllib.request, "urlopen", fetch)
    check = check_answer("1", {"$ref": reference})
    assert check.schema_at_fault
    assert check.problems == (
        f"the schema can't be checked: it refers to '{reference}', which is not in it, and nothing is fetched",
    )
    assert reference_problems({"items": {"$ref": reference}}) != ()
    assert fetched == []


def test_references_that_lead_nowhere_are_found_before_anything_is_sent() -> None:
    assert reference_problems({"$ref": "#/$defs/a", "$defs": {"a": {"$anchor": "b"}}}) == ()
    assert reference_problems({"$ref": "https://json-schema.org/draft/2020-12/schema"}) == ()
    assert reference_problems({"items": {"$ref": "#/$defs/nope"}}) == (
        "the schema refers to '#/$defs/nope', which is not in it",
    )


@pytest.mark.parametrize(
    "schema", [{"type": 5}, {"pattern": "("}, {"multipleOf": 0}, {"required": 3}, {"$ref": 7}]
)
def test_a_malformed_schema_is_said_to_be_at_fault(schema: dict[str, Any]) -> None:
    check = check_answer(
        '{"a": "x"}' if "required" in schema else '"x"' if "pattern" in schema else "1", schema
    )
    assert check.schema_at_fault
    assert check.problems[0].startswith("the schema can't be checked")
