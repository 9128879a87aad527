"""The check against a schema: it agrees with the standard, takes bounded time, and fetches nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import assume, given
from jsonschema import Draft202012Validator

from core.errors import InvalidRequest
from core.structured import schema as schema_module
from core.structured.answers import check_answer
from core.structured.schema import check_schema, check_value
from tests.core.structured.values import VALUES, schemas

DEEP = 100_000


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands of the processes that were started."""
    seen: list[list[str]] = []
    run = subprocess.run

    def watched(command: list[str], **options: Any) -> Any:
        seen.append(command)
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", watched)
    return seen


def nested(wrap: Callable[[Any], Any], times: int, innermost: Any = 1) -> Any:
    value = innermost
    for _ in range(times):
        value = wrap(value)
    return value


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
        ({"a": 1}, {"properties": {"a": False}}, "at /a: something is in it where nothing is allowed"),
        ("c", {"enum": ["a", "b"]}, 'at /: it must be one of "a", "b"'),
        ("c", {"const": "a"}, 'at /: it must be "a"'),
        (3, {"minimum": 5}, "at /: it must be at least 5"),
        (5, {"exclusiveMaximum": 5}, "at /: it must be less than 5"),
        (7, {"multipleOf": 2}, "at /: it must be a multiple of 2"),
        ("abc", {"maxLength": 2}, "at /: it must have at most 2 characters"),
        ([1], {"minItems": 2}, "at /: it must have at least 2 entries"),
        ([1, 1.0], {"uniqueItems": True}, "at /: its entries must differ"),
        ("x", {"pattern": "^[0-9]+$"}, 'at /: it must match the pattern "^[0-9]+$"'),
        (
            ["a", 1],
            {"contains": {"type": "string"}, "minContains": 2},
            "at /: too few entries are of the kind asked for",
        ),
        (["a"], {"contains": {}, "maxContains": 0}, "at /: too many entries are of the kind asked for"),
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
        assert check.unchecked


def test_a_recursive_schema_keeps_its_bounds_at_every_level() -> None:
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
def test_patterns_that_take_for_ever_elsewhere_take_no_time(pattern: str, children: list[list[str]]) -> None:
    text = "a" * 40 + "x" * 5_000
    assert problems(text, {"pattern": pattern}) == (f'at /: it must match the pattern "{pattern}"',)
    assert problems({text: 1}, {"patternProperties": {pattern: True}, "additionalProperties": False}) != ()
    assert children == []


@pytest.mark.parametrize(
    ("pattern", "right", "wrong"),
    [
        (r"^(?=.*\d).{3,}$", "abc1", "abcd"),  # look-around
        (r"^(?!.*admin)[a-z]+$", "user", "an admin"),
        (r"^(a|b)\1$", "aa", "ab"),  # a back-reference
        (r"^[[a]$", "[", "b"),  # Rust's engine alone reads a class inside a class
        (r"^\<a\>$", "<a>", "a"),  # and the edges of a word
        (r"^[a&&b]$", "&", "c"),  # and an intersection
        (r"^a\Z", "a", "ab"),  # Python's end of the text
        (r"^\p{L}+$", "é", "1"),
        (r"^.{0,200}$", "a" * 200, "a" * 201),
    ],
)
def test_patterns_of_every_kind_are_matched_here(
    pattern: str, right: str, wrong: str, children: list[list[str]]
) -> None:
    assert problems(right, {"pattern": pattern}) == ()
    assert problems([wrong], {"items": {"pattern": pattern}})[0].startswith(
        "at /0: it must match the pattern"
    )
    assert problems({wrong: 1}, {"patternProperties": {pattern: True}, "additionalProperties": False}) != ()
    assert children == []


def test_a_long_text_and_a_small_pattern_are_matched_here(children: list[list[str]]) -> None:
    assert problems("a" * 500_000, {"pattern": "^a+$"}) == ()
    assert children == []


