"""Cuts a Markdown answer that is still arriving into blocks that never change again, and one open block.

A block closes where no later text can change how it reads: at a blank line, around a fenced code block, between
the items of a long list. What is closed is rendered once; only the open block is drawn again. So the cost of a
token does not grow with the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

LONG_PARAGRAPH_CHARS = 2400
LONG_LIST_CHARS = 1200
LONGEST_BLOCK_CHARS = 20_000
LONGEST_BLOCK_LINES = 300
"""Where a list or a table's row that goes on and on is cut, whatever it reads like then."""
LONG_TABLE_CELLS = 60
"""Qt lays a whole table out again for each row, at some 0.15 ms a cell; a longer one goes on in a new table."""

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([^`\n]*)$")
_FENCE_START = re.compile(r"^[ \t]*(?:`+|~+|`{3,}[^`\n]*|~{3,}[^\n]*)$")
_ITEM = re.compile(r"^ {0,3}(?:[-*+]|\d{1,9}[.)])(?:[ \t]|$)")
_DELIMITER_ROW = re.compile(r"^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*(?::?-+:?[ \t]*)?)*\|?[ \t]*$")
_UNDERLINE = re.compile(r"^ {0,3}(?:-+|=+)[ \t]*$")


@dataclass(frozen=True, slots=True)
class ProseClosed:
    """Markdown without fenced code that will not change any more."""

    text: str


@dataclass(frozen=True, slots=True)
class ProseOpen:
    """The open block so far; replaces the last one. Empty: nothing is open."""

    text: str


@dataclass(frozen=True, slots=True)
class CodeOpened:
    """A fence opened; ``language`` is its first word in lower case, or empty."""

    language: str


@dataclass(frozen=True, slots=True)
class CodeAppended:
    text: str


@dataclass(frozen=True, slots=True)
class CodeClosed:
    """The fence closed, or the answer ended inside it."""


BlockEvent = ProseClosed | ProseOpen | CodeOpened | CodeAppended | CodeClosed


