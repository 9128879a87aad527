"""Answers against schemas: what is mended, what is refused, and that no datum is ever lost, changed or made up."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.chat import FinishReason, Tool, ToolCall
from core.structured.answers import AnswerCheck, check_answer, check_tool_calls
from core.structured.json_repair import MAX_DEPTH
from tests.core.structured.values import (
    CONTAINERS,
    FRAGMENTS,
    PROSE,
    SCALARS,
    WRITTEN,
    WRITTEN_CONTAINERS,
    nested,
    schemas,
)

ANYTHING: dict[str, Any] = {}
A_NUMBER = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
CITY = Tool(
    name="weather",
    description="The weather",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


def value_of(check: AnswerCheck) -> Any:
    assert check.valid, check.problems
    return json.loads(check.text)


# -- what is mended -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('```json\n{"a": 1}\n```', "code fence"),
        ('~~~\n{"a": 1}\n~~~', "code fence"),
        ('```{"a": 1}```', "code fence"),
        ("~~~json\n{a: 1,}\n~~~", "comma after the last"),
        ('```\nThe answer: {"a": 1}\n```', "before the JSON"),
        ('Here it is:\n{"a": 1}', "before the JSON"),
        ('{"a": 1}\nI hope this helps!', "after the JSON"),
        ('{"a": 1,}', "comma after the last"),
        ("{'a': 1}", "single quotes"),
        ("{a: 1}", "around field names"),
        ('{"a": 1 /* one */}', "comments"),
        ('{"a": 1 // one\n}', "comments"),
        ('{"a": 1\n', "brackets missing at the end"),
        ('<think>Is it {"a": 2}? No.</think>\n{"a": 1}', "reasoning"),
        ('As said in [2], it is {"a": 1}', "before the JSON"),
        ('{"a": 1}}', "after the JSON"),
        ('First {"a": 1}. Again: {"a": 1}', "before the JSON"),
        ('A {placeholder} [see above]: {"a": 1}', "before the JSON"),
        ('\ufeff{"a": 1}', "before the JSON"),
    ],
)
def test_what_loses_nothing_is_mended_and_said(text: str, words: str) -> None:
    check = check_answer(text, A_NUMBER)
    assert value_of(check) == {"a": 1}
    assert any(words in repair for repair in check.repaired), check.repaired


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[True, False, None]", [True, False, None]),
        ("['it\\'s \"so\"']", ['it\'s "so"']),
        ('["two\nlines\tand a tab"]', ["two\nlines\tand a tab"]),
        ('["open", ["inner"', ["open", ["inner"]]),
        ("```\n42\n```", 42),
        ("{'a': [1, 2,], b-c: \"x\",}", {"a": [1, 2], "b-c": "x"}),
    ],
)
def test_mended_values_are_exactly_these(text: str, value: Any) -> None:
    check = check_answer(text, ANYTHING)
    assert value_of(check) == value
    assert check.repaired


def test_a_right_answer_is_left_as_it_came() -> None:
    text = ' {"a": 1}\n'
    assert check_answer(text, A_NUMBER) == AnswerCheck(valid=True, text=text)


def test_numbers_keep_every_digit_through_a_repair() -> None:
    text = "Here: [1.10000000000000000000000001, 1E2, 12345678901234567890123, -0.0,]"
    assert (
        check_answer(text, ANYTHING).text
        == "[1.10000000000000000000000001, 1E2, 12345678901234567890123, -0.0]"
    )


# -- what is not ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": "5"}', "at /a: it must be a whole number, and is text"),
        ('{"a": 1, "a": 1}', "at /a: this field is given twice"),
        ('{"a": NaN}', "NaN is no JSON value"),
        ('{"a": -Infinity}', "-Infinity is no JSON value"),
        ('{"a": 1e999}', "too large"),
        ('{"a": 007}', "a value is due"),
        ('{"a": 1_000}', "a value is due"),
        ('{"a": 1.5.2}', "a value is due"),
        ('{"a": ...}', "a value is due"),
        ('{"a": 1 "b": 2}', "a comma or } is due"),
        ('{"a" 1}', "a colon is due"),
        ('{"a": 1]', "is due before ]"),
        ('{"a": "he said "hi" there"}', "a comma or } is due"),
        ("{'a': 'it's'}", "a comma or } is due"),
        ('{"a": "\\d"}', "is no JSON escape"),
        ('{"a": 1}\n{"a": 2}', "2 JSON values"),
        ('{"a": 1} or {"b": 2}', "2 JSON values"),
        ('{"x": {"a": 1}, oops}', "a colon is due"),
        ('"x": {"a": 1}, "c": 2', "inside something"),
        ('{"a": 1}, "c": 2}', "inside something"),
        ('"x": {"a": 1}', "inside something"),
        ('b: 1, {"a": 1}', "inside something"),
        ('[1 {"a": 1}]', "a comma or ] is due"),
        ('[1 2 {"a": 1}', "inside something"),
        ('b {"a": 1} c: 2}', "inside something"),
        ('Here you are: {"a": 1 "b": 2}', "at /a: a comma or } is due"),
        ('Here you are: {"b": 1 "c": 2} or {"a": 1}', "at /b: a comma or } is due"),
        ("```\n5\n~~~\n```", "no JSON in it"),  # a fence of another kind does not end it
        ("The answer is 5.", "no JSON in it"),
        ("", "no JSON in it"),
        ('{"a": "cut of', "a text has no end"),
        ('{"a": 12', "number that may have been cut off"),
        ('{"a": 1,', "ends in the middle"),
        ('{"a": ', "ends before the value"),
        ('{"a": tru', "a value is due"),
        ('{"a', "a text has no end"),
        ("[" * (MAX_DEPTH + 600), "levels deep"),
        ("1" * 5000, "too large"),
    ],
)
def test_what_would_be_a_guess_is_a_problem(text: str, words: str) -> None:
    check = check_answer(text, A_NUMBER)
    assert not check.valid
    assert check.text == text
    assert words in check.problems[0]
    assert not check.unchecked


@pytest.mark.parametrize("reason", ["length", "stopped_by_user", "refusal"])
def test_an_answer_that_was_cut_off_gets_no_brackets(reason: FinishReason) -> None:
    assert check_answer('["a", "b"', ANYTHING).valid
    assert not check_answer('["a", "b"', ANYTHING, finish_reason=reason).valid
    assert not check_answer("12", ANYTHING, finish_reason=reason).valid
    assert check_answer('["a", "b"]', ANYTHING, finish_reason=reason).valid


def test_problems_are_few_and_say_where() -> None:
    check = check_answer(
        json.dumps({f"/{n}~": "x" for n in range(50)}), {"additionalProperties": {"type": "null"}}
    )
    assert len(check.problems) == 10
    assert check.problems[0] == "at /~10~0: it must be null, and is text"


def test_an_answers_own_words_are_not_in_the_problems() -> None:
    secret = "sk-very-secret"
    schema = {"properties": {"a": {"maxLength": 2, "pattern": "^x", "enum": ["x"], "not": {}}}}
    problems = " ".join(check_answer(json.dumps({"a": secret}), schema).problems)
    assert problems
    assert secret not in problems


@pytest.mark.parametrize(
    "text",
    [
        "[" * 2_000_000,
        '{"a":' * 400_000,
        '"' * 2_000_000,
        "```\n" * 500_000,
        "[/*" * 600_000,
        "[see] " * 300_000,
        '{"a":1}\n' * 250_000,
        "<think></think>" * 130_000,
        "1" * 2_000_000,
        '["' + "\n" * 500_000 + '"',
    ],
    ids=lambda text: repr(text[:12]),
)
def test_two_million_hostile_characters_end(text: str) -> None:
    check_answer(text, {"type": "null"})


def test_two_million_characters_of_records_are_checked() -> None:
    records = [{"id": n, "name": f"record {n}", "ok": True} for n in range(40_000)]
    schema = {
        "type": "array",
        "items": {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}},
    }
    text = json.dumps(records)
    assert len(text) > 1_900_000
    assert check_answer(text, schema).valid
    assert value_of(check_answer(f"Here:\n```json\n{text}\n```", schema)) == records
    broken = check_answer(text.replace('"id": 39999', '"id": "x"'), schema)
    assert broken.problems == ("at /39999/id: it must be a whole number, and is text",)


# -- properties -----------------------------------------------------------------------------------------------


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types all through: 1 is not true, and 1.0 is not 1."""
    return repr(one) == repr(other)


