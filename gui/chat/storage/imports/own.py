"""The panel's own JSON export, read without loss: every branch, cost, decision and attachment."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar, cast, get_args

from core import Spending, salvage_json
from core.chat import ChatResult, RouteDecision, Side
from gui.chat.storage.copying import with_new_ids
from gui.chat.storage.export import FORMAT, VERSION
from gui.chat.storage.imports.parts import (
    MOST_KEY_CHARS,
    MOST_MESSAGES,
    MOST_TEXT_CHARS,
    MOST_TITLE_CHARS,
    LeftOut,
    Unusable,
    as_dict,
    as_list,
    as_text,
    moment_of,
    source_of,
    title_of,
)
from gui.chat.storage.models import (
    MAX_SEED,
    MAX_STOPS,
    Attachment,
    ChatOptions,
    Conversation,
    MessageRole,
    MessageStatus,
    StoredError,
    StoredMessage,
)

NAME = "Signalbox"
T = TypeVar("T")

_NANODOLLARS = 1_000_000_000
MOST_NANODOLLARS = 1_000_000 * _NANODOLLARS
"""A million dollars for one answer: what the list adds up."""


def is_one(item: dict[str, Any]) -> bool:
    return item.get("format") == FORMAT


def read(item: dict[str, Any], left_out: LeftOut) -> Conversation:
    """Return a conversation as it was, with new ids: what is in the file already can't be meant by them.

    Raises:
        Unusable: a newer Signalbox wrote it, or it has nothing in it that can be kept.
    """
    version = item.get("version")
    if not isinstance(version, int) or not 1 <= version <= VERSION:
        raise Unusable("was exported by a newer Signalbox")
    listed = as_list(item.get("messages"))
    if len(listed) > MOST_MESSAGES:
        raise Unusable(f"has more than {MOST_MESSAGES:,} messages")
    started = moment_of(item.get("created_at")) or datetime.now(UTC)
    messages: dict[str, StoredMessage] = {}
    for value in listed:
        message = _message(as_dict(value), started, left_out)
        if message is None:
            left_out["damaged messages"] += 1
        else:
            messages[message.id] = message
    draft = as_text(item.get("draft"))
    drafted = _attachments(item.get("draft_attachments"), left_out)
    if not messages and not draft.strip() and not drafted:
        raise Unusable("has no message that can be kept")
    head = as_text(item.get("shown_leaf_id"))
    source, own_key = as_text(item.get("source")), source_of("signalbox", item.get("id"), item)
    return with_new_ids(
        Conversation(
            id=as_text(item.get("id")),
            title=title_of(item.get("title"), messages.values()),
            titled_by_user=item.get("titled_by_user") is not False,
            created_at=started,
            updated_at=min(moment_of(item.get("updated_at")) or started, datetime.now(UTC)),
            head_id=head if head in messages else None,
            options=_options(as_dict(item.get("options"))),
            draft=draft,
            messages=tuple(messages.values()),
            draft_attachments=drafted,
            pinned=item.get("pinned") is True,
            folder=" ".join(as_text(item.get("folder")).split())[:MOST_TITLE_CHARS],
            source=source if 0 < len(source) <= 2 * MOST_KEY_CHARS else own_key,
        )
    )


def _options(value: dict[str, Any]) -> ChatOptions:
    side, stops = value.get("side"), map(as_text, as_list(value.get("stop"))[:MAX_STOPS])
    return ChatOptions(
        system=as_text(value.get("system")),
        max_tokens=_whole_number(value.get("max_tokens"), 1, 2**31 - 1),
        temperature=_share(value.get("temperature"), 10),
        schema_text=as_text(value.get("schema")),
        force=cast("Side", side) if side in get_args(Side) else None,
        model=as_text(value.get("model"))[:MOST_KEY_CHARS] or None,
        top_p=_share(value.get("top_p"), 1),
        stop=tuple(stop for stop in stops if stop),
        seed=_whole_number(value.get("seed"), 0, MAX_SEED),
    )


def _whole_number(value: object, least: int, most: int) -> int | None:
    is_one = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    return cast("int", value) if is_one else None


def _share(value: object, most: float) -> float | None:
    is_one = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most
    return cast("float", value) if is_one else None


def _message(value: dict[str, Any], started: datetime, left_out: LeftOut) -> StoredMessage | None:
    own_id, role, status = as_text(value.get("id")), value.get("role"), value.get("status")
    text = as_text(value.get("text"))
    if not own_id or role not in get_args(MessageRole):
        return None
    if len(text) > MOST_TEXT_CHARS:
        raise Unusable(f"has a message of more than {MOST_TEXT_CHARS:,} letters")
    hold = value.get("hold_nanodollars")
    parent = value.get("parent_id")
    decision = _salvaged(RouteDecision, value.get("decision"))
    status = "interrupted" if status == "streaming" or status not in get_args(MessageStatus) else status
    message = StoredMessage(
        id=own_id,
        conversation_id="",
        parent_id=parent if isinstance(parent, str) else None,
        role=cast("MessageRole", role),
        text=text,
        created_at=moment_of(value.get("created_at")) or started,
        status=cast("MessageStatus", status),
        decision=decision,
        hold_nanodollars=hold if isinstance(hold, int) and 0 <= hold < 2**53 else 0,
        correlation_id=as_text(value.get("correlation_id"))[:MOST_KEY_CHARS] or None,
        result=_result(as_dict(value.get("result")), value, text),
        error=_salvaged(StoredError, value.get("error")),
        attachments=_attachments(value.get("attachments"), left_out),
        pinned=value.get("pinned") is True,
        origin=as_text(value.get("origin"))[:MOST_TITLE_CHARS],
        options=_options(as_dict(value["options"])) if value.get("options") else None,
        settled_later=_salvaged(Spending, value.get("settled_later")),
    )
    if not _is_an_account(message.spending):
        left_out["costs"] += 1
        return replace(message, result=None, settled_later=None, hold_nanodollars=0)
    return message


def _is_an_account(spending: Spending) -> bool:
    """Whether these are amounts that anybody could owe: the file's columns and sums take no others."""
    amounts = (spending.spent_nanodollars, spending.unsettled_nanodollars, spending.loaded_nanodollars)
    return all(0 <= amount <= MOST_NANODOLLARS for amount in (*amounts, spending.unpriced))


