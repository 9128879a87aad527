"""A local server that speaks Anthropic's wire, scripted per test, strict about requests, with books of its own.

::

    async with AnthropicServer(Says("Hello", " you"), refusal(529, "overloaded_error")) as server:
        provider = AnthropicProvider("sk-ant-test", server.url, "claude-sonnet-4-6")

``server.books`` is what it would have billed, one entry a request: the input as soon as the message starts,
the output as far as it was sent.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from core.providers import AnthropicProvider
from tests.support.wire_server import Raw, Refuses, WireServer

KEY = "sk-ant-test-0123456789"
MODEL = "claude-sonnet-4-6-20260501"
MODELS = (
    ("claude-sonnet-4-6-20260501", 1_000_000, 64_000),
    ("claude-opus-5", 1_000_000, 128_000),
    ("claude-haiku-4-5-20251001", 200_000, 64_000),
)
NO_SAMPLING = (
    "claude-opus-4-7",
    "claude-opus-4-8",
    "claude-opus-5",
    "claude-sonnet-5",
    "claude-haiku-5",
    "claude-fable",
)


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool call; ``pieces`` are the parts of its JSON as they are streamed."""

    name: str
    pieces: tuple[str, ...]
    id: str = "toolu_01"


@dataclass(frozen=True, slots=True)
class Fault:
    """An ``error`` event in the middle of a stream that began with HTTP 200."""

    type: str
    message: str


class Says:
    """A streamed answer of text pieces (one output token each).

    ``cut_after``, ``hold_after`` and ``fault_after`` act after that many pieces. ``pace_s`` waits between pieces.
    ``usage`` is ``message_start``'s; ``final_usage`` replaces ``message_delta``'s.
    """

    def __init__(
        self,
        *pieces: str,
        thinking: tuple[str, ...] = (),
        tools: tuple[ToolUse, ...] = (),
        stop_reason: str | None = None,
        explanation: str | None = None,
        usage: dict[str, Any] | None = None,
        final_usage: dict[str, Any] | None = None,
        model: str | None = None,
        pings: int = 1,
        pace_s: float = 0,
        cut_after: int | None = None,
        hold_after: int | None = None,
        fault_after: tuple[int, Fault] | None = None,
        ends: bool = True,
    ) -> None:
        self.pieces = pieces
        self.thinking = thinking
        self.tools = tools
        self.stop_reason = stop_reason or ("tool_use" if tools else "end_turn")
        self.explanation = explanation
        self.usage = usage
        self.final_usage = final_usage
        self.model = model
        self.pings = pings
        self.pace_s = pace_s
        self.cut_after = cut_after
        self.hold_after = hold_after
        self.fault_after = fault_after
        self.ends = ends


@dataclass(slots=True)
class Billed:
    """One line of the server's own books, in tokens."""

    model: str
    input_tokens: int
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    finished: bool = False


