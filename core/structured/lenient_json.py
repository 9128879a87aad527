"""Reads JSON as models write it, and says what it had to mend; what cannot be mended without a guess is refused.

It never builds a value: it notes the few places of the text that must change, so numbers and texts keep every
character they came with. ``json_repair`` was measured for this and does not hold that line: of ``{"a": 1.5.2}`` it
makes the text "1.5.2", of ``{"a": "hel`` the text "hel", of ``[1 2 3]`` a list, and of two values it drops one.

Time is linear in the text, and depth costs no stack.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from math import isinf
from typing import Literal

TRAILING_COMMA = "a comma after the last entry was removed"
SINGLE_QUOTES = "single quotes were made double quotes"
BARE_NAMES = "quotes were put around field names"
PYTHON_WORDS = "Python's True, False and None were written as JSON"
CONTROL_CHARACTERS = "line breaks inside a text were escaped"
COMMENTS = "comments were left out"
VALUE_DUE = "a value is due: text in quotes, a number, true, false, null, a list or an object"
MISSING_CLOSERS = "the closing brackets missing at the end were added"

MAX_DEPTH = 500
"""Lists and objects inside each other; Python's own reader stops at about 1,000."""

MAX_POINTER_CHARS = 120
"""A path is read by a person and paid for in a correction; the middle of a longer one is left out."""

MAX_NUMBER_CHARS = 4_000
"""Python reads whole numbers of 4,300 digits at most."""

