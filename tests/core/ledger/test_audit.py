"""The audit log: whatever is changed behind the ledger's back is found, and what the ledger writes never is."""

from __future__ import annotations

import json
import sqlite3
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.exc import DatabaseError

from core.ledger import audit, audit_check, schema
from core.ledger.database import begin_writing
from tests.support import postgres
from tests.support.audited import (
    COLUMNS,
    ENTRY_COLUMNS,
    Books,
    connected,
    insert,
    rehashed,
    rewrite_all,
    settled,
    stored,
    update,
    verify,
    write_history,
)


@pytest.fixture(scope="module")
def history() -> bytes:
    database = sqlite3.connect(":memory:")
    with connected(database) as connection:
        write_history(connection)
    return database.serialize()


def test_what_the_ledger_writes_verifies(history: bytes) -> None:
    report = verify(history, lambda cursor: None)
    assert report.problems == ()
    assert (report.ok, report.entries, report.rows, report.expected_found) == (True, 12, 7, None)
    entries = stored(history, "ledger_audit")
    assert report.head_hash == entries[-1]["hash"]
    assert entries[0]["kind"] == "genesis"
    for earlier in entries:
        assert verify(history, lambda cursor: None, expect=earlier["hash"]).expected_found is True
    assert verify(history, lambda cursor: None, expect="ab" * 32).problem_count == 1


def test_the_forms_are_what_the_docstring_says(history: bytes) -> None:
    """Written apart from the module, as another program would do it."""
    import hashlib

    previous = "0" * 64
    for entry in stored(history, "ledger_audit"):
        content = [entry[name] for name in ENTRY_COLUMNS[:-1]]
        as_json = json.dumps(content, separators=(",", ":"), ensure_ascii=True)
        assert entry["previous_hash"] == previous
        assert entry["hash"] == hashlib.sha256(as_json.encode()).hexdigest()
        assert entry["payload_json"] == json.dumps(
            json.loads(entry["payload_json"]), separators=(",", ":"), sort_keys=True
        )
        assert "null" not in entry["payload_json"]
        previous = entry["hash"]
    row = next(row for row in stored(history, "ledger_attempts") if row["correlation_id"] == "request-4")
    decision = row.pop("decision_json")
    facts = {name: value for name, value in sorted(row.items()) if value is not None and name != "id"}
    text = json.dumps({**facts, "id": row["id"]}, separators=(",", ":")) + "\n" + decision
    last = json.loads(
        [e for e in stored(history, "ledger_audit") if e["correlation_id"] == "request-4"][-1]["payload_json"]
    )
    assert last["digest"] == hashlib.sha256(text.encode()).hexdigest()


values = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.binary(max_size=4),
    st.sampled_from(
        ("open", "settled", "anthropic", "begin", "genesis", "0" * 64, "{}", "[]", '{"digest":"x"}')
    ),
)
quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(data=st.data())
def test_any_edit_of_any_field_of_an_entry_is_found(history: bytes, data: st.DataObject) -> None:
    entry = data.draw(st.sampled_from(stored(history, "ledger_audit")))
    name = data.draw(st.sampled_from(ENTRY_COLUMNS))
    value = data.draw(values)
    _assert_edit_is_found(history, "ledger_audit", "seq", entry, name, value)


@quick
@given(data=st.data())
def test_any_edit_of_any_field_of_a_row_is_found(history: bytes, data: st.DataObject) -> None:
    row = data.draw(st.sampled_from(stored(history, "ledger_attempts")))
    name = data.draw(st.sampled_from(COLUMNS))
    value = data.draw(values)
    report = _assert_edit_is_found(history, "ledger_attempts", "id", row, name, value)
    if row["id"] > 2 and name not in ("id", "correlation_id", "number"):
        # One edited row is one problem, told once, with its request's name.
        (problem,) = report.problems
        assert problem.correlation_id == row["correlation_id"]


def _assert_edit_is_found(
    history: bytes, table: str, key: str, before: dict[str, Any], name: str, value: Any
) -> audit.AuditReport:
    changed: list[bool] = []

    def edit(cursor: sqlite3.Cursor) -> None:
        try:
            update(cursor, table, key, before[key], {name: value})
        except sqlite3.IntegrityError:
            assume(False)  # NOT NULL, or a number that is taken
        now = [tuple(row) for row in cursor.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()]
        changed.append(now != [tuple(row.values()) for row in stored(history, table)])

    report = verify(history, edit)
    assume(changed == [True])  # a text of digits becomes the number that was there
    assert not report.ok
    return report


