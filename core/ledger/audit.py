"""The audit log: every change of the ledger's rows, append-only and hash-chained, in the ledger's own database.

Each entry carries the SHA-256 of its own content and of the entry before it, so one that is edited, removed,
inserted or moved breaks the chain, and each names a digest of the row it wrote, so a row edited behind the
ledger's back no longer matches its last entry. The head (last number and hash) is also kept in
``ledger_meta``: without it a cut tail would leave a shorter chain that is sound in itself. Triggers refuse
UPDATE and DELETE, which stops mistakes and ordinary tools; ``audit_check`` finds what was done without them. Who
sets the kept head back too is found by the note of it outside the database (``head_note.py``).

What this cannot do: whoever may write the whole database may also recompute the whole chain, head included,
and nothing inside the database can tell. The remedy lies outside it: note the head now and then where that
person can't write (``signalbox audit head``: a mail, a ticket, a printed page) and later ask whether the chain
still leads through it (``signalbox audit verify --expect HASH``).

Forms, so that another program can check them too. *Canonical JSON*: ASCII, no spaces, keys sorted, no nulls.
*Row digest*: SHA-256 of the canonical JSON of all of the row's columns that are not null, but for
``decision_json``, which follows after a newline as it stands where there is one; ``id`` counts only where the
entry names it. *Entry hash*: SHA-256 of the JSON list ``[seq, at_us, kind, correlation_id,
payload_json, previous_hash]``. The first entry's previous hash is 64 zeros.

Verifying it is ``audit_check``'s.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from core.ledger.schema import attempts, audit, meta
from core.ledger.sql import driver_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

NO_HASH = "0" * 64
HEAD_KEY = "audit_head"
BLOCK_IDS = 1000
"""Rows from before the chain are digested in blocks of this many ids, so that an edit can be narrowed down."""

NEW_ROW_KINDS = frozenset({"begin", "refuse", "replay"})
"""Entries of these kinds write a new row; an entry of any other kind that names a row changes one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditHead:
    """The last entry as ``ledger_meta`` keeps it. Rows up to ``covered_id`` are older than the chain."""

    seq: int
    hash: str
    covered_id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One entry as it stands; ``payload`` is ``None`` when it can't be read."""

    seq: int
    at: datetime | None
    kind: str
    correlation_id: str | None
    payload: Mapping[str, Any] | None
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditProblem:
    """Something that was not done by the ledger. ``seq`` is the entry's number, where one is concerned."""

    seq: int | None
    correlation_id: str | None
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What ``verify`` found. ``problems`` are the first ones, ``problem_count`` is how many there are.

    ``entries`` and ``rows`` are how many were read; ``head_hash`` is the last entry's, ``None`` without entries.
    ``expected_found`` says whether the chain leads through the hash that was asked for (``None``: none was).
    """

    entries: int
    rows: int
    head_hash: str | None
    problems: tuple[AuditProblem, ...]
    problem_count: int
    expected_found: bool | None = None

    @property
    def ok(self) -> bool:
        return self.problem_count == 0


COLUMNS = tuple(sorted(column.name for column in attempts.c))
_DIGESTED = tuple(name for name in COLUMNS if name not in ("id", "decision_json"))
_FLOATS = tuple(
    column.name for column in attempts.c if column.type.python_type is float and column.name in _DIGESTED
)
_NAMED_ONCE = ("day", "hold_nanodollars", "model", "number", "project", "provider", "side")
_NAMED = (
    "cache_read_tokens",
    "cache_write_1h_tokens",
    "cache_write_5m_tokens",
    "cost_nanodollars",
    "counted_nanodollars",
    "fresh_input_tokens",
    "number",
    "output_tokens",
    "price_version",
    "state",
    "status",
)
_NAMED_AT_FIRST = tuple(sorted({*_NAMED_ONCE, "counted_nanodollars", "state", "status"}))

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode


def row_digest(row: Mapping[str, Any], *, with_id: bool) -> str:
    """Return the digest of one attempt's row, in hex; columns it lacks count as null.

    Raises:
        AttributeError, TypeError, ValueError: it holds what a ledger never writes (bytes, NaN).
    """
    facts = {name: value for name in _DIGESTED if (value := row.get(name)) is not None}
    for name in _FLOATS:
        # A whole number comes back from the database as a float; both must read the same.
        if type(facts.get(name)) is int:
            facts[name] = float(facts[name])
    if with_id:
        facts["id"] = row["id"]
    digest = hashlib.sha256(_encode(facts).encode())
    decision_json = row.get("decision_json")
    if decision_json is not None:
        # It is most of a row, and JSON already: escaping it once more would cost half of an entry's time.
        digest.update(b"\n" + decision_json.encode())
    return digest.hexdigest()


def entry_hash(
    seq: int, at_us: int, kind: str, correlation_id: str | None, payload_json: str, previous_hash: str
) -> str:
    content = _encode([seq, at_us, kind, correlation_id, payload_json, previous_hash])
    return hashlib.sha256(content.encode()).hexdigest()


class Chain:
    """The chain's end as the writing transaction sees it: read once, kept in step, its head written once.

    ``flush`` comes before the commit, ``forget`` after a rollback and wherever somebody else may have written.
    """

    def __init__(self, dialect_name: str) -> None:
        mark = "?" if dialect_name == "sqlite" else "%s"
        self._read = f"SELECT value FROM ledger_meta WHERE key = {mark}"
        self._insert = (
            "INSERT INTO ledger_audit (seq, at_us, kind, correlation_id, payload_json, previous_hash, hash) "
            f"VALUES ({', '.join([mark] * 7)})"
        )
        self._move = f"UPDATE ledger_meta SET value = {mark} WHERE key = {mark}"
        self._start = f"INSERT INTO ledger_meta (value, key) VALUES ({mark}, {mark})"
        self.forget()

    def forget(self) -> None:
        self._known = self._begun = self._moved = False
        self._seq, self._hash, self._covered_id = 0, NO_HASH, 0

    @property
    def head(self) -> tuple[int, str] | None:
        """The last entry's number and hash, ``None`` where it was not looked at."""
        return (self._seq, self._hash) if self._known and self._seq else None

    def append(
        self,
        driver: Any,
        *,
        at_us: int,
        kind: str,
        correlation_id: str | None,
        row: Mapping[str, Any] | None,
        note: Mapping[str, Any] | None = None,
        before: Mapping[str, Any] | None = None,
    ) -> None:
        """Add an entry; see ``append`` below. ``driver`` is the driver's own connection."""
        if not self._known:
            self._look(driver)
        payload: dict[str, Any] = {}
        if row is not None:
            row_id = row.get("id")
            if row_id is not None and row_id <= self._covered_id and kind not in NEW_ROW_KINDS:
                if before is None:
                    raise ValueError("the row is older than the audit log, so the entry needs `before`")
                payload["before"] = row_digest(before, with_id=True)
            payload["digest"] = row_digest(row, with_id=row_id is not None)
            if row_id is not None:
                payload["id"] = row_id
        if note:
            payload["note"] = _without_nulls(note)
        if row is not None:
            names = _NAMED_AT_FIRST if kind in NEW_ROW_KINDS else _NAMED
            payload["row"] = {name: value for name in names if (value := row.get(name)) is not None}
        self._write(driver, at_us, kind, correlation_id, _encode(payload))

    def begin(self, driver: Any, at_us: int, payload: Mapping[str, Any], covered_id: int) -> None:
        """Write the first entry and its head."""
        self._look(driver)
        assert not self._begun, "the chain has begun already"
        self._covered_id = covered_id
        self._write(driver, at_us, "genesis", None, _encode(payload))
        self.flush(driver)

    def flush(self, driver: Any) -> None:
        """Write the head, if an entry was added."""
        if not self._moved:
            return
        value = f"{self._seq}:{self._hash}:{self._covered_id}"
        driver.execute(self._move if self._begun else self._start, (value, HEAD_KEY))
        self._begun, self._moved = True, False

    def _look(self, driver: Any) -> None:
        found = driver.execute(self._read, (HEAD_KEY,)).fetchone()
        self.forget()
        if found is not None:
            head = _parse_head(found[0])
            self._seq, self._hash, self._covered_id = head.seq, head.hash, head.covered_id
        self._begun, self._known = found is not None, True

    def _write(self, driver: Any, at_us: int, kind: str, correlation_id: str | None, payload: str) -> None:
        seq = self._seq + 1
        hash_ = entry_hash(seq, at_us, kind, correlation_id, payload, self._hash)
        driver.execute(self._insert, (seq, at_us, kind, correlation_id, payload, self._hash, hash_))
        self._seq, self._hash, self._moved = seq, hash_, True


