"""What one request carries on its way: its preparation, its attempts, what has arrived, and what it cost."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

from core.chat import (
    CachePlan,
    CacheSwitchCost,
    ChatRequest,
    ChatResult,
    ContextEconomy,
    OutputProgress,
    PromptProgress,
    ProviderEvent,
    RequestStep,
    RouteDecision,
    Side,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from core.providers import AnswerCollector
from core.routing.circuit_breaker import Breaker, Ticket
from core.routing.request_stream import StopSwitch
from core.routing.timeouts import Deadline
from core.scores import ScoreEntry

if TYPE_CHECKING:
    from core.errors import SignalboxError
    from core.ledger.limits import BudgetAlert
    from core.routing.conversations import LastAnswer
    from core.routing.local_queue import Slot
    from core.routing.machine_time import MachineTime
    from core.telemetry.traces import AttemptTrace, RequestTrace


T = TypeVar("T")

CAUGHT_UP_AFTER_S = 0.003
"""An event that took this long to come was not lying in a socket: the reader has caught up with the provider."""


async def within(deadline: Deadline, work: Awaitable[T], doing: str) -> T:
    """Await ``work`` while there is time. ``doing`` finishes "the deadline passed while ...".

    Raises:
        DeadlineExceeded: there was none left. A ``TimeoutError`` of ``work`` itself passes through.
    """
    left_s = deadline.left_s
    if left_s is None:
        return await work
    timeout = asyncio.timeout(left_s)
    try:
        async with timeout:
            return await work
    except TimeoutError:
        if timeout.expired():
            raise deadline.error(doing) from None
        raise


class ResponseBuffer(AnswerCollector):
    """What has arrived of one attempt so far. Times are ``time.perf_counter`` seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.started = time.perf_counter()
        self.first: float | None = None
        self._first_output: float | None = None
        self._last_output = 0.0
        self.begun = False
        """Something of the answer came, be it unreadable or not shown: it is billed, whatever ends it."""
        self.sent = False
        self._asked = self._caught_up = self.started
        self._live: float | None = None

    def restart(self) -> None:
        """Start the clock: the provider is asked now."""
        self.started = self._asked = self._caught_up = time.perf_counter()
        self._live = None

    def leave(self) -> None:
        """Note that the request's first byte leaves: from now on it may be billed."""
        self.sent = True

    @property
    def seconds(self) -> float:
        """How long the answer has taken so far."""
        return time.perf_counter() - self.started

    @property
    def generation_s(self) -> float | None:
        """How long its output took from the first piece to the last, thinking included; ``None`` without any."""
        return None if self._first_output is None else self._last_output - self._first_output

    @property
    def unseen_s(self) -> float:
        """For how long the provider may have sent more than was read: since an event last had to be waited for.

        Whoever reads slower than it writes leaves pieces in the sockets between.
        """
        return time.perf_counter() - self._caught_up

    def ask(self) -> None:
        """Note that the reader wants the next event now."""
        self._asked = time.perf_counter()

    def add(self, event: ProviderEvent) -> None:
        now = time.perf_counter()
        waited = now - self._asked >= CAUGHT_UP_AFTER_S
        if waited and self._live is not None:
            self._caught_up = self._live
        # A busy loop is late too: the reader had caught up only if what it waited for came alone. Of a pile in
        # the sockets the next event comes at once.
        self._live = self._asked if waited else None
        self._asked = now
        self.sent = True
        if not self.begun:
            is_ping = isinstance(event, OutputProgress) and not (event.hidden_bytes or event.uncounted)
            self.begun = not (is_ping or isinstance(event, PromptProgress))
        shown = isinstance(event, TextDelta | ToolCallDelta)
        if self.first is None and shown:
            self.first = now
        if shown or (isinstance(event, OutputProgress) and (event.hidden_bytes or event.uncounted)):
            self._last_output = now
            if self._first_output is None:
                self._first_output = now
        super().add(event)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRequest:
    """A request as it will be sent, but for its phrasing, with what was found out on the way.

    ``added_bytes`` bounds what any side's template adds. ``last`` is where the conversation's last answer came
    from, ``switching_cost`` what leaving that side would throw away.
    """

    request: ChatRequest
    conversation: str
    added_bytes: int = 0
    last: LastAnswer | None = None
    switching_cost: CacheSwitchCost | None = None
    cache: CachePlan | None = None
    economy: ContextEconomy | None = None

    def without_marks(self) -> PreparedRequest:
        """Return it without cache marks: its worst case is lower."""
        cache = self.cache
        if cache is not None:
            cache = dataclasses.replace(cache, marks=None, reason="near a limit, writing a cache is too dear")
        request = dataclasses.replace(self.request, cache_marks=None)
        return dataclasses.replace(self, request=request, cache=cache)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputCheck:
    """``text`` is the answer's, after safe repairs. ``problems`` say where it breaks the schema.

    ``asking_again`` is the request that shows the model its mistake, ``None`` where asking again can't help.
    ``accepted``: the caller gets it as it is; that may be so although it is not ``valid``, when the caller has seen
    its text already.
    """

    valid: bool
    accepted: bool
    text: str
    repaired: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    asking_again: ChatRequest | None = None
    hint: str = ""


