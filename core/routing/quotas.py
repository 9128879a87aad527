"""Limits and rates as the settings give them, where today stands under them, and the error of a refusal."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from core.chat import RouteDecision
from core.errors import (
    AuthenticationFailed,
    BudgetExceeded,
    ContextTooLong,
    InvalidRequest,
    SignalboxError,
    Unavailable,
)
from core.ledger.limits import Budget, Limit, LimitUsage, SpendLimit, TokenLimit, Window
from core.ledger.models import RateLimit, RunawayLimit
from core.pricing.money import dollars_to_nano, format_cost
from core.pricing.spending import unsettled_amount
from core.settings.model import alert_percents, project_limits

if TYPE_CHECKING:
    from decimal import Decimal

    from core.chat import ChatRequest, Side
    from core.ledger.ledger import Ledger
    from core.ledger.limits import LimitUsage
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


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaSnapshot:
    """``daily_requests`` is the larger of today's requests on both sides and their 7-day mean.

    ``limits`` are those a request has to pass, the month's first; ``tightest`` is the spend limit that leaves
    least, and ``limit_label`` names it. ``free_tokens`` is what the day's token budget leaves, if there is one.
    """

    local_requests_today: int
    daily_requests: float
    budget: Budget
    limits: tuple[LimitUsage, ...]
    tightest: LimitUsage
    limit_label: str
    free_nanodollars: int
    free_tokens: int | None


def month_name(window_label: str) -> str:
    """Return ``November`` for ``2026-11``."""
    return calendar.month_name[int(window_label[5:7])]


async def read_standing(ledger: Ledger, settings: Settings, project: str | None = None) -> QuotaSnapshot:
    """Read the counts and what is free for a request of ``project``.

    Raises:
        LedgerUnavailable: they can't be read.
    """
    volume, limits, budget = await ledger.standing(limits_of(settings, project))
    spend = [standing for standing in limits if isinstance(standing.limit, SpendLimit)]
    tokens = [standing.free for standing in limits if not isinstance(standing.limit, SpendLimit)]
    tightest = min(spend, key=lambda standing: standing.free)
    return QuotaSnapshot(
        local_requests_today=volume.local_today,
        daily_requests=max(float(volume.requests_today), volume.seven_day_mean),
        budget=budget,
        limits=limits,
        tightest=tightest,
        limit_label=label_of(tightest),
        free_nanodollars=tightest.free,
        free_tokens=min(tokens) if tokens else None,
    )


def label_of(standing: LimitUsage) -> str:
    """Return a limit's name for a sentence: ``November's $500 limit``, ``today's 100,000-token budget``."""
    limit = standing.limit
    if not isinstance(limit, SpendLimit):
        return f"today's {limit.tokens:,}-token budget"
    when = "today" if limit.window == "day" else month_name(standing.window_label)
    of_project = f" for project {limit.project}" if limit.project else ""
    return f"{when}'s {format_cost(limit.nanodollars)} limit{of_project}"


def refusal_error(decision: RouteDecision, standing: QuotaSnapshot) -> SignalboxError:
    """Return the error for ``decision``, whose ``refusal`` is set."""
    error = _refusal(decision, standing)
    if isinstance(error, InvalidRequest):
        error.unasked = True
    return error


def _refusal(decision: RouteDecision, standing: QuotaSnapshot) -> SignalboxError:
    reason = f"{decision.reason}."
    match decision.refusal:
        case "budget":
            return _over_budget(decision, standing)
        case "no_key":
            return AuthenticationFailed(
                "This prompt needs the API, and no Anthropic key is set."
                if decision.local_available
                else "Local isn't available, and no Anthropic key is set.",
                hint="Set ANTHROPIC_API_KEY, run signalbox keys set anthropic, or add it in Preferences, "
                "Providers. Nothing was sent.",
                missing=True,
            )
        case "context_too_long":
            return ContextTooLong(
                reason,
                hint="Shorten the prompt, lower max tokens, or send it to the other side. Nothing was sent.",
                input_tokens=decision.signals.input_tokens,
            )
        case "capability":
            return InvalidRequest(
                reason, hint="Leave that out, or send it to a side that takes it. Nothing was sent."
            )
        case _:
            return Unavailable(
                reason,
                hint=decision.refusal_hint
                or "Start the local server, or add an API key (ANTHROPIC_API_KEY, or Preferences, Providers).",
            )


def _over_budget(decision: RouteDecision, standing: QuotaSnapshot) -> BudgetExceeded:
    signals = decision.signals
    tokens = signals.input_tokens_bound + signals.max_output_tokens
    if standing.free_tokens is not None and tokens > standing.free_tokens:
        return _over_tokens(tokens, standing)
    tight = standing.tightest
    asked = decision.api_estimate.hold_nanodollars
    # What unpriced requests count for is in it.
    spent = format_cost(tight.settled, estimate=bool(tight.estimated and tight.settled))
    return BudgetExceeded(
        f"This prompt doesn't fit under {standing.limit_label}. Its worst case is {format_cost(asked)} and "
        f"{format_cost(tight.free)} is free: {spent} is spent{_unsettled(tight)} and "
        f"{format_cost(tight.held)} is held{_holders(tight)}.",
        hint="Nothing was charged. Raise the limit, lower max tokens, or send it to Local.",
        limit_name=tight.limit.name,
        limit_nanodollars=tight.amount,
        spent_nanodollars=tight.used,
        held_nanodollars=tight.held,
        asked_nanodollars=asked,
        held_count=tight.held_count,
        unsettled_nanodollars=tight.unresolved,
    )


def _over_tokens(asked: int, standing: QuotaSnapshot) -> BudgetExceeded:
    tight = min(
        (entry for entry in standing.limits if not isinstance(entry.limit, SpendLimit)),
        key=lambda entry: entry.free,
    )
    return BudgetExceeded(
        f"This prompt doesn't fit under {label_of(tight)}. It may take up to {asked:,} tokens and {tight.free:,} "
        f"are free: {tight.used:,} are used and {tight.held:,} are held{_holders(tight)}.",
        hint="Nothing was charged. Raise DAILY_TOKEN_BUDGET, lower max tokens, or send it to Local.",
        limit_name=tight.limit.name,
        limit_nanodollars=tight.amount,
        spent_nanodollars=tight.used,
        held_nanodollars=tight.held,
        asked_nanodollars=asked,
        held_count=tight.held_count,
        unsettled_nanodollars=tight.unresolved,
        unit="tokens",
    )


def _unsettled(tight: LimitUsage) -> str:
    """Name what is counted under this limit although its true cost never came."""
    return f", {unsettled_amount(tight.unresolved)} is not settled" if tight.unresolved else ""


def _holders(tight: LimitUsage) -> str:
    if not tight.held_count:
        return ""
    return " by 1 running request" if tight.held_count == 1 else f" by {tight.held_count:,} running requests"
