"""Brings a ledger of an older format up to date, in place, in one transaction: all of it or nothing.

Format 1 (the first release) had no tokens held, no audit chain, no rates, and its hourly sums had open attempts in
them. They are added up anew from the rows here, and the chain begins with a digest of what was there.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, bindparam, cast, func, inspect, literal, select, update
from sqlalchemy.schema import CreateColumn, CreateIndex

from core.ledger import audit, schema
from core.ledger.totals import sums_of_rows

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

log = logging.getLogger(__name__)

_TOKENS = " + ".join(
    (
        "fresh_input_tokens",
        "cache_read_tokens",
        "cache_write_5m_tokens",
        "cache_write_1h_tokens",
        "output_tokens",
    )
)


def create(connection: Connection) -> None:
    """Create every table of a new ledger. The caller's transaction is a writing one."""
    schema.metadata.create_all(connection)
    connection.execute(schema.meta.insert().values(key="schema_version", value=str(schema.SCHEMA_VERSION)))
    audit.genesis(connection)


def migrate(connection: Connection, version: int) -> None:
    """Change a ledger of format ``version`` to this program's. The caller's transaction is a writing one."""
    _from_1_to_2(connection)
    connection.execute(
        update(schema.meta)
        .where(schema.meta.c.key == "schema_version")
        .values(value=str(schema.SCHEMA_VERSION))
    )
    log.info("The ledger was brought from format %d to %d.", version, schema.SCHEMA_VERSION)


def _from_1_to_2(connection: Connection) -> None:
    for table in (schema.attempts, schema.totals):
        _add_columns(connection, table)
    connection.exec_driver_sql("DROP INDEX ledger_attempts_open")
    connection.exec_driver_sql("DROP TABLE ledger_rollups")
    there = {index["name"] for index in inspect(connection).get_indexes(schema.attempts.name)}
    schema.metadata.create_all(connection)
    for index in sorted(schema.attempts.indexes, key=lambda index: str(index.name)):
        if index.name not in there:
            connection.execute(CreateIndex(index))
    row = schema.attempts
    connection.execute(
        update(row)
        .where(row.c.latency_ms.is_not(None))
        .values(busy_us=cast(func.round(row.c.latency_ms * 1000), BigInteger))
    )
    connection.exec_driver_sql(
        f"UPDATE ledger_attempts SET counted_tokens = {_TOKENS} "
        "WHERE side = 'api' AND output_tokens IS NOT NULL"
    )
    _add_up_hours(connection)
    _add_up_totals(connection)
    audit.genesis(connection)


def _add_columns(connection: Connection, table: Table) -> None:
    there = {column["name"] for column in inspect(connection).get_columns(table.name)}
    for column in table.c:
        if column.name not in there:
            words = str(CreateColumn(column).compile(dialect=connection.dialect))
            connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {words}")


def _add_up_hours(connection: Connection) -> None:
    row, keys = schema.attempts.c, schema.HOUR_KEYS
    sums = (
        select(*(row[key] for key in keys), *sums_of_rows())
        .where(row.state != "open")
        .group_by(*(row[key] for key in keys))
    )
    connection.execute(schema.hours.insert().from_select([*keys, *schema.HOUR_SUMS], sums))
    hours, keys = schema.hours.c, schema.DAY_KEYS
    by_day = select(
        *(hours[key] for key in keys), *(func.sum(hours[name]) for name in schema.HOUR_SUMS)
    ).group_by(*(hours[key] for key in keys))
    connection.execute(schema.days.insert().from_select([*keys, *schema.HOUR_SUMS], by_day))


def _add_up_totals(connection: Connection) -> None:
    """Set the sums that format 1 did not have."""
    row, totals = schema.attempts.c, schema.totals
    names = ("counted_tokens", "unresolved_tokens")
    change = (
        update(totals)
        .where(totals.c.window == bindparam("of_window"), totals.c.project == bindparam("of_project"))
        .values({name: bindparam(f"new_{name}") for name in names})
    )
    for length in (len("2026-11"), len("2026-11-23")):
        window = func.substr(row.day, 1, length)
        everything = select(window, literal(""), *sums_of_rows(names)).group_by(window)
        by_project = (
            select(window, row.project, *sums_of_rows(names))
            .where(row.project != "")
            .group_by(window, row.project)
        )
        for query in (everything, by_project):
            columns = ("of_window", "of_project", *(f"new_{name}" for name in names))
            found = [dict(zip(columns, line, strict=True)) for line in connection.execute(query)]
            if found:
                connection.execute(change, found)
