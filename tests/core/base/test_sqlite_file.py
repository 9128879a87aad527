"""An SQLite file of ours: made once, brought up to date wholly or not at all, never taken from another program."""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
from contextlib import closing
from pathlib import Path

import pytest

from core.base import sqlite_file
from core.base.files import set_aside
from core.base.permissions import NotOnlyOurs
from core.base.sqlite_file import SIDE_FILES, ForeignFile, NewerFormat, connect, fault_of, use_write_ahead_log


def make(file: sqlite3.Connection) -> None:
    file.execute("CREATE TABLE notes (text TEXT)")


def upgrade(file: sqlite3.Connection, version: int) -> None:
    assert version == 1
    file.execute("ALTER TABLE notes ADD COLUMN author TEXT")


def opened(path: Path) -> sqlite3.Connection:
    return sqlite_file.connect(path, busy_timeout_s=1)


def columns(file: sqlite3.Connection) -> list[str]:
    return [row[1] for row in file.execute("PRAGMA table_info(notes)")]


def test_a_new_file_is_made_and_an_older_one_upgraded(tmp_path: Path) -> None:
    with closing(opened(tmp_path / "notes.sqlite3")) as file:
        sqlite_file.use_write_ahead_log(file)
        sqlite_file.bring_up_to_date(file, 1, make=make)
        assert columns(file) == ["text"]
        for _ in range(2):
            sqlite_file.bring_up_to_date(file, 2, make=make, upgrade=upgrade)
            assert columns(file) == ["text", "author"]
        assert file.execute("PRAGMA user_version").fetchone() == (2,)
        assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_an_upgrade_that_fails_changes_nothing(tmp_path: Path) -> None:
    def breaks(file: sqlite3.Connection, version: int) -> None:
        upgrade(file, version)
        raise OSError("no space left on device")

    with closing(opened(tmp_path / "notes.sqlite3")) as file:
        sqlite_file.bring_up_to_date(file, 1, make=make)
        with pytest.raises(OSError, match="no space"):
            sqlite_file.bring_up_to_date(file, 2, make=make, upgrade=breaks)
        assert not file.in_transaction
        assert columns(file) == ["text"]
        assert file.execute("PRAGMA user_version").fetchone() == (1,)


def test_a_newer_file_and_another_programs_are_left_as_they_are(tmp_path: Path) -> None:
    with closing(opened(tmp_path / "newer.sqlite3")) as file:
        sqlite_file.bring_up_to_date(file, 2, make=make)
        with pytest.raises(NewerFormat):
            sqlite_file.bring_up_to_date(file, 1, make=make)
    with closing(opened(tmp_path / "foreign.sqlite3")) as file:
        file.execute("CREATE TABLE theirs (x)")
        with pytest.raises(ForeignFile):
            sqlite_file.bring_up_to_date(file, 1, make=make)
        assert file.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]


def test_a_commit_that_fails_leaves_no_transaction_open(tmp_path: Path) -> None:
    with closing(opened(tmp_path / "notes.sqlite3")) as file:
        file.execute("PRAGMA foreign_keys = ON")
        file.execute("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
        file.execute("CREATE TABLE children (id REFERENCES parents DEFERRABLE INITIALLY DEFERRED)")
        with pytest.raises(sqlite3.IntegrityError), sqlite_file.transaction(file):
            file.execute("INSERT INTO children VALUES (7)")
        assert not file.in_transaction
        assert file.execute("SELECT count(*) FROM children").fetchone() == (0,)


@pytest.mark.parametrize(
    ("reason", "fault"),
    [
        ("database or disk is full", "full"),
        ("[Errno 28] No space left on device", "full"),
        ("disk I/O error", "io"),
        ("attempt to write a readonly database", "read_only"),
        ("[Errno 13] Permission denied: 'x'", "read_only"),
        ("database is locked", "locked"),
        ("canceling statement due to lock timeout", "locked"),
        ("database disk image is malformed", "damaged"),
        ("file is not a database", "damaged"),
        ("no such table: notes", "other"),
    ],
)
def test_what_an_error_means(reason: str, fault: str) -> None:
    assert fault_of(reason) == fault


def test_broken_files_are_set_aside_one_after_the_other_with_what_belongs_to_them(tmp_path: Path) -> None:
    path = tmp_path / "notes.sqlite3"
    for number in (1, 2):
        path.write_text(f"broken {number}")
        path.with_name("notes.sqlite3-wal").write_text(f"log {number}")
        kept = set_aside(path, beside=SIDE_FILES)
        assert kept == tmp_path / f"notes.sqlite3.broken-{number}"
        assert kept.read_text() == f"broken {number}"
        assert kept.with_name(f"{kept.name}-wal").read_text() == f"log {number}"
    path.write_text("broken 3")
    assert set_aside(path, name="{stem}.broken-{number}{suffix}") == tmp_path / "notes.broken-1.sqlite3"
    assert not list(tmp_path.glob("notes.sqlite3-*"))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_the_file_and_what_lies_beside_it_are_the_user_s_alone_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite3"
    before = os.umask(0)
    try:
        file = connect(path, busy_timeout_s=1)
        use_write_ahead_log(file)
        file.execute("CREATE TABLE t (x)")
        beside = sorted(each for each in tmp_path.iterdir() if each.name.startswith(path.name))
        assert len(beside) == 3
        for each in beside:
            assert stat.S_IMODE(each.stat().st_mode) == 0o600
            each.chmod(0o644)  # as earlier versions left it
        connect(path, busy_timeout_s=1).close()
        assert {stat.S_IMODE(each.stat().st_mode) for each in beside} == {0o600}
        file.close()
    finally:
        os.umask(before)
    path.chmod(0o666)
    with pytest.raises(NotOnlyOurs, match="chmod go-w"):
        connect(path, busy_timeout_s=1)
