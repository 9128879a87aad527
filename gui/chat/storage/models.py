"""What a kept conversation is made of: plain frozen values that the store writes and the page shows."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal

import uuid_utils

from core import Spending
from core.chat import ChatResult, RouteDecision, Side
from core.errors import SignalboxError

COPIED = "copy"
"""The ``origin`` of a duplicate's messages."""
MAX_STOPS, MAX_SEED = 16, 2**32 - 2
"""What the core takes; a test holds them equal to its own."""
MessageRole = Literal["user", "assistant"]
MessageStatus = Literal["done", "streaming", "stopped", "failed", "interrupted"]
AttachmentKind = Literal["text", "image"]


def new_id() -> str:
    """Return a UUIDv7, so that ids sort by the time they were made."""
    return str(uuid_utils.uuid7())


def clean_text(text: str) -> str:
    """Return ``text`` as something UTF-8 can hold: each lone surrogate becomes U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions:
    """What the drawer and the switch under the composer set, per conversation.

    ``max_tokens`` of ``None`` takes the setting's default, ``temperature``, ``top_p`` and ``seed`` the model's own.
    ``schema_text`` is what the user typed, valid or not; ``force`` of ``None`` is Auto. ``model`` of ``None`` lets
    the side take its own.
    """

    system: str = ""
    max_tokens: int | None = None
    temperature: float | None = None
    schema_text: str = ""
    force: Side | None = None
    model: str | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None


MOST_PROMPT_NAME_CHARS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedPrompt:
    """A system prompt with a name. A chat keeps the text it was given, whatever becomes of this one.

    New chats begin with the one that ``is_default``.
    """

    name: str
    text: str
    is_default: bool = False
    id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file or a long paste that goes with a prompt. ``content`` is UTF-8 text or the image's bytes."""

    name: str
    kind: AttachmentKind
    content: bytes
    media_type: str = "text/plain"
    id: str = field(default_factory=new_id)

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace") if self.kind == "text" else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredError:
    """What is kept of a failure so that its card survives a restart.

    Amounts are nano-dollars, or tokens where ``unit`` says so. ``retry_at_ms`` is when it makes sense to send
    again, in milliseconds since the epoch. ``conversation`` and ``per_minute`` tell of one that is paused,
    ``phase`` of a time-out, ``problems`` of an answer that breaks its schema, ``is_beyond_use`` of a ledger.
    """

    kind: str
    message: str
    hint: str = ""
    key_missing: bool = False
    input_tokens: int | None = None
    limit_tokens: int | None = None
    limit_nanodollars: int | None = None
    spent_nanodollars: int | None = None
    held_nanodollars: int | None = None
    unsettled_nanodollars: int = 0
    asked_nanodollars: int | None = None
    held_count: int = 0
    unit: str = "nanodollars"
    limit_name: str = ""
    retry_at_ms: int | None = None
    conversation: str | None = None
    per_minute: int | None = None
    phase: str = ""
    problems: tuple[str, ...] = ()
    may_be_billed: bool = False
    correlation_id: str | None = None
    is_beyond_use: bool = False

    @staticmethod
    def from_error(error: SignalboxError) -> StoredError:
        facts = error.details()
        wait_s = facts.get("retry_after_s")
        told: dict[str, Any] = {
            "message": clean_text(error.message),
            "hint": clean_text(error.hint),
            "key_missing": facts.get("missing", False),
            "problems": tuple(clean_text(problem) for problem in facts.get("problems", ())),
            # A moment, since a wait in seconds means nothing after a restart.
            "retry_at_ms": None if wait_s is None else int((time.time() + wait_s) * 1000),
            "correlation_id": error.correlation_id,
        }
        names = {field.name for field in fields(StoredError)}
        return StoredError(kind=error.kind, **{k: v for k, v in (facts | told).items() if k in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """One node of a conversation's tree.

    A user message and an answer are siblings of their other versions (same ``parent_id``); an answer whose
    parent is an answer continues it. ``result`` is there once the answer ended with one; ``decision`` and
    ``hold_nanodollars`` already when it started. ``options`` are those that an answer was asked with, ``None`` for
    a prompt and for what was asked before they were kept. A ``pinned`` message is kept when the conversation is
    trimmed. ``origin`` is empty for what was asked here, ``COPIED`` in a duplicate (paid for where it was asked),
    and else who answered elsewhere, such as ``ChatGPT, gpt-4o``. ``settled_later`` is what the ledger said of its
    cost after it had ended without a known one.
    """

    id: str
    conversation_id: str
    parent_id: str | None
    role: MessageRole
    text: str
    created_at: datetime
    status: MessageStatus = "done"
    decision: RouteDecision | None = None
    hold_nanodollars: int = 0
    correlation_id: str | None = None
    result: ChatResult | None = None
    error: StoredError | None = None
    attachments: tuple[Attachment, ...] = ()
    pinned: bool = False
    origin: str = ""
    options: ChatOptions | None = None
    settled_later: Spending | None = None

    @property
    def spending(self) -> Spending:
        """What this answer cost as far as it is known."""
        if self.settled_later is not None:
            return self.settled_later
        if self.result is not None:
            return Spending.of(self.result)
        if self.status == "streaming":
            return Spending(held_nanodollars=self.hold_nanodollars)
        return Spending(unsettled_nanodollars=self.hold_nanodollars)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What a conversation's answers add up to. ``spending`` has those, too, that failed before their first word."""

    answers: int = 0
    local_answers: int = 0
    api_answers: int = 0
    spending: Spending = field(default_factory=Spending)

    @property
    def cost_figure(self) -> str:
        """All that the answers cost, in one figure; empty where there is none to tell of."""
        return self.spending.figure or ("No charge" if self.answers and not self.api_answers else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationSummary:
    """A row of the list at the left. ``answered_elsewhere`` means imported answers, whose cost nobody knows."""

    id: str
    title: str
    updated_at: datetime
    totals: Totals = Totals()
    has_draft: bool = False
    pinned: bool = False
    folder: str = ""
    answered_elsewhere: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedConversation:
    """One that can be restored until it goes for good at ``gone_at``."""

    id: str
    title: str
    deleted_at: datetime
    gone_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the page was: a conversation, and the message at the top of the view, ``offset_px`` above its top."""

    conversation_id: str
    message_id: str = ""
    offset_px: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A whole conversation as it was left: every branch, the leaf that was shown, options and draft.

    ``folder`` is empty for none. ``source`` tells what it was imported from, such as ``chatgpt:<its id>``.
    """

    id: str
    title: str
    titled_by_user: bool
    created_at: datetime
    updated_at: datetime
    head_id: str | None
    options: ChatOptions
    draft: str
    messages: tuple[StoredMessage, ...]
    draft_attachments: tuple[Attachment, ...] = ()
    pinned: bool = False
    folder: str = ""
    source: str | None = None
