"""A private Docker Engine for tests, without a network, and an image of a stand-in for vLLM made without one.

The project's own compose file runs in it unchanged, GPU reservation included; a test's override says only what a
machine without a GPU and a network needs.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from functools import cache
from pathlib import Path
from types import TracebackType

from tests.support import standin_vllm

PROGRAMS = ("dockerd", "docker")
IMAGE = "vllm/vllm-openai"
START_S = 20.0
_PLUGIN_ROOTS = ("/usr/local/lib", "/usr/local/libexec", "/usr/lib", "/usr/libexec")
_LEFT_OUT = {
    "site-packages",
    "dist-packages",
    "test",
    "__pycache__",
    "idlelib",
    "tkinter",
    "ensurepip",
    "lib2to3",
}


def compose_plugin() -> str | None:
    """Return the program of Compose v2: Docker's own plugin, or what ``resources/setup.sh tests`` installs."""
    folders = (
        Path.home() / ".docker/cli-plugins",
        *(Path(root) / "docker/cli-plugins" for root in _PLUGIN_ROOTS),
    )
    candidates = [folder / "docker-compose" for folder in folders]
    candidates.append(Path(sysconfig.get_paths()["purelib"]) / "compose" / "docker-compose")
    return next((str(path) for path in candidates if os.access(path, os.X_OK)), None)


@cache
def config_folder() -> Path:
    """Return a ``DOCKER_CONFIG`` of tests, with Compose v2 as docker's plugin where one is installed."""
    folder = Path(tempfile.mkdtemp(prefix="signalbox-docker-config-"))
    plugin = compose_plugin()
    if plugin is not None:
        (folder / "cli-plugins").mkdir()
        (folder / "cli-plugins" / "docker-compose").symlink_to(plugin)
    return folder


def missing() -> str | None:
    """Say why no engine can be started here, ``None`` where one can."""
    if sys.platform != "linux":
        return "needs Linux: a Docker Engine of its own"
    if os.geteuid() != 0:
        return "no Docker Engine can be started: only root may"
    if any(shutil.which(program) is None for program in PROGRAMS):
        return "no Docker Engine (Debian: apt install docker.io)"
    if compose_plugin() is None:
        return "Docker Compose v2 is not installed"
    return None


class EngineRefused(Exception):
    """The daemon is installed and does not start here, as in a container that may not."""


class DockerEngine:
    """Use as a context manager. ``environment`` is what a docker command needs to find it.

    ``has_toolkit`` of ``False`` makes it refuse a GPU as a machine without NVIDIA's toolkit does.
    """

    def __init__(self, *, has_toolkit: bool = True) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sbdk-", dir="/tmp"))  # a socket's path is short
        self.socket = f"unix://{self.folder}/docker.sock"
        self.environment = {"DOCKER_HOST": self.socket, "DOCKER_CONFIG": str(config_folder())}
        self._has_toolkit = has_toolkit
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> DockerEngine:
        try:
            self.start()
        except EngineRefused:
            self.stop()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            names = self.docker("ps", "--all", "--quiet", check=False).split()
            if names:
                self.docker("rm", "--force", "--volumes", *names, check=False)
            # A bridge outlives its engine, and thirty of them leave no addresses for the next one's.
            self.docker("network", "prune", "--force", check=False)
        finally:
            self.stop()
            subprocess.run(
                ["umount", "-l", *map(str, self.folder.glob("data/*/merged"))],
                capture_output=True,
                check=False,
            )
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start the daemon, also again after ``stop``; returns when it answers.

        Raises:
            EngineRefused: it does not start here.
        """
        if self._process is not None:
            return
        programs = self.folder / "bin"
        programs.mkdir(exist_ok=True)
        if self._has_toolkit:
            # With this hook an unmodified `driver: nvidia` reservation starts without a GPU.
            hook = programs / "nvidia-container-runtime-hook"
            hook.write_text("#!/bin/sh\nexit 0\n")
            hook.chmod(0o755)
        self._process = subprocess.Popen(
            [
                "dockerd",
                *("--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec"),
                *("--pidfile", f"{self.folder}/dockerd.pid", "--host", self.socket),
                *("--iptables=false", "--ip6tables=false", "--bridge=none"),
                *("--ip-forward=false", "--ip-masq=false"),
            ],
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
            stdout=(self.folder / "dockerd.log").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        until_s = time.monotonic() + START_S
        while subprocess.run(
            ["docker", "version"], env={**os.environ, **self.environment}, capture_output=True, check=False
        ).returncode:
            if self._process.poll() is not None or time.monotonic() > until_s:
                said = (self.folder / "dockerd.log").read_text(errors="replace").splitlines()
                raise EngineRefused(
                    f"no Docker Engine can be started: {said[-1] if said else 'it said nothing'}"
                )
            time.sleep(0.05)  # a daemon tells nobody that it is up

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the daemon; with ``SIGKILL`` as a crash does, containers and all that belongs to them stay behind."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)

    def docker(self, *words: str, stdin: bytes | None = None, check: bool = True) -> str:
        done = subprocess.run(
            ["docker", *words],
            env={**os.environ, **self.environment},
            input=stdin,
            capture_output=True,
            check=False,
            timeout=60,
        )
        if check and done.returncode:
            raise RuntimeError(f"docker {words[0]}: {done.stderr.decode()}")
        return done.stdout.decode()

    def load_standin(self, tag: str) -> None:
        """Make the image that the compose file names, of this machine's Python and the stand-in."""
        changes = (
            'ENTRYPOINT ["/usr/local/bin/python3","-I","/standin.py"]',
            "ENV PATH=/usr/local/bin PYTHONHOME=/usr/local",
        )
        options = [word for change in changes for word in ("--change", change)]
        self.docker("import", *options, "-", f"{IMAGE}:{tag}", stdin=_root_file_system())


@cache
def _root_file_system() -> bytes:
    """Return this machine's own CPython and the shared libraries it needs, as an archive."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    prefix = Path(sys.base_prefix)
    interpreter = Path(os.path.realpath(prefix / "bin" / version))
    library = Path(sysconfig.get_paths()["stdlib"])
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(interpreter, "usr/local/bin/python3", filter=_plain)
        tar.add(
            library,
            f"usr/local/lib/{version}",
            filter=lambda info: (
                None if _LEFT_OUT & set(info.name.split("/")) or "/config-3" in info.name else _plain(info)
            ),
        )
        extensions = [str(path) for path in (library / "lib-dynload").glob("*.so")]
        for name in _shared_libraries([str(interpreter), *extensions]):
            tar.add(os.path.realpath(name), name.lstrip("/"), filter=_plain)
        for folder in ("tmp", "proc", "sys", "dev", "etc"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        tar.add(standin_vllm.__file__, "standin.py", filter=_plain)
    return archive.getvalue()


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    return info


def _shared_libraries(programs: list[str]) -> list[str]:
    listed = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    words = {word for line in listed.splitlines() for word in line.split() if word.startswith("/")}
    return sorted(word for word in words if ".so" in word and not word.endswith(":"))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