@quick
@given(data=st.data())
def test_any_deletion_insertion_or_swap_is_found(history: bytes, data: st.DataObject) -> None:
    table, key = data.draw(st.sampled_from((("ledger_audit", "seq"), ("ledger_attempts", "id"))))
    rows = stored(history, table)
    what = data.draw(st.sampled_from(("delete", "insert", "swap")))
    if what == "delete":
        gone = data.draw(st.sets(st.sampled_from([row[key] for row in rows]), min_size=1))

        def tamper(cursor: sqlite3.Cursor) -> None:
            for number in gone:
                cursor.execute(f"DELETE FROM {table} WHERE {key} = ?", (number,))
    elif what == "insert":
        copied = dict(data.draw(st.sampled_from(rows)))
        copied[key] = data.draw(st.one_of(st.none(), st.integers(-3, 0), st.integers(len(rows) + 1, 99)))
        if table == "ledger_attempts":
            copied["correlation_id"] = "request-of-somebody"
        elif copied[key] is not None:
            copied = rehashed(copied | {"previous_hash": rows[-1]["hash"]})

        def tamper(cursor: sqlite3.Cursor) -> None:
            insert(cursor, table, copied)
    else:
        first, second = data.draw(
            st.lists(st.sampled_from(rows), min_size=2, max_size=2, unique_by=lambda r: r[key])
        )

        def tamper(cursor: sqlite3.Cursor) -> None:
            # Their contents change places, through a third number because numbers are unique.
            for old, new in ((first[key], -99), (second[key], first[key]), (-99, second[key])):
                update(cursor, table, key, old, {key: new})

    assert not verify(history, tamper).ok


@quick
@given(data=st.data())
def test_a_cut_tail_is_found(history: bytes, data: st.DataObject) -> None:
    entries = stored(history, "ledger_audit")
    kept = data.draw(st.integers(0, len(entries) - 1))
    last = f"{kept}:{entries[kept - 1]['hash'] if kept else audit.NO_HASH}"

    def cut(cursor: sqlite3.Cursor) -> None:
        cursor.execute("DELETE FROM ledger_audit WHERE seq > ?", (kept,))

    def cut_with_head(cursor: sqlite3.Cursor) -> None:
        cut(cursor)
        cursor.execute("UPDATE ledger_meta SET value = ? WHERE key = 'audit_head'", (f"{last}:2",))

    assert any("missing" in problem.what for problem in verify(history, cut).problems)
    # With the head moved back too, the rows no longer fit; where only a note was cut off, the noted head tells.
    report = verify(history, cut_with_head, expect=entries[-1]["hash"])
    assert report.expected_found is False
    if kept != len(entries) - 3 and kept < len(entries) - 1:
        assert report.problem_count > 1


@quick
@given(data=st.data())
def test_an_entry_rewritten_with_a_new_hash_is_found(history: bytes, data: st.DataObject) -> None:
    """Whoever knows the formula can make an entry that is sound in itself; its neighbour gives it away."""
    entries = stored(history, "ledger_audit")
    entry = data.draw(st.sampled_from(entries))
    name = data.draw(st.sampled_from(("at_us", "kind", "correlation_id", "payload_json", "previous_hash")))
    forged = rehashed(
        entry | {name: 1 if name == "at_us" and entry[name] != 1 else "{}" if name != "at_us" else 2}
    )
    report = verify(history, lambda cursor: update(cursor, "ledger_audit", "seq", entry["seq"], forged))
    assert not report.ok


def test_an_added_or_a_deleted_row_is_one_problem_with_its_name(history: bytes) -> None:
    rows = stored(history, "ledger_attempts")
    for row_id in (-1, 3, 99):
        copy = rows[3] | {"id": row_id, "correlation_id": "request-of-somebody"}

        def add(cursor: sqlite3.Cursor, copy: dict[str, Any] = copy) -> None:
            cursor.execute("UPDATE ledger_attempts SET id = -id WHERE id = ?", (copy["id"],))
            insert(cursor, "ledger_attempts", copy)

        names = {problem.correlation_id for problem in verify(history, add).problems}
        assert names >= {"request-of-somebody"} or row_id == -1
        assert names <= {"request-of-somebody", rows[2]["correlation_id"], None}
    for row in rows[2:]:
        sql = f"DELETE FROM ledger_attempts WHERE id = {row['id']}"
        (problem,) = verify(history, lambda cursor, sql=sql: cursor.execute(sql)).problems
        assert problem.correlation_id == row["correlation_id"]


