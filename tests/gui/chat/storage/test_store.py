"""Conversations survive restarts, kills, broken files and full disks, and are found again."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import Spending
from core.errors import AnswerInvalid, RateExceeded, RunawayPaused, SignalboxError, TimedOut
from core.serialization import salvage_json, to_json, to_plain
from gui.chat.request_builder import build_request
from gui.chat.storage import models
from gui.chat.storage.file import StoreTrouble
from gui.chat.storage.models import (
    Attachment,
    ChatOptions,
    Place,
    SavedPrompt,
    StoredError,
    StoredMessage,
    clean_text,
)
from gui.chat.storage.store import ConversationStore, open_or_memory
from tests.gui.chat.builders import make_conversation, make_message, make_result
from tests.support.full_values import FULL_DECISION, FULL_RESULT, full_errors

WRITTEN = Path(__file__).parents[3] / "data" / "serialization"

SPENDING = ("spent_nanodollars", "spent_estimated", "unsettled_nanodollars", "unpriced", "settled_json")
RELEASED = Path(__file__).parents[3] / "data" / "conversations-version-2.sqlite3"
"""Written by the version before the map of the search's rows, by its own code."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "conversations.sqlite3"


def test_a_conversation_reads_the_same_after_a_restart(path: Path) -> None:
    options = ChatOptions(
        system="Be brief.",
        max_tokens=900,
        temperature=0.2,
        schema_text='{"type":',
        force="api",
        model="claude-opus-5",
        top_p=0.9,
        stop=("END", "\n\n"),
        seed=7,
    )
    conversation = make_conversation("Lock errors", options=options, draft="and then")
    question = make_message(
        conversation, "user", "Why?", attachments=(Attachment(name="a.txt", kind="text", content=b"x"),)
    )
    result = make_result("Because.", "api")
    answer = make_message(
        conversation,
        "assistant",
        "Because.",
        parent_id=question.id,
        result=result,
        decision=result.decision,
        hold_nanodollars=5,
        correlation_id="c",
        error=StoredError(kind="unavailable", message="m", hint="h"),
        options=options,
    )
    conversation = replace(conversation, head_id=answer.id)
    store = ConversationStore(path)
    store.save_conversation(conversation)
    for message in (question, answer):
        store.save_message(message)
    store.close()

    again = ConversationStore(path)
    assert again.load(conversation.id) == replace(conversation, messages=(question, answer))
    [summary] = again.summaries()
    assert summary.totals.api_answers == 1
    assert summary.totals.spending.words == "$0.0167 spent"
    assert summary.has_draft


def test_local_answers_count_at_the_machines_own_cost_and_unpriced_ones_are_counted_apart(path: Path) -> None:
    store = ConversationStore(path)
    conversation = make_conversation()
    store.save_conversation(conversation)
    results = [
        make_result(side="local"),
        make_result(side="local", loaded_nanodollars=None),
        make_result(side="api", cost_nanodollars=None, loaded_nanodollars=None),
    ]
    for result in results:
        store.save_message(
            make_message(conversation, "assistant", "x", result=result, decision=result.decision)
        )
    totals = store.summaries()[0].totals
    assert (totals.answers, totals.local_answers, totals.api_answers) == (3, 2, 1)
    assert totals.spending == Spending(loaded_nanodollars=1_900_000, unpriced=1)
    assert totals.cost_figure == "1 unpriced"


@pytest.mark.parametrize(
    "query", ["banan", "BANANA", "nana", "banana frucht", "Obst", "ü", "50%", "ob", "数据"]
)
def test_search_finds_parts_of_words_in_titles_and_messages(path: Path, query: str) -> None:
    store = ConversationStore(path)
    found = make_conversation("Obstsalat")
    other = make_conversation("Something else")
    for conversation in (found, other):
        store.save_conversation(conversation)
    store.save_message(
        make_message(found, "user", "Die Banane ist eine Frucht, banana frucht über 50% 数据库")
    )
    store.save_message(make_message(other, "user", "500 lines of text"))
    assert [item.id for item in store.search(query)] == [found.id]


