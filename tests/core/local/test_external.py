"""External servers are found, watched, lost and found again over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from core.local.external import ExternalServer
from core.local.server import ServerState
from core.model_list import ListedModel
from tests.support.hostile_server import hostile


class Elsewhere:
    """Somebody's model server, with answers that a test can change while it runs."""

    def __init__(self) -> None:
        self.health: tuple[int, str] = (200, "")
        self.models: tuple[int, str] = (200, json.dumps({"data": [{"id": "qwen", "max_model_len": 2048}]}))
        self.key: str | None = None
        self.silent = False
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def open(self) -> None:
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/version", self._version)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        assert site._server is not None
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "0.32.0"})

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _health(self, _: web.Request) -> web.Response:
        if self.silent:
            await asyncio.Event().wait()
        return web.Response(status=self.health[0], text=self.health[1])

    async def _models(self, request: web.Request) -> web.Response:
        if self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        return web.Response(status=self.models[0], text=self.models[1], content_type="application/json")


@pytest.fixture
async def elsewhere() -> AsyncIterator[Elsewhere]:
    server = Elsewhere()
    await server.open()
    yield server
    await server.close()


async def look(base_url: str, *args: Any, **options: Any) -> ServerState:
    """One start and the state after it."""
    server = ExternalServer(base_url, *args, **options)
    await server.start()
    state = server.state
    await server.stop()
    assert server.state.phase == "stopped"
    return state


async def until(server: ExternalServer, wanted: Callable[[ServerState], bool]) -> ServerState:
    """Wait for a state, without a clock: the test's own timeout is the limit."""
    arrived = asyncio.Event()
    unsubscribe = server.on_change(lambda state: arrived.set() if wanted(state) else None)
    if not wanted(server.state):
        await arrived.wait()
    unsubscribe()
    return server.state


async def test_learns_model_and_context_of_vllm(elsewhere: Elsewhere) -> None:
    state = await look(elsewhere.base_url)
    assert state == ServerState(
        phase="ready",
        kind="external",
        model="qwen",
        base_url=elsewhere.base_url,
        context_tokens=2048,
        models=(ListedModel(id="qwen", context_tokens=2048),),
        version="vLLM 0.32.0",
        verbs=frozenset(),  # nobody starts or stops somebody else's server
    )


async def test_llama_cpp_names_its_context_elsewhere(elsewhere: Elsewhere) -> None:
    elsewhere.models = (200, json.dumps({"data": [{"id": "smol", "meta": {"n_ctx": 4096}}]}))
    assert (await look(elsewhere.base_url)).context_tokens == 4096


@pytest.mark.parametrize(
    ("listed", "model"),
    [
        (
            [{"id": "text-embedding-nomic-embed-text-v1.5"}, {"id": "qwen2.5-7b-instruct"}],
            "qwen2.5-7b-instruct",
        ),
        ([{"id": "llama3:latest"}], "llama3:latest"),
        ([{"id": "a", "type": "embeddings"}, {"id": "b", "type": "vlm"}], "b"),
        ([{"id": "a", "capabilities": {"completion_chat": False, "embedding": True}}, {"id": "b"}], "b"),
        ([{"id": "a", "task": "score"}, {"id": "bge-chat", "task": "generate"}], "bge-chat"),
        (
            [{"id": "bge-m3"}, {"id": "BAAI/bge-reranker-v2"}, {"id": "whisper-large-v3"}, {"id": "phi-4"}],
            "phi-4",
        ),
        ([{"id": "\x1b[2J"}, {"id": "x" * 300}, {"id": "ok"}], "ok"),
    ],
)
async def test_the_first_model_that_can_chat_is_taken(
    elsewhere: Elsewhere, listed: list[dict[str, Any]], model: str
) -> None:
    elsewhere.models = (200, json.dumps({"data": listed}))
    state = await look(elsewhere.base_url)
    assert (state.phase, state.model) == ("ready", model)


async def test_where_no_model_can_chat_it_says_so_and_a_named_one_is_taken(elsewhere: Elsewhere) -> None:
    elsewhere.models = (200, json.dumps({"data": [{"id": "bge-m3"}, {"id": "whisper-1"}]}))
    state = await look(elsewhere.base_url)
    assert state.phase == "failed"
    assert "no model that can chat: bge-m3, whisper-1" in state.detail
    assert "VLLM_MODEL" in state.hint
    assert (await look(elsewhere.base_url, "bge-m3")).phase == "ready"


