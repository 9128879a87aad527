"""``signalbox scores``: what it prints, and that a probe of the API asks before it spends."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.cli import main
from core.ledger.ledger import Ledger
from core.scores import ScoreEntry
from tests.support.anthropic_server import AnthropicServer, Says, ToolUse
from tests.support.openai_server import OpenAIServer

KEY = "sk-ant-test-0123456789"
MODEL = "claude-sonnet-4-6-20260501"


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop in a thread of its own: the command line runs its own in this one."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture
def api(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> Iterator[AnthropicServer]:
    server = asyncio.run_coroutine_threadsafe(AnthropicServer().__aenter__(), loop).result(10)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("LOCAL_SERVER", "none")
    yield server
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)


@pytest.fixture
def local(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    server = asyncio.run_coroutine_threadsafe(OpenAIServer().__aenter__(), loop).result(10)
    monkeypatch.setenv("VLLM_BASE_URL", server.base_url)
    monkeypatch.setenv("LOCAL_SERVER", "external")
    yield server
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)


def rows(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return json.loads(capsys.readouterr().out)


def keep(home: Path, *entries: ScoreEntry) -> None:
    """Write scores as another process would have."""

    async def write() -> None:
        ledger = Ledger(None, home)
        await ledger.open()
        for entry in entries:
            await ledger.add_score(entry)
        await ledger.close()

    asyncio.run(write())


def test_without_scores_it_says_how_to_get_some(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_SERVER", "none")
    assert main(["scores"]) == 0
    assert capsys.readouterr().out == (
        "No answer was scored in the last 30 days. Measure a model: signalbox scores --probe local\n"
    )
    assert main(["scores", "--json"]) == 0
    assert rows(capsys) == []


def test_a_probe_of_the_api_says_its_worst_case_and_sends_nothing(
    api: AnthropicServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scores", "--probe", "api"]) == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert f"The probe asks {MODEL} 30 short prompts. The worst case is $0." in out.err
    assert "Run it with --yes. Nothing was sent." in out.err
    assert api.books == []


def test_a_probe_of_the_api_with_yes_measures_and_keeps(
    api: AnthropicServer, capsys: pytest.CaptureFixture[str]
) -> None:
    worst = _worst_case(capsys)
    api.replies.extend([Says(tools=(ToolUse("set_timer", ('{"minutes"', ": 7}")),))] * 30)
    assert main(["scores", "--probe", "api", "--yes"]) == 0
    out = capsys.readouterr()
    progress = out.err.splitlines()
    assert len(progress) == 30
    assert progress[0].startswith("  1/30 tools wrong: ")
    assert "  3/30 tools right" in progress
    assert progress[-1].startswith(" 30/30 JSON wrong: ")
    assert len(api.books) == 30
    table = out.out.splitlines()
    assert table[0].split("  ")[0] == "Provider"
    assert [line.split()[:4] for line in table[1:]] == [
        ["anthropic", MODEL, "JSON", "10"],
        ["anthropic", MODEL, "tools", "20"],
    ]
    assert main(["scores", "--json"]) == 0  # another process would see the same
    kept = {row["kind"]: row for row in rows(capsys)}
    assert (kept["tools"]["tried"], kept["tools"]["passed"], kept["tools"]["verdict"]) == (20, 2, "fails")
    assert (kept["schema"]["tried"], kept["schema"]["passed"]) == (10, 0)
    assert kept["tools"]["share"] == 0.1
    assert 0 < kept["tools"]["low"] < 0.1 < kept["tools"]["high"] < 0.4
    assert _spent(capsys) < worst


def _worst_case(capsys: pytest.CaptureFixture[str]) -> float:
    assert main(["scores", "--probe", "api"]) == 2
    return float(capsys.readouterr().err.split("$")[1].split(";")[0])


def _spent(capsys: pytest.CaptureFixture[str]) -> float:
    assert main(["report", "--json"]) == 0
    return sum(float(row["cost_dollars"]) for row in rows(capsys))


def test_a_probe_of_a_local_model_needs_no_yes(
    local: OpenAIServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scores", "--probe", "local", "--json"]) == 0
    kept = {row["kind"]: row for row in rows(capsys)}
    assert kept["tools"]["provider"] == "vllm-local"
    assert (kept["tools"]["tried"], kept["tools"]["passed"]) == (20, 0)
    assert kept["schema"]["tried"] == 10


def test_the_table_shows_each_number_with_its_interval_and_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_SERVER", "none")
    monkeypatch.setenv("SIGNALBOX_HOME", str(tmp_path))
    good = ScoreEntry(provider="vllm-local", model="m", kind="tools", passed=True)
    mended = ScoreEntry(provider="vllm-local", model="m", kind="tools", passed=True, repaired=True)
    bad = ScoreEntry(
        provider="vllm-local", model="m", kind="tools", passed=False, cost_nanodollars=12_300_000
    )
    keep(tmp_path, *[good] * 24, mended, bad)
    assert main(["scores"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split("  ")[0] == "Provider"
    assert line.split() == [
        "vllm-local",
        "m",
        "tools",
        "26",
        "96.2%",
        "81%",
        "to",
        "99%",
        "1",
        "$0.0123",
        "works",
    ]
