"""What ``signalbox report`` says of what was saved."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from core.chat import Savings, Usage
from core.cli import main
from core.ledger.ledger import Outcome
from tests.core.cli.test_cli import run_json
from tests.support.ledgers import hold, new_request, open_ledger


def write_saved(home: Path, savings: Savings, usage: Usage) -> None:
    async def write() -> None:
        async with open_ledger(home) as ledger:
            request = new_request()
            await ledger.begin(request, hold(1000))
            outcome = Outcome(status="done", usage=usage, cost_nanodollars=100, savings=savings)
            await ledger.settle(request.correlation_id, 1, outcome)

    asyncio.run(write())


def test_report_says_what_was_saved_only_where_something_was(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_saved(home, Savings(), Usage(output_tokens=1))
    assert main(["report"]) == 0
    assert "Saved" not in capsys.readouterr().out
    write_saved(
        home,
        Savings(trimmed_tokens=12_000, trimming_nanodollars=36_000_000, cache_nanodollars=54_000_000),
        Usage(cache_read_tokens=20_000, output_tokens=1),
    )
    assert main(["report"]) == 0
    out = capsys.readouterr().out
    assert "Saved" in out.splitlines()[0].split()
    assert "$0.0900" in out.splitlines()[1]
    assert "Saved $0.0900: caching $0.0540, trimming $0.0360 (about 12,000 tokens)\n" in out
    (row,) = run_json(capsys, "report", "--json")
    assert (row["trimmed_tokens"], row["trimming_saved_dollars"]) == (12_000, "0.036000000")
    assert (row["cache_saved_dollars"], row["compression_saved_dollars"]) == ("0.054000000", "0.000000000")
    assert main(["report", "--csv"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    record = dict(zip(head.split(","), line.split(","), strict=True))
    assert (record["trimming_saved_dollars"], record["saved_unknown"]) == ("0.036000000", "0")


def test_report_says_what_nobody_knows_to_be_saved(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    savings = Savings(trimmed_tokens=500, trimming_nanodollars=None, cache_nanodollars=None)
    write_saved(home, savings, Usage(cache_read_tokens=9, output_tokens=1))
    (row,) = run_json(capsys, "report", "--json")
    assert (row["trimming_saved_dollars"], row["cache_saved_dollars"]) == (None, None)
    assert row["compression_saved_dollars"] == "0.000000000"  # nothing was left out there
    assert main(["report"]) == 0
    out = capsys.readouterr().out
    assert "not known" in out.splitlines()[1]
    assert "what 1 request saved is not known" in out


def test_tokens_that_nobody_told_are_not_0(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def write() -> None:
        async with open_ledger(home) as ledger:
            request = new_request()
            await ledger.begin(request, hold(1000))
            await ledger.settle(request.correlation_id, 1, Outcome(status="failed", error_kind="unavailable"))

    asyncio.run(write())
    (row,) = run_json(capsys, "report", "--json")
    assert (row["requests"], row["input_tokens"], row["output_tokens"]) == (1, None, None)
    assert main(["report", "--csv"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    record = dict(zip(head.split(","), line.split(","), strict=True))
    assert (record["input_tokens"], record["cached_tokens"], record["requests"]) == ("", "", "1")
    assert main(["report"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[2:6] == ["1", "–", "–", "–"]
