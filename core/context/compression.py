"""Leaves out what a prompt says twice and the blanks it does not need; code and quoted text are never touched.

Only plain prose is rewritten (see ``core.context.passages``), in the system prompt, in user turns and in answers
without tool calls. Pinned turns, tool results and everything protected go out byte by byte as they came. Each turn
depends only on those before it, so the beginning of a conversation stays the same from request to request and its
cached prefix stays valid. Compress after trimming: what a reference points at must still be there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from core.chat import ChatRequest, Message
from core.context.estimate import CountTokens, estimate_tokens
from core.context.passages import PARAGRAPH_GAP, Passage, passages

MIN_REPEAT_CHARS = 200
"""A shorter paragraph is not worth a reference, and may well be meant to be said again."""
EXCERPT_CHARS = 40

_BLANKS = re.compile(r" {2,}")
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
