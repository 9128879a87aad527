"""Judged answers: was a model's JSON right, were its tool calls? The router judges, the ledger keeps the sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ScoreKind = Literal["schema", "tools"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreEntry:
    """One judged answer: against its schema, or its tool calls against their tools.

    ``passed``: its first answer was valid, as it came or after a safe repair (``repaired``). What came of asking
    again is no separate try: it answers an easier question. ``cost_nanodollars`` is what asking again, or asking
    the other side, cost in cash: 0 where neither happened, the hold where the true cost is not known.
    """

    provider: str
    model: str
    kind: ScoreKind
    passed: bool
    repaired: bool = False
    cost_nanodollars: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """The sums of a model's judged answers of one local ``day``, such as 2026-11-23."""

    provider: str
    model: str
    kind: ScoreKind
    day: str
    tried: int
    passed: int
    repaired: int
    cost_nanodollars: int
