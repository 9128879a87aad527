"""A breaker per provider: it stops hammering a server that fails, and probes before it trusts it again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

BreakerPhase = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True)
class Ticket:
    """One request as the breaker knows it; ``generation`` counts the breaker's openings and closings."""

    generation: int
    is_probe: bool


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
        self._open_until: float | None = None
        self._probe: Ticket | None = None
        self._generation = 0

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

    def succeed(self, ticket: Ticket) -> None:
        if ticket.generation != self._generation:
            return
        if ticket.is_probe:
            self._turn(None)
            self._ends.clear()
            self._cooldown_s = self._first_cooldown_s
        self._remember(failed=False)

    def abandon(self, ticket: Ticket) -> None:
        """Tell that a request ended without saying anything about the server (stopped, caller's fault)."""
        if self._probe is ticket:
            self._probe = None

    def fail(self, ticket: Ticket, retry_after_s: float | None = None) -> None:
        """Tell of a failure; ``retry_after_s`` is the server's wish, obeyed up to the cap."""
        if ticket.generation != self._generation:
            return
        now = self._clock()
        self._remember(failed=True)
        if retry_after_s is not None:
            self._turn(now + min(retry_after_s, self._cooldown_cap_s))
        elif ticket.is_probe:
            self._cooldown_s = min(self._cooldown_s * 2, self._cooldown_cap_s)
            self._turn(now + self._cooldown_s)
        elif self._open_until is None and self._too_many_failed():
            self._turn(now + self._cooldown_s)

    def reset(self) -> None:
        """Forget everything: the server was restarted or its address changed."""
        self._ends.clear()
        self._turn(None)
        self._cooldown_s = self._first_cooldown_s

    def _turn(self, open_until: float | None) -> None:
        self._open_until = open_until
        self._probe = None
        self._generation += 1

    def _remember(self, *, failed: bool) -> None:
        now = self._clock()
        self._ends.append((now, failed))
        while self._ends and now - self._ends[0][0] > self._window_s:
            self._ends.popleft()

    def _too_many_failed(self) -> bool:
        failed = sum(1 for _, was_failure in self._ends if was_failure)
        return len(self._ends) >= self._min_requests and failed >= self._error_rate * len(self._ends)
