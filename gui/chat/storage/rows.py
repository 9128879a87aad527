"""A row of the conversations' file as a value, or not at all: SQLite keeps anything in any column.

Text that is no UTF-8 has marks in it, an option that can't be one is the default, and a row that lacks what it
can't be without (an id, a moment, who wrote it) raises ``UnreadableRow``, which costs that row and no other.
"""

from __future__ import annotations

import json
import math
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast, get_args

from core import Spending, salvage_json
from core.chat import ChatResult, RouteDecision, Side
from gui.chat.storage.models import (
    Attachment,
    AttachmentKind,
    ChatOptions,
    ConversationSummary,
    DeletedConversation,
    MessageRole,
    MessageStatus,
    Place,
    SavedPrompt,
    StoredError,
    StoredMessage,
    Totals,
)

T = TypeVar("T")


class UnreadableRow(Exception):
    """The row is left out."""


def decode(content: bytes) -> str:
    """SQLite's text, whatever bytes are in it."""
    return content.decode("utf-8", "replace")


def text(value: Any) -> str:
    if isinstance(value, bytes):
        return decode(value)
    if not isinstance(value, str):
        raise UnreadableRow
    return value


def moment(milliseconds: Any) -> datetime:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (TypeError, ValueError, OverflowError, OSError) as error:
        raise UnreadableRow from error


def summary_of(row: sqlite3.Row) -> ConversationSummary:
    return ConversationSummary(
        id=text(row["id"]),
        title=text(row["title"]),
        updated_at=moment(row["updated_at_ms"]),
        has_draft=bool(row["has_draft"]),
        pinned=bool(row["pinned"]),
        folder=_text_or_none(row["folder"]) or "",
        answered_elsewhere=bool(row["elsewhere"]),
        totals=Totals(
            answers=row["answers"],
            local_answers=row["local_answers"],
            api_answers=row["api_answers"],
            spending=Spending(
                spent_nanodollars=row["spent"],
                estimated=bool(row["estimated"]),
                unsettled_nanodollars=row["unsettled"],
                unpriced=row["unpriced"],
                loaded_nanodollars=row["loaded"],
            ),
        ),
    )


def deleted_of(row: sqlite3.Row, kept_for: timedelta) -> DeletedConversation:
    deleted_at = moment(row["deleted_at_ms"])
    return DeletedConversation(
        id=text(row["id"]), title=text(row["title"]), deleted_at=deleted_at, gone_at=deleted_at + kept_for
    )


def place_of(written: Any) -> Place | None:
    """Return where the page was, ``None`` where that can't be read."""
    return _salvaged(Place, written)


def options_of(row: sqlite3.Row) -> ChatOptions:
    max_tokens, seed = row["max_tokens"], row["seed"]
    return ChatOptions(
        system=_text_or_none(row["system"]) or "",
        max_tokens=max_tokens if isinstance(max_tokens, int) and max_tokens > 0 else None,
        temperature=_number_or_none(row["temperature"]),
        schema_text=_text_or_none(row["schema_text"]) or "",
        force=row["force"] if row["force"] in get_args(Side) else None,
        model=_text_or_none(row["model"]) or None,
        top_p=_number_or_none(row["top_p"]),
        stop=_texts(row["stop_json"]),
        seed=seed if isinstance(seed, int) and seed >= 0 else None,
    )


def prompt_of(row: sqlite3.Row) -> SavedPrompt:
    return SavedPrompt(
        id=text(row["id"]), name=text(row["name"]), text=text(row["text"]), is_default=row["is_default"] == 1
    )


def attachment_of(row: sqlite3.Row) -> Attachment:
    content = row["content"]
    if isinstance(content, str):
        content = content.encode()
    if not isinstance(content, bytes) or row["kind"] not in get_args(AttachmentKind):
        raise UnreadableRow
    return Attachment(
        id=text(row["id"]),
        name=text(row["name"]),
        kind=cast("AttachmentKind", row["kind"]),
        media_type=text(row["media_type"]),
        content=content,
    )


def message_of(row: sqlite3.Row, attachments: tuple[Attachment, ...]) -> StoredMessage:
    if row["role"] not in get_args(MessageRole):
        raise UnreadableRow
    said, hold, status = text(row["text"]), row["hold_nanodollars"], row["status"]
    result = _salvaged(ChatResult, row["result_json"])
    return StoredMessage(
        id=text(row["id"]),
        conversation_id=text(row["conversation_id"]),
        parent_id=_text_or_none(row["parent_id"]),
        role=cast("MessageRole", row["role"]),
        text=said,
        created_at=moment(row["created_at_ms"]),
        status=cast("MessageStatus", status) if status in get_args(MessageStatus) else "interrupted",
        correlation_id=_text_or_none(row["correlation_id"]),
        decision=_salvaged(RouteDecision, row["decision_json"]),
        hold_nanodollars=hold if isinstance(hold, int) else 0,
        result=replace(result, text=said) if result else None,
        error=_salvaged(StoredError, row["error_json"]),
        attachments=attachments,
        pinned=bool(row["pinned"]),
        origin=_text_or_none(row["origin"]) or "",
        options=_salvaged(ChatOptions, row["options_json"]),
        settled_later=_salvaged(Spending, row["settled_json"]),
    )


def _number_or_none(value: Any) -> float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _texts(written: Any) -> tuple[str, ...]:
    try:
        found: Any = json.loads(_text_or_none(written) or "[]")
    except (ValueError, RecursionError):
        return ()
    items = cast("list[Any]", found) if isinstance(found, list) else []
    return tuple(item for item in items if isinstance(item, str) and item)


def _text_or_none(value: Any) -> str | None:
    return text(value) if isinstance(value, str | bytes) else None


def _salvaged(kind: type[T], written: Any) -> T | None:
    return salvage_json(kind, _text_or_none(written))
