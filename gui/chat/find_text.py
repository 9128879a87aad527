"""Finds words in what a reader sees, whatever their capitals, and marks them there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QRect
from PySide6.QtGui import QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QTextEdit, QWidget

from gui.chat.markdown.text_pane import TextPane
from gui.theme.theme import theme

MOST_MARKS = 1000
"""So many matches of one pane are marked; all are counted. Qt goes through them at each paint."""
MARK_ALPHA = 56
_MARKUP = re.compile(r"[*_`~]+")


@dataclass(frozen=True, slots=True)
class Needle:
    """What is looked for: every one of ``words``, in one message."""

    words: tuple[str, ...]

    @staticmethod
    def phrase(text: str) -> Needle:
        return Needle((text.casefold(),))

    @staticmethod
    def each_word(text: str) -> Needle:
        return Needle(tuple(text.casefold().split()))

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where a line holds one of the words: start and length in characters of ``text``, in order."""
        folded = text.casefold()
        found = sorted((at, len(word)) for word in self.words for at in _places(folded, word))
        if len(folded) == len(text):
            return found
        # ß became ss: each letter of the folded text knows which one it came from.
        came_from = [number for number, letter in enumerate(text) for _ in letter.casefold()] + [len(text)]
        return [(came_from[at], came_from[at + length - 1] + 1 - came_from[at]) for at, length in found]

    def is_all_in(self, text: str) -> bool:
        folded = text.casefold()
        return all(word in folded for word in self.words)

    def count_in_source(self, source: str) -> int:
        """Return about how many matches a message shows that is not laid out: its Markdown has marks in it."""
        bare = _MARKUP.sub("", source)
        if not (self.is_all_in(source) or self.is_all_in(bare)):
            return 0
        return max(self.count(source), self.count(bare))

    def count(self, text: str) -> int:
        folded = text.casefold()
        return sum(folded.count(word) for word in self.words)


def _places(text: str, word: str) -> list[int]:
    places: list[int] = []
    at = text.find(word) if word else -1
    while at >= 0:
        places.append(at)
        at = text.find(word, at + len(word))
    return places


@dataclass(frozen=True, slots=True)
class Match:
    """One match on screen: its pane, and the places of a cursor around it."""

    pane: TextPane
    start: int
    end: int

    def cursor(self) -> QTextCursor:
        cursor = QTextCursor(self.pane.document())
        cursor.setPosition(self.start)
        cursor.setPosition(self.end, QTextCursor.MoveMode.KeepAnchor)
        return cursor

    def rect_in(self, widget: QWidget) -> QRect:
        """Return where it is drawn, in the coordinates of a widget around it."""
        cursor = QTextCursor(self.pane.document())
        cursor.setPosition(self.start)
        rect = self.pane.cursorRect(cursor)
        return QRect(self.pane.viewport().mapTo(widget, rect.topLeft()), rect.size())

    def scroll_sideways(self) -> None:
        """Bring it into a pane whose lines are longer than it is wide."""
        bar = self.pane.horizontalScrollBar()
        if bar.maximum() > 0:
            cursor = QTextCursor(self.pane.document())
            cursor.setPosition(self.start)
            left = bar.value() + self.pane.cursorRect(cursor).left()
            room = self.pane.viewport().width()
            if not bar.value() <= left <= bar.value() + room * 3 // 4:
                bar.setValue(max(0, left - room // 3))


def panes_in(view: QWidget) -> list[TextPane]:
    """Return the texts of a message as they are read, from the top."""
    panes = [pane for pane in view.findChildren(TextPane) if pane.isVisibleTo(view)]
    return sorted(panes, key=lambda pane: pane.mapTo(view, pane.rect().topLeft()).y())


def matches_in(view: QWidget, needle: Needle) -> list[Match]:
    """Return all matches that a message shows, in order; none where it doesn't hold every word."""
    found: list[Match] = []
    texts: list[str] = []
    for pane in panes_in(view):
        block = pane.document().begin()
        while block.isValid():
            text = block.text()
            if len(needle.words) > 1:
                texts.append(text)
            for start, length in needle.spans(text):
                at = block.position() + _utf16(text[:start])
                found.append(Match(pane, at, at + _utf16(text[start : start + length])))
            block = block.next()
    return found if len(needle.words) == 1 or needle.is_all_in("\n".join(texts)) else []


def count_in(view: QWidget, needle: Needle) -> int:
    """Return how many matches a message shows, at less cost than to find where."""
    count = 0
    texts: list[str] = []
    for pane in view.findChildren(TextPane):
        if pane.isVisibleTo(view):
            text = pane.toPlainText()
            texts.append(text)
            count += needle.count(text)
    return count if count and (len(needle.words) == 1 or needle.is_all_in("\n".join(texts))) else 0


def _utf16(text: str) -> int:
    """Qt counts a letter beyond the first plane as two."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def mark(view: QWidget, matches: Sequence[Match], current: Match | None) -> None:
    """Mark these matches in a message, the current one more than the others, and no others."""
    wanted: dict[TextPane, list[QTextEdit.ExtraSelection]] = {pane: [] for pane in panes_in(view)}
    for match in matches:
        selections = wanted.get(match.pane)
        if selections is not None and match != current and len(selections) < MOST_MARKS:
            selections.append(_selection(match, is_current=False))
    if current is not None and current.pane in wanted:
        wanted[current.pane].append(_selection(current, is_current=True))
    for pane, selections in wanted.items():
        if [*map(_look_of, pane.extraSelections())] != [*map(_look_of, selections)]:
            pane.setExtraSelections(selections)  # which draws the whole pane again


def _look_of(selection: QTextEdit.ExtraSelection) -> tuple[int, int, int]:
    """Return where a mark is, and its colour."""
    cursor: QTextCursor = selection.cursor  # pyright: ignore[reportAttributeAccessIssue]
    style: QTextCharFormat = selection.format  # pyright: ignore[reportAttributeAccessIssue]
    return cursor.selectionStart(), cursor.selectionEnd(), style.background().color().rgba()


def _selection(match: Match, *, is_current: bool) -> QTextEdit.ExtraSelection:
    unit = theme()
    ground = unit.color("ink")
    style = QTextCharFormat()
    if is_current:
        style.setForeground(unit.color("onInk"))
    else:
        ground.setAlpha(MARK_ALPHA)
    style.setBackground(ground)
    selection = QTextEdit.ExtraSelection()
    selection.cursor = match.cursor()  # pyright: ignore[reportAttributeAccessIssue]
    selection.format = style  # pyright: ignore[reportAttributeAccessIssue]
    return selection
