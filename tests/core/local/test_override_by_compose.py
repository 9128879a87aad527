"""The form's override file, and the compose file read without Compose, held against the real Compose."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.base.child_process import program
from core.local import vllm_base
from core.local.compose_project import ComposeProject, ServiceConfig
from core.local.docker_cli import DockerError
from core.local.server import ServerFailure
from core.local.vllm_base import PlainProject, read_base
from core.local.vllm_override import new_override, write_override
from core.local.vllm_settings import VllmSettings, settings_of
from tests.support.docker_engine import compose_plugin, config_folder

WANTED = VllmSettings(
    model="meta-llama/Llama-3.1-70B-Instruct",
    max_model_len=16384,
    tensor_parallel_size=2,
    extra_args=("--hf-overrides", '{"a": "$HOME ${x"}'),
    image_tag="v0.32.1",
)


@pytest.fixture(autouse=True)
def compose(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose v2 as docker's plugin, wherever it is installed."""
    if compose_plugin() is None or program("docker") is None:
        pytest.skip("Docker Compose v2 is not installed")
    monkeypatch.setenv("DOCKER_CONFIG", str(config_folder()))


async def test_compose_takes_the_override_as_it_is_meant(home: Path) -> None:
    base, before = await read_base(PlainProject(home))
    write_override(home, new_override(base, WANTED))
    after = await ComposeProject(home).config()
    got = settings_of(after.command, after.image)
    assert (got.model, got.max_model_len, got.image_tag) == (WANTED.model, 16384, "v0.32.1")
    assert got.tool_call_parser == "llama3_json"
    assert got.extra_args[-1] == '{"a": "$$HOME $${x"}', "which Compose hands on with single dollars"
    assert (after.ports, after.volumes) == (before.ports, before.volumes)
    full = PlainProject(home)
    full.file = home / "vllm" / "compose.override.yml"
    alone, _ = await read_base(full)
    assert alone.gpu_devices[0]["count"] == 2


async def test_the_number_of_gpus_is_replaced_and_not_added(home: Path) -> None:
    base, _ = await read_base(PlainProject(home))
    write_override(home, new_override(base, WANTED))

    class Both(PlainProject):
        @property
        def files(self) -> tuple[Path, ...]:
            return ComposeProject.files.fget(self)  # type: ignore[misc]

    both, _ = await read_base(Both(home))
    assert [device["count"] for device in both.gpu_devices] == [2]


async def test_without_compose_the_file_says_the_same(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_MAX_MODEL_LEN", "4096")
    by_compose = await read_base(PlainProject(home))

    async def no_compose(project: PlainProject) -> dict[str, object]:
        raise DockerError(ServerFailure(kind="docker_missing", what="There is none."))

    monkeypatch.setattr(vllm_base, "_by_compose", no_compose)
    by_yaml = await read_base(PlainProject(home))
    assert by_yaml[0] == by_compose[0]
    assert facts(by_yaml[1]) == facts(by_compose[1])
    assert by_yaml[0].settings.max_model_len == 4096
    assert os.environ["VLLM_MAX_MODEL_LEN"] == "4096"


def facts(service: ServiceConfig) -> tuple[object, ...]:
    return (
        service.image,
        service.command,
        service.ports,
        service.wants_gpu,
        service.service,
        service.project,
    )


async def test_compose_mounts_the_weights_that_were_downloaded_here(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
        "VLLM_MODEL_CACHE",
        "DOCKER_HOST",
        "DOCKER_CONTEXT",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    project = ComposeProject(home, model="owner/model", place="default")
    assert (await project.config()).volumes == ("model-cache",)
    snapshot = tmp_path / "cache" / "hub" / "models--owner--model" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").write_bytes(b"weights")
    assert (await project.config()).volumes == (str(tmp_path / "cache"),)
