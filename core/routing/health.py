"""A breaker per provider: it stops hammering a server that fails, and probes before it trusts it again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal

BreakerPhase = Literal["closed", "open", "half_open"]


class Breaker:
    """Opens on an error rate over a window, or at once on a Retry-After.

    closed -> open when at least ``min_requests`` ended in the last ``window_s`` seconds and
    ``error_rate`` or more of them failed; open -> half_open after ``cooldown_s`` (doubled each time a probe
    fails, at most ``cooldown_cap_s``); half_open lets one request through, whose end closes or re-opens it.
    ``clock`` returns monotonic seconds.
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
        self._probe_started: float | None = None

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
        """Whether a request may be sent now; in half-open only while no probe is under way.

        A probe whose end was never told (its caller was killed) stops counting after ``cooldown_cap_s``.
        """
        phase = self.phase
        if phase != "half_open":
            return phase == "closed"
        return self._probe_started is None or self._clock() - self._probe_started > self._cooldown_cap_s

    def begin(self) -> None:
        """Tell that a request is being sent."""
        if self.phase == "half_open":
            self._probe_started = self._clock()

    def succeed(self) -> None:
        self._remember(failed=False)
        self._open_until = self._probe_started = None
        self._cooldown_s = self._first_cooldown_s

    def abandon(self) -> None:
        """Tell that a request ended without saying anything about the server (stopped, caller's fault)."""
        self._probe_started = None

    def fail(self, retry_after_s: float | None = None) -> None:
        """Tell of a failure; ``retry_after_s`` is the server's wish, obeyed up to the cap."""
        probe_failed = self.phase == "half_open"
        self._probe_started = None
        self._remember(failed=True)
        now = self._clock()
        if retry_after_s is not None:
            self._open_until = now + min(retry_after_s, self._cooldown_cap_s)
        elif probe_failed:
            self._cooldown_s = min(self._cooldown_s * 2, self._cooldown_cap_s)
            self._open_until = now + self._cooldown_s
        elif self._too_many_failed():
            self._open_until = now + self._cooldown_s

    def reset(self) -> None:
        """Forget everything: the server was restarted or its address changed."""
        self._ends.clear()
        self._open_until = self._probe_started = None
        self._cooldown_s = self._first_cooldown_s

    def _remember(self, *, failed: bool) -> None:
        now = self._clock()
        self._ends.append((now, failed))
        while self._ends and now - self._ends[0][0] > self._window_s:
            self._ends.popleft()

    def _too_many_failed(self) -> bool:
        failed = sum(1 for _, was_failure in self._ends if was_failure)
        return len(self._ends) >= self._min_requests and failed >= self._error_rate * len(self._ends)
