"""The local server's log as pages of lines, so that a reader of 100,000 lines asks only for what is new."""

from __future__ import annotations

import itertools
import os
import re
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from core.base.files import open_regular_file
from core.base.redaction import redact, redact_lines, secrets_known_after
from core.local import llama_log

LogLevel = Literal["debug", "info", "warning", "error", ""]

KEPT_LINES = 100_000
LONGEST_LINE = 4_000
"""Characters of a line that are kept."""
_NUMBERS_A_LOG = 1_000_000_000
_FILE_WINDOW_BYTES = 16_000_000
SLICE_LINES, PAUSE_S = 50, 0.001
"""After so many lines the interpreter is left to others: at 10,000 lines a second the window draws meanwhile."""

_LEVELS: dict[str, LogLevel] = {
    "D": "debug",
    "DEBUG": "debug",
    "TRACE": "debug",
    "I": "info",
    "INFO": "info",
    "W": "warning",
    "WARN": "warning",
    "WARNING": "warning",
    "E": "error",
    "ERROR": "error",
    "CRITICAL": "error",
    "FATAL": "error",
}
_LEVEL = re.compile(
    r"(?:\([^)]{1,80}\) )?(?:"  # "(EngineCore_DP0 pid=131) " before a line of vLLM's workers
    r"[\[<]?(DEBUG|TRACE|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL)\b"
    r"|[\d.]+ ([DIWE]) "  # llama.cpp
    r"|(?:[\w.]+\.)?\w*(Error|Exception)\b(?::|$)"  # the last line of a traceback
    r")"
)
_HEAD = re.compile(
    r"(?:\((\w+)(?: pid=\d+)?\) )?"
    r"(?:(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d \[([\w./-]+:\d+)\] ?"
    r"|(?:DEBUG|INFO|WARNING|ERROR|CRITICAL):\s+)"  # uvicorn's, in vLLM
)
_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[@-Z\\-_])?"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


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

    ``dropped`` counts lines between the cursor and the first of these that are not kept any more, or were left out
    since more than were asked for are new.
    """

    lines: tuple[LogLine, ...]
    next_cursor: int
    dropped: int = 0


def plain_text(text: str) -> str:
    """Return ``text`` without ANSI codes and without characters that a terminal acts on; lines and tabs stay."""
    if "\x1b" in text:
        text = _ESCAPE.sub("", text)
    return _CONTROL.sub("", text)


def shown_line(line: str) -> str:
    """Return what of a line is seen: the last state of a progress bar, and no more than a reader can use."""
    if "\r" in line:
        line = line.rstrip("\r").rpartition("\r")[2]
    if len(line) <= LONGEST_LINE:
        return line
    return f"{line[:LONGEST_LINE]}… ({len(line) - LONGEST_LINE:,} more characters)"


def level_of(text: str) -> LogLevel:
    """Return the level that a line of vLLM, uvicorn, llama.cpp or Python names, empty where it names none."""
    found = _LEVEL.match(text)
    if found is None:
        return ""
    return "error" if found[3] else _LEVELS[found[1] or found[2]]


def message_first(line: str) -> str:
    """Return a line of vLLM with what it says first and who said it last: its head alone fills a narrow view.

    The head's level and hour are left out, the reader has them beside the line. Other lines stay as they are.
    """
    found = _HEAD.match(line)
    if found is None:
        return line
    who = " ".join(part for part in found.groups() if part)
    said = line[found.end() :]
    return f"{said}  [{who}]" if who else said


class LogRing:
    """The last ``most`` lines. One thread adds; any may read.

    Secrets are hidden once, where lines come in: a reader of all of them would else hold the interpreter up for as
    long as a few frames of the window. A secret that became known later is hidden at the next reading.

    Its numbers are used by no other log of this process, so a cursor of another one shows all that is here.
    """

    _logs = itertools.count()

    def __init__(self, most: int = KEPT_LINES) -> None:
        self._lines: deque[LogLine] = deque(maxlen=most)
        self._said: deque[str] = deque(maxlen=most)
        """The same lines as they came: what was hidden in part is not found again."""
        self._first = next(self._logs) * _NUMBERS_A_LOG + 1
        self._next = self._first
        self._hidden_to, _ = secrets_known_after(0)
        self._lock = threading.Lock()

    def add(self, text: str, *, at: str = "", level: LogLevel | None = None) -> None:
        """Add a line, cleaned already (``plain_text``, ``shown_line``)."""
        self.extend([(at, text)], level=level)

    def extend(self, lines: Iterable[tuple[str, str]], *, level: LogLevel | None = None) -> None:
        """Add lines, each with its time."""
        self.take((at, text, level_of(text) if level is None else level) for at, text in lines)

    def take(self, lines: Iterable[tuple[str, str, LogLevel]]) -> None:
        """Add lines, each with its time and level."""
        came: list[tuple[str, str, LogLevel]] = [
            (at, message_first(text), level) for at, text, level in lines
        ]
        with self._lock:  # also while hiding: a secret that becomes known meanwhile is for the next reading
            clean = redact_lines([text for _, text, _ in came])
            number = self._next
            for (at, text, level), shown in zip(came, clean, strict=True):
                self._lines.append(LogLine(number, shown, level, at))
                self._said.append(text)
                number += 1
            self._next = number

    def page(self, cursor: int, most: int) -> LogPage:
        """Return what came after ``cursor``: ``most`` lines, the newest where there are more."""
        with self._lock:
            self._hide_new_secrets()
            newest = self._next - 1
            new = max(0, newest - max(cursor, self._first - 1))
            wanted = min(new, max(0, most), len(self._lines))
            found = list(itertools.islice(reversed(self._lines), wanted))
        found.reverse()
        return LogPage(lines=tuple(found), next_cursor=max(cursor, newest), dropped=new - wanted)

    def _hide_new_secrets(self) -> None:
        self._hidden_to, secrets = secrets_known_after(self._hidden_to)
        if not secrets:
            return
        whole = "\n".join(self._said)
        secrets = [secret for secret in secrets if secret in whole]
        if not secrets:
            return
        self._lines = deque(
            (
                replace(line, text=redact(said)) if any(secret in said for secret in secrets) else line
                for line, said in zip(self._lines, self._said, strict=True)
            ),
            maxlen=self._lines.maxlen,
        )

    def tail(self, lines: int) -> list[str]:
        """Return the last ``lines``, oldest first, each with its time where it has one."""
        return [f"{line.at} {line.text}" if line.at else line.text for line in self.page(0, lines).lines]


class FileLog:
    """A log file that a llama.cpp child writes, as pages: each reading takes only what came since the one before.

    A file that was replaced or emptied is read from its beginning. Any thread may read.
    """

    def __init__(self, path: Path, most: int = KEPT_LINES) -> None:
        self._path = path
        self._ring = LogRing(most)
        self._read_to: tuple[int, int] = (0, 0)  # which file, and how far
        self._began_s: float | None = None
        """When llama.cpp's clock stood at 0, in seconds since 1970."""
        self._lock = threading.Lock()

    def page(self, cursor: int, most: int) -> LogPage:
        """Return what came after ``cursor``, read from the file now."""
        with self._lock:
            try:
                self._read_on()
            except FileNotFoundError:
                pass  # nothing was ever started
            except OSError as error:
                self._ring.add(f"{self._path} can't be read: {error.strerror or error}", level="error")
        return self._ring.page(cursor, most)

    def _read_on(self) -> None:
        with open_regular_file(self._path) as file:
            status = os.fstat(file.fileno())
            which, offset = self._read_to
            if status.st_ino != which or status.st_size < offset:
                offset, self._began_s = 0, None
            offset = max(offset, status.st_size - _FILE_WINDOW_BYTES)
            file.seek(offset)
            content = file.read(_FILE_WINDOW_BYTES)
        whole = content[: content.rfind(b"\n") + 1]  # the rest of a line that is being written comes later
        self._read_to = (status.st_ino, offset + len(whole))
        text = plain_text(whole.decode("utf-8", errors="replace"))
        lines = [llama_log.read_line(shown_line(line)) for line in text.split("\n")[:-1]]
        self._note_clock(lines, status.st_mtime)
        for start in range(0, len(lines), SLICE_LINES):
            if start:
                time.sleep(PAUSE_S)  # a reader's thread, never a loop's
            taken: list[tuple[str, str, LogLevel]] = []
            for line in lines[start : start + SLICE_LINES]:
                level = _LEVELS[line.letter] if line.letter else level_of(line.text)
                taken.append((self._clock_text(line.elapsed_s), line.text, level))
            self._ring.take(taken)

    def _clock_text(self, elapsed_s: float | None) -> str:
        if elapsed_s is None or self._began_s is None:
            return ""
        return f"{datetime.fromtimestamp(self._began_s + elapsed_s):%H:%M:%S}"

    def _note_clock(self, lines: Sequence[llama_log.LlamaLine], written_s: float) -> None:
        """Take from the last line and the time at which the file was written when the child's clock began.

        That is too late by what was read late, so the earliest guess is the best one.
        """
        elapsed = [line.elapsed_s for line in lines if line.elapsed_s is not None]
        if elapsed:
            began_s = written_s - elapsed[-1]
            self._began_s = began_s if self._began_s is None else min(self._began_s, began_s)
