"""Which limits and rates a request has to pass, read from the settings; the ledger keeps them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from core.settings.model import alert_percents, project_limits
from core.spend.budget import Limit, SpendLimit, TokenLimit, Window
from core.spend.money import dollars_to_nano
from core.spend.rows import RateLimit, RunawayLimit

if TYPE_CHECKING:
    from decimal import Decimal

    from core.chat import ChatRequest, Side
    from core.settings import Settings

MONTH_LIMIT = "SPEND_LIMIT_DOLLARS"


def monthly_limit(settings: Settings) -> SpendLimit:
    return _spend_limit(MONTH_LIMIT, settings.spend_limit_dollars)


@lru_cache(maxsize=64)
def _spend_limit(
    name: str, dollars: Decimal, window: Window = "month", project: str | None = None
) -> SpendLimit:
    return SpendLimit(name=name, nanodollars=dollars_to_nano(dollars), window=window, project=project)


def limits_of(settings: Settings, project: str | None = None) -> tuple[Limit, ...]:
    """Return every limit that a request of ``project`` has to pass, the month's first."""
    limits: list[Limit] = [monthly_limit(settings)]
    if settings.daily_spend_limit_dollars is not None:
        limits.append(_spend_limit("DAILY_SPEND_LIMIT_DOLLARS", settings.daily_spend_limit_dollars, "day"))
    of_project = project_limits(settings.project_spend_limits).get(project) if project else None
    if of_project is not None:
        limits.append(_spend_limit("PROJECT_SPEND_LIMITS", of_project, project=project))
    if settings.daily_token_budget is not None:
        limits.append(TokenLimit(name="DAILY_TOKEN_BUDGET", tokens=settings.daily_token_budget))
    return tuple(limits)


def all_limits(settings: Settings) -> tuple[Limit, ...]:
    """Return every limit that is set, those of all projects too."""
    projects = [
        limit
        for project in project_limits(settings.project_spend_limits)
        for limit in limits_of(settings, project)
        if isinstance(limit, SpendLimit) and limit.project is not None
    ]
    return (*limits_of(settings), *projects)


def rates_of(
    settings: Settings, request: ChatRequest, side: Side, conversation: str, *, is_first: bool = True
) -> tuple[RateLimit | RunawayLimit, ...]:
    """Return the request rates that ``request`` has to pass on its way to ``side``.

    A retry or a fallback (not ``is_first``) is the same request still: it passes the API's own rate, which
    counts calls, and no other. A load test is meant to send the same again and again, so the runaway brake leaves
    it alone.
    """
    rates: list[RateLimit | RunawayLimit] = []
    if settings.runaway_requests_per_minute and request.source != "loadtest" and is_first:
        rates.append(RunawayLimit(conversation=conversation, per_minute=settings.runaway_requests_per_minute))
    if settings.max_requests_per_minute is not None and is_first:
        rates.append(RateLimit(name="MAX_REQUESTS_PER_MINUTE", per_minute=settings.max_requests_per_minute))
    if side == "api" and settings.max_api_requests_per_minute is not None:
        rates.append(
            RateLimit(name="MAX_API_REQUESTS_PER_MINUTE", per_minute=settings.max_api_requests_per_minute)
        )
    return tuple(rates)


def alerts_of(settings: Settings) -> tuple[int, ...]:
    """Return the shares of a limit, in percent, at which the user is told."""
    return alert_percents(settings.spend_alert_percents)
