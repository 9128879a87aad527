"""What an answer waits for before its first token, in words that run with the time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from core import exact_duration
from core.chat import PromptProgress, Waiting
from gui.widgets.formatting import about_seconds, count

_FOR = {
    "rate": "for its turn",
    "local_queue": "for Local",
    "local_start": "for Local to start",
    "retry": "to try again",
    "first_answer": "for the first request with its key",
}
ELAPSED_FROM_S = 3.0
"""A shorter wait, of which nobody knows the end, is not worth a number."""


def _now_s() -> float:
    return time.monotonic()


@dataclass(frozen=True, slots=True)
class Wait:
    """``until_s`` is the expected end on ``time.monotonic``'s clock. Where nobody knows it (``None``) it is told
    for how long it has waited, since ``since_s``.

    ``goal`` is what is waited for, such as ``for Local``: it stays the same while the time runs down.
    """

    goal: str
    detail: str
    position: int = 0
    until_s: float | None = None
    doing: str = ""
    since_s: float = field(default_factory=lambda: _now_s())

    @staticmethod
    def begun(told: Waiting, before: Wait | None = None) -> Wait:
        """``before`` is what was waited for until now: a wait whose place or phase changes goes on."""
        until_s = None if told.expected_s is None else _now_s() + told.expected_s
        goal = _FOR[told.reason]
        since_s = before.since_s if before is not None and before.goal == goal else _now_s()
        return Wait(goal, told.detail, told.position, until_s, told.doing, since_s)

    @staticmethod
    def for_summary() -> Wait:
        return Wait(
            "for a summary of the beginning", "A model sums up the oldest turns. They are kept here in full."
        )

    @property
    def left_s(self) -> float | None:
        """Seconds until the expected end, 0 when it is past."""
        return None if self.until_s is None else max(0.0, self.until_s - _now_s())

    @property
    def words(self) -> str:
        """``for Local, 2 ahead, about 8 s``; ``for Local to start: loading weights, 12 s``."""
        parts = [f"{self.goal}: {self.doing}" if self.doing else self.goal]
        if self.position:
            parts.append(f"{count(self.position)} ahead")
        elapsed_s = _now_s() - self.since_s
        if self.left_s is not None:
            parts.append(about_seconds(self.left_s))
        elif elapsed_s >= ELAPSED_FROM_S:
            parts.append(exact_duration(elapsed_s))
        return ", ".join(parts)


@dataclass(slots=True)
class FirstToken:
    """A request that was sent at ``since_s``. ``progress`` is how far its server says it has read the prompt."""

    since_s: float = field(default_factory=lambda: _now_s())
    progress: PromptProgress | None = None

    @property
    def goal(self) -> str:
        """What is waited for: ``Reading the prompt``. It stays the same while the numbers run."""
        return "Reading the prompt" if self._reads else "Waiting for the first token"

    @property
    def is_worth_telling(self) -> bool:
        """Whether it takes long enough to be said aloud."""
        return self._reads or self._is_long

    @property
    def _reads(self) -> bool:
        return self.progress is not None and self.progress.share < 1

    @property
    def _is_long(self) -> bool:
        return _now_s() - self.since_s >= ELAPSED_FROM_S

    @property
    def words(self) -> str:
        """``Reading the prompt, 42 %``, no number before its first step; ``Waiting for the first token, 6 s``."""
        if self.progress is not None and self._reads:
            # Servers tell of a batch at its end: a prompt of one batch stays at 0 until it is read.
            percent = round(self.progress.share * 100)
            return f"{self.goal}, {percent} %" if percent else self.goal
        return f"{self.goal}, {exact_duration(_now_s() - self.since_s)}" if self._is_long else self.goal
