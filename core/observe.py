"""What Signalbox says about itself in ``<home>/logs/signalbox.log``, with every secret hidden.

Nothing goes to standard error unless ``debug`` asks for it. Prompts and answers are never logged: the HTTP
libraries and SDKs, whose debug lines hold whole requests, are kept to warnings even then.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import sys
import traceback
from pathlib import Path

from core.file_lock import locked
from core.redaction import redact, remember_secret

__all__ = ["RedactingFilter", "log_path", "redact", "redacted_traceback", "remember_secret", "setup_logging"]

MAX_LOG_BYTES = 2 << 20
KEPT_LOGS = 3
_FORMAT = "%(asctime)s.%(msecs)03d %(levelname)-7s %(process)d %(name)s: %(message)s"
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
)
_MARK = "_signalbox_handler"
_log = logging.getLogger(__name__)


def log_path(home: Path) -> Path:
    """Return the current log file; older ones stand beside it as ``.1`` to ``.3``."""
    return home / "logs" / "signalbox.log"


def redacted_traceback(error: BaseException) -> str:
    """Return the traceback of ``error`` as Python prints it, with every secret hidden."""
    return redact("".join(traceback.format_exception(error)))


class RedactingFilter(logging.Filter):
    """Hides secrets in a record's message, arguments, traceback and stack, whatever formats it later."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001  arguments that do not fit: say both instead of losing the line
            message = f"{record.msg!s} {record.args!r}"
        record.msg, record.args = redact(message), None
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = redacted_traceback(record.exc_info[1]).rstrip("\n")
            # Another handler's formatter must not print the raw exception again.
            record.exc_info = None
        elif record.exc_text:
            record.exc_text = redact(record.exc_text)
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        return True


def setup_logging(home: Path, debug: bool = False) -> None:
    """Log to a rotating file in ``home`` (2 MiB, three older ones kept); with ``debug`` to stderr as well.

    Calling it again replaces what it set up before. A folder that cannot be written is reported on
    standard error and does not stop the start; warnings then go there too.
    """
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if hasattr(handler, _MARK)]:
        root.removeHandler(handler)
        handler.close()
    refused: OSError | None = None
    try:
        log_path(home).parent.mkdir(parents=True, exist_ok=True)
        _add(root, _SharedLog(log_path(home)), logging.DEBUG)
    except OSError as error:
        refused = error
    if debug or refused:
        _add(root, logging.StreamHandler(sys.stderr), logging.DEBUG if debug else logging.WARNING)
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    if refused:
        _log.warning("no log file, because %s cannot be written: %s", log_path(home), refused.strerror)


def _add(root: logging.Logger, handler: logging.Handler, level: int) -> None:
    handler.setLevel(level)
    handler.addFilter(RedactingFilter())
    handler.setFormatter(logging.Formatter(_FORMAT, datefmt="%Y-%m-%dT%H:%M:%S"))
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
