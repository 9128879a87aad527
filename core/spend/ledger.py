"""The ledger's face: every request, what it held and what it cost, on SQLite or PostgreSQL.

::

    ledger = Ledger(None, home)
    await ledger.open()
    admission = await ledger.begin(record, HoldRequest(nanodollars=worst_case, limits=(limit,)))
    try:
        ...                                      # the call
    finally:
        await ledger.settle(record.correlation_id, outcome)

Limits hold across processes: checking and holding are one transaction that no other writer overlaps.
Importing this module does not import SQLAlchemy; opening a ledger does, on a thread of its own.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from core.chat import RouteDecision
from core.errors import LedgerUnavailable, SignalboxError
from core.spend import database
from core.spend.budget import Budget, Limit, LimitStanding, SpendLimit, TokenLimit, project_of, window_of
from core.spend.rows import (
    Admission,
    Check,
    HoldRequest,
    LedgerRow,
    NewRequest,
    Outcome,
    Rate,
    RateLimit,
    Recovered,
    ReportKey,
    ReportRow,
    RunawayLimit,
    Settlement,
    Volume,
)
from core.spend.writer import Operation, Writer

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from core.spend.store import Store

__all__ = [
    "Admission",
    "Budget",
    "Check",
    "HoldRequest",
    "Ledger",
    "LedgerRow",
    "NewRequest",
    "Outcome",
    "Recovered",
    "ReportKey",
    "ReportRow",
    "SpendLimit",
    "Volume",
]

logger = logging.getLogger(__name__)
T = TypeVar("T")

_NEVER_SENT = Outcome(status="stopped", may_have_billed=False)


def local_now() -> datetime:
    return datetime.now().astimezone()


@dataclasses.dataclass(frozen=True, slots=True)
class _Opened:
    engine: Engine
    store: Store
    writer: Writer


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
        self._opened: _Opened | None = None
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="signalbox-ledger-read")

    @property
    def path(self) -> Path | None:
        """The ledger's file, ``None`` when it is on a server."""
        return database.sqlite_path(self._url, self._home)

    @property
    def is_open(self) -> bool:
        return self._opened is not None

    @property
    def unsaved(self) -> tuple[str, ...]:
        """Correlation ids of results that could not be written yet; they are retried every few seconds."""
        return self._opened.writer.unsaved if self._opened is not None else ()

    async def open(self) -> None:
        """Open the ledger, creating it if there is none.

        Raises:
            LedgerUnavailable: it cannot be used; the hint says what to do. What is there is left untouched.
        """
        if self._opened is None:
            self._opened = await self._in_thread(self._open)

    def _open(self) -> _Opened:
        engine = database.open_engine(self._url, self._home)
        from core.spend.store import Store

        return _Opened(engine, Store(engine.dialect), Writer(engine, self.path))

    async def close(self) -> None:
        """Write what is left and close. The ledger can be opened again."""
        opened, self._opened = self._opened, None
        if opened is not None:
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
            return await self._in_thread(partial(database.set_aside, path))
        except OSError as error:
            raise database.explain(error, path) from error

    async def begin(
        self, record: NewRequest, hold: HoldRequest | None, *, rates: tuple[Rate, ...] = ()
    ) -> Admission:
        """Record a request that is about to leave; in the same transaction, check its limits and hold its cash.

        Cancelled, it leaves no hold behind.

        Raises:
            BudgetExceeded: it does not fit under a limit; nothing was recorded.
            InvalidRequest: the correlation id is in use.
            LedgerUnavailable: it cannot be recorded, so it must not be sent.
        """
        opened = self._require()
        store = opened.store
        started_at = self._local(record.started_at)
        decision = _decision_json(record.decision)
        future = opened.writer.submit(
            Operation(
                lambda connection: store.begin(connection, record, hold, started_at, decision),
                durable=record.side == "api",
            )
        )
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            # Too late to take it back from the queue: the hold will stand, so give it up again.
            future.add_done_callback(partial(self._give_up, opened, record.correlation_id))
            raise

    def _give_up(self, opened: _Opened, correlation_id: str, begun: Future[Any]) -> None:
        if not begun.cancelled() and begun.exception() is None:
            self._submit_settle(opened, correlation_id, _NEVER_SENT)

    async def settle(
        self,
        correlation_id: str,
        outcome: Outcome,
        *,
        limits: tuple[Limit, ...] = (),
        alert_percents: tuple[int, ...] = (),
    ) -> Settlement:
        """Close a request at its true cost; say whether that is on the disk and changed anything.

        Calling it again changes nothing (a true cost still replaces an *unresolved* one). When it cannot be
        written it is kept in memory, seen in ``unsaved``, and retried until it can. Being cancelled does
        not undo it.

        Raises:
            InvalidRequest: there is no such request.
        """
        future = self._submit_settle(self._require(), correlation_id, outcome)
        return Settlement(saved=await asyncio.shield(asyncio.wrap_future(future)))

    def _submit_settle(self, opened: _Opened, correlation_id: str, outcome: Outcome) -> Future[Any]:
        store = opened.store
        ended_us = int(self._clock().timestamp() * 1_000_000)
        return opened.writer.submit(
            Operation(
                lambda connection: store.settle(connection, correlation_id, outcome, ended_us),
                durable=outcome.cost_nanodollars != 0,
                keep_as=correlation_id,
            )
        )

    async def switch_side(
        self,
        failed: Outcome,
        record: NewRequest,
        hold: HoldRequest | None,
        *,
        rates: tuple[Rate, ...] = (),
    ) -> Admission:
        """Close the attempt that failed and begin the next one of the same request, both or neither.

        Raises:
            BudgetExceeded: the new hold does not fit; settle the failed attempt instead.
            InvalidRequest: the request is not open.
            LedgerUnavailable: it cannot be recorded, so it must not be sent.
        """
        store, writer = self._store(), self._writer()
        started_at = self._local(record.started_at)
        decision = _decision_json(record.decision)
        future = writer.submit(
            Operation(lambda connection: store.switch(connection, failed, record, hold, started_at, decision))
        )
        return await asyncio.shield(asyncio.wrap_future(future))

    async def budget(self, limit: SpendLimit | None = None) -> Budget:
        """Return the cash of this month (or of the limit's window and project) and the open holds."""
        store = self._store()
        day = self._clock().date().isoformat()
        window = day if limit is not None and limit.window == "day" else day[:7]
        project = limit.project if limit is not None else None
        nanodollars = limit.nanodollars if limit is not None else None
        return await self._read(
            lambda connection: _reports().budget(connection, store, window, project, nanodollars)
        )

    async def volume(self) -> Volume:
        """Return today's counts and the mean of the last seven days, by local days."""
        store, today = self._store(), self._clock().date()
        return await self._read(lambda connection: _reports().volume(connection, store, today))

    async def today(self, limit: SpendLimit) -> tuple[Volume, Budget]:
        """Return ``volume()`` and the month's ``budget(limit)`` in one read: what each decision asks for."""
        store, today = self._store(), self._clock().date()
        month = today.isoformat()[:7]

        def read(connection: Connection) -> tuple[Volume, Budget]:
            reports = _reports()
            budget = reports.budget(connection, store, month, None, limit.nanodollars)
            return reports.volume(connection, store, today), budget

        return await self._read(read)

    async def standing(self, limits: Sequence[Limit]) -> tuple[Volume, tuple[LimitStanding, ...], Budget]:
        """Return the day's counts, each limit and the month's cash in one read: what each decision asks for."""
        store, today = self._store(), self._clock().date()

        def read(connection: Connection) -> tuple[Volume, tuple[LimitStanding, ...], Budget]:
            reports = _reports()
            day = today.isoformat()
            budget = reports.budget(connection, store, day[:7], None, None)
            found: list[LimitStanding] = []
            for limit in limits:
                if isinstance(limit, TokenLimit):
                    found.append(
                        LimitStanding(
                            limit=limit, window_label=window_of(limit, day), used=0, held=0, held_count=0
                        )
                    )
                    continue
                of = reports.budget(
                    connection, store, window_of(limit, day), project_of(limit), limit.nanodollars
                )
                found.append(
                    LimitStanding(
                        limit=limit,
                        window_label=of.window_label,
                        used=of.spent_nanodollars,
                        held=of.held_nanodollars,
                        held_count=of.held_count,
                        unresolved=of.unresolved_nanodollars,
                        unresolved_count=of.unresolved_count,
                    )
                )
            return reports.volume(connection, store, today), tuple(found), budget

        return await self._read(read)

    async def local_count_today(self) -> int:
        return (await self.volume()).local_today

    async def seven_day_mean(self) -> float:
        return (await self.volume()).seven_day_mean

    async def reset_local_count(self) -> None:
        """Let today's local count start again at 0; the rows and reports keep every request.

        Raises:
            LedgerUnavailable: it cannot be written.
        """
        store, writer = self._store(), self._writer()
        day = self._clock().date().isoformat()
        future = writer.submit(
            Operation(lambda connection: store.reset_local(connection, day), durable=False)
        )
        await asyncio.shield(asyncio.wrap_future(future))

    async def report(self, since: datetime | None = None, by: ReportKey = "provider") -> list[ReportRow]:
        """Return sums by group since the hour of ``since`` (``None``: all), from the hourly rollups."""
        return await self._read(lambda connection: _reports().report(connection, since, by))

    async def recent(self, limit: int = 100, *, before: str | None = None) -> list[LedgerRow]:
        """Return the newest attempts, newest first; page on with the last one's id as ``before``."""
        return await self._read(lambda connection: _reports().recent(connection, limit, before))

    async def attempts(self, correlation_id: str) -> list[LedgerRow]:
        """Return the attempts of one request, first to last; empty if it is not in the ledger."""
        return await self._read(lambda connection: _reports().of_request(connection, correlation_id))

    async def recover(self) -> Recovered:
        """Close what dead processes left open, conservatively; call it at every start.

        An API hold becomes *unresolved*: counted in full, since the call may have been billed. A process on
        another host cannot be checked, so its holds wait for their expiry.

        Raises:
            LedgerUnavailable: it cannot be written.
        """
        store, writer = self._store(), self._writer()
        now_us = int(self._clock().timestamp() * 1_000_000)
        future = writer.submit(Operation(lambda connection: store.recover(connection, now_us)))
        return await asyncio.shield(asyncio.wrap_future(future))

    async def check(self, since: datetime | None = None) -> Check:
        """Add up the rows anew (since an hour, or all) and compare with the kept sums."""
        return await self._read(lambda connection: _reports().check(connection, since))

    async def _read(self, query: Callable[[Connection], T]) -> T:
        opened = self._require()

        def read() -> T:
            try:
                with opened.engine.connect() as connection:
                    return query(connection)
            except SignalboxError:
                raise
            except Exception as error:
                raise database.explain(error, self.path) from error

        return await self._in_thread(read)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _require(self) -> _Opened:
        if self._opened is None:
            raise LedgerUnavailable("The ledger is not open.", hint="Run signalbox doctor to see why.")
        return self._opened

    def _store(self) -> Store:
        return self._require().store

    def _writer(self) -> Writer:
        return self._require().writer

    def _local(self, moment: datetime | None) -> datetime:
        now = self._clock()
        return now if moment is None else moment.astimezone(now.tzinfo)


def _reports() -> Any:
    from core.spend import reports

    return reports


def _decision_json(decision: RouteDecision | None) -> str | None:
    if decision is None:
        return None
    return json.dumps(decision, default=_fields, separators=(",", ":"))


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
