"""The writer's bad moments: what is refused, what fails on its way, and whoever does not wait for the answer."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from core.base.sqlite_file import OpenFile
from core.chat import Usage
from core.errors import BudgetExceeded, LedgerUnavailable
from core.ledger import database, writer
from core.ledger.database import LEDGER_FILE, begin_writing, open_engine
from core.ledger.head_note import HeadNote, note_path
from core.ledger.ledger import Admission, Ledger, Outcome, moment
from core.ledger.mapping import AttemptStart
from core.ledger.operations import LedgerOperations
from core.ledger.totals import RunningTotals
from core.ledger.writer import Operation, Writer
from tests.support.ledgers import EVENING, hold, month_limit, new_request, open_ledger

DONE = Outcome(status="done", usage=Usage(output_tokens=1), cost_nanodollars=13)


@contextmanager
def without(home: Path, table: str) -> Generator[None]:
    """Another program has taken ``table`` away for a while."""
    other = sqlite3.connect(home / LEDGER_FILE, isolation_level=None)
    other.execute(f"ALTER TABLE {table} RENAME TO hidden")
    try:
        yield
    finally:
        other.execute(f"ALTER TABLE hidden RENAME TO {table}")
        other.close()


def change(home: Path, *statements: str) -> None:
    other = sqlite3.connect(home / LEDGER_FILE, isolation_level=None)
    for statement in statements:
        other.execute(statement)
    other.close()


class Gate:
    """Stands in for the commit: the first one waits until the gate opens, those named in ``failing`` fail."""

    def __init__(self, *failing: int) -> None:
        self._failing = failing
        self._open = threading.Event()
        self.reached = threading.Event()
        self.commits = 0

    def __call__(self, connection: Connection) -> None:
        self.commits += 1
        self.reached.set()
        assert self._open.wait(60)
        if self.commits in self._failing:
            raise sqlite3.OperationalError("disk I/O error")
        database.commit(connection)

    def open(self) -> None:
        self._open.set()


async def test_no_log_line_quotes_what_the_database_said(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It may quote a row. Whoever waits hears it."""
    engine = open_engine(None, home)
    path = home / LEDGER_FILE
    note = HeadNote(note_path(path, None, home))
    writer = Writer(engine, path, RunningTotals(engine.dialect), file=OpenFile(path), note=note)
    kept = Operation(lambda link: link.exec_driver_sql("SELECT my_secret"), keep_as="one")
    assert writer.submit(kept).result(20) is False
    refused = Operation(
        lambda link: link.exec_driver_sql("INSERT INTO ledger_meta VALUES ('my_secret', NULL)")
    )
    with pytest.raises(LedgerUnavailable, match=r"NOT NULL.*ledger_meta\.value"):
        writer.submit(refused).result(20)
    writer.close()
    assert "Kept in memory" in caplog.text
    assert "my_secret" not in caplog.text
    assert "no such column" not in caplog.text


def test_a_closed_writer_has_written_what_was_queued_and_takes_nothing_more(home: Path) -> None:
    engine = open_engine(None, home)
    path = home / LEDGER_FILE
    note = HeadNote(note_path(path, None, home))
    closing = Writer(engine, path, RunningTotals(engine.dialect), file=OpenFile(path), note=note)
    queued = [closing.submit(Operation(lambda _, number=number: number)) for number in range(3)]
    closing.close()
    closing.close()
    assert [future.result(0) for future in queued] == [0, 1, 2]
    with pytest.raises(LedgerUnavailable, match="closed"):
        closing.submit(Operation(lambda _: None))
    engine.dispose()


