"""How often a model's JSON and its tool calls were right lately, with how sure that is; a pure, in-memory tally.

The router records an entry for each answer that was asked to be JSON and each that called a tool; the ledger keeps
the sums of each day, which ``load`` reads back. Tools go only where they have been seen to work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from math import sqrt
from typing import Literal

from core.chat import Side
from core.model_list import PACKAGED_MODEL
from core.scores import ScoreEntry, ScoreKind, ScoreRow

Verdict = Literal["works", "fails", "unknown"]

WINDOW_DAYS = 30
"""Days that count, today included: long enough for a model that is asked seldom, and no past beyond it."""

ENOUGH_TRIED = 100
"""Older days drop out once newer ones hold this many: at 100 the interval is at most 20 points wide, and a model
that was mended (a new chat template, a new parser) is not judged by its past for a month."""

MIN_TRIED = 20
"""Answers below which a model is never said to work; also what a probe asks, so that one probe can decide."""

GOOD_SHARE = 0.80
"""A model works when the whole interval lies at or above this share, and fails when it lies below it.

At 4 of 5 right, asking once more leaves 1 in 25 wrong, and the stronger side takes those. A higher bar could not be
reached by a probe: 20 right of 20 have a lower bound of 0.839, and 0.90 would need 35 of 35.
"""

MIN_TRIED_TO_FAIL = 5
"""Where not even the upper bound is good after 5 (2 right of 5: 0.77), no more requests are spent on finding out;
one bad answer alone (upper bound 0.79) says nothing yet."""

Z_95 = 1.959963984540054
"""The normal distribution's 97.5 % quantile: 95 % between minus and plus this."""

MAX_MODELS = 500
"""Models kept at most, and the least recently used goes first: names come from outside, so they are bounded."""

MAX_PENDING = 10_000
"""Entries kept for a ledger that cannot be written; older ones are lost to it, and stay counted here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What is known of a model: ``share`` is right answers of all, ``None`` before the first try.

    ``low`` to ``high`` is its 95 % interval, from 0 to 1. ``repair_cost_nanodollars`` is what asking again cost on
    top of the first answers.
    """

    provider: str
    model: str
    kind: ScoreKind
    tried: int
    passed: int
    repaired: int
    share: float | None
    low: float
    high: float
    repair_cost_nanodollars: int
    verdict: Verdict


@dataclass(slots=True)
class _Sums:
    tried: int = 0
    passed: int = 0
    repaired: int = 0
    cost_nanodollars: int = 0

    def add(self, tried: int, passed: int, repaired: int, cost_nanodollars: int) -> None:
        self.tried += tried
        self.passed += passed
        self.repaired += repaired
        self.cost_nanodollars += cost_nanodollars


_Key = tuple[str, str, ScoreKind]


