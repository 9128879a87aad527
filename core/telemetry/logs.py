"""What Signalbox says about itself in ``<home>/logs/signalbox.log``, with every secret hidden.

Nothing goes to standard error unless ``debug`` asks for it. Prompts and answers are never logged. The HTTP
libraries and SDKs, whose debug lines hold whole requests, are kept to warnings even then. Of an exception that is
not ours the log keeps its type and where it was raised, never its message: a library may quote what it was given,
a server what it was sent. A ``SignalboxError`` says what happened in our words, and which of them are a server's.
Each line that is written while a request runs carries the request's correlation id.
"""

from __future__ import annotations

import contextlib
import json
import logging
import logging.handlers
import os
import re
import sys
import traceback
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Literal, cast

from core.base.files import locked, open_for_appending
from core.base.permissions import make_private_folder
from core.base.redaction import redact, remember_secret
from core.base.text import marked
from core.errors import SignalboxError

__all__ = [
    "RedactingFilter",
    "correlation_id",
    "described",
    "keep_requests_out_of_the_log_of",
    "log_path",
    "printable",
    "redact",
    "redacted_traceback",
    "remember_secret",
    "request_context",
    "setup_logging",
    "traceparent",
]

LogFormat = Literal["text", "json"]

correlation_id: ContextVar[str | None] = ContextVar("correlation_id", default=None)
"""The request that this task works for, ``None`` outside one."""

