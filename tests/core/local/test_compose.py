"""The container's server over a scripted docker command: what each fault of Docker looks like, and how it heals."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from core.local import container_watch
from core.local.compose import ComposeServer
from core.local.compose_project import ComposeProject, Port, ServiceConfig
from core.local.container import differences, read_container
from core.local.container_log import ContainerLog
from core.local.docker_cli import DockerCli
from core.local.server import ServerState
from tests.support.docker_stub import COMMAND, DockerStub, well

ID = "96eba3e68b55"
WITHIN_S = 20.0


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DockerStub:
    stub = well(tmp_path / "bin")
    stub.answer("events", after_s=60)
    monkeypatch.setenv("PATH", f"{stub.folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(container_watch, "RETRY_S", 0.05)
    return stub


@pytest.fixture
async def server(docker: DockerStub, home: Path) -> AsyncIterator[ComposeServer]:
    server = ComposeServer(home, ComposeProject(home), base_url="http://127.0.0.1:9/v1")
    yield server
    await server.detach()


def container(status: str = "running", **state: Any) -> list[dict[str, Any]]:
    facts = {
        "Status": status,
        "StartedAt": "2026-12-01T15:44:43.279449692Z",
        "ExitCode": 0,
        "OOMKilled": False,
    }
    return [
        {
            "Id": ID,
            "Name": "/signalbox-vllm-1",
            "State": facts | state,
            "Config": {
                "Image": "vllm/vllm-openai:v0.32.0",
                "Cmd": list(COMMAND),
                "Env": ["HF_TOKEN=hf_planted12345"],
            },
            "HostConfig": {"PortBindings": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "9"}]}},
        }
    ]


async def failed(server: ComposeServer, kind: str) -> ServerState:
    return await until(server, lambda state: state.failure is not None and state.failure.kind == kind)


async def until(server: ComposeServer, wanted: Any) -> ServerState:
    seen = asyncio.Event()
    unsubscribe = server.on_change(lambda state: seen.set() if wanted(state) else None)
    try:
        async with asyncio.timeout(WITHIN_S):
            while not wanted(server.state):
                seen.clear()
                await seen.wait()
    finally:
        unsubscribe()
    return server.state


async def test_docker_that_is_missing_heals_once_it_is_there(
    server: ComposeServer, docker: DockerStub
) -> None:
    away = docker.folder / "docker"
    away.rename(docker.folder / "kept")
    os.environ["PATH"] = str(docker.folder)
    await server.observe()
    assert server.state.failure is not None
    assert server.state.failure.kind == "docker_missing"
    (docker.folder / "kept").rename(away)
    os.environ["PATH"] = f"{docker.folder}{os.pathsep}/usr/bin{os.pathsep}/bin"
    state = await until(server, lambda state: state.phase == "stopped")
    assert state.docker_context == "default"


async def test_an_engine_that_is_down_heals_too(server: ComposeServer, docker: DockerStub) -> None:
    down = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
    docker.answer("ps --", stderr=down, code=1)
    await server.start()
    assert server.state.failure is not None
    assert (server.state.phase, server.state.failure.kind) == ("failed", "daemon_down")
    assert server.state.failure.commands == ("docker version",)
    docker.answer("ps --")
    await until(server, lambda state: state.phase == "stopped")


async def test_compose_v1_only(server: ComposeServer, docker: DockerStub) -> None:
    docker.answer("config --format json", stderr="unknown shorthand flag: 'f' in -f", code=125)
    old = docker.folder / "docker-compose"
    old.write_text("#!/bin/sh\n")
    old.chmod(0o755)
    await server.start()
    assert server.state.failure is not None
    assert server.state.failure.kind == "compose_missing"
    assert "v1" in server.state.detail


async def test_a_broken_compose_file_says_where(server: ComposeServer, docker: DockerStub) -> None:
    docker.answer("config --format json", stderr="yaml: line 3: mapping values are not allowed", code=15)
    await server.start()
    state = await failed(server, "compose_file")
    assert "line 3" in state.detail
    docker.answer("config --format json", {"name": "x", "services": {"db": {}, "web": {}}})
    await server.start()
    assert "no service" in server.state.detail


@pytest.mark.parametrize(
    ("call", "told", "kind", "step"),
    [
        ("pull vllm", "Error response from daemon: lookup registry.example: no such host", "pull_failed", 0),
        (
            "up --detach",
            'Error response from daemon: could not select device driver "nvidia" with capabilities: [[gpu]]',
            "no_nvidia_toolkit",
            1,
        ),
    ],
)
async def test_a_start_that_docker_refuses(
    server: ComposeServer, docker: DockerStub, call: str, told: str, kind: str, step: int
) -> None:
    if step:
        docker.answer("image inspect", "sha256:1")
    docker.answer(call, json.dumps({"error": True, "message": told}), code=1)
    await server.start()
    assert server.state.failure is not None
    assert (server.state.phase, server.state.failure.kind) == ("failed", kind)
    assert server.state.steps[step].status == "failed"
    await server.observe()
    assert server.state.failure.kind == kind  # looking again is no reason to forget it
    await server.stop()
    assert server.state.phase == "stopped"


async def test_one_that_loads_gets_little_time_to_leave(server: ComposeServer, docker: DockerStub) -> None:
    """vLLM does not hear that it should leave before it has loaded, and the compose file gives it half a minute."""
    docker.answer("ps --", ID)
    docker.answer("inspect --type container", container())
    docker.answer("logs --follow", after_s=60)
    docker.answer("stop")
    await server.observe()
    await server.stop()
    assert f"stop -t 3 {ID}" in docker.calls


async def test_a_pull_is_cancelled_with_its_child(server: ComposeServer, docker: DockerStub) -> None:
    only_ours_s = 61 + os.getpid() / 1e8
    docker.answer("pull vllm", after_s=only_ours_s)
    starting = asyncio.create_task(server.start())
    await until(server, lambda state: any("pull vllm" in call for call in docker.calls))
    await server.stop()
    await asyncio.wait_for(starting, WITHIN_S)
    assert server.state.phase == "stopped"
    found = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _is_readable(path)]
    assert f"sleep\0{only_ours_s}\0".encode() not in found


def _is_readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


async def test_no_secret_reaches_a_command_line(docker: DockerStub, home: Path) -> None:
    secrets = {"HF_TOKEN": "hf_planted12345", "VLLM_API_KEY": "own key planted here"}
    project = ComposeProject(home, model="owner/model", secrets=lambda: secrets)
    server = ComposeServer(home, project, base_url="http://127.0.0.1:9/v1", api_key="local-key-planted")
    words = "no: hf_planted12345, own key planted here"  # the second looks like nobody's key
    docker.answer("up --detach", json.dumps({"error": True, "message": words}), code=1)
    docker.answer("image inspect", "sha256:1")
    await server.start()
    await server.detach()
    compose_calls = [call for call in docker.calls if call.startswith("compose ")]
    assert 0 < docker.tokens.count("hf_planted12345") <= len(compose_calls) < len(docker.calls), (
        "Compose alone fills it in: a docker inspect or events has no use for it"
    )
    assert server.state.phase == "failed"
    shown = [
        *docker.calls,
        str(server.state),
        project.shell_line("up", "--detach", "vllm"),
        repr(project.__dict__),
    ]
    assert not any("planted" in text for text in shown)
    assert project.shell_line("up").startswith("VLLM_MODEL=owner/model docker compose ")


def downloaded(cache: Path, repo: str) -> None:
    snapshot = cache / "hub" / f"models--{repo.replace('/', '--')}" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").write_bytes(b"weights")


def test_the_container_sees_the_weights_that_were_downloaded_here(
    docker: DockerStub, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, docker_folder = tmp_path / "cache", tmp_path / "docker"
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "VLLM_MODEL_CACHE", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(cache))
    monkeypatch.setenv("DOCKER_CONFIG", str(docker_folder))
    assert "VLLM_MODEL_CACHE" not in ComposeProject(home, model="owner/model").shell_line("up")
    downloaded(cache, "owner/model")
    told = f"VLLM_MODEL_CACHE={cache} "
    assert told in ComposeProject(home, model="owner/model").shell_line("up")
    assert "VLLM_MODEL_CACHE" not in ComposeProject(home, model="owner/other").shell_line("up")
    # An engine elsewhere has no such folder.
    for place in ("ssh://droplet", "droplet"):
        project = ComposeProject(home, model="owner/model", place=place)
        assert "VLLM_MODEL_CACHE" not in project.shell_line("up")
    docker_folder.mkdir()
    (docker_folder / "config.json").write_text('{"currentContext": "droplet"}')
    assert "VLLM_MODEL_CACHE" not in ComposeProject(home, model="owner/model").shell_line("up")
    assert told in ComposeProject(home, model="owner/model", place="default").shell_line("up")
    # What the user names wins.
    monkeypatch.setenv("VLLM_MODEL_CACHE", "mine")
    project = ComposeProject(home, model="owner/model", place="default")
    assert "VLLM_MODEL_CACHE" not in project.shell_line("up")


async def test_a_jump_of_the_wall_clock_is_no_time(docker: DockerStub, home: Path) -> None:
    """The container says that it started in the year 2100: its start is adopted as one of this moment."""
    docker.answer("ps --", ID)
    docker.answer("inspect --type container", container(StartedAt="2100-01-01T00:00:00Z"))
    docker.answer("logs --follow", after_s=60)
    server = ComposeServer(home, ComposeProject(home), base_url="http://127.0.0.1:9/v1")
    await server.observe()
    state = server.state
    await server.detach()
    assert state.phase == "starting"
    assert [step.name for step in state.steps if step.status == "running"] == ["load"]
    assert all(0 <= (step.elapsed_s or 0) < 60 for step in state.steps)


async def test_another_machines_engine_is_asked_at_the_address_that_is_set(
    docker: DockerStub, home: Path
) -> None:
    docker.answer("context inspect", "droplet ssh://root@203.0.113.7")
    docker.answer("ps --", ID)
    now = datetime.now(UTC).isoformat()  # the deadline counts from there
    docker.answer("inspect --type container", container(StartedAt=now))
    docker.answer("logs --follow", after_s=60)
    project = ComposeProject(home, place="droplet")
    server = ComposeServer(home, project, base_url="http://127.0.0.1:9/v1")
    await server.observe()
    await server.detach()
    assert server.state.docker_context == "droplet"
    assert all(call.startswith("--context droplet ") for call in docker.calls)
    assert server.state.phase == "starting"

    docker.answer("inspect --type container", container(StartedAt=now, Health={"Status": "healthy"}))
    await server.observe()
    await server.detach()
    assert server.state.phase == "failed"
    assert "http://127.0.0.1:9/v1" in server.state.detail
    assert "VLLM_BASE_URL" in server.state.hint


@pytest.mark.parametrize(
    ("state", "events", "phase", "kind"),
    [
        ({"ExitCode": 0}, [("kill", "15"), ("die", ""), ("stop", "")], "stopped", None),
        (
            {"ExitCode": 1},
            [("kill", "15"), ("die", "")],
            "stopped",
            None,
        ),  # it was told to leave, however it did
        ({"ExitCode": 137}, [("kill", "9"), ("die", "")], "failed", "killed"),
        ({"ExitCode": 0}, [("die", "")], "failed", "exited"),
        ({"ExitCode": 137, "OOMKilled": True}, [], "failed", "host_out_of_memory"),
        ({"ExitCode": 143}, [], "stopped", None),  # nobody remembers: taken for a stop
        ({"ExitCode": 1}, [], "failed", "exited"),
    ],
)
async def test_a_container_that_ended_before_we_came(
    docker: DockerStub,
    home: Path,
    state: dict[str, Any],
    events: list[tuple[str, str]],
    phase: str,
    kind: str | None,
) -> None:
    docker.answer("ps --", ID)
    docker.answer("inspect --type container", container("exited", FinishedAt="2026-12-01T15:45:00Z", **state))
    docker.answer("logs --follow", "2026-12-01T15:44:44.000000000Z INFO:     Application startup complete.")
    told = [
        json.dumps(
            {
                "Action": action,
                "Actor": {"ID": ID, "Attributes": {"signal": signal}},
                "timeNano": 1796139900 * 10**9,
            }
        )
        for action, signal in events
    ]
    docker.answer("events --since", "\n".join(told))
    server = ComposeServer(home, ComposeProject(home), base_url="http://127.0.0.1:9/v1")
    await server.observe()
    await server.detach()
    assert server.state.phase == phase, server.state
    assert (server.state.failure and server.state.failure.kind) == kind
    assert "while it loaded" not in server.state.detail
    assert [line.text for line in server.log_page(0, 10).lines] == ["Application startup complete."]


async def test_an_engine_that_died_ended_its_container_orderly_and_is_a_failure_all_the_same(
    docker: DockerStub, home: Path
) -> None:
    docker.answer("ps --", ID)
    docker.answer("inspect --type container", container("exited", FinishedAt="2026-12-01T15:45:00Z"))
    words = "ERROR EngineDeadError: EngineCore encountered an issue."
    docker.answer("logs --follow", f"2026-12-01T15:44:44.000000000Z {words}")
    docker.answer("events --since", "")  # nobody remembers who ended it
    server = ComposeServer(home, ComposeProject(home), base_url="http://127.0.0.1:9/v1")
    await server.observe()
    await server.detach()
    assert (server.state.phase, server.state.failure and server.state.failure.kind) == ("failed", "exited")
    assert "engine died" in server.state.detail


async def test_one_that_loads_for_longer_than_its_deadline_has_failed_and_may_still_come(
    docker: DockerStub, home: Path
) -> None:
    now_s = [1000.0]
    docker.answer("ps --", ID)
    docker.answer("inspect --type container", container(StartedAt=datetime.now(UTC).isoformat()))
    docker.answer("logs --follow", after_s=60)
    server = ComposeServer(
        home, ComposeProject(home), base_url="http://127.0.0.1:9/v1", clock=lambda: now_s[0]
    )
    await server.observe()
    assert server.state.phase == "starting"
    now_s[0] += (server.state.deadline_s or 0) - 60
    await server.observe()
    assert server.state.phase == "starting"
    now_s[0] += 61
    state = await failed(server, "timed_out")
    await server.detach()
    assert "It is still starting" in state.hint


def test_a_token_that_came_later_needs_no_restart_and_all_else_does() -> None:
    running = read_container(json.dumps(container()))

    def told(image: str = "vllm/vllm-openai:v0.32.0", port: int = 9, **environment: str) -> tuple[str, ...]:
        ports = (Port(host_ip="127.0.0.1", published=port, target=8000),)
        asked = ServiceConfig(
            project="p",
            service="vllm",
            image=image,
            command=tuple(COMMAND),
            ports=ports,
            environment=environment,
        )
        return differences(asked, running)

    assert told(HF_TOKEN="hf_another") == ()
    assert told(VLLM_API_KEY="another") == ("VLLM_API_KEY",)
    assert told("vllm/vllm-openai:v1", 10) == ("image", "port")


async def test_ten_thousand_lines_leave_the_loop_room(docker: DockerStub) -> None:
    """The whole log comes at once, with ANSI codes, invalid UTF-8 and a line without an end."""
    lines = b"".join(
        b"2026-12-01T15:44:44.%09dZ \x1b[32mINFO\x1b[0m 12-01 line %d \xff\n" % (number, number)
        for number in range(1, 20_001)
    )
    log = docker.folder / "log"
    log.write_bytes(lines + b"2026-12-01T15:44:45.000000000Z " + b"x" * 500_000)
    (docker.folder / "docker").write_text(f"#!/bin/sh\nexec cat {log}\n")
    heard: list[int] = []
    turn_of: list[int] = []

    def hear(lines: Sequence[str]) -> None:
        heard.append(len(lines))
        turn_of.append(turns)

    follower = ContainerLog(DockerCli(), hear)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    follower.follow(read_container(json.dumps(container("exited"))))
    await follower.drained()
    counting.cancel()
    page = follower.ring.page(0, 100_000)
    assert len(page.lines) == 20_001
    assert page.lines[19_999].text == "INFO 12-01 line 20000 �"
    assert page.lines[19_999].level == "info"
    assert "more characters" in page.lines[-1].text
    assert sum(heard) == 20_001
    assert max(heard) <= 50
    assert all(one < next_ for one, next_ in pairwise(turn_of)), (
        "between any two pieces others had their turn"
    )


async def test_a_container_that_runs_at_the_first_look_is_found_and_one_that_comes_later_starts(
    server: ComposeServer, docker: DockerStub
) -> None:
    seen: list[ServerState] = []
    server.on_change(seen.append)
    began = datetime.now(UTC)
    docker.answer("ps --", ID)
    docker.answer("inspect --type container", container(StartedAt=began.isoformat()))
    docker.answer("logs --follow", after_s=60)
    await server.observe()
    first = next(state for state in seen if state.phase == "starting")
    assert first.found_running
    await until(server, lambda state: state.phase == "starting" and not state.found_running)
    docker.answer("inspect --type container", container(StartedAt=datetime.now(UTC).isoformat()))
    seen.clear()
    await server.observe()
    await until(server, lambda state: state.phase == "starting" and bool(seen))
    assert not any(state.found_running for state in (*seen, server.state)), (
        "it was started while somebody looked"
    )
