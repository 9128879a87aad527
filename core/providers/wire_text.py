"""Makes a request safe to put on a wire: text that is valid Unicode, and limits every server agrees on.

Rule for broken Unicode: two surrogates that belong together become their character, a surrogate on its own
becomes U+FFFD. A pasted or truncated emoji would otherwise fail deep inside the SDK, since it has no UTF-8 form.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from core.chat import ChatRequest, JsonObject, Message, Tool
from core.errors import InvalidRequest

DEFAULT_MAX_TOKENS = 1024
"""Output tokens asked for when a request names none (the default of ``MAX_TOKENS_PER_REQUEST``)."""
REPAIRED_TEXT = "broken Unicode in the text (sent as U+FFFD)"
"""What ``dropped`` says when lone surrogates were replaced."""
MOST_NAME_CHARS = 256
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")
_MOST_CALL_ID_CHARS = 64
_SURROGATE = re.compile("[\ud800-\udfff]")


def valid_text(text: str) -> str:
    """Return ``text`` with surrogate pairs joined and lone surrogates replaced by U+FFFD."""
    if text.isascii() or _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def plain_name(text: str) -> str:
    """Return a name that a server gives (a model's, a call's) as one line of bounded length: it is shown."""
    if len(text) <= MOST_NAME_CHARS and text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\ufffd" for c in text[:MOST_NAME_CHARS])


class TextJoiner:
    """Joins the pieces of one text whose surrogate pairs were cut apart: each piece comes back as valid text.

    A first half at the end of a piece waits for the next one.
    """

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = ""

    def add(self, piece: str) -> str:
        if not self._half and piece.isascii():
            return piece
        text = self._half + piece
        self._half = text[-1] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return valid_text(text.removesuffix(self._half))

    def rest(self) -> str:
        """Return what waits for a second half that will not come."""
        half, self._half = self._half, ""
        return valid_text(half)


def valid_json(value: Any) -> Any:
    """Return a copy of a JSON value in which every key and string is valid text."""
    if isinstance(value, str):
        return valid_text(value)
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {valid_json(key): valid_json(item) for key, item in items}
    if isinstance(value, list | tuple):
        return [valid_json(item) for item in cast("list[Any]", value)]
    return value


def wire_safe(request: ChatRequest) -> tuple[ChatRequest, tuple[str, ...]]:
    """Return a request every wire accepts, and what ``dropped`` should say about the difference.

    Raises:
        InvalidRequest: no message or an empty last one, ``max_tokens`` below 1, or a temperature that is no
            number of 0 or more. llama.cpp would take each of these silently, Anthropic refuses them.
    """
    _check_limits(request)
    request = _with_plain_call_ids(request)
    if not _is_broken(request):
        return request, ()
    wanted = request.response_format
    safe = replace(
        request,
        messages=tuple(_valid_message(message) for message in request.messages),
        system=None if request.system is None else valid_text(request.system),
        stop=tuple(valid_text(stop) for stop in request.stop),
        tools=tuple(_valid_tool(tool) for tool in request.tools),
        response_format=None if wanted is None else replace(wanted, schema=valid_json(wanted.schema)),
    )
    return safe, (REPAIRED_TEXT,)


def _with_plain_call_ids(request: ChatRequest) -> ChatRequest:
    """Return a request whose tool calls have ids that every wire takes, each its own, the same on call and result.

    A conversation may have been led by other models, whose ids hold anything, and repeat from turn to turn. An id
    depends on what stands before it only, so that a conversation that goes on keeps its warm prefix.
    """
    if not any(message.tool_calls or message.role == "tool" for message in request.messages):
        return request
    ids = _CallIds()
    messages: list[Message] = []
    for message in request.messages:
        if message.role == "tool":
            own = ids.of_result(message.tool_call_id or "")
            messages.append(message if own == message.tool_call_id else replace(message, tool_call_id=own))
        elif message.tool_calls:
            own_ids = ids.of_calls([call.id for call in message.tool_calls])
            calls = tuple(
                replace(call, id=own) for call, own in zip(message.tool_calls, own_ids, strict=True)
            )
            messages.append(message if calls == message.tool_calls else replace(message, tool_calls=calls))
        else:
            messages.append(message)
    is_same = all(new is old for new, old in zip(messages, request.messages, strict=True))
    return request if is_same else replace(request, messages=tuple(messages))


class _CallIds:
    """Gives calls ids of their own, and finds them again for the results."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._open: dict[str, deque[str]] = {}
        """The calls of the newest turn that have no result yet, by the id that the caller gave them."""
        self._answered: dict[str, str] = {}

    def of_calls(self, call_ids: list[str]) -> list[str]:
        self._open = {}
        own_ids: list[str] = []
        for call_id in call_ids:
            own_ids.append(self._new(_plain_id(call_id)))
            self._open.setdefault(call_id, deque()).append(own_ids[-1])
            self._answered[call_id] = own_ids[-1]
        return own_ids

    def of_result(self, call_id: str) -> str:
        waiting = self._open.get(call_id)
        if waiting:
            self._answered[call_id] = waiting.popleft()
        return self._answered.get(call_id) or _plain_id(call_id)

    def _new(self, plain: str) -> str:
        own = plain
        while own in self._used:
            number = self._numbers[plain] = self._numbers.get(plain, 1) + 1
            own = f"{plain[: _MOST_CALL_ID_CHARS - len(str(number)) - 1]}_{number}"
        self._used.add(own)
        return own


def _plain_id(call_id: str) -> str:
    return _NOT_IN_IDS.sub("_", call_id)[:_MOST_CALL_ID_CHARS] or "call"


def _check_limits(request: ChatRequest) -> None:
    last = request.messages[-1] if request.messages else None
    if last is None or (last.role == "user" and not last.text.strip() and not last.images):
        raise InvalidRequest("The prompt is empty.", hint="Type something to send.")
    if request.max_tokens is not None and request.max_tokens < 1:
        raise InvalidRequest(
            f"max_tokens is {request.max_tokens}, but an answer needs at least 1 token.",
            hint="Set it to 1 or more.",
        )
    temperature = request.temperature
    if temperature is not None and not (math.isfinite(temperature) and temperature >= 0):
        raise InvalidRequest(
            f"The temperature {temperature} is not a number of 0 or more.",
            hint="Use 0 to 1, or leave it out.",
        )


def _valid_message(message: Message) -> Message:
    calls = tuple(
        replace(call, name=valid_text(call.name), arguments_json=valid_text(call.arguments_json))
        for call in message.tool_calls
    )
    return replace(message, text=valid_text(message.text), tool_calls=calls)


def _valid_tool(tool: Tool) -> Tool:
    parameters: JsonObject = valid_json(tool.parameters)
    return replace(
        tool, name=valid_text(tool.name), description=valid_text(tool.description), parameters=parameters
    )


def _is_broken(request: ChatRequest) -> bool:
    wanted = request.response_format
    texts: list[object] = [request.system, request.stop, None if wanted is None else wanted.schema]
    for message in request.messages:
        texts.append(message.text)
        texts.extend((call.name, call.arguments_json) for call in message.tool_calls)
    texts.extend((tool.name, tool.description, tool.parameters) for tool in request.tools)
    return any(_has_surrogate(text) for text in texts)


def _has_surrogate(value: object) -> bool:
    if isinstance(value, str):
        return not value.isascii() and _SURROGATE.search(value) is not None
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return any(_has_surrogate(key) or _has_surrogate(item) for key, item in items)
    if isinstance(value, list | tuple):
        return any(_has_surrogate(item) for item in cast("list[object]", value))
    return False
