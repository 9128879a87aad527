"""What a running request waits for, in words that count down."""

from __future__ import annotations

import time
from dataclasses import dataclass

from core.chat import Waiting
from gui.widgets.words import about_seconds, count

_FOR = {
    "rate": "for its turn",
    "local_queue": "for Local",
    "local_start": "for Local to start",
    "retry": "to try again",
    "first_answer": "for the first request with its key",
}


@dataclass(frozen=True, slots=True)
class Wait:
    """``until_s`` is the expected end on ``time.monotonic``'s clock, ``None`` where nobody knows.

    ``goal`` is what is waited for, such as ``for Local``: it stays the same while the time runs down.
    """

    goal: str
    detail: str
    position: int = 0
    until_s: float | None = None

    @staticmethod
    def begun(told: Waiting) -> Wait:
        until_s = None if told.expected_s is None else time.monotonic() + told.expected_s
        return Wait(_FOR[told.reason], told.detail, told.position, until_s)

    @staticmethod
    def for_summary() -> Wait:
        return Wait(
            "for a summary of the beginning", "A model sums up the oldest turns. They are kept here in full."
        )

    @property
    def left_s(self) -> float | None:
        """Seconds until the expected end, 0 when it is past."""
        return None if self.until_s is None else max(0.0, self.until_s - time.monotonic())

    @property
    def words(self) -> str:
        """``for Local, 2 ahead, about 8 s``."""
        parts = [self.goal]
        if self.position:
            parts.append(f"{count(self.position)} ahead")
        if self.left_s is not None:
            parts.append(about_seconds(self.left_s))
        return ", ".join(parts)