@given(WRITTEN, st.sampled_from(["```json\n{}\n```", "```\n{}\n```", "~~~~JSON\n{}\n~~~~", "\n {}\t"]))
def test_any_value_in_a_fence_is_recovered_exactly(written: tuple[Any, str], fence: str) -> None:
    value, text = written
    assert same(value_of(check_answer(fence.replace("{}", text), ANYTHING)), value)


@given(WRITTEN_CONTAINERS, PROSE, PROSE, st.sampled_from(["{}", "```json\n{}\n```", "`{}`"]))
def test_any_list_or_object_in_prose_is_recovered_exactly(
    written: tuple[Any, str], before: str, after: str, fence: str
) -> None:
    value, text = written
    answer = f"{before}\n{fence.replace('{}', text)}\n{after}"
    assert same(value_of(check_answer(answer, ANYTHING)), value)


@given(nested(SCALARS).filter(lambda value: isinstance(value, dict | list)), st.integers(0, 12))
def test_a_value_without_its_last_brackets_is_completed_exactly_or_refused(value: Any, missing: int) -> None:
    text = json.dumps(value)
    closers = len(text) - len(text.rstrip("]}"))
    cut = text[: len(text) - min(missing, closers)]
    check = check_answer(cut, ANYTHING)
    if check.valid:
        assert same(json.loads(check.text), value)