def test_a_chain_written_anew_is_found_only_by_a_head_noted_elsewhere(history: bytes) -> None:
    noted = stored(history, "ledger_audit")[-1]["hash"]
    assert verify(history, rewrite_all).ok
    report = verify(history, rewrite_all, expect=noted)
    assert (report.ok, report.expected_found) == (False, False)
    assert noted in report.problems[-1].what


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM ledger_meta WHERE key = 'audit_head'", "head of the audit log is missing"),
        (
            "UPDATE ledger_meta SET value = 'x' WHERE key = 'audit_head'",
            "head of the audit log can't be read",
        ),
        (
            "UPDATE ledger_meta SET value = replace(value, ':2', ':1') WHERE key = 'audit_head'",
            "does not fit",
        ),
        ("DELETE FROM ledger_audit", "All 12 entries of the audit log are missing"),
        ("DELETE FROM ledger_audit WHERE seq = 1", "Entry 1 is missing"),
        ("DELETE FROM ledger_audit WHERE seq IN (5, 6)", "Entries 5 to 6 are missing"),
        (
            "DELETE FROM ledger_audit WHERE seq = 12",
            "Entry 12 is missing: the end of the audit log was cut off",
        ),
        ("UPDATE ledger_audit SET at_us = 1 WHERE seq = 7", "Entry 7 was edited"),
        ("DELETE FROM ledger_attempts WHERE correlation_id = 'request-4'", "was deleted from the ledger"),
        ("DELETE FROM ledger_attempts WHERE id = 1", "2 rows are older than the audit log"),
        ("UPDATE ledger_attempts SET model = 'y' WHERE id = 1", "among the ids 0 to 999"),
        (
            "UPDATE ledger_attempts SET cost_nanodollars = 1 WHERE correlation_id = 'request-4'",
            "edited in the ledger: cost_nanodollars is 1, the log says 44",
        ),
        (
            "UPDATE ledger_attempts SET error_kind = 'y' WHERE correlation_id = 'request-4'",
            "a field that the log keeps only a digest of",
        ),
        (
            "UPDATE ledger_attempts SET counted_nanodollars = 0 WHERE id = 2",
            "edited in the ledger: counted_nanodollars is 0, the log says 3",
        ),
        ("UPDATE ledger_attempts SET id = 99 WHERE correlation_id = 'request-6'", "id is 99, the log says 6"),
        ("DROP TABLE ledger_audit", "table is gone"),
    ],
)
def test_the_report_says_what_was_done(history: bytes, statement: str, words: str) -> None:
    database = sqlite3.connect(":memory:")
    database.deserialize(history)
    triggers = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        database.execute(f"DROP TRIGGER {name}")
    assert database.execute(statement).rowcount != 0
    if not statement.startswith("DROP"):
        for _, sql in triggers:
            database.execute(sql)
    database.commit()
    with connected(database) as connection:
        report = audit_check.verify(connection)
    assert any(words in problem.what for problem in report.problems), report.problems


def test_a_dropped_trigger_is_a_problem_of_its_own(history: bytes) -> None:
    database = sqlite3.connect(":memory:")
    database.deserialize(history)
    database.execute("DROP TRIGGER ledger_audit_no_delete")
    with connected(database) as connection:
        (problem,) = audit_check.verify(connection).problems
    assert "ledger_audit_no_delete" in problem.what


@pytest.mark.parametrize(
    "statement", ["UPDATE ledger_audit SET kind = 'x' WHERE seq = 2", "DELETE FROM ledger_audit"]
)
def test_the_database_itself_refuses_changes(history: bytes, statement: str) -> None:
    database = sqlite3.connect(":memory:")
    database.deserialize(history)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        database.execute(statement)


