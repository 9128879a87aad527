"""Text of the core as the panel says it: limits by their names, no command beside a button that does the same."""

from __future__ import annotations

import re

from core import sentence_case

_LIMITS = {
    "SPEND_LIMIT_DOLLARS": "the monthly limit",
    "DAILY_SPEND_LIMIT_DOLLARS": "the daily limit",
    "PROJECT_SPEND_LIMITS": "the project’s limit",
    "DAILY_TOKEN_BUDGET": "the limit of tokens a day",
    "MAX_REQUESTS_PER_MINUTE": "the limit of requests a minute",
    "MAX_API_REQUESTS_PER_MINUTE": "the limit of API requests a minute",
    "RUNAWAY_REQUESTS_PER_MINUTE": "the limit at which a conversation is paused",
}
_NAME = re.compile(rf"(?<![\w.])(?:{'|'.join(sorted(_LIMITS, key=len, reverse=True))})(?![\w=])")
_COMMAND = re.compile(r"\bsignalbox [a-z]+|\bchmod \S|\bdocker compose\b")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z“\"'])")


def named(text: str) -> str:
    """Return ``text`` with the limits called what their rows are called.

    A name before a value is a line of the user's own file, and stays.
    """

    def name(found: re.Match[str]) -> str:
        words = _LIMITS[found[0]]
        begins = found.start() == 0 or text[: found.start()].rstrip().endswith((".", "!", "?"))
        return sentence_case(words) if begins else words

    return _NAME.sub(name, text)


def without_commands(text: str) -> str:
    """Return ``text`` without the sentences that name a command.

    For hints of the core, never for what may quote a stranger's file: all of that has to be seen.
    """
    return " ".join(sentence for sentence in _SENTENCE_END.split(text) if not _COMMAND.search(sentence))
