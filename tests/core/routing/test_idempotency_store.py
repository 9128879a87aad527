"""The file of answers: whole answers come back, nothing is kept too long or too much, and no trouble is fatal."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.errors import DuplicateRequest
from core.ledger.process_identity import ProcessIdentity
from core.routing import idempotency_store
from core.routing.idempotency_store import (
    FILE_NAME,
    Elsewhere,
    IdempotencyStore,
    KeepingFailed,
    Lease,
    StoredAnswer,
)
from tests.core.routing.test_idempotency import answer
from tests.support.full_values import FULL_RESULT

DAY_S = 24 * 3600.0
DEAD = ProcessIdentity("here", 1, "long ago")


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def kept(home: Path, clock: Clock) -> AsyncIterator[IdempotencyStore]:
    answers = IdempotencyStore(home, lambda: DAY_S, clock=clock)
    yield answers
    await answers.close()


async def place(kept: IdempotencyStore, key: str = "key", asked: str = "asked") -> Lease:
    found = await kept.claim(key, asked, f"request of {key}")
    assert isinstance(found, Lease), found
    return found


async def keep(kept: IdempotencyStore, key: str = "key", text: str = "Hello") -> None:
    assert await kept.finish(await place(kept, key), answer(text))


async def there(kept: IdempotencyStore, key: str = "key") -> str | None:
    """Return the text that is kept under ``key``; a place that is found instead is given back."""
    found = await kept.claim(key, "asked", "another")
    if isinstance(found, Lease):
        await kept.release(found)
        return None
    assert isinstance(found, StoredAnswer), found
    return found.result.text


def bytes_of(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in home.glob(FILE_NAME + "*"))


# -- the file ------------------------------------------------------------------------------------------------


async def test_an_answer_is_there_for_another_process_and_says_its_age(
    home: Path, kept: IdempotencyStore, clock: Clock
) -> None:
    first = await place(kept)
    assert await kept.finish(first, FULL_RESULT)
    await kept.release(first)  # changes nothing any more
    clock.now += 60
    other = IdempotencyStore(home, lambda: DAY_S, clock=clock)
    assert await other.claim("key", "asked", "another") == StoredAnswer(result=FULL_RESULT, age_s=60.0)
    await other.close()


async def test_a_key_that_runs_is_elsewhere_until_it_is_given_back(
    home: Path, kept: IdempotencyStore
) -> None:
    other = IdempotencyStore(home, lambda: DAY_S)
    first = await place(kept)
    assert await other.claim("key", "asked", "another") == Elsewhere(correlation_id="request of key")
    await kept.release(first)
    second = await place(other)
    assert second.after_death_of is None, "it was given back, nobody died"
    assert await kept.claim("key", "asked", "third") == Elsewhere(correlation_id="request of key")
    await other.close()


async def test_a_different_request_is_refused_while_the_first_runs_and_afterwards(
    kept: IdempotencyStore,
) -> None:
    first = await place(kept)
    with pytest.raises(DuplicateRequest, match="a different request"):
        await kept.claim("key", "something else", "another")
    await kept.finish(first, FULL_RESULT)
    with pytest.raises(DuplicateRequest, match="a different request"):
        await kept.claim("key", "something else", "another")


async def test_an_answer_that_cannot_be_read_is_neither_guessed_nor_lost(
    home: Path, kept: IdempotencyStore
) -> None:
    await keep(kept)
    with sqlite3.connect(home / FILE_NAME) as file:
        file.execute("""UPDATE answers SET answer = '{"text": "from 2030"}'""")
    file.close()
    with pytest.raises(DuplicateRequest, match="can't be read by this version"):
        await kept.claim("key", "asked", "another")
    assert b"from 2030" in bytes_of(home)


async def test_the_file_is_its_owners_only_whatever_the_umask(home: Path, kept: IdempotencyStore) -> None:
    before = os.umask(0)
    try:
        await keep(kept)
    finally:
        os.umask(before)
    files = sorted(home.glob(FILE_NAME + "*"))
    assert len(files) == 3, "the file, its log and its index"
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


async def test_a_file_that_others_could_read_is_closed_to_them(home: Path, kept: IdempotencyStore) -> None:
    await keep(kept)
    await kept.close()
    os.chmod(home / FILE_NAME, 0o644)
    assert await there(kept) == "Hello"
    assert stat.S_IMODE((home / FILE_NAME).stat().st_mode) == 0o600


# -- bounds --------------------------------------------------------------------------------------------------


async def test_what_is_too_old_is_gone_from_the_disk(
    home: Path, kept: IdempotencyStore, clock: Clock
) -> None:
    await keep(kept, "old", "The heron sleeps. " * 1000)
    clock.now += DAY_S - 1
    await keep(kept, "new", "A newer one.")
    assert (await there(kept, "old") or "").startswith("The heron sleeps.")
    clock.now += 2
    await kept.maintain()
    assert b"heron" not in bytes_of(home), "overwritten, in the log too"
    with sqlite3.connect(home / FILE_NAME) as file:
        assert file.execute("PRAGMA freelist_count").fetchone() == (0,), "its room is given back"
    file.close()
    assert await there(kept, "old") is None
    assert await there(kept, "new") == "A newer one."


async def test_what_is_too_old_is_never_given_even_before_it_is_deleted(
    kept: IdempotencyStore, clock: Clock
) -> None:
    await keep(kept)
    clock.now += DAY_S
    assert (await place(kept, asked="something else")).after_death_of is None


async def test_the_oldest_go_first_when_there_are_too_many(home: Path, clock: Clock) -> None:
    kept = IdempotencyStore(home, lambda: DAY_S, clock=clock, max_entries=3)
    for number in range(5):
        clock.now += 1
        await keep(kept, f"{number}")
    assert [await there(kept, f"{number}") for number in range(5)] == [None, None, "Hello", "Hello", "Hello"]
    await kept.close()


async def test_the_oldest_go_first_when_they_are_too_large(home: Path, clock: Clock) -> None:
    kept = IdempotencyStore(home, lambda: DAY_S, clock=clock, max_bytes=100_000)
    for number in range(30):
        clock.now += 1
        await keep(kept, f"{number}", f"{number} " + "x" * 40_000)
    assert [await there(kept, f"{number}") is not None for number in range(26, 30)] == [
        False,
        False,
        True,
        True,
    ]
    await kept.maintain()
    assert (home / FILE_NAME).stat().st_size < 300_000, "the file doesn't grow with what was deleted"
    await kept.close()


async def test_the_size_of_an_answer_is_that_of_its_bytes(home: Path) -> None:
    kept = IdempotencyStore(home, lambda: DAY_S, max_bytes=50_000)
    assert await kept.finish(await place(kept, "ascii"), answer("a" * 20_000))
    assert not await kept.finish(await place(kept, "beyond"), answer("\u6a21" * 20_000))
    await kept.close()


async def test_an_answer_larger_than_all_that_may_be_kept_pushes_nobody_out(home: Path, clock: Clock) -> None:
    kept = IdempotencyStore(home, lambda: DAY_S, clock=clock, max_bytes=50_000)
    await keep(kept, "small")
    huge = await place(kept, "huge")
    assert not await kept.finish(huge, answer("x" * 60_000))
    assert await there(kept, "small") == "Hello"
    assert await there(kept, "huge") is None, "its place was given back"
    await kept.close()


async def test_keeping_less_deletes_what_is_older_and_nothing_deletes_all(home: Path, clock: Clock) -> None:
    keep_s = DAY_S
    kept = IdempotencyStore(home, lambda: keep_s, clock=clock)
    await keep(kept, "old")
    clock.now += 7200
    await keep(kept, "new")
    running = await place(kept, "running")
    keep_s = 3600.0
    await kept.maintain()
    assert (await there(kept, "old"), await there(kept, "new")) == (None, "Hello")
    keep_s = 0.0
    await kept.maintain()
    with sqlite3.connect(home / FILE_NAME) as file:
        assert file.execute("SELECT key FROM answers").fetchall() == [("running",)]
    file.close()
    assert not await kept.finish(running, FULL_RESULT)
    await kept.close()


async def test_without_a_file_there_is_nothing_to_tend_and_none_is_made(
    home: Path, kept: IdempotencyStore
) -> None:
    await kept.maintain()
    assert list(home.iterdir()) == []


# -- processes that die --------------------------------------------------------------------------------------


def left_by_a_dead_process(home: Path, key: str, clock: Clock) -> None:
    program = """if True:
        import asyncio, os, sys
        from pathlib import Path
        from core.routing.idempotency_store import IdempotencyStore
        kept = IdempotencyStore(Path(sys.argv[1]), lambda: 86400.0, clock=lambda: float(sys.argv[3]))
        asyncio.run(kept.claim(sys.argv[2], "asked", "the one that died"))
        os._exit(1)
    """
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", program, str(home), key, str(clock.now)]
    subprocess.run(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, check=False, timeout=60)


async def test_the_key_of_a_dead_process_is_taken_over_whatever_it_asked(
    home: Path, kept: IdempotencyStore, clock: Clock
) -> None:
    left_by_a_dead_process(home, "key", clock)
    assert (await place(kept, asked="something else")).after_death_of == "the one that died"
    assert isinstance(await kept.claim("key", "something else", "another"), Elsewhere)


async def test_the_marks_of_dead_processes_are_deleted_after_a_day(
    home: Path, kept: IdempotencyStore, clock: Clock
) -> None:
    left_by_a_dead_process(home, "key", clock)
    alive = await place(kept, "alive")
    await kept.maintain()
    clock.now += DAY_S
    with sqlite3.connect(home / FILE_NAME) as file:
        assert file.execute("SELECT count(*) FROM answers").fetchone() == (2,)
        await kept.maintain()
        assert file.execute("SELECT key FROM answers").fetchall() == [("alive",)]
    file.close()
    await kept.release(alive)


async def test_a_process_on_another_host_is_given_an_hour(
    home: Path, kept: IdempotencyStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        idempotency_store, "current_process", lambda: ProcessIdentity("another host", 1, "then")
    )
    await place(kept)
    monkeypatch.undo()
    clock.now += 3599
    assert isinstance(await kept.claim("key", "asked", "another"), Elsewhere)
    clock.now += 1
    assert (await place(kept)).after_death_of == "request of key"


# -- trouble -------------------------------------------------------------------------------------------------


async def test_a_stopped_claim_leaves_the_key_free(home: Path, kept: IdempotencyStore) -> None:
    begun, opened = threading.Event(), threading.Event()
    claim = kept._claim  # pyright: ignore[reportPrivateUsage]

    def slow(*arguments: Any) -> Any:
        begun.set()
        opened.wait(30)
        return claim(*arguments)

    kept._claim = slow  # type: ignore[method-assign]
    task = asyncio.ensure_future(kept.claim("key", "asked", "first"))
    await asyncio.to_thread(begun.wait, 30)
    task.cancel()
    opened.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    kept._claim = claim  # type: ignore[method-assign]
    assert (await place(kept)).after_death_of is None


@pytest.mark.parametrize("trouble", ["text", "newer", "another program's", "a folder"])
async def test_a_file_that_is_not_ours_is_left_as_it_is(
    home: Path, kept: IdempotencyStore, trouble: str
) -> None:
    path = home / FILE_NAME
    if trouble == "text":
        path.write_text("notes " * 1000)
    elif trouble == "a folder":
        path.mkdir()
    else:
        file = sqlite3.connect(path)
        file.execute("CREATE TABLE mine (x)")
        file.execute(f"PRAGMA user_version = {999 if trouble == 'newer' else 0}")
        file.commit()
        file.close()
    before = None if path.is_dir() else path.stat().st_size
    for _ in range(2):
        with pytest.raises(KeepingFailed):
            await kept.claim("key", "asked", "first")
    assert kept.problem
    assert (None if path.is_dir() else path.stat().st_size) == before
    if trouble not in ("text", "a folder"):
        file = sqlite3.connect(path)
        assert file.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]
        file.close()


async def test_a_place_that_cannot_be_given_back_now_is_given_back_later(
    home: Path, kept: IdempotencyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await place(kept)
    await kept.close()
    monkeypatch.setattr(idempotency_store, "BUSY_TIMEOUT_S", 0.01)
    other = sqlite3.connect(home / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # another program writes and writes
    await kept.release(first)
    assert kept.owes
    assert kept.problem is not None
    assert "locked" in kept.problem
    other.execute("ROLLBACK")
    other.close()
    await kept.maintain()
    assert not kept.owes
    assert kept.problem is None
    assert (await place(kept)).after_death_of is None


async def test_a_file_that_was_deleted_is_begun_anew(home: Path, kept: IdempotencyStore) -> None:
    await keep(kept)
    for path in home.glob(FILE_NAME + "*"):
        path.unlink()
    await keep(kept)
    assert await there(kept) == "Hello"
    assert (home / FILE_NAME).exists()


async def test_the_request_itself_is_nowhere_in_the_file(home: Path, kept: IdempotencyStore) -> None:
    await keep(kept)
    with sqlite3.connect(home / FILE_NAME) as file:
        file.row_factory = sqlite3.Row
        (row,) = file.execute("SELECT * FROM answers").fetchall()
    file.close()
    assert set(row.keys()) == {
        *("key", "fingerprint", "correlation_id", "at_us", "claim", "answer", "size_bytes"),
        *("owner_host", "owner_pid", "owner_started"),
    }


async def test_what_could_not_be_given_back_is_given_back_at_the_end(
    home: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency_store, "BUSY_TIMEOUT_S", 0.01)
    kept = IdempotencyStore(home, lambda: DAY_S, clock=clock)
    held = await place(kept)
    other = sqlite3.connect(home / FILE_NAME)
    other.execute("BEGIN IMMEDIATE")
    assert not await kept.finish(held, answer()), "it is not kept, and that is no error of the answer's"
    await kept.release(held)
    assert kept.owes
    assert "locked" in (kept.problem or "")
    other.rollback()
    other.close()
    await kept.close()
    assert not kept.owes
    later = IdempotencyStore(home, lambda: DAY_S, clock=clock)
    assert (await place(later)).after_death_of is None
    await later.close()


async def test_one_that_is_stopped_while_it_finds_an_answer_takes_nothing(
    home: Path, kept: IdempotencyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keep(kept)
    reached, may_look = threading.Event(), threading.Event()
    there_now = kept._there  # pyright: ignore[reportPrivateUsage]

    def slowly(*arguments: Any) -> Any:
        reached.set()
        may_look.wait(30)
        return there_now(*arguments)

    monkeypatch.setattr(kept, "_there", slowly)
    looking = asyncio.create_task(kept.claim("key", "asked", "stopped"))
    await asyncio.to_thread(reached.wait, 30)
    looking.cancel()
    may_look.set()
    with pytest.raises(asyncio.CancelledError):
        await looking
    assert await there(kept) == "Hello"
    assert not kept.owes
