"""May this attempt begin? Every limit and every rate, asked of the books inside the transaction that holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from core.errors import RateExceeded, RunawayPaused
from core.ledger.limits import Limit, LimitUsage, TokenLimit, check_limit, project_of, window_of
from core.ledger.models import Rate, RateLimit
from core.ledger.sliding_window import TooSoon, begin
from core.ledger.totals import RateState

if TYPE_CHECKING:
    from core.ledger.mapping import AttemptStart
    from core.ledger.totals import Held, RunningTotals


def now_standing(books: RunningTotals, limit: Limit, day: str) -> LimitUsage:
    """Return how much of a limit is taken, this transaction's own changes included."""
    project = project_of(limit)
    window = window_of(limit, day)
    total, held = books.total(window, project or ""), books.held(project)
    return standing_of(limit, window, total, held)


def taken(books: RunningTotals, limit: Limit, day: str) -> int:
    """Return what is used and held of a limit."""
    used, held, _, _ = _taken(books, limit, day)
    return used + held


def _taken(books: RunningTotals, limit: Limit, day: str) -> tuple[int, int, int, int]:
    """Return what ``now_standing`` says of the same limit: used, held, how many hold it, and unresolved."""
    project = project_of(limit)
    total, held = books.total(window_of(limit, day), project or ""), books.held(project)
    if isinstance(limit, TokenLimit):
        return total["counted_tokens"], held.tokens, held.token_count, total["unresolved_tokens"]
    return total["counted_nanodollars"], held.nanodollars, held.count, total["unresolved_nanodollars"]


def standing_of(limit: Limit, window: str, total: Mapping[str, Any], held: Held) -> LimitUsage:
    if isinstance(limit, TokenLimit):
        return LimitUsage(
            limit=limit,
            window_label=window,
            used=total["counted_tokens"],
            held=held.tokens,
            held_count=held.token_count,
            unresolved=total["unresolved_tokens"],
            unresolved_count=total["unresolved"],
        )
    return LimitUsage(
        limit=limit,
        window_label=window,
        used=total["counted_nanodollars"],
        held=held.nanodollars,
        held_count=held.count,
        unresolved=total["unresolved_nanodollars"],
        unresolved_count=total["unresolved"],
        estimated=bool(total["unpriced"]),
    )


def check_admission(books: RunningTotals, start: AttemptStart, day: str) -> None:
    """Let the attempt pass exactly when it fits under every limit.

    Raises:
        BudgetExceeded: it does not fit under the limit that is named.
    """
    for limit in start.limits:
        amount = start.tokens if isinstance(limit, TokenLimit) else start.nanodollars
        if amount is None and start.allow_unpriced:
            continue
        used, held, held_count, unresolved = _taken(books, limit, day)
        check_limit(limit, asked=amount, used=used, held=held, held_count=held_count, unresolved=unresolved)


def pass_rates(books: RunningTotals, rates: Sequence[Rate], now_us: int) -> dict[str, RateState]:
    """Return the states to keep when the attempt conforms to every rate; none is used up here.

    Raises:
        RateExceeded: a request rate holds.
        RunawayPaused: the conversation waits for a person, or passes its own rate just now and is to be paused.
    """
    passed: dict[str, RateState] = {}
    for rate in sorted(rates, key=lambda rate: isinstance(rate, RateLimit)):
        key = rate_key(rate)
        kept = books.rate(key)
        if kept.paused_us is not None and not isinstance(rate, RateLimit):
            raise paused(rate.conversation, kept.per_minute)
        answer = begin(kept.log, now_us, rate.per_minute)
        if not isinstance(answer, TooSoon):
            passed[key] = RateState(answer.log, None, rate.per_minute)
        elif isinstance(rate, RateLimit):
            wait_s = answer.wait_us / 1e6
            raise RateExceeded(
                f"{rate.name} holds: {rate.per_minute:,} requests a minute have begun.",
                hint=f"Send it again in {wait_s:.1f} s, or raise {rate.name}.",
                limit_name=rate.name,
                retry_after_s=wait_s,
                turns=tuple((at_us / 1e6, count) for at_us, count in answer.turns),
            )
        else:
            raise paused(rate.conversation, rate.per_minute)
    return passed


def rate_key(rate: Rate) -> str:
    return f"limit:{rate.name}" if isinstance(rate, RateLimit) else conversation_key(rate.conversation)


def conversation_key(conversation: str) -> str:
    return f"conversation:{conversation}"


def paused(conversation: str, per_minute: int) -> RunawayPaused:
    return RunawayPaused(
        f"This conversation sent more than {per_minute:,} requests in a minute, like a loop, and is paused.",
        hint=f"Look at what sends them; then signalbox resume {conversation} lets it go on.",
        conversation=conversation,
        per_minute=per_minute,
    )
