"""The compose file's own vLLM service, without the form's override: by Compose, or by YAML where there is none."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from core.base.files import read_regular_file
from core.local.compose_project import READ_CONFIG, ComposeProject, ServiceConfig, read_config
from core.local.docker_cli import DockerError, last_words
from core.local.server import ServerFailure
from core.local.vllm_override import BaseService

_MOST_BYTES = 1_000_000
_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<named>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)(?:(?P<how>:?[-?+])(?P<word>[^}]*))?\})"
)


class PlainProject(ComposeProject):
    """The compose file alone, whatever the form has set."""

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.file,)

    def whole(self) -> ComposeProject:
        """Return the project that a start takes: with the form's override."""
        file = None if self._is_packaged else self.file
        return ComposeProject(self.home, file, place=self.cli.place, model=self._model)


async def read_base(project: PlainProject) -> tuple[BaseService, ServiceConfig]:
    """Return the service as the compose file says it, and all that Compose says of it.

    Raises:
        DockerError: nothing can read the file.
    """
    try:
        config = await _by_compose(project)
    except DockerError as error:
        if error.failure.kind not in ("docker_missing", "compose_missing"):
            raise
        config = _by_yaml(project)
    try:
        service = read_config(config)
        table: Mapping[str, Any] = config["services"][service.service]
        devices = _devices(table)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        said = str(error) if isinstance(error, ValueError) else "it is not understood"
        raise _unreadable(project.file, said) from error
    base = BaseService(
        name=service.service,
        image=service.image,
        command=tuple(word.replace("$$", "$") for word in service.command),
        gpu_devices=devices,
    )
    return base, service


async def _by_compose(project: PlainProject) -> dict[str, Any]:
    done = await project.cli.run(*project.arguments(*READ_CONFIG))
    if done.returncode != 0:
        raise _unreadable(project.file, last_words(done.stderr))
    try:
        return cast("dict[str, Any]", json.loads(done.stdout))
    except ValueError as error:
        raise _unreadable(project.file, "Compose's answer is no JSON") from error


def _by_yaml(project: PlainProject) -> dict[str, Any]:
    """Read what matters of the file as Compose would: variables, a command as text, ports in short."""
    import yaml  # only where there is no Compose

    try:
        text = read_regular_file(project.file, _MOST_BYTES).decode("utf-8")
        found: Any = yaml.safe_load(text)
        environment = {**_dotenv(project.file.parent / ".env"), **os.environ}
        filled: Any = _filled(found, environment)
        filled.setdefault("name", project.file.parent.name)
        for service in filled["services"].values():
            if isinstance(service.get("command"), str):
                service["command"] = shlex.split(service["command"])
            ports = cast("list[Any]", service.get("ports") or [])
            service["ports"] = [_port(port) for port in ports]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, LookupError, AttributeError) as error:
        words = getattr(error, "strerror", None) or "it is no compose file"
        raise _unreadable(project.file, words) from error
    return cast("dict[str, Any]", filled)


def _dotenv(path: Path) -> dict[str, str]:
    from dotenv import dotenv_values

    try:
        read_regular_file(path, _MOST_BYTES)
    except OSError:
        return {}
    return {
        name: value for name, value in dotenv_values(path, interpolate=False).items() if value is not None
    }


def _filled(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: _value_of(match, environment), value)
    if isinstance(value, list):
        return [_filled(each, environment) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {name: _filled(each, environment) for name, each in cast("dict[str, Any]", value).items()}
    return value


def _value_of(match: re.Match[str], environment: Mapping[str, str]) -> str:
    if match["escaped"]:
        return "$$"  # as Compose's own answer has it
    value = environment.get(match["named"] or match["braced"])
    how, word = match["how"] or "", match["word"] or ""
    is_set = value is not None and (value != "" or not how.startswith(":"))
    if how.endswith("+"):
        return word if is_set else ""
    return (value or "") if is_set or not how.endswith("-") else word


def _port(port: Any) -> Any:
    if not isinstance(port, str):
        return port
    address, _, protocol = port.partition("/")
    *before, target = address.rsplit(":", 2)
    return {
        "host_ip": before[0] if len(before) == 2 else "",
        "published": before[-1] if before else "",
        "target": target,
        "protocol": protocol or "tcp",
    }


def _devices(service: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    place: Any = service
    for name in ("deploy", "resources", "reservations", "devices"):
        place = cast("dict[str, Any]", place).get(name) if isinstance(place, dict) else None
    devices: list[Mapping[str, Any]] = []
    for device in cast("list[Any]", place) if isinstance(place, list) else []:
        if isinstance(device, dict):
            found = dict(cast("dict[str, Any]", device))
            count: Any = found.get("count")
            if isinstance(count, str) and count.isdigit():
                found["count"] = int(count)
            devices.append(found)
    return tuple(devices)


def _unreadable(file: Path, words: str) -> DockerError:
    return DockerError(
        ServerFailure(
            kind="compose_file",
            what=f"Compose can't use {file}: {words}.",
            fix="Correct the file, or empty VLLM_COMPOSE_FILE to take the one that comes with Signalbox.",
        )
    )
