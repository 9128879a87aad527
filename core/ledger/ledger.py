"""The ledger's face: every request, what it held and what it cost, on SQLite or PostgreSQL.

::

    ledger = Ledger(None, home)
    await ledger.open()
    admission = await ledger.begin(record, HoldRequest(nanodollars=worst_case, limits=(limit,)))
    try:
        ...                                      # the call
    finally:
        await ledger.settle(record.correlation_id, admission.attempt, outcome)

Limits hold across processes: checking and holding are one transaction that no other writer overlaps.
Importing this module does not import SQLAlchemy (about 0.2 s); opening a ledger does, on a separate thread.
That is why what needs it is imported inside the methods.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from core.base.files import set_aside
from core.base.sqlite_file import SIDE_FILES, OpenFile
from core.chat import RouteDecision
from core.errors import LedgerUnavailable, SignalboxError
from core.ledger import database
from core.ledger.database import NotNow, QuickReader
from core.ledger.head_note import ENDING, HeadNote, NotedHead, note_path
from core.ledger.limits import (
    Budget,
    BudgetAlert,
    Limit,
    LimitUsage,
    SpendLimit,
    TokenLimit,
    project_of,
    window_of,
)
from core.ledger.models import (
    Admission,
    ArmedLimit,
    Check,
    HoldRequest,
    LedgerRow,
    NewRequest,
    Outcome,
    PausedConversation,
    Rate,
    RateLimit,
    Recovered,
    RefusedRequest,
    ReplayedRequest,
    ReportKey,
    ReportRow,
    Repriced,
    RunawayLimit,
    Settled,
    Volume,
)
from core.ledger.savings import PricedRow, priced_row
from core.ledger.writer import CommitUnknown, Operation, Writer
from core.scores import ScoreEntry, ScoreRow
from core.serialization import to_json

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from core.ledger.audit import AuditEntry, AuditHead, AuditReport
    from core.ledger.mapping import AttemptStart, Moment
    from core.ledger.operations import LedgerOperations
    from core.ledger.queries import UsageQueries
    from core.ledger.totals import Shortfalls
    from core.pricing.spending import Spending


T = TypeVar("T")


def local_now() -> datetime:
    return datetime.now().astimezone()


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """What there is while a ledger is open. ``quick`` is for small reads, where the database allows them.

    ``file`` is watched, so that nothing is read from or written to one that was taken away; a server has none.
    """

    engine: Engine
    store: LedgerOperations
    standings: UsageQueries
    writer: Writer
    quick: QuickReader | None
    file: OpenFile | None
    note: HeadNote
    shortfalls: Shortfalls


_REPRICE_PORTION = 200
"""Rows that are priced in one transaction, so that requests between them need not wait long."""


class Ledger:
    """One ledger. Methods are called from the core's loop; several processes may share one ledger.

    ``url`` of ``None`` is an SQLite file in ``home``. ``clock`` tells the user's local time with its zone: days
    and months are the user's. A request belongs to the day it began on by that clock, so a clock set back
    counts each request once, on one day or the other, and loses none.
    """

    def __init__(self, url: str | None, home: Path, *, clock: Callable[[], datetime] = local_now) -> None:
        self._url = url
        self._home = home
        self._clock = clock
        self._opened: Opened | None = None
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="signalbox-ledger-read")

    # ------------------------------------------------------------------ opening and closing

    @property
    def path(self) -> Path | None:
        """The ledger's file, ``None`` when it is on a server."""
        return database.sqlite_path(self._url, self._home)

    @property
    def is_open(self) -> bool:
        return self._opened is not None

    def check_place(self) -> None:
        """Look whether the open file is still where it was.

        Raises:
            LedgerUnavailable: it, or its log, was removed or replaced.
        """
        database.check_place(self._opened.file if self._opened is not None else None)

    @property
    def note_problem(self) -> str | None:
        """Why the ledger is not the one that was written here last, by the note of its head; ``None``: it is."""
        return self._opened.note.problem if self._opened is not None else None

    @property
    def unsaved(self) -> tuple[str, ...]:
        """Correlation ids of results that could not be written yet; they are retried every few seconds."""
        return self._opened.writer.unsaved if self._opened is not None else ()

    async def open(self) -> None:
        """Open the ledger, creating it if there is none, and bringing an older format up to date.

        Raises:
            LedgerUnavailable: it cannot be used; the hint says what to do. What is there is left untouched.
        """
        if self._opened is None:
            self._opened = await self._in_thread(self._open)

    def _open(self) -> Opened:
        engine = database.open_engine(self._url, self._home)
        from core.ledger.operations import LedgerOperations
        from core.ledger.queries import UsageQueries
        from core.ledger.totals import Shortfalls

        path, shortfalls = self.path, Shortfalls()
        store = LedgerOperations(engine.dialect, shortfalls=shortfalls)
        note = HeadNote(note_path(path, self._url, self._home))
        noted = note.look()
        with engine.connect() as connection:
            note.compare(connection, noted)
        file = OpenFile(path) if path is not None else None
        return Opened(
            engine,
            store,
            UsageQueries(engine.dialect, shortfalls),
            Writer(engine, path, store.books, file=file, note=note),
            QuickReader.open(path) if path is not None else None,
            file,
            note,
            shortfalls,
        )

    async def close(self) -> None:
        """Write what is left and close. The ledger can be opened again."""
        opened, self._opened = self._opened, None
        if opened is not None:
            if opened.quick is not None:
                opened.quick.close()
            await self._in_thread(opened.writer.close)
            await self._in_thread(opened.engine.dispose)

    async def set_aside(self) -> Path:
        """Close the ledger and rename its file (``….broken-<n>``); the next ``open`` starts a new one.

        Raises:
            LedgerUnavailable: it is on a server, or there is no file, or it cannot be renamed.
        """
        await self.close()
        path = self.path
        if path is None:
            raise LedgerUnavailable(
                "A ledger on a server is not set aside from here.", hint="Give LEDGER_URL another database."
            )
        try:
            return await self._in_thread(partial(set_aside, path, beside=(*SIDE_FILES, ENDING)))
        except OSError as error:
            raise database.explain(error, path) from error

    # ------------------------------------------------------------------ a request's life

    async def begin(
        self, record: NewRequest, hold: HoldRequest | None, *, rates: tuple[Rate, ...] = ()
    ) -> Admission:
        """Record a request that is about to leave; in the same transaction, check its limits and rates and hold
        its cash and tokens.

        Cancelled, it leaves no hold behind.

        Raises:
            BudgetExceeded: it does not fit under a limit; nothing was recorded.
            RateExceeded: too many requests began; it says when the next one may.
            RunawayPaused: its conversation sent like a loop; it is paused until ``resume``.
            DuplicateRequest: another request with its idempotency key runs, or was done within a day.
            InvalidRequest: the correlation id is in use.
            LedgerUnavailable: it cannot be recorded, so it must not be sent.
        """
        opened = self._require()
        _check_note(opened, record)
        start = self._start(record, hold, rates)
        operation = self._beginning(opened, start)
        try:
            return _admitted(await self._answer(opened, operation))
        except CommitUnknown:
            # It may be in a database that can't be asked just now: then its hold is given up once it can.
            self._withdraw(opened, start)
            raise
        except asyncio.CancelledError:
            if not operation.future.cancel():
                # Too late to take it back from the queue: the hold will stand, so it is given up again.
                operation.future.add_done_callback(partial(self._withdraw_begun, opened, start))
            raise

    def _start(
        self,
        record: NewRequest,
        hold: HoldRequest | None,
        rates: tuple[Rate, ...],
        *,
        number: int = 1,
        failed: Outcome | None = None,
    ) -> AttemptStart:
        from core.ledger.mapping import AttemptStart

        now = self._now()
        started = now
        if record.started_at is not None:
            started = moment(record.started_at.astimezone(now.at.tzinfo))
        return AttemptStart(
            record=record,
            hold=hold,
            rates=rates,
            started=started,
            now=now,
            decision_json=decision_json(record.decision),
            number=number,
            failed=failed,
        )

    def _beginning(self, opened: Opened, start: AttemptStart) -> Operation:
        store = opened.store

        def is_durable() -> bool:
            # A hold whose money has left must outlive a power cut; a count of local requests need not.
            return start.record.side == "api" or (
                start.failed is not None
                and store.must_outlive_a_power_cut(
                    start.record.correlation_id, start.number - 1, start.failed
                )
            )

        operation = Operation(
            lambda link: store.begin(link, start, again=operation.was_tried), durable=is_durable
        )
        return operation

    def _withdraw_begun(self, opened: Opened, start: AttemptStart, begun: Future[Any]) -> None:
        failure = begun.exception()
        if isinstance(failure, CommitUnknown) or (failure is None and isinstance(begun.result(), Admission)):
            self._withdraw(opened, start)

    def _withdraw(self, opened: Opened, start: AttemptStart) -> None:
        store = opened.store
        opened.writer.submit(
            Operation(
                lambda link: store.withdraw(link, start),
                durable=lambda: False,  # undone by a power cut, the hold stands again
                keep_as=start.record.correlation_id,
            )
        )

    async def settle(
        self,
        correlation_id: str,
        attempt: int,
        outcome: Outcome,
        *,
        limits: tuple[Limit, ...] = (),
        alert_percents: tuple[int, ...] = (),
    ) -> Settled:
        """Close a request's attempt at its true cost; say whether that is written and changed anything.

        A killed process loses nothing of it. A power cut may take the last settlements, up to the newest hold (or
        half a minute of quiet): their attempts are found open then, and count at what was held for them, which is
        not less than they cost. One that cost more than was held waits for the disk, and so does an answer with an
        idempotency key, which must not be paid twice.
        Calling it again changes nothing (a true cost still replaces an *unresolved* one). When it cannot be
        written it is kept in memory, seen in ``unsaved``, and retried until it can. Being cancelled does
        not undo it. With ``limits``, the answer tells the shares of them that are reached for the first time.

        Raises:
            InvalidRequest: there is no such attempt.
        """
        opened = self._require()
        store, now = opened.store, self._now()

        def settle(link: Connection) -> Settled:
            # Kept in memory and written at last, its answer is heard by nobody: the next one tells what it crossed.
            told = () if operation.future.done() else limits
            return store.settle(link, correlation_id, attempt, outcome, now, told, alert_percents)

        operation = Operation(
            settle,
            durable=lambda: store.must_outlive_a_power_cut(correlation_id, attempt, outcome),
            keep_as=correlation_id,
        )
        return await self._answer(opened, operation) or Settled(saved=False)

    async def switch_side(
        self,
        attempt: int,
        failed: Outcome,
        record: NewRequest,
        hold: HoldRequest | None,
        *,
        rates: tuple[Rate, ...] = (),
    ) -> Admission:
        """Close the attempt that failed and begin the next one of the same request, both or neither.

        The next one may be on the other side or on the same. Being cancelled does not undo it. Whoever does not
        hear its answer settles ``attempt``: a next one that was begun all the same is closed by that too.

        Raises:
            BudgetExceeded, RateExceeded, RunawayPaused: the new attempt does not fit; settle the failed
                one instead.
            InvalidRequest: that attempt is not open.
            LedgerUnavailable: it cannot be recorded, so it must not be sent.
        """
        opened = self._require()
        _check_note(opened, record)
        start = self._start(record, hold, rates, number=attempt + 1, failed=failed)
        return _admitted(await self._answer(opened, self._beginning(opened, start)))

    async def refuse(self, record: RefusedRequest) -> LedgerRow:
        """Record a request that was never sent, so that reports can count it. Again, it changes nothing.

        Raises:
            InvalidRequest: a request with this identifier was sent.
            LedgerUnavailable: it cannot be written.
        """
        from core.ledger import queries

        now, decision = self._now(), decision_json(record.decision)
        row = await self._write(lambda store, link: store.refuse(link, record, now, decision), durable=False)
        return queries.ledger_row(row)

    async def replay(self, record: ReplayedRequest) -> LedgerRow:
        """Record a request that got an earlier one's answer: it cost nothing, and no volume or limit counts it.

        Where the request is in the ledger already (the very same one was sent twice), that row is returned.

        Raises:
            LedgerUnavailable: it cannot be written.
        """
        from core.ledger import queries

        now, decision = self._now(), decision_json(record.decision)
        row = await self._write(lambda store, link: store.replay(link, record, now, decision), durable=False)
        return queries.ledger_row(row)

    async def reset_local_count(self) -> None:
        """Let today's local count start again at 0; the rows and reports keep every request.

        Raises:
            LedgerUnavailable: it cannot be written.
        """
        now = self._now()
        await self._write(lambda store, link: store.reset_local(link, now), durable=False)

    async def self_test(self, limits: Sequence[Limit]) -> tuple[ArmedLimit, ...]:
        """Try each limit in a transaction that is rolled back: does it refuse a nano-dollar or token too much?

        Raises:
            LedgerUnavailable: the ledger cannot be written, so nothing can be sent either.
        """
        from core.ledger.selftest import self_test

        now, asked = self._now(), tuple(limits)
        return await self._write(
            lambda store, link: self_test(link, store, asked, now), durable=False, rehearsal=True
        )

    # ------------------------------------------------------------------ what a person settles

    async def recover(self, *, skip_live_processes: bool = False) -> Recovered:
        """Close what dead processes left open, conservatively; call it at every start, and now and then after.

        An API hold becomes *unresolved*: counted in full, since the call may have been billed. A process on
        another host cannot be checked, so its holds wait for their expiry. ``skip_live_processes`` leaves a process
        that is seen to run what it has, expired or not.

        Raises:
            LedgerUnavailable: it cannot be written.
        """
        now = self._now()
        return await self._write(
            lambda store, link: store.recover(link, now.us, skip_live_processes=skip_live_processes)
        )

    async def resolve(
        self, correlation_id: str, nanodollars: int, *, attempt: int | None = None
    ) -> LedgerRow:
        """Settle an unresolved attempt by hand, at the cost that the provider's bill names (0: it was not billed).

        Raises:
            InvalidRequest: it is not unresolved, or has several such attempts and ``attempt`` does not say which.
            LedgerUnavailable: it cannot be written.
        """
        from core.ledger import queries

        now = self._now()
        row = await self._write(
            lambda store, link: store.resolve_by_hand(link, correlation_id, nanodollars, attempt, now)
        )
        return queries.ledger_row(row)

    async def reprice(self, price: Callable[[LedgerRow], tuple[int, str] | None]) -> Repriced:
        """Give past rows that have usage and no cost theirs, where ``price`` knows it (nano-dollars, version).

        What they saved becomes known with it. Nothing else is rewritten: a row that has a cost keeps it.
        ``price`` is called on a thread.

        Raises:
            LedgerUnavailable: it cannot be written; what was priced before stays priced.
        """
        from core.ledger import queries

        count = nanodollars = still = after = 0
        now = self._now()
        while rows := await self._read(
            lambda connection, after=after: queries.unpriced(connection, after, _REPRICE_PORTION)
        ):
            priced = await self._in_thread(
                lambda rows=rows: [(row_id, priced_row(row, price)) for row_id, row in rows]
            )
            known = [(row_id, found) for row_id, found in priced if found is not None]

            def write(
                store: LedgerOperations, link: Connection, known: list[tuple[int, PricedRow]] = known
            ) -> list[int]:
                return [
                    found.nanodollars for row_id, found in known if store.set_price(link, row_id, found, now)
                ]

            amounts = await self._write(write) if known else []
            count, nanodollars = count + len(amounts), nanodollars + sum(amounts)
            still += len(rows) - len(known)
            after = rows[-1][0]
        return Repriced(count=count, nanodollars=nanodollars, still_unpriced=still)

    async def resume(self, conversation: str) -> bool:
        """Let a paused conversation send again; say whether it was paused.

        Raises:
            LedgerUnavailable: it cannot be written.
        """
        now = self._now()
        return await self._write(lambda store, link: store.resume(link, conversation, now), durable=False)

    # ------------------------------------------------------------------ scores

    async def add_score(self, entry: ScoreEntry) -> None:
        """Count a checked answer of a model.

        Raises:
            LedgerUnavailable: it cannot be written.
        """
        now = self._now()
        await self._write(lambda store, link: store.add_score(link, entry, now), durable=False)

    # ------------------------------------------------------------------ what can be asked without changing anything

    async def standing(
        self, limits: Sequence[Limit], *, estimates: bool = False
    ) -> tuple[Volume, tuple[LimitUsage, ...], Budget]:
        """Return the day's counts, each limit, and the month's cash, in one read: what each decision asks for.

        ``estimates`` also finds out where an estimate is in them, for what is shown.
        """
        opened, today, asked = self._require(), self._clock().date(), tuple(limits)
        standings = opened.standings
        if opened.quick is not None:
            database.check_place(opened.file)
            with contextlib.suppress(NotNow):
                return opened.quick.read(
                    lambda driver: standings.read_rows(driver, asked, today, estimates=estimates)
                )
        return await self._read(
            lambda connection: standings.read(connection, asked, today, estimates=estimates)
        )

    async def budget(self, limit: SpendLimit | None = None) -> Budget:
        """Return the cash of this month (or of the limit's window and project) and the open holds."""
        standings, day = self._require().standings, self._clock().date().isoformat()
        window = window_of(limit, day) if limit is not None else day[:7]
        project = project_of(limit) if limit is not None else None
        nanodollars = limit.nanodollars if limit is not None else None
        return await self._read(lambda connection: standings.budget(connection, window, project, nanodollars))

    async def volume(self) -> Volume:
        """Return today's counts and the mean of the last seven days, by local days."""
        standings, today = self._require().standings, self._clock().date()
        return await self._read(lambda connection: standings.volume(connection, today))

    async def report(
        self, since: datetime | None = None, by: ReportKey = "provider", *, daily: bool = False
    ) -> list[ReportRow]:
        """Return sums by group since the hour of ``since`` (``None``: all), from the hourly sums.

        ``daily`` splits each group by the user's days.
        """
        from core.ledger import queries

        return await self._read(lambda connection: queries.report(connection, since, by, daily))

    async def recent(self, limit: int = 100, *, before: str | None = None) -> list[LedgerRow]:
        """Return the newest attempts, newest first; page on with the last one's id as ``before``."""
        from core.ledger import queries

        return await self._read(lambda connection: queries.recent(connection, limit, before))

    async def oldest(self) -> LedgerRow | None:
        """Return the attempt that was written first; ``None`` in an empty ledger."""
        from core.ledger import queries

        return await self._read(queries.oldest)

    async def attempts(self, correlation_id: str) -> list[LedgerRow]:
        """Return the attempts of one request, first to last; empty if it is not in the ledger."""
        from core.ledger import queries

        return await self._read(lambda connection: queries.of_request(connection, correlation_id))

    async def api_spending(self, since: datetime) -> Spending:
        """Return what the API's attempts cost that ended since then."""
        from core.ledger import queries

        return await self._read(lambda connection: queries.api_spending(connection, since))

    async def holds(self) -> list[LedgerRow]:
        """Return the open attempts that hold cash or tokens, oldest first."""
        from core.ledger import queries

        return await self._read(queries.holds)

    async def check(self, since: datetime | None = None) -> Check:
        """Add up the rows anew (since an hour, or all) and compare with the kept sums."""
        from core.ledger.reconcile import check

        return await self._read(lambda connection: check(connection, since))

    async def compare(self, limits: Sequence[Limit]) -> tuple[str, ...]:
        """Compare the total of each window that ``limits`` use today with its rows; return what differs.

        From then on the limits compare with the larger of the two.
        """
        from core.ledger.reconcile import compare_windows

        asked, day, opened = tuple(limits), self._clock().date().isoformat(), self._require()
        differences, lacking = await self._read(lambda connection: compare_windows(connection, asked, day))
        if lacking != opened.shortfalls.amounts:
            opened.shortfalls.amounts = lacking
        return differences

    async def unresolved(self, limit: int = 100) -> list[LedgerRow]:
        """Return the newest attempts that are counted at their hold, because their true cost never came."""
        from core.ledger import queries

        return await self._read(lambda connection: queries.unresolved(connection, limit))

    async def paused(self) -> list[PausedConversation]:
        """Return the conversations that sent like a loop and wait for a person, the longest first."""
        from core.ledger import queries

        return await self._read(queries.paused)

    async def scores(self, since_day: str) -> list[ScoreRow]:
        """Return the checked answers by model, kind and day, from the local day ``since_day`` on."""
        from core.ledger import queries

        return await self._read(lambda connection: queries.scores(connection, since_day))

    async def verify_audit(self, *, expect: str | None = None) -> AuditReport:
        """Check the whole audit chain, each row and sum against it, and its end against the note.

        ``expect`` is a head's hash noted earlier.
        """
        from core.ledger.audit_check import verify, with_sums
        from core.ledger.reconcile import check_in_transaction

        note = self._require().note

        def look(connection: Connection) -> AuditReport:
            report = verify(connection, expect=expect, note=note)
            return with_sums(report, check_in_transaction(connection, None))

        return await self._read(look)

    async def look_at_note(self) -> str | None:
        """Compare the ledger with the note of its head again; return what is wrong."""
        note = self._require().note
        noted = await self._in_thread(note.look)
        return await self._read(lambda connection: note.compare(connection, noted))

    async def accept_head(self) -> AuditHead | None:
        """Note the head of the ledger that is there, whatever was noted: a person has looked at it.

        Raises:
            LedgerUnavailable: it can't be read, or the note can't be written.
        """
        opened = self._require()
        head = await self.audit_head()
        if head is not None:
            try:
                await self._in_thread(lambda: opened.note.write(NotedHead(head.seq, head.hash)))
            except OSError as error:
                raise database.explain(error, opened.note.path) from error
            opened.note.problem = None
        return head

    async def audit_entries(self, limit: int = 100, *, before: int | None = None) -> tuple[AuditEntry, ...]:
        """Return the newest entries of the audit log, newest first; page on with the last ``seq`` as ``before``."""
        from core.ledger.audit import entries

        return await self._read(lambda connection: entries(connection, limit, before))

    async def audit_head(self) -> AuditHead | None:
        """Return the last entry's number and hash, to be noted where nobody who writes the ledger can write."""
        from core.ledger.audit import head

        return await self._read(head)

    # ------------------------------------------------------------------ threads

    async def _write(
        self,
        change: Callable[[LedgerOperations, Connection], T],
        *,
        durable: bool = True,
        rehearsal: bool = False,
    ) -> T:
        """Run one change in the writer's thread. Being cancelled does not undo it."""
        opened = self._require()
        store = opened.store
        operation = Operation(
            lambda connection: change(store, connection), durable=lambda: durable, rehearsal=rehearsal
        )
        return await self._answer(opened, operation)

    async def _answer(self, opened: Opened, operation: Operation) -> Any:
        operation.waiter = waiter = asyncio.get_running_loop().create_future()
        opened.writer.submit(operation)
        await waiter
        return operation.future.result()

    async def _read(self, query: Callable[[Connection], T]) -> T:
        opened = self._require()

        def read() -> T:
            database.check_place(opened.file)
            try:
                with opened.engine.connect() as connection:
                    return query(connection)
            except Exception as error:
                raise database.explain(error, self.path) from error

        return await self._in_thread(read)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _require(self) -> Opened:
        if self._opened is None:
            raise LedgerUnavailable("The ledger is not open.", hint="Run signalbox doctor to see why.")
        return self._opened

    def _now(self) -> Moment:
        return moment(self._clock())


