"""The OpenAI wire that vLLM and llama.cpp speak: a request as arguments, and its stream as provider events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from core.chat import (
    AnswerEnded,
    ChatRequest,
    FinishReason,
    Message,
    OutputProgress,
    ProviderEvent,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageReported,
)
from core.providers.errors import Endpoint, broken_off
from core.providers.usage import openai_usage
from core.providers.wire_text import DEFAULT_MAX_TOKENS

_FINISH: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "refusal",
}
_BROKEN_FINISH = ("abort", "error")  # vLLM's words for an answer the engine gave up
USAGE_EVERY_CHUNKS = 16
"""vLLM can report usage with every chunk; passing on each 16th keeps a stopped answer's count within 16 tokens."""


def openai_arguments(
    request: ChatRequest, model: str, *, max_output_tokens: int | None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the arguments of ``chat.completions.create`` for a request that ``wire_safe`` has passed, and what
    was dropped of it."""
    dropped: list[str] = []
    wanted = DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens
    if max_output_tokens is not None and wanted > max_output_tokens:
        dropped.append(f"max_tokens above {max_output_tokens}")
        wanted = max_output_tokens
    arguments: dict[str, Any] = {
        "model": model,
        "messages": chat_messages(request),
        "max_tokens": wanted,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }
    if request.temperature is not None:
        arguments["temperature"] = request.temperature
    if request.tools:
        arguments["tools"] = chat_tools(request)
    if request.response_format is not None:
        name = re.sub(r"[^A-Za-z0-9_-]", "_", request.response_format.name)[:64] or "answer"
        arguments["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": name, "schema": dict(request.response_format.schema), "strict": True},
        }
    if any(message.images for message in request.messages if message.role == "tool"):
        dropped.append("images in a tool's result")
    return arguments, tuple(dropped)


def chat_tools(request: ChatRequest) -> list[dict[str, Any]]:
    """``strict`` makes vLLM hold the arguments to the schema; without it they may be no object at all."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": {"type": "object", **dict(tool.parameters)},
                "strict": True,
            },
        }
        for tool in request.tools
    ]


def chat_messages(request: ChatRequest) -> list[dict[str, Any]]:
    """Return the conversation as the wire's messages, the system prompt first."""
    messages: list[dict[str, Any]] = []
    if request.system and request.system.strip():
        messages.append({"role": "system", "content": request.system})
    messages.extend(_message(message) for message in request.messages)
    return messages


def _message(message: Message) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.tool_call_id or "", "content": message.text}
    wire: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.images:
        parts: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": f"data:{image.media_type};base64,{image.data_base64}"}}
            for image in message.images
        ]
        wire["content"] = [*parts, *([{"type": "text", "text": message.text}] if message.text else [])]
    if message.tool_calls:
        wire["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments_json or "{}"},
            }
            for call in message.tool_calls
        ]
    return wire


class OpenAIReader:
    """Turns chunks into provider events. Reasoning is no part of the text: only its size is told."""

    def __init__(self, model: str, endpoint: Endpoint) -> None:
        self._model = model
        self._endpoint = endpoint
        self._finish: str | None = None
        self._usage: Usage | None = None
        self._reported: Usage | None = None
        self._chunks = 0
        self._calls: set[int] = set()

    def read(self, chunk: Any) -> list[ProviderEvent]:
        """Return what one chunk of the SDK means."""
        events: list[ProviderEvent] = []
        self._model = getattr(chunk, "model", None) or self._model
        choices = getattr(chunk, "choices", None) or ()
        for choice in choices:
            delta = getattr(choice, "delta", None)
            if delta is not None:
                events.extend(self._delta(delta))
            reason = getattr(choice, "finish_reason", None)
            if isinstance(reason, str):
                self._finish = reason
        usage = openai_usage(getattr(chunk, "usage", None))
        if usage is not None:
            self._usage = usage
            if not choices or self._reported is None or self._chunks % USAGE_EVERY_CHUNKS == 0:
                events.extend(self.last_usage())
        self._chunks += 1
        return events

    def last_usage(self) -> list[ProviderEvent]:
        """Return the newest usage, if it has not been reported yet."""
        if self._usage is None or self._usage == self._reported:
            return []
        self._reported = self._usage
        return [UsageReported(self._usage)]

    def end(self, dropped: tuple[str, ...]) -> AnswerEnded:
        """Return the last event.

        Raises:
            Unavailable: the stream ended before the answer did.
        """
        if self._finish is None:
            raise broken_off(self._endpoint, "the answer has no end")
        if self._finish in _BROKEN_FINISH:
            raise broken_off(self._endpoint, "the server gave this answer up")
        return AnswerEnded(self._model, _FINISH.get(self._finish, "unknown"), dropped)

    def _delta(self, delta: Any) -> list[ProviderEvent]:
        events: list[ProviderEvent] = []
        text = getattr(delta, "content", None)
        if isinstance(text, str) and text:
            events.append(TextDelta(text))
        # vLLM has called it both, and some versions send both with the same text.
        reasoning = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None)
        if isinstance(reasoning, str) and reasoning:
            events.append(OutputProgress(len(reasoning.encode("utf-8", "surrogatepass"))))
        calls: Any = getattr(delta, "tool_calls", None) or ()
        for position, call in enumerate(calls):
            index: int = position if call.index is None else call.index
            function = getattr(call, "function", None)
            arguments = str(getattr(function, "arguments", None) or "")
            if index not in self._calls:
                self._calls.add(index)
                name = str(getattr(function, "name", None) or "")
                events.append(ToolCallDelta(index, str(call.id or f"call_{index}"), name, arguments))
            elif arguments:
                events.append(ToolCallDelta(index, None, None, arguments))
        return events
