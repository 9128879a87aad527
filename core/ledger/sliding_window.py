"""How often requests may begin: a pure rule over a short log that the ledger keeps, shared by all processes.

The rule is the *sliding window log*: the times of the last minute's requests are kept, and one more may begin while
they are fewer than the limit, so no span of 60 seconds ever has more than ``per_minute`` (P. Hayes, "Better Rate
Limiting With Redis Sorted Sets", ClassDojo Engineering, 2015, describes it). The generic cell rate algorithm, which
keeps one number, can't promise that at the full rate: with a burst of B and a steady rate of R a minute some minute
has B + R of them (ITU-T I.371, Annex A), so either the burst or a part of the rate has to be given up.

A log of a million times would be too long. Above ``EXACT_UP_TO`` a minute each time is rounded *up* to the next
half second, and those of the same half second are one entry with a count. Rounded up, a request is counted a little
longer than it has to be and never shorter, so the limit holds as before; the log has 121 entries at most.

Times are microseconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass

MINUTE_US = 60_000_000

EXACT_UP_TO = 120
"""Up to so many a minute each request's own time is kept."""

Log = tuple[tuple[int, int], ...]
"""When requests began and how many then, oldest first."""


@dataclass(frozen=True, slots=True)
class Passed:
    """The request may begin; ``log`` is what to keep."""

    log: Log


@dataclass(frozen=True, slots=True)
class TooSoon:
    """The same request would pass in ``wait_us`` microseconds, if no other came before it.

    ``turns`` says for a line of them in how many microseconds how many may begin, if each takes its turn at once;
    after the last one it begins anew, a minute later.
    """

    wait_us: int
    turns: Log = ()


def begin(log: Log, now_us: int, per_minute: int) -> Passed | TooSoon:
    """Apply the rule to a request at ``now_us``. ``per_minute`` of 0 or less lets none through."""
    if per_minute <= 0:
        return TooSoon(MINUTE_US)
    log = _of_the_last_minute(log, now_us)
    begun = sum(count for _, count in log)
    if begun >= per_minute:
        turns = _turns(log, now_us, begun - per_minute)
        return TooSoon(turns[0][0], turns)
    at_us = now_us
    if per_minute > EXACT_UP_TO:
        step_us = MINUTE_US // EXACT_UP_TO
        at_us = -(-now_us // step_us) * step_us
    if log and log[-1][0] >= at_us:
        # In the same step, or another process's clock was a little ahead.
        last_us, count = log[-1]
        return Passed((*log[:-1], (last_us, count + 1)))
    return Passed((*log, (at_us, 1)))


def _of_the_last_minute(log: Log, now_us: int) -> Log:
    # No clock that runs forward leads to a time over a minute ahead: it was set back. Nobody knows how long ago
    # those began, and nobody is to wait until it has caught up: they go, as after a clock that was set forward.
    return tuple(entry for entry in log if now_us - MINUTE_US < entry[0] <= now_us + MINUTE_US)


def _turns(log: Log, now_us: int, too_many: int) -> Log:
    """Return when the requests of ``log`` drop out, but for the first ``too_many``: those make room for nobody."""
    turns: list[tuple[int, int]] = []
    for at_us, count in log:
        skipped = min(too_many, count)
        too_many -= skipped
        if count > skipped:
            turns.append((at_us + MINUTE_US - now_us, count - skipped))
    return tuple(turns)


def to_text(log: Log) -> str:
    """Return a log as the ledger keeps it: ``1800000000000000 1800000000500000x12``."""
    return " ".join(str(at_us) if count == 1 else f"{at_us}x{count}" for at_us, count in log)


def from_text(text: str) -> Log:
    """Read what ``to_text`` wrote."""
    entries = (word.partition("x") for word in text.split())
    return tuple((int(at_us), int(count or 1)) for at_us, _, count in entries)
