"""Finds the one JSON value in a model's answer: alone, in a Markdown fence, or among prose.

Only text that is no JSON may stand around it. Two values, or a whole value inside a broken one, are refused: which
part was meant is not ours to guess.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from math import isinf
from typing import Any

from core.structured.lenient_json import VALUE_DUE, Read, Unreadable, read_value, skip_space

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
