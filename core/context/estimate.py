"""How large a message probably is, in tokens, where nobody passes a better count.

The router passes its own estimate, so what was saved and what was routed are counted alike. This one makes the
functions of this package usable by themselves.
"""

from __future__ import annotations

from collections.abc import Callable

from core.chat import Message

CountTokens = Callable[[Message], int]
"""Says how many input tokens a message is. It must not be negative."""

CHARS_PER_TOKEN = 3.8
"""Of English prose and code with current tokenizers: the same figure as the router's estimate."""
BYTES_BEYOND_ASCII_PER_TOKEN = 2
"""Scripts such as Chinese take about a token a character, and have two bytes a character more than ASCII."""
MESSAGE_TOKENS = 8
"""Role markers and separators of one message."""
IMAGE_TOKENS = 1_600
"""Width x height / 750 of an image of 1.15 megapixels (Anthropic, vision documentation)."""


def estimate_text_tokens(text: str) -> int:
    """Return about how many tokens ``text`` is."""
    beyond_ascii = 0 if text.isascii() else len(text.encode("utf-8", "surrogatepass")) - len(text)
    return round(max(len(text) / CHARS_PER_TOKEN, beyond_ascii / BYTES_BEYOND_ASCII_PER_TOKEN))


def estimate_tokens(message: Message) -> int:
    """Return about how many input tokens ``message`` is, with its images, calls and separators."""
    tokens = MESSAGE_TOKENS + estimate_text_tokens(message.text) + IMAGE_TOKENS * len(message.images)
    for call in message.tool_calls:
        tokens += estimate_text_tokens(call.id + call.name + call.arguments_json)
    return tokens + estimate_text_tokens(message.tool_call_id or "")
