"""The conversations' file: opened, checked, brought up to its schema, or set aside when it is broken."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from core import Spending, make_private_folder, salvage_json
from core.base import files, sqlite_file
from core.base.sqlite_file import fault_of
from core.chat import ChatResult
from core.errors import SignalboxError

SCHEMA_VERSION = 7
IN_MEMORY = ":memory:"
CHECKED_UP_TO_BYTES = (
    64_000_000  # a full check reads every page: about 0.3 s at this size, in a worker thread
)

_SCHEMA = """
CREATE TABLE conversations (
    id TEXT PRIMARY KEY, title TEXT NOT NULL, titled_by_user INTEGER NOT NULL DEFAULT 0,
    created_at_ms INTEGER NOT NULL, updated_at_ms INTEGER NOT NULL, deleted_at_ms INTEGER,
    head_id TEXT, draft TEXT NOT NULL DEFAULT '', system TEXT NOT NULL DEFAULT '', max_tokens INTEGER,
    temperature REAL, schema_text TEXT NOT NULL DEFAULT '', force TEXT
);
CREATE TABLE messages (
    id TEXT PRIMARY KEY, conversation_id TEXT NOT NULL REFERENCES conversations(id) ON DELETE CASCADE,
    parent_id TEXT, role TEXT NOT NULL, text TEXT NOT NULL, created_at_ms INTEGER NOT NULL,
    status TEXT NOT NULL, correlation_id TEXT, side TEXT, provider TEXT, model TEXT, reason TEXT,
    usage_json TEXT, cost_nanodollars INTEGER, loaded_nanodollars INTEGER,
    hold_nanodollars INTEGER NOT NULL DEFAULT 0,
    ttft_ms REAL, output_tokens_per_s REAL, decision_json TEXT, result_json TEXT, error_json TEXT,
    pinned INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX messages_by_conversation ON messages(conversation_id, created_at_ms);
CREATE TABLE attachments (
    id TEXT PRIMARY KEY, conversation_id TEXT NOT NULL REFERENCES conversations(id) ON DELETE CASCADE,
    message_id TEXT, place INTEGER NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, media_type TEXT NOT NULL,
    content BLOB NOT NULL
);
CREATE INDEX attachments_by_conversation ON attachments(conversation_id);
"""

# Which row of the full-text table holds a message (or, with no message, a title): FTS5 finds a row by its rowid or
# by a word, and looking for one by its other columns reads the whole table (52 ms with 10,000 conversations).
_SEARCH_ROWS_SCHEMA = """
CREATE TABLE search_rows (
    search_rowid INTEGER PRIMARY KEY, conversation_id TEXT NOT NULL, message_id TEXT NOT NULL
);
CREATE INDEX search_rows_by_message ON search_rows(conversation_id, message_id);
"""

# How a conversation is ordered in the list, what it was imported from, who answered where it was not asked here,
# and what the page shows just now.
_ORDER_SCHEMA = """
ALTER TABLE conversations ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conversations ADD COLUMN folder TEXT NOT NULL DEFAULT '';
ALTER TABLE conversations ADD COLUMN source TEXT;
ALTER TABLE messages ADD COLUMN origin TEXT NOT NULL DEFAULT '';
CREATE INDEX conversations_by_source ON conversations(source);
CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""

_MORE_OPTIONS_SCHEMA = """
ALTER TABLE conversations ADD COLUMN model TEXT;
ALTER TABLE conversations ADD COLUMN top_p REAL;
ALTER TABLE conversations ADD COLUMN stop_json TEXT;
ALTER TABLE conversations ADD COLUMN seed INTEGER;
ALTER TABLE messages ADD COLUMN options_json TEXT;
"""
# What an answer counts for, as StoredMessage.spending has it: the list adds these up. ``settled_json`` is what the
# ledger said of it later.
_SPENDING_SCHEMA = """
ALTER TABLE messages ADD COLUMN spent_nanodollars INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN spent_estimated INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN unsettled_nanodollars INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN unpriced INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN settled_json TEXT;
"""
_SPENDING_OF_BEFORE = f"""
{_SPENDING_SCHEMA}
UPDATE messages SET spent_nanodollars = cost_nanodollars WHERE typeof(cost_nanodollars) = 'integer';
UPDATE messages SET unpriced = 1 WHERE result_json IS NOT NULL AND cost_nanodollars IS NULL;
UPDATE messages SET unsettled_nanodollars = hold_nanodollars
WHERE result_json IS NULL AND status NOT IN ('streaming', 'done') AND typeof(hold_nanodollars) = 'integer'
"""
"""Of answers whose end was not a plain one (few), ``_amend_spending`` reads the rest from their result."""

_PROMPTS_SCHEMA = """
CREATE TABLE prompts (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, text TEXT NOT NULL, is_default INTEGER NOT NULL DEFAULT 0
);
"""

_UPGRADES = {
    1: "ALTER TABLE messages ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0",
    2: _SEARCH_ROWS_SCHEMA,
    3: _ORDER_SCHEMA,
    4: _MORE_OPTIONS_SCHEMA,
    5: _SPENDING_OF_BEFORE,
    6: _PROMPTS_SCHEMA,
}
"""What leads from a version of the file to the next."""

# Trigrams find any part of a word in any script (three letters or more) while the user types.
_SEARCH_SCHEMA = """
CREATE VIRTUAL TABLE search USING fts5(
    text, conversation_id UNINDEXED, message_id UNINDEXED, tokenize = 'trigram'
);
"""


class StoreTrouble(SignalboxError):
    """The conversations' file can't be used as asked; what is on screen stays."""

    kind = "conversations_unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedFile:
    """``set_aside`` is where a broken file went, ``None`` when there was none. ``has_search`` is FTS5."""

    connection: sqlite3.Connection
    set_aside: Path | None
    has_search: bool


def open_file(path: Path) -> OpenedFile:
    """Open ``path``, making it or setting a broken one aside as ``conversations.broken-<n>.sqlite3``.

    Raises:
        StoreTrouble: the folder can't be written, or a newer Signalbox wrote the file (it is left as it is).
    """
    set_aside: Path | None = None
    try:
        if path.name != IN_MEMORY:
            make_private_folder(path.parent)
        try:
            connection = _connect(path)
        except sqlite3.DatabaseError as error:
            if not _is_broken(error):
                raise
            set_aside = files.set_aside(
                path, name="{stem}.broken-{number}{suffix}", beside=sqlite_file.SIDE_FILES
            )
            connection = _connect(path)
    except (sqlite3.Error, OSError) as error:
        raise trouble(error) from error
    return OpenedFile(connection=connection, set_aside=set_aside, has_search=_has_table(connection, "search"))


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite_file.connect(path, busy_timeout_s=5)
    try:
        sqlite_file.use_write_ahead_log(connection)
        connection.execute("PRAGMA synchronous = NORMAL")  # in WAL: kill -9 loses nothing that was committed
        connection.execute("PRAGMA foreign_keys = ON")
        if path.name != IN_MEMORY and path.stat().st_size <= CHECKED_UP_TO_BYTES:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise sqlite3.DatabaseError(f"malformed: {verdict}")
        sqlite_file.bring_up_to_date(connection, SCHEMA_VERSION, make=_make, upgrade=_upgrade)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite_file.NewerFormat):
            raise StoreTrouble(
                "A newer Signalbox wrote your conversations.",
                hint="They are untouched. Start the newer one to see them; this run keeps nothing.",
            ) from error
        if isinstance(error, sqlite_file.ForeignFile):
            raise sqlite3.DatabaseError("malformed: tables without a schema version") from error
        raise
    return connection


