"""How likely it is that a prompt needs the stronger model, from 0 to 1; and the other signals that rules decide on.

The score is a sum of documented features, each between 0 and 1, times the weights of one table
(``FEATURES``), clamped to 1. The weights are set by hand and can be read aloud; later work replaces them
with measured ones. No text leaves this module: only the features do.

It stands on the way of every request, so it is written to be fast: the words of a prompt are looked up in one
dictionary, and a pattern is searched only where a character or word that it needs is there.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from core.chat import ChatRequest, Feature, Side, Signals
from core.context.tokens import IMAGE_TOKENS, MESSAGE_TOKENS, tokens_of_length, utf8_bytes

READ_HEAD_CHARS = 12_000
READ_TAIL_CHARS = 4_000
"""Only the head and the tail of a long prompt are read for words, so that 2 MB cost no more than 16 kB."""

_Kind = int
_REASONING, _BUILDING, _EXPERT, _CONSTRAINT = range(4)


def _each(kind: _Kind, words: str) -> dict[str, _Kind]:
    return dict.fromkeys(words.split(), kind)


# Whole words; case does not matter.
_WORDS: dict[str, _Kind] = {
    **_each(
        _REASONING,
        "why prove proof derive explain analyse analyze compare contrast evaluate critique justify tradeoff "
        "tradeoffs reason reasoning implication implications safety hypothesis hypotheses strategy diagnose "
        "infer",
    ),
    **_each(
        _BUILDING,
        "implement refactor architect architecture design debug optimise optimize algorithm deadlock regex typed "
        "backoff class function api schema database",
    ),
    **_each(
        _CONSTRAINT,
        "must should only exactly without never unless except ensure require requires required constraint "
        "constraints",
    ),
    **_each(
        _EXPERT,
        "theorem lemma lemmas irrational consensus byzantine integral derivative polynomial quantum enzyme "
        "diagnosis jurisdiction induction kernel compiler",
    ),
}

# Words by how they begin: the beginning, how many more letters there are at least, and the kind.
_BEGINNINGS: tuple[tuple[str, int, _Kind], ...] = (
    ("concurren", 1, _BUILDING),
    ("migrat", 1, _BUILDING),
    ("asymptotic", 0, _EXPERT),
    ("eigen", 1, _EXPERT),
    ("probabilit", 1, _EXPERT),
    ("statistic", 1, _EXPERT),
    ("thermodynamic", 0, _EXPERT),
    ("molecul", 1, _EXPERT),
    ("pharmac", 1, _EXPERT),
    ("statut", 1, _EXPERT),
    ("liabilit", 1, _EXPERT),
    ("epistemolog", 1, _EXPERT),
    ("econometric", 0, _EXPERT),
    ("amortis", 1, _EXPERT),
    ("amortiz", 1, _EXPERT),
    ("cryptograph", 1, _EXPERT),
)
_STEM_LENGTH = 5
_SHORTEST = min(len(beginning) + more for beginning, more, _ in _BEGINNINGS)
_BY_STEM: dict[str, list[tuple[str, int, _Kind]]] = {}
for _beginning in _BEGINNINGS:
    _BY_STEM.setdefault(_beginning[0][:_STEM_LENGTH], []).append(_beginning)

# Phrases, searched where their first word stands. None of their words counts by itself in the same kind.
_PHRASES: dict[_Kind, re.Pattern[str]] = {
    _REASONING: re.compile(r"\b(trade-offs?|step[- ]by[- ]step|root cause)\b", re.IGNORECASE),
    _BUILDING: re.compile(r"\b(race condition|unit tests?|back-off)\b", re.IGNORECASE),
    _CONSTRAINT: re.compile(r"\b(at least|at most|given that|provided that|no more than)\b", re.IGNORECASE),
    _EXPERT: re.compile(r"\b(fault[- ]toleran\w+|contract law|modular arithmetic)\b", re.IGNORECASE),
}
_FIRST_WORDS: dict[str, _Kind] = {
    **_each(_REASONING, "trade step root"),
    **_each(_BUILDING, "race unit back"),
    **_each(_CONSTRAINT, "at given provided no"),
    **_each(_EXPERT, "fault contract modular"),
}
_PHRASE = 4  # what is added to the kind of a first word, so that one look-up tells both
_LOOK_UP: dict[str, int] = _WORDS | {word: kind + _PHRASE for word, kind in _FIRST_WORDS.items()}

_MATH = re.compile(r"[=<>≤≥±∑∫√∀∃^]|\\[a-z]+\{|\d\s*[-+*/]\s*\d")
_STEP = re.compile(r"^\s*(?:\d{1,2}[.)]|[-*•])\s+\S", re.MULTILINE)
_QUESTION = re.compile(r"\?(?:\s|$)")
_CODE = re.compile(r"```|^\s{4,}\S|[{};]\s*$|\bdef \w+\(|=>|#include", re.MULTILINE)

_WORD = re.compile(r"\w+")
_TO_WORDS = bytes(
    ord(chr(code).lower()) if chr(code) in string.ascii_letters + string.digits + "_" else ord(" ")
    for code in range(256)
)
"""ASCII letters in lower case, digits and underscores as they are, everything else a space."""

_TO_BLANKS = bytes(ord(" ") if chr(code).isspace() else code for code in range(128)) + bytes(range(128, 256))

_AS_ASCII = {0x017F: "s", 0x0131: "i", 0x0130: "i", 0x212A: "k"}
"""The four letters beyond ASCII that a pattern without case takes for an ASCII letter (long s, dotless i,
I with a dot, Kelvin)."""


@dataclass(slots=True)
class _Text:
    """What the features read: an excerpt of the last user message, and the conversation's size.

    ``word_counts`` counts words and phrases by kind; ``one_line`` is true where the only blank is the space.
    """

    excerpt: str
    char_count: int
    turn_count: int
    word_counts: list[int]
    one_line: bool


def _read_text(prompt: str, turn_count: int) -> _Text:
    excerpt = prompt
    if len(prompt) > READ_HEAD_CHARS + READ_TAIL_CHARS:
        excerpt = f"{prompt[:READ_HEAD_CHARS]}\n{prompt[-READ_TAIL_CHARS:]}"
    return _Text(excerpt, len(prompt), turn_count, _count_words(excerpt), excerpt.isprintable())


def _count_words(excerpt: str) -> list[int]:
    """Count the words and phrases of each kind, case ignored."""
    if excerpt.isascii():
        words = excerpt.encode().translate(_TO_WORDS).decode().split()
    else:
        words = _WORD.findall(excerpt.translate(_AS_ASCII).lower())
    counts = [0] * (2 * _PHRASE)
    look_up, by_stem = _LOOK_UP.get, _BY_STEM.get
    for word in words:
        kind = look_up(word)
        if kind is not None:
            counts[kind] += 1
        elif len(word) >= _SHORTEST:
            for beginning, more, kind in by_stem(word[:_STEM_LENGTH], ()):
                if word.startswith(beginning) and len(word) >= len(beginning) + more:
                    counts[kind] += 1
    if any(counts[_PHRASE:]):
        for kind, phrases in _PHRASES.items():
            if counts[kind + _PHRASE]:
                counts[kind] += sum(1 for _ in phrases.finditer(excerpt))
    return counts


def _words(kind: _Kind, enough: int) -> Callable[[_Text], float]:
    """Count words of ``kind`` up to ``enough``, which counts as 1."""

    def count(text: _Text) -> float:
        found = text.word_counts[kind]
        return 1.0 if found >= enough else found / enough

    return count


def _saturating(
    pattern: re.Pattern[str], enough: int, possible: Callable[[_Text], bool]
) -> Callable[[_Text], float]:
    """Count matches up to ``enough``, which counts as 1; ``possible`` is false only where none can be."""

    def count(text: _Text) -> float:
        if not possible(text):
            return 0.0
        found = 0
        for _ in pattern.finditer(text.excerpt):
            found += 1
            if found >= enough:
                break
        return found / enough

    return count


def _may_have_code(text: _Text) -> bool:
    excerpt = text.excerpt
    if "{" in excerpt or "}" in excerpt or ";" in excerpt or "`" in excerpt:
        return True
    if "def " in excerpt or "=>" in excerpt or "#include" in excerpt or "    " in excerpt:
        return True
    if text.one_line:
        return False
    # Any four blanks in a row may be an indented line.
    return not excerpt.isascii() or b"    " in excerpt.encode().translate(_TO_BLANKS)


def _may_have_math(text: _Text) -> bool:
    excerpt = text.excerpt
    if "=" in excerpt or "<" in excerpt or ">" in excerpt or "^" in excerpt or "\\" in excerpt:
        return True
    return "-" in excerpt or "+" in excerpt or "*" in excerpt or "/" in excerpt or not excerpt.isascii()


def _may_have_steps(text: _Text) -> bool:
    # On one line there is one place where a step can begin.
    return not text.one_line or not text.excerpt.lstrip(" ")[:1].isalpha()


def _may_ask(text: _Text) -> bool:
    return "?" in text.excerpt


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
    FeatureSpec("reasoning", 0.44, "asks to explain, prove, compare or plan", _words(_REASONING, 3)),
    FeatureSpec("building", 0.32, "asks for software or design work", _words(_BUILDING, 4)),
    FeatureSpec("code", 0.16, "contains code", _saturating(_CODE, 3, _may_have_code)),
    FeatureSpec("expert", 0.24, "uses the words of a specialist field", _words(_EXPERT, 2)),
    FeatureSpec("math", 0.14, "contains formulas", _saturating(_MATH, 4, _may_have_math)),
    FeatureSpec("constraints", 0.16, "names conditions the answer has to meet", _words(_CONSTRAINT, 5)),
    FeatureSpec("steps", 0.12, "is a list of steps or points", _saturating(_STEP, 5, _may_have_steps)),
    FeatureSpec("questions", 0.08, "asks several things at once", _saturating(_QUESTION, 4, _may_ask)),
    FeatureSpec("depth", 0.10, "continues a long conversation", _depth),
)


_contribution = attrgetter("contribution")


def score(prompt: str, *, turn_count: int = 1) -> tuple[float, tuple[Feature, ...]]:
    """Return the score of ``prompt`` (0 to 1) and the features that made it, largest contribution first.

    ``prompt`` is the last user message; ``turn_count`` is the number of user messages so far, with it.
    """
    text = _read_text(prompt, turn_count)
    features: list[Feature] = []
    total = 0.0
    for spec in FEATURES:
        value = spec.read(text)
        if value:
            contribution = value * spec.weight
            total += contribution
            features.append(Feature(name=spec.name, value=value, contribution=contribution))
    features.sort(key=_contribution, reverse=True)  # in the table's order where they are equal
    return min(1.0, total), tuple(features)


TOOL_OVERHEAD_TOKENS = 400
"""Anthropic adds a system prompt of up to 346 tokens (its documentation of tool use) once tools are there."""

SCHEMA_OVERHEAD_TOKENS = 400
"""A JSON schema makes Anthropic add a system prompt that explains the format (its documentation of structured
outputs; it names no size, so it is taken for that of tools)."""

SCHEMA_GROWTH = 3
"""The SDK writes a schema anew in what the API takes: closed objects, one type at a place, the rest as text."""

TOOL_CALL_OVERHEAD_TOKENS = 40
"""What stands around a call's name, id and arguments, and around its result; no template known here adds more."""