@given(nested(SCALARS))
def test_what_python_prints_is_read_as_the_same_value_or_refused(value: Any) -> None:
    check = check_answer(repr(value), ANYTHING)
    if check.valid:
        assert same(json.loads(check.text), value)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """JSON with a few characters taken out, put in, or doubled."""
    text = draw(WRITTEN)[1]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        put = draw(
            st.sampled_from(["", "", ",", '"', "'", "]", "}", "[", "{", ":", "\n", "1", "x", "\\", " // "])
        )
        text = text[:at] + put + text[at + draw(st.integers(0, 2)) :]
    return text


@given(damaged() | FRAGMENTS)
def test_nothing_is_made_up(text: str) -> None:
    check = check_answer(text, ANYTHING)
    if check.valid:
        spelled = _unescaped(text)
        for scalar in _scalars(json.loads(check.text)):
            if isinstance(scalar, str):
                assert _utf16(scalar) in spelled or scalar in text
            elif scalar is None or isinstance(scalar, bool):
                assert {True: "true", False: "false", None: "n"}[scalar] in text.lower()
            else:
                assert scalar in {_number(word) for word in re.findall(r"-?\d[\d.eE+-]*", text)}


@given(damaged())
def test_nothing_is_lost_but_what_a_repair_names(text: str) -> None:
    check = check_answer(text, ANYTHING)
    dropping = ("before", "after", "comments", "fence", "reasoning", "line breaks")
    if check.valid and not any(word in repair for repair in check.repaired for word in dropping):
        assert _letters(check.text) == _letters(text)


@given(FRAGMENTS | st.text() | damaged(), schemas(), st.sampled_from(["stop", "length", "unknown"]))
def test_a_check_always_ends_and_never_raises(
    text: str, schema: dict[str, Any], reason: FinishReason
) -> None:
    check = check_answer(text, schema, finish_reason=reason)
    assert check.valid != bool(check.problems)
    assert len(check.problems) <= 10
    assert all(len(problem) < 400 for problem in check.problems)
    if check.valid:
        assert check_answer(check.text, schema).repaired == ()


