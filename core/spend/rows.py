"""What goes into the ledger and what comes out of it, as plain values. No prompt or answer is among them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from core.chat import RouteDecision, RoutingMode, Rule, Side, Source, Usage
from core.spend.budget import SpendLimit

OutcomeStatus = Literal["done", "stopped", "failed"]
AttemptStatus = Literal["open", "done", "stopped", "failed", "superseded", "refused"]
AttemptState = Literal["open", "settled", "unresolved", "released"]
ReportKey = Literal["provider", "model", "day", "rule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRequest:
    """A request that is about to leave for ``provider``. ``started_at`` of ``None`` is the ledger's now."""

    correlation_id: str
    side: Side
    provider: str
    model: str
    decision: RouteDecision | None = None
    source: Source = "library"
    project: str | None = None
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldRequest:
    """Cash set aside before an API request leaves: its worst case in nano-dollars.

    ``nanodollars`` of ``None`` is an unpriced model: it is refused while a limit applies, unless
    ``allow_unpriced``, because no limit can be kept on an unknown price. ``expires_s`` seconds later the
    hold counts as left behind even if its owner cannot be checked; it must outlast any request.
    """

    nanodollars: int | None
    limits: tuple[SpendLimit, ...] = ()
    allow_unpriced: bool = False
    expires_s: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The ledger has recorded the request, and the hold if one was asked. Amounts include this hold.

    ``attempt`` is 1, or more after a fallback. ``local_count_today`` counts this request too.
    """

    correlation_id: str
    attempt: int
    hold_nanodollars: int | None
    spent_nanodollars: int
    held_nanodollars: int
    local_count_today: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended.

    ``cost_nanodollars`` is the cash by the price table (``None``: usage or price not known).
    ``may_have_billed`` is asked only when the cost is unknown: false when the request surely cost nothing
    (refused connection, 4xx), and then the hold is released; true keeps it counted as *unresolved*. Times are
    milliseconds since the request was sent. ``loaded_nanodollars`` is the local machine's own cost.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One attempt as it stands. ``counted_nanodollars`` is what it takes from the limit once closed."""

    correlation_id: str
    attempt: int
    started_at: datetime
    day: str
    source: Source
    project: str | None
    mode: RoutingMode | None
    rule: Rule | None
    side: Side
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """Requests by local days. ``seven_day_mean`` is over the last seven whole days of both sides together.

    It averages only days since the ledger began, and is 0.0 on its first day.
    """

    local_today: int
    requests_today: int
    seven_day_mean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Whether the kept sums equal the sums of the rows; ``differences`` says where they do not."""

    attempts: int
    differences: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.differences