def _check_note(opened: Opened, record: NewRequest) -> None:
    """Keep a request from the API while the ledger may lack what was spent."""
    if record.side == "api" and opened.note.problem is not None:
        raise LedgerUnavailable(
            f"{opened.note.problem} Nothing is sent to the API.",
            hint="Put the newest ledger back, or, if this is the one you want, run: signalbox audit accept-head",
        )


def moment(at: datetime) -> Moment:
    from core.ledger.mapping import Moment

    return Moment(at=at)


def _admitted(answer: Admission | SignalboxError) -> Admission:
    if isinstance(answer, SignalboxError):
        raise answer
    return answer


def decision_json(decision: RouteDecision | None) -> str | None:
    """Return the decision as JSON, ``None`` for none. A field that is not there has its default."""
    return None if decision is None else to_json(decision)


__all__ = [
    "Admission",
    "ArmedLimit",
    "Budget",
    "BudgetAlert",
    "Check",
    "HoldRequest",
    "Ledger",
    "LedgerRow",
    "Limit",
    "LimitUsage",
    "NewRequest",
    "Outcome",
    "PausedConversation",
    "Rate",
    "RateLimit",
    "Recovered",
    "RefusedRequest",
    "ReplayedRequest",
    "ReportKey",
    "ReportRow",
    "Repriced",
    "RunawayLimit",
    "Settled",
    "SpendLimit",
    "TokenLimit",
    "Volume",
]
