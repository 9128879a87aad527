"""What Signalbox says about itself in ``<home>/logs/signalbox.log``, with every secret hidden.

Nothing goes to standard error unless ``debug`` asks for it. Prompts and answers are never logged: the HTTP
libraries and SDKs, whose debug lines hold whole requests, are kept to warnings even then, and what an exception
quotes of a request is hidden (``core.telemetry.request_text``). Each line that is written while a request runs
carries the request's correlation id.
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
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from core.base.files import locked
from core.base.redaction import redact, remember_secret
from core.chat import ChatRequest, TextDelta, ToolCallDelta
from core.telemetry.request_text import HIDDEN_TEXT, RequestText, hide_request_text, remember_request

__all__ = [
    "RedactingFilter",
    "correlation_id",
    "in_request",
    "log_path",
    "private",
    "redact",
    "redacted_traceback",
    "remember_secret",
    "request_context",
    "setup_logging",
    "traceparent",
    "with_traceparent",
]

_known_text: ContextVar[RequestText | None] = ContextVar("known_text", default=None)

T = TypeVar("T")
LogFormat = Literal["text", "json"]

correlation_id: ContextVar[str | None] = ContextVar("correlation_id", default=None)
"""The request that this task works for, ``None`` outside one."""

traceparent: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""The W3C trace context header that a provider sends with the running attempt; ``None``: no traces."""

MAX_LOG_BYTES = 2 << 20
KEPT_LOGS = 3
MAX_LINE_CHARS = 4000
MAX_TEXT_CHARS = 64_000
"""Longer lines and tracebacks are cut in the middle: what is that long quotes something."""

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
_QUOTING = frozenset({"anthropic", "openai", "jsonschema"})
"""Libraries whose exceptions hold the server's answer or the text that was checked."""

_ERROR_CODE = re.compile(r"Error code: \d+ - ")
_INPUT_VALUE = re.compile(r"(input_value=).*(?=, input_type=)")  # pydantic's quote of what it was given
_MARK = "_signalbox_handler"
log = logging.getLogger(__name__)


def log_path(home: Path) -> Path:
    """Return the current log file; older ones stand beside it as ``.1`` to ``.3``."""
    return home / "logs" / "signalbox.log"


def redacted_traceback(error: BaseException) -> str:
    """Return the traceback of ``error`` as Python prints it, with every secret hidden.

    What it quotes of a request or an answer is hidden too, and long lines are cut.
    """
    text = "".join(traceback.format_exception(error))
    for message, shown in _quoting_messages(error):
        if message in text:
            text = text.replace(message, shown)
        else:  # the lines of a group's members are indented
            for line in filter(None, map(str.strip, message.splitlines())):
                text = text.replace(line, shown)
    return private(text)


def private(text: str) -> str:
    """Return ``text`` as it may be written: without keys, and without the words of a prompt or an answer."""
    text = _INPUT_VALUE.sub(rf"\1{HIDDEN_TEXT}", text)
    return redact(hide_request_text(_cut(text)))


def _cut(text: str) -> str:
    """Shorten long lines, and a text of very many."""
    if len(text) > MAX_LINE_CHARS:
        text = "\n".join(_shortened(line, MAX_LINE_CHARS) for line in text.split("\n"))
    return _shortened(text, MAX_TEXT_CHARS)


def _shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[: most * 3 // 4]} [… {len(text) - most:,} characters …] {text[-most // 4 :]}"


def _quoting_messages(error: BaseException) -> Generator[tuple[str, str]]:
    """Yield the messages in ``error``'s chain whose library quotes what was sent or answered, and what stays."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        waiting += [linked for linked in (current.__cause__, current.__context__) if linked is not None]
        waiting += _members(current)
        if type(current).__module__.partition(".")[0] not in _QUOTING:
            continue
        message = str(current)
        if message:
            code = _ERROR_CODE.match(message)
            yield message, f"{code.group() if code else ''}[{len(message)} characters are left out]"


def _members(error: BaseException) -> tuple[BaseException, ...]:
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).exceptions
    return ()


class RedactingFilter(logging.Filter):
    """Hides secrets in a record's message, arguments, traceback and stack, whatever formats it later.

    It also puts the correlation id of the running request on the record.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "correlation_id"):
            record.correlation_id = correlation_id.get()
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001  arguments that do not fit: say both instead of losing the line
            message = f"{record.msg!s} {record.args!r}"
        record.msg, record.args = private(message), None
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = redacted_traceback(record.exc_info[1]).rstrip("\n")
            # Another handler's formatter must not print the raw exception again.
            record.exc_info = None
        elif record.exc_text:
            record.exc_text = private(record.exc_text)
        if record.stack_info:
            record.stack_info = private(record.stack_info)
        return True


class _TextLines(logging.Formatter):
    """A line for a person; ``-`` stands where no request runs."""

    def format(self, record: logging.LogRecord) -> str:
        record.request = getattr(record, "correlation_id", None) or "-"
        return super().format(record)


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

    Not for the body of an async generator, whose caller would see it between two events: see ``in_request``.
    """
    token = correlation_id.set(request_id)
    try:
        yield
    finally:
        correlation_id.reset(token)


async def in_request(request: ChatRequest, events: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """Pass ``events`` on; while they are made, log lines carry the request's id and hide its texts.

    The texts stay hidden a little longer, for a traceback that is printed after the end. Closing this closes
    ``events``. Between two events the caller's own context is back, so that two streams may be read in turns.
    """
    known = remember_request(_texts_of(request))
    context = ((correlation_id, request.correlation_id), (_known_text, known))
    try:
        async with aclosing(_with(context, events)) as own:
            async for event in own:
                yield event
    finally:
        known.end()


async def with_traceparent(header: str | None, events: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """Pass a provider's ``events`` on; whoever makes them finds ``header`` in ``traceparent``.

    Their text is hidden from now on as part of the request around this, also where it is shown to nobody.
    """
    known = _known_text.get()
    async with aclosing(_with(((traceparent, header),), events)) as own:
        async for event in own:
            if known is not None:
                if isinstance(event, TextDelta):
                    known.add(event.text)
                elif isinstance(event, ToolCallDelta):
                    known.add(event.arguments_json)
            yield event


async def _with(
    values: tuple[tuple[ContextVar[Any], object], ...], events: AsyncGenerator[T]
) -> AsyncGenerator[T]:
    """Set variables while ``events`` makes its next event, and never while the caller has the turn."""
    try:
        while True:
            tokens = [variable.set(value) for variable, value in values]
            try:
                event = await anext(events)
            except StopAsyncIteration:
                return
            finally:
                _put_back(tokens)
            yield event
    finally:
        tokens = [variable.set(value) for variable, value in values]
        try:
            await events.aclose()
        finally:
            _put_back(tokens)


def _put_back(tokens: list[Token[Any]]) -> None:
    for token in tokens:
        token.var.reset(token)


def _texts_of(request: ChatRequest) -> list[str]:
    texts = [message.text for message in request.messages]
    texts += [call.arguments_json for message in request.messages for call in message.tool_calls]
    if request.system:
        texts.append(request.system)
    return texts


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
        log_path(home).parent.mkdir(parents=True, exist_ok=True)
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
        with contextlib.suppress(NotImplementedError):
            os.chmod(path, 0o600)

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
