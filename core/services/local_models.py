"""Finding, downloading, choosing and deleting models, as the panel and the CLI ask for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from core.base.observable import Listeners
from core.errors import InvalidRequest, SignalboxError
from core.local import curated, machine_memory
from core.local.discovery import find_servers
from core.local.downloads import Downloads, NoRoom, free_bytes
from core.local.embedded import EmbeddedServer, packaged_model_path
from core.local.gguf_file import model_file_problem
from core.local.last_used import LastUsed
from core.local.model_files import find_models, hub_cache
from core.local.model_removal import ModelRemoval
from core.local.models import Download, FoundServer, ModelOnDisk, ModelShelf
from core.settings.model import env_name

if TYPE_CHECKING:
    from core.local.manager import LocalServerManager
    from core.local.server import LocalServer, ServerState
    from core.settings import SettingsStore

log = logging.getLogger(__name__)

TELL_EVERY_S = 0.25
LOOK_AFTER_S = 1.0
"""After the start, so that the first window is painted before libraries are imported for this."""
_SETTLED_TICK_S = 0.5
_CHOICE = ("local_server", "local_model_path", "vllm_base_url")
"""The settings that say what answers."""


class LocalModels:
    """``subscribe`` hears the shelf whenever something on it changed (a download: at most four times a second).

    ``shelf`` may be read from any thread; everything else belongs to the core's loop. ``token`` gives the Hugging
    Face token; ``start`` and ``stop`` are the local server's.
    """

    def __init__(
        self,
        settings: SettingsStore,
        server_manager: LocalServerManager,
        *,
        home: Path,
        token: Callable[[], Awaitable[str | None]],
        start: Callable[[], Awaitable[None]],
        stop: Callable[[], Awaitable[None]],
        vram_bytes: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._server_manager = server_manager
        self._home = home
        self._start_server, self._stop_server = start, stop
        self._vram_bytes = vram_bytes
        self._memory_bytes = machine_memory.total_bytes()
        self._downloads = Downloads(
            home, token=token, on_change=self._downloads_changed, memory_bytes=self._memory_bytes
        )
        self._removal = ModelRemoval(home)
        self._disk_turn = asyncio.Lock()
        self._used = LastUsed(home)
        self._disk: tuple[ModelOnDisk, ...] = ()
        self._servers: tuple[FoundServer, ...] = ()
        self._looked_at: datetime | None = None
        self._free_bytes: int | None = None
        self._done: frozenset[str] = frozenset()
        self._to_use: dict[str, tuple[object, ...]] = {}
        self._has_gpu: bool | None = None
        self._server_stirred = asyncio.Event()
        self._listeners = Listeners[ModelShelf](log, "the models")
        self._shelf = self._make_shelf()
        self._told_s = 0.0
        self._telling: asyncio.TimerHandle | None = None
        self._purging: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    # -- life -----------------------------------------------------------------------------------------------

    def start(self, *, look: bool) -> None:
        """Begin on the core's loop; ``look`` for files in the background, and for servers until one was chosen."""
        self._plan_purge()
        if look:
            loop = asyncio.get_running_loop()
            self._looking = loop.call_later(LOOK_AFTER_S, lambda: self._spawn(self._first_look()))

    async def _first_look(self) -> None:
        if all(self._settings.named_at(name) == "default" for name in _CHOICE):
            await self.look()
        else:
            await self.look_at_disk()

    async def close(self) -> None:
        """End all downloads; they are paused until they are resumed."""
        for timer in (self._telling, self._purging, self._looking):
            if timer is not None:
                timer.cancel()
        self._telling = self._purging = self._looking = None
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._downloads.close()
        await asyncio.to_thread(self._removal.purge)

    def server_changed(self, state: ServerState) -> None:
        """Note that the model which is ready now is in use."""
        self._server_stirred.set()
        path = self._loaded()
        if state.phase == "ready" and path is not None:
            self._used.note(path)
        self._changed()

    def switch_went_on(self) -> None:
        """Note that the model that is to answer next is loaded a little further, or is not loaded any more."""
        self._changed()

    # -- what is there --------------------------------------------------------------------------------------

    def shelf(self) -> ModelShelf:
        """Return what is known now, without looking."""
        return self._shelf

    async def look(self) -> ModelShelf:
        """Look for servers and files anew, and return what is there."""
        servers, _ = await asyncio.gather(find_servers(leave_out=self._own_ports()), self._look_at_disk())
        self._servers = servers
        self._looked_at = datetime.now(UTC)
        self._tell()
        return self._shelf

    async def look_at_disk(self) -> ModelShelf:
        """Look for files anew, and ask no port; return what is there."""
        await self._look_at_disk()
        self._tell()
        return self._shelf

    def downloads(self) -> tuple[Download, ...]:
        """Return the downloads as they are at this moment; the shelf has them a little later."""
        return self._downloads.all()

    def subscribe(self, listener: Callable[[ModelShelf], None]) -> Callable[[], None]:
        return self._listeners.add(listener)

    async def _look_at_disk(self) -> None:
        async with self._disk_turn:
            self._disk = await asyncio.to_thread(find_models, self._home)
            self._free_bytes = await asyncio.to_thread(free_bytes, hub_cache())

    def _own_ports(self) -> set[int]:
        """Return the ports that are Signalbox's own: the embedded server's, and that of its container."""
        state = self._server_manager.state
        own: set[int] = set()
        if state.base_url is not None and state.kind == "embedded":
            own.add(urlsplit(state.base_url).port or 0)
        if state.kind == "compose":
            with contextlib.suppress(ValueError):
                own.add(urlsplit(self._settings.current.vllm_base_url).port or 0)
        return own

    def _loaded(self) -> Path | None:
        """Return the file that the embedded server has loaded, or is loading."""
        server = self._server_manager.server
        if not isinstance(server, EmbeddedServer) or server.state.phase not in ("ready", "starting"):
            return None
        return server.model_path

    def _loading(self) -> Path | None:
        """Return the file that is being loaded: at a start, or beside the one that answers."""
        server: LocalServer | None = self._server_manager.following
        if server is None and self._server_manager.state.phase == "starting":
            server = self._server_manager.server
        return server.model_path if isinstance(server, EmbeddedServer) else None

    def _make_shelf(self) -> ModelShelf:
        loaded, loading = self._loaded(), self._loading()
        server = self._server_manager.server
        answers = server is not None and server.state.phase == "ready"
        if isinstance(server, EmbeddedServer) and server.has_gpu is not None:
            self._has_gpu = server.has_gpu
        vram_bytes = self._vram_bytes()
        usable_bytes = vram_bytes if self._has_gpu else None
        needs = {model.file: model.needs_bytes for model in curated.curated_models(None)}
        on_disk: list[ModelOnDisk] = []
        for model in self._disk:
            needed = needs.get(model.path.name, model.needs_bytes)
            on_disk.append(
                replace(
                    model,
                    needs_bytes=needed,
                    fits=curated.fits(needed, self._memory_bytes, usable_bytes),
                    in_use=answers and loaded is not None and _same(loaded, model.path),
                    is_loading=loading is not None and _same(loading, model.path),
                    last_used_at=self._used.at(model.path),
                )
            )
        return ModelShelf(
            on_disk=tuple(on_disk),
            servers=self._servers,
            curated=curated.curated_models(
                self._memory_bytes, usable_bytes, on_disk={model.path.name for model in self._disk}
            ),
            downloads=self._downloads.all(),
            looked_at=self._looked_at,
            free_bytes=self._free_bytes,
            memory_bytes=self._memory_bytes,
            vram_bytes=vram_bytes,
            embedded_has_gpu=self._has_gpu,
        )

    # -- downloads ------------------------------------------------------------------------------------------

    async def download(self, what: str, *, for_vllm: bool = False) -> str:
        """Begin to download and return the download's id; progress is on the shelf.

        ``what`` is a curated model's id, ``owner/repo``, ``owner/repo:FILE.gguf`` or ``owner/repo:Q4_K_M``, or the
        address of one of these. ``for_vllm`` takes the whole repository, with what vLLM loads of it.

        Raises:
            SignalboxError: it can't begin: unknown, gated, too big for the disk; nothing was kept.
        """
        try:
            return await self._downloads.begin(what, for_vllm=for_vllm)
        except NoRoom:
            if not self._removal.any:
                raise
        await self._purge(all_of_them=True)  # what was deleted takes room until it can't be undone any more
        return await self._downloads.begin(what, for_vllm=for_vllm)

    async def pause(self, download_id: str) -> None:
        """Stop loading; what arrived is kept, after a restart too."""
        await self._downloads.pause(download_id)

    async def resume(self, download_id: str) -> None:
        """Go on where it stopped; what hinders it is told on the download."""
        await self._downloads.resume(download_id)

    async def cancel(self, download_id: str) -> None:
        """End it and delete what was loaded of it; one that is done leaves the list, and its model stays."""
        await self._downloads.cancel(download_id)

    async def use_when_done(self, download_id: str) -> None:
        """Use what is being loaded down once it is there, unless another model or server is chosen until then."""
        self._to_use[download_id] = self._chosen()
        self._downloads_changed()

    def _chosen(self) -> tuple[object, ...]:
        return tuple(getattr(self._settings.current, name) for name in _CHOICE)

    async def _use_done(self, download_id: str) -> None:
        try:
            await self.use(download_id)
        except SignalboxError as error:  # it is in the list, to be used by hand, where the reason is told
            log.warning("what was downloaded is not used: %s", error)

    def _downloads_changed(self) -> None:
        done = frozenset(each.id for each in self._downloads.all() if each.phase == "done")
        if done - self._done:
            self._spawn(self.look_at_disk())
        for download_id in done & self._to_use.keys():
            if self._to_use.pop(download_id) == self._chosen():
                self._spawn(self._use_done(download_id))
        self._done = done
        self._changed()

    # -- use ------------------------------------------------------------------------------------------------

    async def use(self, model_id: str) -> None:
        """Make a model on disk the local side; the one before goes on until this one is ready, where memory allows.

        ``model_id`` is the model's, its path, or the id of a download that is done.

        Raises:
            SignalboxError: by kind; the one before goes on.
        """
        model = await self._find(model_id)
        if model.format != "gguf":
            raise InvalidRequest(
                f"{model.name} is no GGUF file, which the embedded server needs.",
                hint="Name it as the model of the vLLM container. Nothing was changed.",
            )
        if not model.path.exists():
            raise InvalidRequest(f"{model.path} is gone.", hint="Look for models again. Nothing was changed.")
        problem = await asyncio.to_thread(model_file_problem, model.path)
        if problem is not None:
            raise InvalidRequest(problem.text, hint=f"{problem.hint} Nothing was changed.")
        path = None if model.place == "packaged" else model.path
        await self._set({"local_model_path": path, "local_server": "embedded"})

    async def use_server(self, base_url: str, model: str | None = None) -> None:
        """Make a server that was found the local side.

        Raises:
            SignalboxError: by kind; the one before goes on.
        """
        await self._set({"vllm_base_url": base_url, "vllm_model": model, "local_server": "external"})

    async def load(self, model_id: str | None = None) -> None:
        """Load the model that is set, or ``model_id`` from now on, and return once it answers or can't be loaded.

        A failure to load is a state (``status().local``), or one of the status's problems where another goes on.
        """
        if model_id is not None:
            await self.use(model_id)
        await self._start_server()
        wanted = self._settings.current.local_model_path
        while model_id is not None and not self._is_settled(wanted):
            self._server_stirred.clear()
            with contextlib.suppress(TimeoutError):  # a model that is refused stirs no server
                async with asyncio.timeout(_SETTLED_TICK_S):
                    await self._server_stirred.wait()

    def _is_settled(self, wanted: Path | None) -> bool:
        """Whether ``wanted`` answers or has failed, or was never or is no longer what is wanted."""
        if self._server_manager.refused is not None or self._settings.current.local_model_path != wanted:
            return True
        server = self._server_manager.server
        if not isinstance(server, EmbeddedServer):
            return True
        path = wanted or packaged_model_path()
        return server.model_path == path and server.state.phase != "starting"

    async def unload(self) -> None:
        """Free the memory of the model that is loaded."""
        await self._stop_server()

    async def _set(self, wanted: dict[str, object]) -> None:
        """Set what says which model answers, unless something that wins over the panel says otherwise.

        Raises:
            InvalidRequest: the environment or a ``.env`` wins; nothing was changed.
        """
        from core.settings import ORIGIN_TEXT

        for name, value in wanted.items():
            origin = self._settings.named_at(name)
            if origin not in ("panel", "default") and getattr(self._settings.current, name) != value:
                raise InvalidRequest(
                    f"{env_name(name)} is set in {ORIGIN_TEXT[origin]}, which wins over what is set here.",
                    hint="Take it out there. Nothing was changed.",
                )
        for name, value in wanted.items():
            if self._settings.named_at(name) in ("panel", "default"):
                await asyncio.to_thread(self._settings.set, name, None if value is None else str(value))
        self._changed()

    async def _find(self, model_id: str) -> ModelOnDisk:
        """Return a model on disk by any of its names.

        Raises:
            InvalidRequest: there is none of that name.
        """
        found = self._named(model_id)
        if found is None:
            await self._look_at_disk()
            found = self._named(model_id)
        if found is None:
            raise InvalidRequest(
                f"No model {model_id} is on this machine.",
                hint="Download it first, or look for models again.",
            )
        return found

    def _named(self, model_id: str) -> ModelOnDisk | None:
        download = next((each for each in self._downloads.all() if each.id == model_id), None)
        listed = curated.find(model_id)
        names = {model_id}
        if download is not None and download.path is not None:
            names.add(str(download.path))
        if listed is not None:
            names.add(listed.file)
        for model in self._disk:
            if names & {model.id, str(model.path), model.name, model.path.name}:
                return model
        return None

    # -- delete ---------------------------------------------------------------------------------------------

    async def delete(self, model_id: str) -> str:
        """Move it out of the way; gone for good a while later. ``undelete`` brings it back until then.

        Returns the id that ``undelete`` takes.

        Raises:
            SignalboxError: it is loaded or set, another program's, or can't be moved; it is where it was.
        """
        model = await self._find(model_id)
        if not model.deletable:
            raise InvalidRequest(
                f"{model.name} is not Signalbox’s to delete.", hint="Delete it where it came from."
            )
        loaded = self._loaded()
        if loaded is not None and _same(loaded, model.path):
            raise InvalidRequest(f"{model.name} is in use.", hint="Use another model first.")
        set_path = self._settings.current.local_model_path
        if set_path is not None and _same(set_path, model.path):
            raise InvalidRequest(f"{model.name} is the model that is set.", hint="Use another model first.")
        async with self._disk_turn:
            await asyncio.to_thread(self._removal.delete, model, hub_cache())
            self._disk = tuple(each for each in self._disk if each.id != model.id)
        self._plan_purge()
        self._tell()
        return model.id

    async def undelete(self, model_id: str) -> None:
        """Bring it back.

        Raises:
            SignalboxError: it is gone for good, or can't be moved.
        """
        async with self._disk_turn:
            await asyncio.to_thread(self._removal.undelete, model_id)
        await self.look_at_disk()

    async def _purge(self, *, all_of_them: bool = False) -> None:
        async with self._disk_turn:
            await asyncio.to_thread(self._removal.purge, all_of_them=all_of_them)
            self._free_bytes = await asyncio.to_thread(free_bytes, hub_cache())
        self._plan_purge()
        self._tell()

    def _plan_purge(self) -> None:
        if self._purging is not None:
            self._purging.cancel()
            self._purging = None
        due_s = self._removal.due_in_s()
        if due_s is not None:
            loop = asyncio.get_running_loop()
            self._purging = loop.call_later(due_s + 0.1, lambda: self._spawn(self._purge()))

    # -- telling --------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        """Tell of it now, or together with what else changes within a quarter of a second."""
        if self._telling is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._shelf = self._make_shelf()
            return
        wait_s = self._told_s + TELL_EVERY_S - time.monotonic()
        if wait_s <= 0:
            self._tell()
        else:
            self._telling = loop.call_later(wait_s, self._tell)

    def _tell(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        self._told_s = time.monotonic()
        self._shelf = self._make_shelf()
        self._listeners.tell(self.shelf)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("looking after the models failed", exc_info=error)


def _same(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False
