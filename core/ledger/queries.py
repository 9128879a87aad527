"""Reading the ledger: reports from the hourly sums, rows by page, the standing of each limit, and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import and_, bindparam, case, func, literal, or_, select

from core.chat import Savings
from core.ledger import schema
from core.ledger.admission import standing_of
from core.ledger.limits import Budget, Limit, LimitUsage, SpendLimit, project_of, window_of
from core.ledger.mapping import usage_of
from core.ledger.models import LedgerRow, PausedConversation, ReportKey, ReportRow, Volume
from core.ledger.operations import local_count
from core.ledger.sql import Sql, begin_reading, driver_of
from core.ledger.totals import Held, Reader, Row, Shortfalls
from core.pricing.spending import Spending
from core.scores import ScoreRow

if TYPE_CHECKING:
    from sqlalchemy import Connection, Dialect, Table

_MEAN_DAYS = 7
DAY_LENGTH = len("2026-11-23")


class UsageQueries:
    """What each decision asks for: the day's counts and each limit, on compiled statements."""

    def __init__(self, dialect: Dialect, shortfalls: Shortfalls | None = None) -> None:
        totals = schema.totals
        self._shortfalls = shortfalls or Shortfalls()
        self._reader = Reader(dialect, self._shortfalls)
        whole_days = and_(totals.c.project == "", func.length(totals.c.window) == DAY_LENGTH)
        days = schema.days
        self._stopped = Sql(
            select(days.c.day, days.c.project)
            .where(
                days.c.day.between(bindparam("first"), bindparam("last")),
                days.c.side == "api",
                days.c.stopped > 0,
                days.c.cost_nanodollars > 0,
            )
            .distinct(),
            dialect,
        )
        attempts = schema.attempts
        self._unpriced = Sql(
            select(
                attempts.c.day,
                attempts.c.project,
                func.sum(attempts.c.counted_nanodollars).label("nanodollars"),
            )
            .where(
                schema.UNPRICED,
                attempts.c.state == "settled",  # one that is not settled is told as that
                attempts.c.day.between(bindparam("first"), bindparam("last")),
            )
            .group_by(attempts.c.day, attempts.c.project),
            dialect,
        )
        self._first_day = Sql(select(func.min(totals.c.window).label("day")).where(whole_days), dialect)
        self._days = Sql(
            select(totals).where(whole_days, totals.c.window.between(bindparam("first"), bindparam("last"))),
            dialect,
        )

    def read(
        self, connection: Connection, limits: Sequence[Limit], today: date, *, estimates: bool = False
    ) -> tuple[Volume, tuple[LimitUsage, ...], Budget]:
        begin_reading(connection)
        return self.read_rows(driver_of(connection), limits, today, estimates=estimates)

    def read_rows(
        self, driver: Any, limits: Sequence[Limit], today: date, *, estimates: bool = False
    ) -> tuple[Volume, tuple[LimitUsage, ...], Budget]:
        """Read in the transaction that is open on the driver's own connection.

        ``estimates`` finds out, with one more read, which sums have an estimate in them; and with another, where
        there are unpriced requests, what these count for.
        """
        day = today.isoformat()
        held = self._reader.held(driver)
        past = self._past_days(driver, today)
        known = {(window, ""): total for window, total in past.items()}

        def total_of(window: str, project: str) -> Mapping[str, Any]:
            found = known.get((window, project))
            if found is None:
                found = known[window, project] = self._reader.total(driver, window, project)
            return found

        standings: list[LimitUsage] = []
        for limit in limits:
            project, window = project_of(limit), window_of(limit, day)
            total = total_of(window, project or "")
            standings.append(standing_of(limit, window, total, held.get(project) or Held()))
        month_limits = [
            limit.nanodollars
            for limit in limits
            if isinstance(limit, SpendLimit) and limit.window == "month" and limit.project is None
        ]
        budget = _budget(day[:7], None, min(month_limits, default=None), held, total_of(day[:7], ""))
        if estimates:
            stopped = self._stopped.rows(driver, first=f"{day[:7]}-01", last=day)
            budget = replace(budget, estimated=bool(stopped))
            if budget.unpriced_count:
                unpriced = self._unpriced.rows(driver, first=f"{day[:7]}-01", last=day)
                counted = sum(int(row["nanodollars"]) for row in unpriced)
                budget = replace(budget, unpriced_nanodollars=counted)
                standings = [_with_unpriced(standing, unpriced) for standing in standings]
            standings = [_with_estimates(standing, stopped) for standing in standings]
        return self._volume(driver, today, past), tuple(standings), budget

    def budget(
        self, connection: Connection, window: str, project: str | None, limit_nanodollars: int | None
    ) -> Budget:
        """Read one window's cash and the open holds, both at the same moment."""
        begin_reading(connection)
        driver = driver_of(connection)
        total = self._reader.total(driver, window, project or "")
        return _budget(window, project, limit_nanodollars, self._reader.held(driver), total)

    def volume(self, connection: Connection, today: date) -> Volume:
        begin_reading(connection)
        driver = driver_of(connection)
        return self._volume(driver, today, self._past_days(driver, today))

    def _past_days(self, driver: Any, today: date) -> dict[str, dict[str, Any]]:
        """Return the totals of today and of the days that its mean is made of, where there are any."""
        first, last = (today - timedelta(days=_MEAN_DAYS)).isoformat(), today.isoformat()
        return {
            row["window"]: self._shortfalls.corrected(row, row["window"])
            for row in self._days.rows(driver, first=first, last=last)
        }

    def _volume(self, driver: Any, today: date, rows: Mapping[str, Mapping[str, Any]]) -> Volume:
        """Count today's requests and average the seven days before it, as far back as the ledger goes."""
        past = [(today - timedelta(days=back)).isoformat() for back in range(_MEAN_DAYS + 1)]
        (first,) = self._first_day.rows(driver)
        now, first_day = rows.get(past[0]), first["day"]
        whole_days = [day for day in past[1:] if first_day is not None and day >= first_day]
        requests = sum(rows[day]["requests"] for day in whole_days if day in rows)
        return Volume(
            local_today=local_count(now) if now else 0,
            requests_today=now["requests"] if now else 0,
            seven_day_mean=requests / len(whole_days) if whole_days else 0.0,
        )


