"""Finds the one JSON value in a model's answer and reads it as models write it, mending only what loses nothing.

The value may stand alone, in a Markdown fence, or among prose; only text that is no JSON may stand around it. Two
values, or a whole value inside a broken one, are refused: which part was meant is not ours to guess.

Reading never builds a value: it notes the few places of the text that must change, so numbers and texts keep every
character they came with, and says what it had to mend; what cannot be mended without a guess is refused.
``json_repair`` was measured for this and does not hold that line: of ``{"a": 1.5.2}`` it makes the text "1.5.2", of
``{"a": "hel`` the text "hel", of ``[1 2 3]`` a list, and of two values it drops one.

Time is linear in the text, and depth costs no stack.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from math import isinf
from typing import Any, Literal

FENCE = "the Markdown code fence around the JSON was left out"
BEFORE = "the text before the JSON was left out"
AFTER = "the text after the JSON was left out"
REASONING = "the reasoning before the answer was left out"

MAX_STARTS = 200
"""Brackets and code blocks in which a value is looked for: prose has few, and a look may read all that follows."""

_THINKING = re.compile(r"\s*<(think|thinking|reasoning)>")
_FENCE_LINE = re.compile(r"^[ \t]{0,3}(`{3,}+|~{3,}+)([^\n`]*+)$", re.MULTILINE)
_OPENER = re.compile(r"[{\[]")
_BRACKET = re.compile(r"[{}\[\]]")
_ONLY_CLOSERS = re.compile(r"[\s}\]`~]*+")
_HALF_A_FIELD = re.compile(r"[\"']\s*:\s*\Z|[\d\"'}\]]\s*,\s*\Z")
_FOOTNOTE = re.compile(r"\[\s*(?:\d{1,4}\s*(?:,\s*\d{1,4}\s*){0,4})?\]")
_FENCE_BEFORE = re.compile(r"\s*(?:`{3,}|~{3,})[\w+.-]*[ \t]*\s*")
_FENCE_AFTER = re.compile(r"\s*(?:`{3,}|~{3,})?\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """``json`` is the value's text, ``value`` what it says, ``repaired`` what was mended or left out."""

    json: str
    value: Any
    repaired: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFound:
    """Why there is no value to use, as a sentence that begins with where it is."""

    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    start: int
    end: int
    json: str
    repaired: tuple[str, ...]


def find_json(text: str, *, whole: bool = True) -> Found | NotFound:
    """Return the JSON value of an answer. ``whole``: it was not cut off, so a missing end may be added."""
    begin = _behind_reasoning(text)
    if begin:
        rest = _find(text[begin:], whole)
        return rest if isinstance(rest, NotFound) else _with(rest, REASONING)
    return _find(text, whole)


def _find(text: str, whole: bool) -> Found | NotFound:
    exact = _exactly(text)
    if exact is not None and (whole or not text[-1:].isdigit()):
        return Found(json=text, value=exact[0], repaired=())
    read = read_value(text, may_close=whole)
    if isinstance(read, Read) and skip_space(text, read.end) == len(text):
        return _found(read.json, read.repaired)
    return _among_prose(text, read, whole)


def strict_json(text: str) -> Any:
    """Return the value of ``text``, which must be JSON as RFC 8259 has it, with no field twice.

    Raises:
        ValueError: it is not, or a number is too large for this computer.
        RecursionError: it is nested too deeply.
    """
    return json.loads(
        text, object_pairs_hook=_without_twins, parse_constant=_refused_constant, parse_float=_finite
    )


def _exactly(text: str) -> tuple[Any] | None:
    try:
        return (strict_json(text),)
    except (ValueError, RecursionError):
        return None


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field is given twice")
    return fields


def _refused_constant(word: str) -> float:
    raise ValueError(f"{word} is no JSON value")


