"""A server that answers every request with bytes of one's own, and goes on with them for ever if it is let."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

MOST_BYTES = 2**30
"""Where even an endless server gives up: a client that takes as much has no bound."""


class HostileServer:
    """``head`` and ``body`` are sent as they stand, then ``again`` for ever; without it, it waits.

    With ``ends`` it closes the connection instead. ``received`` are the heads of the requests; ``sent_bytes`` is
    what went out of ``again``.
    """

    def __init__(self, head: str, body: bytes = b"", *, again: bytes = b"", ends: bool = False) -> None:
        self.head = head
        self.body = body
        self.again = again
        self.ends = ends
        self.received: list[bytes] = []
        self.sent_bytes = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.received.append(head)
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
            await reader.readexactly(int(lengths[0].split(b":")[1]) if lengths else 0)
            writer.write(self.head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + self.body)
            await writer.drain()
            while self.again and self.sent_bytes < MOST_BYTES:
                writer.write(self.again)
                self.sent_bytes += len(self.again)
                await writer.drain()
            if not self.ends:
                await reader.read()  # until the client goes
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def hostile(
    head: str, body: bytes = b"", *, again: bytes = b"", ends: bool = False
) -> AsyncIterator[HostileServer]:
    scripted = HostileServer(head, body, again=again, ends=ends)
    server = await asyncio.start_server(scripted, "127.0.0.1", 0)
    async with server:
        scripted.port = server.sockets[0].getsockname()[1]
        yield scripted
