"""Keeps the one local server that the settings ask for, and replaces it when they ask for another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import KeyHeldBack, SignalboxError
from core.local.compose import ComposeServer
from core.local.compose_project import ComposeProject
from core.local.crash_suspects import CrashSuspects
from core.local.embedded import EmbeddedServer, log_path
from core.local.external import ExternalServer
from core.local.server import LocalServer, ServerKind, ServerState
from core.local.server_log import FileLog, LogPage
from core.local.switching import loads_beside, not_loaded, with_next

if TYPE_CHECKING:
    from core.settings import Origin, SettingProblem, Settings, SettingsStore

_SERVER_SETTINGS: dict[ServerKind, tuple[str, ...]] = {
    "embedded": ("local_server", "local_model_path"),
    "compose": ("local_server", "vllm_base_url", "vllm_model", "vllm_compose_file", "docker_context"),
    "external": ("local_server", "vllm_base_url", "vllm_model"),
    "none": (),
}
"""What says which model answers. Where one of these can't be read, none does: never another one in silence."""


def chosen_kind(settings: Settings, vllm_origin: Origin) -> ServerKind:
    """Resolve ``auto``: a vLLM address that somebody set is used, otherwise the embedded server.

    ``vllm_origin`` is where it is named (``SettingsStore.named_at``), if only as a text that is no address.
    """
    if settings.local_server != "auto":
        return settings.local_server
    return "embedded" if vllm_origin == "default" else "external"


def unreadable_choice(store: SettingsStore) -> SettingProblem | None:
    """Return what can't be read of what says which model answers."""
    kind = chosen_kind(store.current, store.named_at("vllm_base_url"))
    return next(
        (problem for name in _SERVER_SETTINGS[kind] if (problem := store.unreadable(name)) is not None), None
    )


def choice_key(
    settings: Settings, vllm_origin: Origin, vllm_key: str | KeyHeldBack | None
) -> tuple[object, ...]:
    """Return what the choice depends on: two equal keys ask for the same server."""
    kind = chosen_kind(settings, vllm_origin)
    if kind == "embedded":
        return (
            kind,
            settings.local_model_path,
            settings.embedded_threads,
            settings.embedded_context_tokens,
            settings.embedded_gpu_layers,
        )
    if kind == "compose":
        place = (settings.vllm_compose_file, settings.docker_context)
        return (kind, settings.vllm_base_url, settings.vllm_model, _key_words(vllm_key), *place)
    return (kind, settings.vllm_base_url, settings.vllm_model, _key_words(vllm_key))


def _key_words(vllm_key: str | KeyHeldBack | None) -> str | None:
    return vllm_key.message if isinstance(vllm_key, KeyHeldBack) else vllm_key


def choose_server(
    settings: Settings,
    vllm_origin: Origin,
    vllm_key: str | KeyHeldBack | None,
    on_crash: Callable[[bool], object] = lambda is_stuck: None,
    secrets: Callable[[], Mapping[str, str]] = dict,
    embedded_log: FileLog | None = None,
) -> LocalServer | None:
    """Make the server that the settings ask for; ``None`` where they ask for none.

    One that the stored key may not go to is not asked at all, neither with the key nor without.

    ``secrets`` are what the container gets in its environment besides (``HF_TOKEN``), asked at each start.
    ``embedded_log`` reads the one log of the embedded servers that follow one another.
    """
    match chosen_kind(settings, vllm_origin):
        case "none":
            return None
        case "embedded":
            return EmbeddedServer(
                settings.home,
                settings.local_model_path,
                context_tokens=settings.embedded_context_tokens,
                threads=settings.embedded_threads,
                gpu_layers=settings.embedded_gpu_layers,
                on_crash=on_crash,
                log_file=embedded_log,
            )
        case "compose":
            project = ComposeProject(
                settings.home,
                settings.vllm_compose_file,
                place=settings.docker_context,
                model=settings.vllm_model,
                secrets=secrets,
            )
            return ComposeServer(settings.home, project, base_url=settings.vllm_base_url, api_key=vllm_key)
        case "external":
            return ExternalServer(settings.vllm_base_url, settings.vllm_model, vllm_key)


NONE = ServerState(phase="stopped", kind="none", detail="no local server is set up")


