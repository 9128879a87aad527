"""The terms of Anthropic's prompt cache: lifetimes, sizes, places and prices.

From its documentation ("Prompt caching"): the prefix runs tools, system, messages, and has to match exactly. A
prefix is written where a block is marked, and only there; at most four blocks may be. It is read when a marked
block, or one of the 20 before it, is where an earlier request wrote. A write costs 1.25 times the input price
(five minutes) or twice (an hour), a read a tenth; each read starts the lifetime anew for nothing. A prefix below
the model's minimum is not cached, without an error and without a surcharge.
"""

from __future__ import annotations

from dataclasses import dataclass

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
