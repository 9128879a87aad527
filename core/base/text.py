"""How figures and sentences are written for people: durations, ages, shortened texts, the ends of sentences, and
others' text where a terminal or a spreadsheet would take it for a command.

Units stand after a space, thousands have a comma, and a rounded figure is never one that the next unit up would
write otherwise: 999.96 ms is ``1.00 s``, and 119.999 s is ``2 min 0 s``. Amounts of money are written by
``core.pricing.money``.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from functools import lru_cache

ENDS = (".", "!", "?", "…")
MEMORY_MB, MEMORY_GB = 1 << 20, 1 << 30
"""What a card's "24 GB" counts in, and so everything that has to fit in memory."""


_PICTURES = {code: chr(0x2400 + code) for code in range(0x20)} | {0x7F: "␡"}
_BIDI = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_MARKS = _PICTURES | {code: f"<U+{code:04X}>" for code in (*range(0x80, 0xA0), 0x2028, 0x2029, *_BIDI)}
_MARKS_BUT_LINES = {code: mark for code, mark in _MARKS.items() if chr(code) not in "\n\t"}
_ACTED_ON = re.compile(f"[{''.join(map(chr, _MARKS))}]")
_LINES_ACTED_ON = re.compile(f"[{''.join(map(chr, _MARKS_BUT_LINES))}]")
_FORMULA = re.compile(r"[\s\x00]*[=+\-@\t\r\n＝＋－＠]")
_LONG_NUMBER = re.compile(r"(?<![\w./:'-])\d{5,}(?![\w/:'-])")
_NUMBER = re.compile(r"[+-]?(\d[\d,]*\.?\d*|\.\d+)([eE][+-]?\d+)?")


def marked(text: str, *, lines: bool = False) -> str:
    """Return ``text`` with a mark (``␛``, ``<U+202E>``) for each character that a terminal acts on, not shows.

    These are the control characters and those that turn the direction of what follows: with them, somebody else's
    text could clear the screen, write the clipboard or look like another. With ``lines``, line ends and tabs stay.
    """
    if not (_LINES_ACTED_ON if lines else _ACTED_ON).search(text):
        return text
    if lines:
        text = text.replace("\r\n", "\n")
    return text.translate(_MARKS_BUT_LINES if lines else _MARKS)


def escaped_in_json(written: str) -> str:
    """Return JSON with ``\\u009b`` for what a terminal acts on; ``json`` escapes only the first 32 of them."""
    if not _LINES_ACTED_ON.search(written):
        return written
    return _LINES_ACTED_ON.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


def spreadsheet_cell(text: str) -> str:
    """Return ``text`` as a cell that no spreadsheet takes for a formula; a number stays one."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def counted(number: int, one: str, many: str = "") -> str:
    """Return ``1 request`` or ``1,240 requests``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def with_thousands(text: str) -> str:
    """``1000000`` as ``1,000,000``; a number that is part of a name or an address stays as it is."""
    return _LONG_NUMBER.sub(lambda found: f"{int(found[0]):,}", text)


def file_size(size_bytes: int) -> str:
    """Return ``14 bytes``, ``64 KB``, ``2.1 MB`` or ``20.1 GB``; decimal units, as file managers show them.

    What lies in memory is written by ``memory_size``.
    """
    if size_bytes < 1000:
        return f"{size_bytes} bytes"
    size = float(size_bytes)
    for unit in ("KB", "MB", "GB"):
        size /= 1000
        if size < 999.5 or unit == "GB":
            break
    return f"{size:.1f} {unit}" if size < 99.95 and round(size, 1) % 1 else f"{size:,.0f} {unit}"


def transfer_facts(done_bytes: int, total_bytes: int | None, bytes_per_s: float | None) -> list[str]:
    """Return ``4.2 GB of 9.8 GB`` and ``48 MB/s``, with only what is known."""
    total = f" of {file_size(total_bytes)}" if total_bytes else ""
    facts = [f"{file_size(done_bytes)}{total}"]
    return facts if bytes_per_s is None else [*facts, f"{file_size(round(bytes_per_s))}/s"]


def in_memory_gb(size_bytes: float) -> str:
    """Return memory in GB without the unit, ``24.0`` for a card that is sold with 24."""
    return f"{size_bytes / MEMORY_GB:.1f}"


def memory_size(size_bytes: float) -> str:
    """Return ``24.0 GB``, and below one of them ``900 MB``: what RAM or VRAM has, holds, or would have to hold."""
    if round(size_bytes / MEMORY_MB) < 1024:
        return f"{size_bytes / MEMORY_MB:.0f} MB"
    return f"{in_memory_gb(size_bytes)} GB"


def tokens_short(tokens: int) -> str:
    """Return ``16 k`` for 16,384 tokens: multiples of 1,024 as people say them, others in full."""
    return f"{tokens // 1024} k" if tokens >= 1024 and tokens % 1024 == 0 else f"{tokens:,}"


def measured_duration(seconds: float) -> str:
    """Return what was measured: ``312 ms`` below a second, then ``1.84 s``, from two minutes ``2 min 5 s``."""
    if round(seconds * 1000) < 1000:
        return f"{round(seconds * 1000)} ms"
    if round(seconds, 2) < 120:
        return f"{seconds:.2f} s"
    return exact_duration(seconds)


def exact_duration(seconds: float) -> str:
    """Return whole seconds, with minutes from one on: ``45 s``, ``1 min 10 s``. What is below zero is nothing."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def rough_duration(seconds: float) -> str:
    """Return an estimate of what is still to come, never too short: ``8 s``, and whole minutes from two on."""
    whole = max(0, math.ceil(seconds))
    return f"{whole} s" if whole < 120 else f"{math.ceil(whole / 60)} min"


def long_duration(seconds: float) -> str:
    """Return minutes, hours from one on, days from two on: ``42 min``, ``3.2 h``, ``12.5 days``."""
    if round(seconds / 60) < 60:
        return f"{round(seconds / 60)} min"
    if round(seconds / 3600, 1) < 48:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:,.1f} days"


def worded_duration(seconds: float) -> str:
    """Return a span for the middle of a sentence: ``40 seconds``, ``9 minutes``, ``3 hours``, ``2 days``."""
    for limit_s, unit_s, unit in ((90, 1, "second"), (5_400, 60, "minute"), (172_800, 3_600, "hour")):
        if seconds < limit_s:
            return counted(max(1, round(seconds / unit_s)), unit)
    return counted(round(seconds / 86_400), "day")


def age(seconds: float) -> str:
    """Return how long ago something was, in whole units that have gone by: ``12 s``, ``42 min``, ``3 h``."""
    whole = max(0, math.floor(seconds))
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7_200 else f"{whole // 3600:,} h"


def shortened(text: str, most: int) -> str:
    """Return at most ``most`` characters of ``text``; an ellipsis stands for the rest."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def sentence_case(text: str) -> str:
    """Return ``text`` with a capital where a sentence or a label begins."""
    return text[:1].upper() + text[1:]


def sentence(text: str) -> str:
    """Return ``text`` with a full stop, unless it is empty or ends as a sentence does."""
    text = text.rstrip()
    return text if not text or text.endswith(ENDS) else f"{text}."


@lru_cache(maxsize=256)
def two_decimals(score: float) -> str:
    """Cut, not rounded: 0.599 is under 0.60 and must not read 0.60."""
    text = repr(score)
    if "e" in text:
        return str(Decimal(text).quantize(Decimal("0.01"), rounding="ROUND_FLOOR"))
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals[:2]:0<2}"
