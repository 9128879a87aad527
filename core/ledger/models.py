"""What goes into the ledger and what comes out of it, as plain values. No prompt or answer is among them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from core.chat import RouteDecision, RoutingMode, Rule, Savings, Side, Source, Usage
from core.ledger.limits import BudgetAlert, Limit
from core.pricing.spending import Spending

OutcomeStatus = Literal["done", "stopped", "failed"]
AttemptStatus = Literal["open", "done", "stopped", "failed", "superseded", "refused", "replayed"]
AttemptState = Literal["open", "settled", "unresolved", "released"]
ReportKey = Literal["provider", "model", "day", "rule", "side", "source", "project"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRequest:
    """A request that is about to leave for ``provider``. ``started_at`` of ``None`` is the ledger's now.

    ``conversation`` is a hash that names its conversation. ``idempotency_key``: no other request with this key
    may be running or done within a day.
    """

    correlation_id: str
    side: Side
    provider: str
    model: str
    decision: RouteDecision | None = None
    source: Source = "library"
    project: str | None = None
    conversation: str | None = None
    idempotency_key: str | None = None
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldRequest:
    """What is set aside before an API request leaves: its worst case in nano-dollars and in tokens.

    ``nanodollars`` of ``None`` is an unpriced model: it is refused while a spend limit applies, unless
    ``allow_unpriced``, because no limit can be kept on an unknown price. ``tokens`` is the bound of its input and
    its most output. ``expires_s`` seconds later the hold counts as left behind even if its owner cannot be checked;
    it must outlast any request. ``alert_percents`` are the shares of each limit that are told once a window.

    Raises:
        ValueError: an amount is below 0, which would make room under a limit.
    """

    nanodollars: int | None
    tokens: int = 0
    limits: tuple[Limit, ...] = ()
    alert_percents: tuple[int, ...] = ()
    allow_unpriced: bool = False
    expires_s: float = 3600.0

    def __post_init__(self) -> None:
        if (self.nanodollars or 0) < 0 or self.tokens < 0:
            raise ValueError("a hold can't be below 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """At most ``per_minute`` requests that begin in a minute, all processes together (``name`` is the setting)."""

    name: str
    per_minute: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunawayLimit:
    """A ``conversation`` with more than ``per_minute`` requests in a minute is paused until it is resumed."""

    conversation: str
    per_minute: int


Rate = RateLimit | RunawayLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class PausedConversation:
    """A conversation that sent like a loop. ``per_minute`` is the limit it passed, at ``since``."""

    conversation: str
    since: datetime
    per_minute: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRequest:
    """A request that was never sent, kept for the record: it counts as refused and as nothing else."""

    correlation_id: str
    error_kind: str
    source: Source = "library"
    project: str | None = None
    decision: RouteDecision | None = None
    conversation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedRequest:
    """A request that got the answer of an earlier one, ``replay_of``: kept for the record, and counted nowhere."""

    correlation_id: str
    replay_of: str
    source: Source = "library"
    project: str | None = None
    decision: RouteDecision | None = None
    conversation: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The ledger has recorded the request, and the hold if one was asked. Amounts include this hold.

    ``attempt`` is 1, or more after a fallback. ``alerts`` are told to nobody else.
    """

    correlation_id: str
    attempt: int
    hold_nanodollars: int | None
    spent_nanodollars: int
    held_nanodollars: int
    alerts: tuple[BudgetAlert, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Whether a result is written and changed anything (so it is true or false), and what it crossed."""

    saved: bool
    alerts: tuple[BudgetAlert, ...] = ()

    def __bool__(self) -> bool:
        return self.saved


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended.

    ``cost_nanodollars`` is the cash by the price table (``None``: usage or price not known).
    ``may_have_billed`` is asked only when the cost is unknown: false when the request surely cost nothing
    (refused connection, 4xx), and then the hold is released; true keeps it counted as *unresolved*. Times are
    milliseconds since the request was sent. ``loaded_nanodollars`` is the local machine's own cost, and
    ``marginal_nanodollars`` the part of it that this request caused (its electricity). ``savings`` goes with the
    usage.
    """

    status: OutcomeStatus
    usage: Usage | None = None
    cost_nanodollars: int | None = None
    may_have_billed: bool = True
    latency_ms: float | None = None
    ttft_ms: float | None = None
    error_kind: str | None = None
    model: str | None = None
    price_version: str | None = None
    loaded_nanodollars: int | None = None
    marginal_nanodollars: int | None = None
    savings: Savings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What the start-up found left behind by processes that are gone.

    ``count`` API holds are now *unresolved*: counted at their hold, ``nanodollars`` in all.
    ``local_count`` local requests were cut off too; they cost no cash.
    """

    count: int
    nanodollars: int
    local_count: int
    correlation_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """A group of attempts. ``cost_nanodollars`` is settled cash; ``unresolved_nanodollars`` comes on top.

    ``requests`` counts each request once, at the provider that ended it; ``attempts`` also counts those that
    fell back. ``input_tokens`` includes the cached ones. ``unpriced`` requests have no known cost.
    ``loaded_unknown`` local attempts have no known machine cost, so ``loaded_nanodollars`` is not all of it.
    ``refused`` requests were never sent. ``busy_ms`` adds up how long the closed attempts took.
    ``day`` is set in a report by days.

    What was saved is told by what saved it (see ``Savings``); ``saved_unknown`` attempts had something left out or
    cached, and nobody knows what that saved, so the amounts are not all of it.
    """

    key: str
    requests: int
    attempts: int
    failed: int
    stopped: int
    fell_back: int
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    cost_nanodollars: int
    loaded_nanodollars: int
    unresolved: int
    unresolved_nanodollars: int
    unpriced: int
    marginal_nanodollars: int = 0
    loaded_unknown: int = 0
    refused: int = 0
    busy_ms: int = 0
    trimmed_tokens: int = 0
    compressed_tokens: int = 0
    trimming_saved_nanodollars: int = 0
    compression_saved_nanodollars: int = 0
    cache_saved_nanodollars: int = 0
    saved_unknown: int = 0
    day: str | None = None

    @property
    def saved_nanodollars(self) -> int:
        """What is known to be saved in all; below 0 where the cache's writes have not paid for themselves."""
        return (
            self.trimming_saved_nanodollars
            + self.compression_saved_nanodollars
            + self.cache_saved_nanodollars
        )

    @property
    def has_savings(self) -> bool:
        """Whether anything was left out, or a cache made a difference."""
        return bool(
            self.saved_nanodollars or self.trimmed_tokens or self.compressed_tokens or self.saved_unknown
        )

    @property
    def spending(self) -> Spending:
        """What the group cost; an answer that was stopped is settled at most at what it may have cost."""
        return Spending(
            spent_nanodollars=self.cost_nanodollars,
            estimated=bool(self.stopped and self.cost_nanodollars),
            unsettled_nanodollars=self.unresolved_nanodollars,
            unpriced=self.unpriced,
            loaded_nanodollars=self.loaded_nanodollars,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One attempt as it stands. ``counted_nanodollars`` and ``counted_tokens`` are what it takes from the limits
    once closed. A refused or replayed request has no side and no provider (``""``); ``replay_of`` names the request
    whose answer a replayed one got.
    """

    correlation_id: str
    attempt: int
    started_at: datetime
    day: str
    source: Source
    project: str | None
    mode: RoutingMode | None
    rule: Rule | None
    side: Side | Literal[""]
    provider: str
    model: str
    served_model: str | None
    status: AttemptStatus
    state: AttemptState
    hold_nanodollars: int | None
    cost_nanodollars: int | None
    counted_nanodollars: int
    loaded_nanodollars: int | None
    price_version: str | None
    usage: Usage | None
    latency_ms: float | None
    ttft_ms: float | None
    error_kind: str | None
    decision_json: str | None
    marginal_nanodollars: int | None = None
    hold_tokens: int = 0
    counted_tokens: int = 0
    conversation: str | None = None
    idempotency_key: str | None = None
    savings: Savings | None = None
    replay_of: str | None = None

    @property
    def spending(self) -> Spending:
        """What it cost as far as that is known; a request's is the sum over its attempts."""
        if self.side != "api":
            return Spending(loaded_nanodollars=self.loaded_nanodollars or 0)
        if self.state == "open":
            return Spending(held_nanodollars=self.hold_nanodollars or 0)
        if self.state == "unresolved":
            return Spending(unsettled_nanodollars=self.counted_nanodollars)
        if self.cost_nanodollars is None:
            return Spending(unpriced=1)
        # One that was stopped is settled by what arrived; one that was settled by hand has no usage.
        estimated = self.status == "stopped" and self.usage is not None and self.cost_nanodollars > 0
        return Spending(spent_nanodollars=self.cost_nanodollars, estimated=estimated)


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """Requests by local days. ``seven_day_mean`` is over the last seven whole days of both sides together.

    It averages only days since the ledger began, and is 0.0 on its first day.
    """

    local_today: int
    requests_today: int
    seven_day_mean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Repriced:
    """``count`` rows got a cost, ``nanodollars`` in all; ``still_unpriced`` rows still have none."""

    count: int
    nanodollars: int
    still_unpriced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmedLimit:
    """Whether a limit was seen to refuse what is too much and to pass what fits; ``detail`` says what was seen."""

    limit_name: str
    armed: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Whether the kept sums equal the sums of the rows; ``differences`` says where they do not."""

    attempts: int
    differences: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.differences
