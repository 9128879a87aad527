"""A row of the conversations' file as a value, or not at all: SQLite keeps anything in any column.

Text that is no UTF-8 has marks in it, an option that can't be one is the default, and a row that lacks what it
can't be without (an id, a moment, who wrote it) raises ``UnreadableRow``, which costs that row and no other.
At the end the way back: a value as the columns it is written to.
"""

from __future__ import annotations

import json
import math
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast, get_args

from core import Spending, salvage_json, to_json
from core.chat import ChatResult, RouteDecision, Side
from gui.chat.storage.models import (
    Attachment,
    AttachmentKind,
    ChatOptions,
    Conversation,
    ConversationSummary,
    DeletedConversation,
    MessageRole,
    MessageStatus,
    Place,
    SavedPrompt,
    StoredError,
    StoredMessage,
    Totals,
    clean_text,
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


def moment(since_epoch_ms: Any) -> datetime:
    try:
        return datetime.fromtimestamp(since_epoch_ms / 1000, UTC)
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


def milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def conversation_values(conversation: Conversation) -> dict[str, Any]:
    options = conversation.options
    return {
        "id": conversation.id,
        "title": clean_text(conversation.title),
        "titled_by_user": conversation.titled_by_user,
        "created_at_ms": milliseconds(conversation.created_at),
        "updated_at_ms": milliseconds(conversation.updated_at),
        "head_id": conversation.head_id,
        "draft": clean_text(conversation.draft),
        "system": clean_text(options.system),
        "max_tokens": options.max_tokens,
        "temperature": options.temperature,
        "schema_text": clean_text(options.schema_text),
        "force": options.force,
        "pinned": conversation.pinned,
        "folder": clean_text(conversation.folder),
        "source": conversation.source,
        "model": None if options.model is None else clean_text(options.model),
        "top_p": options.top_p,
        "stop_json": clean_text(json.dumps(options.stop, ensure_ascii=False)) if options.stop else None,
        "seed": options.seed,
    }


def message_values(message: StoredMessage) -> dict[str, Any]:
    decision, result = message.decision, message.result
    return {
        "id": message.id,
        "conversation_id": message.conversation_id,
        "parent_id": message.parent_id,
        "role": message.role,
        "text": clean_text(message.text),
        "created_at_ms": milliseconds(message.created_at),
        "status": message.status,
        "correlation_id": message.correlation_id,
        "side": result.side if result else decision.side if decision else None,
        "provider": result.provider if result else decision.provider if decision else None,
        "model": result.model if result else decision.model if decision else None,
        "reason": clean_text(decision.reason) if decision else None,
        "usage_json": to_json(result.usage) if result and result.usage else None,
        "cost_nanodollars": result.cost_nanodollars if result else None,
        "loaded_nanodollars": result.loaded_nanodollars if result else None,
        "hold_nanodollars": message.hold_nanodollars,
        "ttft_ms": result.ttft_ms if result else None,
        "output_tokens_per_s": result.output_tokens_per_s if result else None,
        "decision_json": to_json(decision) if decision else None,
        "result_json": to_json(replace(result, text="")) if result else None,  # the text has its own column
        "error_json": to_json(message.error) if message.error else None,
        "pinned": message.pinned,
        "origin": clean_text(message.origin),
        "options_json": to_json(message.options) if message.options else None,
        "settled_json": to_json(message.settled_later) if message.settled_later else None,
        **spending_values(message.spending),
    }


def spending_values(spending: Spending) -> dict[str, int]:
    return {
        "spent_nanodollars": spending.spent_nanodollars,
        "spent_estimated": spending.estimated,
        "unsettled_nanodollars": spending.unsettled_nanodollars,
        "unpriced": spending.unpriced,
    }
