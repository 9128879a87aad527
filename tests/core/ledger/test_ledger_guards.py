"""A ledger that was taken away, cut off or changed behind its back is noticed before money is spent on it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from core.cli.main import main
from core.errors import BudgetExceeded, LedgerUnavailable
from core.ledger.ledger import Ledger
from core.ledger.limits import Limit, SpendLimit, TokenLimit
from core.ledger.models import HoldRequest, Outcome
from tests.support.ledgers import HandClock, hold, month_limit, new_request

SPENT = 1_000_000
DONE = Outcome(status="done", cost_nanodollars=SPENT)


async def opened(home: Path, clock: HandClock | None = None) -> Ledger:
    ledger = Ledger(None, home, clock=clock) if clock else Ledger(None, home)
    await ledger.open()
    return ledger


async def spend(ledger: Ledger, times: int = 1, *, project: str | None = None) -> None:
    for _ in range(times):
        record = new_request(project=project)
        admission = await ledger.begin(record, hold(2 * SPENT))
        await ledger.settle(record.correlation_id, admission.attempt, DONE)


def behind_its_back(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as file:
        for trigger in ("ledger_audit_no_update", "ledger_audit_no_delete"):
            file.execute(f"DROP TRIGGER IF EXISTS {trigger}")
        for statement in statements:
            file.execute(statement)
        file.commit()


# -- the file -----------------------------------------------------------------------------------------------------


def replaced(path: Path) -> None:
    shutil.copy(path, copy := path.with_name("copy"))
    os.replace(copy, path)


@pytest.mark.parametrize(
    "taken",
    [
        pytest.param(Path.unlink, id="unlinked"),
        pytest.param(replaced, id="replaced"),
        pytest.param(lambda path: path.with_name(path.name + "-wal").unlink(), id="its log unlinked"),
    ],
)
async def test_nothing_is_begun_in_a_file_that_is_gone(home: Path, taken: Callable[[Path], None]) -> None:
    ledger = await opened(home)
    await spend(ledger)
    assert ledger.path is not None
    taken(ledger.path)
    for side in ("api", "local"):
        with pytest.raises(LedgerUnavailable, match="removed or replaced"):
            await ledger.begin(new_request(side), hold(1) if side == "api" else None)
    for asked in (ledger.budget(), ledger.recent(), ledger.standing((month_limit(SPENT),))):
        with pytest.raises(LedgerUnavailable, match="start it again"):
            await asked
    await ledger.close()


async def test_an_end_is_kept_until_the_file_is_back_where_it_was(home: Path) -> None:
    ledger = await opened(home)
    record = new_request()
    admission = await ledger.begin(record, hold(2 * SPENT))
    assert ledger.path is not None
    aside = ledger.path.rename(ledger.path.with_name("aside"))
    settled = await ledger.settle(record.correlation_id, admission.attempt, DONE)
    assert not settled.saved
    assert ledger.unsaved == (record.correlation_id,)
    aside.rename(ledger.path)
    await ledger.close()  # writes what it kept
    again = await opened(home)
    assert (await again.budget()).spent_nanodollars == SPENT
    await again.close()


# -- the note of its head -----------------------------------------------------------------------------------------


def cut(path: Path, entries: int) -> None:
    """Take the last entries away with what they wrote, and set the kept head back, so that the chain is sound."""
    with closing(sqlite3.connect(path)) as file:
        last = file.execute("SELECT max(seq) FROM ledger_audit").fetchone()[0] - entries
        seq, hash_ = file.execute("SELECT seq, hash FROM ledger_audit WHERE seq = ?", (last,)).fetchone()
    behind_its_back(
        path,
        "DELETE FROM ledger_attempts WHERE correlation_id IN "
        f"(SELECT correlation_id FROM ledger_audit WHERE seq > {last})",
        f"DELETE FROM ledger_audit WHERE seq > {last}",
        f"UPDATE ledger_meta SET value = '{seq}:{hash_}:0' WHERE key = 'audit_head'",
    )


@pytest.mark.parametrize("entries", [2, 6])
async def test_an_end_that_was_cut_off_is_found_and_nothing_is_sent(
    home: Path, entries: int, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = await opened(home)
    await spend(ledger, 3)
    await ledger.close()
    assert ledger.path is not None
    cut(ledger.path, entries)
    again = await opened(home)
    report = await again.verify_audit()
    assert any("missing" in problem.what and "note" in problem.what for problem in report.problems)
    with pytest.raises(LedgerUnavailable, match="audit accept-head"):
        await again.begin(new_request(), hold(1))
    await again.begin(new_request("local"), None)
    await again.close()
    # What was begun since does not move the note on: it is still found, until a person takes what is there.
    assert await asyncio.to_thread(main, ["audit", "verify"]) == 1
    assert await asyncio.to_thread(main, ["audit", "accept-head"]) == 0
    assert "counts under no limit" in capsys.readouterr().out
    accepted = await opened(home)
    await accepted.begin(new_request(), hold(1))
    assert not any("note" in problem.what for problem in (await accepted.verify_audit()).problems)
    await accepted.close()


async def test_an_older_copy_and_an_empty_ledger_are_not_the_newest_one(home: Path) -> None:
    ledger = await opened(home)
    await spend(ledger)
    await ledger.close()
    assert ledger.path is not None
    old = Path(shutil.copy(ledger.path, home / "old"))
    again = await opened(home)
    await spend(again)
    await again.close()
    for put_there in (lambda: shutil.copy(old, ledger.path), ledger.path.unlink):
        put_there()
        older = await opened(home)
        assert older.note_problem is not None
        with pytest.raises(LedgerUnavailable, match="Nothing is sent to the API"):
            await older.begin(new_request(), hold(1))
        await older.close()


async def test_the_note_is_ours_alone_and_one_that_cannot_be_read_closes(home: Path) -> None:
    ledger = await opened(home)
    await spend(ledger)
    await ledger.close()
    assert ledger.path is not None
    note = ledger.path.with_name(ledger.path.name + ".head")
    assert note.stat().st_mode & 0o777 == 0o600
    note.unlink()
    os.mkfifo(note)  # not waited for
    again = await opened(home)
    with pytest.raises(LedgerUnavailable, match="can't be read"):
        await again.begin(new_request(), hold(1))
    await again.close()


async def test_a_ledger_that_is_set_aside_takes_its_note_along(home: Path) -> None:
    ledger = await opened(home)
    await spend(ledger)
    await ledger.set_aside()
    again = await opened(home)
    await spend(again)
    assert (await again.verify_audit()).ok
    await again.close()


async def test_two_programs_move_one_note(home: Path) -> None:
    one, other = await opened(home), await opened(home)
    for _ in range(2):
        await spend(one)
        await spend(other)
    await other.close()
    await spend(one)
    assert (await one.verify_audit()).ok
    await one.close()
    again = await opened(home)
    assert (await again.verify_audit()).ok
    assert again.note_problem is None
    await again.close()


# -- the sums that limits compare with ----------------------------------------------------------------------------

ZONES = [timezone(timedelta(hours=hours)) for hours in (-12, 0, 5.75, 14)]
PROJECT = SpendLimit(name="PROJECT_SPEND_LIMITS", nanodollars=5 * SPENT, project="acme")
DAY = SpendLimit(name="DAILY_SPEND_LIMIT_DOLLARS", nanodollars=5 * SPENT, window="day")
LIMITS: tuple[Limit, ...] = (month_limit(5 * SPENT), DAY, PROJECT)


@pytest.mark.parametrize("zone", ZONES, ids=str)
@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: f"{limit.window}-{limit.project}")
async def test_a_total_that_was_lowered_lifts_no_limit(home: Path, limit: SpendLimit, zone: timezone) -> None:
    """Also where days and months were lowered alike, and rows are older than the hourly look goes back."""
    clock = HandClock(datetime(2026, 11, 1, 0, 10, tzinfo=zone))
    ledger = await opened(home, clock)
    await spend(ledger, 2, project="acme")
    clock.now = datetime(2026, 11, 30, 23, 50, tzinfo=zone)
    await spend(ledger, 3, project="acme")
    await ledger.close()
    assert ledger.path is not None
    behind_its_back(ledger.path, "UPDATE ledger_totals SET counted_nanodollars = counted_nanodollars / 5")
    again = await opened(home, clock)
    assert len(await again.compare((limit,))) == 1
    free = 0 if limit.window == "month" else 2 * SPENT
    _, (standing,), _ = await again.standing((limit,))
    assert standing.free == free
    record = new_request(project="acme")
    with pytest.raises(BudgetExceeded):
        await again.begin(record, HoldRequest(nanodollars=free + 1, limits=(limit,)))
    (armed,) = await again.self_test((limit,))
    assert armed.armed
    report = await again.verify_audit()
    assert any("sum" in problem.what for problem in report.problems)
    await again.close()


async def test_a_total_of_tokens_is_compared_too(home: Path) -> None:
    limit = TokenLimit(name="DAILY_TOKEN_BUDGET", tokens=100)
    ledger = await opened(home)
    record = new_request()
    await ledger.begin(record, HoldRequest(nanodollars=1, tokens=60))
    await ledger.settle(record.correlation_id, 1, Outcome(status="failed"))
    await ledger.close()
    assert ledger.path is not None
    behind_its_back(ledger.path, "UPDATE ledger_totals SET counted_tokens = 0")
    again = await opened(home)
    assert await again.compare((limit,))
    with pytest.raises(BudgetExceeded):
        await again.begin(new_request(), HoldRequest(nanodollars=1, tokens=41, limits=(limit,)))
    await again.close()


async def test_sums_that_agree_are_left_alone(home: Path) -> None:
    ledger = await opened(home)
    await spend(ledger, 2)
    assert await ledger.compare(LIMITS) == ()
    assert (await ledger.verify_audit()).ok
    await ledger.close()


@pytest.mark.parametrize("amounts", [(-1, 0), (0, -1)])
def test_a_hold_is_never_below_0(amounts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="below 0"):
        HoldRequest(nanodollars=amounts[0], tokens=amounts[1])
