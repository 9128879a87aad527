"""What one attempt adds to the sums of its hour and to the totals of its day and month: a pure function.

Every change of a row is written as *new contribution minus old*, so the sums cannot drift from the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.spend.schema import HOUR_KEYS, UNSENT

Row = Mapping[str, Any]
Sums = dict[tuple[Any, ...], list[int]]


def _hour_amounts(row: Row) -> tuple[int, ...]:
    """Return what a closed attempt adds to its hour, in the order of ``HOUR_SUMS``."""
    status = row["status"]
    refused = status == "refused"
    sent = status not in UNSENT
    # An attempt that fell back is superseded: the request counts once, where it ended.
    ended_here = sent and status != "superseded"
    unresolved = row["state"] == "unresolved"
    return (
        int(sent),
        int(ended_here),
        int(status == "failed"),
        int(status == "stopped"),
        int(ended_here and row["number"] > 1),
        int(refused),
        row["fresh_input_tokens"] or 0,
        row["cache_read_tokens"] or 0,
        row["cache_write_5m_tokens"] or 0,
        row["cache_write_1h_tokens"] or 0,
        row["output_tokens"] or 0,
        row["cost_nanodollars"] or 0,
        row["loaded_nanodollars"] or 0,
        int(row["side"] == "local" and row["loaded_nanodollars"] is None),
        row["marginal_nanodollars"] or 0,
        row["busy_us"] or 0,
        int(unresolved),
        row["counted_nanodollars"] if unresolved else 0,
        _unpriced(row),
        row["trimmed_tokens"] or 0,
        row["compressed_tokens"] or 0,
        row["trimming_saved_nanodollars"] or 0,
        row["compression_saved_nanodollars"] or 0,
        row["cache_saved_nanodollars"] or 0,
        _saved_unknown(row),
    )


def _total_amounts(row: Row) -> tuple[int, ...]:
    """Return what an attempt, open or closed, adds to its month and day, in the order of ``TOTAL_SUMS``."""
    status, state = row["status"], row["state"]
    ended_here = int(status != "superseded" and status not in UNSENT)
    local = ended_here if row["side"] == "local" else 0
    if state == "open":
        return (ended_here, local, 0, row["counted_nanodollars"], row["counted_tokens"], 0, 0, 0, 0)
    tokens = 0
    if row["output_tokens"] is not None:
        tokens = (
            row["fresh_input_tokens"]
            + row["cache_read_tokens"]
            + row["cache_write_5m_tokens"]
            + row["cache_write_1h_tokens"]
            + row["output_tokens"]
        )
    nanodollars, counted_tokens = row["counted_nanodollars"], row["counted_tokens"]
    unresolved = state == "unresolved"
    return (
        ended_here,
        local,
        tokens,
        nanodollars,
        counted_tokens,
        int(unresolved),
        nanodollars if unresolved else 0,
        counted_tokens if unresolved else 0,
        _unpriced(row),
    )


def _unpriced(row: Row) -> int:
    return int(row["output_tokens"] is not None and row["cost_nanodollars"] is None)


def _saved_unknown(row: Row) -> int:
    """Say whether something was left out or cached, and nobody knows what that saved."""
    cached = row["cache_read_tokens"] or row["cache_write_5m_tokens"] or row["cache_write_1h_tokens"]
    return int(
        bool(
            (row["trimmed_tokens"] and row["trimming_saved_nanodollars"] is None)
            or (row["compressed_tokens"] and row["compression_saved_nanodollars"] is None)
            or (cached and row["cache_saved_nanodollars"] is None)
        )
    )


def windows(day: str, project: str) -> tuple[tuple[str, str], ...]:
    """Return the totals an attempt of ``day`` belongs to: its month's and its day's, and its project's."""
    everything = ((day[:7], ""), (day, ""))
    return (*everything, (day[:7], project), (day, project)) if project else everything


def change(old: Row | None, new: Row | None) -> tuple[Sums, Sums]:
    """Return what replacing ``old`` by ``new`` adds to the hours and to the totals, by their keys.

    The hours hold closed attempts only: an admission, which somebody waits for, writes two rows less.
    """
    hour_sums: Sums = {}
    for row, sign in ((old, -1), (new, 1)):
        if row is not None and row["state"] != "open":
            key = tuple([row[name] for name in HOUR_KEYS])
            merge(hour_sums, key, [sign * amount for amount in _hour_amounts(row)])
    if old is not None and new is not None:
        # A change keeps its day and project, so one difference serves all its totals.
        before, after = _total_amounts(old), _total_amounts(new)
        amounts = [b - a for a, b in zip(before, after, strict=True)]
    else:
        amounts = [amount if old is None else -amount for amount in _total_amounts(new or old or {})]
    row = new or old or {}
    if not any(amounts):
        return hour_sums, {}
    return hour_sums, {window: amounts for window in windows(row["day"], row["project"])}


def merge(sums: Sums, key: tuple[Any, ...], amounts: list[int]) -> None:
    """Add ``amounts`` to those of ``key``."""
    kept = sums.get(key)
    sums[key] = amounts if kept is None else [a + b for a, b in zip(kept, amounts, strict=True)]
