"""The project's own compose file on a real Docker Engine: started, watched, stopped and broken, as users do.

The test's override says what this machine lacks: no pull (there is no network), and how the stand-in for vLLM ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from core import ChatRequest, CoreStatus, Failed, Finished, RouterCore, StreamEvent, TextDelta
from core.local.compose import ComposeServer
from core.local.compose_project import ComposeProject
from core.local.server import ServerState
from core.local.vllm_settings import OVERRIDE_FILE
from tests.support.docker_engine import DockerEngine, EngineRefused, free_port, missing
from tests.support.two_sides import two_sides

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("docker"), pytest.mark.timeout(60)]
WITHIN_S = 30.0
NOTICED_S = 2.0
MODEL = "tiny/stand-in"


@pytest.fixture(scope="module")
def engine() -> Iterator[DockerEngine]:
    if (why := missing()) is not None:
        pytest.skip(why)
    with ExitStack() as stack:
        try:
            engine = stack.enter_context(DockerEngine())
        except EngineRefused as error:
            pytest.skip(str(error))
        engine.load_standin("v0.32.0")
        yield engine


class Machine:
    """A home folder, a port and what the stand-in is told; ``server()`` is one panel's view of the container."""

    def __init__(self, engine: DockerEngine, home: Path) -> None:
        self.engine = engine
        self.home = home
        self.tell("")

    def tell(self, how: str, *, memory: str = "512m") -> None:
        override = self.home / OVERRIDE_FILE
        override.parent.mkdir(exist_ok=True)
        override.write_text(
            "services:\n  vllm:\n    pull_policy: never\n"
            f"    mem_limit: {memory}\n    memswap_limit: {memory}\n    environment:\n      - STANDIN={how}\n"
        )

    @asynccontextmanager
    async def server(self, token: str = "") -> AsyncGenerator[ComposeServer]:
        secrets = {"HF_TOKEN": token} if token else {}
        project = ComposeProject(self.home, model=MODEL, secrets=lambda: secrets)
        server = ComposeServer(self.home, project, base_url="http://127.0.0.1:8000/v1")
        try:
            yield server
        finally:
            await server.detach()

    async def docker(self, *words: str) -> str:
        return await asyncio.to_thread(self.engine.docker, *words)

    async def container(self, what: str) -> str:
        return (await self.docker("inspect", "--format", what, "signalbox-vllm-1")).strip()


@pytest.fixture
async def machine(
    engine: DockerEngine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Machine]:
    for name, value in engine.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VLLM_PORT", str(free_port()))
    yield Machine(engine, home)
    await asyncio.to_thread(engine.docker, "rm", "--force", "--volumes", "signalbox-vllm-1", check=False)


async def until(
    server: ComposeServer, wanted: Callable[[ServerState], bool], within_s: float = WITHIN_S
) -> ServerState:
    """Return the first state that is ``wanted``."""
    seen = asyncio.Event()
    found: list[ServerState] = []

    def look(state: ServerState) -> None:
        if not found and wanted(state):
            found.append(state)
            seen.set()

    unsubscribe = server.on_change(look)
    look(server.state)
    try:
        async with asyncio.timeout(within_s):
            await seen.wait()
    except TimeoutError:
        raise AssertionError(f"still {server.state} after {within_s} s; log: {server.log_tail(20)}") from None
    finally:
        unsubscribe()
    return found[0]


async def logged(server: ComposeServer, text: str) -> None:
    """Return once the log has a line with ``text``: of its lines nobody tells, they are asked for."""
    async with asyncio.timeout(WITHIN_S):
        while not any(text in line for line in server.log_tail(1000)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def is_(phase: str) -> Callable[[ServerState], bool]:
    return lambda state: state.phase == phase


async def ask(state: ServerState, path: str) -> bytes:
    url = f"{state.base_url}".removesuffix("/v1") + path
    return await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=5).read())


