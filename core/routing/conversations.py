"""Which requests belong to one conversation, and where its last answer came from. Texts are hashed, never kept."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from core.chat import CacheLifetime, ChatRequest, Message, Side, Usage

HASH_BYTES = 8
"""64 bits: two of a million conversations share a hash with a probability of 3 in 100 million."""

MAX_ENTRIES = 10_000

KEPT_HASHES = 1
"""Of a prompt's hashes only the whole prompt's is kept: all those of 10,000 long chats would take 100 MB."""


def conversation_of(request: ChatRequest) -> str:
    """Return the hash that all requests of one conversation share, as 16 hexadecimal digits.

    ``conversation_id`` decides where it is set; else the system prompt and the first user message do.
    """
    if request.conversation_id is not None:
        return _hash(b"id", request.conversation_id.encode("utf-8", "surrogatepass"))
    first = next((message for message in request.messages if message.role == "user"), None)
    digest = hashlib.blake2b(b"begin", digest_size=HASH_BYTES)
    digest.update(_piece(request.system or ""))
    if first is not None:
        digest.update(_message(first))
    return digest.hexdigest()


def prefix_hashes(request: ChatRequest) -> tuple[str, ...]:
    """Return one hash for each message: of the whole prompt up to and with it, tools and system prompt first.

    Two requests whose prompts begin alike share their first hashes, and a provider that caches prompts has that
    part already. Model and options are not in it.
    """
    digest = _beginning(request)
    hashes: list[str] = []
    update, read = digest.update, digest.digest  # looked up once: a chat of 20 turns is hashed in 20 µs
    for message in request.messages:
        update(_message(message))
        hashes.append(read().hex())
    return tuple(hashes)


def system_hash(request: ChatRequest) -> str:
    """Return the hash of what stands before the first message: tools and system prompt."""
    return _beginning(request).hexdigest()


def _beginning(request: ChatRequest) -> hashlib.blake2b:
    digest = hashlib.blake2b(digest_size=HASH_BYTES)
    for tool in request.tools:
        parameters = json.dumps(tool.parameters, default=_plain, separators=(",", ":"))
        digest.update(_piece(tool.name, tool.description, parameters))
    digest.update(b"system")
    digest.update(_piece(request.system or ""))
    return digest


def _message(message: Message) -> bytes:
    text = message.text
    if not (message.images or message.tool_calls or message.tool_call_id):
        return f"{message.role}{len(text)}:{text};".encode("utf-8", "surrogatepass")
    pieces = [message.role, text, message.tool_call_id or ""]
    for image in message.images:
        pieces += ("image", image.media_type, image.data_base64)
    for call in message.tool_calls:
        pieces += ("call", call.id, call.name, call.arguments_json)
    return _piece(*pieces)


def _piece(*texts: str) -> bytes:
    """Join texts so that no two different lists look the same: each says its length."""
    pieces = [f"{len(text)}:{text}" for text in texts]
    return f"{len(texts)}({''.join(pieces)});".encode("utf-8", "surrogatepass")


def _hash(kind: bytes, data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=HASH_BYTES, person=kind).hexdigest()


def _plain(value: Any) -> Any:
    return dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastAnswer:
    """Where a conversation's last answer came from, and what of its prompt is warm there.

    ``at`` is the clock's time of the answer's end, in seconds. ``prefix_tokens`` are the tokens that server has
    seen: the whole input and the answer; ``None`` where it reported no usage. ``prefix`` is the last hash of
    the request's ``prefix_hashes``: a prompt that continues it has it among its own.
    """

    side: Side
    model: str
    at: float
    provider: str = ""
    usage: Usage | None = None
    prefix: tuple[str, ...] = ()

    @property
    def prefix_tokens(self) -> int | None:
        return None if self.usage is None else self.usage.total_tokens

    @property
    def cached_tokens(self) -> int | None:
        """Input tokens that are in the provider's cache by its own report: read from it, or written to it."""
        if self.usage is None:
            return None
        usage = self.usage
        return usage.cache_read_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens

    @property
    def cache_lifetime(self) -> CacheLifetime:
        """How long the API keeps it, at most, by what was written last."""
        return "1h" if self.usage is not None and self.usage.cache_write_1h_tokens > 0 else "5m"


@dataclass(slots=True)
class _Entry:
    latest: Side
    by_side: dict[Side, LastAnswer]


class Conversations:
    """The last answers of the conversations seen most recently, at most ``max_entries`` of them, in memory.

    ``clock`` returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float], max_entries: int = MAX_ENTRIES) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def remember(
        self,
        conversation: str,
        side: Side,
        model: str,
        usage: Usage | None,
        *,
        provider: str = "",
        prefix: tuple[str, ...] = (),
    ) -> None:
        """Note an answer that has just ended. The least recently used conversations are forgotten."""
        answer = LastAnswer(
            side=side,
            model=model,
            at=self._clock(),
            provider=provider,
            usage=usage,
            prefix=prefix[-KEPT_HASHES:],
        )
        entry = self._entries.get(conversation)
        if entry is None:
            entry = self._entries[conversation] = _Entry(side, {})
        entry.latest = side
        entry.by_side[side] = answer
        self._entries.move_to_end(conversation)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    def last(self, conversation: str, side: Side | None = None) -> LastAnswer | None:
        """Return the last answer, or the last one of ``side``; ``None`` for a conversation that is not known."""
        entry = self._entries.get(conversation)
        if entry is None:
            return None
        self._entries.move_to_end(conversation)
        return entry.by_side.get(side or entry.latest)

    def forget_side(self, side: Side) -> None:
        """What was warm on ``side`` is gone: its server was restarted, or is another one."""
        for entry in self._entries.values():
            answer = entry.by_side.get(side)
            if answer is not None:
                entry.by_side[side] = replace(answer, usage=None, prefix=())