def error_body(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_test"}


def refusal(status: int, kind: str, message: str = "No.", **headers: str) -> Refuses:
    """An HTTP error in Anthropic's shape; header names are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Refuses(status=status, body=error_body(kind, message), headers=named)


def sse(event: str, data: dict[str, Any]) -> bytes:
    return f"event: {event}\ndata: {json.dumps({'type': event, **data}, ensure_ascii=False)}\n\n".encode()


def estimated_tokens(body: dict[str, Any]) -> int:
    """The server's own count of an input: one token a word of the conversation and the system prompt."""
    words = len(str(body.get("system") or "").split())
    for message in body["messages"]:
        for block in (
            message["content"] if isinstance(message["content"], list) else [{"text": message["content"]}]
        ):
            words += len(str(block.get("text") or "").split())
    return max(1, words)


class AnthropicServer(WireServer):
    """Speaks ``/v1/messages`` (streaming), ``/v1/messages/count_tokens`` and ``/v1/models``."""

    def __init__(self, *replies: Says | Refuses | Raw, api_key: str | None = None) -> None:
        super().__init__(*replies, api_key=api_key)
        self.books: list[Billed] = []
        self.default: Says | Refuses | Raw = Says("Hello", " there")
        self.counts: Refuses | None = None
        """What it answers when it is asked to count, where that is not its own count."""
        self.models: list[dict[str, Any]] = [_card(*each) for each in MODELS]
        self.models_a_page = 1_000
        self.list_refusal: Refuses | None = None

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/messages", self._messages),
            web.post("/v1/messages/count_tokens", self._count),
            web.get("/v1/models", self._models),
            web.get("/v1/models/{name}", self._model),
        ]

    def wrong_key(self) -> web.Response:
        return web.json_response(error_body("authentication_error", "invalid x-api-key"), status=401)

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        body = self.received[-1].body
        complaint = complaint_about(body)
        if complaint is not None:
            return web.json_response(error_body("invalid_request_error", complaint), status=400)
        reply = self.replies.popleft() if self.replies else self.default
        if isinstance(reply, Refuses):
            return reply.response()
        if isinstance(reply, Raw):
            return await self.send_raw(request, reply)
        return await self._say(request, reply, body)

    async def _say(self, request: web.Request, says: Says, body: dict[str, Any]) -> web.StreamResponse:
        response = await self.open_stream(request)
        model = says.model or body["model"]
        usage = says.usage or {"input_tokens": estimated_tokens(body), "output_tokens": 1}
        lifetimes = usage.get("cache_creation") or {}
        billed = Billed(
            model=model,
            input_tokens=usage.get("input_tokens", 0),
            cache_read_tokens=usage.get("cache_read_input_tokens") or 0,
            cache_write_5m_tokens=lifetimes.get("ephemeral_5m_input_tokens", 0),
            cache_write_1h_tokens=lifetimes.get("ephemeral_1h_input_tokens", 0),
        )
        self.books.append(billed)
        message = {"id": "msg_test", "type": "message", "role": "assistant", "model": model, "content": []}
        await response.write(sse("message_start", {"message": {**message, "usage": usage}}))
        for _ in range(says.pings):
            await response.write(sse("ping", {}))
        for event in self._thinking(says):
            await response.write(event)
        billed.output_tokens += len(says.thinking)
        index = 1 if says.thinking else 0
        if not await self._text(request, response, says, billed, index):
            return response
        for offset, tool in enumerate(says.tools, start=index + 1):
            for event in _tool_events(offset, tool):
                await response.write(event)
            billed.output_tokens += len(tool.pieces)
        if not says.ends:
            await response.write_eof()
            return response
        delta: dict[str, Any] = {"stop_reason": says.stop_reason, "stop_sequence": None}
        if says.explanation is not None:
            delta["stop_details"] = {"type": "refusal", "category": None, "explanation": says.explanation}
        final = says.final_usage or {"output_tokens": billed.output_tokens}
        billed.output_tokens = final["output_tokens"]
        await response.write(sse("message_delta", {"delta": delta, "usage": final}))
        await response.write(sse("message_stop", {}))
        await response.write_eof()
        billed.finished = True
        return response

    async def _text(
        self, request: web.Request, response: web.StreamResponse, says: Says, billed: Billed, index: int
    ) -> bool:
        """Send the text pieces with their faults; false when the connection is over."""
        block = {"index": index, "content_block": {"type": "text", "text": ""}}
        await response.write(sse("content_block_start", block))
        for position in range(len(says.pieces) + 1):
            if says.hold_after == position:
                await self.hold()
            if says.cut_after == position:
                self.cut(request)
                return False
            if says.fault_after is not None and says.fault_after[0] == position:
                fault = says.fault_after[1]
                await response.write(sse("error", error_body(fault.type, fault.message)))
                await response.write_eof()
                return False
            if position == len(says.pieces):
                break
            delta = {"type": "text_delta", "text": says.pieces[position]}
            await response.write(sse("content_block_delta", {"index": index, "delta": delta}))
            billed.output_tokens += 1
            if says.pace_s:
                await asyncio.sleep(says.pace_s)
        await response.write(sse("content_block_stop", {"index": index}))
        return True

    def _thinking(self, says: Says) -> list[bytes]:
        if not says.thinking:
            return []
        block = {"type": "thinking", "thinking": "", "signature": ""}
        deltas = [
            sse("content_block_delta", {"index": 0, "delta": {"type": "thinking_delta", "thinking": piece}})
            for piece in says.thinking
        ]
        return [
            sse("content_block_start", {"index": 0, "content_block": block}),
            *deltas,
            sse("content_block_stop", {"index": 0}),
        ]

    async def _count(self, request: web.Request) -> web.StreamResponse:
        if self.counts is not None:
            return self.counts.response()
        return web.json_response({"input_tokens": estimated_tokens(self.received[-1].body)})

    async def _models(self, request: web.Request) -> web.StreamResponse:
        if self.replies and isinstance(self.replies[0], Refuses):
            return self.replies.popleft().response()
        if self.list_refusal is not None:
            return self.list_refusal.response()
        names = [card["id"] for card in self.models]
        after = request.query.get("after_id")
        begin = 0 if after is None else names.index(after) + 1
        page = self.models[begin : begin + self.models_a_page]
        has_more = begin + len(page) < len(self.models)
        first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
        return web.json_response({"data": page, "has_more": has_more, "first_id": first, "last_id": last})

    async def _model(self, request: web.Request) -> web.StreamResponse:
        """Tell of one model, which may be named without its date."""
        name = request.match_info["name"]
        for card in self.models:
            if name in (card["id"], card["id"].rpartition("-")[0]):
                return web.json_response(card)
        return web.json_response(error_body("not_found_error", f"model: {name}"), status=404)