def test_a_long_text_and_a_pattern_that_backtracks_are_matched_in_a_process(
    children: list[list[str]],
) -> None:
    assert problems("a" * 50_000, {"pattern": "^(?=a)a+$"}) == ()
    assert problems("b" * 50_000, {"pattern": "^(?=a)a+$"}) != ()
    assert len(children) == 2


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": r"(.*)*\1(?=c)x"},
        {"not": {"pattern": r"(.*)*\1(?=c)x"}},
        {"patternProperties": {r"(.*)*\1(?=c)x": False}},
    ],
    ids=["pattern", "not", "patternProperties"],
)
def test_a_match_that_is_given_up_is_told_wherever_the_pattern_stands(schema: dict[str, Any]) -> None:
    """The library takes it for no match where it is not asked for the reason."""
    text = "ab" * 900
    check = check_value({text: text} if "patternProperties" in schema else text, schema)
    assert check.unchecked
    assert check.problems == ("the schema can't be checked: its patterns take too long to match",)


def test_unevaluated_fields_are_those_no_pattern_names() -> None:
    schema = {
        "$ref": "#/$defs/x",
        "unevaluatedProperties": False,
        "$defs": {"x": {"patternProperties": {"^a": {}}}},
    }
    assert problems({"ab": 1}, schema) == ()
    assert problems({"b": 1}, schema) == ("at /: it has fields that are not allowed",)


BRANCHING: dict[str, Any] = {
    "type": ["object", "string"],
    "properties": {"a": {"allOf": [{"$ref": "#"}] * 4}},
}
"""Each level asks the next one four times: 4^30 steps, and as many errors, for 30 levels."""


