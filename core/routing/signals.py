"""Reads a request into the signals that the rules decide on: sizes, kinds and the complexity score."""

from __future__ import annotations

import dataclasses
import json

from core.chat import ChatRequest, Side, Signals
from core.routing.complexity import score

CHARS_PER_TOKEN = 3.8
"""Of English prose and code with current tokenizers; an estimate, used for display and never for holds."""

MESSAGE_OVERHEAD_TOKENS = 8
"""Role markers and separators of one message; more than any chat template known here adds."""

TOOL_OVERHEAD_TOKENS = 400
"""Anthropic adds a system prompt of up to 346 tokens (its documentation of tool use) once tools are there."""

SCHEMA_OVERHEAD_TOKENS = 400
"""A JSON schema makes Anthropic add a system prompt that explains the format (its documentation of structured
outputs; it names no size, so it is taken for that of tools)."""

SCHEMA_GROWTH = 3
"""The SDK writes a schema anew in what the API takes: closed objects, one type at a place, the rest as text."""

TOOL_CALL_OVERHEAD_TOKENS = 40
"""What stands around a call's name, id and arguments, and around its result; no template known here adds more."""

IMAGE_TOKENS_LIKELY = 1_600
IMAGE_TOKENS_BOUND = 5_000
"""Width x height / 750 of the largest image a provider does not scale down (Anthropic, vision documentation)."""


def read_signals(
    request: ChatRequest,
    *,
    default_max_tokens: int,
    added_bytes: int = 0,
    conversation_side: Side | None = None,
) -> Signals:
    """Return the signals of ``request``; ``default_max_tokens`` stands in where the request names none.

    ``added_bytes`` bounds what a prompt template adds to it. ``conversation_side`` is where the conversation's last
    answer came from.

    ``input_tokens_bound`` counts one token a UTF-8 byte: byte-level tokenizers never make more, so a hold
    built on it is never too small.
    """
    texts: list[str] = []
    last_user_text = ""
    user_count = call_count = image_count = 0
    for message in request.messages:
        texts.append(message.text)
        image_count += len(message.images)
        for call in message.tool_calls:
            texts += (call.id, call.name, call.arguments_json)
            call_count += 1
        if message.tool_call_id is not None:
            texts.append(message.tool_call_id)
            call_count += 1  # a result stands between the same markers as a call
        if message.role == "user":
            last_user_text = message.text
            user_count += 1
    if request.system:
        texts.append(request.system)
    if request.tools:
        texts += [json.dumps([tool.name, tool.description, dict(tool.parameters)]) for tool in request.tools]
    overhead = 0
    if request.response_format is not None:
        texts.append(json.dumps(dict(request.response_format.schema)))
        overhead += SCHEMA_OVERHEAD_TOKENS + (SCHEMA_GROWTH - 1) * len(texts[-1])
    overhead += MESSAGE_OVERHEAD_TOKENS * (len(request.messages) + 1)
    overhead += TOOL_CALL_OVERHEAD_TOKENS * call_count
    overhead += TOOL_OVERHEAD_TOKENS if request.tools else 0

    char_count = byte_count = 0
    for text in texts:
        char_count += len(text)
        # A lone surrogate is sent as U+FFFD, which has three bytes too.
        byte_count += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    # Scripts such as Chinese take about a token a character; UTF-8 length per character tells them apart.
    likely = max(char_count / CHARS_PER_TOKEN, (byte_count - char_count) / 2)

    complexity, features = score(last_user_text, turn_count=max(1, user_count))
    return Signals(
        input_tokens=round(likely) + MESSAGE_OVERHEAD_TOKENS + image_count * IMAGE_TOKENS_LIKELY,
        input_tokens_bound=byte_count + added_bytes + overhead + image_count * IMAGE_TOKENS_BOUND,
        max_output_tokens=request.max_tokens or default_max_tokens,
        max_output_named=request.max_tokens is not None,
        complexity=complexity,
        features=features,
        message_count=len(request.messages),
        has_tools=bool(request.tools),
        has_schema=request.response_format is not None,
        has_images=image_count > 0,
        high_stakes=request.high_stakes,
        batch=request.batch,
        force=request.force,
        model=request.model,
        in_tool_loop=request.messages[-1].role == "tool" if request.messages else False,
        conversation_side=conversation_side,
    )


def with_counted_input(signals: Signals, input_tokens: int) -> Signals:
    """Replace both estimates by the provider's own count."""
    return dataclasses.replace(signals, input_tokens=input_tokens, input_tokens_bound=input_tokens)
