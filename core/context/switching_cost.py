"""What leaving a side throws away: the prompt prefix that is warm there.

On the API side it is cash with a clock: Anthropic keeps a written prefix for five minutes or an hour after its
last use, and writing it anew costs the write price where reading it would have cost the read price. On the local
side it is machine time: vLLM and llama.cpp keep the last prompts' keys and values until memory is needed for
others, and a prefix that is gone has to be computed again at the server's prefill speed.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.chat import CacheLifetime, CacheSwitchCost, Side
from core.context.cache_memory import LIFETIME_S, TOKENS_A_PRICE, CachePrices

LOCAL_LIFETIME_S = 600.0
"""How long a local prefix is taken to stay. No server promises a time: it goes when others need the memory."""
_SECONDS_AN_HOUR = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmPrefix:
    """The prefix that a conversation's last answer left warm.

    ``at_s`` is when it was last used, on the same clock as ``now_s``. ``lifetime`` is the API's; the local side
    has none.
    """

    side: Side
    cached_tokens: int
    at_s: float
    lifetime: CacheLifetime = "5m"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefillSpeed:
    """What the local server's reading costs; each is ``None`` where it is not known."""

    tokens_per_s: float | None = None
    nanodollars_per_hour: int | None = None


def switching_cost(
    last: WarmPrefix | None,
    now_s: float,
    *,
    prices: CachePrices | None = None,
    prefill: PrefillSpeed | None = None,
) -> CacheSwitchCost | None:
    """Return what leaving the side of the last answer costs, ``None`` where nothing is warm there (any more).

    ``prices`` are those of the API's model, ``prefill`` is the local server's. The amount is what the next
    request there would pay more; ``None`` in it is a price nobody knows.
    """
    if last is None or last.cached_tokens <= 0:
        return None
    lifetime_s = LIFETIME_S[last.lifetime] if last.side == "api" else LOCAL_LIFETIME_S
    left_s = min(lifetime_s, last.at_s + lifetime_s - now_s)
    if left_s <= 0:
        return None
    if last.side == "api":
        amount = _rewrite_nanodollars(last, prices)
    else:
        amount = prefill_nanodollars(last.cached_tokens, prefill)
    return CacheSwitchCost(
        side=last.side, cached_tokens=last.cached_tokens, nanodollars=amount, expires_in_s=left_s
    )


def prefill_nanodollars(tokens: int, prefill: PrefillSpeed | None) -> int | None:
    """Return what reading ``tokens`` costs the local machine: tokens / prefill speed x its price an hour."""
    if prefill is None or prefill.tokens_per_s is None or prefill.nanodollars_per_hour is None:
        return None
    if prefill.tokens_per_s <= 0:
        return None
    return round(tokens / prefill.tokens_per_s * prefill.nanodollars_per_hour / _SECONDS_AN_HOUR)


def _rewrite_nanodollars(last: WarmPrefix, prices: CachePrices | None) -> int | None:
    if prices is None:
        return None
    dearer = max(0, prices.write(last.lifetime) - prices.read)
    return last.cached_tokens * dearer // TOKENS_A_PRICE
