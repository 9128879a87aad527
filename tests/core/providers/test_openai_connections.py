"""Which connections VLLMProvider keeps, and what it does with one that was closed unseen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from core.errors import Unavailable
from core.providers import VLLMProvider
from tests.support.openai_server import chunk, data
from tests.support.providers import drain


class Counting:
    """A server by hand: ``head`` is what it says of itself, ``closes`` whether it goes after each answer, unsaid.

    ``peers`` are the connections on which requests came. The next ``silences`` requests get no answer.
    """

    def __init__(self, server_header: str, closes: bool) -> None:
        self.head = (
            f"HTTP/1.1 200 OK\r\n{server_header}content-type: text/event-stream\r\n"
            "transfer-encoding: chunked\r\n\r\n"
        ).encode()
        self.closes = closes
        self.silences = 0
        self.peers: list[object] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = data(chunk("tiny", {"content": "x"}, finish="stop")) + data("[DONE]")
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if b"content-length" in line.lower()
                )
                await reader.readexactly(length)
                self.peers.append(writer.get_extra_info("peername"))
                if self.silences:
                    self.silences -= 1
                    break
                writer.write(self.head + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")
                if self.closes:
                    await reader.read()  # until the client closes
                    break
        except asyncio.IncompleteReadError:
            pass
        writer.close()


@asynccontextmanager
async def counting(
    server_header: str, *, closes: bool = False
) -> AsyncIterator[tuple[Counting, VLLMProvider]]:
    listen = Counting(server_header, closes)
    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        provider = VLLMProvider(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", "tiny")
        yield listen, provider
        await provider.close()


@pytest.mark.parametrize("server_header", ["", "Server: llama.cpp\r\n"])
async def test_no_connection_to_llama_cpp_is_used_twice(server_header: str) -> None:
    """It says nothing of closing, and closes after each stream."""
    async with counting(server_header, closes=True) as (listen, provider):
        for _ in range(3):
            assert (await drain(provider, "hi")).text == "x"
    assert len(set(listen.peers)) == 3


async def test_a_connection_to_vllm_is_kept() -> None:
    async with counting("Server: uvicorn\r\n") as (listen, provider):
        for _ in range(4):
            assert (await drain(provider, "hi")).text == "x"
    assert len(listen.peers) == 4
    assert len(set(listen.peers)) == 2, "the first tells who serves, the next ones share"


async def test_a_kept_connection_that_was_closed_unseen_is_asked_on_a_new_one() -> None:
    async with counting("Server: uvicorn\r\n") as (listen, provider):
        for _ in range(2):
            await drain(provider, "hi")
        # What is closed already would be seen; this one closes when the request is on its way.
        listen.silences = 1
        assert (await drain(provider, "hi")).text == "x"
    assert len(listen.peers) == 4
    assert listen.peers[1] == listen.peers[2] != listen.peers[3]


@pytest.mark.parametrize("known", [False, True])
async def test_a_new_connection_that_is_closed_unanswered_is_not_asked_again(known: bool) -> None:
    async with counting("Server: uvicorn\r\n") as (listen, provider):
        if known:
            await drain(provider, "hi")
        listen.silences = 2
        drained = await drain(provider, "hi")
    assert type(drained.error) is Unavailable
    assert listen.silences == 1
    assert len(set(listen.peers)) == len(listen.peers) == 1 + known


async def test_a_server_that_became_llama_cpp_has_its_connections_kept_no_longer() -> None:
    async with counting("Server: uvicorn\r\n") as (listen, provider):
        for _ in range(2):
            await drain(provider, "hi")
        listen.head = listen.head.replace(b"uvicorn", b"llama.cpp")
        for _ in range(3):
            await drain(provider, "hi")
    assert len(listen.peers) == 5
    assert len(set(listen.peers)) == 4, "one more on the kept connection, which tells"
