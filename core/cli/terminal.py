"""What the commands share on a terminal: its streams, argument types, usage errors, tables, lines of waiting."""

from __future__ import annotations

import argparse
import asyncio
import codecs
import errno
import io
import math
import re
import shutil
import sys
from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from core.base.async_tools import in_daemon_thread
from core.base.files import FileTooLarge, decode_text, marked_encoding, read_regular_file
from core.base.text import file_size, marked
from core.chat import PromptProgress, Waiting, WaitReason
from core.cli.footer import first_token_line, waiting_line
from core.errors import InvalidRequest
from core.pricing.money import dollars_to_nano

if TYPE_CHECKING:
    from pathlib import Path


class MarkedStream:
    """A standard stream on which nobody else's text can move the cursor, write the clipboard or clear the screen.

    What a terminal would act on is shown as a mark: on ``is_always`` everywhere, else on a terminal only, so that a
    pipe gets an answer as it is. ``unmarked`` is the stream itself. Everything else is the stream's.
    """

    def __init__(self, stream: Any, *, is_always: bool) -> None:
        self.unmarked = stream
        self._marks = is_always or stream.isatty()

    def write(self, text: str) -> int:
        self.unmarked.write(marked(text, lines=True) if self._marks else text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unmarked, name)


FEWER = 4
"""Off a terminal, a place in line is told again when only a fourth as many are ahead: 64, 16, 4, 1, none."""


FIRST_TOKEN_AFTER_S = 2.0
"""So long is a first token waited for before that is told."""


class WaitLines:
    """``show`` each ``Waiting``; ``end`` before anything else is printed.

    Once the request is ``sent``, a terminal is told how far its prompt is read, or for how long nothing came.
    """

    def __init__(self) -> None:
        self._rewrites = sys.stderr.isatty()
        self._progress: PromptProgress | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._width = 0
        self._told: tuple[WaitReason, str] | None = None
        self._ahead = 0

    def show(self, waiting: Waiting) -> None:
        if self._rewrites:
            self._rewrite(waiting_line(waiting))
        elif self._is_worth_a_line(waiting):
            sys.stderr.write(waiting_line(waiting) + "\n")
            sys.stderr.flush()

    def sent(self) -> None:
        """Begin to tell, on a terminal, that the first token is waited for."""
        self.end()
        if self._rewrites:
            self._ticking = asyncio.get_running_loop().create_task(self._tick())

    def reading(self, progress: PromptProgress) -> None:
        self._progress = progress

    async def _tick(self) -> None:
        clock = asyncio.get_running_loop().time
        since_s = clock()
        await asyncio.sleep(FIRST_TOKEN_AFTER_S)
        while True:
            self._rewrite(first_token_line(self._progress, clock() - since_s))
            await asyncio.sleep(1.0)

    def end(self) -> None:
        """Take a line that would be rewritten away: the wait is over, and the footer says how long it was."""
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = self._progress = None
        if self._width:
            self._rewrite("")

    def _rewrite(self, line: str) -> None:
        # A line that wraps can't be rewritten. Blanks clear it on any terminal; not all know escape sequences.
        line = marked(line)[: max(1, shutil.get_terminal_size().columns - 1)]
        stream = sys.stderr.unmarked if isinstance(sys.stderr, MarkedStream) else sys.stderr
        stream.write("\r" + line.ljust(self._width) + ("" if line else "\r"))
        stream.flush()
        self._width = len(line)

    def _is_worth_a_line(self, waiting: Waiting) -> bool:
        # What it says of the local line changes with the place; of anything else, other words are another wait.
        wait = (waiting.reason, "" if waiting.reason == "local_queue" else waiting.detail)
        news = wait != self._told or waiting.position * FEWER <= self._ahead != waiting.position
        if news:
            self._told, self._ahead = wait, waiting.position
        return news


def count(text: str) -> int:
    """Read a whole number from 1 on."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and 0 < len(digits) <= 12 and int(digits) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(digits)


def seconds(text: str) -> float:
    """Read a number of seconds above 0."""
    value = _number(text)
    if value is None or value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def temperature(text: str) -> float:
    value = _number(text)
    if value is None or not 0 <= value <= 2:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 2")
    return value


def top_p(text: str) -> float:
    value = _number(text)
    if value is None or not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, up to 1")
    return value


def seed(text: str) -> int:
    """Read a whole number from 0 on."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 12):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(digits)


