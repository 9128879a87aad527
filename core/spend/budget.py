"""The budget's rules, pure: does a hold fit under a limit, and what does a finished attempt count for.

The ledger applies them inside its transactions; nothing here reads a clock or a database.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.chat import Side
from core.errors import BudgetExceeded
from core.spend.money import format_cost

Window = Literal["month", "day"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendLimit:
    """At most ``nanodollars`` of cash in a local calendar ``window``; ``project`` of ``None`` is everything."""

    name: str
    nanodollars: int
    window: Window = "month"
    project: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Cash in one window, in nano-dollars. ``window_label`` is ``2026-11`` or ``2026-11-23``.

    ``spent`` includes ``unresolved``: requests whose true cost never arrived, counted at their hold.
    ``unpriced_count`` requests cost an unknown amount that is *not* in ``spent``.
    """

    window_label: str
    limit_nanodollars: int | None
    spent_nanodollars: int
    held_nanodollars: int
    held_count: int
    unresolved_nanodollars: int
    unresolved_count: int
    unpriced_count: int

    @property
    def month_label(self) -> str:
        return self.window_label[:7]

    @property
    def free_nanodollars(self) -> int | None:
        """What a hold may still ask for, ``None`` without a limit."""
        if self.limit_nanodollars is None:
            return None
        return max(0, self.limit_nanodollars - self.spent_nanodollars - self.held_nanodollars)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What a closed attempt counts for. ``cost`` is the known cash, ``counted`` what the limit sees."""

    state: Literal["settled", "unresolved", "released"]
    cost_nanodollars: int | None
    counted_nanodollars: int


def check_limit(
    limit: SpendLimit,
    *,
    asked_nanodollars: int | None,
    spent_nanodollars: int,
    held_nanodollars: int,
    held_count: int,
) -> None:
    """Let a hold pass exactly when spent + held + asked stays at or below the limit.

    Raises:
        BudgetExceeded: it does not fit, or its price is unknown (``asked_nanodollars`` of ``None``).
    """
    free = limit.nanodollars - spent_nanodollars - held_nanodollars
    if asked_nanodollars is not None and (asked_nanodollars == 0 or asked_nanodollars <= free):
        return
    window = "this month" if limit.window == "month" else "today"
    of_project = f" for project {limit.project}" if limit.project else ""
    state = (
        f"{format_cost(spent_nanodollars)} of {format_cost(limit.nanodollars)} is spent {window}{of_project} "
        f"and {format_cost(held_nanodollars)} is held by {held_count} running request{'s'[: held_count != 1]}"
    )
    if asked_nanodollars is None:
        message = f"The model has no known price, so {limit.name} cannot be kept; {state}."
        hint = "Choose a model with a known price, or send it to the local side."
    else:
        message = (
            f"{limit.name} would be passed: {state}; "
            f"this request could cost up to {format_cost(asked_nanodollars)}."
        )
        hint = f"Raise {limit.name}, lower the maximum of output tokens, or send it to the local side."
    raise BudgetExceeded(
        message,
        hint=hint,
        limit_name=limit.name,
        limit_nanodollars=limit.nanodollars,
        spent_nanodollars=spent_nanodollars,
        held_nanodollars=held_nanodollars,
        asked_nanodollars=asked_nanodollars,
        held_count=held_count,
    )


def resolve(
    side: Side,
    *,
    hold_nanodollars: int | None,
    cost_nanodollars: int | None,
    usage_known: bool,
    may_have_billed: bool,
) -> Resolution:
    """Close an attempt: the true cost where it is known, otherwise never less than could have been billed."""
    if side == "local":
        return Resolution(state="settled", cost_nanodollars=0, counted_nanodollars=0)
    if cost_nanodollars is not None:
        return Resolution(
            state="settled", cost_nanodollars=cost_nanodollars, counted_nanodollars=cost_nanodollars
        )
    if not usage_known and not may_have_billed:
        return Resolution(state="released", cost_nanodollars=0, counted_nanodollars=0)
    # The price is unknown (usage arrived) or the usage is: either way the hold is the safe figure.
    state = "settled" if usage_known else "unresolved"
    return Resolution(state=state, cost_nanodollars=None, counted_nanodollars=hold_nanodollars or 0)
