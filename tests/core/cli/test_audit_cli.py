"""``signalbox audit``: what it says, where, and its exit codes."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest

from core.chat import Usage
from core.cli import main
from core.ledger.ledger import Ledger, Outcome
from tests.support.ledgers import hold, new_request

COST = 1_230_000


def write_requests(home: Path, count: int = 2) -> list[str]:
    """Write requests that cost ``COST`` each; returns their correlation ids."""

    async def write() -> list[str]:
        ledger = Ledger(None, home)
        await ledger.open()
        names: list[str] = []
        for _ in range(count):
            request = new_request()
            names.append(request.correlation_id)
            await ledger.begin(request, hold(2 * COST))
            outcome = Outcome(status="done", usage=Usage(output_tokens=7), cost_nanodollars=COST)
            await ledger.settle(request.correlation_id, 1, outcome)
        await ledger.close()
        return names

    return asyncio.run(write())


def edit(home: Path, statement: str) -> None:
    with sqlite3.connect(home / "ledger.sqlite3") as database:
        database.execute(statement)
    database.close()


def test_a_whole_log_is_said_to_be_whole(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_requests(home)
    assert main(["audit", "verify"]) == 0
    out = capsys.readouterr()
    first, second = out.out.splitlines()
    assert first == "The audit log is whole: 5 entries and 2 attempts agree, and so do the sums."
    assert second.startswith("Head ")
    assert out.err == ""
    assert main(["audit", "verify", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["problems"], report["expected_found"]) == (True, [], None)
    assert f"Head {report['head_hash']}" == second


def test_an_edited_row_is_named_and_is_a_failure(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    correlation_id, _ = write_requests(home)
    edit(home, f"UPDATE ledger_attempts SET cost_nanodollars = 1 WHERE correlation_id = '{correlation_id}'")
    assert main(["audit", "verify"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("The ledger was changed behind its back: 2 problems, ")
    assert f"cost_nanodollars is 1, the log says {COST}. (request {correlation_id})" in out
    assert "Nothing was repaired." in out
    assert main(["audit", "verify", "--json"]) == 1
    problem, *sums = json.loads(capsys.readouterr().out)["problems"]
    assert all("sum" in off["what"] for off in sums)
    assert problem["correlation_id"] == correlation_id


def test_many_problems_are_not_all_printed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_requests(home, 30)
    edit(home, "UPDATE ledger_attempts SET cost_nanodollars = 1")
    assert main(["audit", "verify"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("- ")]) == 21
    assert "- and 11 more; --json lists up to 31" in lines


def test_a_noted_head_is_found_again(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_requests(home)
    assert main(["audit", "head"]) == 0
    noted, _, where = capsys.readouterr().out.strip().partition("  ")
    assert where == "entry 5"
    assert main(["audit", "head", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"seq": 5, "hash": noted}
    write_requests(home)
    assert main(["audit", "verify", "--expect", noted.upper()]) == 0
    assert "leads through the head that was noted" in capsys.readouterr().out
    assert main(["audit", "verify", "--expect", "ab" * 32]) == 1
    assert "does not lead through" in capsys.readouterr().out


def test_the_list_is_newest_first_and_pages(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = write_requests(home)
    assert main(["audit", "list", "--limit", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["5", "4", "3"]
    assert "settle" in lines[0]
    assert second in lines[0]
    assert "$0.0012 spent" in lines[0]
    assert "begin" in lines[1]
    assert "$0.0025 held" in lines[1]
    assert first in lines[2]
    assert main(["audit", "list", "--limit", "9", "--before", "3", "--json"]) == 0
    begun, genesis = json.loads(capsys.readouterr().out)
    assert (begun["seq"], begun["kind"], begun["hold_dollars"]) == (2, "begin", "0.002460000")
    assert (genesis["seq"], genesis["kind"], genesis["correlation_id"]) == (1, "genesis", None)


def test_nothing_is_written_by_looking(home: Path) -> None:
    """A core that starts recovers what dead processes left; the audit commands do not even do that."""

    async def leave_open() -> None:
        ledger = Ledger(None, home)
        await ledger.open()
        await ledger.begin(new_request(), hold(COST))
        await ledger.close()

    asyncio.run(leave_open())
    edit(home, "UPDATE ledger_attempts SET owner_pid = -1")
    assert main(["audit", "verify"]) == 1
    assert main(["audit", "list"]) == 0
    assert main(["audit", "head"]) == 0
    with sqlite3.connect(home / "ledger.sqlite3") as database:
        assert database.execute("SELECT state, owner_pid FROM ledger_attempts").fetchall() == [("open", -1)]
        assert database.execute("SELECT count(*) FROM ledger_audit").fetchone() == (2,)
    database.close()


@pytest.mark.parametrize("action", ["verify", "list", "head"])
def test_without_a_ledger_none_is_made(home: Path, action: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", action]) == 1
    assert "There is no ledger at" in capsys.readouterr().err
    assert not (home / "ledger.sqlite3").exists()


@pytest.mark.parametrize(
    "arguments",
    [["verify", "--expect", "abc"], ["list", "--limit", "0"], ["list", "--before", "x"], [], ["undo"]],
)
def test_wrong_arguments_are_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["audit", *arguments])
    assert caught.value.code == 2
    assert "usage: signalbox audit" in capsys.readouterr().err


@pytest.mark.parametrize("count", ["0", "-1", "x", "\u0663"])
def test_a_count_of_entries_is_a_plain_number(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["audit", "list", "--limit", count])
    assert caught.value.code == 2
