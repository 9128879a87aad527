"""The vLLM container's settings, its pre-flight checks and the Docker contexts, for the panel and the CLI."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from core.errors import InvalidRequest, Unavailable
from core.local.compose_project import ComposeProject, is_remote_endpoint
from core.local.docker_cli import DockerError
from core.local.preflight import PreflightReport
from core.local.server import ServerState
from core.local.vllm_settings import (
    DockerContext,
    VllmPlan,
    VllmSettings,
    changed_command,
    faults_of,
    override_path,
    settings_of,
    with_tag,
)

if TYPE_CHECKING:
    from core.local.gpu_sample import MachineSample
    from core.local.vllm_base import PlainProject
    from core.local.vllm_override import BaseService
    from core.settings import SettingsStore

RUNNING = ("starting", "ready", "stopping")
_PODMAN_SOCKETS = (("XDG_RUNTIME_DIR", "podman/podman.sock"), ("", "/run/podman/podman.sock"))


class VllmService:
    """``token`` reads the Hugging Face token, ``state`` is the local server's, ``sample`` the watch's last."""

    def __init__(
        self,
        settings: SettingsStore,
        *,
        token: Callable[[], Awaitable[str | None]],
        state: Callable[[], ServerState],
        sample: Callable[[], MachineSample | None] = lambda: None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._token, self._state = settings, token, state
        self._sample, self._on_change = sample, on_change
        self._writing = asyncio.Lock()

    async def settings(self) -> VllmSettings:
        """Return what the form shows: what the user set, without the compose file's own."""
        from core.local.vllm_override import read_override

        return (await asyncio.to_thread(read_override, self._home)).settings

    async def plan(self, wanted: VllmSettings) -> VllmPlan:
        """Say what applying ``wanted`` would do, without doing it.

        Raises:
            InvalidRequest: the compose file can't be read.
        """
        plan, _ = await self._planned(wanted)
        return plan

    async def apply(self, wanted: VllmSettings) -> VllmPlan:
        """Write the override file; returns the plan that was carried out.

        Raises:
            InvalidRequest: a field can't be applied, or the compose file can't be read; nothing was written.
            Unavailable: the file can't be written.
        """
        from core.local.vllm_override import write_override

        async with self._writing:
            plan, text = await self._planned(wanted)
            if plan.faults:
                fault = plan.faults[0]
                raise InvalidRequest(f"{fault.name}: {fault.message}", hint="Nothing was written.")
            if not plan.diff:
                return plan
            try:
                aside = await asyncio.to_thread(write_override, self._home, text)
            except OSError as error:
                raise Unavailable(
                    f"{override_path(self._home)} can't be written: {error.strerror or error}.",
                    hint="What was in force before still is, unless it was set aside beside it.",
                ) from error
        self._on_change()
        if aside is not None:
            kept = f"What was there is kept in {aside}."
            plan = replace(plan, notes=(*plan.notes, kept), set_aside=str(aside))
        return plan

    async def preflight(self, wanted: VllmSettings | None = None) -> PreflightReport:
        """Look at everything that a start needs; ``wanted`` instead of what is set."""
        from core.local.preflight_facts import Asked
        from core.local.preflight_run import examine

        current = self._settings.current
        asked = Asked(
            project=self._plain_project(),
            wanted=await self.settings() if wanted is None else wanted,
            token=self._token,
            sample=self._sample,
            concurrency=current.local_max_concurrent or 1,
        )
        return await examine(asked)

    async def contexts(self) -> tuple[DockerContext, ...]:
        """Return the Docker contexts of this user, and Podman's socket where there is one.

        A Podman's name is its socket's address. The one that is chosen is among them though it may be gone.

        Raises:
            Unavailable: Docker can't be asked, and there is no Podman either.
        """
        chosen = self._settings.current.docker_context
        found: list[DockerContext] = []
        trouble: DockerError | None = None
        try:
            listed = await ComposeProject(self._home).cli.output("context", "ls", "--format", "{{json .}}")
            found = _read_contexts(listed)
        except DockerError as error:
            trouble = error
        endpoints = {context.endpoint for context in found}
        for socket in await asyncio.to_thread(_podman_sockets):
            if socket not in endpoints:
                found.append(DockerContext(name=socket, endpoint=socket, words="Podman"))
        if not found and trouble is not None:
            raise Unavailable(trouble.failure.what, hint=trouble.failure.fix) from trouble
        if chosen and all(context.name != chosen for context in found):
            endpoint = chosen if "://" in chosen else ""
            words = words_of(endpoint) if endpoint else "not there any more"
            found.append(DockerContext(name=chosen, endpoint=endpoint, words=words))
        return tuple(
            replace(context, chosen=context.name == chosen if chosen else context.current)
            for context in found
        )

    async def choose_context(self, name: str) -> None:
        """Use another context from the next start on; an empty ``name`` is the one that docker itself takes.

        Raises:
            InvalidRequest: there is none of that name, or a container of ours runs where we are now.
            SettingsFileError: it can't be kept.
        """
        from core.settings import ORIGIN_TEXT

        origin = self._settings.origin("docker_context")
        if origin not in ("default", "panel"):
            raise InvalidRequest(
                f"DOCKER_CONTEXT is set in {ORIGIN_TEXT[origin]}, and that wins.",
                hint="Change it there. Nothing was changed.",
            )
        state = self._state()
        if state.kind == "compose" and state.phase in RUNNING:
            raise InvalidRequest(
                f"The container runs in {state.docker_context or 'the context in use'}.",
                hint="Stop it first, then choose another context: it would go on there, and nobody would see it.",
            )
        if name and all(context.name != name for context in await self.contexts()):
            raise InvalidRequest(
                f"There is no Docker context called {name}.", hint="docker context ls shows those there are."
            )
        await asyncio.to_thread(self._settings.set, "docker_context", name or None)

    async def commands(self) -> tuple[str, ...]:
        """Return the shell lines that start it as Signalbox does, without secrets."""
        return (self._project().shell_line("up", "--detach"),)

    # -- how it is made -------------------------------------------------------------------------------------

    @property
    def _home(self) -> Path:
        return self._settings.current.home

    def _project(self) -> ComposeProject:
        current = self._settings.current
        return ComposeProject(
            self._home, current.vllm_compose_file, place=current.docker_context, model=current.vllm_model
        )

    def _plain_project(self) -> PlainProject:
        from core.local.vllm_base import PlainProject

        current = self._settings.current
        return PlainProject(
            self._home, current.vllm_compose_file, place=current.docker_context, model=current.vllm_model
        )

    async def _planned(self, wanted: VllmSettings) -> tuple[VllmPlan, str]:
        """Return the plan, and the text that the override file would have."""
        from core.local.vllm_base import read_base
        from core.local.vllm_override import difference, new_override, read_override

        try:
            base, _ = await read_base(self._plain_project())
        except DockerError as error:
            raise InvalidRequest(
                error.failure.what, hint=f"{error.failure.fix} Nothing was changed.".strip()
            ) from error
        kept = await asyncio.to_thread(read_override, self._home)
        faults = faults_of(wanted)
        if faults:
            return VllmPlan(faults=faults, diff="", effective=base.settings, restart_needed=False), kept.text
        text = new_override(base, wanted)
        path = override_path(self._home)
        notes: list[str] = []
        if kept.state == "edited":
            notes.append(f"{path} was changed by hand. Applying this keeps that version beside it.")
        elif kept.state == "broken":
            notes.append(f"{path} can't be read. Applying this sets it aside.")
        effective = settings_of(changed_command(base.command, wanted), _image(base, wanted))
        notes += self._doubts(effective)
        state = self._state()
        runs = state.kind == "compose" and state.phase in ("starting", "ready")
        was = base.settings if kept.state in ("none", "broken") else kept.settings
        changes = kept.state in ("edited", "broken") or _started(base, was) != _started(base, wanted)
        return VllmPlan(
            faults=(),
            diff=difference(kept.text, text, path),
            effective=effective,
            restart_needed=runs and (changes or bool(state.restart_needed)),
            notes=tuple(notes),
        ), text

    def _doubts(self, effective: VllmSettings) -> list[str]:
        asked_for = self._settings.current.vllm_model
        served = effective.served_model_name or effective.model
        if asked_for is None or served is None or asked_for == served:
            return []
        from core.settings import ORIGIN_TEXT

        origin = self._settings.origin("vllm_model")
        if origin in ("default", "panel"):
            how = "Set the model in Preferences, Providers to that name, or empty it there."
        else:
            how = f"It is set in {ORIGIN_TEXT[origin]}: change it there, or unset it."
        return [f"Signalbox asks for {asked_for} (VLLM_MODEL), and the container would serve {served}. {how}"]


