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
from core.routing.standing import label_of
from core.spend.budget import SpendLimit
from core.spend.money import format_cost

if TYPE_CHECKING:
    from core.routing.standing import Standing
    from core.spend.budget import LimitStanding


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
    signals = decision.signals
    tokens = signals.input_tokens_bound + signals.max_output_tokens
    if standing.free_tokens is not None and tokens > standing.free_tokens:
        return _over_tokens(tokens, standing)
    tight = standing.tightest
    asked = decision.api_estimate.hold_nanodollars
    return BudgetExceeded(
        f"This prompt doesn't fit under {standing.limit_label}. Its worst case is {format_cost(asked)} and "
        f"{format_cost(tight.free)} is free: {format_cost(tight.used)} is spent{_unresolved(tight)} and "
        f"{format_cost(tight.held)} is held{_holders(tight)}.",
        hint="Nothing was charged. Raise the limit, lower max tokens, or send it to Local.",
        limit_name=tight.limit.name,
        limit_nanodollars=tight.amount,
        spent_nanodollars=tight.used,
        held_nanodollars=tight.held,
        asked_nanodollars=asked,
        held_count=tight.held_count,
    )


def _over_tokens(asked: int, standing: Standing) -> BudgetExceeded:
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
        unit="tokens",
    )


def _unresolved(tight: LimitStanding) -> str:
    """Name what is counted under this limit although its true cost never came."""
    return f" ({format_cost(tight.unresolved)} of it unresolved)" if tight.unresolved else ""


def _holders(tight: LimitStanding) -> str:
    if not tight.held_count:
        return ""
    return " by 1 running request" if tight.held_count == 1 else f" by {tight.held_count:,} running requests"