@pytest.mark.parametrize(
    "body", ["[" * 100_000, json.dumps({"data": "x" * (5 * 2**20)})], ids=["deep", "long"]
)
async def test_a_list_of_models_that_nobody_can_read_is_told(elsewhere: Elsewhere, body: str) -> None:
    elsewhere.models = (200, body)
    state = await look(elsewhere.base_url)
    assert state.phase == "failed"
    assert "VLLM_BASE_URL" in state.hint


async def test_a_health_page_without_an_end_is_told() -> None:
    async with hostile("HTTP/1.1 200 OK\nconnection: close", again=b"x" * 65536) as server:
        state = await look(f"{server.url}/v1")
    assert state.phase == "failed"
    assert "too long" in state.detail


@pytest.mark.parametrize("said", [None, 0, -1, True, "2048", 2.5])
async def test_a_context_that_is_none_is_unknown(elsewhere: Elsewhere, said: object) -> None:
    elsewhere.models = (200, json.dumps({"data": [{"id": "m", "max_model_len": said, "meta": said}]}))
    state = await look(elsewhere.base_url)
    assert (state.phase, state.context_tokens) == ("ready", None)


async def test_a_server_without_health_is_still_found(elsewhere: Elsewhere) -> None:
    elsewhere.health = (404, "not found")
    assert (await look(elsewhere.base_url)).phase == "ready"


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/"])
async def test_the_address_may_be_sloppy(elsewhere: Elsewhere, tail: str) -> None:
    state = await look(f"  http://someone:secret@127.0.0.1:{elsewhere.port}{tail} ")
    assert state.base_url == elsewhere.base_url


@pytest.mark.parametrize(
    "address", ["", "localhost:8000", "ftp://x/v1", "http://", "http://[::1", "http://h:99999"]
)
async def test_a_bad_address_is_named(address: str) -> None:
    state = await look(address)
    assert state.phase == "failed"
    assert "address" in state.detail
    assert "VLLM_BASE_URL" in state.hint


async def test_nobody_there(elsewhere: Elsewhere) -> None:
    await elsewhere.close()
    state = await look(elsewhere.base_url)
    assert state.phase == "failed"
    assert state.base_url is None
    assert f"No server is reachable at {elsewhere.base_url}" in state.detail
    assert "VLLM_BASE_URL" in state.hint


async def test_a_server_that_never_answers(elsewhere: Elsewhere) -> None:
    elsewhere.silent = True
    state = await look(elsewhere.base_url, timeout_s=0.05)
    assert state.phase == "failed"
    assert "not answered within 0.05 s" in state.detail


async def test_keys(elsewhere: Elsewhere) -> None:
    elsewhere.key = "right"
    without = await look(elsewhere.base_url)
    wrong = await look(elsewhere.base_url, None, "wrong")
    right = await look(elsewhere.base_url, None, "right")
    assert "wants an API key" in without.detail
    assert "refuses the API key" in wrong.detail
    assert "wrong" not in wrong.detail + wrong.hint
    assert "VLLM_API_KEY" in without.hint
    assert "VLLM_API_KEY" in wrong.hint
    assert (without.cause, wrong.cause, right.cause) == ("key", "key", "")
    assert right.phase == "ready"


async def test_a_key_that_cannot_be_a_header() -> None:
    state = await look("http://127.0.0.1:9/v1", None, "two\nlines")
    assert state.phase == "failed"
    assert "key" in state.detail
    assert "two" not in state.detail


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no json",
        "[]",
        "{}",
        '{"data": 5}',
        '{"data": {"id": "x"}}',
        "null",
        '{"data"',
    ],
)
async def test_something_that_is_no_model_server(elsewhere: Elsewhere, body: str) -> None:
    elsewhere.models = (200, body)
    state = await look(elsewhere.base_url)
    assert state.phase == "failed"
    assert "no list of models" in state.detail


@pytest.mark.parametrize("data", [[], [5, None, {"id": 3}, {}]])
async def test_a_server_without_a_model(elsewhere: Elsewhere, data: list[object]) -> None:
    elsewhere.models = (200, json.dumps({"data": data}))
    assert "has no model" in (await look(elsewhere.base_url)).detail


