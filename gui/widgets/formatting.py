"""How the panel writes figures: units after a space, thousands with a comma, unknown never as zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from core import (
    Spending,
    exact_duration,
    format_cost,
    likely_nanodollars,
    measured_duration,
    own_cost_is_open,
    rough_duration,
)
from core.chat import ChatResult, RouteDecision, Rule, Side, Usage

CostKind = Literal["settled", "estimate", "held", "unpriced", "loaded"]
SIDE_WORDS: dict[Side, str] = {"local": "Local", "api": "API"}
SIDE_ICONS: dict[Side, str] = {"local": "cpu", "api": "cloud"}
NO_CHARGE = "No charge"
NO_CHARGE_WHY = (
    "No money leaves for a local answer. The machine's own cost isn't set; set it in Preferences, Spend."
)
_CLOSING_RULES: frozenset[Rule] = frozenset({"capability", "unavailable", "budget"})
SETTLED_LATER_WHY = "Settled after the answer had ended, as the ledger has it now."
NOT_SETTLED_WHY = (
    "The true cost never came, so it counts as if it had cost all that was held for it, until it is settled with "
    "the provider's bill (Spend, Show what is held)."
)


def side_word(side: Side | None) -> str:
    """Return the word people read for a side; a refused request has none."""
    return "Not sent" if side is None else SIDE_WORDS[side]


def listed(names: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, or ``a, b and c``."""
    return " and ".join([*([", ".join(names[:-1])] if len(names) > 1 else []), *names[-1:]])


def count(number: int) -> str:
    return f"{number:,}"


def seconds(milliseconds: float) -> str:
    """Return seconds with two decimals, as badges write them: ``0.21 s``."""
    return f"{milliseconds / 1000:.2f} s"


def duration(milliseconds: float) -> str:
    """Return ``312 ms`` below a second, then ``1.84 s``, and ``2 min 5 s`` from two minutes on."""
    return measured_duration(milliseconds / 1000)


def about_seconds(seconds_left: float) -> str:
    """Return an estimate that counts down: ``about 8 s``, ``about 2 min``, and ``any moment`` at its end."""
    return "any moment" if round(seconds_left) < 1 else f"about {rough_duration(seconds_left)}"


def time_left(seconds_left: float) -> str:
    """Return ``1 min 10 s left``, and ``any moment`` at its end: the estimate is over before the wait is."""
    return "any moment" if round(seconds_left) < 1 else f"{exact_duration(seconds_left)} left"


def speed(tokens_per_s: float) -> str:
    return f"{tokens_per_s:,.0f} tok/s" if tokens_per_s >= 10 else f"{tokens_per_s:.1f} tok/s"


def token_counts(usage: Usage | None, *, estimated: bool = False) -> str:
    """Return ``2,140 in, 1,820 cached · 512 out``; cached only where there was any.

    ``estimated`` output, of an answer that ended early, has a tilde.
    """
    if usage is None:
        return "Tokens not reported"
    cached = f", {count(usage.cache_read_tokens)} cached" if usage.cache_read_tokens else ""
    mark = "~" if estimated else ""
    return f"{count(usage.input_tokens)} in{cached} · {mark}{count(usage.output_tokens)} out"


def timing(result: ChatResult) -> str:
    """Return ``0.21 s to first · 61 tok/s``, with only what is known; may be empty."""
    parts: list[str] = []
    if result.ttft_ms is not None:
        parts.append(f"{seconds(result.ttft_ms)} to first")
    if result.output_tokens_per_s is not None:
        parts.append(speed(result.output_tokens_per_s))
    return " · ".join(parts)


def refused_why(decision: RouteDecision, side: Side) -> str | None:
    """Return why a side can't take a request, ``None`` where it can: then its price means something."""
    if decision.side == side:
        return None  # it goes there, whatever that side said last
    available = decision.local_available if side == "local" else decision.api_available
    if decision.side is None:
        forced = decision.signals.force
        if forced in (None, side):
            return decision.reason
    elif decision.side != side and decision.rule in _CLOSING_RULES:
        return decision.reason
    refuses = decision.local_refuses if side == "local" else decision.api_refuses
    if refuses:
        return refuses
    return None if available else f"{SIDE_WORDS[side]} is not available"


def side_spending(result: ChatResult, side: Side) -> Spending | None:
    """Return what a request cost on one side, ``None`` for nothing: cash is the API's, ``loaded`` is Local's.

    A local answer after an attempt that the API billed cost something on both.
    """
    spending = Spending.of(result)
    if side == "local":
        own = Spending(loaded_nanodollars=spending.loaded_nanodollars)
        return own if result.side == "local" else None
    cash = replace(spending, loaded_nanodollars=0)
    return cash if result.side == "api" or cash.parts else None


def cost_tooltip(result: ChatResult) -> str:
    """Return how the cost came about, the likely one where it is not settled, and the price version."""
    if result.side == "api":
        if result.replayed:
            return "An earlier answer with the same key. It was not paid again."
        if own_cost_is_open(result):
            likely = likely_nanodollars(result)
            if likely is None:
                return NOT_SETTLED_WHY
            return f"{NOT_SETTLED_WHY} By what arrived it likely cost {format_cost(likely, estimate=True)}."
        if result.usage is None:
            return "The provider reported no usage, so what it charges is not known."
        if result.cost_nanodollars is None:
            return f"No price is known for {result.model}. The answer is counted apart, never as $0."
        if result.usage_estimated:
            return (
                "At most this: the answer was stopped. Input as the provider counted it, output counted from what "
                "arrived and what may have been written since."
            )
        return (
            f"Settled from the reported tokens at the prices of {result.price_version or 'an unknown table'}."
        )
    spending = replace(Spending.of(result), loaded_nanodollars=0)
    paid = f"For an attempt on the API before it: {spending.words}. " if spending.parts else ""
    if result.loaded_nanodollars is None:
        return f"{paid}The machine's own cost isn't set." if paid else NO_CHARGE_WHY
    return (
        f"{paid or 'No money left for it. '}Loaded: the machine's hourly cost over the "
        f"{duration(result.latency_ms)} that this answer kept it busy."
    )
