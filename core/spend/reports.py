"""Reading the ledger: reports from the rollups, recent rows, the budget, and the check of every sum."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer, and_, case, cast, func, literal, select

from core.chat import Usage
from core.spend import schema
from core.spend.budget import Budget
from core.spend.database import begin_reading
from core.spend.rows import Check, LedgerRow, ReportKey, ReportRow, Volume
from core.spend.store import DAY_LENGTH, Store, local_count
from core.spend.sums import Row

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

_MEAN_DAYS = 7


def report(connection: Connection, since: datetime | None, by: ReportKey) -> list[ReportRow]:
    """Sum the rollups since the hour of ``since``; days by name, other groups by what they cost."""
    rollups = schema.rollups
    key = rollups.c[by]
    query = select(key.label("key"), *(func.sum(rollups.c[name]).label(name) for name in schema.ROLLUP_SUMS))
    if since is not None:
        query = query.where(rollups.c.hour >= int(since.timestamp()) // 3600)
    rows = [_report_row(row) for row in connection.execute(query.group_by(key)).mappings()]
    if by == "day":
        return sorted(rows, key=lambda row: row.key)
    return sorted(rows, key=lambda row: (-row.cost_nanodollars, -row.attempts, row.key))


def _report_row(row: Any) -> ReportRow:
    sums = {name: int(row[name]) for name in schema.ROLLUP_SUMS}
    written = sums["cache_write_5m_tokens"] + sums["cache_write_1h_tokens"]
    return ReportRow(
        key=row["key"],
        requests=sums["requests"],
        attempts=sums["attempts"],
        failed=sums["failed"],
        stopped=sums["stopped"],
        fell_back=sums["fell_back"],
        input_tokens=sums["fresh_input_tokens"] + sums["cache_read_tokens"] + written,
        cached_tokens=sums["cache_read_tokens"],
        cache_write_tokens=written,
        output_tokens=sums["output_tokens"],
        cost_nanodollars=sums["cost_nanodollars"],
        loaded_nanodollars=sums["loaded_nanodollars"],
        unresolved=sums["unresolved"],
        unresolved_nanodollars=sums["unresolved_nanodollars"],
        unpriced=sums["unpriced"],
    )


def recent(connection: Connection, limit: int, before: str | None) -> list[LedgerRow]:
    """Return the newest attempts, newest first; ``before`` is a correlation id to page on from."""
    attempts = schema.attempts
    query = select(attempts).order_by(attempts.c.id.desc()).limit(limit)
    if before is not None:
        first = select(func.min(attempts.c.id)).where(attempts.c.correlation_id == before).scalar_subquery()
        query = query.where(attempts.c.id < first)
    return [_ledger_row(dict(row)) for row in connection.execute(query).mappings()]


def of_request(connection: Connection, correlation_id: str) -> list[LedgerRow]:
    """Return the attempts of one request, first to last."""
    attempts = schema.attempts
    query = select(attempts).where(attempts.c.correlation_id == correlation_id).order_by(attempts.c.number)
    return [_ledger_row(dict(row)) for row in connection.execute(query).mappings()]


def _ledger_row(row: Row) -> LedgerRow:
    usage = None
    if row["output_tokens"] is not None:
        usage = Usage(
            fresh_input_tokens=row["fresh_input_tokens"],
            cache_read_tokens=row["cache_read_tokens"],
            cache_write_5m_tokens=row["cache_write_5m_tokens"],
            cache_write_1h_tokens=row["cache_write_1h_tokens"],
            output_tokens=row["output_tokens"],
            thinking_tokens=row["thinking_tokens"],
            service_tier=row["service_tier"],
        )
    return LedgerRow(
        correlation_id=row["correlation_id"],
        attempt=row["number"],
        started_at=datetime.fromtimestamp(0, UTC) + timedelta(microseconds=row["started_us"]),
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
        cost_nanodollars=row["cost_nanodollars"],
        counted_nanodollars=row["counted_nanodollars"],
        loaded_nanodollars=row["loaded_nanodollars"],
        price_version=row["price_version"],
        usage=usage,
        latency_ms=row["latency_ms"],
        ttft_ms=row["ttft_ms"],
        error_kind=row["error_kind"],
        decision_json=row["decision_json"],
    )


def budget(
    connection: Connection, store: Store, window: str, project: str | None, limit_nanodollars: int | None
) -> Budget:
    """Read one window's cash and the open holds, both at the same moment."""
    begin_reading(connection)
    total = store.total(connection, window, project or "")
    held, held_count = store.held(connection, project)
    return Budget(
        window_label=window,
        limit_nanodollars=limit_nanodollars,
        spent_nanodollars=total["counted_nanodollars"],
        held_nanodollars=held,
        held_count=held_count,
        unresolved_nanodollars=total["unresolved_nanodollars"],
        unresolved_count=total["unresolved"],
        unpriced_count=total["unpriced"],
    )


def volume(connection: Connection, store: Store, today: date) -> Volume:
    """Count today's requests and average the seven days before it, as far back as the ledger goes."""
    past = [(today - timedelta(days=back)).isoformat() for back in range(_MEAN_DAYS + 1)]
    rows = {row["window"]: row for row in store.days(connection, past[-1], past[0])}
    first_day = store.first_day(connection)
    now = rows.get(past[0])
    whole_days = [day for day in past[1:] if first_day is not None and day >= first_day]
    requests = sum(rows[day]["requests"] for day in whole_days if day in rows)
    return Volume(
        local_today=local_count(now) if now else 0,
        requests_today=now["requests"] if now else 0,
        seven_day_mean=requests / len(whole_days) if whole_days else 0.0,
    )


