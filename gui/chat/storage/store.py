"""Kept conversations: an SQLite file with a tree of messages each, searched in full text.

Every method blocks, so the page calls them through ``bridge.run_blocking``. A method is one transaction, and
raises ``StoreTrouble`` with what to do next when the file can't be used.

A decision, result or error that an older or newer Signalbox wrote in another shape is left out, since a badge
without its details is better than a conversation that does not open. The text stands in its own column.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from core import Spending, to_json
from core.base.sqlite_file import transaction
from gui.chat.storage import rows
from gui.chat.storage.file import IN_MEMORY, StoreTrouble, open_file, trouble
from gui.chat.storage.models import (
    COPIED,
    Attachment,
    Conversation,
    ConversationSummary,
    DeletedConversation,
    Place,
    SavedPrompt,
    StoredMessage,
    clean_text,
)

T = TypeVar("T")

DELETED_KEPT_FOR = timedelta(days=30)
LISTED = 2000
"""So many conversations are listed; a search finds the others."""
FILE_NAME = "conversations.sqlite3"

# A sum of what is no amount, or of amounts past any account, fails: it would cost the whole list.
_SPENT, _UNSETTLED, _UNPRICED = (
    f"COALESCE(SUM(CASE WHEN typeof(m.{column}) = 'integer' AND m.{column} BETWEEN -1000000000000000 AND "
    f"1000000000000000 THEN m.{column} END), 0)"
    for column in ("spent_nanodollars", "unsettled_nanodollars", "unpriced")
)
# The latest are chosen first, so that the sums are made of their messages only.
_SUMMARIES = f"""
SELECT c.id, c.title, c.updated_at_ms, c.pinned, c.folder,
       c.draft <> '' OR EXISTS (SELECT 1 FROM attachments a WHERE a.conversation_id = c.id AND a.message_id IS NULL)
           AS has_draft,
       COALESCE(SUM(m.text <> ''), 0) AS answers,
       COALESCE(SUM(m.text <> '' AND m.side = 'local'), 0) AS local_answers,
       COALESCE(SUM(m.text <> '' AND m.side = 'api'), 0) AS api_answers,
       {_SPENT} AS spent, {_UNSETTLED} AS unsettled, {_UNPRICED} AS unpriced,
       COALESCE(MAX(m.spent_estimated = 1), 0) AS estimated,
       COALESCE(SUM(CASE WHEN m.side = 'local' AND typeof(m.loaded_nanodollars) = 'integer'
                          AND m.loaded_nanodollars BETWEEN 0 AND 1000000000000000
                         THEN m.loaded_nanodollars END), 0) AS loaded,
       COALESCE(c.source NOT LIKE 'signalbox:%', 0)
           OR EXISTS (SELECT 1 FROM messages o WHERE o.conversation_id = c.id AND o.role = 'assistant'
                      AND o.origin NOT IN ('', '{COPIED}')) AS elsewhere
FROM (SELECT * FROM conversations c WHERE c.deleted_at_ms IS NULL {{where}}
      ORDER BY (c.pinned OR c.folder <> '') DESC, c.updated_at_ms DESC, c.id DESC LIMIT ?) c
LEFT JOIN messages m ON m.conversation_id = c.id AND m.role = 'assistant' AND m.side IS NOT NULL
    AND m.origin <> '{COPIED}'
GROUP BY c.id ORDER BY c.updated_at_ms DESC, c.id DESC
"""

MOST_ROW_BYTES = 50_000_000
"""A message's row of more than this is not read: it would take the window's memory."""
_MESSAGES = """
SELECT * FROM messages WHERE conversation_id = ? AND COALESCE(LENGTH(CAST(text AS BLOB)), 0)
    + COALESCE(LENGTH(decision_json), 0) + COALESCE(LENGTH(result_json), 0) + COALESCE(LENGTH(error_json), 0)
    + COALESCE(LENGTH(options_json), 0) <= ?