def _with_unpriced(standing: LimitUsage, unpriced: Sequence[Row]) -> LimitUsage:
    """Tell apart what unpriced requests count for; ``unpriced`` has it by day and project."""
    if not isinstance(standing.limit, SpendLimit):
        return standing
    amount = sum(int(row["nanodollars"]) for row in unpriced if _is_under(standing, row))
    return replace(standing, unpriced=amount, estimated=standing.estimated and not amount)


def _is_under(standing: LimitUsage, row: Row) -> bool:
    return row["day"].startswith(standing.window_label) and standing.project in (None, row["project"])


def _with_estimates(standing: LimitUsage, stopped: Sequence[Row]) -> LimitUsage:
    """Say whether a limit's dollars have an estimate in them; ``stopped`` are the days and projects with one."""
    found = any(_is_under(standing, row) for row in stopped)
    estimated = standing.estimated or (found and isinstance(standing.limit, SpendLimit))
    return replace(standing, estimated=estimated)


def _budget(
    window: str,
    project: str | None,
    limit_nanodollars: int | None,
    held: Mapping[str | None, Held],
    total: Mapping[str, Any],
) -> Budget:
    holding = held.get(project)
    return Budget(
        window_label=window,
        limit_nanodollars=limit_nanodollars,
        spent_nanodollars=total["counted_nanodollars"],
        held_nanodollars=holding.nanodollars if holding else 0,
        held_count=holding.count if holding else 0,
        unresolved_nanodollars=total["unresolved_nanodollars"],
        unresolved_count=total["unresolved"],
        unpriced_count=total["unpriced"],
    )


