"""The pre-flight checks, over a docker command whose answers are written down."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from core.errors import KeyHeldBack
from core.local.gpu_sample import GpuReading, GpuSurvey, MachineSample
from core.local.preflight import TITLES, CheckState, PreflightCheck, PreflightReport
from core.local.preflight_facts import Asked
from core.local.preflight_run import examine
from core.local.vllm_base import PlainProject
from core.local.vllm_settings import VllmSettings, override_path
from tests.support.docker_stub import DockerStub, compose_config, well

L4 = GpuReading(
    index=0,
    uuid="GPU-1",
    name="NVIDIA L4",
    source="nvml",
    vram_total_bytes=24_152_000_000,
    vram_used_bytes=300_000_000,
)
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def set_free(monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    def usage(folder: Path) -> Usage:
        del folder
        return Usage(10**12, 10**12 - free_bytes, free_bytes)

    monkeypatch.setattr(shutil, "disk_usage", usage)


def published(port: int) -> list[dict[str, object]]:
    return [{"host_ip": "127.0.0.1", "target": 8000, "published": str(port), "protocol": "tcp"}]


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int) -> DockerStub:
    """A whole engine; its port is one that is free here, so that no other program of this machine disturbs."""
    stub = well(tmp_path / "bin", compose_config(ports=published(unused_tcp_port)))
    monkeypatch.setenv("PATH", f"{stub.folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    set_free(monkeypatch, 200_000_000_000)
    return stub


async def no_token() -> str | None:
    return None


async def looked(
    home: Path,
    wanted: VllmSettings | None = None,
    *,
    gpus: tuple[GpuReading, ...] = (L4,),
    driver: Callable[[], GpuSurvey] | None = None,
    timeout_s: float = 25,
    place: str | None = None,
    **more: Any,
) -> PreflightReport:
    found = GpuSurvey(gpus=gpus, driver_version="570.86", cuda_version="12.8")
    asked = Asked(
        project=PlainProject(home, place=place),
        wanted=wanted or VllmSettings(),
        driver_look=driver or (lambda: found),
        hubs=more.pop("hubs", ()),
        token=more.pop("token", no_token),
        **more,
    )
    return await examine(asked, timeout_s=timeout_s)


def by_name(report: PreflightReport) -> dict[str, PreflightCheck]:
    return {check.name: check for check in report.checks}


async def test_where_everything_is_there_nothing_blocks(docker: DockerStub, home: Path) -> None:
    report = await looked(home)
    assert [check.name for check in report.checks] == list(TITLES)
    assert {check.name: check.state for check in report.checks if check.name != "token"} == {
        name: "ok" for name in TITLES if name != "token"
    }
    checks = by_name(report)
    assert checks["token"].state == "not_needed"
    assert not report.blocks
    assert checks["docker"].found == "28.3.0"
    assert checks["driver"].found == "570.86, CUDA 12.8"
    assert checks["disk"].found == "200 GB left"
    assert (
        " of 22.5 GB at 8 k context" in checks["fit"].title
    )  # what an L4 has, as every other place writes it
    assert report.fit is not None
    assert "7.6 billion" in report.fit.formula


async def test_the_seeds_own_example_is_caught(docker: DockerStub, home: Path) -> None:
    """A model of 90 billion parameters at 4 bits needs about 50 GB, and an L4 has 24."""
    report = await looked(home, VllmSettings(model="acme/Thing-90B-Instruct-AWQ"))
    fit = by_name(report)["fit"]
    assert report.fit is not None
    assert report.fit.needed_bytes == pytest.approx(50e9, rel=0.05)
    assert (fit.state, report.blocks) == ("failed", True)
    assert "46.8 GB of 22.5 GB" in fit.title
    assert fit.fix


async def test_a_shorter_context_that_would_fit_is_one_click_away(docker: DockerStub, home: Path) -> None:
    report = await looked(home, VllmSettings(model="Qwen/Qwen2.5-14B-Instruct-AWQ", max_model_len=131072))
    fit = by_name(report)["fit"]
    assert fit.fix_setting is not None
    assert (fit.fix_setting.name, fit.fix_setting.label) == ("max_model_len", "Use 32 k")
    assert fit.fix.startswith("Lower the context to 32 k")
    again = await looked(home, VllmSettings(model="Qwen/Qwen2.5-14B-Instruct-AWQ", max_model_len=32768))
    assert by_name(again)["fit"].state == "ok"


async def test_one_that_just_fits_is_a_warning_that_holds_nothing_up(docker: DockerStub, home: Path) -> None:
    report = await looked(home, VllmSettings(model="Qwen/Qwen2.5-14B-Instruct-AWQ", max_model_len=65536))
    fit = by_name(report)["fit"]
    assert (fit.state, fit.found, report.blocks) == ("warning", "over the 85 % line", False)


@pytest.mark.parametrize(
    ("state", "matters", "blocks"),
    [("failed", True, True), ("failed", False, False), ("warning", True, False), ("unknown", True, False)],
)
def test_only_a_failure_that_matters_blocks(state: CheckState, matters: bool, blocks: bool) -> None:
    check = PreflightCheck(name="port", title="Port", state=state, matters=matters)
    assert PreflightReport(checks=(check,), at=datetime.now(UTC)).blocks is blocks


async def test_no_docker_is_told_once_and_the_rest_still_answers(
    docker: DockerStub, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    report = await looked(home)
    checks = by_name(report)
    assert (checks["docker"].state, checks["docker"].found) == ("failed", "not found")
    assert "docs.docker.com" in checks["docker"].fix
    assert report.blocks
    assert checks["daemon"].state == checks["image"].state == "unknown"
    assert checks["driver"].state == "ok"
    assert report.fit is not None, "the packaged file is read without Compose"
    assert report.fit.model == "Qwen/Qwen2.5-7B-Instruct"


async def test_an_engine_that_is_down_is_told_with_what_starts_it(docker: DockerStub, home: Path) -> None:
    docker.answer(
        "info --format", {"ServerErrors": ["x"]}, stderr="Cannot connect to the Docker daemon", code=1
    )
    daemon = by_name(await looked(home))["daemon"]
    assert daemon.state == "failed"
    assert "sudo systemctl start docker" in daemon.commands


async def test_who_may_not_talk_to_the_engine_is_told_so(docker: DockerStub, home: Path) -> None:
    said = "permission denied while trying to connect to the Docker daemon socket"
    docker.answer("info --format", {"ServerErrors": [said]}, stderr=said, code=1)
    daemon = by_name(await looked(home))["daemon"]
    assert "usermod -aG docker" in daemon.fix


async def test_an_engine_that_hangs_holds_up_no_other_check(docker: DockerStub, home: Path) -> None:
    docker.answer("info --format", after_s=60)
    report = await looked(home, timeout_s=1.5)
    checks = by_name(report)
    assert {name for name, check in checks.items() if check.state == "unknown"} == {
        *("daemon", "nvidia_toolkit", "disk", "image")
    }
    assert "no answer within" in checks["daemon"].found
    assert checks["compose"].ok
    assert checks["fit"].ok


async def test_a_driver_that_hangs_holds_up_no_other_check(
    docker: DockerStub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    release = threading.Event()

    def hang() -> GpuSurvey:
        release.wait(30)
        return GpuSurvey()

    monkeypatch.setattr("core.local.preflight_facts.DRIVER_TIMEOUT_S", 0.2)
    try:
        checks = by_name(await looked(home, driver=hang))
    finally:
        release.set()
    assert (checks["driver"].state, checks["driver"].found) == ("unknown", "does not answer")
    assert checks["docker"].ok
    assert "No GPU can be seen" in checks["fit"].fix


async def test_a_check_that_breaks_takes_no_other_with_it(docker: DockerStub, home: Path) -> None:
    docker.answer("info --format", {"ServerVersion": "1", "DockerRootDir": "/", "Runtimes": 7})
    checks = by_name(await looked(home))
    assert (checks["nvidia_toolkit"].state, checks["nvidia_toolkit"].found) == (
        "unknown",
        "could not be checked",
    )
    assert checks["daemon"].ok


@pytest.mark.parametrize(
    ("words", "stderr", "code", "found"),
    [("", "unknown command: docker compose", 1, "not found"), ("1.29.2", "", 0, "1.29.2")],
)
async def test_a_compose_that_is_too_old_or_missing_is_told(
    docker: DockerStub, home: Path, words: str, stderr: str, code: int, found: str
) -> None:
    docker.answer("compose version", words, stderr=stderr, code=code)
    compose = by_name(await looked(home))["compose"]
    assert (compose.state, compose.found) == ("failed", found)
    assert "v2" in compose.fix


@pytest.mark.parametrize(
    "said",
    [
        "docker: 'compose' is not a docker command.",
        "unknown flag: --short\n\nUsage:  docker [OPTIONS] COMMAND",
    ],
)
async def test_only_v1_is_told_as_such(docker: DockerStub, home: Path, said: str) -> None:
    (docker.folder / "docker-compose").write_text("#!/bin/sh\n")
    (docker.folder / "docker-compose").chmod(0o755)
    docker.answer("compose version", stderr=said, code=1)
    compose = by_name(await looked(home))["compose"]
    assert compose.found == "v1 only"


async def test_a_service_that_a_profile_enables_is_found(docker: DockerStub, home: Path) -> None:
    """Compose tells of it only where it is asked for all profiles."""
    mine = compose_config(profiles=["gpu"], command=["--model", "Qwen/Qwen3-8B"])["services"]["vllm"]
    both = {"name": "own", "services": {"brain": mine, "web": {"image": "nginx:1"}}}
    docker.answer("config --format json", {"name": "own", "services": {"web": {"image": "nginx:1"}}})
    docker.answer("--profile * config --format json", both)
    report = await looked(home)
    assert report.fit is not None
    assert report.fit.model == "Qwen/Qwen3-8B"


async def test_a_broken_compose_file_is_told_with_its_words(docker: DockerStub, home: Path) -> None:
    docker.answer("config --format json", stderr="services.vllm.image must be a string", code=1)
    report = await looked(home)
    compose = by_name(report)["compose"]
    assert (compose.state, report.blocks) == ("failed", True)
    assert "image must be a string" in compose.fix
    assert by_name(report)["fit"].found == "the compose file can't be used"


async def test_an_override_that_compose_can_not_use_is_told_before_a_start(
    docker: DockerStub, home: Path
) -> None:
    path = override_path(home)
    path.parent.mkdir(parents=True)
    path.write_text("{broken")
    docker.answer(
        f"-f {path} --profile * config --format json", stderr="yaml: line 1: did not find expected", code=1
    )
    report = await looked(home)
    compose = by_name(report)["compose"]
    assert (compose.state, report.blocks) == ("failed", True)
    assert "did not find expected" in compose.fix
    assert f"Correct {path}, or change a setting" in compose.fix


async def test_no_toolkit_is_told_with_the_commands(docker: DockerStub, home: Path) -> None:
    docker.answer("info --format", {"ServerVersion": "28", "DockerRootDir": "/", "Runtimes": {"runc": {}}})
    toolkit = by_name(await looked(home))["nvidia_toolkit"]
    assert toolkit.state == "failed"
    assert "sudo nvidia-ctk runtime configure --runtime=docker" in toolkit.commands


async def test_cdi_counts_as_a_toolkit(docker: DockerStub, home: Path) -> None:
    devices = [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]
    docker.answer(
        "info --format",
        {"ServerVersion": "28", "DockerRootDir": "/", "Runtimes": {"runc": {}}, "DiscoveredDevices": devices},
    )
    assert by_name(await looked(home))["nvidia_toolkit"].state == "ok"


async def test_a_container_without_a_gpu_needs_none(
    docker: DockerStub, home: Path, unused_tcp_port: int
) -> None:
    docker.answer("config --format json", compose_config(deploy={}, ports=published(unused_tcp_port)))
    report = await looked(
        home, driver=lambda: GpuSurvey(problem="There is no NVIDIA driver on this machine.")
    )
    checks = by_name(report)
    assert [checks[name].state for name in ("nvidia_toolkit", "driver", "fit")] == ["not_needed"] * 3
    assert not report.blocks


async def test_no_driver_is_told(docker: DockerStub, home: Path) -> None:
    driver = GpuSurvey(problem="There is no NVIDIA driver on this machine.")
    report = await looked(home, driver=lambda: driver)
    assert by_name(report)["driver"].state == "failed"
    assert by_name(report)["fit"].state == "unknown"


async def test_a_card_that_is_lost_is_told(docker: DockerStub, home: Path) -> None:
    driver = by_name(await looked(home, gpus=(replace(L4, lost=True),)))["driver"]
    assert (driver.state, driver.found) == ("failed", "lost")
    assert "Restart this machine." in driver.fix


async def test_a_port_that_is_taken_is_told_with_who_has_it(docker: DockerStub, home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        docker.answer("config --format json", compose_config(ports=published(port)))
        check = by_name(await looked(home))["port"]
        assert (check.title, check.state) == (f"Port {port}", "failed")
        assert f"(process {os.getpid()})" in check.found
        docker.answer("ps --filter publish", "signalbox-other-1")
        assert by_name(await looked(home))["port"].found == "taken by the container signalbox-other-1"
        docker.answer("com.docker.compose.service=vllm --format", "signalbox-vllm-1")
        check = by_name(await looked(home))["port"]
        assert (check.state, check.found) == ("ok", "our own signalbox-vllm-1 runs there")


@pytest.mark.parametrize(
    ("free", "state"), [(200e9, "ok"), (47e9, "warning"), (40e9, "warning"), (20e9, "failed")]
)
async def test_the_disk_is_held_against_image_and_weights(
    docker: DockerStub, home: Path, monkeypatch: pytest.MonkeyPatch, free: float, state: str
) -> None:
    set_free(monkeypatch, int(free))
    disk = by_name(await looked(home))["disk"]
    assert disk.state == state
    if state == "failed":
        assert "45.2 GB for the image and the weights" in disk.fix


async def test_what_is_here_already_needs_no_disk(
    docker: DockerStub, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "hub" / "models--Qwen--Qwen2.5-7B-Instruct" / "snapshots" / "abcdef"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").write_bytes(b"x" * 1000)
    docker.answer("image inspect", "9000000000")
    set_free(monkeypatch, 8_000_000_000)
    checks = by_name(await looked(home, hubs=[tmp_path / "hub"]))
    assert checks["disk"].state == "ok"
    assert checks["image"].found == "already here, 9 GB"


async def test_an_image_that_may_not_be_pulled_is_told(docker: DockerStub, home: Path) -> None:
    docker.answer("config --format json", compose_config(pull_policy="never"))
    report = await looked(home, VllmSettings(image_tag="v0.33.0"))
    image = by_name(report)["image"]
    assert (image.state, report.blocks) == ("failed", True)
    assert "vllm/vllm-openai:v0.33.0" in image.fix


async def test_a_gated_model_wants_a_token(docker: DockerStub, home: Path) -> None:
    async def token() -> str:
        return "hf_abcdefghijklmnop"

    async def held_back() -> str:
        raise KeyHeldBack(
            "It belongs elsewhere.",
            hint="Allow it.",
            key_name="huggingface",
            belongs_to="https://huggingface.co",
            address="https://mirror.example",
            unencrypted=False,
        )

    wanted = VllmSettings(model=LLAMA)
    missing = by_name(await looked(home, wanted))["token"]
    assert (missing.state, missing.found) == ("failed", "missing")
    assert "signalbox keys set huggingface" in missing.commands
    stored = by_name(await looked(home, wanted, token=token))["token"]
    assert (stored.state, stored.found) == ("ok", "stored")
    assert "hf_abc" not in repr(stored)
    held = by_name(await looked(home, wanted, token=held_back))["token"]
    assert (held.state, held.fix) == ("failed", "It belongs elsewhere. Allow it.")


async def test_more_gpus_than_there_are_is_told(docker: DockerStub, home: Path) -> None:
    fit = by_name(await looked(home, VllmSettings(tensor_parallel_size=4), gpus=(L4, L4)))["fit"]
    assert (fit.state, fit.found) == ("failed", "2 of 4 GPUs")
    assert fit.fix_setting is not None
    assert fit.fix_setting.value == 2


async def test_a_gpu_that_others_use_is_told_before_vllm_refuses(docker: DockerStub, home: Path) -> None:
    busy = replace(L4, vram_used_bytes=4_000_000_000)
    fit = by_name(await looked(home, gpus=(busy,)))["fit"]
    assert (fit.state, fit.found) == ("warning", "others use the GPU")
    assert fit.fix_setting is not None
    assert fit.fix_setting.name == "gpu_memory_utilization"
    docker.answer("ps --quiet", "0123456789ab")
    assert by_name(await looked(home, gpus=(busy,)))["fit"].found == "fits", "it is our own container"


async def test_of_another_machine_is_said_what_cannot_be_seen(docker: DockerStub, home: Path) -> None:
    docker.answer("context inspect", "droplet ssh://me@gpu.example")
    report = await looked(home, place="droplet")
    checks = by_name(report)
    assert {name for name, check in checks.items() if check.state == "unknown"} == {
        *("driver", "port", "disk", "fit")
    }
    assert not report.blocks
    assert any(call.startswith("--context droplet") for call in docker.calls)
    gpu = GpuReading(index=0, uuid="x", name="H100", source="prometheus", vram_total_bytes=80 << 30)
    sample = MachineSample(at=report.at, gpus=(gpu,))
    checks = by_name(await looked(home, place="droplet", sample=lambda: sample))
    assert checks["fit"].state == "ok"
    assert "of 80.0 GB" in checks["fit"].title


async def test_weights_of_another_format_than_the_settings_say_are_told(
    docker: DockerStub, home: Path, tmp_path: Path
) -> None:
    snapshot = tmp_path / "hub" / "models--Qwen--Qwen2.5-7B-Instruct" / "snapshots" / "abcdef"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text('{"model_type": "qwen2"}')
    fit = by_name(await looked(home, VllmSettings(quantization="awq"), hubs=[tmp_path / "hub"]))["fit"]
    assert (fit.state, fit.found) == ("failed", "the weights are not awq")


def keep_config(hub: Path, config: str) -> list[Path]:
    snapshot = hub / "models--Qwen--Qwen2.5-7B-Instruct" / "snapshots" / "abcdef"
    snapshot.mkdir(parents=True, exist_ok=True)
    (snapshot / "config.json").write_text(config)
    return [hub]


async def test_a_request_longer_than_the_model_takes_is_told_before_vllm_refuses(
    docker: DockerStub, home: Path, tmp_path: Path
) -> None:
    hubs = keep_config(tmp_path / "hub", '{"max_position_embeddings": 2048}')
    report = await looked(home, VllmSettings(max_model_len=8192), hubs=hubs)
    fit = by_name(report)["fit"]
    assert (fit.state, report.blocks) == ("failed", True)
    assert fit.fix_setting is not None
    assert (fit.fix_setting.name, fit.fix_setting.value) == ("max_model_len", 2048)
    assert "takes 2,048" in fit.fix
    again = await looked(home, VllmSettings(max_model_len=2048), hubs=hubs)
    assert not by_name(again)["fit"].fix_setting
    # Where positions are scaled, and where somebody says that it may be longer, it does start.
    scaled = '{"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}'
    hubs = keep_config(tmp_path / "hub", f'{{"max_position_embeddings": 2048, "rope_scaling": {scaled}}}')
    assert not (await looked(home, VllmSettings(max_model_len=8192), hubs=hubs)).blocks
    assert (await looked(home, VllmSettings(max_model_len=8193), hubs=hubs)).blocks


async def test_a_length_that_only_the_table_doubts_is_a_warning(docker: DockerStub, home: Path) -> None:
    report = await looked(home, VllmSettings(max_model_len=40_000))
    fit = by_name(report)["fit"]
    assert (fit.state, fit.found, report.blocks) == ("warning", "longer than the model takes", False)
