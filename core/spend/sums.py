"""What one attempt adds to the sums of its hour and to the totals of its day and month: a pure function.

Every change of a row is written as *new contribution minus old*, so the sums cannot drift from the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.spend.schema import HOUR_KEYS, HOUR_SUMS, TOTAL_SUMS

Row = Mapping[str, Any]
Sums = dict[tuple[Any, ...], list[int]]

_TOKENS = (
    "fresh_input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
)


def _facts(row: Row) -> dict[str, int]:
    """Return every figure of an attempt that some sum adds up."""
    refused = row["status"] == "refused"
    # An attempt that fell back is superseded: the request counts once, where it ended.
    ended_here = row["status"] != "superseded" and not refused
    local = row["side"] == "local"
    unresolved = row["state"] == "unresolved"
    closed = row["state"] != "open"
    usage_known = row["output_tokens"] is not None
    facts = {name: row[name] or 0 for name in _TOKENS}
    facts.update(
        attempts=int(not refused),
        requests=int(ended_here),
        local_requests=int(ended_here and local),
        failed=int(row["status"] == "failed"),
        stopped=int(row["status"] == "stopped"),
        fell_back=int(ended_here and row["number"] > 1),
        refused=int(refused),
        tokens=sum(facts.values()),
        cost_nanodollars=row["cost_nanodollars"] or 0,
        counted_nanodollars=row["counted_nanodollars"],
        counted_tokens=row["counted_tokens"],
        loaded_nanodollars=row["loaded_nanodollars"] or 0,
        loaded_unknown=int(local and closed and row["loaded_nanodollars"] is None),
        marginal_nanodollars=row["marginal_nanodollars"] or 0,
        busy_us=row["busy_us"] or 0,
        unresolved=int(unresolved),
        unresolved_nanodollars=row["counted_nanodollars"] if unresolved else 0,
        unresolved_tokens=row["counted_tokens"] if unresolved else 0,
        unpriced=int(closed and usage_known and row["cost_nanodollars"] is None),
    )
    return facts


def windows(day: str, project: str) -> tuple[tuple[str, str], ...]:
    """Return the totals an attempt of ``day`` belongs to: its month's and its day's, and its project's."""
    everything = ((day[:7], ""), (day, ""))
    return (*everything, (day[:7], project), (day, project)) if project else everything


def change(old: Row | None, new: Row | None) -> tuple[Sums, Sums]:
    """Return what replacing ``old`` by ``new`` adds to the hours and to the totals, by their keys.

    The hours hold closed attempts only: an admission, which somebody waits for, writes two rows less.
    """
    hour_sums: Sums = {}
    total_sums: Sums = {}
    for row, sign in ((old, -1), (new, 1)):
        if row is None:
            continue
        facts = _facts(row)
        if row["state"] != "open":
            key = tuple([row[name] for name in HOUR_KEYS])
            _add(hour_sums, key, [sign * facts[name] for name in HOUR_SUMS])
        amounts = [sign * facts[name] for name in TOTAL_SUMS]
        for window in windows(row["day"], row["project"]):
            _add(total_sums, window, amounts)
    return _without_zeros(hour_sums), _without_zeros(total_sums)


def _add(sums: Sums, key: tuple[Any, ...], amounts: list[int]) -> None:
    kept = sums.get(key)
    sums[key] = amounts if kept is None else [a + b for a, b in zip(kept, amounts, strict=True)]


def _without_zeros(sums: Sums) -> Sums:
    return {key: amounts for key, amounts in sums.items() if any(amounts)}