def report(connection: Connection, since: datetime | None, by: ReportKey, daily: bool) -> list[ReportRow]:
    """Sum what was closed since the hour of ``since``, and count what is open; days by name, others by their cost.

    Whole days are read from the sums by day, and only the first ones from those by hour.
    """
    begin_reading(connection)
    hours, days, attempts = schema.hours, schema.days, schema.attempts
    closed = {name: func.sum(days.c[name]) for name in schema.HOUR_SUMS}
    parts: Sequence[tuple[Table, dict[str, Any], Sequence[Any]]]
    if since is None:
        parts = [(days, closed, []), (attempts, _open_sums(), [schema.OPEN_STATE])]
    else:
        hour = int(since.timestamp()) // 3600
        # A day is the user's, up to 14 hours ahead of UTC: after this one, no day has an hour before ``since``.
        last = (since.astimezone(UTC).date() + timedelta(days=1)).isoformat()
        first = {name: func.sum(hours.c[name]) for name in schema.HOUR_SUMS}
        # Where midnight is no full hour of UTC (India), the hour of ``since`` begins the day before; limits don't.
        today = since.astimezone().date().isoformat()
        parts = [
            (
                hours,
                first,
                [
                    or_(hours.c.hour > hour, and_(hours.c.hour == hour, hours.c.day >= today)),
                    hours.c.day <= last,
                ],
            ),
            (days, closed, [days.c.day > last]),
            # The sum keeps SQLite from reading all rows since then to find the few open ones.
            (
                attempts,
                _open_sums(),
                [
                    schema.OPEN_STATE,
                    or_(
                        attempts.c.hour + 0 > hour, and_(attempts.c.hour + 0 == hour, attempts.c.day >= today)
                    ),
                ],
            ),
        ]
    groups: dict[tuple[str, str], dict[str, int]] = {}
    for table, sums, conditions in parts:
        columns = [table.c.day if daily else literal("").label("day"), table.c[by].label("key")]
        query = select(*columns, *(total.label(name) for name, total in sums.items())).where(*conditions)
        query = query.group_by(*((table.c.day, table.c[by]) if daily else (table.c[by],)))
        for row in connection.execute(query).mappings():
            group = groups.setdefault((row["day"], row["key"]), dict.fromkeys(schema.HOUR_SUMS, 0))
            for name in sums:
                group[name] += int(row[name])
    rows = [_report_row(day if daily else None, key, sums) for (day, key), sums in groups.items()]
    if by == "day":
        return sorted(rows, key=lambda row: row.key)
    return sorted(rows, key=lambda row: (row.day or "", -row.cost_nanodollars, -row.attempts, row.key))


def _open_sums() -> dict[str, Any]:
    """Return what an open attempt counts for in a report: it is one, and its request runs."""
    return {
        "attempts": func.count(),
        "requests": func.count(),
        "fell_back": func.sum(case((schema.attempts.c.number > 1, 1), else_=0)),
    }


def _report_row(day: str | None, key: str, sums: dict[str, int]) -> ReportRow:
    written = sums["cache_write_5m_tokens"] + sums["cache_write_1h_tokens"]
    same = (
        "requests",
        "attempts",
        "failed",
        "stopped",
        "fell_back",
        "refused",
        "output_tokens",
        "cost_nanodollars",
        "loaded_nanodollars",
        "loaded_unknown",
        "marginal_nanodollars",
        "unresolved",
        "unresolved_nanodollars",
        "unpriced",
        "trimmed_tokens",
        "compressed_tokens",
        "trimming_saved_nanodollars",
        "compression_saved_nanodollars",
        "cache_saved_nanodollars",
        "saved_unknown",
    )
    return ReportRow(
        key=key,
        day=day,
        input_tokens=sums["fresh_input_tokens"] + sums["cache_read_tokens"] + written,
        cached_tokens=sums["cache_read_tokens"],
        cache_write_tokens=written,
        busy_ms=round(sums["busy_us"] / 1000),
        **{name: sums[name] for name in same},
    )


def recent(connection: Connection, limit: int, before: str | None) -> list[LedgerRow]:
    """Return the newest attempts, newest first; ``before`` is a correlation id to page on from."""
    attempts = schema.attempts
    query = select(attempts).order_by(attempts.c.id.desc()).limit(limit)
    if before is not None:
        first = select(func.min(attempts.c.id)).where(attempts.c.correlation_id == before).scalar_subquery()
        query = query.where(attempts.c.id < first)
    return _ledger_rows(connection, query)


def oldest(connection: Connection) -> LedgerRow | None:
    """Return the attempt that was written first; ``None`` in an empty ledger."""
    attempts = schema.attempts
    rows = _ledger_rows(connection, select(attempts).order_by(attempts.c.id).limit(1))
    return rows[0] if rows else None


def of_request(connection: Connection, correlation_id: str) -> list[LedgerRow]:
    """Return the attempts of one request, first to last."""
    attempts = schema.attempts
    return _ledger_rows(
        connection,
        select(attempts).where(attempts.c.correlation_id == correlation_id).order_by(attempts.c.number),
    )


def api_spending(connection: Connection, since: datetime) -> Spending:
    """Add up the API's attempts that ended since then; nothing is said of those that still run.

    Those that began more than an hour before are left out: the index goes by the hour of the beginning.
    """
    attempts = schema.attempts
    unpriced = case((schema.UNPRICED, 1), else_=0)
    unsettled = case((schema.UNRESOLVED_STATE, attempts.c.counted_nanodollars), else_=0)
    sums = [func.coalesce(func.sum(each), 0) for each in (attempts.c.cost_nanodollars, unsettled, unpriced)]
    query = select(*sums).where(
        attempts.c.hour >= int(since.timestamp()) // 3600 - 1,
        attempts.c.side == "api",
        attempts.c.ended_us >= int(since.timestamp() * 1_000_000),
    )
    spent_sum, unsettled_sum, unpriced_sum = (int(each) for each in connection.execute(query).one())
    return Spending(spent_nanodollars=spent_sum, unsettled_nanodollars=unsettled_sum, unpriced=unpriced_sum)


