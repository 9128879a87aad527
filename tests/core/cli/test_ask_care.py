"""How ``signalbox ask`` is told to treat a request, and what it says of what happened on the way."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from core.cli import main
from tests.core.cli.test_cli import api as api  # the fixture
from tests.core.cli.test_cli import run_json
from tests.support.anthropic_server import AnthropicServer, Says, refusal

BAD_NUMBERS = (
    ["--max-tokens", "0"],
    ["--max-tokens", "-3"],
    ["--max-tokens", "many"],
    ["--deadline", "-1"],
    ["--deadline", "0"],
    ["--deadline", "nan"],
    ["--deadline", "inf"],
    ["--window-tokens", "0"],
    ["--temperature", "3"],
    ["--top-p", "0"],
    ["--top-p", "1.5"],
    ["--seed", "-1"],
    ["--seed", "x"],
    ["--idempotency-key", ""],
    ["--conversation", " "],
    ["--batch", "--high-stakes"],
)


@pytest.mark.parametrize("options", BAD_NUMBERS, ids=" ".join)
def test_an_option_that_cannot_be_is_a_usage_error(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["ask", "hi", *options])
    assert caught.value.code == 2
    assert options[0] in capsys.readouterr().err


def test_the_options_reach_the_router(api: AnthropicServer, capsys: pytest.CaptureFixture[str]) -> None:
    answer = run_json(
        capsys, "ask", "hi", "--json", "--high-stakes", "--deadline", "30", "--conversation", "c"
    )
    assert answer["decision"]["signals"]["high_stakes"] is True
    assert run_json(capsys, "ask", "hi", "--json", "--batch")["decision"]["signals"]["batch"] is True


def test_json_tells_everything_of_the_way(api: AnthropicServer, capsys: pytest.CaptureFixture[str]) -> None:
    answer = run_json(capsys, "ask", "hi", "--json")
    decision = answer["decision"]
    assert decision["template"] == "claude"
    assert {"cache", "toll", "economy"} <= decision.keys()
    assert (decision["signals"]["in_tool_loop"], decision["signals"]["conversation_side"]) == (False, None)
    assert (answer["steps"], answer["unresolved"], answer["schema_valid"]) == ([], "0.000000000", None)
    assert answer["loaded_cost"] == answer["cost"]
    assert answer["marginal_cost"] is None
    assert answer["queued_ms"] >= 0


def test_a_retry_is_told_while_it_waits_and_afterwards(
    api: AnthropicServer, capsys: pytest.CaptureFixture[str]
) -> None:
    api.replies.append(refusal(529, "overloaded_error", retry_after="0.2"))
    assert main(["ask", "hi"]) == 0
    waited, footer = capsys.readouterr().err.splitlines()
    assert "Trying again in about 1 s" in waited
    assert re.search(r"waited \d+ ms", footer)
    assert "tried again" in footer
    api.replies.append(refusal(529, "overloaded_error", retry_after="0.2"))
    assert main(["ask", "hi", "--quiet"]) == 0
    assert capsys.readouterr() == ("Hello there\n", "")
    api.replies.append(refusal(529, "overloaded_error", retry_after="0.2"))
    assert main(["ask", "hi", "--json"]) == 0
    out = capsys.readouterr()
    assert out.err == ""
    answer = json.loads(out.out)
    (step,) = answer["steps"]
    assert (step["kind"], step["side"], step["cost"]) == ("retried", "api", "0.000000000")
    assert step["took_ms"] > 0
    assert answer["queued_ms"] >= step["took_ms"]


def test_what_trimming_saved_is_told(api: AnthropicServer, capsys: pytest.CaptureFixture[str]) -> None:
    prompt = "the same words again. " * 3 + "\n\n\n\n" + "long line of context here. " * 40
    answer = run_json(capsys, "ask", f"{prompt}\n\n{prompt}", "--compress", "--json")
    assert answer["decision"]["economy"]["compressed_tokens"] > 0
    assert float(answer["decision"]["economy"]["saved"]) > 0
    assert main(["ask", f"{prompt}\n\n{prompt}", "--compress"]) == 0
    assert "tokens saved (" in capsys.readouterr().err


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["ask", *arguments, "--json"]) == 1
    out = capsys.readouterr()
    assert out.err.startswith("signalbox: ")
    return json.loads(out.out)


def test_a_key_is_not_paid_twice(api: AnthropicServer, capsys: pytest.CaptureFixture[str]) -> None:
    first = run_json(capsys, "ask", "hi", "--idempotency-key", "k", "--json")
    again = run_json(capsys, "ask", "hi", "--idempotency-key", "k", "--json")
    assert (again["text"], again["replayed"], again["replay_of"]) == (
        "Hello there",
        True,
        first["correlation_id"],
    )
    assert (float(again["cost"]), again["first_cost"]) == (0, first["cost"])
    assert len(again["correlation_id"]) == 36
    assert again["correlation_id"] != first["correlation_id"]
    assert main(["ask", "hi", "--idempotency-key", "k"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "Hello there\n"
    assert "an earlier answer, not paid again (it cost <$0.0001)" in shown.err
    different = failure(capsys, "something else", "--idempotency-key", "k")
    assert (different["error"], len(different["correlation_id"])) == ("duplicate_request", 36)
    assert len([request for request in api.received if request.path == "/v1/messages"]) == 1


def test_a_key_is_not_paid_twice_when_nothing_is_kept(
    api: AnthropicServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IDEMPOTENCY_KEEP_HOURS", "0")
    first = run_json(capsys, "ask", "hi", "--idempotency-key", "k", "--json")
    again = failure(capsys, "hi", "--idempotency-key", "k")
    assert again["error"] == "duplicate_request"
    assert first["correlation_id"] in again["message"]
    assert len([request for request in api.received if request.path == "/v1/messages"]) == 1


def test_failures_carry_their_facts(
    api: AnthropicServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNAWAY_REQUESTS_PER_MINUTE", "1")
    assert main(["ask", "hi", "--conversation", "loop"]) == 0
    capsys.readouterr()
    paused = failure(capsys, "hi", "--conversation", "loop")
    assert (paused["error"], paused["per_minute"]) == ("runaway_paused", 1)
    assert paused["conversation"] in paused["hint"]
    monkeypatch.setenv("MAX_REQUESTS_PER_MINUTE", "1")
    monkeypatch.setenv("RATE_MAX_WAIT_S", "0")
    assert main(["ask", "other"]) == 0
    capsys.readouterr()
    limited = failure(capsys, "another")
    assert (limited["error"], limited["limit_name"]) == ("rate_exceeded", "MAX_REQUESTS_PER_MINUTE")
    assert 0 < limited["retry_after_s"] <= 60
    monkeypatch.delenv("MAX_REQUESTS_PER_MINUTE")
    monkeypatch.setenv("SPEND_LIMIT_DOLLARS", "0")
    over = failure(capsys, "a third", "--force", "api")
    assert (over["error"], over["limit_name"]) == ("budget_exceeded", "SPEND_LIMIT_DOLLARS")
    assert float(over["asked"]) > 0


def test_a_deadline_ends_a_request(api: AnthropicServer, capsys: pytest.CaptureFixture[str]) -> None:
    api.replies.append(Says("one ", "two", hold_after=1))
    late = failure(capsys, "hi", "--deadline", "0.5")
    assert late["error"] == "deadline_exceeded"
    assert late["may_be_billed"] is True
    assert late["partial"]["text"] == "one "