def _image(base: BaseService, wanted: VllmSettings) -> str:
    return with_tag(base.image, wanted.image_tag) if wanted.image_tag else base.image


def _started(base: BaseService, settings: VllmSettings) -> tuple[object, ...]:
    """Return all that a container is made of which the form can change."""
    return (
        changed_command(base.command, settings),
        _image(base, settings),
        settings.tensor_parallel_size,
    )


# -- contexts ---------------------------------------------------------------------------------------------------


def words_of(endpoint: str) -> str:
    """Return what an engine's address is, for a person: ``local engine``, ``over SSH to gpu.example``."""
    parts = urlsplit(endpoint)
    if "podman" in endpoint:
        return "Podman" if not is_remote_endpoint(endpoint) else f"Podman on {parts.hostname}"
    if not is_remote_endpoint(endpoint):
        return "local engine"
    if parts.scheme == "ssh":
        return f"over SSH to {parts.hostname}"
    return f"over the network at {parts.hostname}" if parts.hostname else "another machine"


def _read_contexts(listed: str) -> list[DockerContext]:
    """Read one JSON object a line, or (older versions) one list."""
    rows: list[Any] = []
    for line in listed.splitlines():
        try:
            found: Any = json.loads(line)
        except ValueError:
            continue
        rows += cast("list[Any]", found) if isinstance(found, list) else [found]
    contexts: list[DockerContext] = []
    for row in rows:
        table = cast("dict[str, Any]", row) if isinstance(row, dict) else {}
        name, endpoint = table.get("Name"), table.get("DockerEndpoint")
        if isinstance(name, str) and name:
            address = endpoint if isinstance(endpoint, str) else ""
            contexts.append(
                DockerContext(
                    name=name,
                    endpoint=address,
                    words=words_of(address),
                    current=table.get("Current") in (True, "true", "*"),
                )
            )
    return contexts


def _podman_sockets() -> list[str]:
    """Return the addresses of Podman's sockets that this user may use."""
    found: list[str] = []
    for variable, name in _PODMAN_SOCKETS:
        folder = os.environ.get(variable, "") if variable else "/"
        path = Path(folder, name)
        try:
            if folder and path.is_socket() and os.access(path, os.W_OK):
                found.append(f"unix://{path}")
        except OSError:
            continue
    return found
