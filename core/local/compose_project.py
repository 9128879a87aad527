"""The Compose project of the vLLM container: its files, how ``docker compose`` is called, and what that says."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from core.base.child_process import PACKAGE_ROOT
from core.base.files import read_regular_file
from core.base.redaction import remember_secret
from core.local.docker_cli import DockerCli, DockerError, last_words
from core.local.host_weights import MODEL_CACHE, cache_with, is_engine_here, is_set_in
from core.local.server import ServerFailure

COMPOSE_FILE = "docker-compose.yml"
READ_CONFIG = ("--profile", "*", "config", "--format", "json")
"""Asks for all services: one that only a profile enables is enabled by a start, which names it."""
OVERRIDE_FILE = Path("vllm", "compose.override.yml")
"""Below the home folder: what the form sets, over the compose file, which is never written."""
SECRET_NAMES = ("HF_TOKEN", "VLLM_API_KEY")
_MOST_BYTES = 1_000_000
_NAME = re.compile(r"[A-Za-z_]\w*")
_DEFAULT_MODEL = re.compile(r"\$\{VLLM_MODEL:-([^}\s]+)\}")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|m(?!s)|s|ms)")
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_CONTAINER_PORT = 8000
_ENDPOINT_FORMAT = "{{.Name}} {{.Endpoints.docker.Host}}"


def packaged_compose_file() -> Path:
    """Return the project's own compose file: of the installed package, or of the checkout that runs."""
    installed = PACKAGE_ROOT / "resources" / COMPOSE_FILE
    return installed if installed.exists() else PACKAGE_ROOT / COMPOSE_FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A published port: ``host_ip`` is empty where all addresses are meant."""

    host_ip: str
    published: int
    target: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """The service as Compose reads it from all files, with the environment's values in their places.

    ``environment`` may hold secrets. ``start_period_s`` is what the file grants a start, 0 where it says nothing.
    """

    project: str
    service: str
    image: str
    command: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    network_mode: str = ""
    start_period_s: float = 0.0
    pull_policy: str = ""
    is_built: bool = False
    wants_gpu: bool = False
    volumes: tuple[str, ...] = ()
    environment: Mapping[str, str | None] = field(default_factory=dict[str, "str | None"], repr=False)

    def argument(self, flag: str) -> str | None:
        """Return what follows ``flag`` in the command, ``None`` where it is not there."""
        for index, word in enumerate(self.command):
            if word == flag:
                return self.command[index + 1] if index + 1 < len(self.command) else None
            if word.startswith(f"{flag}="):
                return word.partition("=")[2]
        return None

    @property
    def model(self) -> str | None:
        """The name it will be served by."""
        return self.argument("--served-model-name") or self.argument("--model")

    @property
    def port(self) -> Port | None:
        """Where vLLM answers on the machine that runs it; ``None`` where no port is published."""
        try:
            inside = int(self.argument("--port") or _CONTAINER_PORT)
        except ValueError:
            inside = _CONTAINER_PORT
        if self.network_mode == "host":
            return Port(host_ip="127.0.0.1", published=inside, target=inside)
        matching = [port for port in self.ports if port.target == inside]
        return next(iter(matching or self.ports), None)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An engine: the context's ``name`` (or its address, where it has none) and its ``address``."""

    name: str
    address: str