def check(connection: Connection, since: datetime | None) -> Check:
    """Add every row up anew and compare with the sums that are kept; ``since`` limits it to later hours.

    Totals are compared with the rollups by day, so they are checked for the days that are whole in that span.
    """
    begin_reading(connection)
    attempts, rollups = schema.attempts, schema.rollups
    from_hour = int(since.timestamp()) // 3600 if since is not None else None
    keys = schema.ROLLUP_KEYS
    from_rows = select(*(attempts.c[key] for key in keys), *_sums_of_rows()).group_by(
        *(attempts.c[key] for key in keys)
    )
    kept = select(*(rollups.c[key] for key in keys), *(rollups.c[name] for name in schema.ROLLUP_SUMS))
    if from_hour is not None:
        from_rows = from_rows.where(attempts.c.hour >= from_hour)
        kept = kept.where(rollups.c.hour >= from_hour)
    expected = _keyed(connection.execute(from_rows), len(keys))
    differences = _differences("rollup", expected, _keyed(connection.execute(kept), len(keys)))
    if from_hour is None:
        differences += _check_totals(connection)
    count = sum(sums[0] for sums in expected.values())
    return Check(attempts=count, differences=tuple(differences))


def _sums_of_rows() -> list[ColumnElement[Any]]:
    """Return the rollups' sums as SQL over the attempts: written apart from ``sums.py``, to check it."""
    row = schema.attempts.c

    def many(condition: ColumnElement[bool]) -> ColumnElement[Any]:
        return func.sum(case((condition, 1), else_=0))

    def total(name: str) -> ColumnElement[Any]:
        return func.coalesce(func.sum(row[name]), 0)

    ended_here = row.status != "superseded"
    unresolved = row.state == "unresolved"
    return [
        func.count(),
        many(ended_here),
        many(row.status == "failed"),
        many(row.status == "stopped"),
        many(and_(ended_here, row.number > 1)),
        total("fresh_input_tokens"),
        total("cache_read_tokens"),
        total("cache_write_5m_tokens"),
        total("cache_write_1h_tokens"),
        total("output_tokens"),
        total("cost_nanodollars"),
        total("loaded_nanodollars"),
        many(unresolved),
        func.sum(case((unresolved, row.counted_nanodollars), else_=0)),
        many(and_(row.state != "open", row.output_tokens.is_not(None), row.cost_nanodollars.is_(None))),
    ]


def _check_totals(connection: Connection) -> list[str]:
    row, totals = schema.attempts.c, schema.totals
    ended_here = row.status != "superseded"
    tokens = (
        row.fresh_input_tokens
        + row.cache_read_tokens
        + row.cache_write_5m_tokens
        + row.cache_write_1h_tokens
        + row.output_tokens
    )
    unresolved = row.state == "unresolved"
    sums = (
        func.sum(case((ended_here, 1), else_=0)),
        func.sum(case((and_(ended_here, row.side == "local"), 1), else_=0)),
        func.coalesce(func.sum(tokens), 0),
        func.sum(row.counted_nanodollars),
        func.sum(case((unresolved, 1), else_=0)),
        func.sum(case((unresolved, row.counted_nanodollars), else_=0)),
        func.sum(
            case(
                (
                    and_(row.state != "open", row.output_tokens.is_not(None), row.cost_nanodollars.is_(None)),
                    1,
                ),
                else_=0,
            )
        ),
    )
    expected: dict[tuple[Any, ...], tuple[int, ...]] = {}
    for length in (len("2026-11"), DAY_LENGTH):
        window = func.substr(row.day, 1, cast(literal(length), Integer))
        everything = select(window, literal(""), *sums).group_by(window)
        by_project = select(window, row.project, *sums).where(row.project != "").group_by(window, row.project)
        for query in (everything, by_project):
            expected |= _keyed(connection.execute(query), 2)
    kept = select(*(totals.c[key] for key in (*schema.TOTAL_KEYS, *schema.TOTAL_SUMS)))
    return _differences("total", expected, _keyed(connection.execute(kept), 2))


def _keyed(rows: Any, keys: int) -> dict[tuple[Any, ...], tuple[int, ...]]:
    return {tuple(row[:keys]): tuple(int(value) for value in row[keys:]) for row in rows}


def _differences(
    what: str, expected: dict[tuple[Any, ...], tuple[int, ...]], kept: dict[tuple[Any, ...], tuple[int, ...]]
) -> list[str]:
    names: Sequence[str] = schema.ROLLUP_SUMS if what == "rollup" else schema.TOTAL_SUMS
    zeros = (0,) * len(names)
    found: list[str] = []
    for key in sorted(expected.keys() | kept.keys()):
        rows, sums = expected.get(key, zeros), kept.get(key, zeros)
        if rows != sums:
            off = [
                f"{name} {b} instead of {a}" for name, a, b in zip(names, rows, sums, strict=True) if a != b
            ]
            found.append(f"{what} {'/'.join(map(str, key))}: {', '.join(off)}")
    return found
