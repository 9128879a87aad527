"""The pre-flight checks of Docker and of what a container needs around it: toolkit, driver, port, image."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core.base.async_tools import in_daemon_thread
from core.base.child_process import child_environment, program
from core.base.text import file_size
from core.local.docker_cli import INSTALL_COMPOSE, INSTALL_DOCKER, DockerError
from core.local.port_owner import is_taken, owner_of
from core.local.preflight import TITLES, CheckName, PreflightCheck
from core.local.preflight_facts import Asked, Check, Notes
from core.local.server import ServerFailure

_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)?")
_OVERRIDE_SINCE = (2, 24, 4)
"""The Compose that knows ``!override``, which a change of the number of GPUs needs."""
TOOLKIT_GUIDE = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/install-guide.html"


def no_answer(name: CheckName, failure: ServerFailure) -> PreflightCheck:
    """Return the line of a check that another failure, told on its own line, keeps from being made."""
    found = {
        "docker_missing": "Docker is missing",
        "compose_missing": "Compose is missing",
        "compose_file": "the compose file can't be used",
    }.get(failure.kind, "Docker does not answer")
    return PreflightCheck(name=name, title=TITLES[name], state="unknown", found=found)


def failed(name: CheckName, failure: ServerFailure, found: str) -> PreflightCheck:
    fix = f"{failure.what} {failure.fix}".strip()
    return PreflightCheck(
        name=name, title=TITLES[name], state="failed", found=found, fix=fix, commands=failure.commands
    )


# -- Docker itself ---------------------------------------------------------------------------------------------


async def check_docker(asked: Asked, notes: Notes) -> PreflightCheck:
    del notes
    if program("docker") is None:
        podman = program("podman") is not None
        fix = INSTALL_DOCKER
        if podman:
            fix = "Podman is here; it is driven by the docker command (package docker-cli or podman-docker)."
        elif sys.platform in ("darwin", "win32"):
            fix = "Install Docker Desktop (https://docs.docker.com/desktop/). A GPU needs Linux, or WSL 2."
        commands = ("sudo apt-get install docker.io docker-compose-v2",) if program("apt-get") else ()
        return PreflightCheck(
            name="docker",
            title=TITLES["docker"],
            state="failed",
            found="not found",
            fix=fix,
            commands=() if podman else commands,
        )
    try:
        done = await asked.project.cli.run("--version")
    except DockerError as error:
        return failed("docker", error.failure, "can't be run")
    version = _VERSION.search(done.stdout)
    if done.returncode != 0 or version is None:
        return PreflightCheck(
            name="docker",
            title=TITLES["docker"],
            state="failed",
            found="can't be run",
            fix=f"docker --version says nothing of a version. {INSTALL_DOCKER}",
            commands=("docker --version",),
        )
    return PreflightCheck(name="docker", title=TITLES["docker"], state="ok", found=version[0])


async def check_daemon(asked: Asked, notes: Notes) -> PreflightCheck:
    del notes
    try:
        info = await asked.info()
    except DockerError as error:
        if error.failure.kind == "docker_missing":
            return no_answer("daemon", error.failure)
        if not error.failure.fix.startswith("Start it") or sys.platform != "linux":
            return failed("daemon", error.failure, "does not answer")
        check = failed("daemon", error.failure, "does not answer")
        start = "sudo systemctl start docker"
        return replace(check, commands=(start, *check.commands))
    where = asked.project.cli.place
    found = str(info["ServerVersion"]) + (f" in {where}" if where else "")
    return PreflightCheck(name="daemon", title=TITLES["daemon"], state="ok", found=found)


async def check_compose(asked: Asked, notes: Notes) -> PreflightCheck:
    del notes
    install = ("sudo apt-get install docker-compose-v2",) if program("apt-get") else ()
    try:
        done = await asked.project.cli.run("compose", "version", "--short")
    except DockerError as error:
        if error.failure.kind == "docker_missing":
            return no_answer("compose", error.failure)
        if error.failure.kind == "compose_missing":
            check = failed("compose", error.failure, "v1 only" if program("docker-compose") else "not found")
            return replace(check, commands=install)
        return no_answer("compose", error.failure)
    version = _VERSION.search(done.stdout)
    numbers = tuple(int(part) for part in version[0].split(".")) if version else ()
    if done.returncode != 0 or version is None or numbers < (2,):
        return PreflightCheck(
            name="compose",
            title=TITLES["compose"],
            state="failed",
            # A docker without the plugin speaks of a flag it does not know.
            found=version[0] if version else "v1 only" if program("docker-compose") else "not found",
            fix=f"docker compose (v2) is needed. {INSTALL_COMPOSE}",
            commands=install,
        )
    if numbers < _OVERRIDE_SINCE and asked.wanted.tensor_parallel_size is not None:
        return PreflightCheck(
            name="compose",
            title=TITLES["compose"],
            state="failed",
            found=version[0],
            fix="A number of GPUs set in the form needs Compose 2.24.4 or newer. Update it, or empty that field.",
            commands=install,
        )
    try:
        await asked.planned()  # the file itself, too: nothing can be started from one that is broken
    except DockerError as error:
        if error.failure.kind == "compose_file":
            return failed("compose", error.failure, f"{version[0]}, and the file can't be used")
    else:
        if (spoilt := await _override_failure(asked)) is not None:
            return failed("compose", spoilt, f"{version[0]}, and the override can't be used")
    return PreflightCheck(name="compose", title=TITLES["compose"], state="ok", found=version[0])


async def _override_failure(asked: Asked) -> ServerFailure | None:
    """Say why what the form has set can't go on top of the compose file, as a start would."""
    whole = asked.project.whole()
    if not whole.override.exists():
        return None
    try:
        await whole.config()
    except DockerError as error:
        if error.failure.kind == "compose_file":
            return replace(
                error.failure,
                fix=f"Correct {whole.override}, or change a setting of vLLM on the Machine page: what is there "
                "is then set aside or written anew.",
            )
    return None


