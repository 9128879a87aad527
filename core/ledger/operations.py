"""The ledger's changes, each a function of an open transaction. Whoever calls them begins and commits it.

An operation reads and refuses first and writes afterwards: a ``SignalboxError`` it raises means that it changed
nothing, so that a batch of operations needs no savepoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, or_, select, update

from core.errors import DuplicateRequest, InvalidRequest, RunawayPaused, SignalboxError
from core.ledger import schema
from core.ledger.admission import check_admission, conversation_key, now_standing, pass_rates, taken
from core.ledger.limits import BudgetAlert, Limit, amount_of, crossed, project_of, unit_of
from core.ledger.mapping import (
    CLOSING,
    COLUMNS,
    AttemptStart,
    Moment,
    closing,
    new_row,
    refused_row,
    replayed_row,
    saved_columns,
)
from core.ledger.models import (
    Admission,
    Outcome,
    Recovered,
    RefusedRequest,
    ReplayedRequest,
    Settled,
)
from core.ledger.process_identity import ProcessIdentity, current_process, is_alive
from core.ledger.savings import PricedRow
from core.ledger.sql import Sql, adding, driver_of, insert_into
from core.ledger.totals import RateState, Row, RunningTotals, Shortfalls
from core.scores import ScoreEntry

if TYPE_CHECKING:
    from sqlalchemy import Connection, Dialect
    from sqlalchemy.sql.base import Executable


_NEVER_SENT = Outcome(status="stopped", may_have_billed=False)
_INTERRUPTED = Outcome(status="failed", error_kind="interrupted")
_OF_OPEN = tuple(
    name
    for name in COLUMNS
    if name not in CLOSING or name in ("status", "state", "counted_nanodollars", "counted_tokens")
)
"""What an attempt that begins has. Only its end knows the others, and writing their nulls takes as long again."""

_FORGOTTEN = "The ledger has no open request with that identifier."
KEY_KEPT_US = 24 * 3600 * 1_000_000
"""How long an idempotency key names its request."""


class LedgerOperations:
    """The statements of one database and the operations made of them, for the writer's thread."""

    def __init__(
        self, dialect: Dialect, owner: ProcessIdentity | None = None, shortfalls: Shortfalls | None = None
    ) -> None:
        self.owner = owner or current_process()
        self.books = RunningTotals(dialect, shortfalls)
        attempts = schema.attempts

        def compiled(statement: Executable, order: Sequence[str] = ()) -> Sql:
            return Sql(statement, dialect, order)

        mine = attempts.c.correlation_id == bindparam("correlation_id")

        def inserting(names: Sequence[str]) -> Sql:
            values = insert_into(attempts, dialect).values({name: bindparam(name) for name in names})
            there = values.on_conflict_do_nothing(index_elements=["correlation_id", "number"])
            return compiled(there.returning(attempts.c.id))

        self._insert = inserting(COLUMNS)
        self._insert_open = inserting(_OF_OPEN)
        self._from = compiled(
            select(attempts)
            .where(and_(mine, attempts.c.number >= bindparam("number")))
            .order_by(attempts.c.number)
        )
        self._close = compiled(
            update(attempts)
            .where(attempts.c.id == bindparam("row_id"))
            .values({name: bindparam(f"new_{name}") for name in CLOSING}),
            order=(*[f"new_{name}" for name in CLOSING], "row_id"),
        )
        self._open = compiled(select(attempts).where(schema.OPEN_STATE))
        self._with_key = compiled(
            select(attempts.c.correlation_id, attempts.c.status)
            .where(
                and_(
                    attempts.c.idempotency_key == bindparam("idempotency_key"),
                    attempts.c.started_us > bindparam("since_us"),
                    attempts.c.correlation_id != bindparam("correlation_id"),
                    or_(attempts.c.status == "open", attempts.c.status == "done"),
                )
            )
            .order_by(attempts.c.id.desc())
            .limit(1)
        )
        self._unresolved_of = compiled(
            select(attempts).where(and_(mine, schema.UNRESOLVED_STATE)).order_by(attempts.c.number)
        )
        self._by_id = compiled(select(attempts).where(attempts.c.id == bindparam("row_id")))
        self._add_score = compiled(adding(schema.scores, schema.SCORE_KEYS, schema.SCORE_SUMS, dialect))

    # ------------------------------------------------------------------ admission

    def begin(
        self, connection: Connection, start: AttemptStart, *, again: bool = False
    ) -> Admission | RunawayPaused:
        """Check the limits and rates, then write the attempt with its hold, and close the one that failed before.

        Tried ``again`` after a commit that nobody heard of, the attempt that is there is the answer. A runaway
        conversation is paused by the very request that is refused, so that refusal is an answer (to be raised
        after the commit) and not an exception.

        Raises:
            BudgetExceeded, RateExceeded, RunawayPaused: a limit holds; nothing was written, and the failed attempt
                is left open, to be settled.
            DuplicateRequest: its idempotency key is taken.
            InvalidRequest: the identifier is in use, or the failed attempt is not open.
        """
        books = self.books
        replaced: tuple[Row, Row] | None = None
        try:
            if start.failed is not None:
                replaced = self._superseded(connection, start, start.failed)
                # The failed attempt's own hold must not stand in the way of the next one.
                books.change(*replaced)
            row, rates = self._admitted(connection, start)
        except SignalboxError as refusal:
            if replaced is not None:
                books.change(replaced[1], replaced[0])
            begun = self._begun(connection, start) if again else None
            if begun is not None:
                return self._admission(start, begun, ())
            if isinstance(refusal, RunawayPaused) and self._paused(connection, refusal, start.now.us):
                return refusal
            raise
        if replaced is not None:
            self._write_closed(connection, *replaced, "switch")
        books.append_audit(
            at_us=start.now.us, kind="begin", correlation_id=start.record.correlation_id, row=row
        )
        books.change(None, row)
        for key, state in rates.items():
            books.set_rate(key, state)
        alerts = self._alerts(start.limits, start.alert_percents, start.now.us, start.started.day)
        return self._admission(start, row, alerts)

    def withdraw(self, connection: Connection, start: AttemptStart) -> bool:
        """Close a beginning that its caller never heard of, and so never sent; say whether it was there."""
        row = self._begun(connection, start)
        if row is not None:
            self._end(connection, row, _NEVER_SENT, _NEVER_SENT.status, start.now.us, "settle")
        return row is not None

    def _superseded(self, connection: Connection, start: AttemptStart, failed: Outcome) -> tuple[Row, Row]:
        row, *_ = self._attempts_from(connection, start.record.correlation_id, start.number - 1)
        if not _may_still_end(row):
            raise InvalidRequest(_FORGOTTEN, hint="Send it again as a new request.")
        return row, {**row, **closing(row, failed, "superseded", start.now.us)}

    def _admitted(self, connection: Connection, start: AttemptStart) -> tuple[Row, dict[str, RateState]]:
        """Return the attempt's row once it is inserted, and the rates' states to keep."""
        self._refuse_duplicates(connection, start)
        check_admission(self.books, start, start.started.day)
        rates = pass_rates(self.books, start.rates, start.now.us) if start.rates else {}
        row = new_row(start, self.owner)
        found = self._insert_open.returned(self.books.driver, row)
        if found is None:
            raise InvalidRequest(
                "A request with this identifier is already in the ledger.", hint="Send it with a new one."
            )
        row["id"] = found[0]
        return row, rates

    def _begun(self, connection: Connection, start: AttemptStart) -> Row | None:
        """Return the open row of this very beginning, where a commit that nobody heard of has written it."""
        rows = self._from.rows(
            driver_of(connection), correlation_id=start.record.correlation_id, number=start.number
        )
        if not rows or rows[0]["number"] != start.number or rows[0]["state"] != "open":
            return None
        return rows[0] if rows[0]["started_us"] == start.started.us and self._owns(rows[0]) else None

    def _owns(self, row: Row) -> bool:
        return _owner_of(row) == self.owner

    def _paused(self, connection: Connection, refusal: RunawayPaused, now_us: int) -> bool:
        """Pause the conversation of ``refusal``; false where it is paused already."""
        key = conversation_key(refusal.conversation)
        state = self.books.rate(key)
        if state.paused_us is not None:
            return False
        self.books.set_rate(key, RateState(state.log, now_us, refusal.per_minute))
        note = {"conversation": refusal.conversation, "per_minute": refusal.per_minute}
        self._note(connection, now_us, "pause", note)
        return True

    def _admission(self, start: AttemptStart, row: Row, alerts: tuple[BudgetAlert, ...]) -> Admission:
        month = self.books.total(start.started.day[:7])
        return Admission(
            correlation_id=row["correlation_id"],
            attempt=row["number"],
            hold_nanodollars=row["hold_nanodollars"],
            spent_nanodollars=month["counted_nanodollars"],
            held_nanodollars=self.books.held().nanodollars,
            alerts=alerts,
        )

    def _refuse_duplicates(self, connection: Connection, start: AttemptStart) -> None:
        key = start.record.idempotency_key
        if key is None:
            return
        taken = self._with_key.rows(
            driver_of(connection),
            idempotency_key=key,
            since_us=start.now.us - KEY_KEPT_US,
            correlation_id=start.record.correlation_id,
        )
        if taken:
            state = "is still running" if taken[0]["status"] == "open" else "is done"
            raise DuplicateRequest(
                f"Request {taken[0]['correlation_id']} has the same idempotency key and {state}.",
                hint="Take its answer, or send this one with another key.",
            )

    def refuse(
        self, connection: Connection, record: RefusedRequest, now: Moment, decision_json: str | None
    ) -> dict[str, Any]:
        """Write a request that was never sent. Written again, it changes nothing.

        Raises:
            InvalidRequest: a request with this identifier was sent.
        """
        driver = driver_of(connection)
        row = refused_row(record, now, self.owner, decision_json)
        found = self._insert.returned(driver, row)
        if found is None:
            there = self._from.rows(driver, correlation_id=record.correlation_id, number=1)[0]
            if there["status"] == "refused":
                return there
            raise InvalidRequest("A request that was sent cannot be recorded as refused.")
        row["id"] = found[0]
        self.books.append_audit(at_us=now.us, kind="refuse", correlation_id=record.correlation_id, row=row)
        self.books.change(None, row)
        return row

    def replay(
        self, connection: Connection, record: ReplayedRequest, now: Moment, decision_json: str | None
    ) -> dict[str, Any]:
        """Write a request that got an earlier one's answer. Where its identifier has a row, it changes nothing."""
        driver = driver_of(connection)
        row = replayed_row(record, now, self.owner, decision_json)
        found = self._insert.returned(driver, row)
        if found is None:
            return self._from.rows(driver, correlation_id=record.correlation_id, number=1)[0]
        row["id"] = found[0]
        self.books.append_audit(at_us=now.us, kind="replay", correlation_id=record.correlation_id, row=row)
        self.books.change(None, row)
        return row

    # ------------------------------------------------------------------ endings

    def settle(
        self,
        connection: Connection,
        correlation_id: str,
        attempt: int,
        outcome: Outcome,
        now: Moment,
        limits: Sequence[Limit] = (),
        alert_percents: Sequence[int] = (),
    ) -> Settled:
        """Close an attempt; say whether that changed anything.

        A second call changes nothing, except that the true figures replace those of an attempt that a start-up
        gave up as lost: its answer may still arrive. Whatever this process began after that attempt was never
        heard of by whoever settles it, so it was never sent: it is closed too, at nothing.

        Raises:
            InvalidRequest: there is no such attempt.
        """
        row, *later = self._attempts_from(connection, correlation_id, attempt)
        late_truth = row["state"] == "unresolved" and (
            outcome.cost_nanodollars is not None or outcome.usage is not None or not outcome.may_have_billed
        )
        saved = False
        if _may_still_end(row) or late_truth:
            status = "superseded" if row["status"] == "superseded" else outcome.status
            self._end(connection, row, outcome, status, now.us, "settle")
            saved = True
        for unheard in later:
            if unheard["state"] == "open" and self._owns(unheard):
                ended = replace(_NEVER_SENT, error_kind=outcome.error_kind)
                self._end(connection, unheard, ended, outcome.status, now.us, "settle")
                saved = True
        if not saved:
            return Settled(saved=False)
        return Settled(saved=True, alerts=self._alerts(limits, alert_percents, now.us, now.day))

    def must_outlive_a_power_cut(self, correlation_id: str, attempt: int, outcome: Outcome) -> bool:
        """Whether a settlement that was undone would count for less, or let a key's request be paid twice.

        Undone, the attempt is open again, and its hold counts: that is enough unless it took more. Where nobody
        knows what was held, the answer is yes.
        """
        row = self.books.open_row(correlation_id)
        if row is None or row["number"] != attempt:
            return outcome.cost_nanodollars != 0
        if row["idempotency_key"] is not None and outcome.status == "done":
            return outcome.cost_nanodollars != 0
        tokens = outcome.usage.total_tokens if outcome.usage is not None and row["side"] == "api" else 0
        return (outcome.cost_nanodollars or 0) > (row["hold_nanodollars"] or 0) or tokens > row["hold_tokens"]

    def recover(self, connection: Connection, now_us: int, *, skip_live_processes: bool = False) -> Recovered:
        """Close what dead processes left open: API attempts at their hold, local ones at no cash.

        What has run longer than its hold lasts is closed too, although its process may live, unless
        ``skip_live_processes`` leaves those alone that are seen to. Its true end still counts when it comes: see
        ``settle`` and ``begin``.
        """
        alive: dict[ProcessIdentity, bool | None] = {}
        unresolved: list[str] = []
        nanodollars = local = 0
        for row in self._open.rows(driver_of(connection)):
            owner = _owner_of(row)
            if owner not in alive:
                alive[owner] = is_alive(owner)
            if alive[owner] is not False and row["expires_us"] > now_us:
                continue
            if alive[owner] and skip_live_processes:
                continue
            closed = self._end(connection, row, _INTERRUPTED, "failed", now_us, "recover")
            if row["side"] == "local":
                local += 1
            else:
                unresolved.append(row["correlation_id"])
                nanodollars += closed["counted_nanodollars"]
        return Recovered(
            count=len(unresolved),
            nanodollars=nanodollars,
            local_count=local,
            correlation_ids=tuple(unresolved),
        )

    # ------------------------------------------------------------------ what is put right later

    def resolve_by_hand(
        self, connection: Connection, correlation_id: str, nanodollars: int, attempt: int | None, now: Moment
    ) -> dict[str, Any]:
        """Give an unresolved attempt the cost that a person found on the provider's bill.

        Raises:
            InvalidRequest: it is not unresolved, or ``attempt`` has to say which of several is meant.
        """
        if nanodollars < 0:
            raise InvalidRequest("A cost cannot be below nothing.", hint="Give the amount of the bill.")
        rows = self._unresolved_of.rows(driver_of(connection), correlation_id=correlation_id)
        if attempt is not None:
            rows = [row for row in rows if row["number"] == attempt]
        if not rows:
            raise InvalidRequest(
                f"Request {correlation_id} has no cost that is not settled.",
                hint="Only what is not settled is settled by hand: signalbox holds.",
            )
        if len(rows) > 1:
            numbers = ", ".join(str(row["number"]) for row in rows)
            raise InvalidRequest(
                f"Request {correlation_id} has several attempts that are not settled.",
                hint=f"Say which one: {numbers}.",
            )
        row = rows[0]
        closed = {
            **row,
            "state": "settled",
            "cost_nanodollars": nanodollars,
            "counted_nanodollars": nanodollars,
            # What was not billed has not used tokens either.
            "counted_tokens": row["counted_tokens"] if nanodollars else 0,
        }
        self.change(connection, row, closed, "resolve", now.us)
        return closed

    def set_price(self, connection: Connection, row_id: int, priced: PricedRow, now: Moment) -> bool:
        """Give a row with usage and no cost its cost; say whether it still had none."""
        rows = self._by_id.rows(driver_of(connection), row_id=row_id)
        if not rows or rows[0]["cost_nanodollars"] is not None or rows[0]["output_tokens"] is None:
            return False
        closed = {
            **rows[0],
            "cost_nanodollars": priced.nanodollars,
            "counted_nanodollars": priced.nanodollars,
            "price_version": priced.version,
            **saved_columns(priced.savings),
        }
        self.change(connection, rows[0], closed, "reprice", now.us)
        return True

    def resume(self, connection: Connection, conversation: str, now: Moment) -> bool:
        """Let a paused conversation send again, as if it had been silent; say whether it was paused."""
        state = self.books.rate(conversation_key(conversation))
        if state.paused_us is None:
            return False
        self.books.set_rate(conversation_key(conversation), RateState((), None, state.per_minute))
        self._note(connection, now.us, "resume", {"conversation": conversation})
        return True

    def reset_local(self, connection: Connection, now: Moment) -> None:
        self.books.reset_local(now.day)

    def add_score(self, connection: Connection, entry: ScoreEntry, now: Moment) -> None:
        self._add_score.run(
            driver_of(connection),
            {
                "provider": entry.provider,
                "model": entry.model,
                "kind": entry.kind,
                "day": now.day,
                "tried": 1,
                "passed": int(entry.passed),
                "repaired": int(entry.repaired),
                "cost_nanodollars": entry.cost_nanodollars,
            },
        )

    # ------------------------------------------------------------------ parts of them

    def _attempts_from(self, connection: Connection, correlation_id: str, number: int) -> Sequence[Row]:
        """Return an attempt and those that came after it.

        Raises:
            InvalidRequest: there is no such attempt.
        """
        known = self.books.open_row(correlation_id)
        if known is not None and known["number"] == number:
            return [known]
        rows = self._from.rows(driver_of(connection), correlation_id=correlation_id, number=number)
        if not rows or rows[0]["number"] != number or rows[0]["status"] in schema.UNSENT:
            raise InvalidRequest(_FORGOTTEN, hint="It may have been set aside with an earlier ledger.")
        return rows

    def _end(
        self, connection: Connection, row: Row, outcome: Outcome, status: str, ended_us: int, kind: str
    ) -> dict[str, Any]:
        closed = {**row, **closing(row, outcome, status, ended_us)}
        self.change(connection, row, closed, kind, ended_us)
        return closed

    def change(self, connection: Connection, row: Row, closed: Row, kind: str, at_us: int) -> None:
        self._write_closed(connection, row, closed, kind, at_us)
        self.books.change(row, closed)

    def _write_closed(
        self, connection: Connection, row: Row, closed: Row, kind: str, at_us: int | None = None
    ) -> None:
        self._close.run_in_order(driver_of(connection), (*[closed[name] for name in CLOSING], row["id"]))
        self.books.append_audit(
            at_us=closed["ended_us"] if at_us is None else at_us,
            kind=kind,
            correlation_id=row["correlation_id"],
            row=closed,
            before=row,
        )

    def _note(self, connection: Connection, at_us: int, kind: str, note: Mapping[str, Any]) -> None:
        self.books.append_audit(at_us=at_us, kind=kind, correlation_id=None, row=None, note=note)

    def _alerts(
        self, limits: Sequence[Limit], percents: Sequence[int], at_us: int, day: str
    ) -> tuple[BudgetAlert, ...]:
        """Return the highest share of each limit that is reached for the first time in its window.

        A step over several shares tells the highest; those below it are never told afterwards.
        """
        alerts: list[BudgetAlert] = []
        lowest = min(percents, default=0)
        for limit in limits if percents else ():
            if taken(self.books, limit, day) * 100 < lowest * amount_of(limit):
                continue  # mostly
            standing = now_standing(self.books, limit, day)
            project = project_of(limit) or ""
            first = [
                percent
                for percent in crossed(standing, percents)
                if self.books.record_first_crossing(
                    at_us,
                    window=standing.window_label,
                    limit_name=limit.name,
                    project=project,
                    amount=amount_of(limit),
                    percent=percent,
                )
            ]
            if first:
                alerts.append(
                    BudgetAlert(
                        limit_name=limit.name,
                        window_label=standing.window_label,
                        percent=first[-1],
                        used=standing.used,
                        held=standing.held,
                        limit=amount_of(limit),
                        unit=unit_of(limit),
                        project=project or None,
                    )
                )
        return tuple(alerts)


def _owner_of(row: Row) -> ProcessIdentity:
    return ProcessIdentity(row["owner_host"], row["owner_pid"], row["owner_started"])


def _may_still_end(row: Row) -> bool:
    """Whether an attempt's own end may still come: it is open, or a start-up gave it up and nobody settled it."""
    given_up = row["error_kind"] == _INTERRUPTED.error_kind and row["status"] == _INTERRUPTED.status
    # A local attempt has no cash that could be unresolved.
    return row["state"] == "open" or (given_up and (row["state"] == "unresolved" or row["side"] == "local"))


def local_count(total: Mapping[str, Any]) -> int:
    """Return a day's local requests since its count was last reset."""
    return max(0, total["local_requests"] - total["local_reset"])
