"""Reads the conversations of an export one by one: a JSON file, or one inside a zip, and never all of it at once.

The file is a stranger's: what is read is bounded in bytes, in the size of a conversation and in the number of both.
"""

from __future__ import annotations

import codecs
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from core import open_regular_file
from core.errors import SignalboxError

MOST_BYTES = 2_000_000_000
"""So much is read of a file, unpacked. Exports of ten years of daily use have a few hundred megabytes."""
MOST_ITEM_CHARS = 64_000_000
MOST_ITEMS = 200_000
MOST_DIRECTORY_BYTES = 32_000_000
"""Of a zip: some 300,000 files."""
CHUNK_BYTES = 1_000_000
_CONVERSATIONS = re.compile(r"(?:.*/)?conversations(?:[-_. ]?\d{1,6})?\.json", re.IGNORECASE | re.DOTALL)
_END_OF_ZIP, _END_OF_ZIP64, _ZIP64_RECORD = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"


class ImportRefused(SignalboxError):
    """The file can't be read as an export, or not to its end. What was read before that is kept."""

    kind = "import_refused"


def conversations_in(path: Path, on_read: Callable[[int, int], None]) -> Iterator[object]:
    """Yield what an export lists, item by item; ``on_read`` is told the bytes read so far, and of how many.

    Raises:
        ImportRefused: it is no export, broken, or larger than anything that is read.
        OSError: it can't be opened or read.
    """
    with open_regular_file(path) as file:
        size = file.seek(0, 2)
        file.seek(0)
        is_zip = file.read(4) == b"PK\x03\x04"
        file.seek(0)
        counter = _Counter(on_read, size)
        if not is_zip:
            yield from _items(file, counter)
            return
        with _unpacking():
            _check_directory(file, size)
            with zipfile.ZipFile(file) as archive:
                members = sorted(
                    (info for info in archive.infolist() if _CONVERSATIONS.fullmatch(info.filename)),
                    key=lambda info: info.filename,
                )
                if not members:
                    raise ImportRefused(
                        "This zip has no conversations.json in it.",
                        hint="Choose the file that ChatGPT or Claude sent, or a JSON export of Signalbox.",
                    )
                counter.total = sum(info.file_size for info in members)
                for info in members:
                    if info.flag_bits & 1:
                        raise ImportRefused(
                            "This zip has a password.", hint="Unpack it, and import what is in it."
                        )
                    with archive.open(info) as member:
                        yield from _items(member, counter)


@contextmanager
def _unpacking() -> Generator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ImportRefused(
            "The zip is broken.", hint="Download it again, or unpack it and import conversations.json."
        ) from error


def _check_directory(file: IO[bytes], size: int) -> None:
    """Refuse a zip whose list of files alone would take the memory; ``zipfile`` reads it whole."""
    start = max(0, size - 70_000)
    file.seek(start)
    tail = file.read(70_000)
    file.seek(0)
    end = tail.rfind(_END_OF_ZIP)
    if end < 0 or len(tail) < end + 22:
        raise zipfile.BadZipFile
    directory_bytes = int(struct.unpack_from("<L", tail, end + 12)[0])
    if tail.find(_END_OF_ZIP64, max(0, end - 20), end) >= 0:
        record = tail.rfind(_ZIP64_RECORD, 0, end)
        if record < 0:
            raise zipfile.BadZipFile
        directory_bytes = int(struct.unpack_from("<Q", tail, record + 40)[0])
    if directory_bytes > MOST_DIRECTORY_BYTES:
        raise ImportRefused(
            "This zip lists more files than an export has.", hint="Import the conversations.json in it."
        )


class _Counter:
    def __init__(self, on_read: Callable[[int, int], None], total: int) -> None:
        self._on_read, self.total = on_read, total
        self._bytes = self._items = 0

    def add_bytes(self, count: int) -> None:
        self._bytes += count
        if self._bytes > MOST_BYTES:
            raise ImportRefused(
                f"The file has more than {MOST_BYTES // 1_000_000_000:,} GB in it.",
                hint="What came before is imported.",
            )
        self._on_read(self._bytes, max(self.total, self._bytes))

    def add_item(self) -> None:
        self._items += 1
        if self._items > MOST_ITEMS:
            raise ImportRefused(
                f"The file lists more than {MOST_ITEMS:,} chats.", hint="The first ones are imported."
            )


class _Window:
    """The part of a text that is being read: what comes before ``at`` is dropped."""

    def __init__(self, file: IO[bytes], counter: _Counter) -> None:
        self._file, self._counter = file, counter
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._has_ended = False
        self.text = ""
        self.at = 0

    def more(self) -> bool:
        """Read as much again as there is; returns False at the end of the file."""
        if self._has_ended:
            return False
        if self.at > 0:
            self.text, self.at = self.text[self.at :], 0
        data = self._file.read(max(CHUNK_BYTES, len(self.text)))
        self._has_ended = not data
        self._counter.add_bytes(len(data))
        self.text += self._decoder.decode(data, final=not data)
        return bool(data)

    def next_letter(self, skipped: str) -> str:
        """Return the next letter that is none of ``skipped``, or nothing at the end."""
        while True:
            while self.at < len(self.text):
                if self.text[self.at] not in skipped:
                    return self.text[self.at]
                self.at += 1
            if not self.more():
                return ""


_BLANK = " \t\r\n"


def _items(file: IO[bytes], counter: _Counter) -> Iterator[object]:
    window = _Window(file, counter)
    first = window.next_letter(_BLANK)
    if first == "{":
        yield from _members(_next_value(window))
        return
    if first != "[":
        raise ImportRefused(
            "This is no export of chats: JSON was expected.",
            hint="Choose conversations.json, or the zip it came in.",
        )
    window.at += 1
    while True:
        letter = window.next_letter(_BLANK + ",")
        if letter == "]":
            return
        if not letter:
            raise _broken_off()
        counter.add_item()
        yield _next_value(window)


def _members(value: object) -> Iterator[object]:
    """One conversation by itself, or an object with a list of them."""
    if isinstance(value, dict):
        listed: Any = value.get("conversations")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if isinstance(listed, list):
            yield from listed  # pyright: ignore[reportUnknownVariableType]
            return
    yield value


def _next_value(window: _Window) -> object:
    decoder = json.JSONDecoder()
    while True:
        try:
            value, end = decoder.raw_decode(window.text, window.at)
        except json.JSONDecodeError as error:
            if len(window.text) - window.at > MOST_ITEM_CHARS:
                raise ImportRefused(
                    "One chat of the file is larger than anything that is read.",
                    hint="Those before it are imported.",
                ) from error
            is_cut = error.msg.startswith("Unterminated string") or error.pos > len(window.text) - 20
            if not is_cut or not window.more():
                raise _broken_off() from error
        except (ValueError, RecursionError) as error:
            raise ImportRefused(
                "One chat of the file is nested too deeply, or has a number that is no number.",
                hint="Those before it are imported.",
            ) from error
        else:
            window.at = end
            return value


def _broken_off() -> ImportRefused:
    return ImportRefused(
        "The file breaks off, or is no JSON from here on.", hint="What came before is imported."
    )
