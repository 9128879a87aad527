"""Serves a case of ``tests/data/field`` byte for byte: what real servers were seen to send, and to refuse.

``body.sse`` is the body; ``opts.json`` says how it is sent (``status``, ``content_type``) and its ``end``:
``clean``, ``length`` (whole), ``cut`` (the connection breaks) or ``open`` (nothing more comes, and nothing
closes). ``models_raw`` is the list of models. ``strict`` names what a request may not be: ``stream_options`` (those
that are known), ``alternate`` (turns have to), ``no_system``, and on Anthropic's wire ``on`` (ids of tool calls).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

CASES = Path(__file__).parents[1] / "data" / "field"


class FieldCase:
    """A server of one case. ``left`` is set when a client has gone; ``asked`` are the bodies of its requests."""

    def __init__(self, name: str) -> None:
        folder = CASES / name
        options = folder / "opts.json"
        self.body = (folder / "body.sse").read_bytes()
        self.options: dict[str, Any] = json.loads(options.read_text()) if options.exists() else {}
        self.asked: list[dict[str, Any]] = []
        self.left = asyncio.Event()
        self.url = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET "):
                await self._get(head.split()[1].decode(), writer)
                return
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
            request: dict[str, Any] = json.loads(await reader.readexactly(int(lengths[0].split(b":")[1])))
            self.asked.append(request)
            refusal = self._refusal(request)
            if refusal is not None:
                await _send(writer, 400, refusal)
                return
            await self._answer(writer)
            if self.options.get("end") != "cut":
                await reader.read()  # until the client goes
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.left.set()
            writer.close()

    async def _get(self, path: str, writer: asyncio.StreamWriter) -> None:
        models = self.options.get("models_raw", {"object": "list", "data": [{"id": "tiny"}]})
        is_list = path.partition("?")[0].endswith("/models")
        await _send(writer, *((200, models) if is_list else (404, {"detail": "Not Found"})))

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        status = self.options.get("status", 200)
        content_type = self.options.get("content_type", "text/event-stream")
        head_lines = f"HTTP/1.1 {status} Said\r\ncontent-type: {content_type}\r\n"
        end = self.options.get("end", "clean")
        if end == "length":
            writer.write(f"{head_lines}content-length: {len(self.body)}\r\n\r\n".encode() + self.body)
            return
        writer.write(f"{head_lines}transfer-encoding: chunked\r\n\r\n".encode())
        for piece in self.body.split(b"\n\n"):
            writer.write(f"{len(piece) + 2:x}\r\n".encode() + piece + b"\n\n\r\n")
            await writer.drain()
        if end == "clean":
            writer.write(b"0\r\n\r\n")

    def _refusal(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """Say what of a request this server does not take, as vLLM, Mistral's templates and Anthropic do."""
        strict: dict[str, Any] = self.options.get("strict", {})
        messages: list[dict[str, Any]] = request["messages"]
        for option in request.get("stream_options", {}):
            if option not in strict.get("stream_options", [option]):
                where = f"('body', 'stream_options', '{option}')"
                return _bad(
                    f"[{{'type': 'extra_forbidden', 'loc': {where}, 'msg': 'Extra inputs are not permitted'}}]"
                )
        roles = [message["role"] for message in messages if message["role"] != "system"]
        if strict.get("alternate") and any(
            (role == "user") != (at % 2 == 0) for at, role in enumerate(roles)
        ):
            return _bad("Conversation roles must alternate user/assistant/user/assistant/...")
        if strict.get("no_system") and messages[0]["role"] == "system":
            return _bad("System role not supported")
        return _bad_ids(messages) if strict.get("on") else None


def _bad_ids(messages: list[dict[str, Any]]) -> dict[str, Any] | None:
    begun: list[str] = []
    for message in messages:
        for block in message["content"]:
            name = {"tool_use": "id", "tool_result": "tool_use_id"}.get(block["type"])
            if name is None:
                continue
            if not re.fullmatch("[a-zA-Z0-9_-]+", block[name]):
                return _bad(f"{name}: String should match pattern '^[a-zA-Z0-9_-]+$'")
            if name == "id" and block[name] in begun:
                return _bad("`tool_use` ids must be unique")
            if name == "tool_use_id" and block[name] not in begun:
                return _bad("unexpected `tool_use_id` found in `tool_result` blocks")
            if name == "id":
                begun.append(block[name])
    return None


def _bad(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": 400}}


async def _send(writer: asyncio.StreamWriter, status: int, body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\nconnection: close\r\n"
    writer.write(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
    await writer.drain()


@asynccontextmanager
async def field_case(name: str) -> AsyncIterator[FieldCase]:
    case = FieldCase(name)
    server = await asyncio.start_server(case, "127.0.0.1", 0)
    async with server:
        case.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield case
        if case.asked:
            await asyncio.wait_for(case.left.wait(), 10)