ORDER BY created_at_ms, id
"""

_SAVE_MESSAGE = """
INSERT INTO messages (id, conversation_id, parent_id, role, text, created_at_ms, status, correlation_id, side,
    provider, model, reason, usage_json, cost_nanodollars, loaded_nanodollars, hold_nanodollars, ttft_ms,
    output_tokens_per_s, decision_json, result_json, error_json, pinned, origin, options_json, spent_nanodollars,
    spent_estimated, unsettled_nanodollars, unpriced, settled_json)
VALUES (:id, :conversation_id, :parent_id, :role, :text, :created_at_ms, :status, :correlation_id, :side,
    :provider, :model, :reason, :usage_json, :cost_nanodollars, :loaded_nanodollars, :hold_nanodollars, :ttft_ms,
    :output_tokens_per_s, :decision_json, :result_json, :error_json, :pinned, :origin, :options_json,
    :spent_nanodollars, :spent_estimated, :unsettled_nanodollars, :unpriced, :settled_json)
ON CONFLICT(id) DO UPDATE SET text = excluded.text, status = excluded.status,
    correlation_id = excluded.correlation_id, side = excluded.side, provider = excluded.provider,
    model = excluded.model, reason = excluded.reason, usage_json = excluded.usage_json,
    cost_nanodollars = excluded.cost_nanodollars, loaded_nanodollars = excluded.loaded_nanodollars,
    hold_nanodollars = excluded.hold_nanodollars, ttft_ms = excluded.ttft_ms,
    output_tokens_per_s = excluded.output_tokens_per_s, decision_json = excluded.decision_json,
    result_json = excluded.result_json, error_json = excluded.error_json,
    pinned = excluded.pinned, options_json = excluded.options_json, spent_nanodollars = excluded.spent_nanodollars,
    spent_estimated = excluded.spent_estimated, unsettled_nanodollars = excluded.unsettled_nanodollars,
    unpriced = excluded.unpriced, settled_json = excluded.settled_json
"""
_ADD_MESSAGE = _SAVE_MESSAGE.partition("ON CONFLICT")[0]

_SAVE_CONVERSATION = """
INSERT INTO conversations (id, title, titled_by_user, created_at_ms, updated_at_ms, head_id, draft, system,
    max_tokens, temperature, schema_text, force, pinned, folder, source, model, top_p, stop_json, seed)
VALUES (:id, :title, :titled_by_user, :created_at_ms, :updated_at_ms, :head_id, :draft, :system,
    :max_tokens, :temperature, :schema_text, :force, :pinned, :folder, :source, :model, :top_p, :stop_json, :seed)
ON CONFLICT(id) DO UPDATE SET title = excluded.title, titled_by_user = excluded.titled_by_user,
    updated_at_ms = excluded.updated_at_ms, head_id = excluded.head_id, draft = excluded.draft,
    system = excluded.system, max_tokens = excluded.max_tokens, temperature = excluded.temperature,
    schema_text = excluded.schema_text, force = excluded.force, model = excluded.model, top_p = excluded.top_p,
    stop_json = excluded.stop_json, seed = excluded.seed
