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
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import LedgerUnavailable, SignalboxError
from core.spend.budget import (
    Budget,
    BudgetAlert,
    Limit,
    LimitStanding,
    SpendLimit,
    TokenLimit,
)
from core.spend.decisions import decision_json
from core.spend.ledger_reads import LedgerReads
from core.spend.opened import Opened, local_now, moment
from core.spend.rows import (
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
    ScoreEntry,
    ScoreRow,
    Settlement,
    Volume,
)
from core.spend.savings import PricedRow, priced_row
from core.spend.writer import Operation

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from core.spend.attempt_rows import Beginning
    from core.spend.corrections import CorrectingStore

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
    "LimitStanding",
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
    "ScoreEntry",
    "ScoreRow",
    "Settlement",
    "SpendLimit",
    "TokenLimit",
    "Volume",
]


_NEVER_SENT = Outcome(status="stopped", may_have_billed=False)
_REPRICE_PORTION = 200
"""Rows that are priced in one transaction, so that requests between them need not wait long."""


class Ledger(LedgerReads):
    """One ledger. Methods are called from the core's loop; several processes may share one ledger.

    ``url`` of ``None`` is an SQLite file in ``home``. ``clock`` tells the user's local time with its zone: days
    and months are the user's. A request belongs to the day it began on by that clock, so a clock set back
    counts each request once, on one day or the other, and loses none.
    """

    def __init__(self, url: str | None, home: Path, *, clock: Callable[[], datetime] = local_now) -> None:
        super().__init__(url, home, clock=clock)
        self._doubtful: dict[str, Callable[[Connection], bool]] = {}
        """Switches whose commit was not answered: whether they are in the ledger is asked when they are settled."""

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
        store, asked = opened.store, self._beginning(record, hold, rates)
        operation = Operation(
            lambda connection: store.begin(connection, asked),
            durable=record.side == "api",
            stands=_stands(store, asked),
        )
        try:
            return _admitted(await self._answer(opened, operation))
        except LedgerUnavailable:
            if operation.doubted is not None:
                # It may be in a database that can't be asked just now: then its hold is given up once it can.
                opened.writer.submit(self._settlement(opened, record.correlation_id, _NEVER_SENT, (), ()))
            raise
        except asyncio.CancelledError:
            if not operation.future.cancel():
                # Too late to take it back from the queue: the hold will stand, so give it up again.
                operation.future.add_done_callback(partial(self._give_up, opened, record.correlation_id))
            raise

    def _beginning(self, record: NewRequest, hold: HoldRequest | None, rates: tuple[Rate, ...]) -> Beginning:
        from core.spend.attempt_rows import Beginning

        now = self._now()
        started = now
        if record.started_at is not None:
            started = moment(record.started_at.astimezone(now.at.tzinfo))
        decision = decision_json(record.decision)
        return Beginning(
            record=record, hold=hold, rates=rates, started=started, now=now, decision_json=decision
        )

    def _give_up(self, opened: Opened, correlation_id: str, begun: Future[Any]) -> None:
        if not begun.cancelled() and begun.exception() is None and isinstance(begun.result(), Admission):
            opened.writer.submit(self._settlement(opened, correlation_id, _NEVER_SENT, (), ()))

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
        not undo it. With ``limits``, the answer tells the shares of them that are reached for the first time.

        Raises:
            InvalidRequest: there is no such request.
        """
        opened = self._require()
        operation = self._settlement(opened, correlation_id, outcome, limits, alert_percents)
        return await self._answer(opened, operation) or Settlement(saved=False)

    def _settlement(
        self,
        opened: Opened,
        correlation_id: str,
        outcome: Outcome,
        limits: tuple[Limit, ...],
        alert_percents: tuple[int, ...],
    ) -> Operation:
        store, now = opened.store, self._now()
        switched = self._doubtful.pop(correlation_id, None)

        def settle(connection: Connection) -> Settlement:
            # Kept in memory and written at last, its answer is heard by nobody: the next one tells what it crossed.
            told = () if operation.future.done() else limits
            ended = outcome
            if switched is not None and switched(connection):
                # The switch that nobody heard of has closed the attempt that is meant; the next one was never sent.
                ended = replace(_NEVER_SENT, status=outcome.status, error_kind=outcome.error_kind)
            return store.settle(connection, correlation_id, ended, now, told, alert_percents)

        operation = Operation(settle, durable=outcome.cost_nanodollars != 0, keep_as=correlation_id)
        return operation

    async def switch_side(
        self,
        failed: Outcome,
        record: NewRequest,
        hold: HoldRequest | None,
        *,
        rates: tuple[Rate, ...] = (),
    ) -> Admission:
        """Close the attempt that failed and begin the next one of the same request, both or neither.

        The next one may be on the other side or on the same. Being cancelled does not undo it.

        Raises:
            BudgetExceeded, RateExceeded, RunawayPaused: the new attempt does not fit; settle the failed
                one instead.
            InvalidRequest: the request is not open.
            LedgerUnavailable: it cannot be recorded, so it must not be sent.
        """
        opened = self._require()
        store, asked = opened.store, self._beginning(record, hold, rates)
        operation = Operation(
            lambda connection: store.switch(connection, failed, asked), stands=_stands(store, asked)
        )
        try:
            return _admitted(await self._answer(opened, operation))
        except LedgerUnavailable:
            if operation.doubted is not None:
                self._doubtful[record.correlation_id] = partial(
                    store.has_begun, asked=asked, admission=operation.doubted
                )
            raise

    async def refuse(self, record: RefusedRequest) -> LedgerRow:
        """Record a request that was never sent, so that reports can count it. Again, it changes nothing.

        Raises:
            InvalidRequest: a request with this identifier was sent.
            LedgerUnavailable: it cannot be written.
        """
        now, decision = self._now(), decision_json(record.decision)
        row = await self._write(lambda store, link: store.refuse(link, record, now, decision), durable=False)
        return _reports().ledger_row(row)

    async def replay(self, record: ReplayedRequest) -> LedgerRow:
        """Record a request that got an earlier one's answer: it cost nothing, and no volume or limit counts it.

        Where the request is in the ledger already (the very same one was sent twice), that row is returned.

        Raises:
            LedgerUnavailable: it cannot be written.
        """
        now, decision = self._now(), decision_json(record.decision)
        row = await self._write(lambda store, link: store.replay(link, record, now, decision), durable=False)
        return _reports().ledger_row(row)

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
        from core.spend.selftest import self_test

        now, asked = self._now(), tuple(limits)
        return await self._write(
            lambda store, link: self_test(link, store, asked, now), durable=False, rehearsal=True
        )

    # ------------------------------------------------------------------ what a person settles

    async def recover(self, *, spare_the_living: bool = False) -> Recovered:
        """Close what dead processes left open, conservatively; call it at every start, and now and then after.

        An API hold becomes *unresolved*: counted in full, since the call may have been billed. A process on
        another host cannot be checked, so its holds wait for their expiry. ``spare_the_living`` leaves a process
        that is seen to run what it has, expired or not.

        Raises:
            LedgerUnavailable: it cannot be written.
        """
        now = self._now()
        return await self._write(
            lambda store, link: store.recover(link, now.us, spare_the_living=spare_the_living)
        )

    async def resolve(
        self, correlation_id: str, nanodollars: int, *, attempt: int | None = None
    ) -> LedgerRow:
        """Settle an unresolved attempt by hand, at the cost that the provider's bill names (0: it was not billed).

        Raises:
            InvalidRequest: it is not unresolved, or has several such attempts and ``attempt`` does not say which.
            LedgerUnavailable: it cannot be written.
        """
        now = self._now()
        row = await self._write(
            lambda store, link: store.resolve_by_hand(link, correlation_id, nanodollars, attempt, now)
        )
        return _reports().ledger_row(row)

    async def reprice(self, price: Callable[[LedgerRow], tuple[int, str] | None]) -> Repriced:
        """Give past rows that have usage and no cost theirs, where ``price`` knows it (nano-dollars, version).

        What they saved becomes known with it. Nothing else is rewritten: a row that has a cost keeps it.
        ``price`` is called on a thread.

        Raises:
            LedgerUnavailable: it cannot be written; what was priced before stays priced.
        """
        count = nanodollars = still = after = 0
        now = self._now()
        while rows := await self._read(
            lambda connection, after=after: _reports().unpriced(connection, after, _REPRICE_PORTION)
        ):
            priced = await self._in_thread(
                lambda rows=rows: [(row_id, priced_row(row, price)) for row_id, row in rows]
            )
            known = [(row_id, found) for row_id, found in priced if found is not None]

            def write(
                store: CorrectingStore, link: Connection, known: list[tuple[int, PricedRow]] = known
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


def _stands(store: CorrectingStore, asked: Beginning) -> Callable[[Connection, Any], bool]:
    def stands(connection: Connection, answer: Any) -> bool:
        return isinstance(answer, Admission) and store.has_begun(connection, asked, answer)

    return stands


def _admitted(answer: Admission | SignalboxError) -> Admission:
    if isinstance(answer, SignalboxError):
        raise answer
    return answer


def _reports() -> Any:
    from core.spend import reports

    return reports
