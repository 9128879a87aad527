"""Remembers how often and at what intervals prompt prefixes came, and which of them are warm.

It holds hashes, times and counts, nothing of a prompt, and never more than ``max_prefixes`` of them: the one that
was not seen for longest goes first.

Anthropic's documentation ("Prompt caching") says: the prefix runs tools, system, messages, and has to match
exactly. A prefix is written where a block is marked, and only there; at most four blocks may be. It is read when
a marked block, or one of the 20 before it, is where an earlier request wrote. A write costs 1.25 times the input
price (five minutes) or twice (an hour), a read a tenth; each read starts the lifetime anew for nothing. A prefix
below the model's minimum is not cached, without an error and without a surcharge.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from core.chat import CacheLifetime

MAX_MARKS = 4
LIFETIME_S: dict[CacheLifetime, float] = {"5m": 300.0, "1h": 3600.0}
TOKENS_A_PRICE = 1_000_000
"""Prices are for so many tokens."""

# Where sources disagree (Sonnet 4.6, and 512 tokens for the newest), the larger stands here: a mark on too short a
# prefix is ignored, so a higher minimum only gives up small savings.
_MINIMUM_TOKENS: tuple[tuple[str, int], ...] = (
    ("claude-3-haiku", 2_048),
    ("claude-3-5-haiku", 2_048),
    ("claude-3", 1_024),
    ("claude-haiku-4-5", 4_096),
    ("claude-opus-4-5", 4_096),
    ("claude-opus-4-6", 4_096),
    ("claude-opus-4-7", 2_048),
    ("claude-opus-4", 1_024),
    ("claude-4-opus", 1_024),
    ("claude-opus-5", 1_024),
    ("claude-sonnet-4-6", 2_048),
    ("claude-sonnet-4", 1_024),
    ("claude-sonnet-5", 1_024),
    ("claude-fable-5", 1_024),
    ("claude-mythos", 1_024),
)
_UNKNOWN_MINIMUM_TOKENS = 4_096


def minimum_cache_tokens(model: str) -> int:
    """Return the shortest prefix, in tokens, that ``model`` caches; the largest minimum known where it is new."""
    fitting = [(len(prefix), tokens) for prefix, tokens in _MINIMUM_TOKENS if model.startswith(prefix)]
    return max(fitting)[1] if fitting else _UNKNOWN_MINIMUM_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePrices:
    """Input prices of one model by class, in nano-dollars a million tokens (1 dollar = 10^9 nano-dollars)."""

    fresh: int
    read: int
    write_5m: int
    write_1h: int

    def write(self, lifetime: CacheLifetime) -> int:
        return self.write_5m if lifetime == "5m" else self.write_1h

    def surcharge_nanodollars(self, tokens: int, lifetime: CacheLifetime) -> int:
        """Return what writing ``tokens`` costs more than sending them fresh."""
        return tokens * (self.write(lifetime) - self.fresh) // TOKENS_A_PRICE

    def saving_nanodollars(self, tokens: int) -> int:
        """Return what reading ``tokens`` costs less than sending them fresh."""
        return tokens * (self.fresh - self.read) // TOKENS_A_PRICE

    def fresh_nanodollars(self, tokens: int) -> int:
        return tokens * self.fresh // TOKENS_A_PRICE


GAPS_KEPT = 8
LIFETIMES: tuple[CacheLifetime, ...] = ("5m", "1h")

Kind = Literal["first", "shared", "repeat", "chat", "loop"]
"""How a request stands to those before it.

``first``: nothing of it was seen. ``shared``: it begins like another request and goes on differently. ``repeat``:
it was seen whole. ``chat``: it goes on from the end of an earlier request. ``loop``: it answers a tool call.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixBoundary:
    """Where a prefix of the prompt ends, and what stands before it.

    ``message`` is the index of the message it ends with, ``None`` for the end of tools and system prompt.
    ``tokens`` counts the whole prefix (an estimate); ``hash`` is a name for exactly this prefix.
    """

    hash: str
    tokens: int
    message: int | None


@dataclass(slots=True)
class Prefix:
    """What is known of one prefix of one model. ``gaps_s`` are the intervals between its last sightings.

    ``is_end``: a request ended here. ``warm_until_s`` is when the provider forgets it, if nobody reads it before;
    a write is under way until ``written_at_s``. ``expected`` is the kind of request that should bring it back, as
    long as nobody knows whether it does.
    """

    seen_at_s: float
    gaps_s: tuple[float, ...] = ()
    is_end: bool = False
    warm_until_s: float = float("-inf")
    written_at_s: float = float("-inf")
    lifetime: CacheLifetime = "5m"
    expected: Kind | None = None

    def is_warm(self, now_s: float) -> bool:
        return self.written_at_s <= now_s < self.warm_until_s

    def is_being_written(self, now_s: float) -> bool:
        return now_s < self.written_at_s


