"""A small audited ledger in memory, and the ways somebody with full access may change it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.engine import Connection
from sqlalchemy.pool import StaticPool

from core.ledger import audit, audit_check, schema
from core.ledger.database import begin_writing

COLUMNS = [column.name for column in schema.attempts.c]


ENTRY_COLUMNS = [column.name for column in schema.audit.c]


def blank_row(number_of_request: int) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    for column in schema.attempts.c:
        if not column.nullable and column.name != "id":
            row[column.name] = "" if column.type.python_type is str else 0
    del row["id"]
    row.update(
        correlation_id=f"request-{number_of_request}",
        number=1,
        started_us=1_763_942_400_000_000 + number_of_request,
        day="2026-11-23",
        source="library",
        side="api",
        provider="anthropic",
        model="claude-x",
        status="open",
        state="open",
        hold_nanodollars=100 + number_of_request,
        decision_json='{"rule":"simple"}',
    )
    return row


class Books:
    """Writes rows and their entries as the ledger does."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.rows: dict[str, dict[str, Any]] = {}

    def insert(self, number: int, **changed: Any) -> dict[str, Any]:
        row = blank_row(number) | changed
        done = self.connection.execute(schema.attempts.insert().values(row))
        assert done.inserted_primary_key is not None
        row["id"] = done.inserted_primary_key[0]
        self.rows[row["correlation_id"]] = row
        return row

    def begin(self, number: int, **changed: Any) -> None:
        row = self.insert(number, **changed)
        kind = "refuse" if row["status"] == "refused" else "begin"
        audit.append(self.connection, at_us=number, kind=kind, correlation_id=row["correlation_id"], row=row)

    def change(self, number: int, kind: str = "settle", **changed: Any) -> None:
        old = self.rows[f"request-{number}"]
        new = self.rows[f"request-{number}"] = {**old, **changed}
        where = schema.attempts.c.id == old["id"]
        self.connection.execute(schema.attempts.update().where(where).values(changed))
        audit.append(
            self.connection,
            at_us=number,
            kind=kind,
            correlation_id=old["correlation_id"],
            row=new,
            before=old,
        )


def settled(cost: int) -> dict[str, Any]:
    tokens = {name: 1 for name in schema.attempts.c.keys() if name.endswith("_tokens")}  # noqa: SIM118
    return {
        "status": "done",
        "state": "settled",
        "cost_nanodollars": cost,
        "counted_nanodollars": cost,
        "latency_ms": 17,  # comes back as 17.0
        "ttft_ms": 0.1 + 0.2,
        **tokens,
    }


def write_history(connection: Connection) -> None:
    """Two requests from before the log (one changes later), then every kind of change, one request still open."""
    books = Books(connection)
    begin_writing(connection)
    schema.metadata.create_all(connection)
    books.insert(1, status="done", state="settled", counted_nanodollars=5)
    books.insert(2, state="unresolved", status="failed", counted_nanodollars=7)
    audit.genesis(connection, at_us=1)
    for number in (3, 4, 5, 6):
        books.begin(number)
    books.change(4, **settled(44))
    books.change(3, **settled(33))
    books.change(2, "resolve", cost_nanodollars=3, counted_nanodollars=3, state="settled")
    books.begin(7, status="refused", state="settled", side="", provider="", hold_nanodollars=None)
    note = {"conversation": "c", "per_minute": 20, "why": None}
    audit.append(connection, at_us=9, kind="resume", correlation_id=None, row=None, note=note)
    books.change(5, "recover", state="unresolved", status="failed", counted_nanodollars=105)
    books.change(5, "resolve", state="settled", cost_nanodollars=55, counted_nanodollars=55)
    connection.commit()


@contextmanager
def connected(database: sqlite3.Connection) -> Generator[Connection]:
    database.isolation_level = None
    engine = create_engine("sqlite://", creator=lambda: database, poolclass=StaticPool)
    with engine.connect() as connection:
        yield connection


def verify(history: bytes, tamper: Callable[[sqlite3.Cursor], object], **options: Any) -> audit.AuditReport:
    """Change the database as somebody with full access does, the triggers put back afterwards; then verify."""
    database = sqlite3.connect(":memory:")
    database.deserialize(history)
    database.isolation_level = None
    cursor = database.cursor()
    cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
    triggers = cursor.fetchall()
    for name, _ in triggers:
        cursor.execute(f"DROP TRIGGER {name}")
    tamper(cursor)
    for _, sql in triggers:
        cursor.execute(sql)
    with connected(database) as connection:
        report = audit_check.verify(connection, **options)
    database.close()
    return report


def stored(history: bytes, table: str) -> list[dict[str, Any]]:
    database = sqlite3.connect(":memory:")
    database.deserialize(history)
    database.row_factory = sqlite3.Row
    return [dict(row) for row in database.execute(f"SELECT * FROM {table} ORDER BY 1")]


def update(cursor: sqlite3.Cursor, table: str, key: str, value: Any, changes: dict[str, Any]) -> None:
    names = ", ".join(f"{name} = ?" for name in changes)
    cursor.execute(f"UPDATE {table} SET {names} WHERE {key} = ?", (*changes.values(), value))


def insert(cursor: sqlite3.Cursor, table: str, row: dict[str, Any]) -> None:
    marks = ", ".join("?" * len(row))
    cursor.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))


def rehashed(entry: dict[str, Any]) -> dict[str, Any]:
    content = {name: entry[name] for name in ENTRY_COLUMNS if name != "hash"}
    return {**entry, "hash": audit.entry_hash(**content)}


def rewrite_all(cursor: sqlite3.Cursor) -> None:
    """What nothing inside the database can show: one cost changed, and the whole chain written anew."""
    names = ", ".join(ENTRY_COLUMNS)
    cursor.execute("UPDATE ledger_attempts SET cost_nanodollars = 1 WHERE correlation_id = 'request-4'")
    cursor.execute("SELECT * FROM ledger_attempts WHERE correlation_id = 'request-4'")
    row = dict(zip([column[0] for column in cursor.description], cursor.fetchone(), strict=True))
    cursor.execute(f"SELECT {names} FROM ledger_audit ORDER BY seq")
    previous = audit.NO_HASH
    for values_ in cursor.fetchall():
        entry = dict(zip(ENTRY_COLUMNS, values_, strict=True)) | {"previous_hash": previous}
        payload = json.loads(entry["payload_json"])
        if entry["kind"] == "settle" and entry["correlation_id"] == "request-4":
            payload["row"]["cost_nanodollars"] = 1
            payload["digest"] = audit.row_digest(row, with_id=True)
        entry["payload_json"] = json.dumps(payload, separators=(",", ":"))
        entry = rehashed(entry)
        update(cursor, "ledger_audit", "seq", entry["seq"], entry)
        previous = entry["hash"]
    cursor.execute("UPDATE ledger_meta SET value = ? WHERE key = 'audit_head'", (f"12:{previous}:2",))
