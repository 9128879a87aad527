"""Answers kept for repeated requests: the same idempotency key gets the first one's answer, and pays once.

The ledger refuses a key whose answer another process has, or that was kept too long ago: it knows keys, not texts.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from core.chat import ChatRequest, ChatResult
from core.errors import DuplicateRequest, SignalboxError

KEEP_S = 24 * 3600.0
MAX_ENTRIES = 10_000
MAX_BYTES = 64 * 2**20

RESULT_BYTES = 4096
"""What a kept answer takes besides its texts: the decision with its signals, measured and rounded up."""

NOT_PART = frozenset({"correlation_id", "source", "deadline_s", "idempotency_key"})
"""Fields of a request that don't change what it asks for. Every other one does, also those added later."""


def fingerprint(request: ChatRequest) -> str:
    """Return a hash of everything that matters of ``request``: the same question has the same fingerprint."""
    digest = hashlib.blake2b(digest_size=16)
    for field in dataclasses.fields(request):
        if field.name not in NOT_PART:
            _feed(digest, field.name)
            _feed(digest, getattr(request, field.name))
    return digest.hexdigest()


def _feed(digest: hashlib.blake2b, value: Any) -> None:
    """Add ``value`` so that no two different values look the same: each piece says its type and length."""
    if value is None or isinstance(value, bool):
        digest.update(b"n" if value is None else b"t" if value else b"f")
    elif isinstance(value, int | float):
        # 1 and 1.0 ask for the same.
        whole = isinstance(value, int) or value.is_integer()
        _feed_bytes(digest, b"i", str(int(value)).encode() if whole else repr(value).encode())
    elif isinstance(value, str):
        _feed_bytes(digest, b"s", value.encode("utf-8", "surrogatepass"))
    elif dataclasses.is_dataclass(value):
        _feed(digest, {field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    elif isinstance(value, Mapping):
        entries = cast("Mapping[Any, Any]", value)
        digest.update(b"m%d;" % len(entries))
        for name in sorted(entries, key=str):
            _feed(digest, name)
            _feed(digest, entries[name])
    elif isinstance(value, Sequence):
        items = cast("Sequence[Any]", value)
        digest.update(b"l%d;" % len(items))
        for item in items:
            _feed(digest, item)
    else:
        _feed_bytes(digest, b"o", repr(value).encode("utf-8", "surrogatepass"))


def _feed_bytes(digest: hashlib.blake2b, kind: bytes, data: bytes) -> None:
    digest.update(kind + b"%d;" % len(data))
    digest.update(data)


class Claim:
    """What a request found under its key.

    ``is_first``: run it, then call ``finish`` or ``fail``, and ``release`` whatever happens. Otherwise
    ``await answer()``: it returns the first one's answer, raises its error, or returns ``None`` when the first was
    stopped and this claim ``is_first`` now.
    """

    def __init__(self, answers: Answers, entry: _Entry, *, is_first: bool) -> None:
        self._answers = answers
        self._entry = entry
        self.is_first = is_first

    @property
    def is_replay(self) -> bool:
        """Whether the answer is there already, so that ``answer`` does not wait."""
        return self._entry.result is not None

    async def answer(self) -> ChatResult | None:
        """Wait for the first one's end. :raises SignalboxError: it failed; the key is free again."""
        return await self._answers._answer(self, self._entry)  # pyright: ignore[reportPrivateUsage]

    def finish(self, result: ChatResult) -> None:
        """Give ``result`` to those who wait for it, and keep it for those who come."""
        if self.is_first:
            self._answers._finish(self._entry, result)  # pyright: ignore[reportPrivateUsage]

    def fail(self, error: SignalboxError) -> None:
        """Give ``error`` to those who wait; the next one with this key is a first one again."""
        if self.is_first:
            self._answers._fail(self._entry, error)  # pyright: ignore[reportPrivateUsage]

    def release(self) -> None:
        """Step aside: without a ``finish`` or ``fail`` before, the one that waits longest becomes the first."""
        if self.is_first:
            self._answers._release(self._entry)  # pyright: ignore[reportPrivateUsage]


@dataclass(slots=True, eq=False)
class _Entry:
    """One key: running while ``result`` is ``None``."""

    key: str
    fingerprint: str
    waiters: OrderedDict[Claim, asyncio.Future[ChatResult | None]]
    result: ChatResult | None = None
    kept_at: float = 0.0
    size_bytes: int = 0
    ended: bool = False


class Answers:
    """The answers of this process by idempotency key, in memory. ``clock`` returns monotonic seconds.

    Bounded by ``max_entries`` and ``max_bytes`` (the oldest go first) and by ``keep_s``; requests that still run
    don't count. All methods belong to one loop.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_BYTES,
        keep_s: float = KEEP_S,
    ) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._keep_s = keep_s
        self._running: dict[str, _Entry] = {}
        self._kept: OrderedDict[str, _Entry] = OrderedDict()
        self._kept_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def kept_bytes(self) -> int:
        """What the kept answers take, about."""
        return self._kept_bytes

    def claim(self, key: str, fingerprint: str) -> Claim:
        """Take ``key`` for a request with this ``fingerprint``, or find who has it.

        :raises DuplicateRequest: a different request has it.
        """
        self._forget_old()
        entry = self._running.get(key) or self._kept.get(key)
        if entry is None:
            entry = _Entry(key, fingerprint, OrderedDict())
            self._running[key] = entry
            return Claim(self, entry, is_first=True)
        if entry.fingerprint != fingerprint:
            raise DuplicateRequest(
                "This idempotency key was used for a different request.",
                hint="Use a new key for a new question; nothing was sent or charged.",
            )
        return Claim(self, entry, is_first=False)

    async def _answer(self, claim: Claim, entry: _Entry) -> ChatResult | None:
        if entry.result is not None or claim.is_first:
            return entry.result
        if entry.ended:
            # It ended between this claim and the question: take the key again, as a newcomer.
            again = self.claim(entry.key, entry.fingerprint)
            claim._entry, claim.is_first = again._entry, again.is_first  # pyright: ignore[reportPrivateUsage]
            return None if claim.is_first else await self._answer(claim, again._entry)  # pyright: ignore[reportPrivateUsage]
        waiter: asyncio.Future[ChatResult | None] = asyncio.get_running_loop().create_future()
        entry.waiters[claim] = waiter
        try:
            return await waiter
        except asyncio.CancelledError:
            if claim.is_first:  # it became the first in the same moment: the next one is
                self._release(entry)
            raise
        finally:
            entry.waiters.pop(claim, None)

    def _finish(self, entry: _Entry, result: ChatResult) -> None:
        if entry.ended:
            return
        self._end(entry)
        entry.result = result
        for waiter in entry.waiters.values():
            if not waiter.done():
                waiter.set_result(result)
        entry.size_bytes = _size_bytes(result)
        if entry.size_bytes <= self._max_bytes and self._max_entries > 0:
            entry.kept_at = self._clock()
            self._kept[entry.key] = entry
            self._kept_bytes += entry.size_bytes
            self._forget_old()

    def _fail(self, entry: _Entry, error: SignalboxError) -> None:
        if entry.ended:
            return
        self._end(entry)
        for waiter in entry.waiters.values():
            if not waiter.done():
                waiter.set_exception(_copy(error))

    def _release(self, entry: _Entry) -> None:
        if entry.ended:
            return
        while entry.waiters:
            claim, waiter = entry.waiters.popitem(last=False)
            if not waiter.done():
                claim.is_first = True
                waiter.set_result(None)
                return
        self._end(entry)

    def _end(self, entry: _Entry) -> None:
        entry.ended = True
        del self._running[entry.key]

    def _forget_old(self) -> None:
        oldest = self._clock() - self._keep_s
        while self._kept:
            entry = next(iter(self._kept.values()))
            within = len(self._kept) <= self._max_entries and self._kept_bytes <= self._max_bytes
            if within and entry.kept_at > oldest:
                return
            del self._kept[entry.key]
            self._kept_bytes -= entry.size_bytes


def _size_bytes(result: ChatResult) -> int:
    texts = [result.text, *(call.arguments_json for call in result.tool_calls)]
    texts += [step.detail for step in result.steps]
    return RESULT_BYTES + sum(sys.getsizeof(text) for text in texts)


def _copy(error: SignalboxError) -> SignalboxError:
    """Copy ``error`` for another request: each has its own correlation id and traceback."""
    twin = type(error).__new__(type(error), *error.args)
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    return twin