def _tool_events(index: int, tool: ToolUse) -> list[bytes]:
    block = {"type": "tool_use", "id": tool.id, "name": tool.name, "input": {}}
    deltas = [
        sse(
            "content_block_delta",
            {"index": index, "delta": {"type": "input_json_delta", "partial_json": piece}},
        )
        for piece in tool.pieces
    ]
    return [
        sse("content_block_start", {"index": index, "content_block": block}),
        *deltas,
        sse("content_block_stop", {"index": index}),
    ]


def _complaint_about_sampling(body: dict[str, Any], model: str) -> str | None:
    if "temperature" in body:
        if model.startswith(NO_SAMPLING):
            return "`temperature` is deprecated for this model."
        if not 0 <= body["temperature"] <= 1:
            return "temperature: range: 0..1"
        if "top_p" in body:
            return "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
    if "top_p" in body and model.startswith(NO_SAMPLING):
        return "`top_p` is deprecated for this model."
    if any(not stop.strip() for stop in body.get("stop_sequences", ())):
        return "stop_sequences: each stop sequence must contain non-whitespace"
    for name in ("seed", "stop"):
        if name in body:
            return f"{name}: Extra inputs are not permitted"
    return None


def complaint_about(body: dict[str, Any]) -> str | None:
    """Return the 400 the API would answer this request with, or ``None``."""
    model = body.get("model", "")
    if wrong := _complaint_about_sampling(body, model):
        return wrong
    if not isinstance(body.get("max_tokens"), int) or body["max_tokens"] < 1:
        return "max_tokens: Field required"
    messages = body.get("messages")
    if not messages:
        return "messages: at least one message is required"
    if messages[0]["role"] != "user":
        return 'messages: first message must use the "user" role'
    asked: set[str] = set()
    for message in messages:
        results: set[str] = set()
        for block in message["content"]:
            if block["type"] == "text" and not block["text"].strip():
                return "messages: text content blocks must contain non-whitespace text"
            if block["type"] == "tool_result":
                results.add(block["tool_use_id"])
        if results - asked:
            return "messages: unexpected `tool_use_id` found in `tool_result` blocks"
        if asked - results:
            return "messages: `tool_use` ids were found without `tool_result` blocks immediately after"
        asked = {block["id"] for block in message["content"] if block["type"] == "tool_use"}
    output_format = (body.get("output_config") or {}).get("format")
    if output_format is not None and _open_object(output_format["schema"]):
        return "output_config.format.schema: For 'object' type, 'additionalProperties' must be set to false"
    return None


def _open_object(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(_open_object(item) for item in schema)
    if not isinstance(schema, dict):
        return False
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        return True
    return any(_open_object(value) for value in schema.values())


def provider_for(server: AnthropicServer, model: str = MODEL, **options: Any) -> AnthropicProvider:
    return AnthropicProvider(KEY, server.url, model, **options)


def _card(name: str, context_tokens: int, output_tokens: int) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "2026-05-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": context_tokens,
        "max_tokens": output_tokens,
    }
