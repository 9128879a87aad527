"""Where today stands when a request arrives: the counts that the volume rule reads, and the money that is free."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.spend.budget import Budget, SpendLimit
from core.spend.money import dollars_to_nano, format_cost

if TYPE_CHECKING:
    from core.settings import Settings
    from core.spend.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """``daily_requests`` is the larger of today's requests on both sides and their 7-day mean."""

    local_requests_today: int
    daily_requests: float
    budget: Budget
    free_nanodollars: int
    limit_label: str


def monthly_limit(settings: Settings) -> SpendLimit:
    return SpendLimit(name="SPEND_LIMIT_DOLLARS", nanodollars=dollars_to_nano(settings.spend_limit_dollars))


def month_name(window_label: str) -> str:
    """Return ``November`` for ``2026-11``."""
    return calendar.month_name[int(window_label[5:7])]


async def read_standing(ledger: Ledger, settings: Settings) -> Standing:
    """Read the counts and the money.

    Raises:
        LedgerUnavailable: they can't be read.
    """
    limit = monthly_limit(settings)
    volume, budget = await ledger.today(limit)
    return Standing(
        local_requests_today=volume.local_today,
        daily_requests=max(float(volume.requests_today), volume.seven_day_mean),
        budget=budget,
        free_nanodollars=budget.free_nanodollars or 0,
        limit_label=f"{month_name(budget.window_label)}'s {format_cost(limit.nanodollars)} limit",
    )
