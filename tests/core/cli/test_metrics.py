"""``signalbox metrics``: what the ledger says, in the format a collector reads, whole or not at all."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.chat import Side, Usage, new_correlation_id
from core.cli.main import main
from core.cli.metrics import MOST_KEYS
from core.ledger.ledger import Ledger
from core.ledger.limits import SpendLimit
from core.ledger.models import HoldRequest, NewRequest, Outcome

LIMIT = SpendLimit(name="SPEND_LIMIT_DOLLARS", nanodollars=500 * 10**9)
USAGE = Usage(fresh_input_tokens=100, cache_read_tokens=40, cache_write_5m_tokens=7, output_tokens=51)


@pytest.fixture(autouse=True)
def no_local_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_SERVER", "none")


async def _fill(home: Path, models: int) -> None:
    ledger = Ledger(None, home)
    await ledger.open()
    try:
        for number in range(models):
            await _one(ledger, "api", "anthropic", f"claude-{number}", cost=1_000_000 * (number + 1))
        await _one(ledger, "local", "vllm-local", "llama", cost=0)
        record = NewRequest(
            correlation_id=new_correlation_id(), side="api", provider="anthropic", model="claude-0"
        )
        await ledger.begin(record, HoldRequest(nanodollars=15_000_000, limits=(LIMIT,)))
    finally:
        await ledger.close()


async def _one(ledger: Ledger, side: Side, provider: str, model: str, cost: int) -> None:
    record = NewRequest(correlation_id=new_correlation_id(), side=side, provider=provider, model=model)
    hold = HoldRequest(nanodollars=15_000_000, limits=(LIMIT,)) if side == "api" else None
    await ledger.begin(record, hold)
    await ledger.settle(
        record.correlation_id,
        1,
        Outcome(status="done", usage=USAGE, cost_nanodollars=cost, latency_ms=1500.0),
    )


def read(text: str) -> dict[tuple[str, str], float]:
    """Samples by name and the values of their labels."""
    return {
        (sample.name, "/".join(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_figures_are_the_ledgers(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(_fill(home, models=3))
    assert main(["metrics"]) == 0
    found = read(capsys.readouterr().out)
    assert found["signalbox_ledger_requests_total", "anthropic"] >= 3
    assert found["signalbox_ledger_requests_total", "vllm-local"] == 1
    assert found["signalbox_ledger_cost_dollars_total", "anthropic"] == 0.006
    assert found["signalbox_ledger_model_cost_dollars_total", "claude-2"] == 0.003
    assert found["signalbox_ledger_tokens_total", "anthropic/fresh_input"] == 300
    assert found["signalbox_ledger_tokens_total", "anthropic/cache_read"] == 120
    assert found["signalbox_ledger_tokens_total", "anthropic/cache_write"] == 21
    assert found["signalbox_ledger_tokens_total", "anthropic/output"] == 153
    assert found["signalbox_ledger_busy_seconds_total", "vllm-local"] == 1.5
    assert found["signalbox_limit_dollars", "SPEND_LIMIT_DOLLARS//month"] == 500
    spent = found["signalbox_month_spent_dollars", ""]
    assert found["signalbox_limit_used_dollars", "SPEND_LIMIT_DOLLARS//month"] == spent
    assert spent + found["signalbox_held_dollars", ""] == pytest.approx(0.021)


def test_the_dearest_models_have_series_of_their_own_and_none_is_lost(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(_fill(home, models=MOST_KEYS + 20))
    assert main(["metrics"]) == 0
    found = read(capsys.readouterr().out)
    models = {
        labels: value for (name, labels), value in found.items() if name.endswith("model_cost_dollars_total")
    }
    assert len(models) == MOST_KEYS + 1
    assert models["claude-119"] == 0.12
    assert sum(models.values()) == pytest.approx(found["signalbox_ledger_cost_dollars_total", "anthropic"])


def test_an_empty_ledger_is_empty_text_that_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics"]) == 0
    found = read(capsys.readouterr().out)
    assert found["signalbox_month_spent_dollars", ""] == 0
    assert not [name for name, _ in found if name.startswith("signalbox_ledger")]


def test_a_file_is_written_whole_and_may_be_read_by_the_collector(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "signalbox.prom"
    target.write_text("old")
    assert main(["metrics", "--output", str(target)]) == 0
    assert capsys.readouterr().out == ""
    assert read(target.read_text())
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["signalbox.prom"]
    if sys.platform != "win32":
        assert stat.S_IMODE(os.stat(target).st_mode) == 0o644


def test_a_file_that_cannot_be_written_is_said_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["metrics", "--output", str(tmp_path / "missing" / "signalbox.prom")]) == 1
    assert "No such file or directory" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_named(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "no such folder" / "signalbox.prom"
    assert main(["metrics", "--output", str(missing)]) == 1
    err = capsys.readouterr().err
    assert err == (
        f"signalbox: {missing} can't be written: No such file or directory. What was there is left as it was.\n"
    )
