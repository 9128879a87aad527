"""Anthropic's wire on the way there: a request as the body of ``/v1/messages``.

A parameter that a family of models refuses is left out instead of failing. The families' limits are those of the
public model pages; ``AnthropicProvider.check`` replaces them with what the API says. An unknown model is read as
the newest kind, which takes no sampling parameters: leaving a temperature out never fails, and sending it would.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from core.chat import (
    CacheMarks,
    ChatRequest,
    JsonSchemaFormat,
    Message,
    ToolCall,
)
from core.errors import InvalidRequest
from core.providers.anthropic_schema import can_be_enforced, one_type_each
from core.providers.usage import as_mapping
from core.providers.wire_text import DEFAULT_MAX_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaudeFamily:
    """One row. ``max_output_tokens`` and ``context_tokens`` are ``None`` where not known."""

    prefix: str
    takes_sampling: bool
    takes_json_schema: bool
    context_tokens: int | None
    max_output_tokens: int | None


def _family(
    prefix: str, context_tokens: int, max_output_tokens: int, *, sampling: bool, schema: bool
) -> ClaudeFamily:
    return ClaudeFamily(
        prefix=prefix,
        takes_sampling=sampling,
        takes_json_schema=schema,
        context_tokens=context_tokens,
        max_output_tokens=max_output_tokens,
    )


NEWEST = ClaudeFamily(
    prefix="", takes_sampling=False, takes_json_schema=True, context_tokens=None, max_output_tokens=None
)
FAMILIES: tuple[ClaudeFamily, ...] = (
    # prefix, context, output: sampling parameters left the wire with Opus 4.7, Sonnet 5 and Haiku 5.5.
    _family("claude-3-haiku", 200_000, 4_096, sampling=True, schema=False),
    _family("claude-3-opus", 200_000, 4_096, sampling=True, schema=False),
    _family("claude-3-sonnet", 200_000, 4_096, sampling=True, schema=False),
    _family("claude-3-5-", 200_000, 8_192, sampling=True, schema=False),
    _family("claude-3-7-", 200_000, 64_000, sampling=True, schema=False),
    _family("claude-opus-4-1", 200_000, 32_000, sampling=True, schema=True),
    _family("claude-opus-4-5", 200_000, 64_000, sampling=True, schema=True),
    _family("claude-opus-4-6", 1_000_000, 128_000, sampling=True, schema=True),
    _family("claude-opus-4-7", 1_000_000, 128_000, sampling=False, schema=True),
    _family("claude-opus-4-8", 1_000_000, 128_000, sampling=False, schema=True),
    _family("claude-opus-4", 200_000, 32_000, sampling=True, schema=False),
    _family("claude-4-opus", 200_000, 32_000, sampling=True, schema=False),
    _family("claude-sonnet-4-5", 200_000, 64_000, sampling=True, schema=True),
    _family("claude-sonnet-4-6", 1_000_000, 64_000, sampling=True, schema=True),
    _family("claude-sonnet-4", 200_000, 64_000, sampling=True, schema=False),
    _family("claude-haiku-4-5", 200_000, 64_000, sampling=True, schema=True),
    _family("claude-opus-5", 1_000_000, 128_000, sampling=False, schema=True),
    _family("claude-sonnet-5", 1_000_000, 128_000, sampling=False, schema=True),
    _family("claude-haiku-5", 1_000_000, 128_000, sampling=False, schema=True),
    _family("claude-fable-5", 1_000_000, 128_000, sampling=False, schema=True),
    _family("claude-mythos", 1_000_000, 128_000, sampling=False, schema=True),
)


@lru_cache(maxsize=256)
def claude_family(model: str) -> ClaudeFamily:
    """Return the row of ``model``: the longest prefix that fits, else the newest kind."""
    fitting = [family for family in FAMILIES if model.startswith(family.prefix)]
    return max(fitting, key=lambda family: len(family.prefix), default=NEWEST)


def enforces(family: ClaudeFamily, wanted: JsonSchemaFormat) -> bool:
    """Whether an answer is held to a schema by the API; where not, it has to be asked for in words."""
    return family.takes_json_schema and can_be_enforced(wanted.schema)


MAX_TEMPERATURE = 1.0
MAX_CACHE_MARKS = 4
"""A fifth block with ``cache_control`` is refused (Anthropic, documentation of prompt caching)."""


@dataclass(frozen=True, slots=True)
class Payload:
    """The body to send, and what the model does not take of the request."""

    body: dict[str, Any]
    dropped: tuple[str, ...]


def anthropic_payload(
    request: ChatRequest,
    model: str,
    family: ClaudeFamily,
    *,
    max_output_tokens: int | None,
    adapt_schema: Callable[[dict[str, Any]], dict[str, Any]],
) -> Payload:
    """Return the body of ``/v1/messages`` for a request that ``wire_safe`` has passed.

    ``adapt_schema`` is the SDK's own rewriting of a JSON schema into the subset the API takes: constraints it
    cannot enforce move into descriptions.
    """
    body = count_arguments(request, model, family, adapt_schema=adapt_schema)
    dropped: list[str] = []
    wanted = DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens
    if max_output_tokens is not None and wanted > max_output_tokens:
        dropped.append(f"max_tokens above {max_output_tokens}")
        wanted = max_output_tokens
    body |= {"max_tokens": wanted, "stream": True}
    if request.response_format is not None and "output_config" not in body:
        dropped.append("response_format")
    sampling, not_taken = _sampling(request, family)
    body |= sampling
    dropped += not_taken
    return Payload(body, tuple(dropped))


def _sampling(request: ChatRequest, family: ClaudeFamily) -> tuple[dict[str, Any], list[str]]:
    """Return what steers the choice of words, and what of it the wire or the model does not take."""
    body: dict[str, Any] = {}
    dropped: list[str] = []
    if request.temperature is not None:
        if not family.takes_sampling:
            dropped.append("temperature")
        else:
            if request.temperature > MAX_TEMPERATURE:
                dropped.append("temperature above 1")
            body["temperature"] = min(request.temperature, MAX_TEMPERATURE)
    if request.top_p is not None:
        # From Opus 4.1 on a request with both is refused; of older models Anthropic advises against it.
        if family.takes_sampling and "temperature" not in body:
            body["top_p"] = request.top_p
        else:
            dropped.append("top_p")
    stops = [stop for stop in request.stop if stop.strip()]  # the wire refuses those of whitespace alone
    if stops:
        body["stop_sequences"] = stops
    if len(stops) < len(request.stop):
        dropped.append("stop sequences of whitespace")
    if request.seed is not None:
        dropped.append("seed")
    return body, dropped


def count_arguments(
    request: ChatRequest,
    model: str,
    family: ClaudeFamily,
    *,
    adapt_schema: Callable[[dict[str, Any]], dict[str, Any]],
) -> dict[str, Any]:
    """Return what ``messages.count_tokens`` needs: everything that is input, with its cache marks."""
    marks = request.cache_marks or CacheMarks()
    control = _cache_control(marks)
    marked = _marked_messages(request, marks)
    arguments: dict[str, Any] = {"model": model, "messages": _turns(request.messages, marked, control)}
    if request.system and request.system.strip():
        arguments["system"] = request.system
        if marks.system:
            arguments["system"] = [{"type": "text", "text": request.system, "cache_control": control}]
    if request.tools:
        arguments["tools"] = [
            {
                "name": tool.name,
                "description": tool.description,
                "input_schema": {"type": "object", **dict(tool.parameters)},
            }
            for tool in request.tools
        ]
        if marks.system and "system" not in arguments:  # the prefix runs tools, system, messages
            arguments["tools"][-1]["cache_control"] = control
    if request.response_format is not None and enforces(family, request.response_format):
        schema = one_type_each(dict(request.response_format.schema))
        try:
            schema = adapt_schema(schema)
        except (ValueError, TypeError, KeyError, AttributeError, AssertionError) as error:
            quote = f": {error}."
            unusable = InvalidRequest(
                f"Anthropic's SDK can't use the JSON schema{quote}",
                hint="Give every part of it a type, or send it to Local. Nothing was sent.",
            )
            raise unusable.quoting(quote) from error
        arguments["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    return arguments


def _cache_control(marks: CacheMarks) -> dict[str, str]:
    # Five minutes are the wire's default; servers that only speak its older form know no "ttl".
    return {"type": "ephemeral", "ttl": "1h"} if marks.lifetime == "1h" else {"type": "ephemeral"}


def _marked_messages(request: ChatRequest, marks: CacheMarks) -> frozenset[int]:
    """Return the messages to mark: where there are too many marks, the longest prefixes keep theirs."""
    sent = sorted(index for index in set(marks.messages) if 0 <= index < len(request.messages))
    free = MAX_CACHE_MARKS - (1 if marks.system else 0)
    return frozenset([index for index in sent if _blocks(request.messages[index])][-free:])


def _turns(
    messages: tuple[Message, ...], marked: frozenset[int], control: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Alternating turns: results of parallel tool calls must all stand in the one user turn that follows.

    The last block of a ``marked`` message carries ``control``; ``_blocks`` makes no empty one, which the wire would
    refuse to cache.
    """
    turns: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        blocks = _blocks(message)
        role = "assistant" if message.role == "assistant" else "user"
        if not blocks:
            continue  # a turn stopped before its first token; the wire refuses empty ones
        if index in marked:
            blocks[-1]["cache_control"] = dict(control)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(blocks)
        else:
            turns.append({"role": role, "content": blocks})
    return turns


def _blocks(message: Message) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = [
        {
            "type": "image",
            "source": {"type": "base64", "media_type": image.media_type, "data": image.data_base64},
        }
        for image in message.images
    ]
    if message.text.strip():
        content.append({"type": "text", "text": message.text})
    if message.role == "tool":
        result: dict[str, Any] = {"type": "tool_result", "tool_use_id": message.tool_call_id or ""}
        return [{**result, "content": content}] if content else [result]
    content.extend(
        {"type": "tool_use", "id": call.id, "name": call.name, "input": _tool_input(call)}
        for call in message.tool_calls
    )
    return content


def _tool_input(call: ToolCall) -> dict[str, Any]:
    """The wire wants an object; arguments that are none (a call cut short) are sent back as they were, wrapped."""
    try:
        value = json.loads(call.arguments_json or "{}")
    except ValueError:
        value = None
    arguments = as_mapping(value)
    return {"INVALID_JSON": call.arguments_json} if arguments is None else dict(arguments)