traceparent: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""The W3C trace context header that a provider sends with the running attempt; ``None``: no traces."""

MAX_LOG_BYTES = 2 << 20
KEPT_LOGS = 3
MAX_TEXT_CHARS = 64_000
"""Longer lines and tracebacks are cut in the middle."""

MAX_FRAMES = 60
"""Of a longer traceback (a recursion) the frames in the middle are left out."""

MAX_SAID_CHARS = 100
"""As long may a name be that a server gives."""

_FORMAT = "%(asctime)s.%(msecs)03d %(levelname)-7s %(process)d %(request)s %(name)s: %(message)s"
_TALKATIVE = (
    "anthropic",
    "openai",
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "asyncio",
    "keyring",
    "aiohttp",
    "urllib3",
    "requests",
    "opentelemetry",
)
_WARNING = re.compile(r"(\S.*?:\d+: \w+): .*", re.DOTALL)  # as warnings.formatwarning says it
_CALLBACK = re.compile(r"(Exception in callback [^(]*)\(.*")
_CAUSE = "The above exception was the direct cause of the following exception:"
_CONTEXT = "During handling of the above exception, another exception occurred:"
_CODES = ("strerror", "sqlite_errorname", "sqlstate", "status_code")
"""What an exception of another's says in words that no request has a part in, by the attribute's name."""

_MARK = "_signalbox_handler"
log = logging.getLogger(__name__)


def log_path(home: Path) -> Path:
    """Return the current log file; older ones stand beside it as ``.1`` to ``.3``."""
    return home / "logs" / "signalbox.log"


def described(error: BaseException) -> str:
    """Return what may be written of ``error``: our own words, or of a foreign one its type and its code."""
    if isinstance(error, SignalboxError):
        return f"{type(error).__name__}: {error.own_message}"
    name = type(error).__qualname__
    for where in (error, getattr(error, "orig", None)):  # SQLAlchemy wraps what the driver raised
        for code in _CODES:
            if found := getattr(where, code, None):
                return f"{name}: {printable(str(found))}"
    return name


def printable(text: str) -> str:
    """Return what a server calls something, such as its model, as part of one line: short and printable."""
    return "".join(character if character.isprintable() else " " for character in text[:MAX_SAID_CHARS])


def redacted_traceback(error: BaseException) -> str:
    """Return where ``error`` was raised and what led to it: types, frames and our own messages, without secrets."""
    return redact(_shortened("".join(f"{line}\n" for line in _traceback_lines(error, set()))))


def _traceback_lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    chain: list[tuple[BaseException, str]] = []
    current: BaseException | None = error
    led = ""
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        chain.append((current, led))
        if current.__cause__ is not None:
            current, led = current.__cause__, _CAUSE
        else:
            current, led = None if current.__suppress_context__ else current.__context__, _CONTEXT
    for link, led in reversed(chain):
        if link.__traceback__ is not None:
            yield "Traceback (most recent call last):"
            yield from _frame_lines(link.__traceback__)
        yield described(link)
        if isinstance(link, BaseExceptionGroup):
            for number, member in enumerate(cast("BaseExceptionGroup[BaseException]", link).exceptions, 1):
                yield f"  +---------------- {number} ----------------"
                yield from (f"  | {line}" for line in _traceback_lines(member, seen))
        if led:
            yield from ("", led, "")


def _frame_lines(trace: TracebackType) -> list[str]:
    # Without the source: a program may hold its prompts there.
    lines = [
        f'  File "{frame.f_code.co_filename}", line {number}, in {frame.f_code.co_qualname}'
        for frame, number in traceback.walk_tb(trace)
    ]
    if len(lines) > MAX_FRAMES:
        half = MAX_FRAMES // 2
        lines[half:-half] = [f"  [… {len(lines) - MAX_FRAMES:,} frames …]"]
    return lines


def _shortened(text: str, most: int = MAX_TEXT_CHARS) -> str:
    if len(text) <= most:
        return text
    return f"{text[: most * 3 // 4]} [… {len(text) - most:,} characters …] {text[-most // 4 :]}"


def _harmless(argument: object) -> object:
    if isinstance(argument, BaseException):
        return described(argument)
    if isinstance(argument, list | tuple | set | frozenset):
        inner = list(cast("Iterable[object]", argument))
        if any(map(_holds_error, inner)):
            return [_harmless(each) for each in inner]
    return cast("object", argument)


def _holds_error(argument: object) -> bool:
    if isinstance(argument, list | tuple | set | frozenset):
        return any(_holds_error(each) for each in cast("Iterable[object]", argument))
    return isinstance(argument, BaseException)


def _own_words(record: logging.LogRecord) -> str:
    """Return a record's message with its exceptions described, and without what others' words may quote."""
    args = record.args
    if isinstance(args, Mapping):
        record.args = args = {name: _harmless(each) for name, each in args.items()}
    elif args:
        record.args = args = tuple([_harmless(each) for each in args])
    try:
        message = record.getMessage()
    except Exception:  # noqa: BLE001  arguments that do not fit: say both instead of losing the line
        message = f"{record.msg!s} {args!r}"
    if isinstance(record.msg, BaseException):
        return described(record.msg)
    if record.name == "py.warnings":
        return _WARNING.sub(r"\1", message)  # its category, and where; a library's text may quote
    if record.name == "asyncio" and str(record.msg).startswith("Executing "):
        return "a step of the loop took long (asyncio's debug mode)"  # the rest is its arguments
    if record.name == "asyncio" and record.exc_info:
        # The rest is the task's repr, with its exception's message; of a callback it says the arguments too.
        return _CALLBACK.sub(r"\1", message.partition("\n")[0])
    return message


class RedactingFilter(logging.Filter):
    """Keeps secrets and others' words out of a record: message, arguments, traceback and stack.

    It also puts the correlation id of the running request on the record.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING and record.name.partition(".")[0] in _TALKATIVE:
            return False  # turned on by a variable (ANTHROPIC_LOG=debug) after we had turned it down
        if not hasattr(record, "correlation_id"):
            record.correlation_id = correlation_id.get()
        record.msg, record.args = redact(_shortened(_own_words(record))), None
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = redacted_traceback(record.exc_info[1]).rstrip("\n")
            # Another handler's formatter must not print the raw exception again.
            record.exc_info = None
        elif record.exc_text:
            record.exc_text = redact(_shortened(record.exc_text))
        if record.stack_info:
            record.stack_info = redact(_shortened(record.stack_info))
        return True


class _OursStaySilent(logging.Filter):
    """Keeps what a library says of a request of ours to warnings; a program's own requests are its own affair."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or correlation_id.get() is None


_OURS_STAY_SILENT = _OursStaySilent()


def keep_requests_out_of_the_log_of(library: str) -> None:
    """Let ``library``, which has been imported, log no request of ours, whatever ``ANTHROPIC_LOG`` says.

    They make it log requests whole, on standard error where nothing else is set up.
    """
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == library:
            logging.getLogger(name).addFilter(_OURS_STAY_SILENT)  # once, however often


class _TextLines(logging.Formatter):
    """A line for a person; ``-`` stands where no request runs."""

    def format(self, record: logging.LogRecord) -> str:
        record.request = getattr(record, "correlation_id", None) or "-"
        return marked(super().format(record), lines=True)

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = marked(record.message)  # what somebody else wrote begins no line of its own
        return super().formatMessage(record)


class _JsonLines(logging.Formatter):
    """One JSON object a line. ``time`` is RFC 3339 in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "correlation_id": getattr(record, "correlation_id", None),
            "process": record.process,
        }
        if record.exc_text:
            line["exception"] = record.exc_text
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line)  # in ASCII: some readers take U+2028 for the end of a line


