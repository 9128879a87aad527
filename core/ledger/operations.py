"""The ledger's changes, each a function of an open transaction. Whoever calls them begins and commits it.

An operation reads and refuses first and writes afterwards: a ``SignalboxError`` it raises means that it changed
nothing, so that a batch of operations needs no savepoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, or_, select, update

from core.chat import ScoreEntry
from core.errors import DuplicateRequest, InvalidRequest, SignalboxError
from core.ledger import schema
from core.ledger.admission import Asked, check_admission, conversation_key, now_standing, pass_rates, taken
from core.ledger.database import driver_of
from core.ledger.limits import BudgetAlert, Limit, amount_of, crossed, project_of, unit_of
from core.ledger.mapping import (
    CLOSING,
    COLUMNS,
    Beginning,
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
    Settlement,
)
from core.ledger.process_identity import ProcessIdentity, current_process, is_alive
from core.ledger.savings import PricedRow
from core.ledger.sql import Sql, adding, insert_into
from core.ledger.totals import RateState, Row, RunningTotals

if TYPE_CHECKING:
    from sqlalchemy import Connection, Dialect
    from sqlalchemy.sql.base import Executable


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

    def __init__(self, dialect: Dialect, owner: ProcessIdentity | None = None) -> None:
        self.owner = owner or current_process()
        self.books = RunningTotals(dialect)
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
        self._last = compiled(select(attempts).where(mine).order_by(attempts.c.number.desc()).limit(1))
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

    def begin(self, connection: Connection, asked: Beginning) -> Admission | SignalboxError:
        """Check the limits and rates, then write the attempt with its hold.

        A runaway conversation is paused by the very request that is refused, so that refusal is an answer (to
        be raised after the commit) and not an exception.

        Raises:
            BudgetExceeded, RateExceeded, RunawayPaused: a limit holds; nothing was written.
            DuplicateRequest: its idempotency key is taken.
            InvalidRequest: the identifier is in use.
        """
        return self._begin(connection, asked, 1, None)

    def switch(self, connection: Connection, failed: Outcome, asked: Beginning) -> Admission | SignalboxError:
        """Close the attempt that failed and begin the next one, both or neither.

        Raises:
            BudgetExceeded, RateExceeded, RunawayPaused: a limit holds; the failed attempt is left open, to be
                settled.
            InvalidRequest: there is no such request, or its last attempt is closed already.
        """
        row = self._last_attempt(connection, asked.record.correlation_id)
        if not _may_still_end(row):
            raise InvalidRequest(_FORGOTTEN, hint="Send it again as a new request.")
        closed = {**row, **closing(row, failed, "superseded", asked.now.us)}
        # The failed attempt's own hold must not stand in the way of the next one.
        self.books.change(row, closed)
        try:
            return self._begin(connection, asked, row["number"] + 1, (row, closed))
        except SignalboxError:
            self.books.change(closed, row)
            raise

    def has_begun(self, connection: Connection, asked: Beginning, admission: Admission) -> bool:
        """Whether the attempt of ``admission`` is in the ledger: its transaction's end was never heard of."""
        rows = self._last.rows(driver_of(connection), correlation_id=asked.record.correlation_id)
        return bool(rows) and (
            rows[0]["number"] == admission.attempt
            and rows[0]["state"] == "open"
            and rows[0]["started_us"] == asked.started.us
            and ProcessIdentity(rows[0]["owner_host"], rows[0]["owner_pid"], rows[0]["owner_started"])
            == self.owner
        )

    def _begin(
        self, connection: Connection, asked: Beginning, number: int, replaced: tuple[Row, Row] | None
    ) -> Admission | SignalboxError:
        record, hold, books = asked.record, asked.hold, self.books
        wanted = Asked.of(record, hold)
        day, now_us = asked.started.day, asked.now.us
        self._refuse_duplicates(connection, asked)
        check_admission(books, wanted, day)
        rates = pass_rates(books, asked.rates, now_us) if asked.rates else {}
        if isinstance(rates, SignalboxError):
            if replaced is not None:
                books.change(replaced[1], replaced[0])
            self.note(
                connection,
                now_us,
                "pause",
                {"conversation": rates.conversation, "per_minute": rates.per_minute},
            )
            return rates
        row = new_row(asked, wanted, number, self.owner)
        found = self._insert_open.returned(books.driver, row)
        if found is None:
            raise InvalidRequest(
                "A request with this identifier is already in the ledger.", hint="Send it with a new one."
            )
        row["id"] = found[0]
        if replaced is not None:
            self._write_closed(connection, *replaced, "switch")
        books.note(at_us=now_us, kind="begin", correlation_id=record.correlation_id, row=row)
        books.change(None, row)
        for key, state in rates.items():
            books.set_rate(key, state)
        month, today = books.total(day[:7]), books.total(day)
        return Admission(
            correlation_id=record.correlation_id,
            attempt=number,
            hold_nanodollars=wanted.nanodollars,
            spent_nanodollars=month["counted_nanodollars"],
            held_nanodollars=books.held().nanodollars,
            local_count_today=local_count(today),
            alerts=self._alerts(hold.limits, hold.alert_percents, now_us, day) if hold is not None else (),
        )

    def _refuse_duplicates(self, connection: Connection, asked: Beginning) -> None:
        key = asked.record.idempotency_key
        if key is None:
            return
        taken = self._with_key.rows(
            driver_of(connection),
            idempotency_key=key,
            since_us=asked.now.us - KEY_KEPT_US,
            correlation_id=asked.record.correlation_id,
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
            (there,) = self._last.rows(driver, correlation_id=record.correlation_id)
            if there["status"] == "refused":
                return there
            raise InvalidRequest("A request that was sent cannot be recorded as refused.")
        row["id"] = found[0]
        self.books.note(at_us=now.us, kind="refuse", correlation_id=record.correlation_id, row=row)
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
            return self._last.rows(driver, correlation_id=record.correlation_id)[0]
        row["id"] = found[0]
        self.books.note(at_us=now.us, kind="replay", correlation_id=record.correlation_id, row=row)
        self.books.change(None, row)
        return row

    # ------------------------------------------------------------------ endings

    def settle(
        self,
        connection: Connection,
        correlation_id: str,
        outcome: Outcome,
        now: Moment,
        limits: Sequence[Limit] = (),
        alert_percents: Sequence[int] = (),
    ) -> Settlement:
        """Close the last attempt; say whether that changed anything.

        A second call changes nothing, except that the true figures replace those of an attempt that a start-up
        gave up as lost: its answer may still arrive.

        Raises:
            InvalidRequest: there is no such request.
        """
        row = self._last_attempt(connection, correlation_id)
        late_truth = row["state"] == "unresolved" and (
            outcome.cost_nanodollars is not None or outcome.usage is not None or not outcome.may_have_billed
        )
        if not _may_still_end(row) and not late_truth:
            return Settlement(saved=False)
        self._end(connection, row, outcome, outcome.status, now.us, "settle")
        return Settlement(saved=True, alerts=self._alerts(limits, alert_percents, now.us, now.day))

    def recover(self, connection: Connection, now_us: int, *, spare_the_living: bool = False) -> Recovered:
        """Close what dead processes left open: API attempts at their hold, local ones at no cash.

        What has run longer than its hold lasts is closed too, although its process may live, unless
        ``spare_the_living`` leaves those alone that are seen to. Its true end still counts when it comes: see
        ``settle`` and ``switch``.
        """
        alive: dict[ProcessIdentity, bool | None] = {}
        unresolved: list[str] = []
        nanodollars = local = 0
        for row in self._open.rows(driver_of(connection)):
            owner = ProcessIdentity(row["owner_host"], row["owner_pid"], row["owner_started"])
            if owner not in alive:
                alive[owner] = is_alive(owner)
            if alive[owner] is not False and row["expires_us"] > now_us:
                continue
            if alive[owner] and spare_the_living:
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
                f"Request {correlation_id} is not unresolved.",
                hint="Only unresolved requests are settled by hand.",
            )
        if len(rows) > 1:
            numbers = ", ".join(str(row["number"]) for row in rows)
            raise InvalidRequest(
                f"Request {correlation_id} has several unresolved attempts.",
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
        self.note(connection, now.us, "resume", {"conversation": conversation})
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

    def _last_attempt(self, connection: Connection, correlation_id: str) -> Row:
        known = self.books.open_row(correlation_id)
        if known is not None:
            return known
        rows = self._last.rows(driver_of(connection), correlation_id=correlation_id)
        if not rows or rows[0]["status"] in schema.UNSENT:
            raise InvalidRequest(_FORGOTTEN, hint="It may have been set aside with an earlier ledger.")
        return rows[0]

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
        self.books.note(
            at_us=closed["ended_us"] if at_us is None else at_us,
            kind=kind,
            correlation_id=row["correlation_id"],
            row=closed,
            before=row,
        )

    def note(self, connection: Connection, at_us: int, kind: str, note: Mapping[str, Any]) -> None:
        self.books.note(at_us=at_us, kind=kind, correlation_id=None, row=None, note=note)

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
                if self.books.tell(
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


def _may_still_end(row: Row) -> bool:
    """Whether an attempt's own end may still come: it is open, or a start-up gave it up and nobody settled it."""
    given_up = row["error_kind"] == _INTERRUPTED.error_kind and row["status"] == _INTERRUPTED.status
    # A local attempt has no cash that could be unresolved.
    return row["state"] == "open" or (given_up and (row["state"] == "unresolved" or row["side"] == "local"))


def local_count(total: Mapping[str, Any]) -> int:
    """Return a day's local requests since its count was last reset."""
    return max(0, total["local_requests"] - total["local_reset"])
