"""An attempt's row in each of its states, as a plain dictionary of its columns: pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.chat import Savings, Usage
from core.ledger import schema
from core.ledger.limits import Limit, resolve
from core.ledger.models import HoldRequest, NewRequest, Outcome, Rate, RefusedRequest, ReplayedRequest
from core.ledger.process_identity import ProcessIdentity
from core.ledger.totals import Row
from core.price_modifiers import modifiers_text, with_modifiers

_USAGE = (
    "fresh_input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "thinking_tokens",
)
CLOSING = (
    "status",
    "state",
    "cost_nanodollars",
    "counted_nanodollars",
    "counted_tokens",
    "loaded_nanodollars",
    "marginal_nanodollars",
    "price_version",
    "served_model",
    "latency_ms",
    "ttft_ms",
    "busy_us",
    "error_kind",
    "ended_us",
    *_USAGE,
    "service_tier",
    "trimmed_tokens",
    "compressed_tokens",
    "trimming_saved_nanodollars",
    "compression_saved_nanodollars",
    "cache_saved_nanodollars",
)
COLUMNS = tuple(column.name for column in schema.attempts.c if column.name != "id")
_EMPTY: Mapping[str, Any] = {**dict.fromkeys(COLUMNS), "hold_tokens": 0, "counted_tokens": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When an operation was asked for, by the user's clock."""

    at: datetime

    @property
    def day(self) -> str:
        return self.at.date().isoformat()

    @property
    def us(self) -> int:
        return microseconds(self.at)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStart:
    """Everything an attempt begins with, and what it wants to hold under which limits.

    ``started`` is the request's own moment, ``now`` the asking. ``failed`` is how the attempt before it ended,
    ``None`` for a request's first. The request, the number, ``started`` and the process name one beginning: asked
    for again, it is the same.
    """

    record: NewRequest
    hold: HoldRequest | None
    rates: tuple[Rate, ...]
    started: Moment
    now: Moment
    decision_json: str | None
    number: int = 1
    failed: Outcome | None = None

    @property
    def nanodollars(self) -> int | None:
        """The cash that it wants to hold; ``None`` has no known price. A local attempt costs no cash."""
        return self.hold.nanodollars if self.hold is not None and self.record.side == "api" else 0

    @property
    def tokens(self) -> int:
        return self.hold.tokens if self.hold is not None and self.record.side == "api" else 0

    @property
    def limits(self) -> tuple[Limit, ...]:
        return self.hold.limits if self.hold is not None else ()

    @property
    def alert_percents(self) -> tuple[int, ...]:
        return self.hold.alert_percents if self.hold is not None else ()

    @property
    def allow_unpriced(self) -> bool:
        return self.hold is not None and self.hold.allow_unpriced


def new_row(start: AttemptStart, owner: ProcessIdentity) -> dict[str, Any]:
    """Return the row of an attempt that begins, all columns but the id that it gets."""
    record, decision = start.record, start.record.decision
    started_us = start.started.us
    expires_s = start.hold.expires_s if start.hold is not None else 3600.0
    return {
        **_EMPTY,
        "correlation_id": record.correlation_id,
        "number": start.number,
        "started_us": started_us,
        "hour": started_us // 3_600_000_000,
        "day": start.started.day,
        "source": record.source,
        "project": record.project or "",
        "mode": decision.mode if decision else None,
        "rule": decision.rule if decision else "",
        "side": record.side,
        "provider": record.provider,
        "model": record.model,
        "status": "open",
        "state": "open",
        "hold_nanodollars": start.nanodollars,
        "hold_tokens": start.tokens,
        "counted_nanodollars": 0,
        "owner_host": owner.host,
        "owner_pid": owner.pid,
        "owner_started": owner.started,
        "expires_us": started_us + int(expires_s * 1e6),
        "decision_json": start.decision_json,
        "conversation": record.conversation,
        "idempotency_key": record.idempotency_key,
    }


