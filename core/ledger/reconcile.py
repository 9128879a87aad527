"""Checks that every kept sum equals the sum of its rows, added up in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, literal, select

from core.ledger import schema
from core.ledger.limits import Limit, LimitUsage, TokenLimit, project_of, window_of
from core.ledger.models import Check
from core.ledger.sql import begin_reading
from core.ledger.totals import sums_of_rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

COUNTED = ("counted_nanodollars", "counted_tokens")
"""What limits compare with."""
_DAY_LENGTH = len("2026-11-23")
_ZONES_H = 48
_Keyed = dict[tuple[Any, ...], tuple[int, ...]]


def check(connection: Connection, since: datetime | None) -> Check:
    """Add the rows up anew and compare with the sums that are kept.

    ``since`` reads the rows of later hours only, and the totals of the days that begin after it. The months are
    always compared with their days.
    """
    begin_reading(connection)
    return check_in_transaction(connection, since)


def check_in_transaction(connection: Connection, since: datetime | None) -> Check:
    """Do what ``check`` does, in a reading transaction that is open."""
    attempts, hours, keys = schema.attempts, schema.hours, schema.HOUR_KEYS
    from_hour = int(since.timestamp()) // 3600 if since is not None else None
    from_rows = (
        select(*(attempts.c[key] for key in keys), *sums_of_rows())
        .where(attempts.c.state != "open")
        .group_by(*(attempts.c[key] for key in keys))
    )
    kept = select(*(hours.c[key] for key in keys), *(hours.c[name] for name in schema.HOUR_SUMS))
    counted = select(func.count()).select_from(attempts).where(attempts.c.status.not_in(schema.UNSENT))
    if from_hour is not None:
        from_rows = from_rows.where(attempts.c.hour >= from_hour)
        kept = kept.where(hours.c.hour >= from_hour)
        counted = counted.where(attempts.c.hour >= from_hour)
    differences = _differences(
        "hour", _keyed(connection.execute(from_rows), len(keys)), _keyed(connection.execute(kept), len(keys))
    )
    differences += _check_days_of_hours(connection, from_hour)
    differences += _check_totals(connection, from_hour)
    differences += _check_months(connection)
    return Check(attempts=int(connection.execute(counted).scalar_one()), differences=tuple(differences))


def compare_windows(
    connection: Connection, limits: Sequence[Limit], day: str
) -> tuple[tuple[str, ...], dict[tuple[str, str], dict[str, int]]]:
    """Add up the rows of each window that a limit uses on ``day``, and compare with the total it is held against.

    Returns what differs, and what the totals lack by window and project: what they have too much stays, for it only
    closes a limit earlier.
    """
    begin_reading(connection)
    differences: list[str] = []
    lacking: dict[tuple[str, str], dict[str, int]] = {}
    totals = schema.totals.c
    for window, project in sorted({(window_of(limit, day), project_of(limit) or "") for limit in limits}):
        expected = _sums_of_window(connection, window, project)
        query = select(*(totals[name] for name in COUNTED)).where(
            totals.window == window, totals.project == project
        )
        found = connection.execute(query).first()
        kept = tuple(int(amount) for amount in found) if found is not None else (0,) * len(COUNTED)
        off = {name: (a, b) for name, a, b in zip(COUNTED, expected, kept, strict=True) if a != b}
        if off:
            words = ", ".join(f"{name} {b} instead of {a}" for name, (a, b) in off.items())
            differences.append(f"total {window}/{project}: {words}")
        missing = {name: a - b for name, (a, b) in off.items() if a > b}
        if missing:
            lacking[window, project] = missing
    return tuple(differences), lacking


def used_by_rows(connection: Connection, standing: LimitUsage) -> int:
    """Return what the rows of a limit's window add up to, in the limit's unit."""
    sums = _sums_of_window(connection, standing.window_label, project_of(standing.limit) or "")
    return sums[
        COUNTED.index("counted_tokens" if isinstance(standing.limit, TokenLimit) else "counted_nanodollars")
    ]


def _sums_of_window(connection: Connection, window: str, project: str) -> tuple[int, ...]:
    row = schema.attempts.c
    # A day begins up to 14 hours before the same day of UTC: with that bound, an old ledger is not read as a whole.
    first = date.fromisoformat(window if len(window) == _DAY_LENGTH else f"{window}-01")
    from_hour = (first - date(1970, 1, 1)).days * 24 - 24
    query: Any = select(*(func.coalesce(func.sum(row[name]), 0) for name in COUNTED)).where(
        row.hour >= from_hour, func.substr(row.day, 1, len(window)) == window
    )
    if project:
        query = query.where(row.project == project)
    return tuple(int(amount) for amount in connection.execute(query).one())


def _check_days_of_hours(connection: Connection, from_hour: int | None) -> list[str]:
    """Compare the sums of each day with those of its hours, which were compared with the rows."""
    hours, days, keys = schema.hours, schema.days, schema.DAY_KEYS
    from_hours = select(
        *(hours.c[key] for key in keys), *(func.sum(hours.c[name]) for name in schema.HOUR_SUMS)
    ).group_by(*(hours.c[key] for key in keys))
    kept = select(*(days.c[key] for key in keys), *(days.c[name] for name in schema.HOUR_SUMS))
    if from_hour is not None:
        day = connection.execute(select(func.min(hours.c.day)).where(hours.c.hour >= from_hour)).scalar()
        if day is None:
            return []  # nothing in that span
        from_hours = from_hours.where(hours.c.hour >= from_hour - _ZONES_H, hours.c.day > day)
        kept = kept.where(days.c.day > day)
    return _differences(
        "day", _keyed(connection.execute(from_hours), len(keys)), _keyed(connection.execute(kept), len(keys))
    )


def _check_totals(connection: Connection, from_hour: int | None) -> list[str]:
    """Compare each day's totals with its rows: all days, or those of which no row is older than ``from_hour``."""
    row, totals = schema.attempts.c, schema.totals
    everything = select(row.day, literal(""), *sums_of_rows(schema.TOTAL_SUMS)).group_by(row.day)
    by_project = (
        select(row.day, row.project, *sums_of_rows(schema.TOTAL_SUMS))
        .where(row.project != "")
        .group_by(row.day, row.project)
    )
    kept = select(*(totals.c[key] for key in (*schema.TOTAL_KEYS, *schema.TOTAL_SUMS))).where(
        func.length(totals.c.window) == _DAY_LENGTH
    )
    if from_hour is not None:
        day = connection.execute(select(func.min(row.day)).where(row.hour >= from_hour)).scalar()
        if day is None:
            return []  # nothing in that span
        # The first day may have begun before the span, so it is left out. The days are the user's, who may have
        # travelled: a later day's row can be up to two days older than the span, but not more.
        later = and_(row.hour >= from_hour - _ZONES_H, row.day > day)
        everything = everything.where(later)
        by_project = by_project.where(later)
        kept = kept.where(totals.c.window > day)
    expected: _Keyed = {}
    for query in (everything, by_project):
        expected |= _keyed(connection.execute(query), 2)
    return _differences("total", expected, _keyed(connection.execute(kept), 2))


def _check_months(connection: Connection) -> list[str]:
    totals = schema.totals
    month = func.substr(totals.c.window, 1, len("2026-11"))
    of_days = (
        select(month, totals.c.project, *(func.sum(totals.c[name]) for name in schema.TOTAL_SUMS))
        .where(func.length(totals.c.window) == _DAY_LENGTH)
        .group_by(month, totals.c.project)
    )
    kept = select(*(totals.c[key] for key in (*schema.TOTAL_KEYS, *schema.TOTAL_SUMS))).where(
        func.length(totals.c.window) < _DAY_LENGTH
    )
    return _differences("total", _keyed(connection.execute(of_days), 2), _keyed(connection.execute(kept), 2))


def _keyed(rows: Any, keys: int) -> _Keyed:
    return {tuple(row[:keys]): tuple(int(value) for value in row[keys:]) for row in rows}


def _differences(what: str, expected: _Keyed, kept: _Keyed) -> list[str]:
    names: Sequence[str] = schema.TOTAL_SUMS if what == "total" else schema.HOUR_SUMS
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