def test_a_hundred_problems_are_counted_and_the_first_ones_kept(
    history: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.ledger.audit_check.PROBLEMS_KEPT", 3)
    report = verify(history, lambda cursor: cursor.execute("UPDATE ledger_audit SET at_us = at_us + 1"))
    assert (len(report.problems), report.problem_count) == (3, 12)


def test_an_entry_that_is_rolled_back_leaves_the_chain_whole(history: bytes) -> None:
    database = sqlite3.connect(":memory:")
    database.deserialize(history)
    with connected(database) as connection:
        books = Books(connection)
        begin_writing(connection)
        connection.exec_driver_sql("SAVEPOINT operation")
        books.begin(20)
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT operation")
        books.begin(21)
        connection.commit()
        assert audit_check.verify(connection).problems == ()
        connection.rollback()
        assert audit.head(connection) is not None
        newest, before = audit.entries(connection, 2)
        assert (newest.correlation_id, newest.kind) == ("request-21", "begin")
        assert newest.payload is not None
        assert newest.payload["row"]["hold_nanodollars"] == 121
        assert audit.entries(connection, 1, before=newest.seq) == (before,)


def test_a_chain_whose_beginning_was_cut_off_and_numbered_anew_is_found() -> None:
    database = sqlite3.connect(":memory:")
    with connected(database) as connection:
        begin_writing(connection)
        schema.metadata.create_all(connection)
        entry = {"seq": 1, "at_us": 1, "kind": "reset", "correlation_id": None, "payload_json": "{}"}
        entry = rehashed(entry | {"previous_hash": "ab" * 32})
        insert(database.cursor(), "ledger_audit", entry)
        insert(database.cursor(), "ledger_meta", {"key": "audit_head", "value": f"1:{entry['hash']}:0"})
        connection.commit()
        (problem,) = audit_check.verify(connection).problems
    assert "the beginning was cut off" in problem.what


def test_a_chain_begins_once_and_also_without_rows() -> None:
    database = sqlite3.connect(":memory:")
    with connected(database) as connection:
        begin_writing(connection)
        schema.metadata.create_all(connection)
        audit.genesis(connection)
        audit.genesis(connection)
        connection.commit()
        report = audit_check.verify(connection)
    assert (report.problems, report.entries, report.rows) == ((), 1, 0)


def test_the_memory_of_a_verification_does_not_grow_with_the_ledger() -> None:
    """A request is forgotten once its first entry was met, so what counts is how many ran at the same time."""
    database = sqlite3.connect(":memory:")
    peaks: list[int] = []
    with connected(database) as connection:
        books = Books(connection)
        begin_writing(connection)
        schema.metadata.create_all(connection)
        audit.genesis(connection)
        for number in range(4500):
            books.begin(number)
            if number >= 20:
                books.change(number - 20, **settled(7))
            if number in (1499, 4499):
                connection.commit()
                tracemalloc.start()
                assert audit_check.verify(connection).ok
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
                connection.rollback()
                begin_writing(connection)
    assert peaks[1] < 1.2 * peaks[0]


def test_a_change_of_an_older_row_without_how_it_was_is_refused(history: bytes) -> None:
    database = sqlite3.connect(":memory:")
    database.deserialize(history)
    with connected(database) as connection:
        row = stored(history, "ledger_attempts")[0]
        with pytest.raises(ValueError, match="before"):
            audit.append(connection, at_us=1, kind="settle", correlation_id="request-1", row=row)


@pytest.mark.parametrize("at_us", ["yesterday", 2**62])
def test_an_entry_whose_time_was_spoilt_is_shown_without_one(history: bytes, at_us: Any) -> None:
    database = sqlite3.connect(":memory:")
    database.deserialize(history)
    database.execute("DROP TRIGGER ledger_audit_no_update")
    database.execute("UPDATE ledger_audit SET at_us = ? WHERE seq = 12", (at_us,))
    database.commit()
    with connected(database) as connection:
        newest, before = audit.entries(connection, 2)
    assert (newest.seq, newest.at) == (12, None)
    assert before.at is not None


def test_an_entry_written_before_its_row_had_a_number_counts_without_it() -> None:
    database = sqlite3.connect(":memory:")
    with connected(database) as connection:
        books = Books(connection)
        begin_writing(connection)
        schema.metadata.create_all(connection)
        audit.genesis(connection)
        row = {name: value for name, value in books.insert(1).items() if name != "id"}
        audit.append(connection, at_us=1, kind="begin", correlation_id=row["correlation_id"], row=row)
        connection.commit()
    (entry,) = [entry for entry in stored(database.serialize(), "ledger_audit") if entry["kind"] == "begin"]
    assert "id" not in json.loads(entry["payload_json"])
    intact = database.serialize()
    assert verify(intact, lambda cursor: None).ok
    renumbered = verify(intact, lambda cursor: cursor.execute("UPDATE ledger_attempts SET id = 7"))
    assert renumbered.ok
    edited = verify(intact, lambda cursor: cursor.execute("UPDATE ledger_attempts SET hold_nanodollars = 1"))
    assert [problem.correlation_id for problem in edited.problems] == ["request-1"]


def test_a_log_that_was_emptied_with_its_head_is_found(history: bytes) -> None:
    def empty(cursor: sqlite3.Cursor) -> None:
        cursor.execute("DELETE FROM ledger_audit")
        cursor.execute("DELETE FROM ledger_meta WHERE key = 'audit_head'")

    report = verify(history, empty)
    assert (report.entries, report.head_hash) == (0, None)
    problems = [problem.what for problem in report.problems]
    assert problems[0] == "The kept head of the audit log is missing."
    assert sum("was added" in what for what in problems) == report.rows == 7
    with_head = verify(history, lambda cursor: cursor.execute("DELETE FROM ledger_audit"))
    assert "All 12 entries of the audit log are missing." in [problem.what for problem in with_head.problems]


def test_a_first_entry_edited_to_blocks_of_nothing_is_found(history: bytes) -> None:
    first = stored(history, "ledger_audit")[0]
    payload = json.dumps(json.loads(first["payload_json"]) | {"block_ids": 0}, separators=(",", ":"))
    report = verify(
        history, lambda cursor: update(cursor, "ledger_audit", "seq", 1, {"payload_json": payload})
    )
    assert "Entry 1 was edited." in [problem.what for problem in report.problems]


def test_a_second_row_of_the_same_attempt_is_found(history: bytes) -> None:
    row = next(row for row in stored(history, "ledger_attempts") if row["correlation_id"] == "request-3")

    def double(cursor: sqlite3.Cursor) -> None:
        cursor.execute("DROP INDEX ledger_attempts_by_request")
        insert(cursor, "ledger_attempts", row | {"id": 99})

    report = verify(history, double)
    assert report.rows == 8
    added = [problem for problem in report.problems if "it was added" in problem.what]
    assert [problem.correlation_id for problem in added] == ["request-3"]


def test_two_rows_of_an_attempt_that_never_was_are_two_problems(history: bytes) -> None:
    row = stored(history, "ledger_attempts")[-1] | {"correlation_id": "request-99"}

    def invent(cursor: sqlite3.Cursor) -> None:
        cursor.execute("DROP INDEX ledger_attempts_by_request")
        for row_id in (98, 99):
            insert(cursor, "ledger_attempts", row | {"id": row_id})

    report = verify(history, invent)
    added = [problem.correlation_id for problem in report.problems if "it was added" in problem.what]
    assert (report.rows, added) == (9, ["request-99", "request-99"])


@pytest.mark.skipif(postgres.missing() is not None, reason=postgres.missing() or "")
def test_on_postgresql(tmp_path: Path) -> None:
    with postgres.PostgresServer() as server:
        engine = create_engine(server.url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.connect() as connection:
            write_history(connection)
            assert audit_check.verify(connection).problems == ()
            connection.rollback()
            for statement in (
                "UPDATE ledger_audit SET kind = 'x'",
                "DELETE FROM ledger_audit",
                "TRUNCATE ledger_audit",
            ):
                with pytest.raises(DatabaseError, match="append-only"):
                    connection.exec_driver_sql(statement)
                connection.rollback()
            for statement, words in (
                ("UPDATE ledger_attempts SET cost_nanodollars = 1 WHERE id = 4", "the log says 44"),
                ("ALTER TABLE ledger_audit DISABLE TRIGGER ledger_audit_no_delete", "trigger"),
                ("DELETE FROM ledger_audit WHERE seq > 9", "cut off"),
            ):
                connection.exec_driver_sql(statement)
                connection.commit()
                found = audit_check.verify(connection).problems
                assert any(words in problem.what for problem in found), found
                connection.rollback()
        engine.dispose()