def holds(connection: Connection) -> list[LedgerRow]:
    """Return the open attempts that hold cash or tokens, oldest first."""
    attempts = schema.attempts
    holding = (attempts.c.hold_nanodollars > 0) | (attempts.c.hold_tokens > 0)
    # Sorted by the sum, or SQLite would walk all rows in order to find the few open ones.
    query = select(attempts).where(schema.OPEN_STATE, holding).order_by(attempts.c.id + 0)
    return _ledger_rows(connection, query)


def unresolved(connection: Connection, limit: int) -> list[LedgerRow]:
    """Return the newest unresolved attempts, newest first."""
    attempts = schema.attempts
    return _ledger_rows(
        connection,
        select(attempts).where(schema.UNRESOLVED_STATE).order_by(attempts.c.id.desc()).limit(limit),
    )


def unpriced(connection: Connection, after_id: int, limit: int) -> list[tuple[int, LedgerRow]]:
    """Return the next closed attempts, by their row number, that have usage and no cost."""
    attempts = schema.attempts
    query = (
        select(attempts)
        .where(schema.UNPRICED, attempts.c.state != "open", attempts.c.id > after_id)
        .order_by(attempts.c.id)
        .limit(limit)
    )
    return [(row["id"], ledger_row(dict(row))) for row in connection.execute(query).mappings()]


def paused(connection: Connection) -> list[PausedConversation]:
    """Return the conversations that wait for a person, the longest first."""
    rates = schema.rates
    query = select(rates).where(rates.c.paused_us.is_not(None)).order_by(rates.c.paused_us)
    return [
        PausedConversation(
            conversation=row["key"].partition(":")[2],
            since=moment_of(row["paused_us"]),
            per_minute=row["per_minute"],
        )
        for row in connection.execute(query).mappings()
    ]


def scores(connection: Connection, since_day: str) -> list[ScoreRow]:
    """Return the checked answers by model, kind and day, from ``since_day`` on."""
    table = schema.scores
    query = (
        select(table).where(table.c.day >= since_day).order_by(*(table.c[key] for key in schema.SCORE_KEYS))
    )
    return [ScoreRow(**cast("dict[str, Any]", dict(row))) for row in connection.execute(query).mappings()]


def moment_of(microseconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)


def _ledger_rows(connection: Connection, query: Any) -> list[LedgerRow]:
    return [ledger_row(dict(row)) for row in connection.execute(query).mappings()]


def ledger_row(row: Row) -> LedgerRow:
    return LedgerRow(
        correlation_id=row["correlation_id"],
        attempt=row["number"],
        started_at=moment_of(row["started_us"]),
        day=row["day"],
        source=row["source"],
        project=row["project"] or None,
        mode=row["mode"],
        rule=row["rule"] or None,
        side=row["side"],
        provider=row["provider"],
        model=row["model"],
        served_model=row["served_model"],
        status=row["status"],
        state=row["state"],
        hold_nanodollars=row["hold_nanodollars"],
        hold_tokens=row["hold_tokens"],
        cost_nanodollars=row["cost_nanodollars"],
        counted_nanodollars=row["counted_nanodollars"],
        counted_tokens=row["counted_tokens"],
        loaded_nanodollars=row["loaded_nanodollars"],
        marginal_nanodollars=row["marginal_nanodollars"],
        price_version=row["price_version"],
        usage=usage_of(row),
        latency_ms=row["latency_ms"],
        ttft_ms=row["ttft_ms"],
        error_kind=row["error_kind"],
        decision_json=row["decision_json"],
        conversation=row["conversation"],
        idempotency_key=row["idempotency_key"],
        replay_of=row["replay_of"],
        savings=_savings(row),
    )


def _savings(row: Row) -> Savings | None:
    if row["trimmed_tokens"] is None:
        return None
    return Savings(
        trimmed_tokens=row["trimmed_tokens"],
        compressed_tokens=row["compressed_tokens"],
        trimming_nanodollars=row["trimming_saved_nanodollars"],
        compression_nanodollars=row["compression_saved_nanodollars"],
        cache_nanodollars=row["cache_saved_nanodollars"],
    )
