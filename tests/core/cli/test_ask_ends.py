"""What ``signalbox ask`` says when a request ends early or crosses a limit, and the rest of an answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.chat import CONTINUE_PROMPT
from core.cli import main
from core.cli.ask import Printed
from tests.core.cli.test_cli import api as api  # the fixture
from tests.core.cli.test_cli import run_json
from tests.support.anthropic_server import AnthropicServer, Says
from tests.support.full_values import FULL_RESULT

SCHEMA = {"type": "object", "required": ["x"], "properties": {"x": {"type": "integer"}}}


def broken_off(api: AnthropicServer) -> None:
    api.replies.append(Says("one ", "two ", "three", cut_after=2))


# -- what an answer that ended early costs ----------------------------------------------------------------------


def test_an_answer_that_broke_off_tells_what_it_is_counted_for_and_where_to_settle_it(
    api: AnthropicServer, capsys: pytest.CaptureFixture[str]
) -> None:
    broken_off(api)
    assert main(["ask", "hi"]) == 1
    about, error = capsys.readouterr().err.splitlines()
    held = run_json(capsys, "holds", "--json")["unresolved"][0]
    assert held["correlation_id"] in about
    assert about.startswith("[API · claude-sonnet-4-6-20260501 · up to $0.0154 not settled (likely ")
    assert "settle it: signalbox holds" in about
    assert error.startswith("signalbox: Anthropic stopped answering")
    broken_off(api)
    assert main(["ask", "hi", "--quiet"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("arguments", [(), ("--quiet",), ("--json",)])
def test_an_answer_without_a_word_says_why(
    api: AnthropicServer, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    api.default = Says("")
    assert main(["ask", "hi", *arguments]) == 0
    out, err = capsys.readouterr()
    if arguments == ("--json",):
        assert "thinking" in json.loads(out)["empty_because"]
        return
    assert out == ""
    assert err.splitlines()[0].startswith("signalbox: The model spent")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({}, "all 512 tokens on thinking, or on what is not shown"),
        ({"finish_reason": "length"}, "allow more (max tokens)"),
        ({"usage": None}, "without a word"),
        ({"text": "Paris"}, ""),
        ({"tool_calls": FULL_RESULT.tool_calls}, ""),
        ({"finish_reason": "refusal"}, ""),
        ({"finish_reason": "stopped_by_user"}, ""),
        ({"finish_reason": "unknown"}, ""),
    ],
)
def test_why_an_answer_is_empty(answer: dict[str, Any], why: str) -> None:
    nothing = replace(FULL_RESULT, text=" \n", tool_calls=(), finish_reason="stop")
    result = replace(nothing, **answer)
    assert why in result.empty_because
    assert bool(why) is bool(result.empty_because)


def test_an_answer_that_failed_its_check_is_shown_all_the_same(
    api: AnthropicServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    api.default = Says('{"y": 1}')
    assert main(["ask", "hi", "--schema", str(tmp_path / "schema.json")]) == 1
    out = capsys.readouterr()
    assert out.out == ""
    assert out.err.splitlines()[0] == 'What came: {"y": 1}'


def test_a_stopped_request_tells_what_it_cost(
    api: AnthropicServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api.replies.append(Says("one ", "two ", hold_after=1))
    monkeypatch.setattr(Printed, "text", lambda self, text: os.kill(os.getpid(), signal.SIGTERM))  # pyright: ignore
    with pytest.raises(SystemExit) as caught:
        main(["ask", "hi"])
    assert caught.value.code == 128 + signal.SIGTERM
    err = capsys.readouterr().err
    assert err.startswith("[Stopped · API · ")
    assert "~$" in err
    assert " · request 01" in err


def test_a_stopped_request_tells_json_what_came_and_what_it_cost(
    api: AnthropicServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    api.replies += [Says("one ", "two ", hold_after=1), Says("and two")]
    text = Printed.text

    def read_and_leave(self: Printed, piece: str) -> None:
        text(self, piece)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Printed, "text", read_and_leave)
        with pytest.raises(SystemExit):
            main(["ask", "hi", "--json"])
    printed = capsys.readouterr().out
    told = json.loads(printed)
    assert (told["error"], told["partial"]["text"]) == ("stopped", "one ")
    assert float(told["partial"]["cost"]) > 0
    (tmp_path / "begun.json").write_text(printed)
    assert main(["ask", "hi", "--continue", str(tmp_path / "begun.json")]) == 0
    assert capsys.readouterr().out.strip() == "and two"


def test_a_reader_that_left_is_no_traceback_and_the_cost_is_told(api: AnthropicServer) -> None:
    api.replies.append(Says(*["word " * 1000] * 50, pace_s=0.02))
    command = [sys.executable, "-c", "import sys; from core.cli import main; sys.exit(main(['ask', 'hi']))"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1) == b"w"
        process.stdout.close()
        err = process.stderr.read().decode()
        assert process.wait(30) == 1
    assert err.startswith("[Stopped · API · ")
    assert len(err.splitlines()) == 1


# -- what the user should know besides --------------------------------------------------------------------------


def test_a_share_of_a_limit_that_is_crossed_is_told_once(
    api: AnthropicServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPEND_ALERT_PERCENTS", "50")
    monkeypatch.setenv("SPEND_LIMIT_DOLLARS", "0.03")
    monkeypatch.setenv("PROJECT_SPEND_LIMITS", "a=0.02,b=0.02")
    assert main(["ask", "hi", "--project", "a"]) == 0
    err = capsys.readouterr().err
    assert "signalbox: 50 % of SPEND_LIMIT_DOLLARS is used or held." in err
    assert "signalbox: 50 % of PROJECT_SPEND_LIMITS (a) is used or held." in err
    notices = run_json(capsys, "ask", "hi", "--project", "b", "--json")["notices"]
    assert [notice["title"] for notice in notices] == [
        "50 % of PROJECT_SPEND_LIMITS (b) is used or held",
    ]
    assert main(["ask", "hi", "--project", "b"]) == 0
    assert "signalbox: " not in capsys.readouterr().err


def test_a_file_of_the_users_own_that_is_not_used_is_told(
    home: Path, api: AnthropicServer, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "templates").mkdir(parents=True)
    (home / "templates" / "claude.toml").write_text("[system")
    assert main(["ask", "hi"]) == 0
    assert "A prompt template of yours isn't used." in capsys.readouterr().err


# -- going on ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["--json", "text"])
def test_the_rest_of_an_answer_that_broke_off_is_asked_for(
    api: AnthropicServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    broken_off(api)
    assert main(["ask", "Count.", *([form] if form == "--json" else [])]) == 1
    begun = tmp_path / "begun"
    begun.write_text(capsys.readouterr().out)
    api.replies.append(Says(" three", " four"))
    assert main(["ask", "Count.", "--continue", str(begun)]) == 0
    assert capsys.readouterr().out == " three four\n"
    sent = api.received[-1].body["messages"]
    assert [(turn["role"], turn["content"][0]["text"]) for turn in sent] == [
        ("user", "Count."),
        ("assistant", "one two"),
        ("user", CONTINUE_PROMPT),
    ]


def test_an_answer_that_is_itself_json_is_no_record_of_one(
    api: AnthropicServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = tmp_path / "begun"
    begun.write_text('{"error": 1, "text": "no"}')
    assert main(["ask", "Count.", "--continue", str(begun)]) == 0
    assert api.received[-1].body["messages"][1]["content"][0]["text"] == '{"error": 1, "text": "no"}'


@pytest.mark.parametrize("content", [None, "", " \n", '{"error": "x", "partial": null}', b"\xff\xfe"])
def test_without_a_beginning_nothing_is_sent(
    api: AnthropicServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | bytes | None
) -> None:
    begun = tmp_path / "begun"
    if content is not None:
        begun.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["ask", "Count.", "--continue", str(begun)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not api.received


# -- usage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", ["[]", '{"type": "nonsense"}', "[" * 100_000, "{"])
def test_a_schema_that_cannot_be_used_is_a_usage_error(
    api: AnthropicServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], schema: str
) -> None:
    (tmp_path / "schema.json").write_text(schema)
    assert main(["ask", "hi", "--schema", str(tmp_path / "schema.json")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not api.received


def test_an_empty_prompt_is_a_usage_error_in_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", " "]) == 2
    assert capsys.readouterr().out == ""
    assert main(["ask", " ", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"] == "invalid_request"


def test_what_a_killed_run_left_behind_is_told_by_the_next(
    home: Path, api: AnthropicServer, capsys: pytest.CaptureFixture[str]
) -> None:
    api.replies.append(Says("one ", "two ", hold_after=1))
    command = [sys.executable, "-c", "from core.cli import main; main(['ask', 'hi'])"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"o"
        process.kill()
    assert main(["ask", "hi"]) == 0
    assert "signalbox: The last run ended early. 1 request had no end" in capsys.readouterr().err
