"""What one request carries on its way: its attempts, what has arrived, the steps taken and what they cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from core.chat import (
    ChatRequest,
    ChatResult,
    ProviderEvent,
    RequestStep,
    RouteDecision,
    ScoreEntry,
    Side,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from core.providers import AnswerCollector
from core.routing.circuit_breaker import Breaker, Ticket
from core.routing.timeouts import Deadline

if TYPE_CHECKING:
    from core.errors import SignalboxError
    from core.ledger.limits import BudgetAlert
    from core.ledger.models import Admission
    from core.routing.idempotency import Claim
    from core.routing.local_queue import Slot
    from core.routing.machine_time import MachineTime
    from core.routing.observers import RequestObservation
    from core.routing.output_check import OutputCheck
    from core.routing.preparation import PreparedRequest


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
        self.sent = False
        self._asked = self._caught_up = self.started

    def restart(self) -> None:
        """Start the clock: the request leaves now."""
        self.started = self._asked = self._caught_up = time.perf_counter()
        self.sent = True

    @property
    def seconds(self) -> float:
        """How long the answer has taken so far."""
        return time.perf_counter() - self.started

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
        if now - self._asked >= CAUGHT_UP_AFTER_S:
            self._caught_up = now
        self._asked = now
        if self.first is None and isinstance(event, TextDelta | ToolCallDelta):
            self.first = now
        super().add(event)


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
    arrived: float = field(default_factory=time.perf_counter)
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
    told: bool = False
    switching: asyncio.Future[Admission] | None = None
    """The ledger's own write of the next attempt; it is never half done."""

    result: ChatResult | None = None
    """The whole answer, once it is settled."""

    earlier_usage: Usage | None = None
    repeat: Claim | None = None
    """Its hold on its idempotency key, where it has one."""

    @property
    def correlation_id(self) -> str:
        return self.request.correlation_id
