"""The lines that a log view shows: the newest 100,000, by level, with what was found in them.

Lines are named by their number, which stays when older ones go: so a selection, the place of a reader who holds,
and what was found outlive what is dropped at the top. Nothing here knows Qt.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Literal

from core import LogLine

KEPT_LINES = 100_000
SEARCH_SLICE = 2_000
"""Lines that one step of a search looks at: about a millisecond."""

LevelFilter = Literal["all", "warning", "error"]
_PASSES: dict[LevelFilter, frozenset[str] | None] = {
    "all": None,
    "warning": frozenset({"warning", "error"}),
    "error": frozenset({"error"}),
}


def _number(line: LogLine) -> int:
    return line.number


class LogLines:
    """``shown`` are the lines that pass the filter, oldest first; only this class changes it.

    ``lost`` counts older lines that are not kept any more, here or where they came from.
    """

    def __init__(self, most: int = KEPT_LINES) -> None:
        self._most = most
        self._all: list[LogLine] = []
        self.shown: list[LogLine] = self._all
        self.filter: LevelFilter = "all"
        self.lost = 0
        self.has_times = False
        self._gaps: set[int] = set()
        self._needle = ""
        self._hits: list[int] = []
        self._searched_to = -1
        """The number of the last line that was searched."""

    def __len__(self) -> int:
        return len(self.shown)

    @property
    def kept(self) -> Sequence[LogLine]:
        """All lines, whatever the filter."""
        return self._all

    def is_gap(self, line: LogLine) -> bool:
        """Whether ``line`` only says that lines are missing here."""
        return line.number in self._gaps

    def append(self, lines: Sequence[LogLine], dropped: int = 0) -> int:
        """Add newer lines, and return how many rows went at the top.

        ``dropped`` lines before the first of these are not to be had any more.
        """
        came: list[LogLine] = list(lines)
        if dropped and self._all:
            number = came[0].number - 1 if came else self._all[-1].number + dropped
            self._gaps.add(number)
            came.insert(0, LogLine(number=number, text=f"{dropped:,} lines in between are not kept"))
        else:
            self.lost += dropped
        self.has_times = self.has_times or any(line.at for line in came)
        before = len(self.shown)
        self._all += came
        passes = _PASSES[self.filter]
        if passes is not None:
            self.shown += [line for line in came if line.level in passes or line.number in self._gaps]
        return self._trim(before)

    def _trim(self, before: int) -> int:
        surplus = len(self._all) - self._most
        if surplus <= 0:
            return 0
        first = self._all[surplus].number
        gone = bisect_left(self.shown, first, key=_number)
        self.lost += surplus
        del self._all[:surplus]
        if self.shown is not self._all:
            del self.shown[:gone]
        self._gaps = {number for number in self._gaps if number >= first}
        del self._hits[: bisect_left(self._hits, first)]
        return min(gone, before)

    def clear(self) -> None:
        """Forget every line; what comes next is shown."""
        self._all.clear()
        self.shown = self._all if self.filter == "all" else []
        self._gaps.clear()
        self._hits.clear()
        self.lost = 0
        self.has_times = False

    def set_filter(self, chosen: LevelFilter) -> None:
        """Show only lines of a level, and those that are worse."""
        self.filter = chosen
        passes = _PASSES[chosen]
        if passes is None:
            self.shown = self._all
        else:
            self.shown = [line for line in self._all if line.level in passes or line.number in self._gaps]
        self.search(self._needle)

    def row_of(self, number: int) -> int:
        """Return the row of a line; of one that is not shown, the row of the next one that is."""
        return bisect_left(self.shown, number, key=_number)

    # What is searched

    @property
    def needle(self) -> str:
        """What is searched for, in lower case; empty for nothing."""
        return self._needle

    @property
    def hits(self) -> Sequence[int]:
        """The numbers of the lines that were found so far, oldest first."""
        return self._hits

    @property
    def is_searched(self) -> bool:
        """Whether every line was looked at."""
        return not self._needle or not self.shown or self.shown[-1].number <= self._searched_to

    def search(self, text: str) -> None:
        """Look for ``text`` from the first line on, by calls of ``search_on``."""
        self._needle = text.lower()
        self._hits.clear()
        self._searched_to = -1

    def search_on(self, most: int = SEARCH_SLICE) -> bool:
        """Look at the next ``most`` lines, and return whether some are left."""
        needle = self._needle
        if not needle:
            return False
        start = bisect_right(self.shown, self._searched_to, key=_number)
        part = self.shown[start : start + most]
        if not part:
            return False
        self._hits += [line.number for line in part if needle in line.text.lower()]
        self._searched_to = part[-1].number
        return start + len(part) < len(self.shown)

    def as_text(self, lines: Sequence[LogLine] | None = None) -> str:
        """Return lines as text, one a line: those that are shown where none are given."""
        return "\n".join(line_text(line) for line in (self.shown if lines is None else lines))


LEVEL_WORDS = {"debug": "DBG", "info": "INF", "warning": "WRN", "error": "ERR", "": ""}


def line_text(line: LogLine) -> str:
    """Return a line as it is copied and saved: time, level and text."""
    return " ".join(part for part in (line.at, LEVEL_WORDS[line.level], line.text) if part)
