"""The local server's log as pages of lines, so that a reader of 100,000 lines asks only for what is new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LogLevel = Literal["debug", "info", "warning", "error", ""]


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line, without ANSI codes and with invalid UTF-8 replaced.

    ``number`` counts up from the first line of this run of Signalbox and is never used again. ``at`` is the line's
    own time where it has one (``14:09:06``), as text. ``level`` is empty where the line names none.
    """

    number: int
    text: str
    level: LogLevel = ""
    at: str = ""


@dataclass(frozen=True, slots=True)
class LogPage:
    """Lines after a cursor, oldest first. ``next_cursor`` asks for what comes after them.

    ``dropped`` counts lines between the cursor and the first of these that are not kept any more.
    """

    lines: tuple[LogLine, ...]
    next_cursor: int
    dropped: int = 0
