"""Hiding keys and passwords in any text that a person or a file will see.

Two nets: shapes that are secrets wherever they stand (``sk-…``, ``hf_…``, ``Bearer …``, ``api_key=…``, the
password of an address), and the exact keys this process knows (``remember_secret``), since the key of
somebody's own server can look like anything. ``redact`` would rather hide too much than too little, and
redacting twice changes nothing.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from urllib.parse import quote

HIDDEN = "•••"
_SHORTEST_SECRET = 6  # a shorter one would also blot out innocent words
_MOST_SECRETS = 64

# No pattern begins with a repetition, and none repeats without a bound over what it may have to give back:
# a hostile text of megabytes must not hold up the thread that logs it.
_NAME = r"(?:api[-_. ]?key|token|secret|passw(?:or)?d|passphrase|authorization|credentials?)"
# Backslashes may be many, where a text was quoted more than once.
_QUOTED = r'"(?:[^"\\]|\\+[^\\])*"?|' + r"'(?:[^'\\]|\\+[^\\])*'?"
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    # scheme://user:password@host. Greedy to the last @, because an unescaped password may hold one.
    (re.compile(r"(://[^\s/:@\"'<>]{0,256}:)[^\s\"'<>]{0,512}@"), rf"\1{HIDDEN}@"),
    # scheme://token@host: a web address has no user name that is worth showing.
    (re.compile(r"(https?://)[^\s/:@\"'<>]{1,512}@", re.IGNORECASE), rf"\1{HIDDEN}@"),
    (re.compile(r"(?<![a-z0-9])(sk-ant-|[srp]k-|hf_|gh[opsu]_)[\w-]{6,}", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"\b(bearer|basic)\s+(?:[\w~+/.-]{6,}=*)", re.IGNORECASE), rf"\1 {HIDDEN}"),
    # name=value, "name": "value", and the ('name', b'value') pairs of HTTP headers.
    (
        re.compile(
            rf"({_NAME}(?:\\*['\"]\s*[:=,]|\s*[:=])\s*b?\\*)(?:{_QUOTED}|(?:(?:bearer|basic)\s+)?[^\s\"',;&)}}\]]+)",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
)

_known: dict[str, int] = {}
"""Each with its place in the order in which they became known."""
_known_count = 0
_known_lock = threading.Lock()


def remember_secret(secret: str) -> None:
    """Hide exactly this text, and its form inside an address, in everything redacted from now on.

    Fewer than six characters are not remembered. The oldest of more than 64 is forgotten.
    """
    global _known_count
    if len(secret) < _SHORTEST_SECRET or HIDDEN in secret:
        return
    with _known_lock:
        for form in {secret, quote(secret, safe="", errors="replace")}:
            place = _known.pop(form, None)
            if place is None:
                place = _known_count = _known_count + 1
            _known[form] = place
        while len(_known) > _MOST_SECRETS:
            del _known[next(iter(_known))]


def secrets_known_after(place: int) -> tuple[int, list[str]]:
    """Return the secrets that became known after ``place``, and the ``place`` to ask with next; 0 asks for all.

    For a keeper of redacted text: only these can make it redact that text again.
    """
    with _known_lock:
        return _known_count, [secret for secret, known_at in _known.items() if known_at > place]


_NAMES = ("key", "token", "secret", "pass", "authoriz", "credential")
_NEEDLES: tuple[tuple[str, ...], ...] = (
    ("://",),
    ("://",),
    ("k-", "hf_", "gho_", "ghp_", "ghs_", "ghu_"),
    ("bearer", "basic"),
    _NAMES,
)
"""For each shape what stands, small letters or not, in every text that it finds something in; cheaper to see."""


def redact_lines(lines: Sequence[str]) -> list[str]:
    """Return each of ``lines`` as ``redact`` does; for thousands of lines, also where each holds a secret."""
    whole = "\n".join(lines)
    with _known_lock:
        known = [secret for secret in sorted(_known, key=len, reverse=True) if secret in whole]
    return [_redact_line(line, known) for line in lines]


def _redact_line(line: str, known: Sequence[str]) -> str:
    for secret in known:
        if secret in line:
            line = line.replace(secret, HIDDEN)
    small = line.casefold()
    for (shape, replacement), needles in zip(_SHAPES, _NEEDLES, strict=True):
        for needle in needles:
            if needle in small:
                line = shape.sub(replacement, line)
                break
    return line


def redact(text: str) -> str:
    """Return ``text`` with every key and password in it replaced by ``•••``."""
    with _known_lock:
        known = sorted(_known, key=len, reverse=True)
    for secret in known:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    for shape, replacement in _SHAPES:
        text = shape.sub(replacement, text)
    return text