def _upgrade(connection: sqlite3.Connection, version: int) -> None:
    for step in range(version, SCHEMA_VERSION):
        _execute_all(connection, _UPGRADES[step])
    if version < 3 and _has_table(connection, "search"):
        connection.execute("INSERT INTO search_rows SELECT rowid, conversation_id, message_id FROM search")
    if version < 6:
        _amend_spending(connection)


def _amend_spending(connection: sqlite3.Connection) -> None:
    """Write what those old answers count for that did not simply cost what they say."""
    odd = connection.execute(
        "SELECT id, CAST(result_json AS BLOB) FROM messages WHERE typeof(result_json) = 'text' AND"
        " (instr(result_json, '\"unresolved_nanodollars\"') OR instr(result_json, '\"usage_estimated\"'))"
    ).fetchall()
    for message_id, written in odd:
        result = salvage_json(ChatResult, written.decode("utf-8", "replace"))
        if result is not None:
            found = Spending.of(result)
            connection.execute(
                "UPDATE messages SET spent_nanodollars = ?, spent_estimated = ?, unsettled_nanodollars = ?,"
                " unpriced = ? WHERE id = ?",
                (
                    found.spent_nanodollars,
                    found.estimated,
                    found.unsettled_nanodollars,
                    found.unpriced,
                    message_id,
                ),
            )


def _make(connection: sqlite3.Connection) -> None:
    first = _SCHEMA + _SEARCH_ROWS_SCHEMA + _ORDER_SCHEMA + _MORE_OPTIONS_SCHEMA
    _execute_all(connection, first + _SPENDING_SCHEMA + _PROMPTS_SCHEMA)
    try:
        connection.execute(_SEARCH_SCHEMA)
    except sqlite3.OperationalError as error:
        if "no such module" not in str(error) and "tokenizer" not in str(error):
            raise  # an SQLite built without FTS5 searches with LIKE instead


def _execute_all(connection: sqlite3.Connection, statements: str) -> None:
    """As ``executescript``, which would commit the transaction that is open."""
    for statement in statements.split(";"):
        connection.execute(statement)


def _has_table(connection: sqlite3.Connection, name: str) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone() is not None


def _is_broken(error: sqlite3.DatabaseError) -> bool:
    # An operational error (full, locked, no permission) says that the file itself is fine.
    return not isinstance(error, sqlite3.OperationalError) and fault_of(str(error)) == "damaged"


def trouble(error: Exception) -> StoreTrouble:
    """Say what an SQLite or file error means for the user's conversations."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    match fault_of(reason):
        case "full":
            return StoreTrouble(
                "Your conversations can't be saved: the disk is full.",
                hint="What is on screen stays. Free some space, then try again.",
            )
        case "locked":
            return StoreTrouble(
                "Your conversations can't be saved: another program is using their file.",
                hint="What is on screen stays. Close the other program, then try again.",
            )
        case "read_only":
            return StoreTrouble(
                "Your conversations can't be saved: their file can't be written.",
                hint="What is on screen stays. Check the folder's permissions, then try again.",
            )
        case _:
            return StoreTrouble(
                f"Your conversations can't be read or saved: {reason}.",
                hint="What is on screen stays. Export it, then restart.",
            )
