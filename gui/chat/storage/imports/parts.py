"""What every format's reader makes of an item: messages as a tree, in the panel's own values."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

from gui.chat.storage.models import (
    Attachment,
    ChatOptions,
    Conversation,
    MessageRole,
    StoredMessage,
    clean_text,
    new_id,
)

MOST_MESSAGES = 20_000
MOST_TEXT_CHARS = 10_000_000
MOST_TITLE_CHARS = 200
MOST_KEY_CHARS = 200
UNTITLED = "Untitled chat"


class Unusable(Exception):
    """An item is left out; the message says why, to go on after "because" or stand by itself."""


LeftOut = Counter[str]
"""How many of what (``pictures``) was left out of the conversations that were imported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A message of another program. With a ``role`` of ``None`` it is passed over: its children hang above it."""

    id: str
    parent_id: str | None
    role: MessageRole | None = None
    text: str = ""
    created_at: datetime | None = None
    origin: str = ""
    attachments: tuple[Attachment, ...] = ()


def as_dict(value: object) -> dict[str, Any]:
    """Return a JSON object, an empty one for anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def as_text(value: object) -> str:
    return clean_text(value).replace("\0", "") if isinstance(value, str) else ""


def moment_of(value: object) -> datetime | None:
    """Return a moment from seconds since the epoch or ISO 8601, ``None`` for anything else."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            seconds = value / 1000 if value > 100_000_000_000 else value
            return datetime.fromtimestamp(seconds, UTC)
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def source_of(kind: str, own_id: object, item: dict[str, Any]) -> str:
    """Return the key by which a repeated import is recognised: the chat's own id, else a hash of what it holds."""
    key = as_text(own_id).strip()
    if not key or len(key) > MOST_KEY_CHARS:
        written = json.dumps(item, sort_keys=True, ensure_ascii=True).encode()
        key = f"sha256:{hashlib.sha256(written).hexdigest()}"
    return f"{kind}:{key}"


def title_of(title: object, messages: Iterable[StoredMessage]) -> str:
    words = " ".join(as_text(title).split())
    if not words:
        words = next((" ".join(item.text.split()) for item in messages if item.text.strip()), "") or UNTITLED
        words = words if len(words) <= 60 else words[:60].rstrip() + "…"
    return words[:MOST_TITLE_CHARS]


def conversation_of(
    nodes: list[Node],
    *,
    source: str,
    title: object,
    created_at: datetime | None,
    updated_at: datetime | None,
    head: str | None,
) -> Conversation:
    """Return the kept nodes as a conversation with ids of its own.

    Raises:
        Unusable: nothing in it can be kept, or it is larger than a chat that can be shown.
    """
    if len(nodes) > MOST_MESSAGES:
        raise Unusable(f"has more than {MOST_MESSAGES:,} messages")
    by_id = {node.id: node for node in nodes}
    nodes = list(by_id.values())
    kept = {node.id: new_id() for node in nodes if node.role is not None}
    if not kept:
        raise Unusable("has no message that can be kept")
    if any(len(node.text) > MOST_TEXT_CHARS for node in nodes):
        raise Unusable(f"has a message of more than {MOST_TEXT_CHARS:,} letters")
    above: dict[str | None, str | None] = {None: None}

    def kept_from(node_id: str | None) -> str | None:
        """The nearest kept node from ``node_id`` upwards; a circle ends at the top."""
        way: list[str] = []
        at = node_id
        while at is not None and at not in above and at not in kept:
            above[at] = None
            way.append(at)
            at = by_id[at].parent_id if at in by_id else None
        found = at if at in kept else above.get(at)
        for passed in way:
            above[passed] = found
        return found

    conversation_id = new_id()
    started = created_at or datetime.now(UTC)
    messages: list[StoredMessage] = []
    latest = started
    for node in nodes:
        if node.role is None:
            continue
        parent = kept_from(node.parent_id)
        latest = node.created_at or latest
        messages.append(
            StoredMessage(
                id=kept[node.id],
                conversation_id=conversation_id,
                parent_id=None if parent is None else kept[parent],
                role=node.role,
                text=node.text,
                created_at=latest,
                origin=node.origin,
                attachments=tuple(replace(item, id=new_id()) for item in node.attachments),
            )
        )
    shown = kept_from(head)
    return Conversation(
        id=conversation_id,
        title=title_of(title, messages),
        titled_by_user=True,
        created_at=started,
        updated_at=min(updated_at or max(message.created_at for message in messages), datetime.now(UTC)),
        head_id=None if shown is None else kept[shown],
        options=ChatOptions(),
        draft="",
        messages=tuple(messages),
        source=source,
    )
