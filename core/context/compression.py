"""Leaves out what a prompt says twice and the blanks it does not need; code and quoted text are never touched.

Only plain prose is rewritten, in the system prompt, in user turns and in answers without tool calls. Pinned
turns, tool results and everything protected go out byte by byte as they came. Each turn depends only on those
before it, so the beginning of a conversation stays the same from request to request and its cached prefix stays
valid. Compress after trimming: what a reference points at must still be there.

Protected is whatever may carry meaning in its exact characters: fenced and indented code, inline code, quoted text,
block quotes, tables, lists of keys, and everything in tags or brackets. Where it can't be told, text is left alone:
a quote, bracket or tag that is not closed in its paragraph protects all that follows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from core.chat import ChatRequest, Message
from core.context.tokens import CountTokens, estimate_tokens


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


MIN_REPEAT_CHARS = 200
"""A shorter paragraph is not worth a reference, and may well be meant to be said again."""
EXCERPT_CHARS = 40

_SIGNS_OF_NEEDLESS = ("  ", " \n", " \r", "\t\n", "\n\n\n", "\n\r\n\r\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compressed:
    """A request without its needless parts; the very one that was given where it has none.

    ``saved_tokens`` is counted by the ``count`` that ``compress`` was given.
    """

    request: ChatRequest
    saved_tokens: int = 0


def compress(request: ChatRequest, count: CountTokens = estimate_tokens) -> Compressed:
    """Leave out needless blanks, and paragraphs of user turns that stand verbatim earlier in the request."""
    above = _Above()
    saved_tokens = 0
    system = request.system
    if system:
        system = _squeeze(system)
        if system != request.system:
            saved_tokens += count(Message(role="user", text=request.system or ""))
            saved_tokens -= count(Message(role="user", text=system))
        above.add(system)
    messages: list[Message] = []
    for message in request.messages:
        text = message.text
        if message.pinned or message.tool_calls or message.role == "tool":
            above.add(text)
        elif message.role == "assistant":
            text = _squeeze(text)
            above.add(text)
        else:
            text = _rewrite(text, above)
        if text == message.text:
            messages.append(message)
            continue
        shorter = replace(message, text=text)
        saved_tokens += count(message) - count(shorter)
        messages.append(shorter)
    if system == request.system and all(map(_is, messages, request.messages)):
        return Compressed(request=request)
    shaped = replace(request, system=system, messages=tuple(messages))
    return Compressed(request=shaped, saved_tokens=max(0, saved_tokens))


def _is(one: Message, other: Message) -> bool:
    return one is other


@dataclass(slots=True)
class _Above:
    """The paragraphs that stand earlier in the request, in order; ``None`` between two texts."""

    paragraphs: list[str | None] = field(default_factory=list[str | None])
    places: dict[str, int] = field(default_factory=dict[str, int])

    def add(self, text: str) -> None:
        """Note a whole text."""
        if len(text) >= MIN_REPEAT_CHARS:
            self.add_all(PARAGRAPH_GAP.split(text)[::2])

    def add_all(self, paragraphs: Sequence[str]) -> None:
        for paragraph in paragraphs:
            self.add_paragraph(paragraph)
        self.paragraphs.append(None)

    def repeats_none(self, paragraphs: Sequence[str]) -> bool:
        """Say in a moment that nothing of a text stands above or twice in it."""
        long = [paragraph for paragraph in paragraphs if len(paragraph) >= MIN_REPEAT_CHARS]
        return len(set(long)) == len(long) and self.places.keys().isdisjoint(long)

    def add_paragraph(self, paragraph: str) -> None:
        if len(paragraph) >= MIN_REPEAT_CHARS:
            self.places.setdefault(paragraph, len(self.paragraphs))
        self.paragraphs.append(paragraph)

    def forget_from(self, length: int) -> None:
        for paragraph in self.paragraphs[length:]:
            if paragraph is not None and self.places.get(paragraph, -1) >= length:
                del self.places[paragraph]
        del self.paragraphs[length:]

    def run_of(self, found: list[Passage], start: int) -> int:
        """Return how many passages from ``start`` on stand above in the same order; 0 where the first does not."""
        first = found[start]
        place = self.places.get(first.text) if first.prose and len(first.text) >= MIN_REPEAT_CHARS else None
        if place is None:
            return 0
        most = min(len(found) - start, len(self.paragraphs) - place)
        length = 1
        while (
            length < most
            and found[start + length].prose
            and found[start + length].text == self.paragraphs[place + length]
        ):
            length += 1
        return length


def _squeeze(text: str) -> str:
    return _join(_squeezed(text)) if _may_be_squeezed(text) else text


def _may_be_squeezed(text: str) -> bool:
    """Say in a moment whether there are needless blanks at all, in prose or not."""
    return text[:1].isspace() or text[-1:].isspace() or any(sign in text for sign in _SIGNS_OF_NEEDLESS)


def _rewrite(text: str, above: _Above) -> str:
    """Squeeze a user's turn and refer to what stands above it; a turn that says nothing else stays whole."""
    if len(text) < MIN_REPEAT_CHARS:
        return _squeeze(text)
    if not _may_be_squeezed(text):
        paragraphs = PARAGRAPH_GAP.split(text)[::2]
        if above.repeats_none(paragraphs):
            above.add_all(paragraphs)
            return text
    found = _squeezed(text)
    kept: list[Passage] = []
    said_anew = False
    began = len(above.paragraphs)
    index = 0
    while index < len(found):
        length = above.run_of(found, index)
        if length:
            kept.append(Passage(_reference(found[index].text, length), found[index + length - 1].gap, True))
        else:
            length = 1
            kept.append(found[index])
            said_anew = True
            above.add_paragraph(found[index].text)
        index += length
    if not said_anew:
        above.forget_from(began)
        kept = found
    above.paragraphs.append(None)
    return _join(kept)


def _reference(text: str, length: int) -> str:
    excerpt = " ".join(text[: EXCERPT_CHARS * 2].split())
    if len(excerpt) > EXCERPT_CHARS:
        excerpt = excerpt[:EXCERPT_CHARS].rsplit(" ", 1)[0]
    more = {1: "", 2: " and the next paragraph"}.get(length, f" and the next {length - 1} paragraphs")
    return f'[The same as above, word for word: "{excerpt} …"{more}]'


def _squeezed(text: str) -> list[Passage]:
    found = list(passages(text))
    while len(found) > 1 and not found[0].text.strip() and found[1].prose:
        del found[0]
    while len(found) > 1 and not found[-1].text.strip() and found[-2].prose:
        del found[-1]
    for index, passage in enumerate(found):
        if not passage.prose or not passage.text.strip():
            continue
        after = found[index + 1] if index + 1 < len(found) else None
        prose, gap = passage.text, passage.gap
        if "  " in prose:
            prose = _BLANKS.sub(" ", prose)  # none stands at a line's beginning: that would be no prose
        prose = prose.replace(" \n", "\n").replace(" \r\n", "\r\n").rstrip(" ")
        if after is None:
            gap = ""
        elif after.prose:
            # The first line end of a gap is its paragraph's own; the "\r" of that one stands before the gap.
            gap = "\n\r\n" if "\r" in gap else "\n\n"
        found[index] = Passage(prose, gap, True)
    return found


def _join(found: list[Passage]) -> str:
    return "".join([part for passage in found for part in (passage.text, passage.gap)])
