"""``signalbox prices``: what it prints, what it writes, and past requests that get their price."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from core.chat import Usage
from core.cli import main
from core.ledger.ledger import HoldRequest, Ledger, LedgerRow, NewRequest, Outcome
from core.pricing.prices import PriceTable

KNOWN = "claude-sonnet-4-6"
NEW = "claude-nobody-9"


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert main(["prices", *arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_the_list_shows_built_in_prices_and_their_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prices", "list"]) == 0
    out = capsys.readouterr().out
    assert "claude-sonnet-4-5" in out
    assert "200,000" in out
    assert PriceTable().version in out
    (model,) = run_json(capsys, "list", KNOWN)
    assert model["own_prices"] is False
    assert model["tiers"][0]["cache_write_5m"] == "3.75"


def test_a_model_without_a_price_says_how_to_set_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prices", "list", NEW]) == 1
    out = capsys.readouterr()
    assert out.out == ""
    assert f"signalbox prices set {NEW}" in out.err
    assert run_json(capsys, "list", NEW, code=1) == []


def test_prices_are_set_exactly_and_unset(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = run_json(capsys, "set", NEW, "--input", "0.10", "--output", "1.5", "--context-tokens", "8192")
    assert answer["own_prices"] is True
    assert answer["context_tokens"] == 8192
    assert " + overrides " in answer["price_version"]
    assert json.loads((home / "prices.json").read_text()) == {
        NEW: {"input": "0.1", "output": "1.5", "context_tokens": 8192}
    }
    assert main(["prices", "list", NEW]) == 0
    assert "has prices of your own" in capsys.readouterr().out
    assert run_json(capsys, "unset", NEW) == {"model": NEW, "was_set": True}
    assert run_json(capsys, "unset", NEW, code=1) == {"model": NEW, "was_set": False}
    assert main(["prices", "list", NEW]) == 1


def test_half_a_price_is_kept_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prices", "set", NEW, "--input", "1"]) == 0
    assert "needs a price of input and of output" in capsys.readouterr().err
    assert main(["prices", "set", NEW, "--output", "2"]) == 0
    assert "prices apply" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["set", NEW],
        ["set", NEW, "--input", "three"],
        ["set", NEW, "--input=-1"],
        ["set", "", "--input", "1"],
        ["set", NEW, "--context-tokens", "1.5"],
    ],
    ids=str,
)
def test_what_is_not_a_price_is_a_usage_error(
    home: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prices", *arguments]) == 2
    assert capsys.readouterr().err.startswith("signalbox: ")
    assert not (home / "prices.json").exists()


def test_a_bad_file_is_said_and_left_alone(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "prices.json").write_text("{oops")
    assert main(["prices", "list", KNOWN]) == 0
    out = capsys.readouterr()
    assert "prices.json is not valid JSON" in out.err
    assert KNOWN in out.out
    assert main(["prices", "set", KNOWN, "--input", "1"]) == 1
    assert (home / "prices.json").read_text() == "{oops"


async def _record(home: Path, *models: str) -> list[str]:
    ledger = Ledger(None, home)
    await ledger.open()
    ids: list[str] = []
    for number, model in enumerate(models):
        record = NewRequest(correlation_id=f"request-{number}", side="api", provider="anthropic", model=model)
        await ledger.begin(record, HoldRequest(nanodollars=5_000_000, allow_unpriced=True))
        usage = Usage(fresh_input_tokens=1000, output_tokens=10)
        await ledger.settle(
            record.correlation_id, 1, Outcome(status="done", usage=usage, price_version="old")
        )
        ids.append(record.correlation_id)
    await ledger.close()
    return ids


async def _rows(home: Path, ids: list[str]) -> list[LedgerRow]:
    ledger = Ledger(None, home)
    await ledger.open()
    rows = [(await ledger.attempts(correlation_id))[-1] for correlation_id in ids]
    await ledger.close()
    return rows


def test_past_requests_get_their_price_once_and_for_all(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = asyncio.run(_record(home, NEW, NEW, "claude-other-9"))
    assert run_json(capsys, "apply") == {
        "priced": 0,
        "dollars": "0.000000000",
        "still_unpriced": 3,
        "still_unpriced_by_model": {NEW: 2, "claude-other-9": 1},
    }
    assert main(["prices", "set", NEW, "--input", "1", "--output", "10"]) == 0
    version = PriceTable(home / "prices.json").version
    capsys.readouterr()
    assert main(["prices", "apply"]) == 0
    assert capsys.readouterr().out == (
        "Priced 2 past requests: $0.0022. Still without a price: claude-other-9 (1). "
        "Set one: signalbox prices set MODEL --input 3 --output 15\n"
    )
    rows = asyncio.run(_rows(home, ids))
    assert [row.cost_nanodollars for row in rows] == [1_100_000, 1_100_000, None]
    assert [row.price_version for row in rows] == [version, version, "old"]

    assert main(["prices", "set", NEW, "--input", "99"]) == 0
    capsys.readouterr()
    answer = run_json(capsys, "apply")
    assert (answer["priced"], answer["still_unpriced"]) == (0, 1)
    assert asyncio.run(_rows(home, ids)) == rows  # a new price never rewrites history
