"""A simulated prompt cache on Anthropic's terms, with books: what the marks really cost.

It shares nothing with the planner but the prices: entries are made where a mark stands, a read starts at a mark and
looks back 20 blocks, a hit starts the lifetime anew, and an entry can be read ``ready_after_s`` later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from core.chat import CacheMarks, Usage
from core.context.cache_memory import CachePrices, PrefixBoundary

SONNET = CachePrices(fresh=3_000_000_000, read=300_000_000, write_5m=3_750_000_000, write_1h=6_000_000_000)
LOOKBACK_BLOCKS = 20


@dataclass
class Entry:
    ready_at_s: float
    until_s: float
    lifetime_s: float


@dataclass
class SimulatedCache:
    minimum_tokens: int
    ready_after_s: float = 0.0
    prices: CachePrices = SONNET
    entries: dict[str, Entry] = field(default_factory=dict)
    spent_nanodollars: int = 0
    uncached_nanodollars: int = 0
    largest_nanodollars: int = 0

    def bill(self, boundaries: Sequence[PrefixBoundary], marks: CacheMarks | None, now_s: float) -> Usage:
        whole = boundaries[-1].tokens
        marked = self._marked(boundaries, marks)
        read = -1
        for mark in marked:
            for index in range(mark, max(-1, mark - LOOKBACK_BLOCKS), -1):
                entry = self.entries.get(boundaries[index].hash)
                if index > read and entry is not None and entry.ready_at_s <= now_s < entry.until_s:
                    read = index
                    break
        read_tokens = boundaries[read].tokens if read >= 0 else 0
        if read >= 0:
            hit = self.entries[boundaries[read].hash]
            hit.until_s = now_s + hit.lifetime_s
        lifetime_s = 3600.0 if marks is not None and marks.lifetime == "1h" else 300.0
        last = max((mark for mark in marked if boundaries[mark].tokens >= self.minimum_tokens), default=-1)
        written = max(0, boundaries[last].tokens - read_tokens) if last > read else 0
        for mark in marked:
            if mark > read and boundaries[mark].tokens >= self.minimum_tokens:
                ready_at_s = now_s + self.ready_after_s
                self.entries[boundaries[mark].hash] = Entry(ready_at_s, ready_at_s + lifetime_s, lifetime_s)
        one_hour = lifetime_s > 300
        usage = Usage(
            fresh_input_tokens=whole - read_tokens - written,
            cache_read_tokens=read_tokens,
            cache_write_5m_tokens=0 if one_hour else written,
            cache_write_1h_tokens=written if one_hour else 0,
        )
        self._book(usage)
        return usage

    def _marked(self, boundaries: Sequence[PrefixBoundary], marks: CacheMarks | None) -> list[int]:
        if marks is None:
            return []
        assert len(marks.messages) + marks.system <= 4, "the API refuses a fifth mark"
        found = [
            index
            for index, boundary in enumerate(boundaries)
            if (marks.system if boundary.message is None else boundary.message in marks.messages)
        ]
        assert len(found) == len(marks.messages) + marks.system, "a mark stands where nothing ends"
        return found

    def _book(self, usage: Usage) -> None:
        prices = self.prices
        self.spent_nanodollars += (
            usage.fresh_input_tokens * prices.fresh
            + usage.cache_read_tokens * prices.read
            + usage.cache_write_5m_tokens * prices.write_5m
            + usage.cache_write_1h_tokens * prices.write_1h
        ) // 1_000_000
        uncached = usage.input_tokens * prices.fresh // 1_000_000
        self.uncached_nanodollars += uncached
        self.largest_nanodollars = max(self.largest_nanodollars, uncached)


def prompt(name: str, sizes: Sequence[int], *, system: tuple[str, int] | None = None) -> list[PrefixBoundary]:
    """Return the prefix boundaries of a conversation whose messages have these sizes, in tokens.

    Conversations of one name are alike as far as their sizes are; ``system`` is a prompt's name and its size.
    """
    boundaries: list[PrefixBoundary] = []
    tokens = 0
    path = ""
    if system is not None:
        path, tokens = f"system {system[0]} {system[1]}", system[1]
        boundaries.append(PrefixBoundary(hash=path, tokens=tokens, message=None))
    for index, size in enumerate(sizes):
        tokens += size
        path += f"/{name} {index} {size}"
        boundaries.append(PrefixBoundary(hash=path, tokens=tokens, message=index))
    return boundaries