class RequestObservation:
    """What watches one request: its span, the span of the attempt that runs, and the header that names it."""

    def __init__(self, trace: RequestTrace) -> None:
        self.trace = trace
        self.attempt: AttemptTrace | None = None
        self.attempts = 0

    @property
    def traceparent(self) -> str | None:
        return self.attempt.traceparent if self.attempt is not None else None


class KeyClaim(Protocol):
    """A request's hold on its idempotency key; ``core.routing.idempotency.Claim`` is the real one."""

    answer: ChatResult | None
    waited_s: float

    async def keep(self, result: ChatResult) -> None: ...

    def finish(self, result: ChatResult) -> None: ...

    async def fail(self, error: SignalboxError) -> None: ...

    async def release(self) -> None: ...


@dataclass(slots=True)
class Attempt:
    """A request on one side: its row in the ledger, ``number`` of its request, is open until it is settled.

    ``request`` is what is sent: phrased for the model, perhaps asked again. ``shown`` is true once the caller has
    seen a piece of the answer.
    """

    number: int
    decision: RouteDecision
    side: Side
    request: ChatRequest
    breaker: Breaker
    ticket: Ticket
    hold_nanodollars: int
    hold_tokens: int = 0
    slot: Slot | None = None
    machine_time: MachineTime | None = None
    answer: ResponseBuffer = field(default_factory=ResponseBuffer)
    shown: bool = False
    settled: bool = False
    opened_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    text: str | None = None
    """The text after a safe repair, where it differs from what arrived."""

    schema_valid: bool | None = None
    check_result: OutputCheck | None = None
    failure: SignalboxError | None = None
    """Why it ended badly, where another attempt may follow."""


@dataclass(slots=True)
class RequestRun:
    """One request from its arrival to its end. ``attempt`` is the one whose row is open.

    ``earlier_nanodollars`` is the known cash of closed attempts, ``unresolved_nanodollars`` the holds of those
    whose cash is not known. ``line_too_long`` says why the local server's line is not waited for (again).
    """

    request: ChatRequest
    deadline: Deadline
    conversation: str = ""
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    prepared: PreparedRequest | None = None
    attempt: Attempt | None = None
    steps: list[RequestStep] = field(default_factory=list[RequestStep])
    alerts: list[BudgetAlert] = field(default_factory=list["BudgetAlert"])
    retries: int = 0
    fell_back: bool = False
    asked_again: bool = False
    earlier_nanodollars: int = 0
    unresolved_nanodollars: int = 0
    line_too_long: str = ""
    decision: RouteDecision | None = None
    partial: ChatResult | None = None
    score: ScoreEntry | None = None
    wait_reasons: set[str] = field(default_factory=set[str])
    watch: RequestObservation | None = None
    stop: StopSwitch = field(default_factory=StopSwitch)
    replay: ChatResult | None = None
    """The answer of an earlier request with the same key, given again."""

    earlier_usage: Usage | None = None
    claim: KeyClaim | None = None
    """Its hold on its idempotency key, where it has one."""

    @property
    def correlation_id(self) -> str:
        return self.request.correlation_id