def doubling(wrap: Callable[[Any], Any]) -> dict[str, Any]:
    """Return a schema of 40 parts, each of which has the next one checked twice; ``wrap`` says where."""
    parts: dict[str, Any] = {f"{n}": wrap({"allOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2}) for n in range(40)}
    return {"$ref": "#/$defs/0", "$defs": {**parts, "40": {}}}


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (nested(lambda value: {"a": value}, 30), BRANCHING),
        ("x", doubling(lambda part: part)),
        (nested(lambda value: [value], 40), doubling(lambda part: {"items": part})),
    ],
    ids=["errors", "parts of one place", "parts below each other"],
)
def test_a_check_that_takes_too_long_is_ended(
    value: Any, schema: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[subprocess.TimeoutExpired] = []
    run = subprocess.run

    def watched(*arguments: Any, **options: Any) -> Any:
        try:
            return run(*arguments, **options)
        except subprocess.TimeoutExpired as error:  # raised after the process was killed and waited for
            ended.append(error)
            raise

    monkeypatch.setattr(subprocess, "run", watched)
    monkeypatch.setattr(schema_module, "LIMIT_S", 1.0)
    check = check_answer(json.dumps(value), schema)
    assert ended
    assert not check.valid
    assert check.unchecked
    assert check.problems == ("the schema can't be checked: that takes more than 1 s",)


def test_branches_that_end_soon_are_checked_here(children: list[list[str]]) -> None:
    assert check_value(nested(lambda value: {"a": value}, 5, "x"), BRANCHING).problems == ()
    assert check_value(nested(lambda value: {"a": value}, 3), BRANCHING).problems == (
        "at /a/a/a: it must be an object or text, and is a whole number",
    )
    assert children == []


def test_ordinary_records_are_checked_here(children: list[list[str]]) -> None:
    record = {"properties": {"id": {"type": "integer"}, "name": {"type": "string", "pattern": "^[a-z]+"}}}
    records = [{"id": number, "name": f"name{number}"} for number in range(20_000)]
    assert problems(records, {"items": record}) == ()
    assert children == []


def test_a_long_list_of_errors_is_made_in_a_process(children: list[list[str]]) -> None:
    """The library makes each before it gives the first."""
    found = problems(["x"] * 60_000, {"items": {"type": "integer"}})
    assert found[0] == "at /0: it must be a whole number, and is text"
    assert len(found) == schema_module.MAX_PROBLEMS
    assert len(children) == 1


@pytest.mark.parametrize(
    ("python", "why"),
    [
        ("/nowhere/python", "No such file or directory"),
        ("/bin/false", "it ended with code 1"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="needs /bin/false")
def test_a_process_that_does_not_work_is_told_as_that(
    python: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", python)
    check = check_value(nested(lambda value: {"a": value}, 30), BRANCHING)
    assert check.unchecked
    assert check.problems == (
        f"the answer could not be checked: that needs a process of its own, which did not work ({why})",
    )


def test_a_frozen_application_is_not_started_again(
    monkeypatch: pytest.MonkeyPatch, children: list[list[str]]
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    check = check_value(nested(lambda value: {"a": value}, 30), BRANCHING)
    assert check.unchecked
    assert "this build brings no Python" in check.problems[0]
    assert children == []


def test_the_process_finds_the_core_where_this_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    value = nested(lambda value: {"a": value}, 30, "x")
    assert check_value(value, BRANCHING) == schema_module.SchemaCheck()


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}, {"$dynamicRef": "#"}])
def test_a_schema_that_only_refers_to_itself_ends(schema: dict[str, Any]) -> None:
    assert check_answer("1", schema).valid  # it says nothing about the value


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (nested(lambda value: [value], 900), {"items": {"$ref": "#"}}),
        (
            nested(lambda value: {"next": value}, 900, 5),
            {"anyOf": [{"type": "null"}, {"required": ["next"], "properties": {"next": {"$ref": "#"}}}]},
        ),
        (
            nested(lambda value: {"next": value}, 250),
            nested(lambda part: {"allOf": [part]}, 60, {"properties": {"next": {"$ref": "#"}}}),
        ),
        (
            nested(lambda value: {"next": value}, 20),
            {
                "type": "object",
                "properties": {"next": {"$ref": "#/$defs/0"}},
                "$defs": {"200": {"$ref": "#"}, **{f"{n}": {"$ref": f"#/$defs/{n + 1}"} for n in range(200)}},
            },
        ),
        (nested(lambda value: [value], DEEP), {"items": {"$ref": "#"}}),
        (nested(lambda value: [value], DEEP), {}),
        (1, nested(lambda part: {"items": part}, DEEP, {})),
        (1, nested(lambda part: {"allOf": [part]}, 900, {})),
        (1, {"const": nested(lambda value: [value], 900)}),
        ([nested(lambda value: [value], 900)] * 2, {"uniqueItems": True}),
    ],
    ids=[
        "list",
        "chain",
        "nested parts",
        "references",
        "hopeless",
        "unread",
        "schema",
        "allOf",
        "const",
        "uniqueItems",
    ],
)
def test_what_is_nested_deeply_is_checked_or_refused_in_words(value: Any, schema: dict[str, Any]) -> None:
    """In a thread with the smallest stack that systems give one; a crash would end the test run."""
    found: list[schema_module.SchemaCheck] = []
    before = threading.stack_size(512 * 1024)
    try:
        thread = threading.Thread(target=lambda: found.append(check_value(value, schema)))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    (check,) = found
    assert not check.unchecked or check.problems[0].startswith(
        (
            "the schema can't be checked: it, or the answer, is nested too deeply",
            "the answer could not be checked",
        )
    )


def test_an_answer_as_deep_as_the_reader_takes_is_checked() -> None:
    schema = {"items": {"$ref": "#"}}
    assert check_answer("[" * 400 + "]" * 400, schema).valid
    assert check_answer("[" * 400 + "1" + "]" * 400, {**schema, "type": "array"}).problems


class _Counting(BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def asked() -> Any:
    """The paths that a server on this machine is asked for, and its address."""
    handler = type("Handler", (_Counting,), {"asked": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield handler.asked, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef", "$schema"])
@pytest.mark.parametrize("kind", ["http", "file", "beside a file"])
def test_nothing_is_fetched(kind: str, keyword: str, asked: Any, tmp_path: Path) -> None:
    """A file that would refuse the value stands where the reference leads, so reading it would show."""
    paths, address = asked
    refusing = tmp_path / "schema.json"
    refusing.write_text('{"type": "string"}')
    reference = {"http": f"{address}/schema.json", "file": refusing.as_uri(), "beside a file": "schema.json"}[
        kind
    ]
    schema: dict[str, Any] = {keyword: reference}
    if kind == "beside a file":
        schema["$id"] = f"{tmp_path.as_uri()}/"
    check = check_answer("1", schema)
    if keyword == "$schema":  # an unknown draft is the newest one
        check_schema(schema)
        assert check.valid
    else:
        with pytest.raises(InvalidRequest, match="nothing is fetched"):
            check_schema(schema)
        reference = refusing.as_uri() if kind == "beside a file" else reference
        assert check.unchecked
        assert check.problems == (
            f"the schema can't be checked: it refers to {schema_module.shortened(reference)!r}, "
            "which is not in it, and nothing is fetched",
        )
    assert paths == []


def test_a_server_would_be_asked_by_the_library_itself(asked: Any) -> None:
    """Or the test above would show nothing."""
    paths, address = asked
    with pytest.raises(ValueError, match="retrieving it failed"):
        jsonschema_rs.validator_for({"$ref": f"{address}/schema.json"})
    assert paths == ["/schema.json"]


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"$ref": "#/$defs/nope"}, "'#/$defs/nope'"),
        ({"items": {"$ref": "#nope"}}, "'#nope'"),
    ],
)
def test_a_reference_that_leads_nowhere_is_named(schema: dict[str, Any], told: str) -> None:
    (problem,) = check_value([], schema).problems
    assert (
        problem
        == f"the schema can't be checked: it refers to {told}, which is not in it, and nothing is fetched"
    )


