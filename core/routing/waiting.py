"""Runs work to its end while its reader hears what it waits for, and how lines tell their places."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from core.chat import Waiting

log = logging.getLogger(__name__)

OnWait = Callable[[Waiting], None]
OnPlace = Callable[[int, float | None], None]
"""Hears how many are ahead, and in how many seconds the turn comes (``None``: nobody knows)."""

TELL_EVERY_S = 1.0


class PlaceNews:
    """Tells one request its place in a line when that is news. ``clock`` returns seconds.

    What the listener can count down itself is none, nor is the same estimate again.
    """

    def __init__(self, on_place: OnPlace, clock: Callable[[], float]) -> None:
        self._on_place = on_place
        self._clock = clock
        self._told: tuple[int, float | None, float] | None = None

    def tell(self, ahead: int, expected_s: float | None) -> None:
        now = self._clock()
        if self._told is not None and not _differs(self._told, (ahead, expected_s, now)):
            return
        self._told = (ahead, expected_s, now)
        try:
            self._on_place(ahead, expected_s)
        except Exception:
            # It is called from another request's change of the line: that one must not fail for it.
            log.exception("a listener for a waiting line failed")


def _differs(told: tuple[int, float | None, float], new: tuple[int, float | None, float]) -> bool:
    told_ahead, told_s, told_at = told
    ahead, expected_s, at = new
    if ahead != told_ahead or (expected_s is None) != (told_s is None):
        return True
    if expected_s is None or told_s is None:
        return False
    counted_down_s = told_s - (at - told_at)
    return abs(expected_s - told_s) >= 1 and abs(expected_s - counted_down_s) >= 1


class OncePerSecond:
    """Runs ``action`` at once when it is wanted, and about once a second while it is wanted more often.

    A timer runs only while something is left to do.
    """

    def __init__(self, action: Callable[[], None], clock: Callable[[], float]) -> None:
        self._action = action
        self._clock = clock
        self._next_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def wanted(self) -> None:
        if self._timer is not None:
            return
        now = self._clock()
        if self._next_at is None or now >= self._next_at:
            self._run()
        else:
            self._timer = asyncio.get_running_loop().call_later(self._next_at - now, self._run)

    def cancel(self) -> None:
        """Forget what is left to do."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        self._timer = None
        self._next_at = self._clock() + TELL_EVERY_S
        self._action()