async def test_the_model_must_be_there(elsewhere: Elsewhere) -> None:
    absent = await look(elsewhere.base_url, "llama-90b")
    assert absent.phase == "failed"
    assert "does not serve llama-90b, but qwen" in absent.detail
    assert "VLLM_MODEL" in absent.hint
    assert absent.cause == "model"
    assert (await look(elsewhere.base_url, "qwen")).phase == "ready"


async def test_loading_is_not_failing_and_a_dead_engine_is(elsewhere: Elsewhere) -> None:
    elsewhere.health = (503, '{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}')
    server = ExternalServer(elsewhere.base_url, interval_s=0.01)
    await server.start()
    assert (server.state.phase, server.state.detail) == ("starting", "loading weights")
    elsewhere.health = (200, "")
    await until(server, lambda state: state.phase == "ready")
    elsewhere.health = (503, "")
    dead = await until(server, lambda state: state.phase == "failed")
    assert "not healthy" in dead.detail
    assert dead.failure is not None
    assert dead.failure.kind == "unhealthy"
    await server.stop()


async def test_lost_and_found_again(elsewhere: Elsewhere) -> None:
    server = ExternalServer(elsewhere.base_url, interval_s=0.01)
    await server.start()
    assert server.state.phase == "ready"
    await elsewhere.close()
    await until(server, lambda state: state.phase == "failed")
    await elsewhere.open()
    await until(server, lambda state: state.phase == "ready")
    await server.stop()
    assert [line.split(" ")[1] for line in server.log_tail()] == [
        "looking",
        "ready:",
        "No",
        "ready:",
        "stopped",
    ]


async def test_start_again_probes_at_once(elsewhere: Elsewhere) -> None:
    server = ExternalServer(elsewhere.base_url, interval_s=3600)
    await server.start()
    elsewhere.models = (200, json.dumps({"data": [{"id": "other"}]}))
    await server.start()
    assert server.state.model == "other"
    await server.restart()
    assert server.state.phase == "ready"
    await server.stop()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks://someone:secret@127.0.0.1:1080/"),
        ("SSL_CERT_FILE", "/nowhere/certificates.pem"),
    ],
)
async def test_an_environment_that_no_connection_can_be_made_with_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    server = ExternalServer("https://model.example/v1")
    async with asyncio.timeout(20):
        await server.start()
        assert server.state.phase == "failed"
        assert "https://model.example/v1" in server.state.detail
        assert name in server.state.hint
        assert "secret" not in server.state.detail
        await server.start()  # begins anew instead of waiting for a prober that is gone
        await server.stop()
    assert server.state.phase == "stopped"


async def test_no_proxy_stands_before_a_near_server(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:1080/")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9/")
    assert (await look(elsewhere.base_url)).phase == "ready"
    private = await look("http://192.168.254.254:9/v1", timeout_s=0.05)
    assert private.phase == "failed"
    assert "ALL_PROXY" not in private.hint


@pytest.mark.parametrize("steps", range(1, 7))
async def test_stop_ends_the_prober_whenever_it_comes(elsewhere: Elsewhere, steps: int) -> None:
    server = ExternalServer(elsewhere.base_url, interval_s=3600)
    await server.start()
    unsubscribe = server.on_change(lambda state: None)
    again = asyncio.create_task(server.start())
    for _ in range(steps):
        await asyncio.sleep(0)
    unsubscribe()
    async with asyncio.timeout(20):
        await server.stop()
        await again
    assert server.state.phase == "stopped"
    assert not any("prober" in task.get_name() for task in asyncio.all_tasks())


async def test_a_start_during_a_stop_counts(elsewhere: Elsewhere) -> None:
    server = ExternalServer(elsewhere.base_url, interval_s=3600)
    await server.start()
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0)
    await server.start()
    await stopping
    assert server.state.phase == "ready"
    await server.stop()


async def test_stop_ends_a_start_that_waits(elsewhere: Elsewhere) -> None:
    elsewhere.silent = True
    server = ExternalServer(elsewhere.base_url, timeout_s=3600)
    starting = asyncio.create_task(server.start())
    await until(server, lambda state: state.phase == "starting")
    await server.stop()
    await starting
    assert server.state.phase == "stopped"
    assert all(
        task is asyncio.current_task() or "prober" not in task.get_name() for task in asyncio.all_tasks()
    )
