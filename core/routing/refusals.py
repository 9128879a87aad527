"""Turns a decision that refuses into the typed error that says what happened, what was kept and what to do."""

from __future__ import annotations

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
from core.spend.money import format_cost

if TYPE_CHECKING:
    from core.routing.standing import Standing


def refusal_error(decision: RouteDecision, standing: Standing) -> SignalboxError:
    """Return the error for ``decision``, whose ``refusal`` is set."""
    reason = f"{decision.reason}."
    match decision.refusal:
        case "budget":
            return _over_budget(decision, standing)
        case "no_key":
            return AuthenticationFailed(
                "This prompt needs the API, and no Anthropic key is set."
                if decision.local_available
                else "Local isn't available, and no Anthropic key is set.",
                hint="Set ANTHROPIC_API_KEY, run signalbox keys set anthropic, or add it in Preferences, Keys. "
                "Nothing was sent.",
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
                or "Start the local server, or add an API key (ANTHROPIC_API_KEY, or Preferences, Keys).",
            )


def _over_budget(decision: RouteDecision, standing: Standing) -> BudgetExceeded:
    budget = standing.budget
    asked = decision.api_estimate.hold_nanodollars
    return BudgetExceeded(
        f"This prompt doesn't fit under {standing.limit_label}. Its worst case is {format_cost(asked)} and "
        f"{format_cost(standing.free_nanodollars)} is free: {format_cost(budget.spent_nanodollars)} is spent "
        f"({format_cost(budget.unresolved_nanodollars)} of it unresolved) and "
        f"{format_cost(budget.held_nanodollars)} is held by {budget.held_count} running.",
        hint="Nothing was charged. Raise the limit, lower max tokens, or send it to Local.",
        limit_name="SPEND_LIMIT_DOLLARS",
        limit_nanodollars=budget.limit_nanodollars or 0,
        spent_nanodollars=budget.spent_nanodollars,
        held_nanodollars=budget.held_nanodollars,
        asked_nanodollars=asked,
        held_count=budget.held_count,
    )
