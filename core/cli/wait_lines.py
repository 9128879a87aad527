"""What a request waits for, on standard error: one line that is rewritten on a terminal, a few lines elsewhere."""

from __future__ import annotations

import shutil
import sys

from core.chat import Waiting, WaitReason
from core.cli.footer import waiting_line

FEWER = 4
"""Off a terminal, a place in line is told again when only a fourth as many are ahead: 64, 16, 4, 1, none."""


class WaitLines:
    """``show`` each ``Waiting``; ``end`` before anything else is printed."""

    def __init__(self) -> None:
        self._rewrites = sys.stderr.isatty()
        self._width = 0
        self._told: tuple[WaitReason, str] | None = None
        self._ahead = 0

    def show(self, waiting: Waiting) -> None:
        if self._rewrites:
            self._rewrite(waiting_line(waiting))
        elif self._is_worth_a_line(waiting):
            sys.stderr.write(waiting_line(waiting) + "\n")
            sys.stderr.flush()

    def end(self) -> None:
        """Take a line that would be rewritten away: the wait is over, and the footer says how long it was."""
        if self._width:
            self._rewrite("")

    def _rewrite(self, line: str) -> None:
        # A line that wraps can't be rewritten. Blanks clear it on any terminal; not all know escape sequences.
        line = line[: max(1, shutil.get_terminal_size().columns - 1)]
        sys.stderr.write("\r" + line.ljust(self._width) + ("" if line else "\r"))
        sys.stderr.flush()
        self._width = len(line)

    def _is_worth_a_line(self, waiting: Waiting) -> bool:
        # What it says of the local line changes with the place; of anything else, other words are another wait.
        wait = (waiting.reason, "" if waiting.reason == "local_queue" else waiting.detail)
        news = wait != self._told or waiting.position * FEWER <= self._ahead != waiting.position
        if news:
            self._told, self._ahead = wait, waiting.position
        return news
