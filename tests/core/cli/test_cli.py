"""The command line: what it prints where, and its exit codes."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.cli import main
from core.cli.decide import request_from_line
from core.errors import InvalidRequest
from tests.support.anthropic_server import AnthropicServer, Says, refusal

KEY = "sk-ant-test-0123456789"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[AnthropicServer]:
    """A server on Anthropic's wire in a thread of its own, and an environment that points at it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> AnthropicServer:
        return await AnthropicServer().__aenter__()

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("LOCAL_SERVER", "none")
    yield server
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(arguments) == 0
    return json.loads(capsys.readouterr().out)


def test_ask_streams_text(api: AnthropicServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "hi"]) == 0
    out = capsys.readouterr()
    assert out.out == "Hello there\n"
    assert out.err == (
        "[API · claude-sonnet-4-6-20260501 · Local unavailable: no local server is set up · "
        "1 in, 2 out · <$0.0001]\n"
    )
    assert main(["ask", "hi", "--quiet"]) == 0
    assert capsys.readouterr() == ("Hello there\n", "")


def test_an_answer_that_breaks_off_is_a_failure_with_its_part(
    api: AnthropicServer, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["ask", "hi", "--json"], ["ask", "hi"]):
        api.replies.append(Says("one ", "two ", "three", cut_after=2))
        assert main(arguments) == 1
        out = capsys.readouterr()
        *about, error = out.err.splitlines()
        assert error.startswith("signalbox: ")
        assert len(about) == (0 if "--json" in arguments else 1)
        if "--json" in arguments:
            failure = json.loads(out.out)
            assert (failure["error"], failure["partial"]["text"]) == ("unavailable", "one two ")
        else:
            assert out.out == "one two \n"


@pytest.fixture
def schema_file(tmp_path: Path) -> Path:
    file = tmp_path / "schema.json"
    schema = {"type": "object", "required": ["x"], "properties": {"x": {"type": "integer"}}}
    file.write_text(json.dumps(schema))
    return file