def _result(value: dict[str, Any], message: dict[str, Any], text: str) -> ChatResult | None:
    """A file of the first version has the costs in dollars only."""
    if not value:
        return None
    whole: dict[str, Any] = {
        "text": "",
        "tool_calls": [],
        "cost_nanodollars": _nanodollars(value.get("cost_dollars")),
        "loaded_nanodollars": _nanodollars(value.get("loaded_dollars")),
        "started_at": message.get("created_at"),
        **value,
        "decision": message.get("decision"),
    }
    result = _salvaged(ChatResult, whole)
    return None if result is None else replace(result, text=text)


def _nanodollars(dollars: object) -> int | None:
    try:
        amount = Decimal(dollars) * _NANODOLLARS if isinstance(dollars, str) and len(dollars) < 40 else None
        return None if amount is None or not amount.is_finite() or abs(amount) > 10**18 else int(amount)
    except InvalidOperation:
        return None


def _salvaged(kind: type[T], value: object) -> T | None:
    if not isinstance(value, dict):
        return None
    try:
        return salvage_json(kind, json.dumps(json.loads(json.dumps(value), parse_int=_kept_number)))
    except (ValueError, RecursionError):
        return None


def _kept_number(digits: str) -> int | None:
    """What SQLite has no room for is not known."""
    number = int(digits)
    return number if -(2**63) <= number < 2**63 else None


def _attachments(value: object, left_out: LeftOut) -> tuple[Attachment, ...]:
    found: list[Attachment] = []
    for item in map(as_dict, as_list(value)):
        name = " ".join(as_text(item.get("name")).split())[:MOST_TITLE_CHARS]
        media_type = as_text(item.get("media_type"))[:100] or "text/plain"
        if isinstance(item.get("text"), str):
            content = as_text(item.get("text")).encode()
            found.append(Attachment(name=name, kind="text", content=content, media_type=media_type))
            continue
        try:
            content = base64.b64decode(as_text(item.get("base64")), validate=True)
        except (binascii.Error, ValueError):
            content = b""
        if content:
            found.append(Attachment(name=name, kind="image", content=content, media_type=media_type))
        else:
            left_out["files"] += 1
    return tuple(found)