class ComposeProject:
    """``file`` of ``None`` is the packaged one; ``home`` holds the override, used only where it exists.

    ``model`` is what Signalbox is set to ask for, for the file's ``VLLM_MODEL``. ``secrets`` are asked at each
    call, and go into the child's environment alone. Of our own environment Compose gets what the files mention.
    """

    def __init__(
        self,
        home: Path,
        file: Path | None = None,
        *,
        place: str | None = None,
        model: str | None = None,
        secrets: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self.home = home
        self.file = file or packaged_compose_file()
        self._is_packaged = file is None
        self._model = model
        self._secrets = secrets
        self.cli = DockerCli(place, self._environment)

    @property
    def override(self) -> Path:
        return self.home / OVERRIDE_FILE

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.file, self.override) if self.override.exists() else (self.file,)

    def arguments(self, *verb: str, override: Path | None = None) -> list[str]:
        """Return the arguments of ``docker`` for ``verb``; ``override`` is used instead of the one that is kept."""
        files = self.files if override is None else (self.file, override)
        folder: list[str] = []
        if self._is_installed:
            # Nobody keeps a .env beside an installed package's files; the home folder's is the user's own.
            folder = ["--project-directory", str(self.home)]
        return ["compose", *folder, *(word for file in files for word in ("-f", str(file))), *verb]

    def shell_line(self, *verb: str) -> str:
        """Return a call as a line that does the same in a shell, without secrets."""
        arguments = self.arguments(*verb)
        if "--progress" in arguments:
            at = arguments.index("--progress")
            del arguments[at : at + 2]
        model = self._model
        shown = {"VLLM_MODEL": model} if model and model != os.environ.get("VLLM_MODEL") else {}
        mounted = self._host_cache(self._mentioned())
        if mounted is not None:
            shown[MODEL_CACHE] = str(mounted)
        return self.cli.shell_line(*arguments, environment=shown)

    def _mentioned(self) -> set[str]:
        mentioned: set[str] = set()
        for file in self.files:
            try:
                text = read_regular_file(file, _MOST_BYTES).decode("utf-8", errors="replace")
            except OSError:
                continue  # Compose says what is wrong with it
            mentioned.update(_NAME.findall(text))
        return mentioned

    def _host_cache(self, mentioned: set[str]) -> Path | None:
        """Return this machine's cache for the container, where the model's weights were downloaded into it.

        Whoever names a folder or a volume in ``VLLM_MODEL_CACHE`` has that one.
        """
        if MODEL_CACHE not in mentioned or MODEL_CACHE in os.environ:
            return None
        model = self._wanted_model()
        if (
            model is None
            or is_set_in(self._folder / ".env", MODEL_CACHE)
            or not is_engine_here(self.cli.place)
        ):
            return None
        return cache_with(model)

    def _wanted_model(self) -> str | None:
        from core.local.vllm_override import read_override

        return (
            read_override(self.home).settings.model
            or self._model
            or os.environ.get("VLLM_MODEL")
            or self._model_of_file()
        )

    def _model_of_file(self) -> str | None:
        if is_set_in(self._folder / ".env", "VLLM_MODEL"):
            return None  # Compose knows it
        try:
            text = read_regular_file(self.file, _MOST_BYTES).decode("utf-8", errors="replace")
        except OSError:
            return None
        found = _DEFAULT_MODEL.search(text)
        return None if found is None else found[1]

    @property
    def _folder(self) -> Path:
        """The project's folder, whose ``.env`` Compose reads."""
        return self.home if self._is_installed else self.file.parent

    @property
    def _is_installed(self) -> bool:
        return self._is_packaged and self.file.parent != PACKAGE_ROOT

    def _environment(self) -> dict[str, str]:
        mentioned = self._mentioned()
        environment = {name: os.environ[name] for name in mentioned if name in os.environ}
        if self._model:
            environment["VLLM_MODEL"] = self._model
        mounted = self._host_cache(mentioned)
        if mounted is not None:
            environment[MODEL_CACHE] = str(mounted)
        environment.update(self._secrets())
        for name in SECRET_NAMES:
            if environment.get(name):
                remember_secret(environment[name])
        return environment

    async def config(self, *, override: Path | None = None) -> ServiceConfig:
        """Return what the files say now.

        Raises:
            DockerError: there is no Compose, or it can't read them.
        """
        done = await self.cli.run(*self.arguments(*READ_CONFIG, override=override))
        if done.returncode != 0:
            raise DockerError(self._file_failure(last_words(done.stderr)))
        try:
            return read_config(json.loads(done.stdout))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DockerError(
                self._file_failure(str(error) if isinstance(error, ValueError) else "it is not understood")
            ) from error

    def _file_failure(self, words: str) -> ServerFailure:
        named = " and ".join(str(file) for file in self.files)
        return ServerFailure(
            kind="compose_file",
            what=f"Compose can't use {named}: {words}.",
            fix="Correct the file; it is read again by itself.",
            commands=(self.shell_line("config", "--quiet"),),
        )

    async def endpoint(self) -> Endpoint:
        """Return where the engine is.

        Raises:
            DockerError: there is no docker command, or no such context.
        """
        place = self.cli.place
        if place is not None and "://" in place:
            return Endpoint(place, place)
        if place is None and (named := os.environ.get("DOCKER_HOST")):
            return Endpoint(named, named)
        words = ["context", "inspect", *([place] if place else []), "--format", _ENDPOINT_FORMAT]
        name, _, address = (await self.cli.output(*words)).strip().partition(" ")
        return Endpoint(name, address)


def is_remote_endpoint(endpoint: str) -> bool:
    """Whether an engine's address is another machine's."""
    parts = urlsplit(endpoint)
    if parts.scheme in ("unix", "npipe", "fd", ""):
        return False
    return parts.hostname not in ("localhost", "127.0.0.1", "::1")


def read_config(config: dict[str, Any]) -> ServiceConfig:
    """Read what ``docker compose config --format json`` says.

    Raises:
        ValueError: no service in it is vLLM's.
        TypeError, KeyError, AttributeError: it is no such answer.
    """
    services = {name: table(service) for name, service in table(config.get("services")).items()}
    name = _vllm_service(services)
    if name is None:
        raise ValueError("no service in it is called vllm or runs an image of vLLM")
    service = services[name]
    reserved = table(table(table(service.get("deploy")).get("resources")).get("reservations"))
    return ServiceConfig(
        project=str(config["name"]),
        service=name,
        image=str(service.get("image") or f"{config['name']}-{name}"),
        command=tuple(str(word) for word in items(service.get("command"))),
        ports=tuple(
            Port(
                host_ip=str(port.get("host_ip") or ""),
                published=int(str(port["published"]).partition("-")[0]),
                target=int(port["target"]),
            )
            for port in map(table, items(service.get("ports")))
            if port.get("published") and port.get("protocol", "tcp") == "tcp"
        ),
        network_mode=str(service.get("network_mode") or ""),
        start_period_s=_seconds(str(table(service.get("healthcheck")).get("start_period") or "")),
        pull_policy=str(service.get("pull_policy") or ""),
        is_built=bool(service.get("build")),
        wants_gpu=bool(reserved.get("devices")) or bool(service.get("gpus")),
        volumes=tuple(
            str(volume.get("source") or "") for volume in map(table, items(service.get("volumes")))
        ),
        environment={
            key: None if value is None else str(value)
            for key, value in table(service.get("environment")).items()
        },
    )


def table(value: object) -> dict[str, Any]:
    """Return ``value`` where it is a table of JSON, else an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def items(value: object) -> list[object]:
    """Return ``value`` where it is a list of JSON, else an empty one."""
    return cast("list[object]", value) if isinstance(value, list) else []


def _vllm_service(services: Mapping[str, Mapping[str, Any]]) -> str | None:
    if "vllm" in services:
        return "vllm"
    by_image = [name for name, service in services.items() if "vllm" in str(service.get("image") or "")]
    if by_image:
        return by_image[0]
    return next(iter(services)) if len(services) == 1 else None


def _seconds(duration: str) -> float:
    """Read Compose's ``1h0m0s``."""
    return sum(float(number) * _UNIT_S[unit] for number, unit in _DURATION.findall(duration))