async def test_start_logs_and_stop(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    async with machine.server(token="hf_planted_token_of_a_test") as server:
        states: list[ServerState] = []
        server.on_change(states.append)
        await server.start()
        state = server.state
        assert state.phase == "ready", (state, server.log_tail())
        assert (state.model, state.version, state.context_tokens) == (MODEL, "vLLM 0.32.0", 8192)
        assert state.base_url == f"http://127.0.0.1:{os.environ['VLLM_PORT']}/v1"
        assert state.restart_needed == ()
        starting = [state for state in states if state.phase == "starting"]
        assert [step.name for step in starting[-1].steps] == ["pull", "create", "load", "warm_up"]
        assert starting[-1].steps[0].status == "skipped"
        assert states[0].phase == "starting"
        page = server.log_page(0, 1000)
        texts = [line.text for line in page.lines]
        assert any("Loading safetensors checkpoint shards" in text for text in texts)
        assert any(text.startswith("Starting vLLM server on http://0.0.0.0:8000  [") for text in texts), texts
        assert not any("GET /health" in text for text in texts)
        assert {line.level for line in page.lines} >= {"info"}
        assert (
            json.loads(await ask(state, "/standin/environment"))["HF_TOKEN"] == "hf_planted_token_of_a_test"
        )
        said = [
            *map(str, states),
            *server.log_tail(),
            caplog.text,
            (machine.home / OVERRIDE_FILE).read_text(),
        ]
        assert not any("hf_planted" in text for text in said)

        await server.stop()
        assert server.state.phase == "stopped"
        assert await machine.container("{{.State.Status}}") == "exited"


async def test_a_running_one_is_adopted_and_goes_on_without_us(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with machine.server() as first:
        await first.start()
        run = await machine.container("{{.State.StartedAt}}")
    async with machine.server() as second:
        await second.observe()
        state = await until(second, is_("ready"))
        assert state.model == MODEL
        await logged(second, "Model loading took")
        monkeypatch.setenv("VLLM_MAX_MODEL_LEN", "4096")
        await second.start()  # it runs: nothing is started again, nor made anew for what was set meanwhile
        assert second.state.phase == "ready"
        assert await machine.container("{{.State.StartedAt}}") == run


async def test_what_is_done_by_hand_is_noticed_by_two_panels(machine: Machine) -> None:
    async with machine.server() as one, machine.server() as other:
        await one.observe()
        await other.observe()
        assert (one.state.phase, other.state.phase) == ("stopped", "stopped")
        await one.start()
        await until(other, is_("ready"))
        await machine.docker("stop", "--time", "5", "signalbox-vllm-1")
        for server in (one, other):
            state = await until(server, is_("stopped"), NOTICED_S)
            assert state.failure is None
        await machine.docker("start", "signalbox-vllm-1")
        for server in (one, other):
            await until(server, lambda state: state.phase in ("starting", "ready"), NOTICED_S)
        await until(one, is_("ready"))
        await other.stop()
        await until(one, is_("stopped"), NOTICED_S)
        await machine.docker("rm", "signalbox-vllm-1")
        await one.start()
        await until(other, is_("ready"))


async def test_crashes_say_why(machine: Machine) -> None:
    async with machine.server() as server:
        await server.start()
        pid = int(await machine.container("{{.State.Pid}}"))
        os.kill(pid, signal.SIGKILL)
        state = await until(server, is_("failed"), NOTICED_S)
        assert state.failure is not None
        assert (state.failure.kind, state.failure.exit_code) == ("killed", 137)
        assert state.failure.log

        await server.start()
        assert server.state.phase == "ready"
        assert server.state.failure is None
        await ask(server.state, "/standin/die")  # the process lives on, its engine is dead
        state = await until(server, is_("failed"), NOTICED_S)
        assert state.failure is not None
        assert state.failure.kind == "unhealthy"

        await server.restart()
        assert server.state.phase == "ready"
        await ask(server.state, "/standin/exit")
        state = await until(server, is_("failed"), NOTICED_S)
        assert state.failure is not None
        assert (state.failure.kind, state.failure.exit_code) in [("exited", 0), ("unhealthy", None)]
        state = await until(server, lambda state: state.failure is not None and state.failure.exit_code == 0)
        assert "engine died" in state.detail


async def test_memory_runs_out_at_load_and_under_load(machine: Machine) -> None:
    machine.tell("oom", memory="64m")
    async with machine.server() as server:
        await server.start()
        failure = server.state.failure
        assert failure is not None
        assert (server.state.phase, failure.kind, failure.oom_killed) == (
            "failed",
            "host_out_of_memory",
            True,
        )
        assert "while it loaded" in failure.what

        machine.tell("", memory="64m")
        await server.start()
        assert server.state.phase == "ready", server.log_tail()
        await ask(server.state, "/standin/oom")
        state = await until(server, lambda state: state.failure is not None and state.failure.oom_killed)
        assert state.phase == "failed"
        assert "while it loaded" not in state.detail


async def test_vllms_own_refusal_is_read_from_its_log(machine: Machine) -> None:
    machine.tell("fail")
    async with machine.server() as server:
        await server.start()
        failure = server.state.failure
        assert failure is not None
        assert (failure.kind, failure.exit_code) == ("gpu_out_of_memory", 1)
        assert "3,072" in failure.fix
        assert "estimated maximum model length" in "\n".join(failure.log)
        assert [step.status for step in server.state.steps][-1] == "failed"


async def test_a_start_is_cancelled_while_it_loads(machine: Machine) -> None:
    machine.tell("slow")
    async with machine.server() as server:
        starting = asyncio.create_task(server.start())
        state = await until(server, lambda state: any(step.detail == "shard 1 of 2" for step in state.steps))
        assert state.phase == "starting"
        assert state.steps[2].progress == 0.5
        assert "shards" in state.last_line
        await server.stop()
        await asyncio.wait_for(starting, WITHIN_S)
        assert server.state.phase == "stopped"
        assert await machine.container("{{.State.Running}}") == "false"


async def test_a_change_of_settings_needs_a_restart(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with machine.server() as server:
        await server.start()
        monkeypatch.setenv("VLLM_MAX_MODEL_LEN", "4096")
        machine.tell("another")
        await server.observe()
        assert server.state.restart_needed == ("longest request", "STANDIN")
        await server.restart()
        assert server.state.phase == "ready"
        assert server.state.restart_needed == ()


async def test_a_port_that_is_taken(machine: Machine) -> None:
    async with asyncio.timeout(WITHIN_S):
        listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", int(os.environ["VLLM_PORT"]))
        async with listener, machine.server() as server:
            await server.start()
            failure = server.state.failure
            assert failure is not None
            assert failure.kind == "port_taken"
            assert f"(process {os.getpid()})" in failure.what
            listener.close()
            await server.start()
            assert server.state.phase == "ready", server.state


async def test_an_image_that_is_nowhere(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_IMAGE_TAG", "v9.9.9")
    async with machine.server() as server:
        await server.start()
        failure = server.state.failure
        assert failure is not None
        assert failure.kind == "image_missing"
        assert "v9.9.9" in failure.what


async def test_the_engine_dies_and_comes_back(machine: Machine) -> None:
    machine.tell("slow")
    async with machine.server() as server:
        starting = asyncio.create_task(server.start())
        await until(server, lambda state: any(step.detail == "shard 1 of 2" for step in state.steps))
        await asyncio.to_thread(machine.engine.stop)
        state = await until(server, is_("failed"))
        assert state.failure is not None
        assert state.failure.kind == "daemon_down"
        await asyncio.wait_for(starting, WITHIN_S)
        await asyncio.to_thread(machine.engine.start)
        await until(server, is_("stopped"))  # the engine took it along; that was asked for
        machine.tell("")
        await server.start()
        assert server.state.phase == "ready", server.state


async def test_killed_under_load_the_api_answers_until_the_container_is_back(machine: Machine) -> None:
    async with machine.server() as server:
        await server.start()
    async with two_sides(machine.home, LOCAL_SERVER="compose", VLLM_MODEL=MODEL) as sides:
        core, told = sides.core, asyncio.Queue[CoreStatus]()
        core.subscribe(told.put_nowait)
        first = await core.ask("hi")
        assert (first.side, first.text) == ("local", "Contained")
        shows = asyncio.Event()
        ends = [
            asyncio.create_task(_until_end(core.stream(ChatRequest.from_prompt(f"hold {number}")), shows))
            for number in range(3)
        ]
        await shows.wait()
        await machine.docker("kill", "signalbox-vllm-1")
        # What was shown is kept and not asked for again; what was not yet is answered by the API.
        last = [events[-1] for events in await asyncio.gather(*ends)]
        assert any(isinstance(end, Failed) for end in last)
        assert all(end.result.side == "api" for end in last if isinstance(end, Finished))
        after = [await core.ask(f"more {number}") for number in range(3)]
        assert {result.side for result in after} == {"api"}
        await _told(told, "failed")
        reason = (await core.ask("why")).decision.reason
        assert reason.startswith("Local unavailable: it was killed (exit code 137)"), reason
        await machine.docker("start", "signalbox-vllm-1")
        await _told(told, "ready")
        assert (await core.ask("hi again")).side == "local"


async def _until_end(stream: AsyncIterator[StreamEvent], shows: asyncio.Event) -> list[StreamEvent]:
    events: list[StreamEvent] = []
    async for event in stream:
        events.append(event)
        if isinstance(event, TextDelta):
            shows.set()
    return events


async def _told(statuses: asyncio.Queue[CoreStatus], phase: str) -> None:
    async with asyncio.timeout(WITHIN_S):
        while (await statuses.get()).local.phase != phase:
            pass


@pytest.mark.parametrize("stops", [False, True])
async def test_the_core_adopts_it_and_leaves_it_as_the_setting_says(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, stops: bool
) -> None:
    async with machine.server() as server:
        await server.start()
    monkeypatch.setenv("LOCAL_SERVER", "compose")
    monkeypatch.setenv("VLLM_MODEL", MODEL)
    monkeypatch.setenv("STOP_CONTAINER_ON_QUIT", str(stops).lower())
    async with RouterCore(home=machine.home, local_start="eager") as core:
        async with asyncio.timeout(WITHIN_S):
            while (state := (await core.status()).local).phase != "ready":  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (state.kind, state.model, state.version) == ("compose", MODEL, "vLLM 0.32.0")
        async with asyncio.timeout(WITHIN_S):
            while not core.local_log_page(0, 100).lines:  # noqa: ASYNC110  of its lines nobody tells
                await asyncio.sleep(0.02)
    assert await machine.container("{{.State.Running}}") == str(not stops).lower()


async def test_the_command_line_starts_watches_and_stops_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "SIGNALBOX_HOME": str(machine.home),
        "LOCAL_SERVER": "compose",
        "VLLM_MODEL": MODEL,
        "HF_TOKEN": "hf_planted1234567890",
    }.items():
        monkeypatch.setenv(name, value)

    async def local(*words: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gui", "local", *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said = (await process.communicate())[0].decode()
        assert "hf_planted" not in said
        return process.returncode, said

    code, said = await local("start", "--anyway")  # this machine has no GPU
    assert (code, "Ready: tiny/stand-in (vLLM 0.32.0)" in said) == (0, True), said
    assert await machine.container("{{.State.Running}}") == "true"
    code, said = await local("status", "--json")
    assert (code, json.loads(said)["phase"]) == (0, "ready")
    code, said = await local("logs")
    assert (code, "Starting vLLM server on" in said) == (0, True), said
    code, said = await local("stop")
    assert (code, await machine.container("{{.State.Running}}")) == (0, "false"), said