# -- the GPU ---------------------------------------------------------------------------------------------------


async def check_toolkit(asked: Asked, notes: Notes) -> PreflightCheck:
    del notes
    title = TITLES["nvidia_toolkit"]
    try:
        if not (await asked.planned()).service.wants_gpu:
            return PreflightCheck(
                name="nvidia_toolkit", title=title, state="not_needed", found="no GPU is reserved"
            )
        info, remote = await asked.info(), await asked.is_remote()
    except DockerError as error:
        return no_answer("nvidia_toolkit", error.failure)
    if _has_nvidia(info):
        version = "" if remote else await _toolkit_version()
        return PreflightCheck(name="nvidia_toolkit", title=title, state="ok", found=version or "set up")
    if str(info.get("OSType", "")) == "windows" or sys.platform == "darwin":
        where = "Docker on a Mac" if sys.platform == "darwin" else "A Windows container"
        return PreflightCheck(
            name="nvidia_toolkit",
            title=title,
            state="failed",
            found="not possible here",
            fix=f"{where} reaches no NVIDIA GPU. Choose the context of a Linux machine, or the embedded server.",
        )
    if not remote and program("nvidia-container-runtime-hook") is not None:
        # Docker finds the hook by itself, also where nobody registered the runtime.
        return PreflightCheck(
            name="nvidia_toolkit", title=title, state="ok", found=await _toolkit_version() or "installed"
        )
    if not remote and program("nvidia-ctk") is not None:
        return PreflightCheck(
            name="nvidia_toolkit",
            title=title,
            state="failed",
            found="installed, but Docker does not know it",
            fix="Register it with Docker, then restart Docker.",
            commands=("sudo nvidia-ctk runtime configure --runtime=docker", "sudo systemctl restart docker"),
        )
    return PreflightCheck(
        name="nvidia_toolkit",
        title=title,
        # Another machine may have the hook alone, which its engine does not tell of.
        state="warning" if remote else "failed",
        found="the engine does not name it" if remote else "not found",
        fix=f"Install the NVIDIA Container Toolkit{' there' if remote else ''} ({TOOLKIT_GUIDE}), and register it.",
        commands=(
            "sudo apt-get install -y nvidia-container-toolkit",
            "sudo nvidia-ctk runtime configure --runtime=docker",
            "sudo systemctl restart docker",
        ),
    )


def _has_nvidia(info: Mapping[str, Any]) -> bool:
    runtimes: Any = info.get("Runtimes")
    devices: Any = info.get("DiscoveredDevices")
    return "nvidia" in (runtimes or {}) or "nvidia.com/gpu" in json.dumps(devices or [])


async def _toolkit_version() -> str:
    path = program("nvidia-ctk")
    if path is None:
        return ""
    try:
        process = await asyncio.create_subprocess_exec(
            path,
            "--version",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=child_environment(),
        )
    except OSError:
        return ""
    try:
        async with asyncio.timeout(3):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return ""
    found = _VERSION.search(said.decode("utf-8", "replace"))
    return found[0] if found else ""


async def check_driver(asked: Asked, notes: Notes) -> PreflightCheck:
    del notes
    title = TITLES["driver"]
    remote = False
    try:
        remote = await asked.is_remote()
        if not (await asked.planned()).service.wants_gpu:
            return PreflightCheck(name="driver", title=title, state="not_needed", found="no GPU is reserved")
    except DockerError:
        pass  # the driver is here all the same
    if remote:
        gpus = await asked.gpus()
        fix = "" if gpus else "Name its exporter (GPU_METRICS_URL) to see that machine's GPU here."
        found = f"{len(gpus)} seen by the exporter" if gpus else "it is another machine's"
        return PreflightCheck(
            name="driver", title=title, state="ok" if gpus else "unknown", found=found, fix=fix, matters=False
        )
    look = await asked.driver()
    gpus = [gpu for gpu in look.gpus if not gpu.lost]
    problem = look.problem
    if not problem and not gpus:
        problem = "The GPU is lost: it does not answer its driver any more."
    if not problem:
        words = (
            f"{look.driver_version or 'loaded'}{f', CUDA {look.cuda_version}' if look.cuda_version else ''}"
        )
        return PreflightCheck(name="driver", title=title, state="ok", found=words)
    hangs = "has not answered" in problem
    if sys.platform == "darwin":
        fix = "A Mac has no NVIDIA GPU: use the embedded server, or the context of a machine that has one."
    elif hangs:
        fix = "A driver that hangs needs a restart of the machine more often than not."
    elif look.gpus:
        fix = "Restart this machine."
    elif "restart" in problem:
        fix = ""
    else:
        fix = "Install the driver of your GPU, and restart. Without an NVIDIA GPU use the embedded server."
    return PreflightCheck(
        name="driver",
        title=title,
        state="unknown" if hangs else "failed",
        found="does not answer" if hangs else "not found" if not look.gpus else "lost",
        fix=f"{problem} {fix}".strip(),
        commands=("sudo ubuntu-drivers install",)
        if program("ubuntu-drivers") and not hangs
        else ("nvidia-smi",),
    )