async def test_a_result_that_is_lost_at_the_close_is_named_in_the_log(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    request = new_request()
    ledger = Ledger(None, home)
    await ledger.open()
    await ledger.begin(request, hold(60))
    with without(home, "ledger_hours"):
        assert not await ledger.settle(request.correlation_id, 1, DONE)
        await ledger.close()
    (closing,) = [record for record in caplog.records if "closes with" in record.message]
    assert closing.levelno == logging.ERROR
    assert request.correlation_id in closing.message
    async with open_ledger(home) as after:
        assert (await after.budget()).held_nanodollars == 60


async def test_a_rehearsal_that_fails_says_so_and_holds_up_nobody(home: Path) -> None:
    async with open_ledger(home) as ledger:
        with without(home, "ledger_attempts"), pytest.raises(LedgerUnavailable, match="cannot be used"):
            await asyncio.wait_for(ledger.self_test((month_limit(100),)), 60)
        assert [limit.armed for limit in await ledger.self_test((month_limit(100),))] == [True]


async def test_an_entry_that_the_database_refuses_is_not_tried_again_and_leaves_the_others_be(
    home: Path,
) -> None:
    async with open_ledger(home) as ledger:
        request = new_request()
        await ledger.begin(request, hold(60))
        change(
            home,
            "CREATE TRIGGER no_other BEFORE UPDATE ON ledger_attempts WHEN NEW.cost_nanodollars = 13 "
            "BEGIN SELECT RAISE(ABORT, 'thirteen is not written here'); END",
        )
        with pytest.raises(LedgerUnavailable, match="refused an entry: thirteen"):
            await ledger.settle(request.correlation_id, 1, DONE)
        assert ledger.unsaved == ()
        await ledger.begin(new_request(), hold(1))
        change(home, "DROP TRIGGER no_other")
        assert await ledger.settle(request.correlation_id, 1, DONE)
        budget = await ledger.budget()
        assert (budget.spent_nanodollars, budget.held_nanodollars) == (13, 1)


async def test_after_a_rollback_that_fails_a_new_connection_goes_on(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: Connection) -> None:
        raise sqlite3.OperationalError("no rollback today")

    async with open_ledger(home) as ledger:
        with without(home, "ledger_attempts"):
            monkeypatch.setattr(writer, "rollback", broken)
            with pytest.raises(LedgerUnavailable):
                await asyncio.wait_for(ledger.begin(new_request(), hold(5)), 60)
            monkeypatch.undo()
        assert "could not roll back" in caplog.text
        await asyncio.wait_for(ledger.begin(new_request(), hold(7)), 60)
        assert (await ledger.budget()).held_nanodollars == 7
        assert (await ledger.check()).ok


async def test_a_kept_result_whose_request_is_gone_by_then_is_given_up_with_a_word(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_ledger(home) as ledger:
        request = new_request()
        await ledger.begin(request, hold(60))
        with without(home, "ledger_hours"):
            assert not await ledger.settle(request.correlation_id, 1, DONE)
            assert ledger.unsaved == (request.correlation_id,)
            change(home, "DELETE FROM ledger_attempts")
        await ledger.reset_local_count()  # what is kept goes before it
        assert ledger.unsaved == ()
    (given_up,) = [record for record in caplog.records if "could not be applied" in record.message]
    assert given_up.levelno == logging.ERROR


def test_an_answer_whose_loop_has_ended_is_written_and_the_next_loop_is_answered(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, request, ledger = Gate(), new_request(), Ledger(None, home)

    async def leave() -> asyncio.Task[Any]:
        task = asyncio.create_task(ledger.settle(request.correlation_id, 1, DONE))
        await asyncio.to_thread(gate.reached.wait, 60)
        return task

    with asyncio.Runner() as runner:
        runner.run(ledger.open())
        runner.run(ledger.begin(request, hold(60)))
        monkeypatch.setattr(writer, "commit", gate)
        left = runner.run(leave())
    assert left.cancelled()
    gate.open()

    async def next_loop() -> tuple[int, int]:
        await asyncio.wait_for(ledger.begin(new_request(), hold(1)), 60)
        budget = await ledger.budget()
        await ledger.close()
        return budget.spent_nanodollars, budget.held_nanodollars

    with asyncio.Runner() as runner:
        assert runner.run(next_loop()) == (13, 1)


async def test_a_refusal_stays_one_when_the_transaction_it_was_in_is_written_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(2)
    async with open_ledger(home) as ledger:
        monkeypatch.setattr(writer, "commit", gate)
        first = asyncio.create_task(ledger.begin(new_request(), hold(10, 100)))
        await asyncio.to_thread(gate.reached.wait, 60)
        together = [asyncio.create_task(ledger.begin(new_request(), hold(60, 100))) for _ in range(2)]
        await asyncio.sleep(0)  # both are queued, for one transaction
        gate.open()
        answers = await asyncio.gather(first, *together, return_exceptions=True)
        assert [type(answer) for answer in answers] == [Admission, Admission, BudgetExceeded]
        assert gate.commits == 4  # the first, both together in vain, and each alone
        assert (await ledger.budget()).held_nanodollars == 70
        assert (await ledger.check()).ok
        assert (await ledger.verify_audit()).ok


def test_a_beginning_that_was_never_written_is_withdrawn_without_a_trace(home: Path) -> None:
    """After a commit that nobody heard of: it may have been written, or not."""
    engine = open_engine(None, home)
    store, now = LedgerOperations(engine.dialect), moment(EVENING)
    start = AttemptStart(
        record=new_request(), hold=hold(60), rates=(), started=now, now=now, decision_json=None
    )
    withdrawn: list[bool] = []
    with engine.connect() as connection:
        for begins in (False, True):
            begin_writing(connection)
            store.books.begin(connection)
            if begins:
                store.begin(connection, start)
            withdrawn.append(store.withdraw(connection, start))
            store.books.flush(now.us)
            database.commit(connection)
        kinds = connection.exec_driver_sql("SELECT kind FROM ledger_audit ORDER BY seq").scalars().all()
    engine.dispose()
    assert withdrawn == [False, True]
    assert kinds == ["genesis", "begin", "settle"]
