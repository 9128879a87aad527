"""``signalbox metrics``: the ledger's figures in Prometheus' text format, for node_exporter's textfile collector.

They are made from the ledger, so they are true across restarts and processes. A panel that runs offers its own,
livelier ones on ``METRICS_PORT``.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from core.base.files import write_whole
from core.errors import SignalboxError

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from core.ledger.limits import LimitUsage
    from core.ledger.models import ReportRow
    from core.services.status import CoreStatus

MOST_KEYS = 100
"""Different models that get their own series, the dearest first; the rest is added up as ``other``."""

NOWHERE = "none"
"""Where a request went that was never sent; Prometheus takes an empty label for none at all."""

_NANO = 1_000_000_000
_Kind = Literal["counter", "gauge"]

# Gauges are what a person or a price that becomes known may lower again.
_FIGURES: tuple[tuple[str, str, _Kind, Callable[[ReportRow], float]], ...] = (
    ("requests", "Requests, at the provider that ended them.", "counter", lambda row: row.requests),
    ("attempts", "Requests and those that fell back.", "counter", lambda row: row.attempts),
    ("failed", "Attempts that failed.", "counter", lambda row: row.failed),
    ("stopped", "Attempts that were stopped.", "counter", lambda row: row.stopped),
    ("fallbacks", "Attempts after which the other side was asked.", "counter", lambda row: row.fell_back),
    ("refused", "Requests that were never sent.", "counter", lambda row: row.refused),
    ("cost_dollars", "Settled cash.", "counter", lambda row: row.cost_nanodollars / _NANO),
    ("loaded_dollars", "The machine's own cost.", "counter", lambda row: row.loaded_nanodollars / _NANO),
    ("busy_seconds", "Time of closed attempts.", "counter", lambda row: row.busy_ms / 1000),
    ("unpriced_requests", "Requests without a known price.", "gauge", lambda row: row.unpriced),
    ("unresolved_requests", "Requests whose true cost never came.", "gauge", lambda row: row.unresolved),
    (
        "unresolved_dollars",
        "What those are counted for.",
        "gauge",
        lambda row: row.unresolved_nanodollars / _NANO,
    ),
)
_TOKENS: tuple[tuple[str, Callable[[ReportRow], int]], ...] = (
    ("fresh_input", lambda row: row.input_tokens - row.cached_tokens - row.cache_write_tokens),
    ("cache_read", lambda row: row.cached_tokens),
    ("cache_write", lambda row: row.cache_write_tokens),
    ("output", lambda row: row.output_tokens),
)

_LIMIT_FIGURES: tuple[tuple[str, str, Callable[[LimitUsage], int]], ...] = (
    ("limit", "A limit.", lambda standing: standing.amount),
    ("limit_used", "Used under a limit.", lambda standing: standing.used),
    ("limit_held", "Held under a limit.", lambda standing: standing.held),
)


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("metrics", parents=[common])
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="write FILE at once and whole, instead of standard output"
    )
    parser.set_defaults(command=metrics)


async def metrics(arguments: argparse.Namespace) -> int:
    from core.router_core import RouterCore
    from core.telemetry.metrics import exposition

    async with RouterCore() as core:
        by_provider = await core.ledger.report(None, "provider")
        by_model = await core.ledger.report(None, "model")
        status = await core.status()
    families = [
        *_report("signalbox_ledger", "gen_ai_provider_name", by_provider),
        *_report("signalbox_ledger_model", "gen_ai_request_model", by_model),
        *_budget(status),
    ]
    text = exposition(families)
    if arguments.output is None:
        sys.stdout.write(text)
    else:
        try:
            # node_exporter runs as somebody else, and there is no secret in it; it is made anew each minute or so.
            write_whole(arguments.output, text, mode=0o644, durable=False)
        except OSError as error:
            raise SignalboxError(
                f"{arguments.output} can't be written: {error.strerror or error}.",
                hint="What was there is left as it was.",
            ) from error
    return 0


def _report(prefix: str, label: str, rows: Sequence[ReportRow]) -> Iterator[Metric]:
    from core.telemetry.metrics import family_of

    rows = _bounded(rows)
    for name, help_text, kind, read in _FIGURES:
        values = {(row.key or NOWHERE,): read(row) for row in rows}
        yield family_of(f"{prefix}_{name}", help_text, (label,), values, kind=kind)
    tokens = {(row.key or NOWHERE, kind): float(read(row)) for row in rows for kind, read in _TOKENS}
    yield family_of(
        f"{prefix}_tokens", "Tokens by class; the classes are disjoint.", (label, "token_class"), tokens
    )


def _bounded(rows: Sequence[ReportRow]) -> list[ReportRow]:
    kept, rest = list(rows[:MOST_KEYS]), rows[MOST_KEYS:]
    if rest:
        sums = {
            field.name: sum(getattr(row, field.name) for row in rest)
            for field in dataclasses.fields(rest[0])
            if field.name not in ("key", "day")
        }
        kept.append(dataclasses.replace(rest[0], key="other", **sums))
    return kept


def _budget(status: CoreStatus) -> Iterator[Metric]:
    from core.telemetry.metrics import family_of

    def gauge(name: str, help_text: str, value: float) -> Metric:
        return family_of(f"signalbox_{name}", help_text, (), {(): value}, kind="gauge")

    budget = status.budget
    if budget is not None:
        yield gauge("holds", "Requests under way that hold money.", budget.held_count)
        yield gauge("held_dollars", "Cash set aside for requests under way.", budget.held_nanodollars / _NANO)
        yield gauge(
            "month_spent_dollars",
            "What counts as spent this calendar month, unresolved and unpriced requests at their holds.",
            budget.spent_nanodollars / _NANO,
        )
        yield gauge(
            "month_unpriced_requests", "Requests of this month without a known price.", budget.unpriced_count
        )
        yield gauge(
            "month_unresolved_requests",
            "Requests of this month whose true cost never came.",
            budget.unresolved_count,
        )
    yield from _limits(status.limits)


def _limits(standings: Sequence[LimitUsage]) -> Iterator[Metric]:
    from core.telemetry.metrics import family_of

    for unit, divisor in (("dollars", _NANO), ("tokens", 1)):
        shown = [standing for standing in standings if (standing.unit == "tokens") == (unit == "tokens")]
        for name, help_text, read in _LIMIT_FIGURES:
            values = {_limit_labels(standing): read(standing) / divisor for standing in shown}
            yield family_of(
                f"signalbox_{name}_{unit}", help_text, ("limit", "window", "project"), values, kind="gauge"
            )


def _limit_labels(standing: LimitUsage) -> tuple[str, str, str]:
    limit = standing.limit
    return (limit.name, limit.window, getattr(limit, "project", None) or "")
