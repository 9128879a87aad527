"""A conversations' file with rows that nobody could have written: each costs itself, never the list or a start."""

from __future__ import annotations

import json
import sqlite3
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gui.chat.storage.export import to_json, to_markdown
from gui.chat.storage.file import StoreTrouble
from gui.chat.storage.models import Attachment, ChatOptions, Conversation, StoredMessage
from gui.chat.storage.store import ConversationStore, open_or_memory
from gui.chat.storage.tree import MessageTree
from tests.support.odd_files import ODD_FILES, make_odd

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def message(message_id: str, parent_id: str | None, conversation_id: str = "a") -> StoredMessage:
    return StoredMessage(
        id=message_id,
        conversation_id=conversation_id,
        parent_id=parent_id,
        role="user",
        text=f"text of {message_id}",
        created_at=NOW,
        attachments=(Attachment(name="n", kind="text", content=b"c", id=f"of {message_id}"),),
    )


@pytest.fixture
def path(home: Path) -> Path:
    """Two conversations of three messages each."""
    path = home / "conversations.sqlite3"
    store = ConversationStore(path)
    for each in ("a", "b"):
        store.save_conversation(
            Conversation(
                id=each,
                title=f"title of {each}",
                titled_by_user=False,
                created_at=NOW,
                updated_at=NOW,
                head_id=f"{each}3",
                options=ChatOptions(),
                draft="",
                messages=(),
            )
        )
        for number, parent in ((1, None), (2, f"{each}1"), (3, f"{each}2")):
            store.save_message(message(f"{each}{number}", parent, each))
    store.close()
    return path


def damage(path: Path, statement: str, *values: Any) -> None:
    with sqlite3.connect(path) as file:
        file.execute(statement, values)
    file.close()


def loaded(store: ConversationStore, conversation_id: str) -> list[str]:
    conversation = store.load(conversation_id)
    assert conversation is not None
    assert to_markdown(conversation)
    json.loads(to_json(conversation))
    return [each.id for each in MessageTree(conversation.messages, conversation.head_id).path()]


BAD_VALUES = (b"\xff\xfe", 7, 1.5, "nonsense", "9" * 30, -(2**63), 2**63 - 1, "[" * 100_000)
COLUMNS = (
    "role",
    "text",
    "created_at_ms",
    "status",
    "decision_json",
    "result_json",
    "error_json",
    "parent_id",
    "cost_nanodollars",
    "loaded_nanodollars",
    "hold_nanodollars",
    "pinned",
    "correlation_id",
    "options_json",
)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_bad_value_costs_at_most_its_row(path: Path, column: str) -> None:
    for value in BAD_VALUES:
        damage(path, f"UPDATE messages SET {column} = ?, side = 'api' WHERE id = 'a2'", value)
        store = ConversationStore(path)
        try:
            assert {each.id for each in store.summaries()} == {"a", "b"}
            assert {each.id for each in store.search("title")} == {"a", "b"}
            assert loaded(store, "b") == ["b1", "b2", "b3"]
            assert "a3" in loaded(store, "a")
        finally:
            store.close()


@pytest.mark.parametrize(
    "column",
    [
        "title",
        "updated_at_ms",
        "created_at_ms",
        "draft",
        "max_tokens",
        "temperature",
        "model",
        "top_p",
        "stop_json",
        "seed",
        "force",
        "system",
        "head_id",
    ],
)
def test_a_bad_chat_costs_at_most_itself(path: Path, column: str) -> None:
    for value in BAD_VALUES:
        damage(path, f"UPDATE conversations SET {column} = ? WHERE id = 'a'", value)
        store = ConversationStore(path)
        try:
            assert "b" in {each.id for each in store.summaries()}
            assert loaded(store, "b") == ["b1", "b2", "b3"]
            store.load("a")
        finally:
            store.close()


def test_what_is_left_out_is_counted_once_and_stays_in_the_file(path: Path) -> None:
    damage(path, "UPDATE messages SET role = 'oracle' WHERE id = 'a2'")
    damage(path, "UPDATE attachments SET kind = 'virus' WHERE id = 'of a1'")
    store = ConversationStore(path)
    for _ in range(2):
        assert loaded(store, "a") == ["a3"]
        assert store.unreadable_rows == 2
    store.close()
    with sqlite3.connect(path) as file:
        assert file.execute("SELECT count(*) FROM messages").fetchone() == (6,)
    file.close()


def test_a_row_that_would_take_the_memory_is_left_out(path: Path) -> None:
    damage(path, "UPDATE messages SET text = CAST(zeroblob(60000000) AS TEXT) WHERE id = 'a2'")
    damage(path, "UPDATE messages SET text = zeroblob(60000000) WHERE id = 'a3'")
    store = ConversationStore(path)
    assert loaded(store, "a") == ["a1"]
    assert store.unreadable_rows == 2
    store.close()


IDS = ("a", "b", "c", "d", "e", "f")


@given(
    parents=st.dictionaries(st.sampled_from(IDS), st.sampled_from((*IDS, "gone", None)), min_size=1),
    head=st.sampled_from((*IDS, "gone", None)),
)
def test_whatever_the_parents_are_the_tree_has_an_end(
    parents: dict[str, str | None], head: str | None
) -> None:
    tree = MessageTree([message(each, parent) for each, parent in parents.items()], head)
    assert tree.head_id is not None
    assert tree.head_id in tree
    assert tree.path()[0].parent_id is None
    for each in parents:
        path = [found.id for found in tree.path(each)]
        assert path[-1] == each
        assert len(set(path)) == len(path)
        place, count = tree.place(each)
        assert 1 <= place <= count
        tree.step(each, 1)
    sound = {
        each: parent for each, parent in parents.items() if parent is None or tree[each].parent_id == parent
    }
    assert len(tree) == len(parents)
    assert all(tree[each].parent_id is None for each in parents if each not in sound)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")
@pytest.mark.parametrize("kind", [*ODD_FILES, "others may write it"])
def test_what_is_no_file_of_ours_is_refused_and_this_run_is_kept_in_memory(home: Path, kind: str) -> None:
    path = home / "conversations.sqlite3"
    if kind in ODD_FILES:
        make_odd(path, kind)
    else:
        path.touch()
        path.chmod(0o666)
    store, problem = open_or_memory(path)
    assert store.in_memory
    assert isinstance(problem, StoreTrouble)
    assert ("not a file" if kind in ODD_FILES else "chmod go-w") in problem.message
    assert store.summaries() == ()
    store.close()
