"""Cuts a text into passages and says which of them may be rewritten: plain prose, and nothing else.

Whatever may carry meaning in its exact characters is protected: fenced and indented code, inline code, quoted text,
block quotes, tables, lists of keys, and everything in tags or brackets. The rule where it can't be told: leave
it alone. A quote, bracket or tag that is not closed in its own paragraph protects all that follows, since nobody
can say where it ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple


class Passage(NamedTuple):
    """A paragraph and the blank lines after it; the passages of a text, joined, are that text.

    ``prose`` says that it may be rewritten.
    """

    text: str
    gap: str
    prose: bool


MOST_PARAGRAPHS = 50_000
"""A text of more paragraphs is data rather than something written; it is left alone."""
PARAGRAPH_GAP = re.compile(r"(\n(?:[ \t\r]*\n)+)")
"""A paragraph ends before a line that holds nothing but blanks; the gap takes in all such lines that follow."""

_FENCE = re.compile(r"^([ \t>]*)(`{3,}|~{3,})(.*)$", re.MULTILINE)
_OPEN_TAG = re.compile(r"<([A-Za-z_][\w:.-]*)(?:\s[^<>]*)?(?<!/)>")
_CLOSE_TAG = re.compile(r"</([A-Za-z_][\w:.-]*)\s*>")
_UNTAGGED = (("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>"))
_PAIRS = ("{}", "[]", "\u00ab\u00bb", "\u2039\u203a", "\u300c\u300d", "\u300e\u300f")
_DOUBLE_QUOTES = re.compile('["\u201c\u201d\u201e\u201f]')

# One of these anywhere in a paragraph protects it as a whole: it is code, data, markup, a quote or a table.
_SPECIAL = re.compile(r"[`\"<>{}\[\]|\\=\t\v\f\u2018\u201a-\u201f\u00ab\u00bb\u2039\u203a\u300c-\u300f]")
_SPECIAL_PAIRS = ("()", "::", "--")
_PATH = re.compile(r"(?<!:)//")  # a comment, but not the beginning of an address
_LINE_END = re.compile(r";\r?(?:\n|\Z)")
# Indentation, a shell's prompt, a heading, a list or a rule; a line end is put before the paragraph to find it.
_LINE_BEGINNING = re.compile(r"\n(?:  |[$%#+*-] | ?[-+*_]{3,}[ \r]*(?:\n|\Z))")
# Where no letter stands before it, a single quote opens something; elsewhere it is an apostrophe.
_OPENING_QUOTE = re.compile(r"(?<!\w)'")
_KEY_LINE = re.compile(r" ?[\w.-]+:(?: |\r?$)")
_BLANKS = re.compile(r" {2,}")
_SINGLE_QUOTE = re.compile(r"(?<!\w)'|(?<=\S)'(?!\w)")


def passages(text: str) -> Iterator[Passage]:
    """Yield the passages of ``text``, in linear time."""
    if "\r" in text and "\r" in text.replace("\r\n", ""):
        yield Passage(text, "", False)  # lines end at a lone carriage return: not as they are counted here
        return
    parts = PARAGRAPH_GAP.split(text)
    if len(parts) > 2 * MOST_PARAGRAPHS:
        yield Passage(text, "", False)
        return
    closes_last_at = {match[1]: match.end() for match in _CLOSE_TAG.finditer(text)} if "</" in text else {}
    fences = _Fences()
    protected_until = 0
    start = 0
    parts.append("")  # the last paragraph has no gap
    for paragraph, gap in zip(parts[::2], parts[1::2], strict=True):
        outside = fences.outside(paragraph)
        special = outside is not paragraph or _is_special(paragraph)
        prose = not special and start >= protected_until
        if special and start >= protected_until:
            protected_until = _protects_until(outside, start, len(text), closes_last_at)
        yield Passage(paragraph, gap, prose)
        start += len(paragraph) + len(gap)


def _is_special(paragraph: str) -> bool:
    return (
        _SPECIAL.search(paragraph) is not None
        or any(pair in paragraph for pair in _SPECIAL_PAIRS)
        or ("'" in paragraph and _OPENING_QUOTE.search(paragraph) is not None)
        or ("//" in paragraph and _PATH.search(paragraph) is not None)
        or (";" in paragraph and _LINE_END.search(paragraph) is not None)
        or _LINE_BEGINNING.search("\n" + paragraph) is not None
        or _is_tabular(paragraph)
    )


class _Fences:
    """Follows code fences through the paragraphs of a text."""

    def __init__(self) -> None:
        self._mark: str | None = None
        self._deep = False

    def outside(self, paragraph: str) -> str:
        """Return what of ``paragraph`` is in no fence: ``paragraph`` itself where it has nothing to do with one."""
        if self._mark is None and "```" not in paragraph and "~~~" not in paragraph:
            return paragraph
        pieces: list[str] = []
        position = 0
        for match in _FENCE.finditer(paragraph):
            # At four columns a fence is either part of a list or a line of indented code. One that opens there is
            # closed there: a mark at less depth may be the opening one of another block.
            deep = len(match[1].expandtabs(4)) >= 4
            if self._mark is None:
                if match[2][0] == "`" and "`" in match[3]:
                    continue  # inline code, which may begin with three marks as well
                self._mark, self._deep = match[2], deep
                pieces.append(paragraph[position : match.start()])
            elif self._closes(match[2], match[3], deep):
                self._mark = None
                position = match.end()
        if self._mark is None:
            pieces.append(paragraph[position:])
        return "".join(pieces) if len(pieces) != 1 or position or self._mark is not None else paragraph

    def _closes(self, mark: str, rest: str, deep: bool) -> bool:
        opened = self._mark or ""
        return mark.startswith(opened) and not rest.strip() and deep == self._deep


def _is_tabular(paragraph: str) -> bool:
    """Say whether ``paragraph`` is aligned in columns, or a list of keys and values."""
    if _KEY_LINE.match(paragraph) and all(map(_KEY_LINE.match, paragraph.split("\n"))):
        return True
    if "  " not in paragraph:
        return False
    aligned_at = -3
    for index, line in enumerate(paragraph.split("\n")):
        columns = sum(map(_parts_columns, _BLANKS.finditer(line.rstrip()))) if "  " in line else 0
        if columns > 1 or (columns and index - aligned_at <= 2):
            return True
        aligned_at = index if columns else aligned_at
    return False


def _parts_columns(blanks: re.Match[str]) -> bool:
    """Two blanks after a sentence part nothing: some people type so."""
    start, end = blanks.span()
    return start > 0 and (end - start > 2 or blanks.string[start - 1] not in ".!?:")


def _protects_until(paragraph: str, start: int, length: int, closes_last_at: dict[str, int]) -> int:
    """Return up to where something that ``paragraph`` leaves open protects the text; ``start`` for nothing."""
    if _leaves_open(paragraph):
        return length
    until = start
    if "<" in paragraph:
        closed = {match[1] for match in _CLOSE_TAG.finditer(paragraph)}
        for match in _OPEN_TAG.finditer(paragraph):
            if match[1] not in closed:
                # Up to its last closing tag anywhere: an earlier one may stand inside, in code or in a quote.
                until = max(until, closes_last_at.get(match[1], length))
    return until


def _leaves_open(paragraph: str) -> bool:
    if len(_DOUBLE_QUOTES.findall(paragraph)) % 2 or paragraph.count("`") % 2:
        return True
    if any(paragraph.count(pair[0]) != paragraph.count(pair[1]) for pair in _PAIRS):
        return True
    if any(paragraph.count(begin) > paragraph.count(end) for begin, end in _UNTAGGED):
        return True
    if paragraph.count("\u2018") + paragraph.count("\u201a") > paragraph.count("\u2019"):
        return True
    return "'" in paragraph and _leaves_single_quote_open(paragraph)


def _leaves_single_quote_open(paragraph: str) -> bool:
    is_open = False
    for match in _SINGLE_QUOTE.finditer(paragraph):
        before = paragraph[match.start() - 1 : match.start()]
        opens = not (before.isalnum() or before == "_")
        # An apostrophe at a word's end, as in "the users' own", closes nothing where nothing is open.
        is_open = opens if not is_open else not _may_close(paragraph, match.start())
    return is_open


def _may_close(paragraph: str, position: int) -> bool:
    before, after = paragraph[position - 1 : position], paragraph[position + 1 : position + 2]
    return not before.isspace() and not (after.isalnum() or after == "_")
