"""A ledger of the first release is brought up to date in place, and nothing of it is lost.

``ledger_v1.sql`` is the dump of a ledger that the first release's own code wrote.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from core.chat import Usage
from core.errors import LedgerUnavailable
from core.ledger.database import LEDGER_FILE
from core.ledger.ledger import Ledger, Outcome
from tests.support.ledgers import HandClock, hold, month_limit, new_request, open_ledger

DUMP = Path(__file__).with_name("ledger_v1.sql")
LAST_DAY = datetime(2026, 12, 1, 23, 50, tzinfo=timezone(timedelta(hours=5, minutes=30)))
OPEN_API = "01939f00-0000-7000-8000-000000000024"


@pytest.fixture
def old(home: Path) -> Path:
    connection = sqlite3.connect(home / LEDGER_FILE, isolation_level=None)
    connection.executescript(DUMP.read_text(encoding="utf-8"))
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    return home


def rows(home: Path, query: str) -> list[dict[str, Any]]:
    connection = sqlite3.connect(home / LEDGER_FILE)
    connection.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in connection.execute(query)]
    finally:
        connection.close()


async def test_every_row_and_sum_of_the_first_release_is_kept(old: Path) -> None:
    before = rows(old, "SELECT * FROM ledger_attempts ORDER BY id")
    async with open_ledger(old, HandClock(LAST_DAY)) as ledger:
        budget = await ledger.budget()
        assert (budget.spent_nanodollars, budget.held_nanodollars, budget.held_count) == (154, 24000, 1)
        volume = await ledger.volume()
        assert (volume.local_today, volume.requests_today, volume.seven_day_mean) == (4, 6, 6.0)
        by_provider = {row.key: row for row in await ledger.report()}
        api, local = by_provider["anthropic"], by_provider["embedded"]
        assert (api.requests, api.attempts, api.failed, api.unresolved, api.unpriced) == (11, 12, 3, 2, 1)
        assert (api.cost_nanodollars, api.unresolved_nanodollars, api.input_tokens) == (490, 18000, 119)
        assert (local.requests, local.attempts, local.stopped, local.fell_back) == (13, 13, 1, 1)
        assert (local.loaded_nanodollars, local.loaded_unknown, local.output_tokens) == (587, 1, 84)
        check = await ledger.check()
        assert (check.attempts, check.differences) == (25, ())
        audit = await ledger.verify_audit()
        assert audit.ok, audit.problems
    after = rows(old, "SELECT * FROM ledger_attempts ORDER BY id")
    assert [{name: row[name] for name in before[0]} for row in after] == before
    assert [row["busy_us"] for row in after[:2]] == [13346, 14346]
    # What the first release saved was not recorded: that is not known, and not nothing.
    assert {row[name] for row in after for name in row if "saved" in name or name == "trimmed_tokens"} == {
        None
    }


async def test_an_old_hold_is_still_held_settled_and_audited(old: Path) -> None:
    async with open_ledger(old, HandClock(LAST_DAY)) as ledger:
        assert [row.correlation_id for row in await ledger.holds()] == [OPEN_API]
        usage = Usage(fresh_input_tokens=5, output_tokens=5)
        assert await ledger.settle(OPEN_API, 1, Outcome(status="done", usage=usage, cost_nanodollars=11))
        await ledger.begin(new_request(), hold(60, 1000))
        assert (await ledger.budget(month_limit(1000))).spent_nanodollars == 165
        assert (await ledger.check()).ok
        audit = await ledger.verify_audit()
        assert audit.ok, audit.problems


async def test_a_second_start_changes_nothing_more(old: Path) -> None:
    async with open_ledger(old):
        pass
    once = rows(old, "SELECT * FROM ledger_audit") + rows(old, "SELECT * FROM ledger_meta ORDER BY key")
    async with open_ledger(old):
        pass
    assert (
        rows(old, "SELECT * FROM ledger_audit") + rows(old, "SELECT * FROM ledger_meta ORDER BY key") == once
    )


async def test_a_migration_that_fails_leaves_the_old_ledger_as_it_was(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.ledger import audit

    before = "\n".join(sqlite3.connect(old / LEDGER_FILE).iterdump())

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(audit, "genesis", fail)
    with pytest.raises(LedgerUnavailable):
        await Ledger(None, old).open()
    assert "\n".join(sqlite3.connect(old / LEDGER_FILE).iterdump()) == before
    monkeypatch.undo()
    async with open_ledger(old) as ledger:
        assert (await ledger.check()).ok


async def test_a_program_of_the_first_release_that_still_runs_can_spoil_nothing(old: Path) -> None:
    # Its statements name the table it knew; without it, it records nothing and therefore sends nothing.
    async with open_ledger(old):
        pass
    connection = sqlite3.connect(old / LEDGER_FILE)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        connection.execute("INSERT INTO ledger_rollups (hour) VALUES (1)")
    connection.close()


async def test_a_ledger_of_the_first_release_that_nobody_used_is_brought_up_to_date_too(old: Path) -> None:
    connection = sqlite3.connect(old / LEDGER_FILE, isolation_level=None)
    for table in ("ledger_attempts", "ledger_rollups", "ledger_totals"):
        connection.execute(f"DELETE FROM {table}")
    connection.close()
    async with open_ledger(old) as ledger:
        await ledger.begin(new_request(), hold(60))
        assert (await ledger.budget()).held_nanodollars == 60
        assert (await ledger.check()).ok
        assert (await ledger.verify_audit()).ok