def _finite(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise ValueError("the number is too large")
    return number


def _found(written: str, repaired: tuple[str, ...]) -> Found | NotFound:
    value = _exactly(written)
    if value is None:
        return NotFound(problem="at /: it cannot be read as JSON")
    return Found(json=written, value=value[0], repaired=repaired)


def _with(found: Found, *what: str) -> Found:
    return Found(json=found.json, value=found.value, repaired=(*what, *found.repaired))


def _behind_reasoning(text: str) -> int:
    """Return where the answer begins after a model's reasoning, 0 where there is none."""
    opened = _THINKING.match(text)
    if opened is None:
        return 0
    closer = f"</{opened[1]}>"
    end = text.find(closer, opened.end())
    return end + len(closer) if end >= 0 else 0


def _among_prose(text: str, first: Read | Unreadable, whole: bool) -> Found | NotFound:
    start = skip_space(text, 0)
    if isinstance(first, Unreadable) and _OPENER.match(text, start) and _is_json_like(text, start, first):
        return NotFound(problem=_worded(text, first))
    candidates, broken = _candidates(text, whole)
    if broken is not None:
        return NotFound(problem=_worded(text, broken))
    if len(candidates) > 1:
        candidates = [each for each in candidates if not _FOOTNOTE.fullmatch(each.json)] or candidates
    if len({each.json for each in candidates}) > 1:
        return NotFound(
            problem=f"at /: there are {len(candidates)} JSON values in the answer, and one is due"
        )
    if not candidates:
        if isinstance(first, Unreadable):
            nothing = first.what == VALUE_DUE and first.at <= start
            return NotFound(problem="at /: there is no JSON in it" if nothing else _worded(text, first))
        return NotFound(problem="at /: there is more than the one JSON value that is due")
    chosen = candidates[-1]
    before, after = text[: chosen.start], text[chosen.end :]
    if not _is_prose(before, after):
        return NotFound(problem="at /: the JSON value stands inside something that is not JSON")
    found = _found(chosen.json, chosen.repaired)
    return found if isinstance(found, NotFound) else _with(found, *_left_out(before, after))


def _candidates(text: str, whole: bool) -> tuple[list[_Candidate], Unreadable | None]:
    """Return the values that stand in ``text``, or why what looks like one cannot be read."""
    found: list[_Candidate] = []
    fences = _fences(text)
    at = starts = 0
    while starts < MAX_STARTS:
        opener = _OPENER.search(text, at)
        start = opener.start() if opener is not None else len(text)
        while fences and fences[0][1] <= start:
            # A fence with no bracket before its end: its content may still be a number or a text.
            inner = _fenced(text, fences.pop(0), whole)
            found += [inner] if inner is not None else []
        if opener is None:
            return found, None
        if fences and fences[0][0] <= start:
            fence = fences.pop(0)
            inner = _fenced(text, fence, whole)
            if inner is not None:
                found.append(inner)
                at = fence[1]
                continue
        starts += 1
        read = _read_at(text, start, whole)
        if isinstance(read, Read):
            found.append(_Candidate(start=start, end=read.end, json=read.json, repaired=read.repaired))
            at = read.end
        elif _is_json_like(text, start, read):
            return found, read
        else:
            at = start + 1
    return found, Unreadable(
        what="there are too many brackets to tell which begins the answer", pointer="/", at=at
    )


_STRICT = json.JSONDecoder(
    object_pairs_hook=_without_twins, parse_constant=_refused_constant, parse_float=_finite
)


def _read_at(text: str, start: int, whole: bool) -> Read | Unreadable:
    try:
        end = _STRICT.raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return read_value(text, start, may_close=whole)
    return Read(json=text[start:end], end=end, repaired=())


def _is_json_like(text: str, start: int, broken: Unreadable) -> bool:
    """Whether what was read before it broke is more than a bracket of prose, such as [see below] or {name}."""
    return any(char in "\"':{[" for char in text[start + 1 : broken.at + 1])


def _fences(text: str) -> list[tuple[int, int, int, int]]:
    """Return start and end of each Markdown code block, and of its content."""
    blocks: list[tuple[int, int, int, int]] = []
    opened: re.Match[str] | None = None
    for line in _FENCE_LINE.finditer(text):
        if opened is None:
            opened = line
        elif line[1].startswith(opened[1]) and not line[2].strip():
            blocks.append((opened.start(), line.end(), opened.end(), line.start()))
            opened = None
            if len(blocks) == MAX_STARTS:
                break
    return blocks


def _fenced(text: str, fence: tuple[int, int, int, int], whole: bool) -> _Candidate | None:
    start, end, inner_start, inner_end = fence
    content = text[inner_start:inner_end]
    if _exactly(content) is not None:
        return _Candidate(start=start, end=end, json=content.strip(" \t\r\n"), repaired=(FENCE,))
    read = read_value(content, may_close=whole)
    if isinstance(read, Unreadable) or skip_space(content, read.end) < len(content):
        return None
    return _Candidate(start=start, end=end, json=read.json, repaired=(FENCE, *read.repaired))


def _is_prose(before: str, after: str) -> bool:
    """Whether nothing around a value shows that it is a part of a larger, broken one."""
    if _HALF_A_FIELD.search(before[-80:]) or after.lstrip()[:1] in (",", ":"):
        return False
    if _depths(before)[1] > 0:
        return False
    return _depths(after)[0] >= 0 or _ONLY_CLOSERS.fullmatch(after) is not None


def _depths(text: str) -> tuple[int, int]:
    """Return how far the brackets of ``text`` close more than they opened, and how many stay open."""
    lowest = depth = 0
    for bracket in _BRACKET.findall(text):
        depth += 1 if bracket in "{[" else -1
        lowest = min(lowest, depth)
    return lowest, depth


def _left_out(before: str, after: str) -> tuple[str, ...]:
    if _FENCE_BEFORE.fullmatch(before) and _FENCE_AFTER.fullmatch(after):
        return (FENCE,)
    return (*((BEFORE,) if before.strip() else ()), *((AFTER,) if after.strip() else ()))


def _worded(text: str, unreadable: Unreadable) -> str:
    line = text.count("\n", 0, unreadable.at) + 1
    where = f" (line {line})" if line > 1 else ""
    return f"at {unreadable.pointer}: {unreadable.what}{where}"


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
