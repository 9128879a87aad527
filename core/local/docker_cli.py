"""The ``docker`` command as a child process: argument lists, bounded output, and faults as kinds.

What is run here can be copied as a shell line (``DockerCli.shell_line``). Secrets reach a child by its environment
alone, never by a command line, which other users see.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from core.base.child_process import child_environment, program
from core.base.redaction import redact
from core.local.server import FailureKind, ServerFailure

QUICK_S = 20.0
"""How long a question may take; over SSH the first one sets up a connection."""
LEAVE_WITHIN_S = 3.0
_MOST_BYTES = 4_000_000
_CHUNK_BYTES = 1 << 16

DOCKER_VARIABLES = frozenset(
    {
        "ALL_PROXY",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "NO_PROXY",
        "all_proxy",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "SSH_AUTH_SOCK",  # a context that goes over SSH
        "DBUS_SESSION_BUS_ADDRESS",  # what a credential helper asks
        "XDG_CONFIG_HOME",
    }
)
DOCKER_PREFIXES = ("DOCKER_", "COMPOSE_", "CONTAINER_", "BUILDKIT_")

INSTALL_DOCKER = "Install Docker Engine (https://docs.docker.com/engine/install/)."
INSTALL_COMPOSE = (
    "Install the plugin: docker-compose-plugin from Docker's own packages, docker-compose-v2 on Ubuntu, "
    "docker-compose from Debian 13 on."
)


class DockerError(Exception):
    """A docker command did not do what it should; ``failure`` says why, in words for a person."""

    def __init__(self, failure: ServerFailure) -> None:
        super().__init__(failure.what)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Completed:
    """How a command ended, and what it wrote; what goes beyond some megabytes is cut."""

    returncode: int
    stdout: str
    stderr: str


class DockerCli:
    """``place`` is a context's name, or the address of an engine's socket (``unix:///run/user/1000/podman/podman.sock``,
    ``ssh://host``); ``None`` is what the docker command itself would take.

    ``environment`` gives what Compose gets besides, and is asked at each of its starts. It may hold secrets, which
    no other command of docker's gets.
    """

    def __init__(self, place: str | None = None, environment: Callable[[], Mapping[str, str]] = dict) -> None:
        self.place = place or None
        self._environment = environment

    @property
    def _where(self) -> list[str]:
        if self.place is None:
            return []
        return ["--host" if "://" in self.place else "--context", self.place]

    def shell_line(self, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        """Return what runs for ``arguments`` as a line for a shell; ``environment`` is shown: no secrets."""
        before = [f"{name}={shlex.quote(value)}" for name, value in (environment or {}).items()]
        return " ".join([*before, shlex.join(["docker", *self._where, *arguments])])

    async def run(self, *arguments: str, timeout_s: float = QUICK_S) -> Completed:
        """Run a command to its end, whatever that is.

        Raises:
            DockerError: there is no docker command, no engine answers, or not within ``timeout_s`` seconds.
        """
        async with self.started(*arguments) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                async with asyncio.timeout(timeout_s):
                    stdout, stderr, returncode = await asyncio.gather(
                        _read(process.stdout), _read(process.stderr), process.wait()
                    )
            except TimeoutError:
                where = f" in {self.place}" if self.place else ""
                raise DockerError(
                    ServerFailure(
                        kind="daemon_down",
                        what=f"Docker{where} has not answered within {timeout_s:g} s.",
                        fix="It may be busy or hang; it is asked again by itself.",
                        commands=(self.shell_line("version"),),
                    )
                ) from None
        done = Completed(returncode, stdout, stderr)
        if returncode != 0 and (failure := self.engine_failure(done.stderr)) is not None:
            raise DockerError(failure)
        return done

    async def output(self, *arguments: str, timeout_s: float = QUICK_S) -> str:
        """Return what a command writes.

        Raises:
            DockerError: it failed, by kind where that is known.
        """
        done = await self.run(*arguments, timeout_s=timeout_s)
        if done.returncode != 0:
            raise DockerError(
                ServerFailure(
                    kind="exited",
                    what=f"docker {arguments[0]} failed: {last_words(done.stderr)}",
                    fix="Fix that, then try again.",
                    exit_code=done.returncode,
                    commands=(self.shell_line(*arguments),),
                )
            )
        return done.stdout

    @asynccontextmanager
    async def started(self, *arguments: str, one_pipe: bool = False) -> AsyncGenerator[Process, None]:
        """Give a running command; leaving ends it, and what it started, however it is left.

        With ``one_pipe`` its errors come on ``stdout`` too, in their place among the rest.

        Raises:
            DockerError: there is no docker command, or it can't be started.
        """
        docker = program("docker")
        if docker is None:
            raise DockerError(
                ServerFailure(
                    kind="docker_missing",
                    what="There is no docker command on this machine.",
                    fix=INSTALL_DOCKER,
                )
            )
        try:
            process = await asyncio.create_subprocess_exec(
                docker,
                *self._where,
                *arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if one_pipe else subprocess.PIPE,
                env=self._child_environment(for_compose=arguments[:1] == ("compose",)),
                # A group of its own: the plugin and the ssh that docker starts end with it, and nobody is asked for
                # a password on a terminal.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except (OSError, ValueError) as error:  # a value with a NUL in it
            raise DockerError(
                ServerFailure(
                    kind="docker_missing",
                    what=f"{docker} can't be started: {getattr(error, 'strerror', None) or error}.",
                    fix=INSTALL_DOCKER,
                )
            ) from error
        try:
            yield process
        finally:
            await _end(process)

    def _child_environment(self, *, for_compose: bool) -> dict[str, str]:
        extra = self._environment() if for_compose else None
        environment = child_environment(DOCKER_VARIABLES, prefixes=DOCKER_PREFIXES, extra=extra)
        if self.place is not None:  # docker refuses an environment that names another place
            for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
                environment.pop(name, None)
        return environment

    def engine_failure(self, stderr: str) -> ServerFailure | None:
        """Return why no engine or no Compose answers, ``None`` where that is not what ``stderr`` says."""
        where = f" ({self.place})" if self.place else ""
        version = (self.shell_line("version"),)
        for pattern, kind, what, fix in _ENGINE_FAULTS:
            if pattern.search(stderr):
                if kind == "compose_missing":
                    return compose_missing(self.shell_line("compose", "version"))
                return ServerFailure(
                    kind=kind,
                    what=what.format(where=where),
                    fix=fix,
                    log=tuple(redact(stderr).splitlines()[-5:]),
                    commands=version,
                )
        return None


_ENGINE_FAULTS: tuple[tuple[re.Pattern[str], FailureKind, str, str], ...] = (
    (
        re.compile(
            r"'compose' is not a docker command|unknown command: docker compose|unknown shorthand flag: 'f' in -f",
            re.I,
        ),
        "compose_missing",
        "",
        "",
    ),
    (
        re.compile(r"context \S+ (?:does not exist|not found)|context not found|no context exists", re.I),
        "daemon_down",
        "Docker has no such context{where}.",
        "Choose another one (docker context ls shows them), or empty the setting DOCKER_CONTEXT.",
    ),
    (
        re.compile(r"permission denied.*(?:docker daemon|docker API|\.sock)", re.I | re.DOTALL),
        "daemon_down",
        "This user may not talk to the Docker engine{where}.",
        "Add yourself to its group (sudo usermod -aG docker $USER), then log in again.",
    ),
    (
        re.compile(
            r"ssh: |command \[ssh|Host key verification failed|Permission denied \(publickey|kex_exchange",
            re.I,
        ),
        "daemon_down",
        "The machine of this Docker context{where} is not reachable over SSH.",
        "See whether ssh reaches it without asking for a password; it is tried again by itself.",
    ),
    (
        re.compile(
            r"cannot connect to the docker daemon|failed to connect to the docker API|error during connect"
            r"|is the docker daemon running|dial (?:unix|tcp) \S+: connect|EOF\s*\Z",
            re.I,
        ),
        "daemon_down",
        "The Docker engine{where} does not answer.",
        "Start it (sudo systemctl start docker, or open Docker Desktop); it is found by itself.",
    ),
)


def compose_missing(shell_line: str) -> ServerFailure:
    """Return the failure where ``docker compose`` is not there; with only Compose v1 it says so."""
    old = program("docker-compose") is not None
    return ServerFailure(
        kind="compose_missing",
        what="Only the old docker-compose (v1) is here; docker compose (v2) is needed."
        if old
        else "docker compose (v2) is not installed.",
        fix=INSTALL_COMPOSE,
        commands=(shell_line,),
    )


def last_words(stderr: str) -> str:
    """Return the last line that says something, without secrets and without the engine's usual prefix."""
    lines = [line.strip() for line in redact(stderr).splitlines() if line.strip()]
    words = lines[-1] if lines else "it said nothing"
    return words.removeprefix("Error response from daemon: ").rstrip(".")


async def _read(stream: asyncio.StreamReader) -> str:
    kept: list[bytes] = []
    size_bytes = 0
    while chunk := await stream.read(_CHUNK_BYTES):
        if size_bytes < _MOST_BYTES:
            kept.append(chunk)
            size_bytes += len(chunk)
    return b"".join(kept).decode("utf-8", errors="replace")


async def _end(process: Process) -> None:
    """End the command and its group, first kindly; nobody waits for it longer than some seconds."""
    if process.returncode is not None:
        return
    exit_ = asyncio.ensure_future(process.wait())
    try:
        _signal(process, signal.SIGTERM)
        await asyncio.wait({exit_}, timeout=LEAVE_WITHIN_S)
    finally:
        if not exit_.done():
            _signal(process, getattr(signal, "SIGKILL", signal.SIGTERM))
            await asyncio.wait({exit_}, timeout=LEAVE_WITHIN_S)
        transport = getattr(process, "_transport", None)
        if transport is not None:
            transport.close()


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, number)
