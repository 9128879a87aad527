"""Servers on this machine's usual ports: who answers is found, and whatever else listens there is no find."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from core.local import discovery
from core.local.discovery import find_servers
from tests.support.hostile_server import HostileServer


class Places:
    """Servers that are started as a test wants them, each in the place of a usual one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self._runners: list[web.AppRunner] = []
        self._servers: list[asyncio.Server] = []
        self.asked: list[str] = []

    async def serve(
        self, answers: dict[str, object], *, usual: str, server: str = "", status: int = 200
    ) -> int:
        async def answer(request: web.Request) -> web.Response:
            self.asked.append(request.path)
            if request.path not in answers:
                raise web.HTTPNotFound
            headers = {"Server": server} if server else {}
            return web.json_response(answers[request.path], headers=headers, status=status)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self._runners.append(runner)
        return self._named(runner.addresses[0][1], usual)

    async def bytes(self, head: str, body: bytes = b"", **options: bool) -> int:
        server = await asyncio.start_server(HostileServer(head, body, **options), "127.0.0.1", 0)
        self._servers.append(server)
        return self._named(server.sockets[0].getsockname()[1], "vLLM")

    def _named(self, port: int, usual: str) -> int:
        self._patch.setitem(discovery.USUAL_PORTS, port, usual)
        return port

    async def close(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
        for server in self._servers:
            server.close()


@pytest.fixture
async def places(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Places]:
    monkeypatch.setattr(discovery, "TIMEOUT_S", 0.5)
    places = Places(monkeypatch)
    yield places
    await places.close()


def listed(*names: str, **fields: object) -> dict[str, object]:
    return {"object": "list", "data": [{"id": name, "object": "model", **fields} for name in names]}


async def test_each_program_is_known_by_what_it_says_and_its_models_that_cannot_chat_are_left_out(
    places: Places,
) -> None:
    ollama = await places.serve(
        {
            "/v1/models": listed("llama3.2:3b", "nomic-embed-text:latest", owned_by="library"),
            "/api/version": {"version": "0.12.6"},
        },
        usual="Ollama",
    )
    llama = await places.serve({"/v1/models": listed("qwen3")}, usual="llama-swap", server="llama.cpp")
    vllm = await places.serve({"/v1/models": listed("Qwen/Qwen3-8B", owned_by="vllm")}, usual="vLLM")
    other = await places.serve({"/v1/models": listed("mine")}, usual="vLLM")
    studio = await places.serve({"/v1/models": listed()}, usual="LM Studio")
    found = await find_servers(ports=(ollama, llama, vllm, other, studio))
    assert [(server.name, server.models, server.left_out) for server in found] == [
        ("Ollama", ("llama3.2:3b",), 1),
        ("llama.cpp", ("qwen3",), 0),
        ("vLLM", ("Qwen/Qwen3-8B",), 0),
        ("A model server", ("mine",), 0),
        ("LM Studio", (), 0),
    ]
    assert found[0].base_url == f"http://127.0.0.1:{ollama}/v1"


async def test_one_that_wants_a_key_is_found_and_says_so(places: Places) -> None:
    port = await places.serve({"/v1/models": {"error": "Unauthorized"}}, usual="vLLM", status=401)
    (server,) = await find_servers(ports=(port,))
    assert server.wants_key
    assert server.models == ()


async def test_our_own_and_a_closed_port_are_not_asked(places: Places, unused_tcp_port: int) -> None:
    ours = await places.serve({"/v1/models": listed("SmolLM2")}, usual="llama.cpp")
    assert await find_servers(ports=(ours, unused_tcp_port), leave_out=(ours,)) == ()
    assert places.asked == []


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("HTTP/1.1 200 OK\nContent-Type: text/html\nContent-Length: 6", b"<html>"),
        ("HTTP/1.1 302 Found\nLocation: http://127.0.0.1:9/v1/models\nContent-Length: 0", b""),
        ("HTTP/1.1 401 Unauthorized\nContent-Length: 5", b"login"),
        ("HTTP/1.1 200 OK\nContent-Length: 2000000000", b"{"),
        ("\x15\x03\x01 TLS alert", b"\x00\xff"),
        ("HTTP/1.1 200 OK\nContent-Length: 40000", b"[" * 40000),
        ("HTTP/1.1 200 OK\nContent-Length: 100", b"slow"),
    ],
)
async def test_whatever_else_listens_there_is_no_find_and_no_error(
    places: Places, head: str, body: bytes
) -> None:
    assert await find_servers(ports=(await places.bytes(head, body),)) == ()


async def test_nothing_but_the_usual_ports_of_this_machine_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    async def refused(host: str, port: int) -> None:
        asked.append((host, port))
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio, "open_connection", refused)
    assert await find_servers() == ()
    assert asked == [("127.0.0.1", port) for port in (8000, 11434, 1234, 8080, 1337, 9292)]
