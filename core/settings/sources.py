"""Where settings are kept: ``settings.json`` in the home folder, and ``.env`` there and in the working folder.

``settings.json`` is one small object that several running copies may change at once. A change is read, altered
and written back while holding a lock on a file beside it, so two copies never lose each other's change, and the
new content replaces the old one in a single rename, so a reader (or a power cut) sees either the old file or the
new one. A file that cannot be read as JSON is moved aside to ``settings.json.broken-<n>`` and never overwritten.
Reading ``.env`` never fails.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from core.base.files import (
    FileTooLarge,
    NotAFile,
    decode_text,
    locked,
    open_regular_file,
    read_regular_file,
    set_aside,
    set_aside_files,
    write_whole,
)
from core.base.permissions import make_private_folder
from core.base.text import file_size
from core.errors import SignalboxError
from core.settings.model import GUARDS, env_name
from core.settings.report import SettingProblem, file_problem, unread_line

MAX_BYTES = 1 << 18
_MOST_TOLD = 5
"""Of the lines of a ``.env`` that make no sense. A stranger's may have thousands."""


class SettingsFileError(SignalboxError):
    """``settings.json`` cannot be read or written (permissions, full disk, a directory in its place)."""

    kind = "settings_file"


class BrokenSettingsFile(SettingsFileError):
    """The content is not a JSON object. It is untouched; see ``SettingsFile.set_aside``."""


@dataclass(frozen=True, slots=True)
class FileContent:
    """``doubt`` finishes "it ..." where the file is not surely the user's own: a link, somebody else's, or one that
    others may write; ``is_foreign`` where the user can't make it theirs by a look at what it says.
    """

    data: bytes
    doubt: str = ""
    is_foreign: bool = False


def read_regular(path: Path) -> FileContent:
    """Read a plain file that may be a stranger's, at most one byte more than ``MAX_BYTES``.

    Raises:
        OSError: as ``open_regular_file``, or it can't be read.
    """
    is_link = path.is_symlink()
    with open_regular_file(path) as file:
        status = os.fstat(file.fileno())
        data = file.read(MAX_BYTES + 1)
    if is_link:
        return FileContent(data, "is a link", is_foreign=True)
    if os.name == "posix":
        if status.st_uid not in (os.geteuid(), 0):
            return FileContent(data, "belongs to another user", is_foreign=True)
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return FileContent(data, "may be written by others")
    return FileContent(data)


class SettingsFile:
    """A JSON object in a file of the home folder, such as ``settings.json``.

    All methods block for a few milliseconds of disk work.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_path = path.with_name(path.name + ".lock")

    def read(self) -> dict[str, Any]:
        """Return the stored object, empty when there is no file.

        Raises:
            BrokenSettingsFile: the content is not a JSON object, or larger than ``MAX_BYTES``.
            SettingsFileError: the file is there and cannot be read, or somebody else may have written it.
        """
        try:
            content = read_regular_file(self.path, MAX_BYTES, only_ours=True)
        except FileNotFoundError:
            return {}
        except FileTooLarge as error:
            raise BrokenSettingsFile(f"{self.path} is larger than {file_size(MAX_BYTES)}.") from error
        except OSError as error:
            raise SettingsFileError(
                f"{self.path} cannot be read: {error.strerror or error}.",
                hint="What it holds is not in effect until it can be.",
            ) from error
        return self._parse(content)

    def change(self, alter: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Apply ``alter`` to what is on disk now, write the result atomically and return it.

        A broken file is moved aside first, so nothing of it is lost.

        Raises:
            SettingsFileError: it cannot be written; the old content is still there.
        """
        try:
            make_private_folder(self.path.parent)
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

    @property
    def broken(self) -> tuple[Path, ...]:
        """The broken files that were moved aside and that nobody has dealt with yet, oldest first."""
        return set_aside_files(self.path)

    def restore(self, copy: Path) -> Path:
        """Take back what a broken copy holds, once it was mended; what has been set since stays.

        Returns where the copy is then.

        Raises:
            BrokenSettingsFile: it is not mended; nothing has changed.
            SettingsFileError: it can't be read or written.
        """
        try:
            mended = self._parse(read_regular_file(copy, MAX_BYTES, only_ours=True), copy)
        except FileTooLarge as error:
            raise BrokenSettingsFile(f"{copy} is larger than {file_size(MAX_BYTES)}.") from error
        except OSError as error:
            raise SettingsFileError(f"{copy} cannot be read: {error.strerror or error}.") from error

        def alter(values: dict[str, Any]) -> None:
            since = dict(values)
            values.update(mended)
            values.update(since)

        self.change(alter)
        return self._put_by(copy, "restored")

    def discard(self, copy: Path) -> Path:
        """Leave a broken copy out for good: it is renamed, so that nothing is lost. Returns where it is.

        Raises:
            SettingsFileError: it can't be renamed.
        """
        return self._put_by(copy, "discarded")

    def _put_by(self, copy: Path, what: str) -> Path:
        try:
            return set_aside(copy, name=f"{self.path.name}.{what}-{{number}}")
        except OSError as error:
            raise SettingsFileError(f"{copy} cannot be renamed: {error.strerror or error}.") from error

    def fingerprint(self) -> tuple[int, ...] | None:
        """Return a value that differs after any change of the file, ``None`` while there is none."""
        return fingerprint(self.path)

    def _parse(self, content: bytes, path: Path | None = None) -> dict[str, Any]:
        path = path or self.path
        try:
            parsed: object = json.loads(decode_text(content))
        except (ValueError, RecursionError) as error:
            where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
            raise BrokenSettingsFile(f"{path} is not valid JSON{where}.") from error
        if not isinstance(parsed, dict):
            raise BrokenSettingsFile(f"{path} does not hold a JSON object.")
        return cast("dict[str, Any]", parsed)


