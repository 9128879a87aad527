"""``limits``, ``holds`` and ``resume``: what they say, and their exit codes."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sqlite3
from contextlib import aclosing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.chat import ChatRequest, TextDelta, Usage
from core.cli import main
from core.cli.holds import holds
from core.ledger.ledger import Ledger, Outcome, RunawayLimit
from core.router_core import RouterCore
from tests.core.cli.test_cli import api as api  # the fixture
from tests.core.cli.test_cli import run_json
from tests.support.anthropic_server import AnthropicServer, Says
from tests.support.ledgers import hold, new_request

DOLLAR = 1_000_000_000


def write_unresolved(home: Path, nanodollars: int = DOLLAR // 4, *, attempts: int = 1) -> str:
    """Leave a request behind whose cost never came; returns its correlation id."""

    async def write() -> str:
        ledger = Ledger(None, home)
        await ledger.open()
        request = new_request(project="website")
        lost = Outcome(status="failed", error_kind="unavailable")
        await ledger.begin(request, hold(nanodollars))
        for number in range(1, attempts):
            await ledger.switch_side(number, lost, request, hold(nanodollars))
        await ledger.settle(request.correlation_id, attempts, lost)
        await ledger.close()
        return request.correlation_id

    return asyncio.run(write())


@pytest.fixture
def paused(home: Path) -> str:
    """A conversation that sent twice in a minute where once is allowed."""

    async def write() -> None:
        ledger = Ledger(None, home)
        await ledger.open()
        rates = (RunawayLimit(conversation="abc123", per_minute=1),)
        await ledger.begin(new_request(), hold(1), rates=rates)
        with pytest.raises(Exception, match="paused"):
            await ledger.begin(new_request(), hold(1), rates=rates)
        await ledger.close()

    asyncio.run(write())
    return "abc123"


@pytest.mark.parametrize("command", ["limits", "limits --test", "holds", "resume", "report"])
def test_an_empty_home_is_no_error(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command.split()) == 0
    out = capsys.readouterr()
    assert out.out
    assert out.err == ""


@pytest.mark.parametrize("command", ["limits", "holds", "holds settle x 1", "resume", "resume x", "report"])
def test_a_ledger_that_cannot_be_read_is_one_line(
    home: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "ledger.sqlite3").write_bytes(b"this is no database" * 100)
    assert main(command.split()) == 1
    out = capsys.readouterr()
    assert out.out == ""
    assert out.err.startswith("signalbox: ")
    assert out.err.count("\n") == 1


def test_limits_tell_what_is_used_held_and_free(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPEND_LIMIT_DOLLARS", "1")
    monkeypatch.setenv("PROJECT_SPEND_LIMITS", "website=0.5, research=2")
    monkeypatch.setenv("DAILY_TOKEN_BUDGET", "1000")
    monkeypatch.setenv("MAX_REQUESTS_PER_MINUTE", "30")
    write_unresolved(home)
    found = run_json(capsys, "limits", "--json")
    limits = {(limit["name"], limit["project"]): limit for limit in found["limits"]}
    month = limits["SPEND_LIMIT_DOLLARS", None]
    assert (month["limit"], month["used"], month["held"]) == ("1.000000000", "0.250000000", "0.000000000")
    assert (month["free"], month["share"], month["unresolved_count"]) == ("0.750000000", 0.25, 1)
    assert limits["PROJECT_SPEND_LIMITS", "website"]["share"] == 0.5
    assert limits["PROJECT_SPEND_LIMITS", "research"]["share"] == 0
    tokens = limits["DAILY_TOKEN_BUDGET", None]
    assert (tokens["unit"], tokens["limit"], tokens["free"]) == ("tokens", 1000, 1000)
    assert found["rates_per_minute"]["MAX_REQUESTS_PER_MINUTE"] == 30
    assert found["rates_per_minute"]["MAX_API_REQUESTS_PER_MINUTE"] is None
    assert (found["sums"]["ok"], found["sums"]["attempts"]) == (True, 1)
    assert main(["limits"]) == 0
    out = capsys.readouterr().out
    assert "PROJECT_SPEND_LIMITS (website)" in out
    assert "1,000 tokens" in out
    assert "1 request is not settled, and counted at the worst case" in out
    assert "up to $0.2500" in out
    assert "Self-test" not in out


def test_limits_are_armed_or_it_is_a_failure(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DAILY_SPEND_LIMIT_DOLLARS", "1")
    write_unresolved(home)
    assert main(["limits", "--test"]) == 0
    out = capsys.readouterr().out
    assert out.count(" tested\n") == 2
    with sqlite3.connect(home / "ledger.sqlite3") as database:
        database.execute("UPDATE ledger_attempts SET counted_nanodollars = counted_nanodollars - 1")
    database.close()
    assert main(["limits", "--test"]) == 1
    out = capsys.readouterr().out
    assert out.count("DOES NOT HOLD") == 2
    assert "WRONG" in out
    assert main(["limits", "--test", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [limit["armed"] for limit in found["limits"]] == [False, False]
    assert found["sums"]["differences"]


def test_limits_say_that_a_ledger_which_lacks_its_end_closes_the_api(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_unresolved(home)
    (home / "ledger.sqlite3.head").write_text(f"1000 {'0' * 64}\n")
    assert main(["limits", "--test"]) == 1
    out = capsys.readouterr().out
    assert "The API is closed. By the note in" in out
    assert "signalbox audit accept-head" in out
    assert main(["limits", "--json"]) == 1
    assert "1,000 entries or more" in json.loads(capsys.readouterr().out)["ledger_problem"]
    assert main(["audit", "accept-head"]) == 0
    assert main(["limits", "--test"]) == 0


def test_holds_lists_and_settles_what_never_came(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = write_unresolved(home)
    assert main(["holds"]) == 0
    out = capsys.readouterr().out
    assert "Up to $0.2500 not settled, of 1 request whose true cost never came" in out
    assert name in out
    (row,) = run_json(capsys, "holds", "--json")["unresolved"]
    assert (row["correlation_id"], row["counted"], row["cost"]) == (name, "0.250000000", None)
    assert (row["project"], row["state"], row["error"]) == ("website", "unresolved", "unavailable")
    assert main(["holds", "settle", name, "0.1"]) == 0
    assert capsys.readouterr().out.startswith("Settled: $0.1000 spent; up to $0.2500 was not settled before.")
    assert main(["holds"]) == 0
    assert "Everything is settled" in capsys.readouterr().out
    assert main(["holds", "settle", name, "0.1"]) == 1  # what is settled stays as it is
    assert "has no cost that is not settled" in capsys.readouterr().err
    assert main(["audit", "verify"]) == 0


def test_a_request_with_several_attempts_is_settled_one_by_one(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = write_unresolved(home, attempts=2)
    assert main(["holds", "settle", name, "0"]) == 1
    assert "attempt" in capsys.readouterr().err
    settled = run_json(capsys, "holds", "settle", name, "0", "--attempt", "1", "--json")
    assert (settled["attempt"], settled["state"], settled["cost"]) == (1, "settled", "0.000000000")
    assert main(["holds", "settle", name, "0.25"]) == 0


def test_what_runs_is_listed_as_held(api: AnthropicServer, capsys: pytest.CaptureFixture[str]) -> None:
    api.replies.append(Says("one ", hold_after=1))

    async def two() -> dict[str, Any]:
        async with RouterCore() as core, aclosing(core.stream(ChatRequest.from_prompt("hi"))) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    break
            assert await holds(argparse.Namespace(json=True)) == 0
        return json.loads(capsys.readouterr().out)

    (row,) = asyncio.run(two())["holds"]
    assert (row["state"], row["status"]) == ("open", "open")
    assert float(row["held"]) > 0
    assert row["held_tokens"] > 0


@pytest.mark.parametrize("amount", ["-1", "nan", "inf", "lots", "1e30", "1e2", "12_50", ""])
def test_an_amount_that_is_none_is_a_usage_error(amount: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["holds", "settle", "x", amount])
    assert caught.value.code == 2
    assert "DOLLARS" in capsys.readouterr().err


def test_a_paused_conversation_is_listed_and_goes_on(paused: str, capsys: pytest.CaptureFixture[str]) -> None:
    (record,) = run_json(capsys, "resume", "--json")
    assert (record["conversation"], record["per_minute"]) == (paused, 1)
    assert main(["resume"]) == 0
    assert paused in capsys.readouterr().out
    assert main(["resume", paused]) == 0
    assert capsys.readouterr().out == f"Conversation {paused} goes on.\n"
    assert main(["resume"]) == 0
    assert capsys.readouterr().out == "No conversation is paused.\n"
    assert main(["resume", paused]) == 1
    assert "signalbox resume lists" in capsys.readouterr().err


def test_a_conversation_is_resumed_by_the_name_it_was_given(
    api: AnthropicServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNAWAY_REQUESTS_PER_MINUTE", "1")
    assert main(["ask", "hi", "--conversation", "nightly"]) == 0
    assert main(["ask", "hi", "--conversation", "nightly"]) == 1
    assert main(["resume", "nightly"]) == 0
    assert main(["ask", "hi", "--conversation", "nightly"]) == 0
    capsys.readouterr()


# -- report -----------------------------------------------------------------------------------------------------


def hours_ago(hours: float) -> datetime:
    return datetime.now().astimezone() - timedelta(hours=hours)


def write_local(home: Path, loaded: int | None, marginal: int | None, *, ago_h: float = 2) -> None:
    async def write() -> None:
        ledger = Ledger(None, home, clock=lambda: hours_ago(ago_h))
        await ledger.open()
        request = new_request("local")
        await ledger.begin(request, None)
        outcome = Outcome(
            status="done",
            usage=Usage(output_tokens=7),
            cost_nanodollars=0,
            latency_ms=60_000,
            loaded_nanodollars=loaded,
            marginal_nanodollars=marginal,
        )
        await ledger.settle(request.correlation_id, 1, outcome)
        await ledger.close()

    asyncio.run(write())


def test_what_is_not_known_is_never_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_local(home, None, None)
    local, idle = run_json(capsys, "report", "--json", "--by", "side")
    assert (local["side"], local["loaded_dollars"], local["marginal_dollars"]) == ("local", None, None)
    assert (local["loaded_unknown"], local["idle_s"]) == (1, None)
    assert (idle["side"], idle["loaded_dollars"], idle["requests"]) == ("idle", None, 0)
    assert idle["idle_s"] > 0
    assert main(["report"]) == 0
    out = capsys.readouterr().out
    assert (
        out.count("not known") == 4
    )  # power and machine of the answers, the idle row, and what to do about it
    assert "LOCAL_DOLLARS_PER_HOUR" in out


def test_the_machine_costs_when_it_idles_too(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_DOLLARS_PER_HOUR", "3600")
    write_local(home, 60 * DOLLAR, DOLLAR)
    write_local(home, None, None)
    local, idle = run_json(capsys, "report", "--json", "--by", "side", "--since", "12h")
    assert (local["loaded_dollars"], local["marginal_dollars"]) == ("60.000000000", "1.000000000")
    # A dollar a second; of the two hours since the ledger began the two answers took a minute each.
    assert float(idle["loaded_dollars"]) == pytest.approx(idle["idle_s"], abs=0.01)
    assert idle["idle_s"] == pytest.approx(2 * 3600 - 120, abs=100)
    assert main(["report"]) == 0
    out = capsys.readouterr().out
    assert "$60.00 + 1 not known" in out
    assert "$60.00 for its answers (without one answer whose cost is not known)" in out


def test_report_counts_refusals_and_groups_by_what_is_asked(
    api: AnthropicServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", "hi", "--project", "website"]) == 0
    monkeypatch.setenv("SPEND_LIMIT_DOLLARS", "0")
    assert main(["ask", "hi"]) == 1
    capsys.readouterr()
    for by, keys in (("side", {"api", ""}), ("source", {"cli"}), ("project", {"website", ""})):
        rows = run_json(capsys, "report", "--json", "--by", by)
        assert {row[by] for row in rows} == keys
        assert (sum(row["requests"] for row in rows), sum(row["refused"] for row in rows)) == (1, 1)
    assert main(["report", "--by", "project"]) == 0
    out = capsys.readouterr().out
    assert "no project" in out
    assert "Refused" in out
    assert "Machine" not in out  # nothing of this period was local


def test_the_machine_is_not_idle_before_there_was_a_ledger(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_DOLLARS_PER_HOUR", "3600")
    write_local(home, 60 * DOLLAR, DOLLAR, ago_h=0)
    *_, idle = run_json(capsys, "report", "--json", "--by", "side")
    assert (idle["idle_s"], idle["loaded_dollars"]) == (0.0, "0.000000000")


def test_what_has_no_price_did_not_cost_nothing(
    home: Path,
    api: AnthropicServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ANTHROPIC_MODEL", "claude-nobody-knows")
    assert main(["ask", "hi"]) == 0
    capsys.readouterr()
    (row,) = run_json(capsys, "report", "--json")
    assert (row["cost_dollars"], row["unpriced"]) == (None, 1)
    assert main(["report"]) == 0
    assert "Unpriced" in capsys.readouterr().out.splitlines()[1]
    assert main(["limits"]) == 0
    out = capsys.readouterr().out
    assert "1 request of this month is unpriced" in out
    heads, month, *_ = out.splitlines()
    assert "Unpriced" in heads
    assert month.split()[2:6] == ["$0", "$0", "up", "to"], "what it counts for is not said to be spent"
    monkeypatch.setenv("SPEND_LIMIT_DOLLARS", "0.08")
    monkeypatch.setenv("ROUTING_MODE", "api-only")
    assert main(["ask", "hi"]) == 1
    assert re.search(r"~\$0\.0\d+ is spent and \$0 is held", capsys.readouterr().err)


def test_a_refusal_tells_what_is_unresolved_under_that_limit(
    home: Path,
    api: AnthropicServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_unresolved(home)  # of the project "website"
    monkeypatch.setenv("PROJECT_SPEND_LIMITS", "research=0.0001,website=0.25")
    assert main(["ask", "hi", "--project", "research"]) == 1
    err = capsys.readouterr().err
    assert "$0 is spent and $0 is held." in err
    assert "not settled" not in err
    assert main(["ask", "hi", "--project", "website"]) == 1
    assert "$0 is spent, up to $0.2500 is not settled and $0 is held." in capsys.readouterr().err
