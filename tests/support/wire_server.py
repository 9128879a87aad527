"""What the two scripted servers share: a loopback aiohttp server that records requests and lost connections."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

Split = Callable[[bytes], list[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request as it came over the wire (header names in lower case)."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuses:
    """An answer that is none: a status with a body (JSON, or text as it stands) and headers."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> web.Response:
        if isinstance(self.body, str):
            return web.Response(
                status=self.status, text=self.body, headers=self.headers, content_type="text/html"
            )
        return web.json_response(self.body, status=self.status, headers=self.headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """A stream of exactly these chunks; after the last one ``cut`` breaks it off, and ``open`` lets it stand."""

    chunks: tuple[bytes, ...]
    cut: bool = False
    open: bool = False


class WireServer:
    """An async context manager; ``replies`` are used in order, then the default one again and again.

    ``cancelled`` counts requests whose client went away before the answer's end; ``lost`` is set at the first.
    ``released`` lets a reply with ``hold_after`` go on.
    """

    def __init__(self, *replies: Any, api_key: str | None = None) -> None:
        self.replies: deque[Any] = deque(replies)
        self.api_key = api_key
        self.received: list[Received] = []
        self.cancelled = 0
        self.lost = asyncio.Event()
        self.holding = asyncio.Event()
        self.released = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def routes(self) -> list[web.RouteDef]:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._record], client_max_size=64 * 2**20)
        app.add_routes(self.routes())
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Close every connection at once, as a killed server would."""
        runner, self._runner = self._runner, None
        if runner is not None:
            server = runner.server
            for connection in list(server.connections) if server is not None else ():
                if connection.transport is not None:
                    connection.transport.abort()
            await runner.cleanup()

    @web.middleware
    async def _record(self, request: web.Request, handler: Any) -> web.StreamResponse:
        text = await request.text()
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = json.loads(text) if text else None
        self.received.append(Received(method=request.method, path=request.path, headers=headers, body=body))
        if self.api_key is not None and headers.get("authorization") != f"Bearer {self.api_key}":
            return self.wrong_key()
        try:
            return await handler(request)
        except asyncio.CancelledError:
            self._note_lost()
            raise
        except ConnectionResetError:
            self._note_lost()
            return web.Response()

    def wrong_key(self) -> web.Response:
        raise NotImplementedError

    def _note_lost(self) -> None:
        self.cancelled += 1
        self.lost.set()

    async def open_stream(self, request: web.Request, headers: Mapping[str, str] = {}) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream", **headers})
        await response.prepare(request)
        return response

    async def send_raw(self, request: web.Request, raw: Raw) -> web.StreamResponse:
        response = await self.open_stream(request)
        for chunk in raw.chunks:
            await response.write(chunk)
            await asyncio.sleep(0)  # a write of its own on the socket
        if raw.open:
            await self.hold()
        if raw.cut:
            self.cut(request)
        else:
            await response.write_eof()
        return response

    def cut(self, request: web.Request) -> None:
        """Break the connection off in the middle of the body."""
        transport = request.transport
        if transport is not None:
            transport.abort()

    async def hold(self) -> None:
        """Wait until the test lets go (a stall, when it never does)."""
        self.holding.set()
        await self.released.wait()
