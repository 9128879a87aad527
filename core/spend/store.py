"""The ledger's changes, each a function of an open transaction. Whoever calls them begins and commits it.

Statements are built with SQLAlchemy Core and compiled once for the database at hand, then run on the driver's
own cursor inside SQLAlchemy's transaction: an admission is eight of them, and building each anew, with
SQLAlchemy's results around its rows, costs four times what SQLite itself needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, func, select, update

from core.errors import InvalidRequest
from core.spend import schema
from core.spend.budget import Limit, TokenLimit, check_limit, project_of, resolve, window_of
from core.spend.owner import Owner, current_owner, is_alive
from core.spend.rows import Admission, HoldRequest, NewRequest, Outcome, Recovered
from core.spend.sums import Row, Sums, change

if TYPE_CHECKING:
    from sqlalchemy import Connection, Dialect, Table
    from sqlalchemy.sql.base import Executable

_INTERRUPTED = Outcome(status="failed", error_kind="interrupted")
_FORGOTTEN = "The ledger has no open request with that identifier."


class _Sql:
    """A statement compiled to the driver's own text, with its parameters in the driver's own order."""

    def __init__(self, statement: Executable, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]
        self._text: str = str(compiled)  # pyright: ignore[reportUnknownArgumentType]
        self._order: list[str] | None = compiled.positiontup  # pyright: ignore[reportUnknownMemberType]
        self._fixed: dict[str, Any] = {
            name: value
            for name, value in compiled.params.items()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            if value is not None
        }

    def run(self, connection: Connection, **values: Any) -> list[dict[str, Any]]:
        cursor = connection.connection.cursor()
        try:
            cursor.execute(self._text, self._parameters(values))
            # None after a statement that returns no rows, whatever the stubs say.
            names = [column[0] for column in cursor.description or ()]
            if not names:
                return []
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        finally:
            cursor.close()

    def run_many(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
        cursor = connection.connection.cursor()
        try:
            cursor.executemany(self._text, [self._parameters(row) for row in rows])
        finally:
            cursor.close()

    def _parameters(self, values: dict[str, Any]) -> Any:
        if self._fixed:
            values = self._fixed | values
        return values if self._order is None else tuple(values[name] for name in self._order)


DAY_LENGTH = len("2026-11-23")


class Store:
    """The statements of one database and the operations made of them."""

    def __init__(self, dialect: Dialect, owner: Owner | None = None) -> None:
        self.owner = owner or current_owner()
        attempts, totals = schema.attempts, schema.totals
        mine = attempts.c.correlation_id == bindparam("correlation_id")

        def compiled(statement: Executable) -> _Sql:
            return _Sql(statement, dialect)

        self._insert = compiled(
            attempts.insert().values(
                {column.name: bindparam(column.name) for column in attempts.c if column.name != "id"}
            )
        )
        self._last = compiled(select(attempts).where(mine).order_by(attempts.c.number.desc()).limit(1))
        self._close = compiled(
            update(attempts)
            .where(attempts.c.id == bindparam("row_id"))
            .values({name: bindparam(f"new_{name}") for name in _CLOSING})
        )
        held = select(
            func.coalesce(func.sum(attempts.c.hold_nanodollars), 0).label("held"), func.count().label("count")
        ).where(and_(schema.OPEN_STATE, attempts.c.hold_nanodollars > 0))
        self._held = compiled(held)
        whole_days = and_(totals.c.project == "", func.length(totals.c.window) == DAY_LENGTH)
        self._first_day = compiled(select(func.min(totals.c.window).label("day")).where(whole_days))
        self._days = compiled(
            select(totals).where(whole_days, totals.c.window.between(bindparam("first"), bindparam("last")))
        )
        self._held_by_project = compiled(held.where(attempts.c.project == bindparam("project")))
        self._open = compiled(select(attempts).where(schema.OPEN_STATE))
        self._total = compiled(
            select(totals).where(
                totals.c.window == bindparam("window"), totals.c.project == bindparam("project")
            )
        )
        self._reset_local = compiled(
            update(totals)
            .where(totals.c.window == bindparam("day"), totals.c.project == "")
            .values(local_reset=totals.c.local_requests)
        )
        self._add_rollups = compiled(_upsert(schema.rollups, schema.ROLLUP_KEYS, schema.ROLLUP_SUMS, dialect))
        self._add_totals = compiled(_upsert(totals, schema.TOTAL_KEYS, schema.TOTAL_SUMS, dialect))

    def begin(
        self,
        connection: Connection,
        record: NewRequest,
        hold: HoldRequest | None,
        started_at: datetime,
        decision_json: str | None,
        number: int = 1,
    ) -> Admission:
        """Check the limits, then write the attempt with its hold.

        Raises:
            BudgetExceeded: a limit holds; nothing was written.
            InvalidRequest: the identifier is in use.
        """
        if number == 1 and self._last.run(connection, correlation_id=record.correlation_id):
            raise InvalidRequest(
                "A request with this identifier is already in the ledger.", hint="Send it with a new one."
            )
        day = started_at.date().isoformat()
        asked = hold.nanodollars if hold is not None else 0
        if record.side == "local":
            asked = 0
        for limit in hold.limits if hold is not None else ():
            if isinstance(limit, TokenLimit):
                continue
            self._check(connection, limit, asked, day, hold is not None and hold.allow_unpriced)
        row = self._new_row(record, asked, started_at, day, decision_json, number)
        row["expires_us"] = row["started_us"] + int((hold.expires_s if hold is not None else 3600.0) * 1e6)
        self._insert.run(connection, **row)
        self._apply(connection, None, row)
        held, _ = self.held(connection)
        month = self.total(connection, day[:7])
        today = self.total(connection, day)
        return Admission(
            correlation_id=record.correlation_id,
            attempt=number,
            hold_nanodollars=asked,
            spent_nanodollars=month["counted_nanodollars"],
            held_nanodollars=held,
            local_count_today=local_count(today),
        )

    def settle(self, connection: Connection, correlation_id: str, outcome: Outcome, ended_us: int) -> bool:
        """Close the last attempt; say whether that changed anything.

        A second call changes nothing, except that a true cost replaces one that was only estimated: an
        answer may still arrive after a start-up gave its hold up as lost.

        Raises:
            InvalidRequest: there is no such request.
        """
        row = self._last_attempt(connection, correlation_id)
        late_truth = row["state"] == "unresolved" and (
            outcome.cost_nanodollars is not None or outcome.usage is not None or not outcome.may_have_billed
        )
        if row["state"] != "open" and not late_truth:
            return False
        self._end(connection, row, outcome, outcome.status, ended_us)
        return True

    def switch(
        self,
        connection: Connection,
        failed: Outcome,
        record: NewRequest,
        hold: HoldRequest | None,
        started_at: datetime,
        decision_json: str | None,
    ) -> Admission:
        """Close the attempt that failed and begin the next one, both or neither.

        Raises:
            BudgetExceeded: the new hold does not fit; the failed attempt is left open, to be settled.
            InvalidRequest: there is no such request, or its last attempt is closed already.
        """
        row = self._last_attempt(connection, record.correlation_id)
        if row["state"] != "open":
            raise InvalidRequest(_FORGOTTEN, hint="Send it again as a new request.")
        self._end(connection, row, failed, "superseded", _microseconds(started_at))
        return self.begin(connection, record, hold, started_at, decision_json, number=row["number"] + 1)

    def recover(self, connection: Connection, now_us: int) -> Recovered:
        """Close what dead processes left open: API attempts at their hold, local ones at no cash."""
        alive: dict[Owner, bool | None] = {}
        unresolved: list[str] = []
        nanodollars = local = 0
        for row in self._open.run(connection):
            owner = Owner(row["owner_host"], row["owner_pid"], row["owner_started"])
            if owner not in alive:
                alive[owner] = is_alive(owner)
            if alive[owner] is not False and row["expires_us"] > now_us:
                continue
            closed = self._end(connection, row, _INTERRUPTED, "failed", now_us)
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

    def reset_local(self, connection: Connection, day: str) -> None:
        self._reset_local.run(connection, day=day)

    def first_day(self, connection: Connection) -> str | None:
        """Return the day of the ledger's first request, ``None`` before it."""
        (row,) = self._first_day.run(connection)
        return row["day"]

    def days(self, connection: Connection, first: str, last: str) -> list[dict[str, Any]]:
        """Return the totals of each day with a request, from ``first`` to ``last``, both included."""
        return self._days.run(connection, first=first, last=last)

    def held(self, connection: Connection, project: str | None = None) -> tuple[int, int]:
        """Return the sum and the number of open holds, of one project or of all."""
        if project is None:
            (row,) = self._held.run(connection)
        else:
            (row,) = self._held_by_project.run(connection, project=project)
        return int(row["held"]), row["count"]

    def total(self, connection: Connection, window: str, project: str = "") -> Mapping[str, Any]:
        """Return the totals of a month or a day; all zero where nothing happened."""
        rows = self._total.run(connection, window=window, project=project)
        return rows[0] if rows else _NOTHING

    def _check(
        self, connection: Connection, limit: Limit, asked: int | None, day: str, allow_unpriced: bool
    ) -> None:
        if asked is None and allow_unpriced:
            return
        project = project_of(limit)
        held, count = self.held(connection, project)
        spent = self.total(connection, window_of(limit, day), project or "")["counted_nanodollars"]
        check_limit(limit, asked=asked, used=spent, held=held, held_count=count)

    def _new_row(
        self,
        record: NewRequest,
        asked: int | None,
        started_at: datetime,
        day: str,
        decision_json: str | None,
        number: int,
    ) -> dict[str, Any]:
        started_us = _microseconds(started_at)
        row: dict[str, Any] = dict.fromkeys(
            column.name for column in schema.attempts.c if column.name != "id"
        )
        row.update(
            correlation_id=record.correlation_id,
            number=number,
            started_us=started_us,
            hour=started_us // 3_600_000_000,
            day=day,
            source=record.source,
            project=record.project or "",
            mode=record.decision.mode if record.decision else None,
            rule=record.decision.rule if record.decision else "",
            side=record.side,
            provider=record.provider,
            model=record.model,
            status="open",
            state="open",
            hold_nanodollars=asked,
            counted_nanodollars=0,
            owner_host=self.owner.host,
            owner_pid=self.owner.pid,
            owner_started=self.owner.started,
            decision_json=decision_json,
        )
        return row

    def _last_attempt(self, connection: Connection, correlation_id: str) -> Mapping[str, Any]:
        rows = self._last.run(connection, correlation_id=correlation_id)
        if not rows:
            raise InvalidRequest(_FORGOTTEN, hint="It may have been set aside with an earlier ledger.")
        return rows[0]

    def _end(
        self, connection: Connection, row: Row, outcome: Outcome, status: str, ended_us: int
    ) -> dict[str, Any]:
        usage = outcome.usage
        resolution = resolve(
            row["side"],
            hold_nanodollars=row["hold_nanodollars"],
            hold_tokens=0,
            cost_nanodollars=outcome.cost_nanodollars,
            used_tokens=usage.total_tokens if usage else None,
            may_have_billed=outcome.may_have_billed,
        )
        closing: dict[str, Any] = {
            "status": status,
            "state": resolution.state,
            "cost_nanodollars": resolution.cost_nanodollars,
            "counted_nanodollars": resolution.counted_nanodollars,
            "loaded_nanodollars": outcome.loaded_nanodollars,
            "price_version": outcome.price_version,
            "served_model": outcome.model,
            "latency_ms": outcome.latency_ms,
            "ttft_ms": outcome.ttft_ms,
            "error_kind": outcome.error_kind,
            "ended_us": ended_us,
            **{name: getattr(usage, name) if usage else None for name in _USAGE},
        }
        self._close.run(
            connection, row_id=row["id"], **{f"new_{name}": value for name, value in closing.items()}
        )
        new_row = {**row, **closing}
        self._apply(connection, row, new_row)
        return new_row

    def _apply(self, connection: Connection, old: Row | None, new: Row | None) -> None:
        rollup_sums, total_sums = change(old, new)
        for statement, keys, names, sums in (
            (self._add_rollups, schema.ROLLUP_KEYS, schema.ROLLUP_SUMS, rollup_sums),
            (self._add_totals, schema.TOTAL_KEYS, schema.TOTAL_SUMS, total_sums),
        ):
            if sums:
                statement.run_many(connection, _named(keys, names, sums))


