"""What attempts saved: their true usage priced as it is, and as it would have been.

One pricing function prices both, so a saving is the difference of two bills, with tiers and service tier in them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.chat import Savings, Usage
from core.ledger.models import LedgerRow, ReportRow
from core.pricing.money import format_cost


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedRow:
    """What a past attempt cost, and what it saved, now that its price is known."""

    nanodollars: int
    version: str
    savings: Savings | None


def savings_of(
    usage: Usage, *, trimmed_tokens: int, compressed_tokens: int, price: Callable[[Usage], int | None]
) -> Savings:
    """Return what was saved of ``usage``'s bill. ``price`` returns nano-dollars, ``None`` where not known.

    What was left out is priced as fresh input: nobody knows whether it would have been cached.
    """
    uncompressed = _with_fresh(usage, compressed_tokens)
    untrimmed = _with_fresh(uncompressed, trimmed_tokens)
    uncached = dataclasses.replace(
        usage,
        fresh_input_tokens=usage.input_tokens,
        cache_read_tokens=0,
        cache_write_5m_tokens=0,
        cache_write_1h_tokens=0,
    )

    def saved(without: Usage, with_it: Usage) -> int | None:
        if without == with_it:
            return 0  # nothing was left out or cached, whatever it costs
        more, less = price(without), price(with_it)
        return None if more is None or less is None else more - less

    return Savings(
        trimmed_tokens=trimmed_tokens,
        compressed_tokens=compressed_tokens,
        trimming_nanodollars=saved(untrimmed, uncompressed),
        compression_nanodollars=saved(uncompressed, usage),
        cache_nanodollars=saved(uncached, usage),
    )


def priced_row(row: LedgerRow, price: Callable[[LedgerRow], tuple[int, str] | None]) -> PricedRow | None:
    """Price a past attempt by ``price`` (nano-dollars, version); ``None`` where it does not know."""
    found = price(row)
    if found is None:
        return None
    savings = row.savings
    if savings is not None and row.usage is not None:

        def priced(usage: Usage) -> int | None:
            priced = price(dataclasses.replace(row, usage=usage))
            return None if priced is None else priced[0]

        savings = savings_of(
            row.usage,
            trimmed_tokens=savings.trimmed_tokens,
            compressed_tokens=savings.compressed_tokens,
            price=priced,
        )
    return PricedRow(nanodollars=found[0], version=found[1], savings=savings)


def saved_words(rows: Sequence[ReportRow]) -> str:
    """Return ``$0.0900: caching $0.0540, trimming $0.0360 (about 12,000 tokens)``; empty if nothing was saved."""
    if not any(row.has_savings for row in rows):
        return ""
    caching = sum(row.cache_saved_nanodollars for row in rows)
    parts = [f"caching {format_cost(caching)}"] if caching else []
    for what, tokens, nanodollars in (
        (
            "trimming",
            sum(row.trimmed_tokens for row in rows),
            sum(row.trimming_saved_nanodollars for row in rows),
        ),
        (
            "compression",
            sum(row.compressed_tokens for row in rows),
            sum(row.compression_saved_nanodollars for row in rows),
        ),
    ):
        if tokens:
            parts.append(f"{what} {format_cost(nanodollars)} (about {tokens:,} tokens)")
    unknown = sum(row.saved_unknown for row in rows)
    if unknown:
        parts.append(f"what {unknown:,} request{'s'[: unknown != 1]} saved is not known")
    return f"{format_cost(sum(row.saved_nanodollars for row in rows))}: {', '.join(parts)}"


def _with_fresh(usage: Usage, tokens: int) -> Usage:
    return dataclasses.replace(usage, fresh_input_tokens=usage.fresh_input_tokens + tokens)
