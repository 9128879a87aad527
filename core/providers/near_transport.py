"""Connections to a model server close by: kept where the server keeps its word about closing them.

A new connection for each request costs 0.9 ms of a quick one's 4 ms (400 rounds against a scripted server).
llama.cpp closes each connection after a stream without having said so, and holds a thread for each one that
idles, so it gets a new one every time. uvicorn, under vLLM, announces what it closes. Imported with the first
client, since it imports the HTTP library.
"""

from __future__ import annotations

import logging

import httpx2

log = logging.getLogger(__name__)

_CONNECTING = "connection.connect_tcp.started"
_STALE = (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)
"""What a request meets on a connection that the server has closed meanwhile."""


class NearTransport(httpx2.AsyncBaseTransport):
    """Keeps connections to a server that names itself and is not llama.cpp.

    A request that was sent on a kept connection, and to which not even headers came back, is sent once more on a
    new one: the server had closed the old one before it read the request (browsers do the same). Only for a server
    that bills nobody.
    """

    def __init__(self, *, max_connections: int, keepalive_s: float, verify: bool) -> None:
        kept = httpx2.Limits(
            max_connections=max_connections, max_keepalive_connections=100, keepalive_expiry=keepalive_s
        )
        fresh = httpx2.Limits(max_connections=max_connections, max_keepalive_connections=0)
        self._kept = httpx2.AsyncHTTPTransport(limits=kept, verify=verify)
        self._fresh = httpx2.AsyncHTTPTransport(limits=fresh, verify=verify)
        self._keeps = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await (
            self._on_kept(request) if self._keeps else self._fresh.handle_async_request(request)
        )
        server = response.headers.get("server", "").lower()
        self._keeps = bool(server) and "llama" not in server
        return response

    async def _on_kept(self, request: httpx2.Request) -> httpx2.Response:
        connected = False
        others = request.extensions.get("trace")

        async def note(event: str, facts: object) -> None:
            nonlocal connected
            connected = connected or event == _CONNECTING
            if others is not None:
                await others(event, facts)

        request.extensions = {**request.extensions, "trace": note}
        try:
            return await self._kept.handle_async_request(request)
        except _STALE as error:
            if connected:
                raise
            log.debug("a kept connection was closed by the server (%s), asking on a new one", error)
        return await self._fresh.handle_async_request(request)

    async def aclose(self) -> None:
        await self._kept.aclose()
        await self._fresh.aclose()
