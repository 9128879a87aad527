"""The vLLM container as Docker describes it, and what differs from what would be started now."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from core.local.compose_project import SECRET_NAMES, Port, ServiceConfig, items, table

Ending = Literal["asked", "killed", "itself", ""]
"""Who ended a container: somebody who asked it to leave, who killed it, it itself, or nobody knows."""

_FRACTION = re.compile(r"\.(\d+)")
_ASKED = frozenset({"1", "2", "3", "15", "SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"})
_NEVER = datetime(1, 1, 1, tzinfo=UTC)

FIELD_WORDS = {
    "--model": "model",
    "--served-model-name": "served name",
    "--max-model-len": "longest request",
    "--gpu-memory-utilization": "GPU memory share",
    "--tensor-parallel-size": "tensor parallel size",
    "--tool-call-parser": "tool parser",
    "--quantization": "quantisation",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What ``docker inspect`` says. ``environment`` may hold secrets; times are the engine's own.

    ``health`` is what the engine's own check in the container found, empty where there is none.
    """

    id: str
    name: str
    status: str
    image: str = ""
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    health: str = ""
    started_at: str = ""
    finished_at: str = ""
    command: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    network_mode: str = ""
    environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    @property
    def is_running(self) -> bool:
        return self.status == "running"

    @property
    def was_started(self) -> bool:
        return read_time(self.started_at) > _NEVER

    @property
    def run(self) -> tuple[str, str]:
        """Names this run of it: the same container started again is another."""
        return (self.id, self.started_at)


def read_time(text: str) -> datetime:
    """Read Docker's times, of nanoseconds; what is none was never."""
    try:
        return datetime.fromisoformat(_FRACTION.sub(lambda found: f".{found[1][:6]:0<6}", text)).astimezone(
            UTC
        )
    except (ValueError, OverflowError):
        return _NEVER


def read_container(inspected: str) -> Container:
    """Read what ``docker inspect`` wrote.

    Raises:
        ValueError: it is no such answer.
    """
    try:
        described: dict[str, Any] = json.loads(inspected)[0]
        state, config = described["State"], described["Config"]
        host = table(described.get("HostConfig"))
        return Container(
            id=str(described["Id"]),
            name=str(described["Name"]).removeprefix("/"),
            status=str(state["Status"]).lower(),
            image=str(config.get("Image") or ""),
            exit_code=int(state.get("ExitCode") or 0),
            oom_killed=bool(state.get("OOMKilled")),
            error=str(state.get("Error") or ""),
            health=str(table(state.get("Health")).get("Status") or ""),
            started_at=str(state.get("StartedAt") or ""),
            finished_at=str(state.get("FinishedAt") or ""),
            command=tuple(str(word) for word in items(config.get("Cmd"))),
            ports=tuple(
                Port(
                    host_ip=str(binding.get("HostIp") or ""),
                    published=int(binding["HostPort"]),
                    target=int(target.partition("/")[0]),
                )
                for target, bindings in table(host.get("PortBindings")).items()
                for binding in map(table, items(bindings))
                if binding.get("HostPort")
            ),
            network_mode=str(host.get("NetworkMode") or ""),
            environment={
                name: value
                for name, separator, value in (str(each).partition("=") for each in items(config.get("Env")))
                if separator
            },
        )
    except (KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("docker inspect gave no container") from error


def differences(config: ServiceConfig, container: Container) -> tuple[str, ...]:
    """Name what a running container has otherwise than one started now would, in words for a person.

    A token for Hugging Face counts for nothing once the weights are loaded.
    """
    found: list[str] = []
    if config.image != container.image:
        found.append("image")
    running = ServiceConfig(project="", service="", image="", command=container.command)
    named: set[str] = set()
    for flag, word in FIELD_WORDS.items():
        if config.argument(flag) != running.argument(flag):
            found.append(word)
            named.add(flag)
    if _rest(config.command, named) != _rest(container.command, named):
        found.append("arguments")
    wanted, has = ({(port.published, port.target) for port in each.ports} for each in (config, container))
    if wanted != has and config.network_mode != "host":
        found.append("port")
    found += [
        name
        for name, value in sorted(config.environment.items())
        if name != SECRET_NAMES[0] and (container.environment.get(name) or "") != (value or "")
    ]
    return tuple(found)


def _rest(command: tuple[str, ...], left_out: set[str]) -> list[str]:
    rest: list[str] = []
    skip = False
    for word in command:
        if skip:
            skip = False
        elif word in left_out:
            skip = True
        elif word.partition("=")[0] not in left_out:
            rest.append(word)
    return rest


@dataclass(frozen=True, slots=True)
class Event:
    """One line of ``docker events``."""

    action: str
    container: str
    signal: str = ""
    at_ns: int = 0


def read_event(line: str) -> Event | None:
    """Read a line of ``docker events --format '{{json .}}'``, ``None`` where it is none."""
    try:
        event: dict[str, Any] = json.loads(line)
        actor = table(event.get("Actor"))
        attributes = table(actor.get("Attributes"))
        return Event(
            str(event.get("Action") or event.get("status") or event.get("Status") or ""),
            str(actor.get("ID") or event.get("id") or event.get("ID") or ""),
            str(attributes.get("signal") or ""),
            int(event.get("timeNano") or 0),
        )
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def asks_to_leave(event: Event) -> bool:
    """Whether ``event`` tells the container to leave, as ``docker stop`` does first."""
    return event.action == "kill" and event.signal in _ASKED


def ending(events: list[Event], container: Container) -> Ending:
    """Return who ended this run of ``container``, by the engine's ``events``."""
    since_ns = int(read_time(container.started_at).timestamp() * 1e9) if container.was_started else 0
    own = [event for event in events if event.container == container.id and event.at_ns >= since_ns]
    if any(event.action == "stop" or asks_to_leave(event) for event in own):
        return "asked"
    if any(event.action == "kill" for event in own):
        return "killed"
    return "itself" if any(event.action in ("die", "died") for event in own) else ""
