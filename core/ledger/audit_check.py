"""Verifies the audit log: is the chain whole, and does every row of the ledger equal its last entry?

Entries and rows are read side by side, newest first. The first entry met of a row is its last word; the entry
that wrote the row comes later and closes the case. So what is in memory at a time is the requests that ran at
the same moment, and a million rows are checked in the memory of a few.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import inspect, select, text

from core.ledger import audit, schema
from core.ledger.audit import AuditHead, AuditProblem, AuditReport
from core.ledger.head_note import HeadNote
from core.ledger.models import Check
from core.ledger.sql import begin_reading

if TYPE_CHECKING:
    from sqlalchemy import Connection

PROBLEMS_KEPT = 1000

Row = Mapping[str, Any]
Key = tuple[Any, Any]


def verify(connection: Connection, *, expect: str | None = None, note: HeadNote | None = None) -> AuditReport:
    """Check the whole chain and every attempt's row against it.

    ``expect`` is a hash noted earlier, ``note`` the head that the program noted outside the database. Reads
    everything once, newest first, in one read transaction. What the ledger did not write itself is a problem.
    """
    noted = note.look() if note is not None else None
    begin_reading(connection)
    check = _Check(connection, expect.strip().lower() if expect else None)
    if not inspect(connection).has_table(schema.audit.name):
        check.problem("The audit log's table is gone.")
        return check.report()
    check.triggers()
    check.walk()
    check.rows_from_before()
    check.close_the_rest()
    difference = note.compare(connection, noted) if note is not None else None
    if difference is not None:
        check.problem(difference)
    return check.report()


def with_sums(report: AuditReport, sums: Check) -> AuditReport:
    """Add what differs between the kept sums and the rows: limits compare with those sums."""
    if sums.ok:
        return report
    off = [
        AuditProblem(seq=None, correlation_id=None, what=f"A sum is not that of its rows: {difference}.")
        for difference in sums.differences
    ]
    problems = (*report.problems, *off)[:PROBLEMS_KEPT]
    return replace(report, problems=problems, problem_count=report.problem_count + len(off))


@dataclass(slots=True)
class _Case:
    """What is known of one row so far; ``seq`` and ``payload`` are its last entry's.

    ``written``: the entry that wrote the row was met. ``before``: the digest of a row older than the log.
    """

    seq: int | None = None
    payload: dict[str, Any] | None = None
    row: Row | None = None
    before: str | None = None
    written: bool = False


@dataclass(slots=True)
class _Genesis:
    last_id: int = 0
    rows: int = 0
    block_ids: int = audit.BLOCK_IDS
    blocks: Mapping[str, Any] = field(default_factory=dict[str, Any])


class _Check:
    def __init__(self, connection: Connection, expect: str | None) -> None:
        self._connection = connection
        self._expect = expect
        self._problems: list[AuditProblem] = []
        self._problem_count = 0
        self._entries = self._rows = 0
        self._head_hash: str | None = None
        self._expected_found = False
        self._cases: dict[Key, _Case] = {}
        self._genesis = self._read_genesis()

    def problem(self, what: str, seq: int | None = None, correlation_id: Any = None) -> None:
        self._problem_count += 1
        if len(self._problems) < PROBLEMS_KEPT:
            known = correlation_id if isinstance(correlation_id, str) else None
            self._problems.append(AuditProblem(seq=seq, correlation_id=known, what=what))

    def report(self) -> AuditReport:
        found: bool | None = None
        if self._expect is not None:
            found = self._expected_found
            if not found:
                self.problem(f"The chain does not lead through {self._expect}: it is not the one noted then.")
        return AuditReport(
            entries=self._entries,
            rows=self._rows,
            head_hash=self._head_hash,
            problems=tuple(self._problems),
            problem_count=self._problem_count,
            expected_found=found,
        )

    def triggers(self) -> None:
        if self._connection.dialect.name == "sqlite":
            query = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'ledger_audit'"
        else:
            query = (
                "SELECT tgname FROM pg_trigger "
                "WHERE tgrelid = 'ledger_audit'::regclass AND tgenabled <> 'D' AND NOT tgisinternal"
            )
        there = set(self._connection.execute(text(query)).scalars())
        for name in schema.AUDIT_TRIGGERS:
            if name not in there:
                self.problem(f"The trigger {name} is gone: somebody could change the audit log.")

    def walk(self) -> None:
        """Follow the chain from its last entry to its first, and meet the rows on the way."""
        head = self._kept_head()
        rows = audit.stored_rows(self._connection, newest_first=True, above_id=self._genesis.last_id)
        rows = iter(rows)
        query = select(schema.audit).order_by(schema.audit.c.seq.desc())
        following: tuple[int, str] | None = (
            None  # of the entry after this one: its seq, and the hash it names
        )
        for portion in self._connection.execute(query, execution_options={"yield_per": 1000}).partitions():
            for seq, at_us, kind, correlation_id, payload_json, previous_hash, hash_ in portion:
                self._entries += 1
                if following is None:
                    self._head_hash = hash_
                    self._compare_head(head, seq, hash_)
                else:
                    self._link(following, seq, hash_, correlation_id)
                following = (seq, previous_hash)
                sound = self._is_sound(seq, at_us, kind, correlation_id, payload_json, previous_hash, hash_)
                if sound and hash_ == self._expect:
                    self._expected_found = True
                payload = audit.payload_of(payload_json)
                if payload is not None and "digest" in payload:
                    self._meet_entry(seq, kind, correlation_id, payload if sound else None, payload, rows)
        if following is None:
            if head is not None:
                self.problem(f"All {head.seq:,} entries of the audit log are missing.")
        else:
            first, previous_hash = following
            if first > 1:
                self.problem(f"{_entries(1, first - 1)} missing.", 1)
            elif previous_hash != audit.NO_HASH:
                self.problem("The first entry names one before it: the beginning was cut off.", first)
        for row in rows:
            self._meet_row(row)

    def rows_from_before(self) -> None:
        """Compare the rows that are older than the log with their digests in its first entry."""
        genesis = self._genesis
        if not genesis.last_id and not genesis.rows:
            return
        blocks: dict[str, Any] = {}
        count = 0
        for row in audit.stored_rows(self._connection, newest_first=False, up_to_id=genesis.last_id):
            self._rows += 1
            count += 1
            case = self._cases.pop(_key(row), None)
            block = blocks.setdefault(str(row["id"] // genesis.block_ids), hashlib.sha256())
            if case is not None:
                case.row = row
                self._compare(case)
            then = case.before if case is not None else None
            block.update(bytes.fromhex(_digest(row) if then is None else then))
        if count != genesis.rows:
            self.problem(
                f"{genesis.rows:,} rows are older than the audit log by its first entry; {count:,} are there.",
                1,
            )
        digests = {number: block.hexdigest() for number, block in blocks.items()}
        for number in sorted(digests.keys() | genesis.blocks.keys(), key=_as_number):
            if digests.get(number) != genesis.blocks.get(number):
                first = _as_number(number) * genesis.block_ids
                self.problem(
                    f"A row was edited, deleted or added among the ids {first} to "
                    f"{first + genesis.block_ids - 1}, which are older than the audit log.",
                    1,
                )

    def close_the_rest(self) -> None:
        """Report rows without an entry, and entries without a row."""
        for (correlation_id, number), case in self._cases.items():
            if case.row is None:
                self.problem(f"{_attempt(number)} was deleted from the ledger.", case.seq, correlation_id)
            elif case.seq is None:
                self._not_ours(case.row)
            else:
                self._compare(case)
                self.problem(
                    f"The entry that first wrote {_attempt(number).lower()} is missing.",
                    case.seq,
                    correlation_id,
                )
        self._cases.clear()

    # -- the chain ------------------------------------------------------------------------------------------

    def _read_genesis(self) -> _Genesis:
        if not inspect(self._connection).has_table(schema.audit.name):
            return _Genesis()
        query = select(schema.audit.c.payload_json).where(
            schema.audit.c.seq == 1, schema.audit.c.kind == "genesis"
        )
        payload = audit.payload_of(self._connection.execute(query).scalar()) or {}
        last_id, rows = payload.get("last_id"), payload.get("rows")
        block_ids, blocks = payload.get("block_ids"), payload.get("blocks")
        if not isinstance(last_id, int) or not isinstance(rows, int) or not isinstance(blocks, dict):
            return _Genesis()
        if not isinstance(block_ids, int) or block_ids < 1:
            return _Genesis()
        return _Genesis(
            last_id=last_id, rows=rows, block_ids=block_ids, blocks=cast("dict[str, Any]", blocks)
        )

    def _kept_head(self) -> AuditHead | None:
        try:
            head = audit.head(self._connection)
        except ValueError:
            self.problem("The kept head of the audit log can't be read: it was edited.")
            return None
        if head is None:
            self.problem("The kept head of the audit log is missing.")
        elif head.covered_id != self._genesis.last_id:
            self.problem("The kept head does not fit the first entry of the audit log.", 1)
        return head

    def _compare_head(self, head: AuditHead | None, seq: int, hash_: str) -> None:
        if head is None:
            return
        if seq < head.seq:
            self.problem(f"{_entries(seq + 1, head.seq)} missing: the end of the audit log was cut off.", seq)
        elif seq > head.seq:
            self.problem(f"{_entries(head.seq + 1, seq)} not the ledger's: its kept head is before.", seq)
        elif hash_ != head.hash:
            self.problem(f"Entry {seq:,} is not the one that the ledger wrote last.", seq)

    def _link(self, following: tuple[int, str], seq: int, hash_: str, correlation_id: Any) -> None:
        after, named = following
        if after - seq != 1:
            self.problem(f"{_entries(seq + 1, after - 1)} missing.", seq)
        elif named != hash_:
            self.problem(
                f"Entry {seq:,} is not the one that entry {after:,} was written after.", seq, correlation_id
            )

    def _is_sound(self, seq: int, *content: Any) -> bool:
        at_us, kind, correlation_id, payload_json, previous_hash, hash_ = content
        try:
            sound = audit.entry_hash(seq, at_us, kind, correlation_id, payload_json, previous_hash) == hash_
        except (TypeError, ValueError):
            sound = False
        if not sound:
            self.problem(f"Entry {seq:,} was edited.", seq, correlation_id)
        return sound

    # -- the rows -------------------------------------------------------------------------------------------

    def _meet_entry(
        self,
        seq: int,
        kind: str,
        correlation_id: Any,
        trusted: dict[str, Any] | None,
        payload: dict[str, Any],
        rows: Iterator[Row],
    ) -> None:
        named: Any = payload.get("row")
        number: Any = cast("dict[str, Any]", named).get("number") if isinstance(named, dict) else None
        key = (correlation_id, number if isinstance(number, int) else None)
        case = self._cases.setdefault(key, _Case())
        if case.seq is None:
            case.seq, case.payload = seq, trusted
        before = payload.get("before")
        if isinstance(before, str):
            case.before = before  # the oldest one, met last, is how the row was when the log began
        if kind in audit.NEW_ROW_KINDS:
            case.written = True
            row = next(rows, None)
            if row is not None:
                self._meet_row(row)
            self._close(key)

    def _meet_row(self, row: Row) -> None:
        self._rows += 1
        key = _key(row)
        case = self._cases.setdefault(key, _Case())
        if case.row is not None:
            self._not_ours(row)
            return
        case.row = row
        self._close(key)

    def _close(self, key: Key) -> None:
        case = self._cases.get(key)
        if case is not None and case.written and case.row is not None:
            del self._cases[key]
            self._compare(case)

    def _not_ours(self, row: Row) -> None:
        self.problem(
            f"{_attempt(row['number'])} stands in the ledger, and no entry tells of it: it was added.",
            None,
            row["correlation_id"],
        )

    def _compare(self, case: _Case) -> None:
        """Compare a row with its last entry; an entry that was itself edited says nothing about its row."""
        row, payload = case.row, case.payload
        if row is None or payload is None:
            return
        if _digest(row, with_id="id" in payload) == payload.get("digest"):
            return
        named = cast("dict[str, Any]", payload["row"]) | ({"id": payload["id"]} if "id" in payload else {})
        off = [
            f"{name} is {row[name]!r}, the log says {value!r}"
            for name, value in named.items()
            if name in row and row[name] != value
        ]
        what = "; ".join(off) or "a field that the log keeps only a digest of"
        self.problem(
            f"{_attempt(row['number'])} was edited in the ledger: {what}.", case.seq, row["correlation_id"]
        )


def _digest(row: Row, *, with_id: bool = True) -> str:
    try:
        return audit.row_digest(row, with_id=with_id)
    except (AttributeError, TypeError, ValueError):
        return ""  # bytes or another thing that the ledger never writes: no digest equals it


def _key(row: Row) -> Key:
    return row["correlation_id"], row["number"]


def _attempt(number: Any) -> str:
    return f"Attempt {number} of the request"


def _entries(first: int, last: int) -> str:
    return f"Entry {first:,} is" if first == last else f"Entries {first:,} to {last:,} are"


def _as_number(text_: str) -> int:
    return int(text_) if text_.isdecimal() else -1
