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
    from core.spend.ledger import Ledger


async def refusal_error(decision: RouteDecision, ledger: Ledger) -> SignalboxError:
    """Return the error for ``decision``, whose ``refusal`` is set."""
    reason = f"{decision.reason}."
    match decision.refusal:
        case "budget":
            return await _over_budget(decision, ledger)
        case "no_key":
            return AuthenticationFailed(
                f"This prompt needs the API, and no Anthropic key is set ({_bare(decision.reason)}).",
                hint="Add a key in Preferences, Keys, or run: signalbox keys set anthropic. Nothing was sent.",
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
                hint="Start the local server, or add an API key in Preferences, Keys. Nothing was sent.",
            )


async def _over_budget(decision: RouteDecision, ledger: Ledger) -> BudgetExceeded:
    budget = (await ledger.standing()).budget
    asked = decision.api_estimate.hold_nanodollars
    return BudgetExceeded(
        f"This prompt doesn't fit under {budget.limit_label}. Its worst case is {format_cost(asked)} and "
        f"{format_cost(budget.free_nanodollars)} is free.",
        hint="Nothing was charged. Raise the limit, lower max tokens, or send it to Local.",
        limit_name="SPEND_LIMIT_DOLLARS",
        limit_nanodollars=budget.limit_nanodollars,
        spent_nanodollars=budget.spent_nanodollars,
        held_nanodollars=budget.held_nanodollars,
        asked_nanodollars=asked,
        held_count=budget.held_count,
    )


def _bare(reason: str) -> str:
    return reason[:1].lower() + reason[1:]