_SPACE = re.compile(r"[ \t\n\r]*+")
_DOUBLE_QUOTED = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_SINGLE_QUOTED = re.compile(r"'(?:[^'\\]++|\\.)*+'", re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?(?![\w.+-])", re.ASCII)
_WORD = re.compile(r"[-+]?[\w$][\w$.+-]*+")
_NAME = re.compile(r"[^\W][\w$-]*+|\$[\w$-]*+")
_IN_A_TEXT = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)|[\"\x00-\x1f]", re.DOTALL)
_CONTROL = {chr(code): json.dumps(chr(code))[1:-1] for code in range(0x20)}
_JSON_ESCAPES = frozenset('"\\/bfnrt')
_WORDS = {"true": "true", "false": "false", "null": "null", "True": "true", "False": "false", "None": "null"}
_NOT_NUMBERS = frozenset({"NaN", "nan", "Infinity", "-Infinity", "+Infinity", "inf", "-inf", "undefined"})
_CLOSER = {"{": "}", "[": "]"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One whole value: ``json`` is its text as JSON, ``end`` the position behind it."""

    json: str
    end: int
    repaired: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """Why it is no JSON value: ``what`` at ``pointer`` (a JSON pointer), at position ``at`` of the text."""

    what: str
    pointer: str
    at: int


class _Refused(Exception):
    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


@dataclass(slots=True)
class _Level:
    """An open list or object. ``state``: just opened, after a comma, or after a whole entry."""

    opener: str
    state: Literal["open", "comma", "entry"] = "open"
    comma_at: int = 0
    entries: int = 0
    name: str = ""
    names: set[str] = field(default_factory=set[str])


def read_value(text: str, start: int = 0, *, may_close: bool = True) -> Read | Unreadable:
    """Read the value that begins at ``start``, white space and comments before it allowed.

    ``may_close``: the text is known to have been sent whole, so brackets missing at its end may be added.
    """
    reader = _Reader(text, start, may_close)
    try:
        return reader.read()
    except _Refused as refused:
        return Unreadable(what=refused.what, pointer=reader.pointer(), at=reader.at)


def skip_space(text: str, start: int) -> int:
    """Return the position of the next character that is no JSON white space."""
    found = _SPACE.match(text, start)
    return start if found is None else found.end()


class _Reader:
    def __init__(self, text: str, start: int, may_close: bool) -> None:
        self.at = start
        self._text = text
        self._start = start
        self._may_close = may_close
        self._levels: list[_Level] = []
        self._edits: list[tuple[int, int, str]] = []
        self._repaired: dict[str, None] = {}
        self._number_end = -1

    def read(self) -> Read:
        self._skip()
        self._start = self.at
        if self._at_end():
            raise _Refused("there is no JSON in it")
        self._value()
        while self._levels:
            self._skip()
            if self._at_end():
                self._close_all()
                break
            self._step(self._levels[-1], self._text[self.at])
        if not self._may_close and self._number_end == len(self._text):
            raise _Refused("a number at the very end may have been cut off")
        return Read(json=self._edited(), end=self.at, repaired=tuple(self._repaired))

    def pointer(self) -> str:
        """Return where the reader stands, as a JSON pointer (RFC 6901)."""
        return json_pointer([level.name if level.opener == "{" else level.entries for level in self._levels])

    def _step(self, level: _Level, char: str) -> None:
        if char == _CLOSER[level.opener]:
            if level.state == "comma":
                self._mend(level.comma_at, level.comma_at + 1, "", TRAILING_COMMA)
            self.at += 1
            self._levels.pop()
            self._entry_done()
        elif level.state == "entry":
            if char != ",":
                due = "a comma or " + _CLOSER[level.opener]
                raise _Refused(f"{due} is due{' before ' + char if char in ']}' else ''}")
            level.state, level.comma_at = "comma", self.at
            self.at += 1
        else:
            if level.opener == "{":
                self._field_name(level)
            self._value()

    def _field_name(self, level: _Level) -> None:
        level.name = ""
        char = self._text[self.at]
        if char in "\"'":
            written = self._quoted(char)
        else:
            found = _NAME.match(self._text, self.at)
            if found is None:
                raise _Refused("a field name is due")
            written = json.dumps(found[0])
            self._mend(self.at, found.end(), written, BARE_NAMES)
            self.at = found.end()
        name: str = json.loads(written)
        level.name = name
        if name in level.names:
            raise _Refused("this field is given twice")
        level.names.add(name)
        self._skip()
        if self._text[self.at : self.at + 1] != ":":
            raise _Refused("a colon is due after the field name")
        self.at += 1
        self._skip()

    def _value(self) -> None:
        char = self._text[self.at : self.at + 1]
        if char in _CLOSER:
            if len(self._levels) >= MAX_DEPTH:
                raise _Refused(f"it is nested more than {MAX_DEPTH} levels deep")
            self._levels.append(_Level(char))
            self.at += 1
            return
        if char in ('"', "'"):
            self._quoted(char)
        elif not char:
            raise _Refused("it ends before the value")
        elif (number := _NUMBER.match(self._text, self.at)) is not None:
            whole = number[0].lstrip("-").isdecimal()
            if len(number[0]) > MAX_NUMBER_CHARS or (not whole and isinf(float(number[0]))):
                raise _Refused("the number is too large")
            self.at = self._number_end = number.end()
        else:
            self._word()
        self._entry_done()

    def _word(self) -> None:
        found = _WORD.match(self._text, self.at)
        word = found[0] if found is not None else ""
        if word in _NOT_NUMBERS:
            raise _Refused(f"{word} is no JSON value")
        written = _WORDS.get(word)
        if written is None:
            raise _Refused(VALUE_DUE)
        if written != word:
            self._mend(self.at, self.at + len(word), written, PYTHON_WORDS)
        self.at += len(word)

    def _quoted(self, quote: str) -> str:
        """Step over a text and return it as JSON."""
        found = (_DOUBLE_QUOTED if quote == '"' else _SINGLE_QUOTED).match(self._text, self.at)
        if found is None:
            raise _Refused("a text has no end")
        raw = found[0]
        written = raw
        if quote == "'" or _needs_mending(raw):
            inner = _IN_A_TEXT.sub(self._mended_character, raw[1:-1])
            written = f'"{inner}"'
            if quote == "'":
                self._repaired.setdefault(SINGLE_QUOTES)
            self._edits.append((self.at, found.end(), written))
        self.at = found.end()
        return written

    def _mended_character(self, found: re.Match[str]) -> str:
        char = found[0]
        if char == '"':
            return '\\"'
        if char == "\\'":
            self._repaired.setdefault(SINGLE_QUOTES)
            return "'"
        if char.startswith("\\"):
            if len(char) == 2 and char[1] not in _JSON_ESCAPES:
                raise _Refused(f"{char if char.isprintable() else 'a backslash here'} is no JSON escape")
            return char
        self._repaired.setdefault(CONTROL_CHARACTERS)
        return _CONTROL[char]

    def _entry_done(self) -> None:
        if self._levels:
            level = self._levels[-1]
            level.state = "entry"
            level.entries += 1

    def _close_all(self) -> None:
        """Add the brackets that are missing at the end, where nothing but they can be missing."""
        if self._levels[-1].state != "entry":
            raise _Refused("it ends in the middle")
        if not self._may_close:
            raise _Refused("it was cut off before its end")
        if self._number_end == len(self._text):
            raise _Refused("it ends with a number that may have been cut off")
        closers = "".join(_CLOSER[level.opener] for level in reversed(self._levels))
        self._mend(self.at, self.at, closers, MISSING_CLOSERS)
        self._levels.clear()

    def _skip(self) -> None:
        while True:
            self.at = skip_space(self._text, self.at)
            end = self._comment_end()
            if end < 0:
                return
            self._mend(self.at, end, " ", COMMENTS)
            self.at = end

    def _comment_end(self) -> int:
        """Return where the comment that begins here ends, -1 where none does."""
        match self._text[self.at : self.at + 2]:
            case "//":
                end = self._text.find("\n", self.at)
                return len(self._text) if end < 0 else end
            case "/*":
                end = self._text.find("*/", self.at + 2)
                return -1 if end < 0 else end + 2
            case _:
                return -1

    def _at_end(self) -> bool:
        return self.at >= len(self._text)

    def _mend(self, start: int, end: int, replacement: str, what: str) -> None:
        self._edits.append((start, end, replacement))
        self._repaired.setdefault(what)

    def _edited(self) -> str:
        pieces: list[str] = []
        copied = self._start
        for start, end, replacement in sorted(edit for edit in self._edits if edit[0] >= self._start):
            pieces += (self._text[copied:start], replacement)
            copied = end
        return "".join([*pieces, self._text[copied : self.at]])


def _needs_mending(raw: str) -> bool:
    """Whether a text in double quotes is not JSON as it stands."""
    try:
        json.loads(raw)
    except ValueError:
        return True
    return False


def json_pointer(path: list[str | int]) -> str:
    """Return ``path`` as a JSON pointer (RFC 6901), but ``/`` for the whole value: nothing would read badly."""
    pointer = "/" + "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in path)
    if len(pointer) <= MAX_POINTER_CHARS:
        return pointer
    return f"{pointer[: MAX_POINTER_CHARS // 2]}…{pointer[-MAX_POINTER_CHARS // 2 :]}"
