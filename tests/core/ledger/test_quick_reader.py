"""A decision's few rows are read on the loop's own thread: as they are now, and without waiting for anybody."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from core.chat import Usage
from core.errors import LedgerUnavailable
from core.ledger.database import LEDGER_FILE, NotNow, QuickReader
from core.ledger.ledger import Ledger, Outcome
from tests.support.ledgers import HandClock, hold, month_limit, new_request, open_ledger

LIMIT = month_limit(1000)
DONE = Outcome(status="done", usage=Usage(output_tokens=1), cost_nanodollars=7)


async def taken(ledger: Ledger) -> tuple[int, int]:
    _, (standing,), budget = await ledger.standing((LIMIT,))
    assert (budget.spent_nanodollars, budget.held_nanodollars) == (standing.used, standing.held)
    return standing.used, standing.held


async def test_what_another_ledger_writes_is_seen_at_once(home: Path) -> None:
    async with open_ledger(home, HandClock()) as here, open_ledger(home, HandClock()) as there:
        request = new_request()
        for ledger in (here, there):
            assert await taken(ledger) == (0, 0)
        await there.begin(request, hold(100, 1000))
        assert await taken(here) == (0, 100)
        await there.settle(request.correlation_id, 1, DONE)
        assert await taken(here) == (7, 0)


async def test_a_decision_does_not_wait_for_whoever_writes(home: Path) -> None:
    async with open_ledger(home, HandClock()) as ledger:
        await ledger.begin(new_request(), hold(100, 1000))
        writing = sqlite3.connect(home / LEDGER_FILE, isolation_level=None)
        writing.execute("BEGIN IMMEDIATE")
        try:
            assert await asyncio.wait_for(taken(ledger), 10) == (0, 100)
        finally:
            writing.close()


async def test_a_file_that_the_quick_way_cannot_read_is_read_on_a_thread(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_ledger(home, HandClock()) as ledger:
        await ledger.begin(new_request(), hold(100, 1000))

        def locked(*_: object) -> object:
            raise NotNow

        monkeypatch.setattr(QuickReader, "read", locked)
        assert await taken(ledger) == (0, 100)


async def test_a_closed_ledger_is_not_read(home: Path) -> None:
    async with open_ledger(home, HandClock()) as ledger:
        assert await taken(ledger) == (0, 0)
    with pytest.raises(LedgerUnavailable):
        await ledger.standing((LIMIT,))


def test_without_a_write_ahead_log_nothing_is_read_on_the_loop(tmp_path: Path) -> None:
    """There a reader may wait for a writer's disk."""
    path = tmp_path / "rollback.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a)")
    connection.commit()
    assert QuickReader.open(path) is None
    connection.execute("PRAGMA journal_mode = WAL")
    reader = QuickReader.open(path)
    assert reader is not None
    assert reader.read(lambda driver: driver.execute("SELECT count(*) FROM t").fetchone()) == (0,)
    with pytest.raises(NotNow):  # it never writes
        reader.read(lambda driver: driver.execute("INSERT INTO t VALUES (1)"))
    with pytest.raises(NotNow):  # one reader at a time
        reader.read(lambda _: reader.read(lambda driver: driver.execute("SELECT 1").fetchone()))
    reader.close()
    with pytest.raises(NotNow):
        reader.read(lambda driver: driver.execute("SELECT 1"))
    connection.close()


def test_a_file_that_cannot_be_read_just_now_is_left_to_the_threads(tmp_path: Path) -> None:
    """They may wait, and say what is wrong."""
    assert QuickReader.open(tmp_path) is None
    other = tmp_path / "letter.txt"
    other.write_text("not a database, but long enough to be looked at as one" * 100)
    assert QuickReader.open(other) is None
