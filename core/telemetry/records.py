"""What is told about a finished request: plain values, and no word of its prompt or answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.chat import FinishReason, Rule, Side, Source, Usage

RequestStatus = Literal["done", "stopped", "failed", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """A request at its end, all attempts together.

    ``side``, ``provider`` and the models are those of the attempt that ended it, ``None`` where the request was
    refused before it left. ``model`` is the one asked for and ``served_model`` the one that answered.
    ``cost_nanodollars`` is the cash of all attempts (``None``: unpriced), ``unresolved_nanodollars`` what is
    counted at its hold because the true cost never came. ``loaded_nanodollars`` is the local machine's own cost.
    ``latency_ms`` is from the moment the last attempt was sent, and ``output_tokens_per_s`` was measured of it;
    ``queued_ms`` is what the request waited before. ``wait_reasons`` names each wait once. ``local_overflow`` is a
    local queue that was full or too slow.
    """

    correlation_id: str
    status: RequestStatus
    source: Source = "library"
    project: str | None = None
    side: Side | None = None
    provider: str | None = None
    model: str | None = None
    served_model: str | None = None
    rule: Rule | None = None
    error_kind: str | None = None
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    cost_nanodollars: int | None = 0
    loaded_nanodollars: int | None = None
    unresolved_nanodollars: int = 0
    unresolved_count: int = 0
    latency_ms: float | None = None
    ttft_ms: float | None = None
    output_tokens_per_s: float | None = None
    queued_ms: float = 0.0
    wait_reasons: tuple[str, ...] = ()
    fell_back_from: Side | None = None
    retries: int = 0
    repairs: int = 0
    streamed: bool = True
    replayed: bool = False
    saved_tokens: int = 0
    saved_nanodollars: int | None = None

    @property
    def fell_back(self) -> bool:
        return self.fell_back_from is not None

    @property
    def is_unpriced(self) -> bool:
        """Whether tokens were used whose cost nobody knows."""
        return self.usage is not None and self.cost_nanodollars is None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitGauge:
    """How a limit stands. ``unit`` is ``dollars`` (amounts in nano-dollars) or ``tokens``."""

    name: str
    window: str
    used: int
    held: int
    limit: int | None
    unit: Literal["dollars", "tokens"] = "dollars"
    project: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyGauges:
    """The ledger's standing: what is held, and what is not known. Amounts in nano-dollars."""

    held_count: int
    held_nanodollars: int
    spent_nanodollars: int
    unresolved_count: int
    unresolved_nanodollars: int
    unpriced_count: int
    limits: tuple[LimitGauge, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueGauges:
    """The local queue now. ``None`` is not known (no bound, or no wait to estimate from)."""

    running: int
    waiting: int
    max_concurrent: int | None = None
    expected_wait_s: float | None = None
