"""Where today stands when a request arrives: the counts that the volume rule reads, and what the limits leave."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.routing.limits import limits_of
from core.spend.budget import Budget, LimitStanding, SpendLimit
from core.spend.money import format_cost

if TYPE_CHECKING:
    from core.settings import Settings
    from core.spend.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """``daily_requests`` is the larger of today's requests on both sides and their 7-day mean.

    ``limits`` are those a request has to pass, the month's first; ``tightest`` is the spend limit that leaves
    least, and ``limit_label`` names it. ``free_tokens`` is what the day's token budget leaves, if there is one.
    """

    local_requests_today: int
    daily_requests: float
    budget: Budget
    limits: tuple[LimitStanding, ...]
    tightest: LimitStanding
    limit_label: str
    free_nanodollars: int
    free_tokens: int | None


def month_name(window_label: str) -> str:
    """Return ``November`` for ``2026-11``."""
    return calendar.month_name[int(window_label[5:7])]


async def read_standing(ledger: Ledger, settings: Settings, project: str | None = None) -> Standing:
    """Read the counts and what is free for a request of ``project``.

    Raises:
        LedgerUnavailable: they can't be read.
    """
    volume, limits, budget = await ledger.standing(limits_of(settings, project))
    spend = [standing for standing in limits if isinstance(standing.limit, SpendLimit)]
    tokens = [standing.free for standing in limits if not isinstance(standing.limit, SpendLimit)]
    tightest = min(spend, key=lambda standing: standing.free)
    return Standing(
        local_requests_today=volume.local_today,
        daily_requests=max(float(volume.requests_today), volume.seven_day_mean),
        budget=budget,
        limits=limits,
        tightest=tightest,
        limit_label=label_of(tightest),
        free_nanodollars=tightest.free,
        free_tokens=min(tokens) if tokens else None,
    )


def label_of(standing: LimitStanding) -> str:
    """Return a limit's name for a sentence: ``November's $500 limit``, ``today's 100,000-token budget``."""
    limit = standing.limit
    if not isinstance(limit, SpendLimit):
        return f"today's {limit.tokens:,}-token budget"
    when = "today" if limit.window == "day" else month_name(standing.window_label)
    of_project = f" for project {limit.project}" if limit.project else ""
    return f"{when}'s {format_cost(limit.nanodollars)} limit{of_project}"
