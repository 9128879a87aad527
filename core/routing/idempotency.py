"""This process's answers for repeated requests: the same idempotency key gets the first one's, and pays once.

What other processes answered is in a file (``core.routing.kept_answers``). The ledger refuses a key whose answer
neither has: it knows keys, not texts.
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

ENTRY_BYTES = 4096
"""What a kept answer takes besides its texts, the decision and its signals above all: measured, and rounded up."""

NOT_PART = frozenset({"correlation_id", "source", "deadline_s", "idempotency_key"})
"""Fields of a request that don't change what it asks for. Every other one does, also those added later."""


def key_name(key: str) -> str:
    """Name an idempotency key wherever it is written down: a program may use the prompt itself as its key."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def fingerprint(request: ChatRequest) -> str:
    """Return a hash of everything that matters of ``request``: the same question has the same fingerprint.

    It is the same in every process, and in a later version whose requests have more fields, as long as they are
    at their defaults: those are left out.
    """
    digest = hashlib.blake2b(digest_size=16)
    _feed(digest, {name: value for name, value in _said(request).items() if name not in NOT_PART})
    return digest.hexdigest()


def _said(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that differ from their defaults."""
    said: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        given = getattr(value, field.name)
        if type(given) is not type(field.default) or given != field.default:
            said[field.name] = given
    return said


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
        _feed(digest, _said(value))
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

    def __init__(self, entry: _Entry, *, is_first: bool) -> None:
        self._entry = entry
        self.is_first = is_first

    @property
    def is_replay(self) -> bool:
        """Whether the answer is there already, so that ``answer`` does not wait."""
        return self._entry.result is not None

    async def answer(self) -> ChatResult | None:
        """Wait for the first one's end.

        Raises:
            SignalboxError: the first one failed; its key is free again.
        """
        while not self.is_first:
            entry = self._entry
            if entry.result is not None:
                return entry.result
            if entry.error is not None:
                raise _copy(entry.error)
            if entry.ended:
                # The first was stopped before this one waited: somebody may have taken the key again since.
                other = entry.answers.claim(entry.key, entry.fingerprint)
                self._entry, self.is_first = other.entry, other.is_first
            else:
                await entry.wait(self)
        return None

    @property
    def entry(self) -> _Entry:
        return self._entry

    def finish(self, result: ChatResult, *, age_s: float = 0.0) -> None:
        """Give ``result`` to those who wait for it, and keep it for those who come. It is ``age_s`` seconds old."""
        if self.is_first and not self._entry.ended:
            self._entry.end(result=result, age_s=age_s)

    def fail(self, error: SignalboxError) -> None:
        """Give ``error`` to those who wait; the next one with this key is a first one again."""
        if self.is_first and not self._entry.ended:
            self._entry.end(error=error)

    def release(self) -> None:
        """Step aside: without a ``finish`` or ``fail`` before, the one that waits longest becomes the first."""
        if self.is_first and not self._entry.ended:
            self.is_first = False
            self._entry.hand_on()


@dataclass(slots=True, eq=False)
class _Entry:
    """One key: running until it ``ended``, then with its result (kept), its error, or neither (stopped)."""

    answers: Answers
    key: str
    fingerprint: str
    waiters: OrderedDict[Claim, asyncio.Future[None]] = dataclasses.field(
        default_factory=OrderedDict["Claim", "asyncio.Future[None]"]
    )
    ended: bool = False
    result: ChatResult | None = None
    error: SignalboxError | None = None
    kept_at: float = 0.0
    size_bytes: int = 0

    async def wait(self, claim: Claim) -> None:
        """Return when the first one has ended, or ``claim`` has become the first."""
        waiter = self.waiters[claim] = asyncio.get_running_loop().create_future()
        try:
            await waiter
        except asyncio.CancelledError:
            claim.release()  # it may have become the first in the same moment
            raise
        finally:
            self.waiters.pop(claim, None)

    def hand_on(self) -> None:
        while self.waiters:
            claim, waiter = self.waiters.popitem(last=False)
            if not waiter.done():
                claim.is_first = True
                waiter.set_result(None)
                return
        self.end()

    def end(
        self, *, result: ChatResult | None = None, error: SignalboxError | None = None, age_s: float = 0.0
    ) -> None:
        self.ended, self.result, self.error = True, result, error
        self.answers.ended(self, age_s)
        for waiter in self.waiters.values():
            if not waiter.done():
                waiter.set_result(None)


class Answers:
    """The answers of this process by idempotency key, in memory. ``clock`` returns monotonic seconds.

    Bounded by ``max_entries`` and ``max_bytes`` (the oldest go first) and by ``keep_s`` (a function is asked anew
    each time); requests that still run don't count. All methods belong to one loop.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_BYTES,
        keep_s: float | Callable[[], float] = KEEP_S,
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
    def running(self) -> int:
        """Keys whose first request has not ended."""
        return len(self._running)

    @property
    def kept_bytes(self) -> int:
        """What the kept answers take, about."""
        return self._kept_bytes

    def claim(self, key: str, fingerprint: str) -> Claim:
        """Take ``key`` for a request with this ``fingerprint``, or find who has it.

        Raises:
            DuplicateRequest: a different request has it.
        """
        self._forget_old()
        entry = self._running.get(key) or self._kept.get(key)
        if entry is not None and entry.result is not None and entry.kept_at <= self._oldest:
            self._forget(entry)  # it came from another process, older than those kept before it
            entry = None
        if entry is None:
            entry = self._running[key] = _Entry(self, key, fingerprint)
            return Claim(entry, is_first=True)
        if entry.fingerprint != fingerprint:
            raise DuplicateRequest(
                "This idempotency key was used for a different request.",
                hint="Nothing was sent or charged. Use a new key for a new question.",
            )
        return Claim(entry, is_first=False)

    def ended(self, entry: _Entry, age_s: float) -> None:
        """Take note of a first request's end: an answer is kept, and any other end frees the key."""
        del self._running[entry.key]
        if entry.result is None:
            return
        entry.size_bytes, entry.kept_at = _size_bytes(entry), self._clock() - age_s
        self._kept[entry.key] = entry
        self._kept_bytes += entry.size_bytes
        self._forget_old()

    @property
    def _oldest(self) -> float:
        keep_s = self._keep_s() if callable(self._keep_s) else self._keep_s
        return self._clock() - keep_s

    def _forget(self, entry: _Entry) -> None:
        del self._kept[entry.key]
        self._kept_bytes -= entry.size_bytes

    def _forget_old(self) -> None:
        oldest = self._oldest
        while self._kept:
            entry = next(iter(self._kept.values()))
            within = len(self._kept) <= self._max_entries and self._kept_bytes <= self._max_bytes
            if within and entry.kept_at > oldest:
                return
            self._forget(entry)


def _size_bytes(entry: _Entry) -> int:
    result = entry.result
    assert result is not None
    texts = [entry.key, result.text, *(call.arguments_json for call in result.tool_calls)]
    return ENTRY_BYTES + sum(sys.getsizeof(text) for text in texts)


def _copy(error: SignalboxError) -> SignalboxError:
    """Copy ``error`` for another request: each has its own correlation id and traceback."""
    twin = type(error).__new__(type(error), *error.args)
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    return twin
