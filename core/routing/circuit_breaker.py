"""A breaker per provider and model: it stops hammering a server that fails, and probes before it trusts it again.

The pattern is M. Nygard's circuit breaker ("Release It!", 2007), with a window of outcomes instead of a count.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack

from core.errors import ContentRefused, QueueFull, TransientFailure

BreakerPhase = Literal["closed", "open", "half_open"]

MAX_BREAKERS = 256
"""Breakers that are kept at once: a caller may name any model, so their number must not grow with the names."""

MAX_ENDS = 1000
"""Ends of requests that one breaker remembers: at 1,000 requests a minute the window is shorter than asked for."""

_generations = itertools.count(1)


def new_generation() -> int:
    """Return a number above that of every ticket that was given so far."""
    return next(_generations)


@dataclass(frozen=True, slots=True)
class Ticket:
    """One request as the breaker knows it; ``generation`` is new with each opening and closing of any breaker."""

    generation: int
    is_probe: bool


class BreakerLimits(TypedDict, total=False):
    """What ``Breaker`` takes beside its clock: seconds, a count of requests and a share from 0 to 1."""

    window_s: float
    min_requests: int
    error_rate: float
    cooldown_s: float
    cooldown_cap_s: float


class Breaker:
    """Opens on an error rate over a window, or at once on a Retry-After.

    closed -> open when at least ``min_requests`` ended in the last ``window_s`` seconds and
    ``error_rate`` or more of them failed; open -> half_open after ``cooldown_s`` (doubled each time a probe
    fails, at most ``cooldown_cap_s``); half_open lets one request through, whose end closes or re-opens it.
    What a request of an earlier generation says is ignored: an old stream that ends well does not undo a
    Retry-After that came meanwhile. ``clock`` returns monotonic seconds.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        window_s: float = 60.0,
        min_requests: int = 4,
        error_rate: float = 0.5,
        cooldown_s: float = 10.0,
        cooldown_cap_s: float = 300.0,
    ) -> None:
        self._clock = clock
        self._window_s = window_s
        self._min_requests = min_requests
        self._error_rate = error_rate
        self._first_cooldown_s = cooldown_s
        self._cooldown_s = cooldown_s
        self._cooldown_cap_s = cooldown_cap_s
        self._ends: deque[tuple[float, bool]] = deque()
        self._failed = 0
        self._open_until: float | None = None
        self._probe: Ticket | None = None
        self._generation = new_generation()

    @property
    def phase(self) -> BreakerPhase:
        if self._open_until is None:
            return "closed"
        return "open" if self._clock() < self._open_until else "half_open"

    @property
    def retry_in_s(self) -> float:
        """Seconds until a probe is let through; 0 unless open."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - self._clock())

    @property
    def allows(self) -> bool:
        """Whether a request may be sent now; in half-open only while no probe is under way."""
        phase = self.phase
        return phase == "closed" or (phase == "half_open" and self._probe is None)

    def begin(self) -> Ticket:
        """Tell that a request is going to be sent; call it before anything else may look at ``allows``."""
        is_probe = self.phase == "half_open" and self._probe is None
        ticket = Ticket(self._generation, is_probe)
        if is_probe:
            self._probe = ticket
        return ticket

    def end(self, ticket: Ticket, error: BaseException | None, *, booting: bool = False) -> None:
        """Tell how a request ended; ``error`` is ``None`` for an answer.

        Only what speaks of the server's health counts: a 401, an unknown model, a caller's mistake, a full
        waiting line or a request's own deadline does not. A server that is still starting is not broken:
        neither its own word (``TransientFailure.booting``) nor a failure while the caller knows it to be
        starting (``booting``) opens the breaker.
        """
        if error is None or isinstance(error, ContentRefused):
            self.succeed(ticket)
        elif (
            not isinstance(error, TransientFailure)
            or isinstance(error, QueueFull)
            or booting
            or error.booting
        ):
            self.abandon(ticket)
        else:
            self.fail(ticket, error.retry_after_s)

    def succeed(self, ticket: Ticket) -> None:
        if ticket.generation != self._generation:
            return
        if ticket.is_probe:
            self.reset()
        self._remember(failed=False)

    def abandon(self, ticket: Ticket) -> None:
        """Tell that a request ended without saying anything about the server (stopped, caller's fault)."""
        if self._probe is ticket:
            self._probe = None

    def fail(self, ticket: Ticket, retry_after_s: float | None = None) -> None:
        """Tell of a failure; ``retry_after_s`` is the server's wish, obeyed up to the cap (0 is no wish)."""
        if ticket.generation != self._generation:
            return
        now = self._clock()
        self._remember(failed=True)
        if retry_after_s:
            self._turn(now + min(retry_after_s, self._cooldown_cap_s))
        elif ticket.is_probe:
            self._cooldown_s = min(self._cooldown_s * 2, self._cooldown_cap_s)
            self._turn(now + self._cooldown_s)
        elif self._open_until is None and self._too_many_failed():
            self._turn(now + self._cooldown_s)

    def reset(self) -> None:
        """Forget everything: the server was restarted or its address changed."""
        self._ends.clear()
        self._failed = 0
        self._turn(None)
        self._cooldown_s = self._first_cooldown_s

    def _turn(self, open_until: float | None) -> None:
        self._open_until = open_until
        self._probe = None
        self._generation = new_generation()

    def _remember(self, *, failed: bool) -> None:
        now = self._clock()
        self._ends.append((now, failed))
        self._failed += failed
        while now - self._ends[0][0] > self._window_s or len(self._ends) > MAX_ENDS:
            self._failed -= self._ends.popleft()[1]

    def _too_many_failed(self) -> bool:
        return len(self._ends) >= self._min_requests and self._failed >= self._error_rate * len(self._ends)


class Breakers:
    """The breakers of all providers and models, made at first use and at most ``max_breakers`` of them.

    ``limits`` are those of ``Breaker``. Past the bound, the breaker that was asked for longest ago goes, closed
    ones first. What a request under way then says of it is ignored.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        max_breakers: int = MAX_BREAKERS,
        **limits: Unpack[BreakerLimits],
    ) -> None:
        self._clock = clock
        self._max_breakers = max_breakers
        self._limits = limits
        self._breakers: OrderedDict[tuple[str, str | None], Breaker] = OrderedDict()

    def of(self, provider: str, model: str | None) -> Breaker:
        """Return the breaker of ``model`` at ``provider``; ``None`` is the provider's only model."""
        key = (provider, model)
        breaker = self._breakers.get(key)
        if breaker is None:
            limits = self._limits
            if len(self._breakers) >= self._max_breakers:
                self._forget_one()
            breaker = self._breakers[key] = Breaker(self._clock, **limits)
        else:
            self._breakers.move_to_end(key)
        return breaker

    def reset(self, provider: str | None = None) -> None:
        """Forget all that is known of ``provider`` (of all): it was restarted, or its address or key changed."""
        for (name, _), breaker in self._breakers.items():
            if provider is None or name == provider:
                breaker.reset()

    def phases(self) -> Mapping[tuple[str, str | None], BreakerPhase]:
        """Return the phase of each breaker there is, by provider and model."""
        return {key: breaker.phase for key, breaker in self._breakers.items()}

    def _forget_one(self) -> None:
        oldest = next(iter(self._breakers))
        closed = (key for key, breaker in self._breakers.items() if breaker.phase == "closed")
        del self._breakers[next(closed, oldest)]
