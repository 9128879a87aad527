"""Statements compiled once and run on the driver's own connection, inside SQLAlchemy's transaction.

They are built with SQLAlchemy Core, so that one text serves SQLite and PostgreSQL; but building each anew, with
SQLAlchemy's results around its rows, costs several times what SQLite itself needs.

Importing this module does not import SQLAlchemy: what opens a ledger needs it too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from sqlalchemy import Connection, Dialect, Table
    from sqlalchemy.sql.base import Executable


def driver_of(connection: Connection) -> Any:
    """Return the driver's connection: ``sqlite3.Connection`` or ``psycopg.Connection``."""
    return connection.connection.driver_connection


def begin_reading(connection: Connection) -> None:
    """Start a transaction whose reads all see the same moment."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN")
    else:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


class Sql:
    """A statement as the driver's own text, with its parameters in the driver's own order."""

    def __init__(self, statement: Executable, dialect: Dialect, order: Sequence[str] = ()) -> None:
        """``order`` names the parameters in the order that ``run_in_order`` takes them."""
        compiled = statement.compile(dialect=dialect)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]
        self._text: str = str(compiled)  # pyright: ignore[reportUnknownArgumentType]
        self._order = cast("list[str] | None", compiled.positiontup)  # pyright: ignore[reportUnknownMemberType]
        self._fixed: dict[str, Any] = {
            name: value
            for name, value in compiled.params.items()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            if value is not None
        }
        self._names: tuple[str, ...] | None = None
        self._given = tuple(order)
        self._pick: Callable[[Any], Any] | None = None
        self._reorder: Callable[[Any], Any] | None = None
        if self._order is not None and len(self._order) > 1 and not self._fixed:
            self._pick = itemgetter(*self._order)
            if order:
                self._reorder = itemgetter(*[self._given.index(name) for name in self._order])

    def rows(self, driver: Any, **values: Any) -> list[dict[str, Any]]:
        """Run it and return its rows by column."""
        cursor = driver.execute(self._text, self._parameters(values))
        found = cursor.fetchall()
        if not found:
            return []
        if self._names is None:
            self._names = tuple(column[0] for column in cursor.description)
        names = self._names
        return [dict(zip(names, row, strict=True)) for row in found]

    def run(self, driver: Any, values: dict[str, Any]) -> None:
        """Run it for its effect."""
        driver.execute(self._text, self._parameters(values))

    def run_in_order(self, driver: Any, values: tuple[Any, ...]) -> None:
        """Run it for its effect; ``values`` come in the order that was named at first."""
        if self._reorder is not None:
            driver.execute(self._text, self._reorder(values))
        else:
            self.run(driver, dict(zip(self._given, values, strict=True)))

    def returned(self, driver: Any, values: dict[str, Any]) -> Any:
        """Run it and return its first row as a tuple, ``None`` where it has none."""
        return driver.execute(self._text, self._parameters(values)).fetchone()

    def _parameters(self, values: dict[str, Any]) -> Any:
        if self._pick is not None:
            return self._pick(values)
        if self._fixed:
            values = self._fixed | values
        return values if self._order is None else tuple([values[name] for name in self._order])


def insert_into(table: Table, dialect: Dialect) -> Any:
    """Return an INSERT that knows the database's own ON CONFLICT."""
    if dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert
    else:
        from sqlalchemy.dialects.postgresql import insert
    return insert(table)


def adding(table: Table, keys: Sequence[str], names: Sequence[str], dialect: Dialect) -> Executable:
    """Return an insert of a row of sums that adds to the one already there."""
    from sqlalchemy import bindparam

    statement = insert_into(table, dialect).values({name: bindparam(name) for name in (*keys, *names)})
    return statement.on_conflict_do_update(
        index_elements=list(keys),
        set_={name: table.c[name] + statement.excluded[name] for name in names},
    )