_USAGE = (
    "fresh_input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "thinking_tokens",
    "service_tier",
)
_CLOSING = (
    "status",
    "state",
    "cost_nanodollars",
    "counted_nanodollars",
    "loaded_nanodollars",
    "price_version",
    "served_model",
    "latency_ms",
    "ttft_ms",
    "error_kind",
    "ended_us",
    *_USAGE,
)
_NOTHING: Mapping[str, Any] = {**dict.fromkeys(schema.TOTAL_SUMS, 0), "local_reset": 0}


def _named(keys: Sequence[str], names: Sequence[str], sums: Sums) -> list[dict[str, Any]]:
    columns = (*keys, *names)
    # In one order everywhere, so that two PostgreSQL writers could never wait for each other crosswise.
    return [dict(zip(columns, (*key, *sums[key]), strict=True)) for key in sorted(sums)]


def local_count(total: Mapping[str, Any]) -> int:
    """Return a day's local requests since its count was last reset."""
    return max(0, total["local_requests"] - total["local_reset"])


def _microseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)


def _upsert(table: Table, keys: Sequence[str], names: Sequence[str], dialect: Dialect) -> Executable:
    """Return an insert of a row of sums that adds to the one already there."""
    if dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert
    else:
        from sqlalchemy.dialects.postgresql import insert
    statement = insert(table).values({name: bindparam(name) for name in (*keys, *names)})
    return statement.on_conflict_do_update(
        index_elements=list(keys),
        set_={name: table.c[name] + statement.excluded[name] for name in names},
    )
