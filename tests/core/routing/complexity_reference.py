"""The complexity score as it was first written, one pattern a feature: what the fast one has to agree with.

The score is a sum of documented features, each between 0 and 1, times the weights of one table
(``FEATURES``), clamped to 1. The weights are set by hand and can be read aloud; later work replaces them
with measured ones. No text leaves this module: only the features do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from core.chat import Feature

READ_HEAD_CHARS = 12_000
READ_TAIL_CHARS = 4_000
"""Only the head and the tail of a long prompt are read for words, so that 2 MB cost no more than 16 kB."""

_REASONING = re.compile(
    r"\b(why|prove|proof|derive|explain|analy[sz]e|compare|contrast|evaluate|critique|justify|trade-?offs?|"
    r"reason(?:ing)?|step[- ]by[- ]step|root cause|implications?|safety|hypothes[ie]s|strategy|diagnose|infer)\b",
    re.IGNORECASE,
)
_BUILDING = re.compile(
    r"\b(implement|refactor|architect(?:ure)?|design|debug|optimi[sz]e|algorithm|concurren\w+|migrat\w+|"
    r"race condition|deadlock|regex|typed|unit tests?|back-?off|class|function|api|schema|database)\b",
    re.IGNORECASE,
)
_CONSTRAINT = re.compile(
    r"\b(must|should|only|exactly|at least|at most|without|never|unless|except|ensure|require[sd]?|"
    r"constraints?|given that|provided that|no more than)\b",
    re.IGNORECASE,
)
_EXPERT = re.compile(
    r"\b(theorem|lemmas?|irrational|consensus|byzantine|fault[- ]toleran\w+|asymptotic\w*|"
    r"integral|derivative|eigen\w+|polynomial|probabilit\w+|statistic\w+|quantum|thermodynamic\w*|"
    r"molecul\w+|enzyme|pharmac\w+|diagnosis|statut\w+|liabilit\w+|jurisdiction|contract law|epistemolog\w+|"
    r"econometric\w*|induction|modular arithmetic|amorti[sz]\w+|kernel|compiler|cryptograph\w+)\b",
    re.IGNORECASE,
)
_MATH = re.compile(r"[=<>≤≥±∑∫√∀∃^]|\\[a-z]+\{|\d\s*[-+*/]\s*\d")
_STEP = re.compile(r"^\s*(?:\d{1,2}[.)]|[-*•])\s+\S", re.MULTILINE)
_QUESTION = re.compile(r"\?(?:\s|$)")
_CODE = re.compile(r"```|^\s{4,}\S|[{};]\s*$|\bdef \w+\(|=>|#include", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Text:
    """What the features read: an excerpt of the last user message, and the conversation's size."""

    excerpt: str
    char_count: int
    turn_count: int


def _saturating(pattern: re.Pattern[str], enough: int) -> Callable[[_Text], float]:
    """Count matches up to ``enough``, which counts as 1."""

    def count(text: _Text) -> float:
        found = 0
        for _ in pattern.finditer(text.excerpt):
            found += 1
            if found >= enough:
                break
        return found / enough

    return count


def _length(text: _Text) -> float:
    """Log length: 0 at 20 characters and less, 1 at 8,000 and more."""
    if text.char_count <= 20:
        return 0.0
    return min(1.0, math.log(text.char_count / 20) / math.log(400))


def _depth(text: _Text) -> float:
    """Turns already taken: 1 at 10 and more."""
    return min(1.0, (text.turn_count - 1) / 9) if text.turn_count > 1 else 0.0


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """One row of the table. ``meaning`` is shown in the decision card."""

    name: str
    weight: float
    meaning: str
    read: Callable[[_Text], float]


FEATURES: tuple[FeatureSpec, ...] = (
    FeatureSpec("length", 0.30, "how long the prompt is, on a log scale", _length),
    FeatureSpec("reasoning", 0.44, "asks to explain, prove, compare or plan", _saturating(_REASONING, 3)),
    FeatureSpec("building", 0.32, "asks for software or design work", _saturating(_BUILDING, 4)),
    FeatureSpec("code", 0.16, "contains code", _saturating(_CODE, 3)),
    FeatureSpec("expert", 0.24, "uses the words of a specialist field", _saturating(_EXPERT, 2)),
    FeatureSpec("math", 0.14, "contains formulas", _saturating(_MATH, 4)),
    FeatureSpec("constraints", 0.16, "names conditions the answer has to meet", _saturating(_CONSTRAINT, 5)),
    FeatureSpec("steps", 0.12, "is a list of steps or points", _saturating(_STEP, 5)),
    FeatureSpec("questions", 0.08, "asks several things at once", _saturating(_QUESTION, 4)),
    FeatureSpec("depth", 0.10, "continues a long conversation", _depth),
)


def score(prompt: str, *, turn_count: int = 1) -> tuple[float, tuple[Feature, ...]]:
    """Return the score of ``prompt`` (0 to 1) and the features that made it, largest contribution first.

    ``prompt`` is the last user message; ``turn_count`` is the number of user messages so far, with it.
    """
    excerpt = prompt
    if len(prompt) > READ_HEAD_CHARS + READ_TAIL_CHARS:
        excerpt = f"{prompt[:READ_HEAD_CHARS]}\n{prompt[-READ_TAIL_CHARS:]}"
    text = _Text(excerpt, len(prompt), turn_count)
    features: list[Feature] = []
    total = 0.0
    for spec in FEATURES:
        value = spec.read(text)
        if value:
            contribution = value * spec.weight
            total += contribution
            features.append(Feature(name=spec.name, value=value, contribution=contribution))
    features.sort(key=lambda feature: -feature.contribution)
    return min(1.0, total), tuple(features)