class LocalServerManager:
    """``on_change`` is called with each new state of the server in use, on the core's loop.

    From one model of the embedded server to another the first goes on until the second is ready, where there is
    memory for both: the second is then the *next* one, and ``on_progress`` is called as its loading goes on.
    ``suspects`` is what llama.cpp worked on when it died, whichever server ran it.
    """

    def __init__(
        self,
        on_change: Callable[[ServerState], None],
        secrets: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._on_change = on_change
        self._secrets = secrets
        self._server: LocalServer | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._choice: tuple[object, ...] | None = None
        self._unreadable: ServerState | None = None
        self._replaced: list[LocalServer] = []
        self.refused: SignalboxError | None = None
        """Why the model that is set was not taken, while the one before goes on."""
        self.suspects = CrashSuspects()
        self.on_progress: Callable[[], None] = lambda: None
        self._next: EmbeddedServer | None = None
        self._finishing: list[EmbeddedServer] = []
        self._switch_turn = asyncio.Lock()
        self._failed: SignalboxError | None = None
        self._embedded_log: tuple[Path, FileLog] | None = None

    def would_only_change_model(
        self, settings: Settings, vllm_origin: Origin, vllm_key: str | KeyHeldBack | None
    ) -> bool:
        """Whether ``settings`` ask the server that is at work for another model, and for nothing else."""
        if self._choice is None or self.state.phase not in ("ready", "starting"):
            return False
        wanted = (*choice_key(settings, vllm_origin, vllm_key), None)
        if wanted[0] == "compose":
            return False  # what runs goes on, and says that it has to be restarted for another model
        if len(wanted) != len(self._choice):
            return False
        place = 1 if wanted[0] == "embedded" else 2
        differs = [
            index for index, pair in enumerate(zip(wanted, self._choice, strict=True)) if pair[0] != pair[1]
        ]
        return differs == [place] and wanted[place] is not None

    @property
    def server(self) -> LocalServer | None:
        return self._server

    def key_for(self, vllm_key: str | None) -> str | None:
        """Return the key for the server in use: an embedded one's own, else ``vllm_key``. Never to be shown."""
        return self._server.api_key if isinstance(self._server, EmbeddedServer) else vllm_key

    @property
    def state(self) -> ServerState:
        if self._server is None:
            return self._unreadable or NONE
        return self._server.state if self._next is None else with_next(self._server.state, self._next.state)

    @property
    def following(self) -> EmbeddedServer | None:
        """The server that is loaded beside the one that answers, ``None`` where no switch is under way."""
        return self._next

    @property
    def awaits_switch(self) -> bool:
        """Whether ``follow`` chose a next server which ``switch`` has not begun to load."""
        return self._next is not None and self._next.state.phase == "stopped"

    def follow(
        self,
        settings: Settings,
        vllm_origin: Origin,
        vllm_key: str | KeyHeldBack | None,
        unreadable: SettingProblem | None = None,
    ) -> bool:
        """Take the server that ``settings`` ask for; returns whether it is another than before.

        The one before goes on until ``end_replaced``. Where what says which it is can't be read
        (``unreadable_choice``) there is none, and its state says why.
        """
        self.refused = self._failed
        choice = (*choice_key(settings, vllm_origin, vllm_key), unreadable)
        if choice == self._choice:
            return False
        self._choice = choice
        self.refused = self._failed = None
        self._abandon_next()
        server = (
            choose_server(
                settings,
                vllm_origin,
                vllm_key,
                self.suspects.crashed,
                self._secrets,
                self._log_of(settings.home),
            )
            if unreadable is None
            else None
        )
        if isinstance(server, EmbeddedServer) and loads_beside(
            self._server, server, settings.embedded_context_tokens
        ):
            self._next = server
            return False
        self._unsubscribe()
        if self._server is not None:
            self._replaced.append(self._server)
        self._unreadable = None
        if unreadable is None:
            self._server = server
        else:
            from core.settings import ORIGIN_TEXT

            self._server = None
            self._unreadable = ServerState(
                phase="failed",
                kind=chosen_kind(settings, vllm_origin),
                detail=f"{unreadable.subject} can't be read.",
                hint=f"Allowed is {unreadable.allowed}. Correct it in {ORIGIN_TEXT[unreadable.origin]}.",
            )
        self._unsubscribe = self._server.on_change(self._on_change) if self._server else lambda: None
        return True

    def _log_of(self, home: Path) -> FileLog:
        """Return the one reader of the embedded log: with one for each server a switch would repeat all lines."""
        path = log_path(home)
        if self._embedded_log is None or self._embedded_log[0] != path:
            self._embedded_log = (path, FileLog(path))
        return self._embedded_log[1]

    def _abandon_next(self) -> None:
        if self._next is not None:
            self._replaced.append(self._next)
            self._next = None

    async def switch(self) -> bool:
        """Load the next server and take it once it is ready; returns whether it is in use now.

        The one before is then to be ended by ``finish_replaced``. Where the next can't be loaded, the one before
        goes on, ``refused`` says why, and ``end_replaced`` ends what is left of the next.
        """
        async with self._switch_turn:
            server = self._next
            if server is None:
                return False
            unsubscribe = server.on_change(lambda state: self.on_progress())
            try:
                await server.start()
            finally:
                unsubscribe()
            return self._take_next(server)

    def _take_next(self, server: EmbeddedServer) -> bool:
        if self._next is not server:
            return False  # another one was chosen meanwhile, or it was stopped
        self._next = None
        if server.state.phase != "ready":
            self._failed = self.refused = not_loaded(server.state, self.state)
            self._replaced.append(server)
            return False
        self._unsubscribe()
        if isinstance(self._server, EmbeddedServer):
            self._finishing.append(self._server)
        self._server = server
        self._unsubscribe = server.on_change(self._on_change)
        self._on_change(server.state)
        return True

    def forget_failure(self) -> None:
        """Let ``follow`` try again what could not be loaded."""
        if self._failed is not None:
            self._failed = self._choice = None

    async def end_replaced(self) -> None:
        """Let the servers go that are not in use any more: ours end, a container and somebody else's go on."""
        while self._replaced:
            await self._replaced.pop().detach()

    async def finish_replaced(self) -> None:
        """Let those whose place was taken by ``switch`` end the answers that they are at, then stop them."""
        for server in tuple(self._finishing):
            await server.finish()
            if server in self._finishing:
                self._finishing.remove(server)

    async def close(self, *, stop_container: bool = False) -> None:
        """Let every server go and forget the choice, so that ``follow`` begins anew.

        A container goes on, unless ``stop_container`` says otherwise.
        """
        if self._server is not None:
            if stop_container and isinstance(self._server, ComposeServer):
                await self._server.stop_for_quit()
            await self._server.detach()
        self._abandon_next()
        self._replaced += self._finishing
        self._finishing.clear()
        await self.end_replaced()
        self._unsubscribe()
        self._unsubscribe = lambda: None
        self._server = self._choice = self._unreadable = None

    async def observe(self) -> None:
        """Look whether a server is there, without starting one of ours."""
        if self._server is not None:
            await self._server.observe()

    async def start(self) -> None:
        """Start it and return when it is ready or has failed: a failure is a state, not an exception."""
        if self._server is not None:
            await self._server.start()

    async def stop(self) -> None:
        """Stop it, and what is loaded to take its place, of which the next start is."""
        beside = self._next
        if beside is not None and self._server is not None:
            self._unsubscribe()
            self._replaced.append(self._server)
            self._server, self._next = beside, None
            self._unsubscribe = beside.on_change(self._on_change)
            await self._replaced.pop().stop()
        if self._server is not None:
            await self._server.stop()

    async def restart(self) -> None:
        if self._next is not None:
            return  # the next one is on its way
        if self._server is not None:
            await self._server.restart()

    def look_soon(self) -> None:
        """Have a server elsewhere looked at now; one of our own says by itself that it ended."""
        if isinstance(self._server, ExternalServer):
            self._server.look_soon()

    def log_tail(self, lines: int) -> list[str]:
        return self._server.log_tail(lines) if self._server is not None else []

    def log_page(self, cursor: int, most: int) -> LogPage:
        return self._server.log_page(cursor, most) if self._server is not None else LogPage((), cursor)

    async def wait_until_settled(self, timeout_s: float) -> None:
        """Return when the server is no longer starting, or after ``timeout_s`` seconds."""
        if self._server is None:
            return
        settled = asyncio.Event()

        def look(state: ServerState) -> None:
            if state.phase != "starting":
                settled.set()

        unsubscribe = self._server.on_change(look)
        look(self._server.state)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await settled.wait()
        finally:
            unsubscribe()