IMAGE_TOKENS_BOUND = 5_000
"""Width x height / 750 of the largest image a provider does not scale down (Anthropic, vision documentation)."""


def read_signals(
    request: ChatRequest,
    *,
    default_max_tokens: int,
    added_bytes: int = 0,
    conversation_side: Side | None = None,
) -> Signals:
    """Return the signals of ``request``; ``default_max_tokens`` stands in where the request names none.

    ``added_bytes`` bounds what a prompt template adds to it. ``conversation_side`` is where the conversation's last
    answer came from.

    ``input_tokens_bound`` counts one token a UTF-8 byte: byte-level tokenizers never make more, so a hold
    built on it is never too small.
    """
    texts: list[str] = []
    last_user_text = ""
    user_count = call_count = image_count = 0
    for message in request.messages:
        texts.append(message.text)
        image_count += len(message.images)
        for call in message.tool_calls:
            texts += (call.id, call.name, call.arguments_json)
            call_count += 1
        if message.tool_call_id is not None:
            texts.append(message.tool_call_id)
            call_count += 1  # a result stands between the same markers as a call
        if message.role == "user":
            last_user_text = message.text
            user_count += 1
    if request.system:
        texts.append(request.system)
    if request.tools:
        texts += [json.dumps([tool.name, tool.description, dict(tool.parameters)]) for tool in request.tools]
    overhead = 0
    if request.response_format is not None:
        texts.append(json.dumps(dict(request.response_format.schema)))
        overhead += SCHEMA_OVERHEAD_TOKENS + (SCHEMA_GROWTH - 1) * len(texts[-1])
    overhead += MESSAGE_TOKENS * (len(request.messages) + 1)
    overhead += TOOL_CALL_OVERHEAD_TOKENS * call_count
    overhead += TOOL_OVERHEAD_TOKENS if request.tools else 0

    char_count = byte_count = 0
    for text in texts:
        char_count += len(text)
        byte_count += utf8_bytes(text)
    likely = tokens_of_length(char_count, byte_count)

    complexity, features = score(last_user_text, turn_count=max(1, user_count))
    return Signals(
        input_tokens=likely + MESSAGE_TOKENS + image_count * IMAGE_TOKENS,
        input_tokens_bound=byte_count + added_bytes + overhead + image_count * IMAGE_TOKENS_BOUND,
        max_output_tokens=request.max_tokens or default_max_tokens,
        max_output_named=request.max_tokens is not None,
        complexity=complexity,
        features=features,
        message_count=len(request.messages),
        has_tools=bool(request.tools),
        has_schema=request.response_format is not None,
        has_images=image_count > 0,
        high_stakes=request.high_stakes,
        batch=request.batch,
        force=request.force,
        model=request.model,
        in_tool_loop=request.messages[-1].role == "tool" if request.messages else False,
        conversation_side=conversation_side,
    )


LEAST_SHARE_OF_ESTIMATE = 8
"""A count of the input below this part of the estimate (30 bytes a token; only runs of blanks have so many) is not
believed: the request is held for by its bytes."""


def is_believable_count(signals: Signals, input_tokens: int, *, image_count: int) -> bool:
    """Whether a provider's own count may be right. The true size of an image is not known here, so none counts."""
    text_tokens = signals.input_tokens - IMAGE_TOKENS * image_count
    return input_tokens >= max(1, text_tokens // LEAST_SHARE_OF_ESTIMATE)


def with_counted_input(signals: Signals, input_tokens: int) -> Signals:
    """Replace both estimates by the provider's own count."""
    return dataclasses.replace(signals, input_tokens=input_tokens, input_tokens_bound=input_tokens)
