"""Hiding what the running requests say: prompts and answers that an exception quotes never reach a log.

Nothing here logs a prompt, but a library may: ``pydantic`` puts the input into its error, an SDK the error body,
and a server may have written the request into that. So the texts of each request are known while it runs, and a
little longer, since its last traceback may be printed after its end. ``hide_request_text`` replaces every piece of
them in a text that is about to be written.

How a piece is found. A quote is seldom exact: it is escaped once or twice (JSON in a Python repr), cut in the
middle, or wrapped. So both sides are reduced to letters and digits first, with escapes decoded. From the request's
side, every block of ``BLOCK`` characters goes into a set; in the text to be written, a place where two blocks of
the set follow each other is a quote, and it is followed to both sides as far as it goes. Any run of
``3 * BLOCK - 1`` letters and digits or more is found wherever it begins; a shorter one may be. The sets are built
only when something is written while the request runs, so a request that goes well pays for one dictionary entry.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

HIDDEN_TEXT = "[request text]"
BLOCK = 8
END_CHARS = 24_000
"""Of a long text its first and last so many characters are known; a quote that is longer is cut by the log."""

MAX_ANSWER_CHARS = 2 * END_CHARS
MOST_ENDED = 16
"""Requests whose texts are kept after their end."""

MOST_RUNNING = 2048
MOST_BLOCKS = 200_000
"""Blocks of all requests together: about 20 MB at the very worst. The oldest request's go first."""

# An escape that may be doubled by quoting a quote; several \x are the bytes of one character.
_PIECE = re.compile(
    r"\\+u(?P<unicode>[0-9a-fA-F]{4})|(?P<bytes>(?:\\+x[0-9a-fA-F]{2})+)|\\+[nrtfvabe0\"'/\\]|"
    r"(?P<plain>[A-Za-z0-9]+)|(?P<other>[^\x00-\x7f])"
)


class RequestText:
    """The texts of one request. ``add`` takes more of the answer as it arrives; ``end`` when the request ended."""

    __slots__ = ("_answer", "_answer_chars", "_blocks", "_read", "_reduced", "_texts")

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = tuple(texts)
        self._answer: list[str] = []
        self._answer_chars = 0
        self._read = -1
        self._reduced: list[str] = []
        self._blocks: set[str] = set()

    def add(self, text: str) -> None:
        """Remember a piece of the answer, up to ``MAX_ANSWER_CHARS`` in all."""
        if self._answer_chars < MAX_ANSWER_CHARS:
            self._answer.append(text)
            self._answer_chars += len(text)

    def end(self) -> None:
        """Keep the texts a little longer, as one of the last requests that ended."""
        _book.ended(self)

    def blocks(self) -> set[str]:
        """Return the blocks of everything known; what was looked at before is not read again."""
        if self._read < 0:
            self._reduced = [*map(_reduced_ends, self._texts), ""]
            self._read = 0
            self._blocks.update(*map(_blocks_of, self._reduced))
        if len(self._answer) != self._read:
            self._read = len(self._answer)
            self._reduced[-1] = _reduced_ends("".join(self._answer))
            self._blocks.update(_blocks_of(self._reduced[-1]))
        return self._blocks

    def says(self, reduced: str) -> bool:
        """Whether these letters and digits stand in one of the texts (after ``blocks``)."""
        return any(reduced in text for text in self._reduced)


@dataclass(slots=True)
class _Book:
    """Every request that runs, and the last ones that ended, oldest first."""

    running: OrderedDict[int, RequestText] = field(default_factory=OrderedDict[int, RequestText])
    ended_ones: OrderedDict[int, RequestText] = field(default_factory=OrderedDict[int, RequestText])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begun(self, request: RequestText) -> None:
        with self.lock:
            self.running[id(request)] = request
            if len(self.running) > MOST_RUNNING:
                self.running.popitem(last=False)

    def ended(self, request: RequestText) -> None:
        with self.lock:
            self.running.pop(id(request), None)
            self.ended_ones[id(request)] = request
            if len(self.ended_ones) > MOST_ENDED:
                self.ended_ones.popitem(last=False)

    def known(self) -> list[RequestText]:
        """Return the newest requests, as many as may be looked at."""
        with self.lock:
            requests = [*self.ended_ones.values(), *self.running.values()]
        found: list[RequestText] = []
        count = 0
        for request in reversed(requests):
            count += len(request.blocks())
            if found and count > MOST_BLOCKS:
                break
            found.append(request)
        return found


