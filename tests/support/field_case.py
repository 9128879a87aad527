"""Serves a case of ``tests/data/field`` byte for byte: what real servers were seen to send.

``body.sse`` is the body; ``opts.json`` says how it is sent (``content_type``) and how it ends (``end``): ``clean``,
``length`` (sent whole), ``cut`` (the connection breaks) or ``open`` (nothing more comes, and nothing closes).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

CASES = Path(__file__).parents[1] / "data" / "field"


class FieldCase:
    """A server of one case. ``left`` is set when the client has gone."""

    def __init__(self, name: str) -> None:
        folder = CASES / name
        options = folder / "opts.json"
        self.body = (folder / "body.sse").read_bytes()
        self.options: dict[str, Any] = json.loads(options.read_text()) if options.exists() else {}
        self.asked = False
        self.left = asyncio.Event()
        self.url = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
            self.asked = True
            await reader.readexactly(int(lengths[0].split(b":")[1]))
            content_type = self.options.get("content_type", "text/event-stream")
            head_lines = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n"
            end = self.options.get("end", "clean")
            if end == "length":
                writer.write(f"{head_lines}content-length: {len(self.body)}\r\n\r\n".encode() + self.body)
            else:
                writer.write(f"{head_lines}transfer-encoding: chunked\r\n\r\n".encode())
                for piece in self.body.split(b"\n\n"):
                    writer.write(f"{len(piece) + 2:x}\r\n".encode() + piece + b"\n\n\r\n")
                    await writer.drain()
                if end == "clean":
                    writer.write(b"0\r\n\r\n")
            if end != "cut":
                await reader.read()  # until the client goes
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.left.set()
            writer.close()


@asynccontextmanager
async def field_case(name: str) -> AsyncIterator[FieldCase]:
    case = FieldCase(name)
    server = await asyncio.start_server(case, "127.0.0.1", 0)
    async with server:
        case.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield case
        if case.asked:
            await asyncio.wait_for(case.left.wait(), 10)
