"""How the panel writes figures: units after a space, thousands with a comma, unknown never as zero."""

from __future__ import annotations

from typing import Literal

from core import exact_duration, format_cost, measured_duration, rough_duration
from core.chat import ChatResult, Side, Usage

CostKind = Literal["settled", "estimate", "held", "unpriced", "cash", "loaded"]
SIDE_WORDS: dict[Side, str] = {"local": "Local", "api": "API"}
SIDE_ICONS: dict[Side, str] = {"local": "cpu", "api": "cloud"}
NO_CHARGE = "No charge"
NO_CHARGE_WHY = (
    "No money leaves for a local answer. The machine's own cost isn't set; set it in Preferences, Spend."
)


def side_word(side: Side | None) -> str:
    """Return the word people read for a side; a refused request has none."""
    return "Not sent" if side is None else SIDE_WORDS[side]


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
    """Return ``1 min 10 s left``."""
    return f"{exact_duration(seconds_left)} left"


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


def cost_of(result: ChatResult) -> tuple[int | None, CostKind]:
    """Return what a result shows as its cost, and how: the cash on the API side, the machine's own on Local.

    A local answer after an attempt that the API billed shows the cash that left.
    """
    if result.side == "api":
        if result.cost_nanodollars is None:
            return None, "unpriced"
        return result.cost_nanodollars, "estimate" if result.usage_estimated else "settled"
    if result.cost_nanodollars:
        return result.cost_nanodollars, "cash"
    return result.loaded_nanodollars, "loaded"


def settled_on(result: ChatResult, side: Side) -> tuple[int | None, CostKind] | None:
    """Return what settled on one side, ``None`` for nothing: cash is the API's, the machine's own cost Local's."""
    if side == "local":
        return (result.loaded_nanodollars, "loaded") if result.side == "local" else None
    if result.side == "api":
        return cost_of(result)
    return (result.cost_nanodollars, "cash") if result.cost_nanodollars else None


def cost_tooltip(result: ChatResult) -> str:
    """Return the other figure, the price version and how the cost came about."""
    if result.side == "api":
        if result.usage is None:
            return "The provider reported no usage, so what it charges is not known."
        if result.cost_nanodollars is None:
            return f"No price is known for {result.model}. The answer is counted apart, never as $0."
        if result.usage_estimated:
            if result.unresolved_nanodollars:
                most, why = "At least", "the provider's own count never came, or can't be right"
            else:
                most, why = "At most", "the answer ended early"
            return (
                f"{most} this: {why}. Input as the provider counted it, output counted from what "
                "arrived and what may have been written since."
            )
        return (
            f"Settled from the reported tokens at the prices of {result.price_version or 'an unknown table'}."
        )
    paid = f"Cash: {format_cost(result.cost_nanodollars)}, for an attempt on the API before it. "
    if result.loaded_nanodollars is None:
        return f"{paid}The machine's own cost isn't set." if result.cost_nanodollars else NO_CHARGE_WHY
    return (
        f"{paid if result.cost_nanodollars else 'Cash: $0. '}Loaded: the machine's hourly cost over the "
        f"{duration(result.latency_ms)} that this answer kept it busy."
    )
