"""Keeps the local side what the settings and the keys say: its server, who may use it, and what is told of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from core.base.observable import Listeners
from core.errors import InvalidRequest, KeyHeldBack
from core.local.manager import chosen_kind, unreadable_choice
from core.local.server import ServerState
from core.services.load_watch import LoadWatch

if TYPE_CHECKING:
    from core.local.gpu_sample import ServerFigures
    from core.local.manager import LocalServerManager
    from core.services.key_reader import KeyReader
    from core.services.setting_check import SettingChecker
    from core.services.wiring import Assembled
    from core.settings import Settings, SettingsStore

log = logging.getLogger(__name__)


class LocalSide:
    """All methods belong to the core's loop.

    ``is_kept`` says that the server is started with the core and not by the first request. ``keys_known`` returns
    once the keys are read, ``is_looked_at`` says whether anybody takes samples of the machine, and ``spawn`` runs
    what nobody waits for. ``on_change`` is called when the status may be another.
    """

    def __init__(
        self,
        *,
        settings: SettingsStore,
        rooms: Assembled,
        server_manager: LocalServerManager,
        key_reader: KeyReader,
        setting_check: SettingChecker,
        is_kept: bool,
        keys_known: Callable[[], Coroutine[Any, Any, None]],
        is_looked_at: Callable[[], bool],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        on_change: Callable[[], None],
    ) -> None:
        self._settings, self._key_reader, self._setting_check = settings, key_reader, setting_check
        self._server_manager, self._backend = server_manager, rooms.local
        self._api, self._conversations = rooms.api, rooms.preparer.conversations
        self._is_kept = is_kept
        self._keys_known, self._spawn = keys_known, spawn
        self._on_change = on_change
        self._load = LoadWatch(server_manager, rooms.local, is_looked_at)
        self._listeners = Listeners[ServerState](log, "the local server")
        self.key: str | None = None
        """What a server elsewhere is asked with. Never to be shown."""
        self.key_held_back: KeyHeldBack | None = None
        """Why it is asked without, and so not at all."""
        server_manager.on_progress = self._switching

    # -- the server -----------------------------------------------------------------------------------------

    @property
    def state(self) -> ServerState:
        """The server's state as it is known now, without a look."""
        return self._server_manager.state

    def subscribe(self, listener: Callable[[ServerState], None]) -> Callable[[], None]:
        """Call ``listener`` with each new state of the server; returns what ends it."""
        return self._listeners.add(listener)

    def figures(self) -> ServerFigures:
        """Return how busy and how fast the server is."""
        return self._load.figures()

    async def start(self) -> None:
        """Start the server; its end is a state, not an exception."""
        await self._container_keys_known()
        self._backend.breakers.reset()
        await self._server_manager.start()

    async def stop(self) -> None:
        await self._server_manager.stop()

    async def restart(self) -> None:
        """Start it anew, with the model that is set by now."""
        await self._container_keys_known()
        self._backend.breakers.reset()
        if self._server_manager.refused is not None:
            self._server_manager.forget_failure()
            self.configure(self._settings.current, is_checked=True)
            await self._server_manager.end_replaced()
            await self._server_manager.start()
        else:
            await self._server_manager.restart()

    async def seen(self) -> ServerState:
        """Look at a server that runs outside of this process, and return its state; nothing is started."""
        await self._keys_known()
        await self._server_manager.observe()
        return self._server_manager.state

    async def look_if_unknown(self) -> None:
        """Look at a server elsewhere that is not known to be up: its model and context decide with."""
        if self._backend.needs_look():
            await self._server_manager.observe()

    async def close(self, *, stop_container: bool) -> None:
        """Let the server and its connections go; a container goes on, unless ``stop_container`` says otherwise."""
        await self._backend.close()
        await self._server_manager.close(stop_container=stop_container)
        await self._load.stop()

    # -- who may use it -------------------------------------------------------------------------------------

    @property
    def is_drained(self) -> bool:
        return self._backend.is_drained

    async def drain(self, drained: bool) -> None:
        """Send every new request to the API where that is allowed, until it is undone; what runs goes on.

        Raises:
            InvalidRequest: nothing could go to the API: the mode forbids it, or there is no key. Nothing changed.
        """
        if drained:
            await self._keys_known()
            if self._settings.current.routing_mode == "local-only":
                raise InvalidRequest(
                    "The mode is local-only, so nothing may go to the API.", hint="Choose another mode first."
                )
            if not self._api.has_key:
                raise InvalidRequest(
                    "Nothing can go to the API: there is no key for it.", hint="Add one in Preferences first."
                )
        if self._backend.is_drained != drained:
            self._backend.is_drained = drained
            log.info("Local is %s", "bypassed: what may go to the API does" if drained else "used again")
            self._on_change()

    def secrets(self) -> dict[str, str]:
        """Return what a container gets in its environment besides; a key that is held back stays here."""
        found = {"HF_TOKEN": self._key_reader.known_hub_token(), "VLLM_API_KEY": self.key}
        return {name: secret for name, secret in found.items() if secret}

    async def _container_keys_known(self) -> None:
        """Return once what a container gets in its environment is read; no other server waits for the keyring."""
        if self._server_manager.state.kind == "compose":
            await self._keys_known()

    # -- the settings ---------------------------------------------------------------------------------------

    def configure(self, settings: Settings, *, is_checked: bool = False) -> None:
        """Follow ``settings`` and the keys read by now: another server, another model, or the same one."""
        if settings.routing_mode == "local-only":
            self._backend.is_drained = False  # the newer wish counts
        origin = self._settings.named_at("vllm_base_url")
        asks_for_key = chosen_kind(settings, origin) in ("external", "compose")
        key = self._key_reader.key("vllm", settings) if asks_for_key else None
        self.key, self.key_held_back = (None, key) if isinstance(key, KeyHeldBack) else (key, None)
        unreadable = unreadable_choice(self._settings)
        only_model = unreadable is None and self._server_manager.would_only_change_model(
            settings, origin, key
        )
        if only_model and not is_checked:
            self._spawn(self._change_model(settings))
            return
        followed = self._server_manager.follow(settings, origin, key, unreadable)
        self._backend.configure(settings, self.key)
        if followed:
            self._begin_anew()
            self._spawn(self._replace())
            self._on_change()
        elif self._server_manager.awaits_switch:
            self._spawn(self._switch())

    async def _change_model(self, settings: Settings) -> None:
        """Take another model where it is there; else the one that runs goes on, and the status says why."""
        refused = await self._setting_check.local_problem(settings)
        if settings is not self._settings.current:
            return  # they were changed again, and looked at again
        if refused is None:
            self.configure(settings, is_checked=True)
        else:
            self._server_manager.refused = refused
            self._backend.configure(settings, self.key)
        self._on_change()

    async def _switch(self) -> None:
        """Load another model beside the one that answers, and take it once it is ready."""
        await self._server_manager.end_replaced()  # one that was to be the next until a moment ago
        if await self._server_manager.switch():
            self._begin_anew()
        self._switching()
        await self._server_manager.end_replaced()
        await self._server_manager.finish_replaced()

    async def _replace(self) -> None:
        await self._server_manager.end_replaced()
        if self._server_manager.state.kind == "compose":
            # It is started by hand only: that takes gigabytes, and a GPU.
            await self._server_manager.observe()
        elif self._is_kept:
            await self._server_manager.start()

    def _begin_anew(self) -> None:
        """Another server answers from now on: none of its requests failed yet, and none of its caches is warm."""
        self._backend.breakers.reset()
        self._conversations.forget_side("local")

    # -- what is told of it ---------------------------------------------------------------------------------

    def server_changed(self, state: ServerState) -> None:
        """Take note that the server in use has a new state."""
        self._listeners.tell(lambda: state)
        if state.phase in ("ready", "stopped"):
            self._backend.breakers.reset()
        if state.phase in ("stopped", "starting"):  # started again after a crash, it has no warm cache either
            self._conversations.forget_side("local")
        if state.phase == "ready":
            self._spawn(_warm_up_sdk())
            self._spawn(self._load.follow(self.key))
        self._on_change()

    def _switching(self) -> None:
        """The model that is to answer next is loaded a little further, or is not loaded any more."""
        self._listeners.tell(lambda: self._server_manager.state)
        self._on_change()


async def _warm_up_sdk() -> None:
    """Import the SDK before the first prompt needs it: 0.5 s that nobody waits for."""
    await asyncio.to_thread(__import__, "openai")
