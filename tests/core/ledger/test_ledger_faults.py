"""What is no ledger, what is too new for this program, and a disk that is full."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection

from core.chat import Usage
from core.errors import LedgerUnavailable
from core.ledger import database, writer
from core.ledger.database import LEDGER_FILE, open_engine
from core.ledger.ledger import HoldRequest, Ledger, Outcome
from tests.support.ledgers import hold, new_request, open_ledger

ROOT = Path(__file__).parents[3]


async def refused(home: Path, url: str | None = None) -> LedgerUnavailable:
    ledger = Ledger(url, home)
    with pytest.raises(LedgerUnavailable) as failure:
        await ledger.open()
    assert not ledger.is_open
    assert failure.value.hint
    return failure.value


@pytest.mark.parametrize(
    "content", [b"my shopping list\n", b"x", b"\x00" * 4096, b"SQLite format 2\x00" * 99]
)
async def test_a_file_that_is_not_sqlite_is_left_untouched(home: Path, content: bytes) -> None:
    path = home / LEDGER_FILE
    path.write_bytes(content)
    error = await refused(home)
    assert str(path) in error.message
    assert path.read_bytes() == content
    assert [file.name for file in home.iterdir()] == [LEDGER_FILE]


def _look_from_another_process(path: Path) -> None:
    code = (
        "import sqlite3, sys; it = sqlite3.connect(sys.argv[1]); "
        "it.execute('SELECT * FROM sqlite_master').fetchall(); it.close()"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)


async def test_opening_a_ledger_again_leaves_the_locks_of_the_first(home: Path) -> None:
    """A process that closes a file loses all its locks on it; whoever closes last then takes the log away."""
    async with open_ledger(home) as first:
        second = Ledger(None, home)
        await second.open()
        await asyncio.to_thread(_look_from_another_process, home / LEDGER_FILE)
        assert (home / f"{LEDGER_FILE}-wal").exists()
        await first.begin(new_request(), hold(60, 10_000))
        await second.close()


async def test_why_a_file_cannot_be_used_is_said_in_a_pipe_too(home: Path) -> None:
    path = home / LEDGER_FILE
    path.mkdir()
    assert "it is a folder" in (await refused(home)).own_message
    path.rmdir()
    path.touch(0o600)
    path.chmod(0o666)
    assert f"chmod go-w {path}" in (await refused(home)).own_message


async def test_a_damaged_ledger_is_refused_and_left_untouched(home: Path) -> None:
    path = home / LEDGER_FILE
    content = b"SQLite format 3\x00" + b"\x07" * 8000
    path.write_bytes(content)
    await refused(home)
    assert path.read_bytes() == content


async def test_another_programs_database_is_left_untouched(home: Path) -> None:
    path = home / LEDGER_FILE
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    before = path.read_bytes()
    assert "another program" in (await refused(home)).message
    assert path.read_bytes() == before
    assert [file.name for file in home.iterdir()] == [LEDGER_FILE]


async def test_a_ledger_of_a_newer_version_is_left_untouched(home: Path) -> None:
    async with open_ledger(home):
        pass
    path = home / LEDGER_FILE
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE ledger_meta SET value = '999' WHERE key = 'schema_version'")
    connection.close()
    before = path.read_bytes()
    assert "newer" in (await refused(home)).message
    assert path.read_bytes() == before


async def test_a_folder_in_place_of_the_file(home: Path) -> None:
    (home / LEDGER_FILE).mkdir()
    await refused(home)


async def test_a_home_that_is_a_file(home: Path) -> None:
    (home / "file").write_text("")
    await refused(home / "file")


@pytest.mark.parametrize(
    "url",
    [
        "mysql://user:hunter2@host/x",
        "nonsense",
        "postgresql://user:hunter2@127.0.0.1:notaport/x",
        "sqlite://",
    ],
)
async def test_a_bad_ledger_url_is_refused_without_its_password(home: Path, url: str) -> None:
    assert "hunter2" not in str(await refused(home, url))


async def test_an_empty_file_becomes_a_ledger(home: Path) -> None:
    (home / LEDGER_FILE).touch()
    async with open_ledger(home) as ledger:
        await ledger.begin(new_request(), hold(1))


async def test_a_broken_ledger_set_aside_makes_room_for_a_new_one(home: Path) -> None:
    path = home / LEDGER_FILE
    for number in (1, 2):
        path.write_bytes(b"not a ledger")
        ledger = Ledger(None, home)
        aside = await ledger.set_aside()
        assert (aside.name, aside.read_bytes()) == (f"{LEDGER_FILE}.broken-{number}", b"not a ledger")
        await ledger.open()
        await ledger.begin(new_request(), hold(1))
        await ledger.close()
    path.unlink()
    with pytest.raises(LedgerUnavailable):
        await Ledger(None, home).set_aside()


@pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no limit on a file's size to stand in for a disk"
)
def test_a_full_disk_refuses_new_requests_and_loses_no_result(home: Path) -> None:
    command = [sys.executable, "-m", "tests.support.ledger_child", "full", str(home)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "saved=False unsaved=True"
    assert lines[1].startswith("refused hint=True")
    assert lines[2:] == ["full: spent=0 held=60", "freed: spent=13 held=0 unsaved=()", "check=True"]


async def test_a_result_that_cannot_be_written_is_kept_and_written_at_the_close(home: Path) -> None:
    request = new_request()
    async with open_ledger(home) as ledger:
        await ledger.begin(request, hold(60))
        path = home / LEDGER_FILE
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("ALTER TABLE ledger_hours RENAME TO hidden")
        saved = await ledger.settle(
            request.correlation_id,
            1,
            Outcome(status="done", usage=Usage(output_tokens=1), cost_nanodollars=13),
        )
        assert not saved
        assert ledger.unsaved == (request.correlation_id,)
        blocker.execute("ALTER TABLE hidden RENAME TO ledger_hours")
        blocker.close()
    assert ledger.unsaved == ()
    async with open_ledger(home) as ledger:
        assert (await ledger.budget()).spent_nanodollars == 13


async def test_an_sqlite_that_is_too_old_is_said_in_plain_words(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    error = await refused(home)
    assert "3.35" in error.message
    assert list(home.iterdir()) == []


async def test_what_a_power_cut_may_undo_counts_at_its_hold_and_that_is_enough(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[bool] = []

    def set_durable(connection: Connection, durable: bool) -> None:
        waits.append(durable)

    monkeypatch.setattr(writer, "set_durable", set_durable)
    async with open_ledger(home) as ledger:
        cases = ((60, 10, None, False), (61, 10, None, True), (60, 11, None, True), (60, 10, "key", True))
        for cost, tokens, key, waits_for_the_disk in cases:
            request = replace(new_request(), idempotency_key=key)
            await ledger.begin(request, HoldRequest(nanodollars=60, tokens=10))
            assert waits[-1:] == [True]
            usage = Usage(output_tokens=tokens)
            outcome = Outcome(status="done", usage=usage, cost_nanodollars=cost)
            await ledger.settle(request.correlation_id, 1, outcome)
            assert waits[-1] is waits_for_the_disk


async def test_an_sqlite_url_names_the_file(home: Path) -> None:
    path = home / "elsewhere" / "books.sqlite3"
    async with open_ledger(home, url=f"sqlite:///{path}") as ledger:
        assert ledger.path == path
        await ledger.begin(new_request(), hold(60))
    assert list(home.iterdir()) == [path.parent]
    async with open_ledger(home, url=f"sqlite+pysqlite:///{path}") as ledger:
        assert (await ledger.budget()).held_nanodollars == 60


async def test_a_server_without_its_package_says_what_to_install(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    error = await refused(home, "postgresql://user:hunter2@127.0.0.1/x")
    assert "needs the Python package psycopg" in error.message
    assert "pip install" in (error.hint or "")
    assert "hunter2" not in str(error)


async def test_a_ledger_on_a_server_is_not_set_aside(home: Path) -> None:
    with pytest.raises(LedgerUnavailable, match="on a server"):
        await Ledger("postgresql://user@127.0.0.1/x", home).set_aside()


async def test_two_first_starts_at_once_make_one_ledger(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin_writing = database.begin_writing

    def begin_after_another(connection: Connection) -> None:
        monkeypatch.setattr(database, "begin_writing", begin_writing)
        open_engine(None, home).dispose()
        begin_writing(connection)

    monkeypatch.setattr(database, "begin_writing", begin_after_another)
    async with open_ledger(home) as ledger:
        assert database.begin_writing is begin_writing
        assert [entry.kind for entry in await ledger.audit_entries()] == ["genesis"]
        await ledger.begin(new_request(), hold(1))
        assert (await ledger.verify_audit()).ok


async def test_a_ledger_that_is_open_is_not_opened_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_ledger(home) as ledger:
        await ledger.begin(new_request(), hold(60))
        monkeypatch.setattr(database, "open_engine", None)
        await ledger.open()
        assert (await ledger.budget()).held_nanodollars == 60


async def test_a_read_that_fails_is_said_in_plain_words(home: Path) -> None:
    async with open_ledger(home) as ledger:
        with sqlite3.connect(home / LEDGER_FILE) as other:
            other.execute("ALTER TABLE ledger_attempts RENAME TO hidden")
        other.close()
        with pytest.raises(LedgerUnavailable) as failure:
            await ledger.recent()
        assert str(home / LEDGER_FILE) in failure.value.message
        assert "SELECT" not in failure.value.message
        assert failure.value.hint