"""
_ADD_CONVERSATION = _SAVE_CONVERSATION.partition("ON CONFLICT")[0]


class ConversationStore:
    """One open file. Threads may share it; one call runs at a time.

    ``set_aside`` is where a broken file went when this one was opened, and ``interrupted`` how many answers
    were still streaming when the last run ended. A row that can't be read is left out, and stays in the file.
    """

    def __init__(self, path: Path | None) -> None:
        """Open or make ``path``; ``None`` keeps everything in memory, for this run only.

        Raises:
            StoreTrouble: the file can't be opened (a broken one is set aside, not an error).
        """
        self.in_memory = path is None
        self._lock = threading.Lock()
        opened = open_file(Path(IN_MEMORY) if path is None else path)
        self._connection = opened.connection
        self._connection.row_factory = sqlite3.Row
        self._connection.create_function("casefold", 1, _casefold, deterministic=True)
        self._connection.text_factory = rows.decode
        self._unreadable: set[tuple[str, object]] = set()
        self._has_search = opened.has_search
        self.set_aside = opened.set_aside
        with self._writing() as connection:
            self.interrupted = connection.execute(
                "UPDATE messages SET status = 'interrupted', unsettled_nanodollars = hold_nanodollars"
                " WHERE status = 'streaming'"
            ).rowcount
            self._purge(connection, datetime.now(UTC) - DELETED_KEPT_FOR)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # Reading

    @property
    def unreadable_rows(self) -> int:
        """How many rows were left out so far because they can't be read."""
        return len(self._unreadable)

    def summaries(self, limit: int = LISTED) -> tuple[ConversationSummary, ...]:
        """Return the latest conversations, newest first; those that are pinned or in a folder before others."""
        with self._reading() as connection:
            found = connection.execute(_SUMMARIES.format(where=""), (limit,)).fetchall()
        return self._readable("conversation", found, rows.summary_of)

    def search(self, query: str, limit: int = 200) -> tuple[ConversationSummary, ...]:
        """Return conversations whose title or messages hold every word of ``query`` (in any one of them)."""
        words = clean_text(query).replace("\0", "").split()
        if not words:
            return self.summaries(limit)
        with self._reading() as connection:
            where, values = self._matching(words)
            found = connection.execute(_SUMMARIES.format(where=where), (*values, limit)).fetchall()
        return self._readable("conversation", found, rows.summary_of)

    def load(self, conversation_id: str) -> Conversation | None:
        """Return a conversation with every branch, or ``None`` when it is gone or deleted."""
        with self._reading() as connection:
            row = connection.execute(
                "SELECT * FROM conversations WHERE id = ? AND deleted_at_ms IS NULL", (conversation_id,)
            ).fetchone()
            if row is None:
                return None
            kept = connection.execute(
                "SELECT count(*) FROM messages WHERE conversation_id = ?", (conversation_id,)
            ).fetchone()[0]
            messages = connection.execute(_MESSAGES, (conversation_id, MOST_ROW_BYTES)).fetchall()
            items = connection.execute(
                "SELECT * FROM attachments WHERE conversation_id = ? ORDER BY place", (conversation_id,)
            ).fetchall()
        self._unreadable.update(
            ("large", (conversation_id, number)) for number in range(kept - len(messages))
        )
        attached: dict[str | None, list[Attachment]] = {}
        for item in items:
            attached.setdefault(item["message_id"], []).extend(
                self._readable("attachment", [item], rows.attachment_of)
            )
        try:
            created_at, updated_at = rows.moment(row["created_at_ms"]), rows.moment(row["updated_at_ms"])
            title, draft = rows.text(row["title"]), rows.text(row["draft"])
        except rows.UnreadableRow:
            self._unreadable.add(("conversation", conversation_id))
            return None
        return Conversation(
            id=conversation_id,
            title=title,
            titled_by_user=bool(row["titled_by_user"]),
            created_at=created_at,
            updated_at=updated_at,
            head_id=row["head_id"] if isinstance(row["head_id"], str) else None,
            options=rows.options_of(row),
            draft=draft,
            messages=self._readable(
                "message",
                messages,
                lambda item: rows.message_of(item, tuple(attached.get(item["id"], ()))),
            ),
            draft_attachments=tuple(attached.get(None, ())),
            pinned=bool(row["pinned"]),
            folder=row["folder"] if isinstance(row["folder"], str) else "",
            source=row["source"] if isinstance(row["source"], str) else None,
        )

    def deleted(self) -> tuple[DeletedConversation, ...]:
        """Return what can still be restored, last deleted first."""
        with self._reading() as connection:
            found = connection.execute(
                "SELECT id, title, deleted_at_ms FROM conversations WHERE deleted_at_ms IS NOT NULL"
                " ORDER BY deleted_at_ms DESC, id DESC"
            ).fetchall()
        return self._readable("conversation", found, lambda row: rows.deleted_of(row, DELETED_KEPT_FOR))

    def ids(self) -> list[str]:
        """Return every conversation that is not deleted, newest first."""
        with self._reading() as connection:
            found = connection.execute(
                "SELECT id FROM conversations WHERE deleted_at_ms IS NULL ORDER BY updated_at_ms DESC, id DESC"
            ).fetchall()
        return [str(row["id"]) for row in found]

    def sources(self) -> dict[str, bool]:
        """Return what each conversation was imported from and is exported as, and whether it is deleted."""
        with self._reading() as connection:
            found = connection.execute(
                "SELECT id, source, deleted_at_ms IS NOT NULL AS is_deleted FROM conversations"
            ).fetchall()
        here: dict[str, bool] = {}
        for row in found:
            here[f"signalbox:{row['id']}"] = bool(row["is_deleted"])
            if isinstance(row["source"], str):
                here[row["source"]] = bool(row["is_deleted"])
        return here

    def place(self) -> Place | None:
        """Return what was shown last, ``None`` where that was never written."""
        return rows.place_of(self.state("place"))

    def state(self, key: str) -> str | None:
        """Return what ``set_state`` kept."""
        with self._reading() as connection:
            row = connection.execute("SELECT value FROM state WHERE key = ?", (key,)).fetchone()
        return row["value"] if row is not None and isinstance(row["value"], str) else None

    def not_settled(self, limit: int = 200) -> tuple[tuple[str, str, str, Spending], ...]:
        """Return the newest answers whose cost the ledger may know by now: id, conversation, request and cost."""
        with self._reading() as connection:
            found = connection.execute(
                "SELECT * FROM messages WHERE (unsettled_nanodollars <> 0 OR unpriced <> 0)"
                f" AND origin <> '{COPIED}' AND correlation_id IS NOT NULL AND status <> 'streaming'"
                " ORDER BY created_at_ms DESC LIMIT ?",
                (limit,),
            ).fetchall()
        messages = self._readable("message", found, lambda row: rows.message_of(row, ()))
        return tuple(
            (item.id, item.conversation_id, item.correlation_id, item.spending)
            for item in messages
            if item.correlation_id is not None
        )

    def prompts(self) -> tuple[SavedPrompt, ...]:
        """Return the saved system prompts, in the order of their names."""
        with self._reading() as connection:
            found = connection.execute("SELECT * FROM prompts").fetchall()
        prompts = self._readable("prompt", found, rows.prompt_of)
        return tuple(sorted(prompts, key=lambda prompt: (prompt.name.casefold(), prompt.id)))

    def _readable(
        self, kind: str, found: Iterable[sqlite3.Row], read: Callable[[sqlite3.Row], T]
    ) -> tuple[T, ...]:
        readable: list[T] = []
        for row in found:
            try:
                readable.append(read(row))
            except rows.UnreadableRow:
                self._unreadable.add((kind, row["id"]))
        return tuple(readable)

    # Writing

    def save_conversation(self, conversation: Conversation) -> None:
        """Write a conversation's own row and its draft; its messages are saved one by one.

        Pin and folder are set by ``pin`` and ``move`` only, whether it is open or not.
        """
        with self._writing() as connection:
            connection.execute(_SAVE_CONVERSATION, rows.conversation_values(conversation))
            self._save_attachments(connection, conversation.id, None, conversation.draft_attachments)
            self._index(connection, conversation.id, "", conversation.title)

    def add(self, conversation: Conversation) -> None:
        """Write a whole conversation that is not in the file yet, in one piece.

        Raises:
            StoreTrouble: it can't be written, or has an id that is there; then nothing of it is written.
        """
        with self._writing() as connection:
            connection.execute(_ADD_CONVERSATION, rows.conversation_values(conversation))
            self._save_attachments(connection, conversation.id, None, conversation.draft_attachments)
            self._index(connection, conversation.id, "", conversation.title)
            for message in conversation.messages:
                connection.execute(_ADD_MESSAGE, rows.message_values(message))
                self._save_attachments(connection, conversation.id, message.id, message.attachments)
                self._index(connection, conversation.id, message.id, message.text)

    def save_message(self, message: StoredMessage) -> None:
        """Write a message whole. While it streams it is not yet found by a search."""
        with self._writing() as connection:
            connection.execute(_SAVE_MESSAGE, rows.message_values(message))
            if message.attachments:
                self._save_attachments(connection, message.conversation_id, message.id, message.attachments)
            if message.status != "streaming":
                self._index(connection, message.conversation_id, message.id, message.text)

    def save_progress(self, message_id: str, text: str) -> None:
        """Write the text of a streaming answer so far; cheap enough for once a second."""
        with self._writing() as connection:
            connection.execute("UPDATE messages SET text = ? WHERE id = ?", (clean_text(text), message_id))

    def settle(self, message_id: str, spending: Spending) -> None:
        """Write what the ledger says of an answer's cost since it ended."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE messages SET spent_nanodollars = :spent_nanodollars, spent_estimated = :spent_estimated,"
                " unsettled_nanodollars = :unsettled_nanodollars, unpriced = :unpriced,"
                " settled_json = :settled_json WHERE id = :id",
                {"id": message_id, "settled_json": to_json(spending), **rows.spending_values(spending)},
            )

    def remove_messages(self, message_ids: tuple[str, ...]) -> None:
        """Forget messages that were never sent (their prompt went back to the box)."""
        with self._writing() as connection:
            for message_id in message_ids:
                row = connection.execute(
                    "SELECT conversation_id FROM messages WHERE id = ?", (message_id,)
                ).fetchone()
                if row is None:
                    continue
                where = "conversation_id = ? AND message_id = ?"
                self._unindex(connection, where, row["conversation_id"], message_id)
                connection.execute(
                    f"DELETE FROM attachments WHERE {where}", (row["conversation_id"], message_id)
                )
                connection.execute("DELETE FROM messages WHERE id = ?", (message_id,))

    def rename(self, conversation_id: str, title: str) -> None:
        with self._writing() as connection:
            connection.execute(
                "UPDATE conversations SET title = ?, titled_by_user = 1 WHERE id = ?",
                (clean_text(title), conversation_id),
            )
            self._index(connection, conversation_id, "", title)

    def pin(self, conversation_id: str, pinned: bool) -> None:
        """List a conversation above the others, or no longer."""
        self._set(conversation_id, "pinned", pinned)

    def move(self, conversation_id: str, folder: str) -> None:
        """Put a conversation into a folder; an empty name takes it out."""
        self._set(conversation_id, "folder", clean_text(folder))

    def rename_folder(self, folder: str, name: str) -> None:
        """Call a folder ``name``, deleted conversations' included; an empty name takes all out of it."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE conversations SET folder = ? WHERE folder = ?", (clean_text(name), folder)
            )

    def set_place(self, place: Place) -> None:
        self.set_state("place", to_json(place))

    def set_state(self, key: str, value: str) -> None:
        """Keep what the page looks like."""
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO state VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value",
                (key, clean_text(value)),
            )

    def forget(self, conversation_id: str) -> None:
        """Remove a conversation at once and for good."""
        with self._writing() as connection:
            self._unindex(connection, "conversation_id = ?", conversation_id)
            connection.execute("DELETE FROM conversations WHERE id = ?", (conversation_id,))

    def delete(self, conversation_id: str) -> None:
        """Take a conversation out of sight; ``restore`` brings it back for ``DELETED_KEPT_FOR``."""
        self._set(conversation_id, "deleted_at_ms", rows.milliseconds(datetime.now(UTC)))

    def restore(self, conversation_id: str) -> None:
        self._set(conversation_id, "deleted_at_ms", None)

    def save_prompts(self, prompts: Iterable[SavedPrompt], gone: Iterable[str] = ()) -> None:
        """Write the saved system prompts, and forget those whose ids are ``gone``."""
        with self._writing() as connection:
            for prompt_id in gone:
                connection.execute("DELETE FROM prompts WHERE id = ?", (prompt_id,))
            for prompt in prompts:
                connection.execute(
                    """INSERT INTO prompts (id, name, text, is_default) VALUES (?, ?, ?, ?)
                       ON CONFLICT(id) DO UPDATE SET name = excluded.name, text = excluded.text,
                           is_default = excluded.is_default""",
                    (prompt.id, clean_text(prompt.name), clean_text(prompt.text), prompt.is_default),
                )

    # Inside

    def _set(self, conversation_id: str, column: str, value: str | int | None) -> None:
        with self._writing() as connection:
            connection.execute(
                f"UPDATE conversations SET {column} = ? WHERE id = ?", (value, conversation_id)
            )

    def _purge(self, connection: sqlite3.Connection, before: datetime) -> None:
        gone = "SELECT id FROM conversations WHERE deleted_at_ms < ?"
        self._unindex(connection, f"conversation_id IN ({gone})", rows.milliseconds(before))
        connection.execute("DELETE FROM conversations WHERE deleted_at_ms < ?", (rows.milliseconds(before),))

    def _index(
        self, connection: sqlite3.Connection, conversation_id: str, message_id: str, text: str
    ) -> None:
        if not self._has_search:
            return
        self._unindex(connection, "conversation_id = ? AND message_id = ?", conversation_id, message_id)
        if text:
            added = connection.execute(
                "INSERT INTO search (text, conversation_id, message_id) VALUES (?, ?, ?)",
                (clean_text(text), conversation_id, message_id),
            )
            connection.execute(
                "INSERT INTO search_rows (search_rowid, conversation_id, message_id) VALUES (?, ?, ?)",
                (added.lastrowid, conversation_id, message_id),
            )

    def _unindex(self, connection: sqlite3.Connection, where: str, *values: str | int) -> None:
        """Take out of the search what ``where`` says of ``search_rows``."""
        if not self._has_search:
            return
        rows = connection.execute(f"SELECT search_rowid FROM search_rows WHERE {where}", values).fetchall()
        for row in rows:
            connection.execute("DELETE FROM search WHERE rowid = ?", (row["search_rowid"],))
            connection.execute("DELETE FROM search_rows WHERE search_rowid = ?", (row["search_rowid"],))

    def _matching(self, words: list[str]) -> tuple[str, list[str]]:
        if self._has_search and all(len(word) >= 3 for word in words):
            phrase = " AND ".join('"' + word.replace('"', '""') + '"' for word in words)
            return "AND c.id IN (SELECT conversation_id FROM search WHERE search MATCH ?)", [phrase]
        # SQLite's LIKE takes capitals for their small letters in ASCII only.
        folded = [word.casefold() for word in words]
        in_title = " AND ".join("instr(casefold(CAST(c.title AS BLOB)), ?)" for _ in words)
        in_text = " AND ".join("instr(casefold(CAST(s.text AS BLOB)), ?)" for _ in words)
        return (
            f"AND (({in_title}) OR c.id IN (SELECT s.conversation_id FROM messages s WHERE {in_text}))",
            folded + folded,
        )

    def _save_attachments(
        self,
        connection: sqlite3.Connection,
        conversation_id: str,
        message_id: str | None,
        attachments: tuple[Attachment, ...],
    ) -> None:
        known = {
            row["id"]
            for row in connection.execute(
                "SELECT id FROM attachments WHERE conversation_id = ? AND message_id IS ?",
                (conversation_id, message_id),
            )
        }
        for gone in known - {item.id for item in attachments}:
            connection.execute("DELETE FROM attachments WHERE id = ?", (gone,))
        for place, item in enumerate(attachments):
            if item.id not in known:
                connection.execute(
                    """INSERT INTO attachments (id, conversation_id, message_id, place, name, kind,
                           media_type, content)
                       VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                       ON CONFLICT(id) DO UPDATE SET message_id = excluded.message_id, place = excluded.place""",
                    (
                        item.id,
                        conversation_id,
                        message_id,
                        place,
                        clean_text(item.name),
                        item.kind,
                        item.media_type,
                        item.content,
                    ),
                )

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except (sqlite3.Error, OSError) as error:
                raise trouble(error) from error

    @contextmanager
    def _writing(self) -> Generator[sqlite3.Connection]:
        with self._reading() as connection, transaction(connection):
            yield connection


def open_or_memory(path: Path) -> tuple[ConversationStore, StoreTrouble | None]:
    """Open ``path``, or, when it can't be, a store for this run only together with the reason."""
    try:
        return ConversationStore(path), None
    except StoreTrouble as problem:
        return ConversationStore(None), problem


def _casefold(text: bytes | None) -> str:
    """Return a column as a search compares it, however broken its letters are."""
    return "" if text is None else text.decode("utf-8", "replace").casefold()
