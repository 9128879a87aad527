"""``core.vllm``: plan, apply, contexts and commands of the vLLM container."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import InvalidRequest, Unavailable
from core.local.server import ServerState
from core.local.vllm_settings import VllmSettings, override_path
from core.services.vllm import VllmService, words_of
from core.settings import SettingsStore
from tests.support.docker_stub import DockerStub, well

STOPPED = ServerState(phase="stopped", kind="compose")
READY = ServerState(phase="ready", kind="compose", docker_context="default")
WANTED = VllmSettings(model="mistralai/Mistral-7B-Instruct-v0.3", max_model_len=16384)


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DockerStub:
    stub = well(tmp_path / "bin")
    lines = [
        {"Name": "default", "DockerEndpoint": "unix:///var/run/docker.sock", "Current": True},
        {"Name": "droplet", "DockerEndpoint": "ssh://root@gpu.example", "Current": False},
    ]
    stub.answer("context ls", "\n".join(map(json.dumps, lines)))
    monkeypatch.setenv("PATH", f"{stub.folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return stub


class House:
    def __init__(self, home: Path, **environment: str) -> None:
        self.store = SettingsStore(env={"SIGNALBOX_HOME": str(home), **environment})
        self.state = STOPPED
        self.changes = 0
        self.vllm = VllmService(
            self.store, token=self._token, state=lambda: self.state, on_change=self._changed
        )

    async def _token(self) -> str | None:
        return None

    def _changed(self) -> None:
        self.changes += 1


async def test_a_plan_shows_what_it_would_do_and_does_nothing(docker: DockerStub, home: Path) -> None:
    house = House(home)
    plan = await house.vllm.plan(WANTED)
    assert plan.faults == ()
    assert '+        "16384",' in plan.diff
    assert plan.effective.max_model_len == 16384
    assert plan.effective.tool_call_parser == "mistral"
    assert plan.effective.gpu_memory_utilization == 0.9, "the compose file's own"
    assert not plan.restart_needed
    assert not override_path(home).exists()
    assert await house.vllm.settings() == VllmSettings()


async def test_applied_it_is_the_forms_next_time(docker: DockerStub, home: Path) -> None:
    house = House(home)
    await house.vllm.apply(WANTED)
    assert await house.vllm.settings() == WANTED
    assert house.changes == 1
    assert (await house.vllm.plan(WANTED)).diff == ""
    await house.vllm.apply(WANTED)
    assert house.changes == 1, "nothing changed"
    (line,) = await house.vllm.commands()
    assert line.startswith("docker compose -f ")
    assert str(override_path(home)) in line


async def test_a_running_container_needs_a_restart_for_what_it_is_made_of(
    docker: DockerStub, home: Path
) -> None:
    house = House(home)
    house.state = READY
    assert (await house.vllm.plan(WANTED)).restart_needed
    await house.vllm.apply(WANTED)
    assert not (await house.vllm.plan(WANTED)).restart_needed
    house.state = replace(READY, restart_needed=("model",))
    assert (await house.vllm.plan(WANTED)).restart_needed, "it was applied, and not restarted yet"


async def test_a_fault_writes_nothing(docker: DockerStub, home: Path) -> None:
    house = House(home)
    wrong = replace(WANTED, gpu_memory_utilization=2.0)
    plan = await house.vllm.plan(wrong)
    assert [fault.name for fault in plan.faults] == ["gpu_memory_utilization"]
    with pytest.raises(InvalidRequest, match="gpu_memory_utilization"):
        await house.vllm.apply(wrong)
    assert not override_path(home).exists()


async def test_a_file_that_was_edited_is_told_before_and_kept(docker: DockerStub, home: Path) -> None:
    house = House(home)
    await house.vllm.apply(WANTED)
    path = override_path(home)
    path.write_text(path.read_text().replace("Mistral-7B", "Mistral-8B", 1))
    plan = await house.vllm.plan(VllmSettings())
    assert any("changed by hand" in note for note in plan.notes)
    applied = await house.vllm.apply(VllmSettings())
    assert any("compose.override.yml.edited-1" in note for note in applied.notes)
    assert not path.exists()
    assert "Mistral-8B" in path.with_name("compose.override.yml.edited-1").read_text()


async def test_a_name_that_signalbox_would_not_ask_for_is_told(docker: DockerStub, home: Path) -> None:
    plan = await House(home, VLLM_MODEL="other/name").vllm.plan(WANTED)
    assert any("asks for other/name" in note for note in plan.notes)


async def test_a_compose_file_that_is_broken_is_told(docker: DockerStub, home: Path) -> None:
    docker.answer("config --format json", stderr="yaml: line 3: mapping values are not allowed", code=1)
    with pytest.raises(InvalidRequest, match="line 3") as raised:
        await House(home).vllm.apply(WANTED)
    assert "Nothing was changed" in raised.value.hint


async def test_where_there_is_no_docker_the_file_is_read_all_the_same(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / "mine.yml"
    file.write_text(
        "services:\n  llm:\n    image: vllm/vllm-openai:${TAG:-v1}\n"
        "    command: --model ${M:-a/b} --seed $$SEED\n    ports: ['127.0.0.1:9000:8000/tcp']\n"
    )
    house = House(home, VLLM_COMPOSE_FILE=str(file))
    plan = await house.vllm.apply(VllmSettings(max_model_len=4096))
    assert (plan.effective.model, plan.effective.image_tag) == ("a/b", "v1")
    assert '"llm"' in override_path(home).read_text()
    assert '"$$SEED"' in override_path(home).read_text()


async def test_a_disk_that_refuses_is_told(docker: DockerStub, home: Path) -> None:
    home.mkdir(exist_ok=True)
    (home / "vllm").write_text("a file stands there")
    with pytest.raises(Unavailable, match="can't be written"):
        await House(home).vllm.apply(WANTED)


# -- contexts ---------------------------------------------------------------------------------------------------


async def test_the_contexts_are_told_with_what_they_are(docker: DockerStub, home: Path) -> None:
    house = House(home)
    default, droplet = await house.vllm.contexts()
    assert any("{{json .}}" in call for call in docker.calls), "a docker of 20.10 takes no plain json"
    assert (default.name, default.words, default.current, default.chosen) == (
        "default",
        "local engine",
        True,
        True,
    )
    assert (droplet.words, droplet.chosen) == ("over SSH to gpu.example", False)
    await house.vllm.choose_context("droplet")
    assert house.store.current.docker_context == "droplet"
    assert [context.chosen for context in await house.vllm.contexts()] == [False, True]
    assert (await house.vllm.commands())[0].startswith("docker --context droplet compose")
    await house.vllm.choose_context("")
    assert house.store.current.docker_context is None


async def test_podmans_socket_is_a_place_too(
    docker: DockerStub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="sb") as short, socket.socket(socket.AF_UNIX) as listening:
        folder = Path(short, "podman")
        folder.mkdir()
        listening.bind(str(folder / "podman.sock"))
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        house = House(home)
        podman = next(each for each in await house.vllm.contexts() if each.words == "Podman")
        await house.vllm.choose_context(podman.name)
        assert (await house.vllm.commands())[0].startswith(
            f"docker --host unix://{folder}/podman.sock compose"
        )
    gone = next(each for each in await house.vllm.contexts() if each.chosen)
    assert gone.name == podman.name


async def test_a_context_is_not_left_while_the_container_runs_there(docker: DockerStub, home: Path) -> None:
    house = House(home)
    house.state = READY
    with pytest.raises(InvalidRequest, match="runs in default"):
        await house.vllm.choose_context("droplet")
    house.state = STOPPED
    with pytest.raises(InvalidRequest, match="no Docker context called nowhere"):
        await house.vllm.choose_context("nowhere")
    fixed = House(home, DOCKER_CONTEXT="droplet")
    with pytest.raises(InvalidRequest, match="DOCKER_CONTEXT is set in"):
        await fixed.vllm.choose_context("default")


async def test_no_docker_and_no_podman_is_told(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(Unavailable, match="no docker command"):
        await House(home).vllm.contexts()


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("unix:///var/run/docker.sock", "local engine"),
        ("npipe:////./pipe/docker_engine", "local engine"),
        ("tcp://127.0.0.1:2375", "local engine"),
        ("tcp://10.0.0.7:2376", "over the network at 10.0.0.7"),
        ("ssh://root@gpu", "over SSH to gpu"),
        ("unix:///run/user/1000/podman/podman.sock", "Podman"),
        ("ssh://core@gpu/run/user/1000/podman/podman.sock", "Podman on gpu"),
        ("", "local engine"),
    ],
)
def test_an_endpoint_is_told_in_words(endpoint: str, words: str) -> None:
    assert words_of(endpoint) == words