class BlockStream:
    """Feed it text as it comes; the closed blocks do not depend on where the text was cut."""

    def __init__(self) -> None:
        self._line = ""  # the line that has no end yet
        self._block: list[str] = []  # complete lines of the open prose block
        self._block_chars = 0
        self._fence: str | None = None  # the open code block's fence
        self._indent = 0
        self._blank_after_item = False
        self._table_head: tuple[str, str] | None = None
        self._sent_of_line = 0  # characters of the unfinished code line already handed out
        self._dropped_of_line = False  # the unfinished code line was handed out and isn't kept any more
        self._code_started = False

    def feed(self, text: str) -> list[BlockEvent]:
        """Take the next piece of the answer and return what it changed, at most one ``ProseOpen`` and last."""
        events: list[BlockEvent] = []
        *lines, rest = (self._line + text).replace("\r\n", "\n").split("\n")
        for line in lines:
            self._take_line(line, events)
            self._sent_of_line, self._dropped_of_line = 0, False
        self._line = rest
        if self._fence is not None:
            self._take_code_rest(events)
        else:
            self._line = self._cut_long_line(self._line, events)
            events.append(ProseOpen(self._open_text()))
        return _merged(events)

    def finish(self) -> list[BlockEvent]:
        """Close whatever is open; an unfinished fence counts as closed."""
        events: list[BlockEvent] = []
        if self._line:
            line, self._line = self._line, ""
            self._take_line(line, events)
        if self._fence is not None:
            self._fence = None
            events.append(CodeClosed())
        self._close(events)
        events.append(ProseOpen(""))
        return _merged(events)

    def _take_line(self, line: str, events: list[BlockEvent]) -> None:
        if self._fence is not None:
            self._take_code_line(line, events)
            return
        line = self._cut_long_line(line, events)
        fence = _FENCE.match(line)
        if fence is not None:
            self._close(events)
            self._fence = fence[1]
            self._indent = len(line) - len(line.lstrip(" \t"))
            self._code_started = False
            words = fence[2].split()
            events.append(CodeOpened(words[0].strip("{}.").lower() if words else ""))
            return
        if not line.strip():
            self._take_blank(events)
            return
        self._close_before(line, events)
        self._append(line)
        if (
            self._table_head is None
            and len(self._block) == 2
            and "|" in self._block[0]
            and _DELIMITER_ROW.match(line)
        ):
            self._table_head = (self._block[0], line)

    def _take_blank(self, events: list[BlockEvent]) -> None:
        if self._in_list():
            self._append("")
            self._blank_after_item = True
        else:
            self._close(events)

    def _close_before(self, line: str, events: list[BlockEvent]) -> None:
        """Close the open block when ``line`` starts another one."""
        if self._block_chars > LONGEST_BLOCK_CHARS or len(self._block) > LONGEST_BLOCK_LINES:
            self._close(events)
        elif self._in_list():
            is_item = _ITEM.match(line) is not None
            is_inside = line.startswith(("  ", "\t"))
            if (self._blank_after_item and not is_item and not is_inside) or (
                is_item and not is_inside and self._block_chars > LONG_LIST_CHARS
            ):
                self._close(events)
            self._blank_after_item = False
        elif self._table_head is not None and "|" in line and self._table_is_long():
            head = self._table_head
            self._close(events)
            for row in head:  # a long table goes on under its header again, in its own table
                self._append(row)
            self._table_head = head
        elif self._table_head is None and self._block_chars > LONG_PARAGRAPH_CHARS:
            self._close(events)

    def _table_is_long(self) -> bool:
        assert self._table_head is not None
        columns = self._table_head[0].strip().strip("|").count("|") + 1
        return columns * len(self._block) > max(LONG_TABLE_CELLS, 4 * columns)

    def _in_list(self) -> bool:
        return bool(self._block) and _ITEM.match(self._block[0]) is not None

    def _append(self, line: str) -> None:
        self._block.append(line)
        self._block_chars += len(line) + 1

    def _close(self, events: list[BlockEvent]) -> None:
        text = "\n".join(self._block).rstrip()
        self._block.clear()
        self._block_chars = 0
        self._blank_after_item = False
        self._table_head = None
        if text:
            events.append(ProseClosed(text))

    def _cut_long_line(self, line: str, events: list[BlockEvent]) -> str:
        """A paragraph of many thousand characters on one line is shown in pieces, cut between words.

        Laying out one paragraph costs as much as it is long, at every token. Returns what is left of ``line``.
        """
        start = 0
        while len(line) - start > (LONG_PARAGRAPH_CHARS if self._table_head is None else LONGEST_BLOCK_CHARS):
            half, end = start + LONG_PARAGRAPH_CHARS // 2, start + LONG_PARAGRAPH_CHARS
            cut = line.rfind(" ", half, end) + 1 or end
            self._close_before(line[start:cut], events)
            self._append(line[start:cut])
            self._close(events)
            start = cut
        return line[start:]

    def _open_text(self) -> str:
        """The open block as it can be drawn now: without a last line that may become something else."""
        line = self._line
        held_back = (
            self._table_head is not None  # a row is shown when it is whole
            or _FENCE_START.match(line)
            or (self._block and _UNDERLINE.match(line))
        )
        lines = self._block if held_back or not line else [*self._block, line]
        return "\n".join(lines).rstrip()

    def _take_code_line(self, line: str, events: list[BlockEvent]) -> None:
        assert self._fence is not None
        if self._dropped_of_line:
            if line:
                events.append(CodeAppended(line))
            return
        stripped = line.strip()
        if len(stripped) >= len(self._fence) and stripped == self._fence[0] * len(stripped):
            self._fence = None
            events.append(CodeClosed())
            return
        self._emit_code(self._without_indent(line)[self._sent_of_line :], events)

    def _take_code_rest(self, events: list[BlockEvent]) -> None:
        """Hand out the unfinished line of a code block, unless it may be the closing fence."""
        assert self._fence is not None
        if self._dropped_of_line:
            if self._line:
                held = "\r" if self._line.endswith("\r") else ""  # may be half of the line's end
                events.append(CodeAppended(self._line.removesuffix("\r")))
                self._line = held
            return
        stripped = self._line.strip()
        if not stripped or stripped == self._fence[0] * len(stripped):
            return
        shown = self._without_indent(self._line).rstrip("\r")
        self._emit_code(shown[self._sent_of_line :], events)
        self._sent_of_line = len(shown)
        if len(self._line) > LONGEST_BLOCK_CHARS:  # a line without an end would be copied at each piece
            self._line = "\r" if self._line.endswith("\r") else ""
            self._dropped_of_line = True

    def _emit_code(self, text: str, events: list[BlockEvent]) -> None:
        """Newlines are handed out with the line after them, so that a block does not end in an empty line."""
        if self._sent_of_line == 0 and self._code_started:
            text = "\n" + text
        self._code_started = True
        if text:
            events.append(CodeAppended(text))

    def _without_indent(self, line: str) -> str:
        """A fence inside a list is indented, and its code with it."""
        indent = 0
        while indent < self._indent and indent < len(line) and line[indent] in " \t":
            indent += 1
        return line[indent:]


def _merged(events: list[BlockEvent]) -> list[BlockEvent]:
    """Join neighbouring pieces of code, so that a fast stream costs one append a frame."""
    merged: list[BlockEvent] = []
    for event in events:
        last = merged[-1] if merged else None
        if isinstance(event, CodeAppended) and isinstance(last, CodeAppended):
            merged[-1] = CodeAppended(last.text + event.text)
        else:
            merged.append(event)
    return merged


SLICE_CHARS = 20_000


def block_slices(text: str) -> Iterator[list[BlockEvent]]:
    """Yield a whole answer's blocks, some at a time."""
    stream = BlockStream()
    for start in range(0, len(text), SLICE_CHARS):
        events = stream.feed(text[start : start + SLICE_CHARS])
        yield [event for event in events if not isinstance(event, ProseOpen)]
    yield stream.finish()