def test_the_drafts_own_schemas_resolve() -> None:
    schema = {"$ref": "https://json-schema.org/draft/2020-12/schema"}
    assert problems({"type": "object"}, schema) == ()
    assert problems({"type": 5}, schema) != ()


def test_half_a_surrogate_pair_is_text() -> None:
    assert problems(["\ud83d"], {"items": {"pattern": "^.$"}}) == ()
    assert problems(["\ud83d"], {"items": {"maxLength": 0}}) != ()
    assert check_value({"a": 1}, {"const": "\ud83d"}).problems[0].startswith("at /: it must be")


def test_what_draft_7_leaves_open_is_no_rule() -> None:
    draft = "http://json-schema.org/draft-07/schema#"
    assert problems("x", {"$schema": draft, "contentMediaType": "application/json", "format": "date"}) == ()
    assert problems({"contentMediaType": "x"}, {"const": {"contentMediaType": "x"}}) == ()
    assert problems({}, {"required": ["contentEncoding"], "properties": {"contentEncoding": {}}}) != ()


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"properties": {"a": {"type": "objekt"}}}, 'at /properties/a/type: "objekt" is not allowed'),
        ({"pattern": "("}, 'at /pattern: "(" is not allowed, it must be a regular expression'),
        ({"minLength": -1}, "at /minLength: -1 is not allowed, it must be at least 0"),
        ({"$schema": 5}, "at /$schema: it is the address of a draft, as text"),
        ([], "isn't an object"),
        ({"const": b""}, "isn't JSON"),
        (nested(lambda part: {"items": part}, 150, {}), "has more than 100 levels"),
        ({"items": {"minLength": 5, "maxLength": 2}}, "minLength 5 is above maxLength 2"),
        ({"properties": {"a": {"minItems": 1, "maxItems": 0}}}, "minItems 1 is above maxItems 0"),
    ],
)
def test_a_malformed_schema_is_refused_in_words(schema: Any, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_schema(schema, "The schema of the test")
    assert caught.value.message.startswith("The schema of the test")
    assert words in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "schema", [{"type": 5}, {"pattern": "("}, {"multipleOf": 0}, {"required": 3}, {"$ref": 7}]
)
def test_a_malformed_schema_is_said_to_be_at_fault(schema: dict[str, Any]) -> None:
    check = check_answer(
        '{"a": "x"}' if "required" in schema else '"x"' if "pattern" in schema else "1", schema
    )
    assert check.unchecked
    assert check.problems[0].startswith("the schema can't be checked: it is malformed at /")
