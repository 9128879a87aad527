"""Decides which prefix of a prompt the API is asked to cache, and only where that pays.

A mark costs money now (writing is dearer than sending) and saves it later (reading is cheaper), if the prefix comes
back in time. So nothing is marked at first sight, except inside a tool loop, where the next call surely comes.
After that the expected number of reads is learnt from the intervals at which this prefix, and prefixes of its
kind, came back; an hour's cache is chosen only where those intervals ask for it.

Guesses can be wrong, so the loss is bounded: what marks have cost more than they saved may never be more than the
input of two prompts, and it is paid back by a hundredth of what is sent. Whatever the traffic does, caching costs
at most that much more than no caching (as far as the outcome of the requests before it is known).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.base.text import worded_duration
from core.chat import CacheLifetime, CacheMarks, CachePlan, Usage
from core.context.cache_memory import (
    GAPS_KEPT,
    LIFETIME_S,
    LIFETIMES,
    MAX_MARKS,
    CachePrices,
    Kind,
    Prefix,
    PrefixBoundary,
    PrefixMemory,
    Sighting,
    minimum_cache_tokens,
)
from core.pricing.money import format_cost


def words_for(
    sighting: Sighting,
    a_use_nanodollars: int | None,
    *,
    lifetime: CacheLifetime = "5m",
    warm_tokens: int = 0,
) -> str:
    """Return the reason; ``a_use_nanodollars`` is what each later use saves, ``None`` where nothing is marked."""
    if a_use_nanodollars is None:
        if sighting.kind == "first":
            return "seen for the first time, so nothing says that it comes again"
        return f"{_seen(sighting)}: too seldom for its cache to pay"
    in_loop = sighting.kind == "loop"
    why = "inside a tool loop, so the next call brings it again" if in_loop else _seen(sighting)
    kept = ", kept for an hour" if lifetime == "1h" else ""
    warm = f"; about {warm_tokens:,} tokens are cached already" if warm_tokens else ""
    return f"{why}{kept}; saves about {format_cost(a_use_nanodollars)} a use{warm}"


def _seen(sighting: Sighting) -> str:
    gaps_s = sighting.gaps_s
    what = "its beginning was seen" if sighting.kind == "shared" else "seen"
    more = "at least " if len(gaps_s) >= GAPS_KEPT else ""
    return f"{what} {more}{len(gaps_s) + 1} times in the last {worded_duration(sum(gaps_s))}"


MAX_PREFIXES = 16_384
"""About 5 MB of memory."""
WRITING_S = 10.0
"""A prefix can be read once the answer that writes it has begun; until then a second mark would write it again.
``settled`` says when that is; where nobody calls it, the answer is taken to have begun after so long."""
GUESS_WEIGHT = 1.5
"""So many intervals of a prefix' own weigh as much as what is known of its kind."""
MOST_LOST_PROMPTS = 2
PAID_BACK_SHARE = 100
"""A hundredth of what is sent pays losses of the past back: in the long run caching costs 1 % at worst."""
OPEN_PLANS = 1_024
MODELS_KEPT = 256
SILENT_REPLIES = 3
SILENT_FOR_S = 3_600.0
"""A server that answers so many marked requests without a word of its cache has none; it is asked again later."""


@dataclass(slots=True)
class _Open:
    """A plan whose outcome is not known yet: what the purse was charged, and what was marked.

    ``before`` are the times until which the marked prefixes were warm, and from which on, before this plan.
    """

    model: str
    charged_nanodollars: int
    marked: tuple[Prefix, ...]
    before: tuple[tuple[float, float], ...]
    surely_long_enough: bool


@dataclass(slots=True)
class _Silence:
    replies: int = 0
    until_s: float = float("-inf")


@dataclass(frozen=True, slots=True)
class _Choice:
    """A prefix to mark (its index), for how long, and what that is worth in nano-dollars."""

    index: int
    lifetime: CacheLifetime
    worth: float
    next_use_share: float


