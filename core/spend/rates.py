"""How often requests may begin: a pure rule over one number that the ledger keeps, shared by all processes.

The rule is GCRA, the generic cell rate algorithm (ITU-T I.371, Annex A): ``tat`` is the theoretical arrival time of
the next request at the steady rate. A request conforms unless that time lies more than a burst ahead of now.
It equals a leaky bucket of ``per_minute`` that empties evenly over a minute, needs no timer, and its state is
one number a limit. Times are nanoseconds since 1970, so that the interval of any rate is rounded by less than a
millionth, and upwards: the rate is never passed.
"""

from __future__ import annotations

from dataclasses import dataclass

MINUTE_NS = 60_000_000_000


@dataclass(frozen=True, slots=True)
class Conformed:
    """The request may begin; ``tat_ns`` is the state to keep."""

    tat_ns: int


@dataclass(frozen=True, slots=True)
class TooSoon:
    """The same request would conform in ``wait_ns`` nanoseconds, if no other came before it."""

    wait_ns: int


def conform(tat_ns: int, now_ns: int, per_minute: int) -> Conformed | TooSoon:
    """Apply the rule to a request at ``now_ns``. ``per_minute`` of 0 or less lets none through."""
    if per_minute <= 0:
        return TooSoon(MINUTE_NS)
    interval_ns = -(-MINUTE_NS // per_minute)
    burst_ns = interval_ns * per_minute
    if tat_ns > now_ns + 2 * burst_ns:
        # No clock that runs forward leads here: it was set back, and nobody shall wait until it has caught up.
        tat_ns = now_ns
    next_tat_ns = max(tat_ns, now_ns) + interval_ns
    ahead_ns = next_tat_ns - now_ns
    return Conformed(next_tat_ns) if ahead_ns <= burst_ns else TooSoon(ahead_ns - burst_ns)
