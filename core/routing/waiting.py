"""A waiting line: who comes first goes first, and whoever waits hears its place when it changes."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from core.chat import Waiting

log = logging.getLogger(__name__)

OnWait = Callable[[Waiting], None]
OnPlace = Callable[[int, float | None], None]
"""Hears how many are ahead, and in how many seconds the turn comes (``None``: nobody knows)."""


@dataclass(slots=True, eq=False, kw_only=True)
class Place:
    """One request's place in a line, since ``since`` by the line's clock. ``told_ahead`` is what it heard last."""

    since: float
    on_place: OnPlace | None = None
    told_ahead: int | None = None


P = TypeVar("P", bound=Place)


class WaitingLine(Generic[P]):
    """``expected_s`` estimates the seconds that somebody with so many ahead has to wait.

    A place is told with the estimate of that moment, which its listener can count down by itself; an estimate that
    changes alone is no news.
    """

    def __init__(self, expected_s: Callable[[int], float | None]) -> None:
        self._expected_s = expected_s
        self._line: deque[P] = deque()

    def __len__(self) -> int:
        return len(self._line)

    @property
    def first(self) -> P:
        return self._line[0]

    def index(self, place: P) -> int:
        """Return how many are ahead of ``place``."""
        return self._line.index(place)

    def join(self, place: P) -> None:
        self._line.append(place)
        self._tell(len(self._line) - 1, place)

    def leave(self, place: P) -> None:
        """Take ``place`` out, if it is still in line, and tell those behind it."""
        if place in self._line:
            self._line.remove(place)
            self.tell()

    def take_first(self) -> P:
        """Take the first place out; call ``tell`` when nobody else goes with it."""
        return self._line.popleft()

    def tell(self) -> None:
        """Tell each place that has changed."""
        for ahead, place in enumerate(list(self._line)):
            self._tell(ahead, place)

    def _tell(self, ahead: int, place: P) -> None:
        if place.on_place is None or place.told_ahead == ahead:
            return
        place.told_ahead = ahead
        try:
            place.on_place(ahead, self._expected_s(ahead))
        except Exception:
            # It is called from another request's change of the line: that one must not fail for it.
            log.exception("a listener for a waiting line failed")
