"""How long the router waits before it sends a request again to the side that turned it away."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

_MAX_DOUBLINGS = 32  # keeps 2**n a small number, whatever is asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Exponential backoff with full jitter.

    The wait before retry ``n`` is drawn evenly from 0 to ``min(cap_s, base_s * 2**(n - 1))`` seconds. Of the
    schemes that M. Brooker compares in "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015), it has the
    fewest calls in total. ``random`` returns a number from 0 to below 1.
    """

    base_s: float = 0.25
    cap_s: float = 8.0
    random: Callable[[], float] = random.random

    def delay_s(self, retry_number: int, retry_after_s: float | None = None) -> float | None:
        """Return the seconds to wait before retry ``retry_number`` (1 is the first).

        A server's Retry-After is waited for in full, and the jitter comes on top of it, so that all who were
        turned away together do not come back together. ``None``: it asks for more than ``cap_s``, which is too
        long to wait; go elsewhere.
        """
        spread_s = min(self.cap_s, self.base_s * 2.0 ** min(max(0, retry_number - 1), _MAX_DOUBLINGS))
        jitter_s = self.random() * spread_s
        if retry_after_s is None:
            return jitter_s
        return None if retry_after_s > self.cap_s else max(0.0, retry_after_s) + jitter_s