def append(
    connection: Connection,
    *,
    at_us: int,
    kind: str,
    correlation_id: str | None,
    row: Mapping[str, Any] | None,
    note: Mapping[str, Any] | None = None,
    before: Mapping[str, Any] | None = None,
) -> None:
    """Add one entry with its head, inside the writing transaction of the change it tells of.

    ``row`` is the attempt's row as it stands after the change, all columns (``id`` where it is known), or
    ``None`` for what concerns no row; ``kind`` is one of ``NEW_ROW_KINDS`` exactly when the row is new.
    ``before`` is the row as it was: needed only for rows that are older than the chain (their digest is part of
    the first entry), so whoever changes a row passes it always. ``note`` says more, in plain JSON values.

    Raises:
        ValueError: a row from before the chain changed and ``before`` was not given.
    """
    chain, driver = Chain(connection.dialect.name), driver_of(connection)
    chain.append(
        driver, at_us=at_us, kind=kind, correlation_id=correlation_id, row=row, note=note, before=before
    )
    chain.flush(driver)


def genesis(connection: Connection, at_us: int | None = None) -> None:
    """Begin the chain: call it once, when the tables are created or when a ledger without a chain is migrated.

    Every row that is there already is covered by a digest in this first entry. Does nothing where a chain
    exists. The table must exist (``metadata.create_all`` makes it, with its triggers).
    """
    if head(connection) is not None:
        return
    count, last_id = 0, 0
    blocks: dict[int, Any] = {}
    for row in stored_rows(connection, newest_first=False):
        count, last_id = count + 1, row["id"]
        block = blocks.setdefault(row["id"] // BLOCK_IDS, hashlib.sha256())
        block.update(bytes.fromhex(row_digest(row, with_id=True)))
    digests = {str(number): block.hexdigest() for number, block in blocks.items()}
    payload = {"block_ids": BLOCK_IDS, "blocks": digests, "last_id": last_id, "rows": count}
    now_us = time.time_ns() // 1000 if at_us is None else at_us
    Chain(connection.dialect.name).begin(driver_of(connection), now_us, payload, last_id)


def _parse_head(value: str) -> AuditHead:
    seq, hash_, covered_id = value.split(":")
    return AuditHead(seq=int(seq), hash=hash_, covered_id=int(covered_id))


def _without_nulls(note: Mapping[str, Any]) -> dict[str, Any]:
    return {name: note[name] for name in sorted(note) if note[name] is not None}


def stored_rows(
    connection: Connection, *, newest_first: bool, above_id: int = 0, up_to_id: int | None = None
) -> Iterable[Mapping[str, Any]]:
    """Yield the attempts' rows by id, read in portions, so that a million of them need no memory."""
    query = select(*(attempts.c[name] for name in COLUMNS))
    if above_id:
        query = query.where(attempts.c.id > above_id)
    if up_to_id is not None:
        query = query.where(attempts.c.id <= up_to_id)
    query = query.order_by(attempts.c.id.desc() if newest_first else attempts.c.id)
    for portion in connection.execute(query, execution_options={"yield_per": 1000}).partitions():
        for row in portion:
            yield dict(zip(COLUMNS, row, strict=True))


def head(connection: Connection) -> AuditHead | None:
    """Return the head as it is kept, ``None`` where the chain has not begun.

    Raises:
        ValueError: what is kept is not a head.
    """
    value = connection.execute(select(meta.c.value).where(meta.c.key == HEAD_KEY)).scalar()
    return None if value is None else _parse_head(value)


def entries(connection: Connection, limit: int = 100, before: int | None = None) -> tuple[AuditEntry, ...]:
    """Return the newest entries, newest first; page on with the last one's ``seq`` as ``before``."""
    query = select(audit).order_by(audit.c.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.seq < before)
    return tuple(
        AuditEntry(
            seq=row["seq"],
            at=moment(row["at_us"]),
            kind=row["kind"],
            correlation_id=row["correlation_id"],
            payload=payload_of(row["payload_json"]),
            hash=row["hash"],
        )
        for row in connection.execute(query).mappings()
    )


def moment(at_us: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=at_us)
    except (TypeError, OverflowError):
        return None  # somebody wrote something else there; verify says so


def payload_of(payload_json: Any) -> dict[str, Any] | None:
    """Return an entry's payload, ``None`` where it is not one any more."""
    try:
        payload = json.loads(payload_json)
    except (TypeError, ValueError, RecursionError):
        return None
    return payload if isinstance(payload, dict) else None  # pyright: ignore[reportUnknownVariableType]
