"""Where settings are kept: ``settings.json`` in the home folder, and ``.env`` in the working folder.

``settings.json`` is one small object that several running copies may change at once. A change is read, altered
and written back while holding a lock on a file beside it, so two copies never lose each other's change, and the
new content replaces the old one in a single rename, so a reader (or a power cut) sees either the old file or the
new one. A file that cannot be read as JSON is moved aside to ``settings.json.broken-<n>`` and never overwritten.
Reading ``.env`` never fails.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from core.base.files import locked, set_aside, write_whole
from core.errors import SignalboxError
from core.settings.report import SettingProblem, file_problem

MAX_BYTES = 1 << 20


class SettingsFileError(SignalboxError):
    """``settings.json`` cannot be read or written (permissions, full disk, a directory in its place)."""

    kind = "settings_file"


class BrokenSettingsFile(SettingsFileError):
    """The content is not a JSON object. It is untouched; see ``SettingsFile.set_aside``."""


class SettingsFile:
    """The file ``settings.json`` in ``home``. All methods block for a few milliseconds of disk work."""

    def __init__(self, home: Path) -> None:
        self.path = home / "settings.json"
        self._lock_path = home / "settings.json.lock"

    def read(self) -> dict[str, Any]:
        """Return the stored object, empty when there is no file.

        Raises:
            BrokenSettingsFile: the content is not a JSON object in UTF-8, or larger than 1 MiB.
            SettingsFileError: the file is there and cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise SettingsFileError(
                f"{self.path} cannot be read: {error.strerror or error}.",
                hint="Settings made in the panel are not in effect until it can be.",
            ) from error
        return self._parse(content)

    def change(self, alter: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Apply ``alter`` to what is on disk now, write the result atomically and return it.

        A broken file is moved aside first, so nothing of it is lost.

        Raises:
            SettingsFileError: it cannot be written; the old content is still there.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with locked(self._lock_path):
                try:
                    values = self.read()
                except BrokenSettingsFile:
                    set_aside(self.path)
                    values = {}
                before = dict(values)
                alter(values)
                if values != before:
                    write_whole(self.path, json.dumps(values, indent=2, sort_keys=True) + "\n")
                return values
        except OSError as error:
            raise SettingsFileError(
                f"{self.path} cannot be written: {error.strerror or error}.",
                hint="The previous settings are kept. Check permissions and free disk space.",
            ) from error

    def set_aside(self) -> Path | None:
        """Move a broken file to ``settings.json.broken-<n>`` and return that path.

        Returns ``None`` when another copy of the application already did so.

        Raises:
            SettingsFileError: it cannot be moved; it stays where it is.
        """
        try:
            with locked(self._lock_path):
                try:
                    self.read()
                except BrokenSettingsFile:
                    return set_aside(self.path)
                return None
        except OSError as error:
            raise SettingsFileError(
                f"{self.path} is not valid and cannot be moved aside: {error.strerror or error}.",
                hint="Correct or delete it by hand.",
            ) from error

    def fingerprint(self) -> tuple[int, int, int] | None:
        """Return a value that differs after any change of the file, ``None`` while there is none."""
        return fingerprint(self.path)

    def _parse(self, content: bytes) -> dict[str, Any]:
        if len(content) > MAX_BYTES:
            raise BrokenSettingsFile(f"{self.path} is larger than {MAX_BYTES} bytes.")
        try:
            parsed: object = json.loads(content.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise BrokenSettingsFile(f"{self.path} is not valid JSON.") from error
        if not isinstance(parsed, dict):
            raise BrokenSettingsFile(f"{self.path} does not hold a JSON object.")
        return cast("dict[str, Any]", parsed)


def fingerprint(path: Path) -> tuple[int, int, int] | None:
    """Return inode, size in bytes and modification time in nanoseconds, ``None`` if it cannot be read."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


_MAX_FILE_BYTES = 1 << 20


def read_dotenv(path: Path) -> tuple[dict[str, str | None], list[SettingProblem]]:
    """Read ``.env`` as python-dotenv does: quotes, ``export``, ``${NAME}``. A folder of that name is none."""
    try:
        if not path.is_file():
            return {}, []
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        return {}, [file_problem(".env", f"{path} cannot be read and is not used: {error}.", ".env")]
    if len(content) > _MAX_FILE_BYTES:
        return {}, [file_problem(".env", f"{path} is larger than 1 MiB and is not used.", ".env")]
    problems: list[SettingProblem] = []
    try:
        # Windows editors write UTF-16 with a mark; "utf-8-sig" also drops the mark of UTF-8.
        utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("utf-8-sig", errors="replace")
        problems.append(file_problem(".env", f"{path} is not UTF-8 text; save it as UTF-8.", ".env"))

    # Most starts have no .env, so its parser is imported only when there is one.
    import dotenv
    from dotenv.parser import parse_stream

    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            where = f"Line {binding.original.line} of {path}"
            problems.append(file_problem(".env", f"{where} is not NAME=value and is not used.", ".env"))
    logging.getLogger("dotenv.main").setLevel(logging.ERROR)  # it would say the same to standard error
    return dict(dotenv.dotenv_values(stream=io.StringIO(text))), problems