def fingerprint(path: Path) -> tuple[int, ...] | None:
    """Return what differs after a change of the content, owner or mode; ``None`` if it cannot be read."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class DotEnv:
    """What a ``.env`` says. ``sha256`` of its bytes is empty where there is no such file, or it can't be read."""

    path: Path
    values: dict[str, str | None] = field(default_factory=dict[str, str | None])
    problems: tuple[SettingProblem, ...] = ()
    sha256: str = ""
    doubt: str = ""
    is_foreign: bool = False


_GUARD_NAMES = "|".join(sorted(map(env_name, GUARDS)))
_GUARD = re.compile(rf"\b(?:{_GUARD_NAMES})\b")
_GUARD_IN_LINE = re.compile(rf"(?:^|(?<=\r))[^#=\r\n]*?\b({_GUARD_NAMES})\b", re.MULTILINE)
"""A guard's name before any "=" of a line: also after ``set``, ``$env:`` or a dash, as other shells write it."""
_MANY_BLANKS = re.compile(r"[^\S\r\n]{64,}")

_LEAST_CUT = 5
"""A name that was cut off is known by so many of its letters."""


def absolute(path: Path) -> Path:
    """Return ``path`` from the root.

    Raises:
        SettingsFileError: it is relative, and the working directory is gone.
    """
    try:
        return path.absolute()
    except FileNotFoundError:
        raise SettingsFileError(
            "The folder you are in no longer exists: it was deleted or moved.",
            hint="Nothing was done. Go to one that exists, such as with: cd",
        ) from None


def read_dotenv(path: Path) -> DotEnv:
    """Read ``.env`` as python-dotenv does: quotes, ``export``. A folder of that name is none.

    ``${NAME}`` is left as it stands: the file may be a stranger's, and the environment holds secrets.
    A limit may stand in what can't be read, so such a problem closes the API side.
    """
    try:
        content = read_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        return DotEnv(path=path)
    except (OSError, ValueError) as error:
        if isinstance(error, NotAFile) and path.is_dir():
            return DotEnv(path=path)
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        message = f"{path} cannot be read and is not used: {why}."
        return DotEnv(path=path, problems=(file_problem(".env", message, ".env", closes=True),))
    if len(content.data) > MAX_BYTES:
        message = f"{path} is larger than {file_size(MAX_BYTES)} and is not used."
        return DotEnv(path=path, problems=(file_problem(".env", message, ".env", closes=True),))
    problems: list[SettingProblem] = []
    try:
        text = decode_text(content.data)
    except ValueError:
        # What is read then may lack a limit, or have it under another name.
        text = content.data.decode("utf-8-sig", errors="replace")
        message = f"{path} is no text in UTF-8 or UTF-16; save it as UTF-8."
        problems.append(file_problem(".env", message, ".env", closes=b"\0" in content.data))
    # The parser takes seconds over thousands of blanks in a row, and no value of ours has any.
    text = _MANY_BLANKS.sub(" ", text)

    # Most starts have no .env, so its parser is imported only when there is one.
    import dotenv
    from dotenv.parser import parse_stream

    unread = [binding.original for binding in parse_stream(io.StringIO(text)) if binding.error]
    for original in unread[:_MOST_TOLD]:
        where = f"Line {original.line} of {path}"
        problems.append(file_problem(".env", f"{where} is not NAME=value and is not used.", ".env"))
    if len(unread) > _MOST_TOLD:
        more = f"So are {len(unread) - _MOST_TOLD:,} more lines of {path}."
        problems.append(file_problem(".env", more, ".env"))
    logging.getLogger("dotenv.main").setLevel(logging.ERROR)  # it would say the same to standard error
    values = dict(dotenv.dotenv_values(stream=io.StringIO(text), interpolate=False))
    # A line that makes no sense, or a quote that is never closed, may have swallowed a limit.
    lost = {found[1]: text.count("\n", 0, found.start(1)) + 1 for found in _GUARD_IN_LINE.finditer(text)}
    for original in unread:
        if (found := _GUARD.search(original.string)) is not None:
            lost.setdefault(found[0], original.line)
    problems += [unread_line(path, line, key, key) for key, line in lost.items() if values.get(key) is None]
    problems += _cut_off(path, text)
    return DotEnv(
        path=path,
        values=values,
        problems=tuple(problems),
        sha256=hashlib.sha256(content.data).hexdigest(),
        doubt=content.doubt,
        is_foreign=content.is_foreign,
    )


def _cut_off(path: Path, text: str) -> list[SettingProblem]:
    """Find lines that are only the beginning of a guard's name, as a file that was not written to its end has."""
    names = sorted(map(env_name, GUARDS))
    found: dict[str, SettingProblem] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        key = line.strip().removeprefix("export ").strip()
        if len(key) < _LEAST_CUT:
            continue
        name = next((name for name in names if name != key and name.startswith(key)), None)
        if name is not None and name not in found:
            found[name] = unread_line(path, number, key, name)
    return list(found.values())
