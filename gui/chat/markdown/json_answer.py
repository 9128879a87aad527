"""An answer that is one JSON object or array: told from prose while it arrives, and laid out over lines."""

from __future__ import annotations

import json
import re

from gui.chat.markdown.text_blocks import BlockEvent, CodeAppended, CodeClosed, CodeOpened

SHOWN_JSON_LINES = 24
"""So many lines are drawn, the rest on request."""
MAX_CHARS = 200_000
MAX_LAID_OUT_CHARS = 50_000
"""A longer one is shown in the lines in which it came."""
SURE_CHARS = 200
_MOST_LEVELS = 40

_BEGIN = re.compile(
    r'\s*(?:\{\s*(?:["}]|$)|\[(?:\s*(?:[\[{"]|$|\]\s*$)|[ \t]*\n|\s*(?:true|false|null|-?\d[\d.eE+-]*)\s*,))'
)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def begins_like_json(text: str) -> bool:
    """Whether ``text`` may be the beginning of an object or an array; a link or a footnote is none."""
    return bool(text.strip()) and _BEGIN.match(text[:SURE_CHARS]) is not None


def is_json(text: str) -> bool:
    """Whether ``text`` is one whole JSON object or array of a size that is worth a look."""
    if len(text) > MAX_CHARS or not begins_like_json(text):
        return False
    try:
        # Numbers stay letters: nothing is computed with them, and one of a thousand figures is fine.
        json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(name: str) -> None:
    raise ValueError(name)


def laid_out(text: str) -> str:
    """Return valid JSON over lines with each value as it was written; as it is where it has lines already."""
    text = text.strip()
    if "\n" in text or len(text) > MAX_LAID_OUT_CHARS:
        return text
    parts: list[str] = []
    level = 0
    last = ""
    for token in _TOKEN.findall(text):
        if token in "}]":
            level -= 1
            if last not in "{[":
                parts.append("\n" + "  " * min(level, _MOST_LEVELS))
        elif last and last in "{[,":
            parts.append("\n" + "  " * min(level, _MOST_LEVELS))
        parts.append(": " if token == ":" else token)
        level += token in "{["
        last = token
    return "".join(parts)


class JsonStream:
    """What ``BlockStream`` is for prose: one block of code that grows."""

    def __init__(self) -> None:
        self._started = False

    def feed(self, text: str) -> list[BlockEvent]:
        if self._started:
            return [CodeAppended(text)] if text else []
        text = text.lstrip()
        if not text:
            return []
        self._started = True
        return [CodeOpened("json"), CodeAppended(text)]

    def finish(self) -> list[BlockEvent]:
        return [CodeClosed()]
