"""What llama.cpp's log and exit status say, in words for a person."""

from __future__ import annotations

import re
import signal
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from core.base.files import open_regular_file
from core.base.permissions import make_private_folder

KEPT_LOGS = 3


@dataclass(frozen=True, slots=True)
class Reason:
    """``text`` says what happened, ``hint`` what to do next."""

    text: str
    hint: str


@dataclass(frozen=True, slots=True)
class LlamaLine:
    """A line without its columns: llama.cpp's clock in seconds, the letter of its level (``DIWE``), its words.

    A line that has no columns is all words.
    """

    elapsed_s: float | None
    letter: str
    text: str


_COLUMNS = re.compile(r"(\d+)\.(\d\d)\.(\d{3})\.(\d{3}) ([DIWE]) (?:(\w{3,4}) +)?(.*)", re.DOTALL)
"""Minutes, seconds, milliseconds, microseconds, level, a part of llama.cpp (``srv``) and its words."""


def read_line(line: str) -> LlamaLine:
    """Take a line apart: ``0.00.014.743 I srv    load_model: loading`` says ``srv load_model: loading``."""
    found = _COLUMNS.match(line)
    if found is None:
        return LlamaLine(None, "", line)
    minutes, seconds, milliseconds, microseconds, letter, part, text = found.groups()
    elapsed_s = int(minutes) * 60 + int(seconds) + int(milliseconds) / 1e3 + int(microseconds) / 1e6
    return LlamaLine(elapsed_s, letter, f"{part} {text}" if part else text)


_NO_MEMORY = re.compile(
    r"failed to allocate|unable to allocate|not enough memory|out of memory|bad_alloc", re.I
)
_KNOWN = (
    (
        re.compile(
            r"not within the file bounds|corrupted or incomplete|unexpectedly reached end of file", re.I
        ),
        Reason("The model file is damaged or cut off.", "Download it again and compare its size."),
    ),
    (
        re.compile(r"unknown model architecture: '?([\w.-]+)", re.I),
        Reason(
            "This llama.cpp does not know the model's architecture ({}).",
            "Update xllamacpp, or take another model.",
        ),
    ),
    (
        re.compile(r"invalid magic|failed to (?:read|load) GGUF|gguf_init_from\w*: failed to read", re.I),
        Reason("The model file is not a valid GGUF file.", "Download the model in GGUF form again."),
    ),
    (
        _NO_MEMORY,
        Reason(
            "There is not enough memory for this model.", "Close other programs, or take a smaller model."
        ),
    ),
    (
        re.compile(r"couldn't bind", re.I),
        Reason("llama.cpp could not open a port on 127.0.0.1.", "Restart it; a firewall may be in the way."),
    ),
)
_ERROR_LINE = re.compile(r"^[\d.]+ E (?:\w+\s+)?(?:\S+: )?(.+)$")
_WINDOWS_CRASHES = {
    0xC0000005: "an access violation",
    0xC0000017: "too little memory",
    0xC000001D: "an illegal instruction",
}


STUCK_EXIT = 4
"""With what ``embedded_child`` ends where llama.cpp answers nobody any more."""


def explain(lines: Iterable[str]) -> Reason | None:
    """Return why llama.cpp gave up by its log, ``None`` where the log names no error."""
    lines = list(lines)
    for pattern, reason in _KNOWN:
        for line in lines:
            if found := pattern.search(line):
                return Reason(reason.text.format(*found.groups()), reason.hint)
    for line in lines:
        if found := _ERROR_LINE.match(line):
            return Reason(f"llama.cpp: {found[1]}", "The log has the details.")
    return None


def is_out_of_memory(lines: Iterable[str]) -> bool:
    """Whether llama.cpp's log says that memory was what it lacked."""
    return any(_NO_MEMORY.search(line) for line in lines)


def describe_exit(returncode: int) -> Reason:
    """Return what an exit status means; negative is the signal that ended the process, as in ``subprocess``."""
    again = "Restart it; the log has its last words."
    if returncode == STUCK_EXIT:
        return Reason("got stuck, answered nobody any more and was ended", again)
    if returncode >= 0:
        crash = _WINDOWS_CRASHES.get(returncode)
        return Reason(
            f"exited with code {returncode:#x} ({crash})" if crash else f"exited with code {returncode}",
            again,
        )
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = "unknown"
    if name == "SIGKILL":
        again = "Restart it; if it happens again, the machine may be short of memory: take a smaller model."
    elif name == "SIGILL":
        again = (
            "This processor lacks an instruction that the installed xllamacpp needs; build it from source."
        )
    return Reason(f"was ended by signal {-returncode} ({name})", again)


def is_own_crash(returncode: int) -> bool:
    """Whether the process ended by a fault of its own, not by a kill from outside, which may also be for memory."""
    if returncode >= 0:
        return returncode != 0
    return -returncode not in {
        getattr(signal, name, None) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGKILL")
    }


def rotate(log: Path) -> None:
    """Move ``log`` to ``log.1``, that to ``log.2`` and so on, and forget the oldest."""
    make_private_folder(log.parent)
    for number in range(KEPT_LOGS, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        newer = log.with_name(f"{log.name}.{number - 1}") if number > 1 else log
        if newer.exists():
            newer.replace(older)


def read_tail(log: Path, lines: int, *, window_bytes: int = 256_000) -> list[str]:
    """Return the last ``lines`` of ``log``, oldest first; empty where there is none, or why it can't be read."""
    try:
        with open_regular_file(log) as file:
            size_bytes = file.seek(0, 2)
            file.seek(max(0, size_bytes - window_bytes))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        return [f"{log} can't be read: {error.strerror or error}"]
    return list(deque(text.splitlines(), maxlen=lines))