def refused_row(
    record: RefusedRequest, now: Moment, owner: ProcessIdentity, decision_json: str | None
) -> dict[str, Any]:
    """Return the row of a request that was never sent."""
    return {
        **_unsent_row(record, now, owner, decision_json),
        "status": "refused",
        "error_kind": record.error_kind,
    }


def replayed_row(
    record: ReplayedRequest, now: Moment, owner: ProcessIdentity, decision_json: str | None
) -> dict[str, Any]:
    """Return the row of a request that got an earlier one's answer."""
    return {
        **_unsent_row(record, now, owner, decision_json),
        "status": "replayed",
        "replay_of": record.replay_of,
        "idempotency_key": record.idempotency_key,
    }


def _unsent_row(
    record: RefusedRequest | ReplayedRequest, now: Moment, owner: ProcessIdentity, decision_json: str | None
) -> dict[str, Any]:
    decision = record.decision
    return {
        **_EMPTY,
        "correlation_id": record.correlation_id,
        "number": 1,
        "started_us": now.us,
        "hour": now.us // 3_600_000_000,
        "day": now.day,
        "source": record.source,
        "project": record.project or "",
        "mode": decision.mode if decision else None,
        "rule": decision.rule if decision else "",
        "side": "",
        "provider": "",
        "model": "",
        "state": "released",
        "hold_nanodollars": 0,
        "cost_nanodollars": 0,
        "counted_nanodollars": 0,
        "ended_us": now.us,
        "owner_host": owner.host,
        "owner_pid": owner.pid,
        "owner_started": owner.started,
        "expires_us": now.us,
        "decision_json": decision_json,
        "conversation": record.conversation,
    }


def closing(row: Row, outcome: Outcome, status: str, ended_us: int) -> dict[str, Any]:
    """Return the columns that a closed attempt changes."""
    usage = outcome.usage
    resolution = resolve(
        row["side"],
        hold_nanodollars=row["hold_nanodollars"],
        hold_tokens=row["hold_tokens"],
        cost_nanodollars=outcome.cost_nanodollars,
        used_tokens=usage.total_tokens if usage is not None else None,
        may_have_billed=outcome.may_have_billed,
    )
    return {
        "status": status,
        "state": resolution.state,
        "cost_nanodollars": resolution.cost_nanodollars,
        "counted_nanodollars": resolution.counted_nanodollars,
        "counted_tokens": resolution.counted_tokens,
        "loaded_nanodollars": outcome.loaded_nanodollars,
        "marginal_nanodollars": outcome.marginal_nanodollars,
        "price_version": outcome.price_version,
        "served_model": outcome.model,
        "latency_ms": outcome.latency_ms,
        "ttft_ms": outcome.ttft_ms,
        "busy_us": None if outcome.latency_ms is None else round(outcome.latency_ms * 1000),
        "error_kind": outcome.error_kind,
        "ended_us": ended_us,
        **{name: getattr(usage, name) if usage else None for name in _USAGE},
        "service_tier": modifiers_text(usage) if usage else None,
        **saved_columns(outcome.savings),
    }


def usage_of(row: Row) -> Usage | None:
    """Return the usage that ``closing`` wrote; ``None`` where none was reported."""
    if row["output_tokens"] is None:
        return None
    return with_modifiers(Usage(**{name: row[name] for name in _USAGE}), row["service_tier"])


def saved_columns(savings: Savings | None) -> dict[str, int | None]:
    return {
        "trimmed_tokens": savings.trimmed_tokens if savings else None,
        "compressed_tokens": savings.compressed_tokens if savings else None,
        "trimming_saved_nanodollars": savings.trimming_nanodollars if savings else None,
        "compression_saved_nanodollars": savings.compression_nanodollars if savings else None,
        "cache_saved_nanodollars": savings.cache_nanodollars if savings else None,
    }


def microseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)