class CachePlanner:
    """Plans the cache marks of requests to the API. Not thread-safe: it lives on the core's loop.

    ``clock`` is in seconds and never goes back. At most ``max_prefixes`` prefixes are remembered, as hashes.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, max_prefixes: int = MAX_PREFIXES
    ) -> None:
        self._clock = clock
        self._memory = PrefixMemory(max_prefixes)
        self._loss_nanodollars = 0
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._silence: dict[str, _Silence] = {}

    def plan(
        self,
        boundaries: Sequence[PrefixBoundary],
        *,
        model: str,
        prices: CachePrices | None,
        in_tool_loop: bool = False,
        key: str | None = None,
    ) -> CachePlan:
        """Say where the request with these prefixes is marked; call it once for each request that is sent.

        ``boundaries`` are the ends of system prompt (with tools) and messages, in order. ``prices`` of ``None`` is
        an unpriced model: nothing is marked. ``key`` names the request for ``settled``.
        """
        now_s = self._clock()
        sighting = self._memory.see(model, boundaries, now_s, in_loop=in_tool_loop)
        tokens = boundaries[-1].tokens if boundaries else 0
        minimum = minimum_cache_tokens(model)
        if prices is None:
            return _unmarked(f"the prices of {model}'s cache are not known", tokens)
        prompt = prices.fresh_nanodollars(tokens)
        self._pay_back(prompt)
        if tokens < minimum:
            return _unmarked(
                f"too short to cache: about {tokens:,} tokens, {model} takes {minimum:,}", tokens
            )
        if self._is_silent(model, now_s):
            return _unmarked(f"the server reports no cache for {model}", tokens)
        warm = _longest_warm(boundaries, sighting, now_s, minimum)
        warm_tokens = boundaries[warm].tokens if warm >= 0 else 0
        choice = self._choose(boundaries, sighting, warm, minimum, prices, now_s)
        end = max(warm, choice.index if choice is not None else -1)
        if end < 0:
            return _unmarked(words_for(sighting, None), tokens)
        lifetime: CacheLifetime = choice.lifetime if choice is not None else sighting.prefixes[warm].lifetime
        # What is believed to be warm may be gone; then all of the prefix is written anew.
        if not self._affordable(prices.surcharge_nanodollars(boundaries[end].tokens, lifetime), prompt):
            return _unmarked("caching has cost more than it saved lately", tokens)
        marked = _marked(boundaries, sighting, warm, end, minimum)
        written_tokens = boundaries[end].tokens - warm_tokens if choice is not None else 0
        surcharge = prices.surcharge_nanodollars(written_tokens, lifetime)
        charged = surcharge - prices.saving_nanodollars(warm_tokens)
        self._charge(charged)
        if key is not None:
            prefixes = tuple(sighting.prefixes[index] for index in marked)
            before = tuple((prefix.warm_until_s, prefix.written_at_s) for prefix in prefixes)
            self._open[key] = _Open(model, charged, prefixes, before, boundaries[end].tokens >= 2 * minimum)
            while len(self._open) > OPEN_PLANS:
                self._open.popitem(last=False)
        _note_marks(sighting, marked, warm, lifetime, now_s)
        a_use = prices.saving_nanodollars(boundaries[end].tokens)
        share = (
            choice.next_use_share
            if choice is not None
            else self._returns(_gaps(sighting, sighting.known), sighting.kind, lifetime)[0]
        )
        return CachePlan(
            marks=CacheMarks(
                system=any(boundaries[index].message is None for index in marked),
                messages=tuple(
                    message for index in marked if (message := boundaries[index].message) is not None
                ),
                lifetime=lifetime,
            ),
            reason=words_for(sighting, a_use, lifetime=lifetime, warm_tokens=warm_tokens),
            prefix_tokens=boundaries[end].tokens,
            saving_nanodollars=round(share * a_use) - surcharge,
        )

    def settled(self, key: str, usage: Usage | None, prices: CachePrices | None) -> None:
        """Correct what ``plan`` believed by what the API billed.

        ``usage`` of ``None``: the API did not answer it, because it failed or went elsewhere.
        """
        plan = self._open.pop(key, None)
        if plan is None:
            return
        now_s = self._clock()
        if usage is None or prices is None:
            self._charge(-plan.charged_nanodollars)
            for prefix, before in zip(plan.marked, plan.before, strict=True):
                prefix.warm_until_s, prefix.written_at_s = before
            return
        truth = (
            prices.surcharge_nanodollars(usage.cache_write_5m_tokens, "5m")
            + prices.surcharge_nanodollars(usage.cache_write_1h_tokens, "1h")
            - prices.saving_nanodollars(usage.cache_read_tokens)
        )
        self._charge(truth - plan.charged_nanodollars)
        cached = usage.cache_read_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        if len(self._silence) > MODELS_KEPT:  # model names may come from outside: never grow without end
            self._silence.clear()
        silence = self._silence.setdefault(plan.model, _Silence())
        if cached:
            silence.replies = 0
        elif plan.surely_long_enough:  # sizes are estimates: a shorter one may really be below the minimum
            silence.replies += 1
            if silence.replies >= SILENT_REPLIES:
                silence.replies, silence.until_s = 0, now_s + SILENT_FOR_S
        for prefix in plan.marked:
            if cached:
                prefix.written_at_s = min(prefix.written_at_s, now_s)
            else:
                prefix.warm_until_s = now_s

    def _choose(
        self,
        boundaries: Sequence[PrefixBoundary],
        sighting: Sighting,
        warm: int,
        minimum: int,
        prices: CachePrices,
        now_s: float,
    ) -> _Choice | None:
        """Return the prefix beyond the warm one whose expected saving is largest, ``None`` where none pays."""
        if sighting.kind == "first":
            return None
        target = sighting.known if sighting.kind == "shared" else len(boundaries) - 1
        best: _Choice | None = None
        for lifetime in LIFETIMES:
            worth = 0.0
            written_tokens = boundaries[warm].tokens if warm >= 0 else 0
            for index in sorted({0, target}):
                tokens = boundaries[index].tokens - written_tokens
                if index <= warm or tokens <= 0:
                    continue
                written_tokens = boundaries[index].tokens
                share, reads = self._expected(boundaries, sighting, index, target, lifetime)
                worth += tokens * (
                    reads * (prices.fresh - prices.read) - (prices.write(lifetime) - prices.fresh)
                )
                if worth <= (best.worth if best is not None else 0) or written_tokens < minimum:
                    continue
                if reads and not sighting.prefixes[index].is_being_written(now_s):
                    best = _Choice(index, lifetime, worth, share)
        return best

    def _expected(
        self,
        boundaries: Sequence[PrefixBoundary],
        sighting: Sighting,
        index: int,
        target: int,
        lifetime: CacheLifetime,
    ) -> tuple[float, float]:
        """Return the share of next uses that come in time, and how many reads to expect before one does not."""
        share, reads = self._returns(_gaps(sighting, target), sighting.kind, lifetime)
        if index < target:  # whatever uses the longer prefix uses the shorter one as well
            own = self._returns(sighting.prefixes[index].gaps_s, "shared", lifetime)
            share, reads = max(share, own[0]), max(reads, own[1])
        return share, reads

    def _returns(self, gaps_s: tuple[float, ...], kind: Kind, lifetime: CacheLifetime) -> tuple[float, float]:
        limit_s = LIFETIME_S[lifetime]
        in_time = sum(gap_s < limit_s for gap_s in gaps_s)
        share = (in_time + GUESS_WEIGHT * self._memory.rates[kind].of(lifetime)) / (
            len(gaps_s) + GUESS_WEIGHT
        )
        if gaps_s and gaps_s[-1] >= limit_s:
            share /= 2  # the rhythm has just slowed down
        if lifetime == "1h" and sum(LIFETIME_S["5m"] <= gap_s < limit_s for gap_s in gaps_s) < 2:
            return share, 0.0  # not two intervals so far that only an hour's cache would have bridged
        # A row of uses ends with the first that comes too late (geometric); and what lasted for n uses is not
        # expected to last for more than as many again.
        return share, min(share / max(1e-9, 1 - share), len(gaps_s) + 1)

    def _affordable(self, surcharge_nanodollars: int, prompt_nanodollars: int) -> bool:
        return self._loss_nanodollars + surcharge_nanodollars <= MOST_LOST_PROMPTS * prompt_nanodollars

    def _charge(self, nanodollars: int) -> None:
        self._loss_nanodollars = max(0, self._loss_nanodollars + nanodollars)

    def _pay_back(self, sent_nanodollars: int) -> None:
        self._charge(-(sent_nanodollars // PAID_BACK_SHARE))

    def _is_silent(self, model: str, now_s: float) -> bool:
        silence = self._silence.get(model)
        return silence is not None and now_s < silence.until_s


def _unmarked(why: str, tokens: int) -> CachePlan:
    return CachePlan(marks=None, reason=why, prefix_tokens=tokens, saving_nanodollars=None)


def _gaps(sighting: Sighting, target: int) -> tuple[float, ...]:
    return sighting.prefixes[target].gaps_s if sighting.kind in ("shared", "repeat") else sighting.gaps_s


def _longest_warm(
    boundaries: Sequence[PrefixBoundary], sighting: Sighting, now_s: float, minimum: int
) -> int:
    for index in range(sighting.known, -1, -1):
        if boundaries[index].tokens < minimum:
            break
        if sighting.prefixes[index].is_warm(now_s):
            return index
    return -1


def _marked(
    boundaries: Sequence[PrefixBoundary], sighting: Sighting, warm: int, end: int, minimum: int
) -> tuple[int, ...]:
    """Return the boundaries to mark.

    Beside the end: the warm one itself, since from the end on a reader looks back 20 blocks only; the system
    prompt and the last known prefix, so that other conversations and other branches of this one can read them.
    Inside what is written anyway, a mark costs nothing.
    """
    wanted = {end, warm, 0, sighting.known}
    marked = sorted(index for index in wanted if 0 <= index <= end and boundaries[index].tokens >= minimum)
    return tuple(marked[-MAX_MARKS:])


def _note_marks(
    sighting: Sighting, marked: tuple[int, ...], warm: int, lifetime: CacheLifetime, now_s: float
) -> None:
    for index in marked:
        prefix = sighting.prefixes[index]
        if index <= warm:
            if prefix.is_warm(now_s):
                prefix.warm_until_s = now_s + LIFETIME_S[prefix.lifetime]
        else:
            prefix.lifetime = lifetime
            prefix.written_at_s = now_s + WRITING_S
            prefix.warm_until_s = now_s + LIFETIME_S[lifetime]
