"""A proxy before PostgreSQL whose connection dies at a COMMIT: before the server has it, or before its answer."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Literal, Self

Death = Literal["before", "after"]
COMMIT = b"COMMIT"


class DyingProxy:
    """Use as an async context manager; set ``dies`` to cut the next connection that commits.

    ``down`` refuses every connection, as a server does that restarts.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._tasks: set[asyncio.Task[None]] = set()
        self.dies: Death | None = None
        self.deaths = 0
        self.down = False
        self.goes_down_with_it = False

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._pass_on(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if self.down:
            to_client.transport.abort()
            return
        server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        doomed = asyncio.Event()

        async def up() -> None:
            while data := await client.read(65536):
                if self.dies is not None and COMMIT in data:
                    death, self.dies = self.dies, None
                    self.deaths += 1
                    self.down = self.goes_down_with_it
                    if death == "before":
                        return
                    doomed.set()
                to_server.write(data)

        async def down() -> None:
            while data := await server.read(65536):
                if doomed.is_set() and COMMIT in data:
                    return
                to_client.write(data)

        ways = [asyncio.ensure_future(up()), asyncio.ensure_future(down())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            to_client.transport.abort()
            to_server.transport.abort()