class ReturnRates:
    """How often prefixes of one kind came back within each lifetime: learnt, from a guess worth a few requests."""

    GUESS_WEIGHT = 4.0
    MOST_TRIALS = 256.0

    def __init__(self, guess: float) -> None:
        self._trials = self.GUESS_WEIGHT
        self._hits: dict[CacheLifetime, float] = {
            lifetime: guess * self.GUESS_WEIGHT for lifetime in LIFETIMES
        }

    def learn(self, gap_s: float | None) -> None:
        """Count one prefix that came back after ``gap_s``, or did not for an hour (``None``)."""
        self._trials += 1
        for lifetime in LIFETIMES:
            self._hits[lifetime] += gap_s is not None and gap_s < LIFETIME_S[lifetime]
        if self._trials > self.MOST_TRIALS:  # old habits count less
            self._trials /= 2
            self._hits = {lifetime: hits / 2 for lifetime, hits in self._hits.items()}

    def of(self, lifetime: CacheLifetime) -> float:
        return self._hits[lifetime] / self._trials


@dataclass(frozen=True, slots=True)
class Sighting:
    """One request as the memory sees it: its prefixes in order, and how far it was known.

    ``known`` is the index of the longest prefix that had been seen before, -1 for none.
    """

    kind: Kind
    known: int
    prefixes: tuple[Prefix, ...]
    gaps_s: tuple[float, ...]


class PrefixMemory:
    """The prefixes of all models, least recently seen first."""

    MOST_EXPECTED = 4_096

    def __init__(self, max_prefixes: int) -> None:
        self._max = max_prefixes
        self._prefixes: OrderedDict[tuple[str, str], Prefix] = OrderedDict()
        self._expected: deque[tuple[float, Prefix]] = deque()
        self.rates: dict[Kind, ReturnRates] = {
            "shared": ReturnRates(0.5),
            "repeat": ReturnRates(0.5),
            "chat": ReturnRates(0.6),
            "loop": ReturnRates(0.9),
        }

    def __len__(self) -> int:
        return len(self._prefixes)

    def see(
        self, model: str, boundaries: Sequence[PrefixBoundary], now_s: float, *, in_loop: bool
    ) -> Sighting:
        """Take note of a request; ``boundaries`` are in order, from the shortest prefix on."""
        self._settle_expectations(now_s)
        found = [self._prefixes.get((model, boundary.hash)) for boundary in boundaries]
        known = next((index for index in reversed(range(len(found))) if found[index] is not None), -1)
        end = len(boundaries) - 1
        before = found[known] if known >= 0 else None
        kind = self._kind(before, known, end, in_loop)
        prefixes: list[Prefix] = []
        for index, boundary in enumerate(boundaries):
            prefix = found[index] or Prefix(seen_at_s=now_s)
            # Whatever goes on from the longest known prefix also uses the shorter ones, but the intervals that
            # tell of their use are those of the first (the system prompt) and of the longest.
            if index in (0, known) and found[index] is not None:
                self._note_return(prefix, now_s)
            self._prefixes[model, boundary.hash] = prefix
            self._prefixes.move_to_end((model, boundary.hash))
            prefixes.append(prefix)
        gaps_s = before.gaps_s if before is not None else ()
        if end >= 0:
            last = prefixes[end]
            last.is_end = True
            if kind in ("chat", "loop") and known < end:
                last.gaps_s = gaps_s  # the conversation's rhythm goes on with its new end
        if kind != "first":
            self._expect(prefixes[known if kind == "shared" else end], kind, now_s)
        while len(self._prefixes) > self._max:
            self._prefixes.popitem(last=False)
        return Sighting(kind, known, tuple(prefixes), gaps_s)

    def _kind(self, before: Prefix | None, known: int, end: int, in_loop: bool) -> Kind:
        if in_loop:
            return "loop"
        if before is None:
            return "first"
        if known == end:
            return "repeat"
        return "chat" if before.is_end else "shared"

    def _note_return(self, prefix: Prefix, now_s: float) -> None:
        gap_s = max(0.0, now_s - prefix.seen_at_s)
        prefix.gaps_s = (*prefix.gaps_s, gap_s)[-GAPS_KEPT:]
        prefix.seen_at_s = now_s
        if prefix.expected is not None:
            self.rates[prefix.expected].learn(gap_s)
            prefix.expected = None

    def _expect(self, prefix: Prefix, kind: Kind, now_s: float) -> None:
        if len(self._expected) < self.MOST_EXPECTED:
            prefix.expected = kind
            self._expected.append((now_s, prefix))

    def _settle_expectations(self, now_s: float) -> None:
        """Learn from the prefixes that did not come back within the hour."""
        while self._expected and now_s - self._expected[0][0] >= LIFETIME_S["1h"]:
            _, prefix = self._expected.popleft()
            if prefix.expected is not None and now_s - prefix.seen_at_s >= LIFETIME_S["1h"]:
                self.rates[prefix.expected].learn(None)
                prefix.expected = None