# -- port and image --------------------------------------------------------------------------------------------


async def check_port(asked: Asked, notes: Notes) -> PreflightCheck:
    del notes
    title = TITLES["port"]
    try:
        planned, remote = await asked.planned(), await asked.is_remote()
    except DockerError as error:
        return no_answer("port", error.failure)
    port = planned.service.port
    if port is None:
        return PreflightCheck(
            name="port",
            title=title,
            state="failed",
            found="none is published",
            fix="Publish the container's port in the compose file, such as 127.0.0.1:8000:8000.",
        )
    title = f"Port {port.published}"
    ours, theirs = await _containers(asked, planned.service.project, planned.service.service, port.published)
    if ours:
        return PreflightCheck(name="port", title=title, state="ok", found=f"our own {ours} runs there")
    if theirs:
        taken_by = f"the container {theirs}"
    elif remote:
        return PreflightCheck(
            name="port", title=title, state="unknown", found="it is another machine's", matters=False
        )
    elif not await in_daemon_thread(
        lambda: is_taken(port.published, port.host_ip or "0.0.0.0"), name="preflight port"
    ):
        return PreflightCheck(name="port", title=title, state="ok", found="free")
    else:
        taken_by = await in_daemon_thread(lambda: owner_of(port.published), name="preflight port")
    return PreflightCheck(
        name="port",
        title=title,
        state="failed",
        found=f"taken by {taken_by}" if taken_by else "taken",
        fix="Stop what listens there, or set VLLM_PORT to a port that is free. If it is a vLLM "
        "server, LOCAL_SERVER=external uses it as it is.",
        commands=(f"sudo ss -ltnp 'sport = :{port.published}'",) if sys.platform == "linux" else (),
    )


async def _containers(asked: Asked, project: str, service: str, port: int) -> tuple[str, str]:
    """Return the name of our running container, and of another one that publishes our port."""
    cli = asked.project.cli
    label = "label=com.docker.compose"
    try:
        ours = await cli.run(
            *("ps", "--filter", f"{label}.project={project}", "--filter", f"{label}.service={service}"),
            *("--format", "{{.Names}}"),
        )
        others = await cli.run("ps", "--filter", f"publish={port}", "--format", "{{.Names}}")
    except DockerError:
        return "", ""
    names = ours.stdout.split() if ours.returncode == 0 else []
    rest = [name for name in others.stdout.split() if name not in names] if others.returncode == 0 else []
    return (names[0] if names else ""), (rest[0] if rest else "")


async def check_image(asked: Asked, notes: Notes) -> PreflightCheck:
    del notes
    title = TITLES["image"]
    try:
        planned = await asked.planned()
        await asked.info()
        size = await image_bytes(asked, planned.image)
    except DockerError as error:
        return no_answer("image", error.failure)
    if size is not None:
        return PreflightCheck(name="image", title=title, state="ok", found=f"already here, {file_size(size)}")
    if planned.service.is_built:
        return PreflightCheck(name="image", title=title, state="ok", found="will be built")
    if planned.service.pull_policy == "never":
        return PreflightCheck(
            name="image",
            title=title,
            state="failed",
            found="not here",
            fix=f"The compose file forbids to pull {planned.image} (pull_policy: never). Load it, or allow that.",
            commands=(asked.project.cli.shell_line("pull", planned.image),),
        )
    return PreflightCheck(
        name="image",
        title=title,
        state="ok",
        found=f"{planned.image} will be pulled, some 10 GB",
        matters=False,
        commands=(asked.project.cli.shell_line("pull", planned.image),),
    )


async def image_bytes(asked: Asked, image: str) -> int | None:
    """Return the size of an image that is here, ``None`` where it is not.

    Raises:
        DockerError: no engine answers.
    """
    done = await asked.project.cli.run("image", "inspect", image, "--format", "{{.Size}}")
    text = done.stdout.strip()
    return int(text) if done.returncode == 0 and text.isdigit() else None


DOCKER_CHECKS: dict[CheckName, Check] = {
    "docker": check_docker,
    "daemon": check_daemon,
    "compose": check_compose,
    "nvidia_toolkit": check_toolkit,
    "driver": check_driver,
    "port": check_port,
    "image": check_image,
}
