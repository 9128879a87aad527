"""How many tokens a text or a message probably is, without a tokenizer: one estimate to route, trim and show by.

What is held for a request is never an estimate: that bound counts a token a byte (``core.routing.complexity``).
"""

from __future__ import annotations

from collections.abc import Callable

from core.chat import Message

CountTokens = Callable[[Message], int]
"""Says how many input tokens a message is. It must not be negative."""

CHARS_PER_TOKEN = 3.8
"""Of English prose and code with current tokenizers."""

BYTES_BEYOND_ASCII_PER_TOKEN = 2
"""Scripts such as Chinese take about a token a character, and have two bytes a character more than ASCII."""

MESSAGE_TOKENS = 8
"""Role markers and separators of one message; more than any chat template known here adds."""

IMAGE_TOKENS = 1_600
"""Width x height / 750 of an image of 1.15 megapixels (Anthropic, vision documentation)."""


def utf8_bytes(text: str) -> int:
    """Return the length of ``text`` in UTF-8. A lone surrogate is sent as U+FFFD, which has three bytes too."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def tokens_of_length(chars: int, utf8_bytes: int) -> int:
    """Return about how many tokens a text of so many characters and bytes is."""
    return round(max(chars / CHARS_PER_TOKEN, (utf8_bytes - chars) / BYTES_BEYOND_ASCII_PER_TOKEN))


def estimate_text_tokens(text: str) -> int:
    """Return about how many tokens ``text`` is."""
    return tokens_of_length(len(text), utf8_bytes(text))


def estimate_tokens(message: Message) -> int:
    """Return about how many input tokens ``message`` is, with its images, calls and separators."""
    tokens = MESSAGE_TOKENS + estimate_text_tokens(message.text) + IMAGE_TOKENS * len(message.images)
    for call in message.tool_calls:
        tokens += estimate_text_tokens(call.id + call.name + call.arguments_json)
    return tokens + estimate_text_tokens(message.tool_call_id or "")
