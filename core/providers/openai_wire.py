"""The OpenAI wire of vLLM and llama.cpp, on the way there: a request as the body of ``/chat/completions``."""

from __future__ import annotations

import re
from typing import Any

from core.chat import (
    ChatRequest,
    Message,
)
from core.providers.wire_text import DEFAULT_MAX_TOKENS


def openai_body(
    request: ChatRequest, model: str, *, max_output_tokens: int | None, wants_progress: bool = False
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the body for a request that ``wire_safe`` has passed, and what was dropped of the request.

    ``wants_progress`` asks how far the prompt is read: llama.cpp's own field, for a server that is known to be one.
    """
    dropped: list[str] = []
    wanted = DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens
    if max_output_tokens is not None and wanted > max_output_tokens:
        dropped.append(f"max_tokens above {max_output_tokens}")
        wanted = max_output_tokens
    body: dict[str, Any] = {
        "model": model,
        "messages": chat_messages(request),
        "max_tokens": wanted,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }
    if wants_progress:
        body["return_progress"] = True
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.top_p is not None:
        body["top_p"] = request.top_p
    if request.stop:
        body["stop"] = list(request.stop)
    if request.seed is not None:
        body["seed"] = request.seed
    if request.tools:
        body["tools"] = chat_tools(request)
    if request.response_format is not None:
        name = re.sub(r"[^A-Za-z0-9_-]", "_", request.response_format.name)[:64] or "answer"
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": name, "schema": dict(request.response_format.schema), "strict": True},
        }
    if any(message.images for message in request.messages if message.role == "tool"):
        dropped.append("images in a tool's result")
    return body, tuple(dropped)


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