_book = _Book()


def remember_request(texts: Iterable[str]) -> RequestText:
    """Hide ``texts`` in everything written from now on, until the request has ended and some others after it."""
    request = RequestText(texts)
    _book.begun(request)
    return request


def forget_requests() -> None:
    """Forget every request, running or not (for tests)."""
    with _book.lock:
        _book.running.clear()
        _book.ended_ones.clear()


def hide_request_text(text: str) -> str:
    """Return ``text`` without any longer piece of what the running and the last requests say."""
    if not _book.running and not _book.ended_ones:
        return text
    reduced, places = _reduce(text)
    if len(reduced) < 2 * BLOCK:
        return text
    shown: list[str] = []
    position = 0
    for first, last in _quotes(reduced, _book.known()):
        start, end = places[first][0], places[last - 1][1]
        shown += (text[position:start], HIDDEN_TEXT)
        position = end
    return "".join((*shown, text[position:])) if shown else text


def _quotes(reduced: str, requests: list[RequestText]) -> list[tuple[int, int]]:
    """Return where quotes stand, as ranges of ``reduced`` that do not overlap."""
    windows = [reduced[at : at + BLOCK] for at in range(len(reduced) - BLOCK + 1)]
    asked = set(windows)
    said: set[str] = set()
    quoted: list[RequestText] = []
    for request in requests:
        blocks = request.blocks()
        if not blocks.isdisjoint(asked):
            said |= blocks & asked
            quoted.append(request)
    found: list[tuple[int, int]] = []
    if not said:
        return found
    for at in range(len(windows) - BLOCK):
        if windows[at] not in said or windows[at + BLOCK] not in said:
            continue
        first, last = _whole(reduced, at, at + 2 * BLOCK, quoted)
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def _whole(reduced: str, first: int, last: int, requests: list[RequestText]) -> tuple[int, int]:
    """Widen a range to both sides while a request says it: a quote may begin and end inside a block."""
    for _ in range(1, BLOCK):
        if first == 0 or not any(
            request.says(reduced[first - 1 : first - 1 + BLOCK]) for request in requests
        ):
            break
        first -= 1
    for _ in range(1, BLOCK):
        if last == len(reduced) or not any(
            request.says(reduced[last + 1 - BLOCK : last + 1]) for request in requests
        ):
            break
        last += 1
    return first, last


def _reduced_ends(text: str) -> str:
    if len(text) > 2 * END_CHARS:
        text = f"{text[:END_CHARS]}\n{text[-END_CHARS:]}"
    return "".join(piece for piece, _, _ in _pieces(text))


def _blocks_of(reduced: str) -> Iterator[str]:
    for position in range(0, len(reduced) - BLOCK + 1, BLOCK):
        yield reduced[position : position + BLOCK]


def _reduce(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Return the letters and digits of ``text``, and for each where it stands there."""
    reduced: list[str] = []
    places: list[tuple[int, int]] = []
    for piece, start, end in _pieces(text):
        reduced.append(piece)
        if len(piece) == end - start:
            places += [(at, at + 1) for at in range(start, end)]
        else:
            places += [(start, end)] * len(piece)
    return "".join(reduced), places


def _pieces(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield runs of letters and digits, escapes decoded.

    A character beyond ASCII counts as its UTF-16 code in hex, which a JSON escape says too: four Chinese
    characters say as much as sixteen letters.
    """
    for found in _PIECE.finditer(text):
        kind = found.lastgroup
        start, end = found.span()
        if kind == "plain":
            yield found.group(), start, end
        elif kind == "other":
            yield _reduced_character(found.group()), start, end
        elif kind == "unicode":
            yield _reduced_character(chr(int(found["unicode"], 16))), start, end
        elif kind == "bytes":
            raw = bytes.fromhex(re.sub(r"\\+x", "", found["bytes"]))
            decoded = raw.decode("utf-8", "ignore") or raw.decode("latin-1")
            yield "".join(map(_reduced_character, decoded)), start, end


def _reduced_character(character: str) -> str:
    if character.isascii():
        return character if character.isalnum() else ""
    return character.encode("utf-16-be", "surrogatepass").hex()