def _scalars(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *(scalar for inner in value.values() for scalar in _scalars(inner))]
    if isinstance(value, list):
        return [scalar for inner in value for scalar in _scalars(inner)]
    return [value]


def _unescaped(text: str) -> str:
    names = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}

    def plain(found: re.Match[str]) -> str:
        code = found[1]
        return chr(int(code[1:], 16)) if len(code) == 5 else names.get(code, code)

    return _utf16(re.sub(r"\\(u[0-9a-fA-F]{4}|.)", plain, text, flags=re.DOTALL))


def _utf16(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _number(word: str) -> float | None:
    try:
        return json.loads(word)
    except ValueError:
        return None


def _letters(text: str) -> str:
    words = text.replace("None", "null").replace("True", "true").replace("False", "false")
    return "".join(char for char in words if char.isalnum())


# -- tool calls -----------------------------------------------------------------------------------------------


def call(arguments: str, *, name: str = "weather", id: str = "c1") -> ToolCall:
    return ToolCall(id, name, arguments)


def test_a_right_call_has_no_problems() -> None:
    assert check_tool_calls([call('{"city": "Oslo"}'), call(' {"city": "Rome"}\n', id="c2")], [CITY]) == ()


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (call('{"city": 5}'), "call 1 (weather) at /city: it must be text, and is a whole number"),
        (call("{}"), 'call 1 (weather) at /: the field "city" is missing'),
        (call(""), 'call 1 (weather) at /: the field "city" is missing'),
        (call('{"city": "Oslo",}'), "call 1 (weather) at /: the arguments are not JSON as they stand"),
        (call('```\n{"city": "Oslo"}\n```'), "call 1 (weather) at /: a value is due"),
        (call("{'city': 'Oslo'}"), "call 1 (weather) at /: the arguments are not JSON as they stand"),
        (call('{"city": "Oslo"'), "call 1 (weather) at /city: it was cut off"),
        (call('{"city": "Oslo", "city": "Rome"}'), "call 1 (weather) at /city: this field is given twice"),
        (call('"Oslo"'), "call 1 (weather) at /: the arguments must be an object, and are text"),
        (call("Infinity"), "Infinity is no JSON value"),
        (call("{}", name="wether"), "call 1 (wether): there is no such tool"),
        (call("{}", name=""), "call 1 (no name): there is no such tool"),
        (call('{"city": "Oslo"}', id=""), "call 1 (weather): it has no id"),
    ],
)
def test_a_wrong_call_is_told_and_never_mended(made: ToolCall, words: str) -> None:
    problems = check_tool_calls([made], [CITY])
    assert any(words in problem for problem in problems), problems


def test_two_calls_with_one_id_cannot_be_answered() -> None:
    right = call('{"city": "Oslo"}')
    assert check_tool_calls([right, right], [CITY]) == ("call 2 (weather): its id is that of another call",)


def test_empty_arguments_are_an_empty_object_for_a_tool_without_parameters() -> None:
    clock = Tool(name="clock", description="The time", parameters={"type": "object", "properties": {}})
    assert check_tool_calls([call("", name="clock")], [clock]) == ()


def test_many_bad_calls_give_few_problems() -> None:
    calls = [call("nope", id=str(number)) for number in range(100)]
    assert len(check_tool_calls(calls, [CITY])) == 10


@given(CONTAINERS)
def test_any_object_round_trips_as_arguments(value: Any) -> None:
    anything = Tool(name="any", description="", parameters={"type": "object"})
    problems = check_tool_calls([ToolCall("1", "any", json.dumps(value))], [anything])
    assert (problems == ()) == isinstance(value, dict)


@given(FRAGMENTS | st.text(), schemas())
def test_a_check_of_arguments_never_raises(text: str, schema: dict[str, Any]) -> None:
    problems = check_tool_calls(
        [ToolCall("1", "any", text)], [Tool(name="any", description="", parameters=schema)]
    )
    assert len(problems) <= 10
    if not problems:
        assert isinstance(json.loads(text.strip(" \t\r\n") or "{}"), dict)