def test_an_answer_against_the_schema_is_a_failure(
    api: AnthropicServer, schema_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for bad in ('{"y": 1}', "Sorry"):
        api.replies += [Says(bad), Says(bad)]
        assert main(["ask", "hi", "--schema", str(schema_file), "--json"]) == 1
        out = capsys.readouterr()
        failure = json.loads(out.out)
        assert failure["error"] == "answer_invalid"
        assert failure["problems"]
        assert failure["partial"]["text"] == bad
        assert [step["kind"] for step in failure["partial"]["steps"]] == ["invalid", "asked_again", "invalid"]
        assert out.err.count("\n") == 1
        assert "doesn't match" in out.err


def test_what_asking_again_cost_is_told(
    api: AnthropicServer, schema_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.replies += [Says("Sorry"), Says('{"x": 1}')]
    assert main(["ask", "hi", "--schema", str(schema_file)]) == 0
    out = capsys.readouterr()
    assert out.out == '{"x": 1}\n'
    assert "asked again: <$0.0001 of it" in out.err
    assert "matches the schema" in out.err
    api.replies += [Says("Sorry"), Says('{"x": 1}')]
    answer = run_json(capsys, "ask", "hi", "--schema", str(schema_file), "--json")
    assert answer["schema_valid"] is True
    _, step = answer["steps"]
    assert (step["kind"], step["side"]) == ("asked_again", "api")
    assert 0 < float(step["cost"]) < float(answer["cost"])


def test_ask_json_has_everything(api: AnthropicServer, capsys: pytest.CaptureFixture[str]) -> None:
    api.replies.append(
        Says("Paris", usage={"input_tokens": 10, "output_tokens": 1}, final_usage={"output_tokens": 2})
    )
    answer = run_json(capsys, "ask", "What is the capital of France?", "--json", "--max-tokens", "50")
    assert answer["text"] == "Paris"
    assert (answer["provider"], answer["side"]) == ("anthropic", "api")
    assert answer["cost"] == "0.000060000"
    assert answer["usage"]["input_tokens"] == 10
    assert answer["decision"]["rule"] == "unavailable"
    assert answer["decision"]["signals"]["max_output_tokens"] == 50
    assert {"reason", "estimates"} <= answer["decision"].keys()
    assert answer["latency_ms"] > 0
    assert answer["ttft_ms"] > 0
    assert len(answer["correlation_id"]) == 36


def test_the_schema_file_reaches_the_wire(api: AnthropicServer, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "additionalProperties": False}
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(schema))
    api.replies.append(Says('{"x": 1}'))
    assert main(["ask", "hi", "--schema", str(file), "--system", "Be brief."]) == 0
    sent = next(r.body for r in api.received if r.path == "/v1/messages")
    assert sent["output_config"]["format"]["schema"] == schema
    assert "Be brief." in json.dumps(sent["system"])


@pytest.mark.parametrize("content", [None, b"{not json", b"\xff\xfe\x00"])
def test_a_schema_file_that_cannot_be_used_is_a_usage_error(
    api: AnthropicServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    file = tmp_path / "schema.json"
    if content is not None:
        file.write_bytes(content)
    assert main(["ask", "hi", "--schema", str(file)]) == 2
    assert capsys.readouterr().err.startswith("signalbox: ")
    assert api.received == []


def test_errors_are_one_line_and_never_show_the_key(
    api: AnthropicServer, capsys: pytest.CaptureFixture[str]
) -> None:
    api.replies.append(refusal(401, "authentication_error", f"bad key {KEY}"))
    assert main(["ask", "hi"]) == 1
    err = capsys.readouterr().err
    about, error = err.splitlines()
    assert about.startswith("[API · claude-sonnet-4-6-20260501 · no charge · request ")
    assert error.startswith("signalbox: ")
    assert KEY not in err
    api.replies.append(refusal(401, "authentication_error", f"bad key {KEY}"))
    assert main(["ask", "hi", "--debug"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert KEY not in err


def test_usage_errors_exit_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["ask"], ["nonsense"], ["report", "--since", "yesterday-ish"], ["keys", "set"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2


def decide(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> tuple[int, list[Any]]:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    code = main(["decide"])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_decide_answers_in_order_without_a_call(
    api: AnthropicServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_SERVER", "embedded")
    lines = [
        {"prompt": "hi"},
        {"prompt": "hi", "tools": [{"name": "look", "input_schema": {"type": "object"}}]},
        {"prompt": "hi", "schema": {"type": "object"}, "system": "s"},
        {"prompt": "hi", "force": "api"},
    ]
    code, answers = decide(monkeypatch, capsys, "\n".join(map(json.dumps, lines)) + "\n\n")
    assert code == 0
    assert [(a["provider"], a["rule"]) for a in answers] == [
        ("embedded", "simple"),
        ("anthropic", "capability"),
        ("anthropic", "complex"),
        ("anthropic", "forced"),
    ]
    for answer in answers:
        assert 0 <= answer["complexity"] <= 1
        assert answer["estimates"]["api"]["cost"] is not None
        assert answer["reason"]
    assert api.received == []


def test_decide_tells_of_bad_lines_in_their_place(
    api: AnthropicServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, answers = decide(monkeypatch, capsys, '{"prompt": "a"}\n{"prompt": 3}\nnope\n[]\n{"prompt": "b"}\n')
    assert code == 1
    assert [("error" in answer, answer.get("line")) for answer in answers] == [
        (False, None),
        (True, 2),
        (True, 3),
        (True, 4),
        (False, None),
    ]


@given(
    st.text() | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(json.dumps)
)
def test_any_line_is_a_request_or_a_clear_error(line: str) -> None:
    try:
        request_from_line(line)
    except InvalidRequest as error:
        assert error.message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from(["prompt", "tools", "schema", "system", "max_tokens", "force", "model", "batch"]),
        json_values,
    )
)
def test_any_object_is_a_request_or_a_clear_error(fields: dict[str, Any]) -> None:
    try:
        request = request_from_line(json.dumps(fields))
    except InvalidRequest as error:
        assert error.message
    else:
        assert request.messages[0].text == fields["prompt"]


def test_report_groups_and_formats(api: AnthropicServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report"]) == 0
    assert capsys.readouterr().out.startswith("Nothing was sent since ")
    for _ in range(2):
        assert main(["ask", "hi"]) == 0
    capsys.readouterr()
    (row,) = run_json(capsys, "report", "--json", "--by", "model", "--since", "1h")
    assert (row["model"], row["requests"], row["failed"]) == ("claude-sonnet-4-6-20260501", 2, 0)
    assert float(row["cost_dollars"]) > 0
    assert main(["report", "--csv", "--by", "rule"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split(",")[:2] == ["rule", "requests"]
    assert line.split(",")[:2] == ["unavailable", "2"]
    assert main(["report", "--by", "day"]) == 0
    assert "Total <$0.0001" in capsys.readouterr().out


def test_doctor_names_each_component(api: AnthropicServer, capsys: pytest.CaptureFixture[str]) -> None:
    findings = {finding["component"]: finding for finding in run_json(capsys, "doctor", "--json")}
    assert findings["Anthropic API"]["state"] == "works"
    assert findings["Ledger"]["state"] == "works"
    assert findings["Keyring"]["state"] == "missing"
    assert findings["Keyring"]["hint"]
    assert all(f["hint"] for f in findings.values() if f["state"] in ("missing", "broken") and f["needed"])


def test_keys_without_a_keyring_fail_and_say_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(KEY + "\n"))
    assert main(["keys", "set", "anthropic"]) == 1
    out = capsys.readouterr()
    assert "keyring" in out.err
    assert KEY not in out.out + out.err
    assert not any(KEY.encode() in file.read_bytes() for file in home.rglob("*") if file.is_file())
