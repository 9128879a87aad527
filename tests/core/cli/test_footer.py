"""The lines beside an answer: short, true, and only what is worth a word."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import re
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from core.chat import (
    CacheSwitchCost,
    ChatResult,
    ContextEconomy,
    Estimate,
    PromptProgress,
    RequestStep,
    RouteDecision,
    Savings,
    Signals,
    Usage,
    Waiting,
)
from core.cli.answer_json import result_json
from core.cli.ask import Printed
from core.cli.footer import footer, waiting_line
from core.cli.terminal import WaitLines
from tests.support import virtual_time

NOTHING = Estimate(model=None, cost_nanodollars=None, hold_nanodollars=None)
DECISION = RouteDecision(
    side="api",
    provider="anthropic",
    model="m",
    rule="complex",
    reason="Complex",
    mode="hybrid",
    signals=Signals(input_tokens=1, input_tokens_bound=1, max_output_tokens=1, complexity=0.7),
    local_estimate=NOTHING,
    api_estimate=NOTHING,
    complexity_threshold=0.6,
    local_requests_today=0,
    routing_threshold=1,
    template="claude",
)
RESULT = ChatResult(
    text="t",
    tool_calls=(),
    usage=Usage(fresh_input_tokens=1000, cache_read_tokens=500, output_tokens=20),
    provider="anthropic",
    side="api",
    model="m",
    finish_reason="stop",
    decision=DECISION,
    cost_nanodollars=3_000_000,
    loaded_nanodollars=3_000_000,
    price_version="1",
    latency_ms=1,
    ttft_ms=1,
    correlation_id="c",
    started_at=datetime(2026, 11, 23, tzinfo=UTC),
)


def told(decision: dict[str, Any] | None = None, **changes: Any) -> str:
    return footer(
        dataclasses.replace(RESULT, **changes, decision=dataclasses.replace(DECISION, **(decision or {})))
    )


def test_a_plain_answer_has_a_plain_footer() -> None:
    assert told() == "[API · m · Complex · 1,500 in (500 cached), 20 out · $0.0030]"


def test_a_schema_that_was_asked_for_in_words_is_not_used_only_where_the_answer_fails_it() -> None:
    assert told(dropped=("response_format",), schema_valid=True).endswith("matches the schema]")
    assert "not used: response_format]" in told(dropped=("response_format",), schema_valid=False)
    assert "not used: temperature]" in told(dropped=("temperature", "response_format"), schema_valid=True)


def test_the_way_is_told_with_its_waits_and_costs() -> None:
    steps = (
        RequestStep(kind="waited", detail="Waited its turn", took_ms=3000),
        RequestStep(kind="retried", detail="Overloaded", took_ms=500),
        RequestStep(kind="retried", detail="Overloaded", took_ms=500),
        RequestStep(kind="asked_again", detail="No JSON", cost_nanodollars=1_000_000),
        RequestStep(kind="repaired", detail="A comma"),
    )
    line = told(steps=steps, queued_ms=4000.0, unresolved_nanodollars=20_000_000)
    assert "$0.0030, up to $0.0200 not settled" in line
    assert "waited 4.00 s · tried again 2 times · asked again: $0.0010 of it · JSON repaired" in line
    steps = (RequestStep(kind="fell_back", detail="Local is down", side="api", cost_nanodollars=2_000_000),)
    line = told({"fell_back_from": "local"}, steps=steps)
    assert "fell back from Local" in line
    assert "the failed attempt: $0.0020 of it" in line


def test_a_stopped_answer_shows_that_its_figures_are_at_most() -> None:
    line = told(usage_estimated=True)
    assert "~$0.0030" in line
    assert re.search(r", ~[0-9]+ out", line)


def test_what_a_local_answer_cost_is_told_where_it_is_known() -> None:
    local: dict[str, Any] = {"side": "local", "cost_nanodollars": 0}
    assert "no charge]" in told(**local, loaded_nanodollars=None)
    assert "$0.0020 loaded]" in told(**local, loaded_nanodollars=2_000_000)
    line = told(**local, loaded_nanodollars=None, marginal_nanodollars=1_000_000)
    assert "no charge, $0.0010 of power]" in line
    # An attempt on the API that failed first was billed: that is never no charge.
    assert "$0.0010" in told(side="local", cost_nanodollars=1_000_000, loaded_nanodollars=None)


def test_what_the_context_saved_or_lost_is_told() -> None:
    economy = ContextEconomy(trimmed_tokens=1200, saved_nanodollars=4_000_000)
    assert "~1,200 tokens saved ($0.0040)" in told({"economy": economy})
    assert "~1,200 tokens saved]" in told({"economy": ContextEconomy(compressed_tokens=1200)})
    lost = CacheSwitchCost(side="local", cached_tokens=3000, nanodollars=None, expires_in_s=10)
    assert "left 3,000 cached tokens at Local]" in told({"switching_cost": lost})
    assert "cached tokens at" not in told({"switching_cost": dataclasses.replace(lost, side="api")})


def test_what_the_cache_saved_or_cost_is_told() -> None:
    assert "$0.0030 · cache saved $0.0540]" in told(savings=Savings(cache_nanodollars=54_000_000))
    assert "$0.0030 · cache cost $0.0030 more]" in told(savings=Savings(cache_nanodollars=-3_000_000))
    for nothing in (Savings(), Savings(cache_nanodollars=None)):
        assert "cache saved" not in told(savings=nothing)
    assert "cache saved" not in told(savings=Savings(cache_nanodollars=1), replayed=True, cost_nanodollars=0)


def test_savings_are_dollars_or_null_as_json() -> None:
    assert result_json(RESULT)["savings"] is None
    savings = Savings(trimmed_tokens=9, trimming_nanodollars=None, cache_nanodollars=-3_000_000)
    assert result_json(dataclasses.replace(RESULT, savings=savings))["savings"] == {
        "trimmed_tokens": 9,
        "compressed_tokens": 0,
        "trimming": None,
        "compression": "0.000000000",
        "cache": "-0.003000000",
    }


def test_an_answer_that_is_not_paid_again_and_a_template_of_the_users_own() -> None:
    assert "an earlier answer, not paid again" in told(replayed=True, cost_nanodollars=0)
    again = told(replayed=True, cost_nanodollars=0, first_cost_nanodollars=12_300_000)
    assert "not paid again (it cost $0.0123)" in again
    assert "template claude (yours)" in told({"template": "claude (yours)"})


@pytest.mark.parametrize(
    ("waiting", "line"),
    [
        (Waiting("local_queue", "2 ahead.", 7.2, 2), "Waiting for Local, 2 ahead, about 8 s"),
        (Waiting("local_queue", "Busy.", None, 0), "Waiting for Local"),
        (Waiting("retry", "API is busy.", 0.25), "API is busy. Trying again in about 1 s"),
        (Waiting("retry", "API is busy.", None), "API is busy. Trying again"),
        (Waiting("rate", "R is reached.", 600.0, 1), "R is reached, 1 ahead, about 10 min"),
        (
            Waiting("first_answer", "The first request with this key is still running."),
            "Waiting for the first request with this key",
        ),
        (Waiting("local_start", "The local server is starting."), "The local server is starting"),
    ],
)
def test_waiting_is_one_line(waiting: Waiting, line: str) -> None:
    assert waiting_line(waiting) == line


def wait_in_line(printed: Printed, *places: tuple[int, float | None]) -> None:
    for position, expected_s in places:
        printed.waiting(Waiting("local_queue", f"{position} ahead.", expected_s, position))


def test_off_a_terminal_a_wait_is_a_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    printed = Printed(is_json=False, is_quiet=False)
    wait_in_line(printed, *((ahead, ahead + 1.0) for ahead in range(64, -1, -1)), (0, None))
    printed.text("Hello")
    out, err = capsys.readouterr()
    assert out == "Hello"
    assert err.splitlines() == [
        "Waiting for Local, 64 ahead, about 65 s",
        "Waiting for Local, 16 ahead, about 17 s",
        "Waiting for Local, 4 ahead, about 5 s",
        "Waiting for Local, 1 ahead, about 2 s",
        "Waiting for Local, about 1 s",
    ]


def test_another_wait_is_told_anew(capsys: pytest.CaptureFixture[str]) -> None:
    printed = Printed(is_json=False, is_quiet=False)
    for detail in ("Overloaded.", "Overloaded.", "Rate limited."):
        printed.waiting(Waiting("retry", detail))
    wait_in_line(printed, (0, None))
    assert capsys.readouterr().err == (
        "Overloaded. Trying again\nRate limited. Trying again\nWaiting for Local\n"
    )


def on_screen(written: str) -> list[str]:
    """Return the lines that a terminal shows of ``written``."""
    lines: list[str] = []
    for line in written.split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines


def test_on_a_terminal_one_line_is_rewritten_and_gone_in_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    printed = Printed(is_json=False, is_quiet=False)
    wait_in_line(printed, (12, 100.0), (11, 90.0))
    assert on_screen(capsys.readouterr().err) == ["Waiting for Local, 11 ahead,"]  # as much as fits
    wait_in_line(printed, (0, 2.0))
    assert on_screen(capsys.readouterr().err) == ["Waiting for Local, about 2 s"]
    printed.text("Hello")
    printed.text(" there\n")
    out, err = capsys.readouterr()
    assert out == "Hello there\n"
    assert on_screen(err) == [""]


def test_a_quiet_request_waits_quietly(capsys: pytest.CaptureFixture[str]) -> None:
    wait_in_line(Printed(is_json=False, is_quiet=True), (2, 1.0), (0, None))
    assert capsys.readouterr() == ("", "")


def test_an_amount_that_is_not_known_is_null() -> None:
    step = RequestStep(kind="fell_back", detail="Cut", cost_nanodollars=None)
    found = result_json(
        dataclasses.replace(RESULT, cost_nanodollars=None, loaded_nanodollars=None, steps=(step,))
    )
    assert (found["cost"], found["loaded_cost"], found["marginal_cost"]) == (None, None, None)
    assert found["steps"][0]["cost"] is None


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True

    @property
    def line(self) -> str:
        """What stands on its last line."""
        return self.getvalue().rstrip("\r").rpartition("\r")[2].rstrip()


def test_a_terminal_is_told_how_far_the_prompt_is_read_and_how_long_nothing_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)

    async def body() -> None:
        lines = WaitLines()
        lines.sent()
        await asyncio.sleep(1.5)
        assert screen.line == "", "who is answered at once sees nothing flash by"
        await asyncio.sleep(5)
        assert screen.line == "Waiting for the first token, 6 s"
        lines.reading(PromptProgress(42, 100))
        await asyncio.sleep(1)
        assert screen.line == "Reading the prompt, 42 %"
        lines.reading(PromptProgress(100, 100))
        await asyncio.sleep(1)
        assert screen.line == "Waiting for the first token, 8 s"
        lines.end()
        assert screen.line == ""

    virtual_time.run(body())


def test_a_pipe_is_told_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)

    async def body() -> None:
        lines = WaitLines()
        lines.sent()
        lines.reading(PromptProgress(42, 100))
        await asyncio.sleep(10)
        lines.end()

    virtual_time.run(body())
    assert pipe.getvalue() == ""
