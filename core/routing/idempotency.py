"""Idempotency keys: the first request with a key runs, later ones wait for it and get its answer again.

Two places know answers: this process's memory (``ResponseCache``) and the file of all processes
(``core.routing.idempotency_store``). Within a process one request at a time asks the file. Where the file can't be
used, memory is enough for this process, and the ledger refuses what another one has done: it knows keys, not texts.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from core.chat import ChatRequest, ChatResult, RequestStep, Waiting
from core.errors import DuplicateRequest, SignalboxError
from core.ledger.models import ReplayedRequest
from core.routing.conversations import conversation_of
from core.routing.idempotency_store import IdempotencyStore, KeepingFailed, Lease, StoredAnswer
from core.routing.request_run import RequestRun, within
from core.routing.waiting import OnWait

if TYPE_CHECKING:
    from core.ledger.ledger import Ledger


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


class CacheLookup:
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

    answers: ResponseCache
    key: str
    fingerprint: str
    waiters: OrderedDict[CacheLookup, asyncio.Future[None]] = dataclasses.field(
        default_factory=OrderedDict["CacheLookup", "asyncio.Future[None]"]
    )
    ended: bool = False
    result: ChatResult | None = None
    error: SignalboxError | None = None
    kept_at: float = 0.0
    size_bytes: int = 0

    async def wait(self, claim: CacheLookup) -> None:
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


class ResponseCache:
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

    def claim(self, key: str, fingerprint: str) -> CacheLookup:
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
            return CacheLookup(entry, is_first=True)
        if entry.fingerprint != fingerprint:
            raise DuplicateRequest(
                "This idempotency key was used for a different request.",
                hint="Nothing was sent or charged. Use a new key for a new question.",
            )
        return CacheLookup(entry, is_first=False)

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


log = logging.getLogger(__name__)

FIRST_LOOK_S = 0.05
LAST_LOOK_S = 0.5
"""A request that another process runs is looked at after these seconds: soon at first, then less often."""


class Claim:
    """One request's hold on its key. ``answer`` is the first one's, ``None`` where this one is the first.

    The first one calls ``keep`` before it is settled, then ``finish`` or ``fail``, and always ``release``.
    """

    def __init__(self, claim: CacheLookup, kept: IdempotencyStore | None) -> None:
        self._claim = claim
        self._kept = kept
        self._place: Lease | None = None
        self._runs = False
        self.answer: ChatResult | None = None
        self.waited_s = 0.0

    async def acquire(self, key: str, asked: str, request: ChatRequest, on_wait: OnWait) -> str | None:
        """Wait until there is an answer or this request is the first one; return the request it takes over from.

        Raises:
            DuplicateRequest: a different request has the key.
            SignalboxError: the first one failed, in this process.
        """
        if not self._claim.is_first:
            if not self._claim.is_replay:
                on_wait(_waiting())
            self.answer = await self._claim.answer()
            if self.answer is not None:
                return None
        dead = await self._take_file(key, asked, request, on_wait)
        self._runs = self.answer is None
        return dead

    async def _take_file(self, key: str, asked: str, request: ChatRequest, on_wait: OnWait) -> str | None:
        if self._kept is None or not self._kept.is_on:
            return None
        look_s = 0.0
        while True:
            try:
                found = await self._kept.claim(key, asked, request.correlation_id)
            except KeepingFailed:
                return None  # told in the status; the ledger still refuses what was paid
            if isinstance(found, Lease):
                self._place = found
                return found.after_death_of
            if isinstance(found, StoredAnswer):
                self.answer = found.result
                self._claim.finish(found.result, age_s=found.age_s)
                return None
            if not look_s:
                on_wait(_waiting())
            look_s = min(LAST_LOOK_S, look_s * 2 or FIRST_LOOK_S)
            await asyncio.sleep(look_s)

    async def keep(self, result: ChatResult) -> None:
        """Keep the answer for other processes. Before the ledger knows that it is done, a crash loses none."""
        if (
            self._kept is not None
            and self._place is not None
            and await self._kept.finish(self._place, result)
        ):
            self._place = None

    def finish(self, result: ChatResult) -> None:
        """Give the answer to those in this process who wait for it, and keep it for those who come."""
        self._claim.finish(result)

    async def fail(self, error: SignalboxError) -> None:
        """Give ``error`` to those in this process who wait; other processes try for themselves."""
        await self._give_back()
        if self._runs:
            self._claim.fail(error)
        else:
            self._claim.release()  # it only waited; its deadline is nobody else's

    async def release(self) -> None:
        """Step aside; whoever waits longest in this process goes on, unless there is an answer."""
        try:
            # First, or the one that goes on would find the key taken by its own process.
            await self._give_back()
        finally:
            self._claim.release()

    async def _give_back(self) -> None:
        place, self._place = self._place, None
        if self._kept is not None and place is not None:
            await self._kept.release(place)


class IdempotencyGuard:
    """``kept`` of ``None`` keeps nothing beyond this process."""

    def __init__(
        self, answers: ResponseCache, kept: IdempotencyStore | None, ledger: Callable[[], Ledger]
    ) -> None:
        self._answers = answers
        self._kept = kept
        self._ledger = ledger
        self._has_dead_claims = False

    async def claim_or_wait(self, run: RequestRun, on_wait: OnWait) -> None:
        """Set ``run.claim``, and wait for a first request with the same key, as long as the deadline allows.

        Raises:
            DuplicateRequest: a different request has the key.
            DeadlineExceeded: the first one took too long.
            SignalboxError: the first one failed, in this process.
        """
        key = run.request.idempotency_key
        assert key is not None, "who has no key repeats nothing"
        name, asked = key_name(key), fingerprint(run.request)
        claim = run.claim = Claim(self._answers.claim(name, asked), self._kept)
        waits_since: float | None = None

        def report_wait(waiting: Waiting) -> None:
            nonlocal waits_since
            waits_since = time.perf_counter() if waits_since is None else waits_since
            run.wait_reasons.add(waiting.reason)
            on_wait(waiting)

        dead = await within(
            run.deadline,
            claim.acquire(name, asked, run.request, report_wait),
            "waiting for the first request with this key",
        )
        if waits_since is not None:
            claim.waited_s = time.perf_counter() - waits_since
            if claim.answer is None:
                run.steps.append(
                    RequestStep(
                        kind="waited",
                        detail="Waited for the first request with this key, which ended without an answer",
                        took_ms=claim.waited_s * 1000,
                    )
                )
        if dead is not None:
            log.warning("the process of request %s died with its idempotency key", dead)
            self._has_dead_claims = True
        if self._has_dead_claims:
            await self._bury()

    async def _bury(self) -> None:
        """Close what dead processes left open: their rows would still hold their keys, and their money.

        Where that fails, or is cancelled, the next request with any key tries again.
        """
        left = await self._ledger().recover()
        self._has_dead_claims = False
        if left.count:
            log.warning("%d requests of dead processes count at their hold now", left.count)

    async def replayed(self, run: RequestRun) -> ChatResult:
        """Return the first one's answer as ``run``'s own, not paid again, and keep a row of it."""
        claim = run.claim
        assert claim is not None
        first = claim.answer
        assert first is not None
        step = RequestStep(
            kind="replayed", detail=f"The answer of request {first.correlation_id} with the same key"
        )
        result = dataclasses.replace(
            first,
            replayed=True,
            replay_of=first.correlation_id,
            first_cost_nanodollars=first.cost_nanodollars,
            correlation_id=run.correlation_id,
            cost_nanodollars=0,
            loaded_nanodollars=0,
            marginal_nanodollars=0 if first.marginal_nanodollars is not None else None,
            unresolved_nanodollars=0,
            savings=None,
            steps=(*run.steps, step),
            queued_ms=claim.waited_s * 1000,
        )
        log.info("the answer of request %s is given again", first.correlation_id)
        assert run.request.idempotency_key is not None
        try:
            await self._ledger().replay(
                ReplayedRequest(
                    correlation_id=run.correlation_id,
                    replay_of=first.correlation_id,
                    source=run.request.source,
                    project=run.request.project,
                    decision=first.decision,
                    conversation=conversation_of(run.request),
                    idempotency_key=key_name(run.request.idempotency_key),
                )
            )
        except SignalboxError as trouble:
            log.warning("the replay could not be recorded: %s", trouble)
        return result


def _waiting() -> Waiting:
    return Waiting("first_answer", "The first request with this key is still running.")