# -- the running request --------------------------------------------------------------------------------


@contextlib.contextmanager
def request_context(request_id: str) -> Generator[None]:
    """Give each line that this task (and what it starts) writes meanwhile the correlation id ``request_id``.

    Not around a ``yield`` of an async generator, whose caller would see it between two events.
    """
    token = correlation_id.set(request_id)
    try:
        yield
    finally:
        correlation_id.reset(token)


# -- the log file ---------------------------------------------------------------------------------------


def setup_logging(home: Path, debug: bool = False, log_format: LogFormat = "text") -> None:
    """Log to a rotating file in ``home`` (2 MiB, three older ones kept); with ``debug`` to stderr as well.

    ``log_format`` ``json`` writes one JSON object a line into the file; stderr stays readable. Calling it
    again replaces what it set up before. A folder that cannot be written is reported on standard error and
    does not stop the start; warnings then go there too.
    """
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if hasattr(handler, _MARK)]:
        root.removeHandler(handler)
        handler.close()
    refused: OSError | None = None
    try:
        make_private_folder(log_path(home).parent)
        lines = _JsonLines() if log_format == "json" else _text_lines()
        _add(root, _SharedLog(log_path(home)), logging.DEBUG, lines)
    except OSError as error:
        refused = error
    if debug or refused:
        level = logging.DEBUG if debug else logging.WARNING
        _add(root, logging.StreamHandler(sys.stderr), level, _text_lines())
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    if refused:
        log.warning("no log file, because %s cannot be written: %s", log_path(home), refused.strerror)


def _text_lines() -> logging.Formatter:
    return _TextLines(_FORMAT, datefmt="%Y-%m-%dT%H:%M:%S")


def _add(root: logging.Logger, handler: logging.Handler, level: int, lines: logging.Formatter) -> None:
    handler.setLevel(level)
    handler.addFilter(RedactingFilter())
    handler.setFormatter(lines)
    setattr(handler, _MARK, True)
    root.addHandler(handler)


class _SharedLog(logging.handlers.RotatingFileHandler):
    """A rotating log that the panel and the command line may write at once.

    Every line is one append, so lines never mix. Only one process turns the files over; the others notice
    that their file has moved and open the new one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._complained = False
        super().__init__(
            path, maxBytes=MAX_LOG_BYTES, backupCount=KEPT_LOGS, encoding="utf-8", errors="backslashreplace"
        )

    def _open(self) -> TextIOWrapper:
        return os.fdopen(open_for_appending(self._path), "a", encoding=self.encoding, errors=self.errors)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._moved():
                self._reopen()
        except OSError:
            self.handleError(record)
        else:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once on standard error that lines are being lost (full disk, folder deleted)."""
        if not self._complained and sys.stderr is not None:
            self._complained = True
            reason = redact(str(sys.exc_info()[1]))
            sys.stderr.write(f"signalbox: {self._path} cannot be written, log lines are lost: {reason}\n")

    def doRollover(self) -> None:
        try:
            with locked(self._path.with_name(f"{self._path.name}.lock")):
                if self._moved():
                    self._reopen()
                else:
                    super().doRollover()
        except OSError:
            # Windows cannot rename a file that another copy has open. The line is written all the same,
            # and the file turns over when its last writer tries.
            self._reopen()

    def _moved(self) -> bool:
        if self.stream is None:
            return False
        try:
            on_disk = self._path.stat()
        except OSError:
            return True
        ours = os.fstat(self.stream.fileno())
        return (on_disk.st_ino, on_disk.st_dev) != (ours.st_ino, ours.st_dev)

    def _reopen(self) -> None:
        if self.stream is not None:
            self.stream.close()
        self.stream = self._open()
