"""Says in plain words why a prompt's prefix is or is not marked for the API's cache."""

from __future__ import annotations

from core.chat import CacheLifetime
from core.context.cache_memory import GAPS_KEPT, Sighting

_NANODOLLARS = 1_000_000_000


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
    warm = f"; about {warm_tokens} tokens are cached already" if warm_tokens else ""
    return f"{why}{kept}; saves about {_dollars(a_use_nanodollars)} a use{warm}"


def _seen(sighting: Sighting) -> str:
    gaps_s = sighting.gaps_s
    what = "its beginning was seen" if sighting.kind == "shared" else "seen"
    more = "at least " if len(gaps_s) >= GAPS_KEPT else ""
    return f"{what} {more}{len(gaps_s) + 1} times in the last {_span(sum(gaps_s))}"


def _span(seconds: float) -> str:
    for limit_s, unit_s, unit in ((90, 1, "second"), (5_400, 60, "minute"), (172_800, 3_600, "hour")):
        if seconds < limit_s:
            number = max(1, round(seconds / unit_s))
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return f"{round(seconds / 86_400)} days"


def _dollars(nanodollars: int) -> str:
    if nanodollars < 100_000:
        return "less than $0.0001"
    return f"${nanodollars / _NANODOLLARS:.4f}"
