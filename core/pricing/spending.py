"""What requests cost, and the one vocabulary for it: spent, held, not settled, unpriced, loaded, and ``~``.

Every surface that tells money (badge, card, header, list, popover, failures, exports, command line) says it with
these words, so that the same request reads alike wherever it is looked up:

- *spent*: cash whose amount is known. With ``~`` an estimate, or a sum with an estimate in it.
- *held*: set aside for a request that runs.
- *not settled*: sent, but its true cost never came (*unresolved* in the ledger): it counts as if it had cost all
  that was held for it, and so reads ``up to``.
- *unpriced*: sent, its tokens are known, and the model has no known price. It is counted, never added up as 0.
- *loaded*: the local machine's own cost, which leaves no account.

A bare figure is what was spent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from core.pricing.money import format_amount, format_cost

if TYPE_CHECKING:
    from core.chat import ChatResult

MoneyKind = Literal["spent", "estimate", "held", "unsettled", "unpriced", "loaded"]
MONEY_WORDS: dict[MoneyKind, str] = {
    "spent": "spent",
    "estimate": "spent",
    "held": "held",
    "unsettled": "not settled",
    "unpriced": "unpriced",
    "loaded": "loaded",
}
NO_CHARGE = "no charge"


def unsettled_amount(amount: int, unit: Literal["nanodollars", "tokens"] = "nanodollars") -> str:
    """Return the figure before "not settled": a bound, since the true cost is not known."""
    return f"up to {format_amount(amount, unit)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyPart:
    """One figure and the word that says what kind it is; ``amount`` is empty where only the word is known."""

    kind: MoneyKind
    amount: str
    word: str

    @property
    def text(self) -> str:
        return f"{self.amount} {self.word}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What one request, or several, cost as far as it is known. The amounts are nano-dollars and disjoint.

    ``estimated``: an estimate is in ``spent_nanodollars``. ``unsettled_nanodollars`` is what is counted for
    attempts whose true cost never came. ``unpriced`` requests cost what nobody knows and are in no amount.
    """

    spent_nanodollars: int = 0
    estimated: bool = False
    held_nanodollars: int = 0
    unsettled_nanodollars: int = 0
    unpriced: int = 0
    loaded_nanodollars: int = 0

    @staticmethod
    def of(result: ChatResult) -> Spending:
        """Return what a request cost that has ended, as the ledger counts it."""
        earlier = sum(step.cost_nanodollars or 0 for step in result.steps)
        loaded = (result.loaded_nanodollars or 0) if result.side == "local" else 0
        unsettled = result.unresolved_nanodollars
        if result.replayed:
            return Spending()
        if own_cost_is_open(result):
            # What such an answer is said to have cost is a guess from what arrived: nothing of it is settled.
            return Spending(spent_nanodollars=earlier, unsettled_nanodollars=unsettled)
        if result.cost_nanodollars is None:
            return Spending(
                spent_nanodollars=earlier,
                unsettled_nanodollars=unsettled,
                unpriced=1,
                loaded_nanodollars=loaded,
            )
        return Spending(
            spent_nanodollars=result.cost_nanodollars,
            estimated=result.usage_estimated and result.side == "api" and result.cost_nanodollars > 0,
            unsettled_nanodollars=unsettled,
            loaded_nanodollars=loaded,
        )

    @staticmethod
    def total(several: Iterable[Spending]) -> Spending:
        return sum(several, Spending())

    def __add__(self, other: Spending) -> Spending:
        return Spending(
            spent_nanodollars=self.spent_nanodollars + other.spent_nanodollars,
            estimated=self.estimated or other.estimated,
            held_nanodollars=self.held_nanodollars + other.held_nanodollars,
            unsettled_nanodollars=self.unsettled_nanodollars + other.unsettled_nanodollars,
            unpriced=self.unpriced + other.unpriced,
            loaded_nanodollars=self.loaded_nanodollars + other.loaded_nanodollars,
        )

    @property
    def parts(self) -> tuple[MoneyPart, ...]:
        """The figures that there are, each with its word; none of a request that cost nothing."""
        found: list[tuple[MoneyKind, str]] = []
        if self.spent_nanodollars:
            spent = format_cost(self.spent_nanodollars, estimate=self.estimated)
            found.append(("estimate" if self.estimated else "spent", spent))
        if self.held_nanodollars:
            found.append(("held", format_cost(self.held_nanodollars)))
        if self.unsettled_nanodollars:
            found.append(("unsettled", unsettled_amount(self.unsettled_nanodollars)))
        if self.unpriced:
            found.append(("unpriced", f"{self.unpriced:,}" if found or self.unpriced > 1 else ""))
        if self.loaded_nanodollars:
            found.append(("loaded", format_cost(self.loaded_nanodollars)))
        return tuple(MoneyPart(kind=kind, amount=amount, word=MONEY_WORDS[kind]) for kind, amount in found)

    @property
    def words(self) -> str:
        """``$0.1200 spent, up to $0.0154 not settled, 1 unpriced``; ``no charge`` where there is nothing."""
        return ", ".join(part.text for part in self.parts) or NO_CHARGE

    @property
    def brief(self) -> str:
        """The same for a line of facts: the first figure is bare where it is what was spent (``$0.1200``)."""
        first, *rest = self.parts or (None,)
        if first is None:
            return NO_CHARGE
        begun = first.amount if first.kind in ("spent", "estimate") else first.text
        return ", ".join([begun, *(part.text for part in rest)])

    @property
    def figure(self) -> str:
        """One figure where there is room for no more: ``~$0.1354 + 1 unpriced``; empty where there is nothing.

        It adds up all that counts, with ``~`` where the true sum may be another.
        """
        known = self.spent_nanodollars + self.held_nanodollars + self.unsettled_nanodollars
        uncertain = self.estimated or bool(self.held_nanodollars or self.unsettled_nanodollars)
        found = [format_cost(known, estimate=uncertain)] if known else []
        if self.unpriced:
            found.append(f"{self.unpriced:,} unpriced")
        if not found and self.loaded_nanodollars:
            found.append(f"{format_cost(self.loaded_nanodollars)} loaded")
        return " + ".join(found)


def own_cost_is_open(result: ChatResult) -> bool:
    """Say whether the attempt that a result is of counts at its hold, since its true cost never came.

    What it is said to have cost (``cost_nanodollars``) is then only likely.
    """
    if not result.unresolved_nanodollars or result.side == "local":
        return False  # of a local answer only an attempt before it can be
    if result.usage is None:
        return True
    # A stopped answer is settled by what arrived; then an earlier attempt is what is open.
    earlier = any(step.cost_nanodollars is None for step in result.steps)
    return result.usage_estimated and not (result.finish_reason == "stopped_by_user" and earlier)


def likely_nanodollars(result: ChatResult) -> int | None:
    """Return what an answer that is not settled likely cost, by what arrived; ``None`` where nobody knows."""
    return result.cost_nanodollars if own_cost_is_open(result) and result.usage is not None else None