class Scoreboard:
    """Scores of the last ``WINDOW_DAYS`` days. ``today`` gives the user's calendar day."""

    def __init__(self, today: Callable[[], date] = date.today) -> None:
        self._today = today
        self._models: dict[_Key, dict[str, _Sums]] = {}
        self._pending: list[ScoreEntry] = []

    def record(self, entry: ScoreEntry) -> None:
        """Count ``entry`` from now on, and keep it for the ledger (``pending``)."""
        self._count(entry)
        self._pending.append(entry)
        del self._pending[:-MAX_PENDING]

    def pending(self) -> tuple[ScoreEntry, ...]:
        """Return the entries that the ledger has not been given yet, oldest first; ``written`` forgets them."""
        return tuple(self._pending)

    def written(self, count: int) -> None:
        """Say that the ledger has the first ``count`` of ``pending``."""
        del self._pending[:count]

    def load(self, rows: Iterable[ScoreRow]) -> None:
        """Take the ledger's sums instead of those in memory; entries still pending stay counted."""
        self._models.clear()
        for row in rows:
            kind = _KINDS.get(row.kind)
            if kind is not None:
                sums = self._sums((row.provider, row.model, kind), row.day)
                sums.add(row.tried, row.passed, row.repaired, row.cost_nanodollars)
        for entry in self._pending:
            self._count(entry)

    @property
    def since_day(self) -> str:
        """The first day that counts, such as 2026-10-25: what the ledger is asked for."""
        return (self._today() - timedelta(days=WINDOW_DAYS - 1)).isoformat()

    def of(self, provider: str, model: str, kind: ScoreKind) -> Score:
        """Return what is known of ``model``: newest days first, until ``ENOUGH_TRIED`` are counted."""
        since, total = self.since_day, _Sums()
        days = self._models.get((provider, model, kind), {})
        for day in sorted(days, reverse=True):
            if day < since or total.tried >= ENOUGH_TRIED:
                break
            sums = days[day]
            total.add(sums.tried, sums.passed, sums.repaired, sums.cost_nanodollars)
        low, high = wilson_interval(total.passed, total.tried)
        return Score(
            provider=provider,
            model=model,
            kind=kind,
            tried=total.tried,
            passed=total.passed,
            repaired=total.repaired,
            share=total.passed / total.tried if total.tried else None,
            low=low,
            high=high,
            repair_cost_nanodollars=total.cost_nanodollars,
            verdict=verdict_of(total.passed, total.tried),
        )

    def scores(self) -> tuple[Score, ...]:
        """Return all that was tried in the window, by provider, model and kind."""
        scores = [self.of(*key) for key in sorted(self._models)]
        return tuple(score for score in scores if score.tried)

    def tools_doubt(self, provider: str, model: str | None, side: Side) -> str:
        """Finish the sentence "Local ...", empty where tools may go there.

        They may go to an API model until it was seen to fail, and to a local one once it was seen to work.
        """
        if model is None:
            return "" if side == "api" else "has no model yet that was seen to call tools"
        if model == PACKAGED_MODEL:
            return "runs a model whose chat template has no place for tools"
        score = self.of(provider, model, "tools")
        if score.verdict == "works" or (side == "api" and score.verdict == "unknown"):
            return ""
        if score.share is None:
            return "has not been seen to call tools yet"
        got = f"got {score.passed} of {score.tried} tool calls right"
        return f"{got}, too few to rely on" if score.verdict == "fails" else f"{got}, too few to be sure"

    def _count(self, entry: ScoreEntry) -> None:
        sums = self._sums((entry.provider, entry.model, entry.kind), self._today().isoformat())
        sums.add(1, int(entry.passed), int(entry.repaired), entry.cost_nanodollars)

    def _sums(self, key: _Key, day: str) -> _Sums:
        days = self._models.pop(key, {})
        self._models[key] = days  # now the last, and so the last to be forgotten
        if day not in days:
            days[day] = _Sums()
            for old in [old for old in days if old < self.since_day]:
                del days[old]
            if len(self._models) > MAX_MODELS:
                del self._models[next(iter(self._models))]
        return days.get(day) or _Sums()


_KINDS: dict[str, ScoreKind] = {"schema": "schema", "tools": "tools"}


def wilson_interval(passed: int, tried: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share, ``(0, 1)`` before the first try.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
    Statistical Association 22 (1927), 209-212. Unlike the textbook's mean plus or minus z standard errors it
    holds for few tries and for shares near 0 and 1, which is all there is here::

        (p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)
    """
    if tried <= 0:
        return 0.0, 1.0
    share, z2 = passed / tried, Z_95 * Z_95
    middle = share + z2 / (2 * tried)
    spread = Z_95 * sqrt(share * (1 - share) / tried + z2 / (4 * tried * tried))
    scale = 1 + z2 / tried
    # Both ends are exact at none and at all right; rounding must not put them beside the share.
    low = 0.0 if passed == 0 else (middle - spread) / scale
    high = 1.0 if passed == tried else (middle + spread) / scale
    return low, high


def verdict_of(passed: int, tried: int) -> Verdict:
    """Judge ``passed`` of ``tried`` by the constants above; too little or too mixed to say is ``unknown``."""
    low, high = wilson_interval(passed, tried)
    if tried >= MIN_TRIED and low >= GOOD_SHARE:
        return "works"
    if tried >= MIN_TRIED_TO_FAIL and high < GOOD_SHARE:
        return "fails"
    return "unknown"