def name(text: str) -> str:
    """Read a name that is not empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty")
    return text


def nanodollars(text: str) -> int:
    """Read an amount of dollars in plain digits, 0 or more, as nano-dollars: "1e2" is more likely a slip."""
    plain = text.strip().removeprefix("$")
    try:
        if re.fullmatch(r"[0-9]*\.?[0-9]*", plain):
            return dollars_to_nano(plain)
    except (ArithmeticError, InvalidRequest):
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not an amount of dollars, such as 0 or 0.25")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


class UsageError(InvalidRequest):
    """The arguments or the input cannot be used; exit code 2."""


EMPTY = "–"


def table(
    heads: Sequence[str],
    lines: Sequence[Sequence[str]],
    *,
    left: Collection[int] = (0,),
    optional: Collection[int] = (),
) -> str:
    """Return the table, each line ended. Columns in ``left`` are texts; ``optional`` ones that are ``EMPTY`` in
    every line are left out. What a cell has of others' (a model's name) breaks no line and no terminal."""
    lines = [[marked(cell) for cell in line] for line in lines]
    shown = [
        column
        for column in range(len(heads))
        if column not in optional or any(line[column] != EMPTY for line in lines)
    ]
    widths = {column: max(len(line[column]) for line in (heads, *lines)) for column in shown}
    text = ""
    for line in (heads, *lines):
        cells = [
            line[column].ljust(widths[column]) if column in left else line[column].rjust(widths[column])
            for column in shown
        ]
        text += "  ".join(cells).rstrip() + "\n"
    return text


CHUNK_BYTES = 65_536
NON_BLOCKING_PAUSE_S = 0.05


MOST_FILE_BYTES = 10_000_000
_HANDED_OVER = ("/dev/fd/", "/proc/self/fd/", "/dev/stdin")
"""Where a shell's ``<(command)`` is: open already, and meant to be waited for."""


def read_text_file(path: Path) -> str:
    """Return the text of a file that an argument names, in UTF-8 or as Windows writes it.

    A FIFO or device is refused at once, unless the shell handed it over.

    Raises:
        OSError: it can't be read, is no file, or is larger than 10 MB.
        ValueError: it is no text.
    """
    if str(path).startswith(_HANDED_OVER):
        with path.open("rb") as file:
            content = file.read(MOST_FILE_BYTES + 1)
        if len(content) > MOST_FILE_BYTES:
            raise FileTooLarge(errno.EFBIG, f"it is larger than {file_size(MOST_FILE_BYTES)}", str(path))
    else:
        content = read_regular_file(path, MOST_FILE_BYTES)
    return decode_text(content).replace("\r\n", "\n")


async def read_all() -> str:
    """Return all of standard input.

    Raises:
        UnicodeDecodeError: it is no text in the terminal's encoding, nor in the one that a byte order mark names.
        UsageError: it holds NUL characters, so it is no text.
    """
    text = "".join([piece async for piece in _pieces()])
    if "\0" in text:
        raise UsageError("Standard input holds NUL characters, so it is no text.", hint="Nothing was sent.")
    return text


async def read_lines() -> AsyncGenerator[list[str], None]:
    """Yield the lines of standard input, without their ends, as many at once as have arrived.

    Raises:
        UnicodeDecodeError: it is no text in the terminal's encoding.
    """
    begun: list[str] = []
    async for piece in _pieces():
        first, *rest = piece.split("\n")
        begun.append(first)
        if rest:
            lines = ["".join(begun), *rest[:-1]]
            begun = [rest[-1]]
            yield lines
    if last := "".join(begun):
        yield [last]


async def _pieces() -> AsyncGenerator[str, None]:
    """Yield text as soon as it is there.

    The raw file is read: a thread that waits inside ``sys.stdin`` itself holds a lock which Python wants when it
    ends, and it aborts ("could not acquire lock ... at interpreter shutdown").
    """
    stream: Any = sys.stdin
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if raw is None:  # text in memory, which never blocks
        yield stream.read()
        return
    newlines: io.IncrementalNewlineDecoder | None = None
    start = b""
    while (chunk := await in_daemon_thread(partial(raw.read, CHUNK_BYTES), name="stdin")) != b"":
        if chunk is None:  # the terminal was left non-blocking by another program, and nothing is there yet
            await asyncio.sleep(NON_BLOCKING_PAUSE_S)
            continue
        if newlines is None:
            start += chunk
            found = marked_encoding(start, whole=False)
            if found is None:  # the beginning of a byte order mark, so far
                continue
            newlines, chunk = _decoder(stream, found[0]), start[found[1] :]
        if text := newlines.decode(chunk):
            yield text
    if newlines is None:  # it ended before the mark did
        newlines = _decoder(stream, "")
    else:
        start = b""
    if text := newlines.decode(start, final=True):
        yield text


def _decoder(stream: Any, marked: str) -> io.IncrementalNewlineDecoder:
    """Return what reads ``stream`` in the encoding that a byte order mark names (empty: in its own)."""
    name, errors = (marked, "strict") if marked else (stream.encoding, stream.errors)
    return io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(name)(errors), translate=True)
