"""Looks at the vLLM container, whoever starts and stops it: by the engine's events, and by polling."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from core.local.compose_project import ComposeProject, ServiceConfig, is_remote_endpoint
from core.local.container import (
    Container,
    Ending,
    asks_to_leave,
    ending,
    read_container,
    read_event,
    read_time,
)
from core.local.container_log import ContainerLog
from core.local.docker_cli import DockerError
from core.local.server import ServerFailure

log = logging.getLogger(__name__)

POLL_S = 10.0
RETRY_S = 2.0
"""How often is looked while no events come: the engine is away, or does not tell."""
_TOLD_WITHIN_S = 0.2
_ACTIONS = (
    "create", "start", "restart", "kill", "die", "died", "stop", "oom", "pause", "unpause", "destroy", "remove",
    "rename",
    "health_status",
)  # fmt: skip


class ContainerWatch:
    """What was seen last: ``fault`` (why nothing can be seen), ``config``, ``container`` and who ended it.

    ``file_fault`` is why the compose file can't be used now, where it could before. ``place`` is the engine's name.
    ``is_leaving`` says that somebody asked the running container to leave. ``on_change`` is called after each look.
    All methods belong to one event loop.
    """

    def __init__(
        self,
        project: ComposeProject,
        on_change: Callable[[], None],
        on_lines: Callable[[Sequence[str]], None],
    ) -> None:
        self.project = project
        self.fault: ServerFailure | None = None
        self.config: ServiceConfig | None = None
        self.container: Container | None = None
        self.ending: Ending = ""
        self.is_leaving = False
        self.is_remote = False
        self.place = ""
        self.file_fault: ServerFailure | None = None
        self.looked = asyncio.Event()
        self.log = ContainerLog(project.cli, on_lines)
        self._on_change = on_change
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._events: asyncio.Task[None] | None = None
        self._stamp: object = None
        self._place_known = False
        self._leaving_run: tuple[str, str] | None = None
        self._ended_run: tuple[str, str] | None = None

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                self._wake.clear()
                await self.look()
                if self.fault is None and (self._events is None or self._events.done()):
                    self._events = asyncio.create_task(self._follow_events(), name="docker events")
                told = self._events is not None and not self._events.done()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S if told else RETRY_S):
                        await self._wake.wait()
        finally:
            events, self._events = self._events, None
            if events is not None:
                events.cancel()
                await asyncio.wait({events})
            await self.log.close()

    async def look(self) -> None:
        """Look once, now; what is seen is there when this returns."""
        async with self._lock:
            try:
                await self._see()
                self.fault = None
            except DockerError as error:
                self.fault = error.failure
            except Exception as error:
                # One look that fails, whatever with, must not end the looking.
                log.exception("looking at the container failed")
                self.fault = ServerFailure(
                    kind="exited",
                    what=f"Signalbox failed to look at the container ({type(error).__name__}).",
                    fix="It looks again by itself; its own log has the whole error.",
                )
        self.looked.set()
        self._on_change()

    async def fresh_config(self) -> ServiceConfig:
        """Return what the files say now.

        Raises:
            DockerError: Compose is not there, or can't read them.
        """
        self._stamp = None
        async with self._lock:
            return await self._read_config()

    async def _see(self) -> None:
        if not self._place_known:
            endpoint = await self.project.endpoint()
            self.is_remote, self.place = is_remote_endpoint(endpoint.address), endpoint.name
            self._place_known = True
        try:
            config = await self._read_config()
            self.file_fault = None
        except DockerError as error:
            if error.failure.kind != "compose_file" or self.config is None:
                raise
            config = self.config  # an edited file hides no container that runs
            self.file_fault = error.failure
        container = await self._find(config)
        if container is not None and not container.is_running and container.was_started:
            if self._ended_run != container.run:
                await self._wait_for_log(container)
                self.ending = await self._who_ended(container)
                self._ended_run = container.run
        else:
            self.ending = ""
            self.log.follow(container)
        self.container = container
        self.is_leaving = (
            container is not None and container.is_running and self._leaving_run == container.run
        )

    async def _wait_for_log(self, container: Container) -> None:
        self.log.follow(container)
        await self.log.drained()

    async def _read_config(self) -> ServiceConfig:
        stamp = _stamp((*self.project.files, self.project.file.parent / ".env", self.project.home / ".env"))
        if stamp != self._stamp or self.config is None:
            self.config = await self.project.config()
            self._stamp = stamp
        return self.config

    async def _find(self, config: ServiceConfig) -> Container | None:
        if self.container is not None and (known := await self._inspect(self.container.id)) is not None:
            return known
        listed = await self.project.cli.output(
            "ps", "--all", "--no-trunc", *_labels(config), "--format", "{{.ID}}"
        )
        found = [each for id_ in listed.split()[:3] if (each := await self._inspect(id_)) is not None]
        return next((each for each in found if each.is_running), next(iter(found), None))

    async def _inspect(self, container_id: str) -> Container | None:
        done = await self.project.cli.run("inspect", "--type", "container", container_id)
        if done.returncode != 0:
            return None  # it is gone
        try:
            return read_container(done.stdout)
        except ValueError as error:
            log.warning("%s: %r", error, done.stdout[:200])
            return None

    async def _who_ended(self, container: Container) -> Ending:
        """Ask the engine, which remembers its last events, so also of what happened before we were here.

        That the end was asked for is told a moment after it.
        """
        until = read_time(container.finished_at) + timedelta(seconds=_TOLD_WITHIN_S)
        times = ["--since", container.started_at, "--until", f"{until:%Y-%m-%dT%H:%M:%S.%fZ}"]
        words = ["events", *times, *_events(container)]
        with contextlib.suppress(DockerError):
            told = await self.project.cli.output(*words)
            return ending([event for line in told.splitlines() if (event := read_event(line))], container)
        return ""

    async def _follow_events(self) -> None:
        config = self.config
        if config is None:
            return
        words = ["events", *_labels(config), *(f"--filter=event={each}" for each in _ACTIONS)]
        try:
            async with self.project.cli.started(*words, "--format", "{{json .}}") as process:
                self._wake.set()  # what happened before they are told of is seen by a look
                assert process.stdout is not None
                async for line in process.stdout:
                    event = read_event(line.decode("utf-8", errors="replace"))
                    if event is None:
                        continue
                    container = self.container
                    if container is not None and event.container == container.id and asks_to_leave(event):
                        self._leaving_run = container.run
                    self._wake.set()
        except DockerError as error:
            log.info("docker events: %s", error)
        except ValueError as error:  # a line longer than any event
            log.warning("docker events: %s", error)
        finally:
            self._wake.set()


def _labels(config: ServiceConfig) -> list[str]:
    return [
        "--filter",
        f"label=com.docker.compose.project={config.project}",
        "--filter",
        f"label=com.docker.compose.service={config.service}",
        "--filter",
        "label=com.docker.compose.oneoff=False",
    ]


def _events(container: Container) -> list[str]:
    return ["--filter", "type=container", "--filter", f"container={container.id}", "--format", "{{json .}}"]


def _stamp(files: Sequence[Path]) -> object:
    found: list[tuple[str, int, int] | None] = []
    for file in files:
        try:
            status = os.stat(file)
        except OSError:
            found.append(None)
        else:
            found.append((str(file), status.st_mtime_ns, status.st_size))
    return tuple(found)
