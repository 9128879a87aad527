"""What every request must be before a rule reads it; anything else is the caller's fault and costs nothing."""

from __future__ import annotations

from core.chat import ChatRequest
from core.errors import InvalidRequest

MAX_PROMPT_BYTES = 20_000_000
"""Anthropic takes 32 MB a request; with JSON escaping this stays under it."""


def validated(request: ChatRequest) -> ChatRequest:
    """Return ``request`` if it can be sent somewhere.

    Raises:
        InvalidRequest: no message, an empty or oversized prompt, max_tokens or temperature out of range, a
            malformed JSON schema or tool. Nothing was sent.
    """
    if not request.messages:
        raise InvalidRequest("There is no message to send.", hint="Type a prompt.")
    last = request.messages[-1]
    if not last.text.strip() and not last.images and not last.tool_calls and last.role != "tool":
        raise InvalidRequest("The prompt is empty.", hint="Type something to send; nothing was sent.")
    if sum(len(message.text) for message in request.messages) > MAX_PROMPT_BYTES:
        raise InvalidRequest(
            f"The prompt has more than {MAX_PROMPT_BYTES:,} characters.", hint="Shorten it; nothing was sent."
        )
    if request.max_tokens is not None and request.max_tokens < 1:
        raise InvalidRequest(f"max_tokens is {request.max_tokens}.", hint="Give at least 1.")
    if request.temperature is not None and not 0 <= request.temperature <= 2:
        raise InvalidRequest(f"temperature is {request.temperature}.", hint="Give a number from 0 to 2.")
    if request.response_format is not None or request.tools:
        _check_schemas(request)
    return request


def _check_schemas(request: ChatRequest) -> None:
    from core.structured.schema import check_schema  # 20 ms to import, and most requests have no schema

    if request.response_format is not None:
        check_schema(request.response_format.schema, "The JSON schema")
    for tool in request.tools:
        check_schema(tool.parameters, f"The parameters of tool {tool.name!r}")