@pytest.mark.parametrize("query", ["в москву", "В", "МОСКВУ", "öl", "ÖL", "çİ".casefold(), "Ж"])
def test_search_knows_capitals_beyond_ascii_in_words_of_any_length(path: Path, query: str) -> None:
    store = ConversationStore(path)
    title, message = make_conversation("Поезд В Москву: Öl, ж, Çİ"), make_conversation("Another")
    for conversation in (title, message, make_conversation("Nothing of it")):
        store.save_conversation(conversation)
    store.save_message(make_message(message, "user", "поезд в МОСКВУ: öL, Ж, çi̇"))
    assert message.id in {item.id for item in store.search(query)}
    if len(query) < 3 or " " in query:  # titles are in the full-text search only once something was said
        assert {item.id for item in store.search(query)} == {title.id, message.id}


def test_a_message_whose_letters_are_broken_costs_no_search(path: Path) -> None:
    store = ConversationStore(path)
    found = make_conversation("Öl")
    store.save_conversation(found)
    store.save_message(make_message(found, "user", "x"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE messages SET text = CAST(X'ff41c3' AS TEXT)")
        connection.commit()
    assert [item.id for item in store.search("öl")] == [found.id]


@pytest.mark.parametrize(
    "query", ['"', "a AND", "NEAR(", "*", "\x00", "   ", "'; DROP TABLE messages", "\ud800"]
)
def test_no_query_is_an_error(path: Path, query: str) -> None:
    store = ConversationStore(path)
    store.save_conversation(make_conversation())
    store.search(query)


def test_a_deleted_conversation_comes_back_by_undo_and_goes_for_good_a_month_later(path: Path) -> None:
    store = ConversationStore(path)
    conversation = make_conversation("Regex for German IBANs")
    store.save_conversation(conversation)
    store.save_message(make_message(conversation, "user", "IBAN please"))
    store.delete(conversation.id)
    assert store.summaries() == ()
    assert store.search("IBAN") == ()
    assert store.load(conversation.id) is None
    store.restore(conversation.id)
    assert [item.title for item in store.search("IBAN please")] == ["Regex for German IBANs"]

    store.delete(conversation.id)
    store.close()
    with sqlite3.connect(path) as connection:
        old = int((datetime.now(UTC) - timedelta(days=31)).timestamp() * 1000)
        connection.execute("UPDATE conversations SET deleted_at_ms = ?", (old,))
    ConversationStore(path).close()
    with sqlite3.connect(path) as connection:
        counts = [
            connection.execute(f"SELECT COUNT(*) FROM {t}").fetchone()[0]
            for t in ("conversations", "messages", "search")
        ]
    assert counts == [0, 0, 0]


def test_a_kill_9_while_streaming_loses_nothing_that_was_saved(path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from typing import Any
from gui.chat.request_builder import build_request
from gui.chat.storage.store import ConversationStore
from tests.gui.chat.builders import make_conversation, make_message
store = ConversationStore(Path({str(path)!r}))
c = make_conversation("Killed")
store.save_conversation(c)
m = make_message(c, "assistant", "", status="streaming")
store.save_message(m)
store.save_progress(m.id, "half an ans")
os.kill(os.getpid(), signal.SIGKILL)
"""
    root = Path(__file__).parents[4]
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=root, check=False, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert ended.returncode == -signal.SIGKILL
    store = ConversationStore(path)
    assert store.interrupted == 1
    loaded = store.load(store.summaries()[0].id)
    assert loaded is not None
    assert (loaded.messages[0].text, loaded.messages[0].status) == ("half an ans", "interrupted")


@pytest.mark.parametrize("kind", ["not a database", "cut", "scribbled"])
def test_a_broken_file_is_set_aside_and_never_overwritten(path: Path, kind: str) -> None:
    path.parent.mkdir(parents=True)
    if kind == "not a database":
        path.write_bytes(b"my shopping list\n" * 100)
    else:
        store = ConversationStore(path)
        conversation = make_conversation()
        store.save_conversation(conversation)
        for number in range(200):
            store.save_message(make_message(conversation, "user", f"{number} " * 500))
        store.close()
        content = path.read_bytes()
        if kind == "cut":
            content = content[: len(content) // 2]
        else:
            content = content[:8192] + b"\xa5" * 40_000 + content[48_192:]
        path.write_bytes(content)
    broken = path.read_bytes()

    for number in (1, 2):
        store = ConversationStore(path)
        assert store.set_aside == path.with_name(f"conversations.broken-{number}.sqlite3")
        assert store.set_aside.read_bytes() == broken
        assert store.summaries() == ()
        store.save_conversation(make_conversation())
        store.close()
        path.write_bytes(broken)


def test_a_newer_file_is_left_as_it_is(path: Path) -> None:
    ConversationStore(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    store, problem = open_or_memory(path)
    assert problem is not None
    assert "newer" in problem.message
    store.save_conversation(make_conversation())
    assert len(store.summaries()) == 1
    store.close()
    assert path.read_bytes() == before


def test_a_full_disk_says_so_and_keeps_what_was_saved(path: Path) -> None:
    store = ConversationStore(path)
    conversation = make_conversation()
    store.save_conversation(conversation)
    size = path.with_name(path.name + "-wal").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20_000, limits[1]))
    try:
        with pytest.raises(StoreTrouble) as caught:
            store.save_message(make_message(conversation, "user", "x" * 500_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    assert caught.value.hint.startswith("What is on screen stays.")
    store.save_message(make_message(conversation, "user", "y" * 500_000))
    loaded = store.load(conversation.id)
    assert loaded is not None
    assert [message.text[0] for message in loaded.messages] == ["y"]


def test_a_prompt_that_went_back_to_the_box_takes_its_attachments_along(path: Path) -> None:
    store = ConversationStore(path)
    note = Attachment(name="note.txt", kind="text", content=b"abc")
    conversation = make_conversation()
    store.save_conversation(conversation)
    message = make_message(conversation, "user", "Why?", attachments=(note,))
    store.save_message(message)
    store.save_conversation(replace(conversation, draft="Why?", draft_attachments=(note,)))
    store.remove_messages((message.id,))
    loaded = store.load(conversation.id)
    assert loaded is not None
    assert (loaded.draft, loaded.draft_attachments, loaded.messages) == ("Why?", (note,), ())
    assert store.search("Why?") == ()


@given(st.text(alphabet=st.characters(codec=None), max_size=60))
def test_any_text_is_kept_with_only_lone_surrogates_replaced(text: str) -> None:
    store = ConversationStore(None)
    conversation = make_conversation(text or "t", draft=text)
    store.save_conversation(conversation)
    store.save_message(make_message(conversation, "user", text))
    loaded = store.load(conversation.id)
    assert loaded is not None
    assert loaded.messages[0].text == loaded.draft == clean_text(text)
    store.close()


def written_by(change: str, value: object, path: Path) -> StoredMessage:
    """Return a message whose column ``change`` another version wrote as ``value``."""
    store = ConversationStore(path)
    conversation = make_conversation()
    store.save_conversation(conversation)
    message = make_message(conversation, "assistant", "Because.")
    store.save_message(replace(message, decision=FULL_DECISION, result=FULL_RESULT))
    store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE messages SET {change} = ?", (value,))
    store = ConversationStore(path)
    loaded = store.load(conversation.id)
    store.close()
    assert loaded is not None
    return loaded.messages[0]


@pytest.mark.parametrize("text", ["not json", "{}", '{"side": "local"}', '{"decision": 3}', "[1]", ""])
def test_details_of_another_version_read_as_unknown_and_the_text_is_kept(path: Path, text: str) -> None:
    for column in ("decision_json", "result_json", "error_json"):
        message = written_by(column, text, path)
        assert message.text == "Because."
        assert getattr(message, column.removesuffix("_json")) is None


def test_everything_a_request_went_through_reads_the_same_after_a_restart(path: Path) -> None:
    message = written_by("pinned", 1, path)
    assert message.decision == FULL_DECISION
    assert message.result == replace(FULL_RESULT, text="Because.")


def test_a_part_of_a_decision_that_another_version_wrote_is_left_out(path: Path) -> None:
    text = json.dumps(to_plain(FULL_DECISION) | {"toll": {"side": "api"}})
    assert written_by("decision_json", text, path).decision == replace(FULL_DECISION, switching_cost=None)


def test_failures_that_versions_before_wrote_still_read_and_are_written_with_the_same_facts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(models.time, "time", lambda: 1_800_000_000.0)
    written = json.loads((WRITTEN / "conversation_errors.json").read_text())
    for error, old in zip(full_errors()[: len(written)], written, strict=True):
        stored = StoredError.from_error(error)
        assert salvage_json(StoredError, json.dumps(old)) == stored
        assert salvage_json(StoredError, to_json(stored)) == stored
        assert to_plain(stored) == old | {"unsettled_nanodollars": 0, "is_beyond_use": False}


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (
            RunawayPaused("Paused", conversation="ab12", per_minute=60),
            {"conversation": "ab12", "per_minute": 60},
        ),
        (TimedOut("Late", phase="connect"), {"phase": "connect"}),
        (AnswerInvalid("No", problems=("a", "b")), {"problems": ("a", "b")}),
    ],
)
def test_what_a_failure_s_card_needs_is_kept(error: SignalboxError, kept: dict[str, object]) -> None:
    error.correlation_id = "0197-x"
    stored = salvage_json(StoredError, to_json(StoredError.from_error(error)))
    assert stored is not None
    assert {name: getattr(stored, name) for name in kept} == kept
    assert stored.correlation_id == "0197-x"


def test_when_a_rate_is_free_again_is_kept_as_a_moment() -> None:
    before_ms = time.time() * 1000
    stored = StoredError.from_error(RateExceeded("Full", limit_name="MAX", retry_after_s=12.0))
    assert stored.retry_at_ms is not None
    assert 12_000 <= stored.retry_at_ms - before_ms + 1 <= 13_000


def test_saved_prompts_are_there_after_a_restart_and_one_is_the_default(path: Path) -> None:
    store = ConversationStore(path)
    brief, pirate = SavedPrompt(name="brief", text="Be brief."), SavedPrompt(name="Pirate", text="Arr.")
    store.save_prompts([brief, replace(pirate, is_default=True)])
    store.close()
    store = ConversationStore(path)
    assert store.prompts() == (brief, replace(pirate, is_default=True))
    store.save_prompts([replace(brief, name="Zen", text="Be \ud800 brief.")], gone=[pirate.id])
    assert store.prompts() == (replace(brief, name="Zen", text="Be \ufffd brief."),)
    store.close()


def test_a_file_of_the_first_version_is_brought_up_and_keeps_its_messages(path: Path) -> None:
    store = ConversationStore(path)
    conversation = make_conversation()
    store.save_conversation(conversation)
    message = make_message(conversation, "user", "Why?")
    store.save_message(message)
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP INDEX conversations_by_source")
        for table, column in (
            ("messages", "pinned"),
            ("messages", "origin"),
            ("messages", "options_json"),
            *(("messages", column) for column in SPENDING),
            ("conversations", "pinned"),
            ("conversations", "folder"),
            ("conversations", "source"),
            ("conversations", "model"),
            ("conversations", "top_p"),
            ("conversations", "stop_json"),
            ("conversations", "seed"),
        ):
            connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        for table in ("search_rows", "state", "prompts"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    store = ConversationStore(path)
    store.save_message(replace(message, pinned=True))
    loaded = store.load(conversation.id)
    assert loaded is not None
    assert [(item.text, item.pinned) for item in loaded.messages] == [("Why?", True)]


def search_rows(path: Path) -> list[tuple[str, str, str]]:
    """Every row of the search as the map of its rows has it."""
    with closing(sqlite3.connect(path)) as connection:
        both = connection.execute(
            "SELECT s.text, s.conversation_id, s.message_id FROM search s JOIN search_rows r ON"
            " r.search_rowid = s.rowid AND r.conversation_id = s.conversation_id AND r.message_id = s.message_id"
        ).fetchall()
        counts = [
            connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
            for table in ("search", "search_rows")
        ]
    assert counts == [len(both)] * 2
    return sorted(both)


def test_a_released_versions_file_opens_searches_and_saves_unchanged(path: Path) -> None:
    path.parent.mkdir(parents=True)
    shutil.copy(RELEASED, path)
    store = ConversationStore(path)
    assert [item.title for item in store.summaries()] == ["Timetables", "Signal boxes"]
    loaded = store.load("signal-boxes")
    assert loaded is not None
    assert (loaded.draft, loaded.options.system, loaded.head_id) == ("and then", "Be brief.", "answer")
    answer, question = loaded.messages
    assert (question.text, question.attachments[0].content) == ("Who pulls the levers?", b"levers")
    assert answer.result is not None
    assert (answer.text, answer.pinned, answer.result.side) == ("The signalman pulls them.", True, "api")
    for query in ("signalman", "lever", "Signal box"):
        assert [item.id for item in store.search(query)] == ["signal-boxes"]
    assert store.search("noon") == (), "it was deleted long ago"
    store.save_message(replace(question, text="Who sets the points?"))
    assert store.search("levers") == ()
    assert [item.id for item in store.search("points")] == ["signal-boxes"]
    store.close()
    assert search_rows(path) == [
        ("Signal boxes", "signal-boxes", ""),
        ("The signalman pulls them.", "signal-boxes", "answer"),
        ("Timetables", "timetables", ""),
        ("Which train is late?", "timetables", "late"),
        ("Who sets the points?", "signal-boxes", "question"),
    ]


def test_a_file_of_version_3_keeps_its_chats_and_takes_pins_folders_and_the_place(path: Path) -> None:
    path.parent.mkdir(parents=True)
    shutil.copy(RELEASED.with_name("conversations-version-3.sqlite3"), path)
    store = ConversationStore(path)
    draft, lock = store.summaries()
    assert (draft.title, draft.has_draft, draft.pinned, draft.folder) == ("A draft", True, False, "")
    loaded = store.load(lock.id)
    assert loaded is not None
    assert [(item.text, item.origin) for item in loaded.messages] == [
        ("Why is the database locked?", ""),
        ("Because of a second writer.", ""),
    ]
    assert lock.totals.local_answers == 1
    assert store.place() is None
    place = Place(conversation_id=lock.id, message_id=loaded.messages[1].id, offset_px=12)
    store.pin(lock.id, True)
    store.move(lock.id, "Work")
    store.set_place(place)
    store.save_conversation(
        replace(loaded, pinned=False, folder="elsewhere")
    )  # as an open chat writes itself
    store.close()
    store = ConversationStore(path)
    found = next(item for item in store.summaries() if item.id == lock.id)
    assert (found.pinned, found.folder, store.place()) == (True, "Work", place)
    store.rename_folder("Work", "Trains")
    assert [(item.title, item.folder) for item in store.summaries(1)] == [(lock.title, "Trains")]


def test_the_search_forgets_what_is_renamed_taken_back_or_forgotten(path: Path) -> None:
    store = ConversationStore(path)
    kept, gone = make_conversation("Kept"), make_conversation("Gone")
    for conversation in (kept, gone):
        store.save_conversation(conversation)
    asked, again = make_message(kept, "user", "Asked"), make_message(kept, "user", "Asked again")
    for message in (asked, again, make_message(gone, "user", "Unread")):
        store.save_message(message)
    store.remove_messages((again.id, "never-written"))
    store.rename(kept.id, "Renamed")
    store.forget(gone.id)
    store.close()
    assert search_rows(path) == [("Asked", kept.id, asked.id), ("Renamed", kept.id, "")]


def test_saving_a_message_takes_no_more_steps_in_a_large_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    connect = sqlite3.connect

    def counted(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_progress_handler(count, 10)
        return connection

    monkeypatch.setattr(sqlite3, "connect", counted)
    store = ConversationStore(path)
    conversation = make_conversation()
    message = make_message(conversation, "user", "The same text")
    taken: list[int] = []
    for _ in range(2):
        store.save_conversation(conversation)
        store.save_message(message)
        before = steps
        store.save_message(message)
        taken.append(steps - before)
        for number in range(300):
            store.save_conversation(make_conversation(f"Another {number}"))
    assert taken[1] <= 2 * taken[0] + 10


def test_a_pinned_message_is_sent_as_pinned_also_when_prompts_are_joined() -> None:
    conversation = make_conversation()
    path = [
        make_message(conversation, "user", "Keep this", pinned=True),
        make_message(conversation, "user", "And this"),
        make_message(conversation, "assistant", "Yes.", pinned=True),
        make_message(conversation, "user", "Go on"),
    ]
    request = build_request(path, conversation.options, conversation.id)
    assert [message.pinned for message in request.messages] == [True, True, False]
    assert request.conversation_id == conversation.id
