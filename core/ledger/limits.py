"""The budget's rules, pure: does a hold fit under a limit, and what does a finished attempt count for.

The ledger applies them inside its transactions; nothing here reads a clock or a database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from core.chat import Side
from core.errors import BudgetExceeded
from core.pricing.money import format_cost
from core.pricing.spending import Spending, unsettled_amount

Window = Literal["month", "day"]
Unit = Literal["nanodollars", "tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendLimit:
    """At most ``nanodollars`` of cash in a local calendar ``window``; ``project`` of ``None`` is everything."""

    name: str
    nanodollars: int
    window: Window = "month"
    project: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLimit:
    """At most ``tokens`` into and out of the API side in a local calendar ``window``."""

    name: str
    tokens: int
    window: Window = "day"


Limit = SpendLimit | TokenLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Cash in one window, in nano-dollars. ``window_label`` is ``2026-11`` or ``2026-11-23``.

    ``spent`` includes ``unresolved``: requests whose true cost never arrived, counted at their hold.
    ``unpriced_count`` requests cost an unknown amount; what was held for them is in ``spent``, and is told apart as
    ``unpriced_nanodollars`` as far as that was asked for (``Ledger.standing``), as is ``estimated``: what stopped
    answers cost at most is in ``spent``.
    """

    window_label: str
    limit_nanodollars: int | None
    spent_nanodollars: int
    held_nanodollars: int
    held_count: int
    unresolved_nanodollars: int
    unresolved_count: int
    unpriced_count: int
    unpriced_nanodollars: int = 0
    estimated: bool = False

    @property
    def spending(self) -> Spending:
        """The same apart: what is spent, held and not settled, and how many are unpriced.

        What these count for is in no amount, as everywhere, but where it is not known apart: then in ``spent``.
        """
        spent = max(0, self.spent_nanodollars - self.unresolved_nanodollars - self.unpriced_nanodollars)
        mixed = self.unpriced_count and not self.unpriced_nanodollars
        return Spending(
            spent_nanodollars=spent,
            estimated=bool((mixed or self.estimated) and spent),
            held_nanodollars=self.held_nanodollars,
            unsettled_nanodollars=self.unresolved_nanodollars,
            unpriced=self.unpriced_count,
        )

    @property
    def free_nanodollars(self) -> int | None:
        """What a hold may still ask for, ``None`` without a limit."""
        if self.limit_nanodollars is None:
            return None
        return max(0, self.limit_nanodollars - self.spent_nanodollars - self.held_nanodollars)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitUsage:
    """How much of a limit is taken: nano-dollars for a ``SpendLimit``, tokens for a ``TokenLimit``.

    ``used`` includes ``unresolved``: requests whose true cost never arrived, counted at their hold. ``estimated``:
    what is held for requests without a price is in it and not told apart, or, as far as that was asked for
    (``Ledger.standing``), what stopped answers cost at most. ``unpriced`` is what requests without a price count
    for, asked for in the same way; it is in ``used``.
    """

    limit: Limit
    window_label: str
    used: int
    held: int
    held_count: int
    unresolved: int = 0
    unresolved_count: int = 0
    unpriced: int = 0
    estimated: bool = False

    @property
    def unit(self) -> Unit:
        return unit_of(self.limit)

    @property
    def project(self) -> str | None:
        """The project that alone is limited, ``None`` for everything."""
        return project_of(self.limit)

    @property
    def amount(self) -> int:
        """The limit itself, in ``unit``."""
        return amount_of(self.limit)

    @property
    def settled(self) -> int:
        """What is used for sure: without what is not settled and what unpriced requests count for."""
        return max(0, self.used - self.unresolved - self.unpriced)

    @property
    def free(self) -> int:
        """What a hold may still ask for."""
        return max(0, self.amount - self.used - self.held)

    @property
    def share_used(self) -> float:
        """Used and held over the limit, 0 to 1 or above; a limit of nothing is used up from the start."""
        return (self.used + self.held) / self.amount if self.amount else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetAlert:
    """``percent`` of a limit is used or held, seen for the first time in this window. Amounts are in ``unit``."""

    limit_name: str
    window_label: str
    percent: int
    used: int
    held: int
    limit: int
    unit: Unit = "nanodollars"
    project: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What a closed attempt counts for. ``cost`` is the known cash, ``counted`` what the limits see."""

    state: Literal["settled", "unresolved", "released"]
    cost_nanodollars: int | None
    counted_nanodollars: int
    counted_tokens: int = 0


def unit_of(limit: Limit) -> Unit:
    return "tokens" if isinstance(limit, TokenLimit) else "nanodollars"


def amount_of(limit: Limit) -> int:
    return limit.tokens if isinstance(limit, TokenLimit) else limit.nanodollars


def project_of(limit: Limit) -> str | None:
    return None if isinstance(limit, TokenLimit) else limit.project


def window_of(limit: Limit, day: str) -> str:
    """Return the label of the window that ``day`` (``2026-11-23``) lies in."""
    return day[:7] if limit.window == "month" else day


def crossed(standing: LimitUsage, percents: Sequence[int]) -> tuple[int, ...]:
    """Return the shares that used and held have reached, lowest first; none of a limit of nothing."""
    taken, limit = standing.used + standing.held, standing.amount
    if limit <= 0:
        return ()
    return tuple(percent for percent in sorted(set(percents)) if taken * 100 >= percent * limit)


def check_limit(
    limit: Limit,
    *,
    asked: int | None,
    used: int,
    held: int,
    held_count: int,
    unresolved: int = 0,
) -> None:
    """Let a hold pass exactly when used + held + asked stays at or below the limit (all in the limit's unit).

    ``unresolved`` is the part of ``used`` whose true cost never came.

    Raises:
        BudgetExceeded: it does not fit, or its price is unknown (``asked`` of ``None``).
    """
    amount = amount_of(limit)
    if asked is not None and (asked == 0 or asked <= amount - used - held):
        return
    window = "this month" if limit.window == "month" else "today"
    project = project_of(limit)
    of_project = f" for project {project}" if project else ""
    by = f"held by {held_count:,} running request{'s'[: held_count != 1]}"
    if isinstance(limit, TokenLimit):
        state = f"{used:,} of {amount:,} tokens are used {window} and {held:,} are {by}"
    else:
        open_words = f", {unsettled_amount(unresolved)} is not settled" if unresolved else ""
        state = (
            f"{format_cost(used - unresolved)} of {format_cost(amount)} is spent {window}{of_project}{open_words} "
            f"and {format_cost(held)} is {by}"
        )
    if asked is None:
        message = f"The model has no known price, so {limit.name} cannot be kept; {state}."
        hint = "Choose a model with a known price, or send it to the local side."
    elif isinstance(limit, TokenLimit):
        message = f"{limit.name} would be passed: {state}; this request could use up to {asked:,} tokens."
        hint = f"Raise {limit.name}, lower the maximum of output tokens, or send it to the local side."
    else:
        message = (
            f"{limit.name} would be passed: {state}; this request could cost up to {format_cost(asked)}."
        )
        hint = f"Raise {limit.name}, lower the maximum of output tokens, or send it to the local side."
    raise BudgetExceeded(
        message,
        hint=hint,
        limit_name=limit.name,
        limit_nanodollars=amount,
        spent_nanodollars=used,
        held_nanodollars=held,
        asked_nanodollars=asked,
        held_count=held_count,
        unsettled_nanodollars=unresolved,
        unit=unit_of(limit),
    )


def resolve(
    side: Side | Literal[""],
    *,
    hold_nanodollars: int | None,
    hold_tokens: int,
    cost_nanodollars: int | None,
    used_tokens: int | None,
    may_have_billed: bool,
) -> Resolution:
    """Close an attempt: the true figures where they are known, otherwise never less than could have been billed.

    ``used_tokens`` of ``None`` means that no usage arrived.
    """
    if side == "local":
        return Resolution(state="settled", cost_nanodollars=0, counted_nanodollars=0)
    tokens = hold_tokens if used_tokens is None else used_tokens
    if cost_nanodollars is not None:
        return Resolution(
            state="settled",
            cost_nanodollars=cost_nanodollars,
            counted_nanodollars=cost_nanodollars,
            counted_tokens=tokens,
        )
    if used_tokens is None and not may_have_billed:
        return Resolution(state="released", cost_nanodollars=0, counted_nanodollars=0)
    # The price is unknown (usage arrived) or the usage is: either way the hold is the safe figure.
    return Resolution(
        state="unresolved" if used_tokens is None else "settled",
        cost_nanodollars=None,
        counted_nanodollars=hold_nanodollars or 0,
        counted_tokens=tokens,
    )
