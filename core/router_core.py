"""``RouterCore`` builds and owns the parts of the core; the panel, the command line and programs see only it.

::

    from core import RouterCore

    async with RouterCore() as core:
        result = await core.ask("What is the capital of France?")
        print(result.text, result.decision.reason)
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import weakref
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from core.base.net import origin_of
from core.chat import ChatRequest, ChatResult, Failed, Finished, RouteDecision, Side
from core.errors import KeyHeldBack, Unavailable
from core.keys import held_back_typed
from core.local.manager import LocalServerManager
from core.local.server import ServerState
from core.local.server_log import LogPage
from core.routing.request_stream import RequestStream
from core.routing.timeouts import Deadline
from core.services.api_check import ApiCheck
from core.services.hub_check import check_hub
from core.services.key_reader import KeyReader, address_of
from core.services.ledger import LedgerService
from core.services.local_models import LocalModels
from core.services.local_side import LocalSide
from core.services.machine_keeper import MachineKeeper
from core.services.machine_watch import MachineWatch
from core.services.model_lists import ModelLists
from core.services.money_rates import MoneyRates
from core.services.sampler import Sampler
from core.services.side_tasks import probed, summarised
from core.services.status_publisher import StatusPublisher
from core.services.telemetry import Monitoring
from core.services.vllm import VllmService
from core.services.wiring import assemble
from core.settings.home import CLOSED, use_home

if TYPE_CHECKING:
    from core.doctor.checks import Finding
    from core.keys import KeyName, KeyStatus, KeyStore
    from core.pricing.prices import PriceTable
    from core.providers.base import CheckResult
    from core.services.setting_check import SettingDoubt
    from core.services.status import CoreStatus
    from core.settings import Settings, SettingsStore
    from core.structured.probe import Progress
    from core.structured.scoreboard import Score

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 5.0
"""How long a request that is being stopped may take to close its connection and settle."""

LocalStart = Literal["eager", "on_demand"]


class RouterCore:
    """The router with everything it needs.

    ``local_start`` ``eager`` starts the local server with the core (the panel), ``on_demand`` with the first
    request that goes there (command line, library). All coroutines run on the loop that ran ``start``.
    """

    def __init__(
        self,
        settings: SettingsStore | None = None,
        *,
        home: Path | None = None,
        local_start: LocalStart = "on_demand",
    ) -> None:
        from core.keys import KeyStore
        from core.pricing.prices import PriceTable
        from core.services.setting_check import SettingChecker
        from core.settings import SettingsStore

        self.settings: SettingsStore = settings or SettingsStore(home)
        self.home: Path = self.settings.current.home
        self.keys: KeyStore = KeyStore()
        self.prices: PriceTable = PriceTable(self.home / "prices.json")
        self._eager = local_start == "eager"
        self._server_manager = LocalServerManager(self._server_changed, lambda: self._local_side.secrets())
        rooms = assemble(
            settings=lambda: self.settings.current,
            closing=lambda: self.settings.closing_problems,
            ledger_problem=lambda: self.ledger.note_problem,
            ledger=lambda: self.ledger.current,
            prices=self.prices,
            home=self.home,
            server_manager=self._server_manager,
            on_demand=not self._eager,
            wait_for_local=self._server_manager.wait_until_settled,
            on_change=self._changed,
            on_alerts=lambda alerts: self.ledger.record_alerts(alerts),
        )
        self._rooms = rooms
        self._api, self._local, self._router = rooms.api, rooms.local, rooms.router
        self._api_check = ApiCheck(rooms.api, self._changed)
        self._setting_check = SettingChecker(
            self.settings, self._api_check, lambda: self.has_api_key, self._look_at_local
        )
        self._key_reader = KeyReader(self.settings, self.keys, self._take_keys)
        self._local_side = LocalSide(
            settings=self.settings,
            rooms=rooms,
            server_manager=self._server_manager,
            key_reader=self._key_reader,
            setting_check=self._setting_check,
            is_kept=self._eager,
            keys_known=self._keys_known,
            is_looked_at=lambda: self._sampler.is_running,
            spawn=self._spawn,
            on_change=self._changed,
        )
        self.ledger: LedgerService = LedgerService(
            self.settings, self.prices, rooms.scoreboard, self._changed
        )
        self.models: ModelLists = ModelLists(
            rooms, self._server_manager, self.prices, self._api_check, self._keys_known
        )
        self._sampler = Sampler(rooms.gpus, self._local_side.figures, power=rooms.power)
        self.machine: MachineWatch = MachineWatch(
            self._sampler,
            MachineKeeper(
                self.home,
                lambda: self.settings.current,
                lambda: self._server_manager.state,
                self._changed,
            ),
            MoneyRates(self.ledger.api_spending, rooms.machine, lambda: self._sampler.latest),
        )
        self.vllm: VllmService = VllmService(
            self.settings,
            token=self.hugging_face_token,
            state=lambda: self._server_manager.state,
            sample=lambda: self.machine.latest,
            on_change=self._changed,
        )
        self.local_models: LocalModels = LocalModels(
            self.settings,
            self._server_manager,
            home=self.home,
            token=self.hugging_face_token,
            start=self.start_local,
            stop=self.stop_local,
            vram_bytes=self._largest_vram,
        )
        self._local_side.subscribe(lambda state: self.local_models.switch_went_on())
        self._monitoring = Monitoring(rooms.metrics, rooms.tracer, (rooms.api.breakers, rooms.local.breakers))
        self._key_read = self._key_reader.was_read
        self._keys_wanted = self._eager
        self._keys_asked_for = False
        self._status_keeper = StatusPublisher(
            settings=self.settings,
            prices=self.prices,
            rooms=rooms,
            local_keeper=self._server_manager,
            ledger=self.ledger,
            monitoring=self._monitoring,
            keys_read=self._key_read,
            key_held_back=self.key_held_back,
            machine=self.machine,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unsubscribe_settings: Callable[[], None] = lambda: None
        self._running: weakref.WeakSet[RequestStream] = weakref.WeakSet()
        self._stopping = False

    # -- life -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the ledger, resolve what a crash left behind, read the key, and set up the local server.

        Never fails for a bad setting, a broken ledger or a missing key: those are ``status().problems``.

        Raises:
            HomeRefused: somebody else may have written what is in the home folder.
        """
        if self._loop is not None:
            return
        if use_home(self.home):
            log.info(CLOSED)
        self.prices.set_aside_if_broken()
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        self._unsubscribe_settings = self.settings.on_change(self._settings_changed)
        self._local_side.configure(self.settings.current)
        self._monitoring.configure(self.settings.current)
        for file in self.settings.untrusted:
            log.warning("%s %s", file.message, file.hint)
        if self._keys_wanted:
            self._ask_for_keys()
        self._sampler.configure(self.settings.current)
        self._sampler.start(kept=self._eager)
        self.machine.start(kept=self._eager)
        self._spawn(self._rooms.kept.maintain_if_due())
        self.local_models.start(look=self._eager)
        await self.ledger.open()
        self._spawn(self._status_keeper.keep())

    async def stop(self) -> None:
        """End requests' connections, the local server and the ledger, in that order. Safe to call twice."""
        self._stopping = True
        self._unsubscribe_settings()
        self._key_read.set()  # whoever waits for the keyring goes on, and is told that this is the end
        await self._end_requests()
        await self.local_models.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._api.close()
        await self._local_side.close(
            stop_container=self._eager and self.settings.current.stop_container_on_quit
        )
        await self._sampler.stop()
        await self.machine.stop()
        await self._rooms.kept.close()
        await self.ledger.close()
        await self._monitoring.close()
        self._rooms.gpus.close()
        self._key_read.clear()
        self._keys_asked_for = False
        self._loop = None

    async def _end_requests(self) -> None:
        """Stop every request that runs, and return when each is settled; whoever reads one is told why."""
        ends = [
            stream.stop_and_settle(Unavailable("Signalbox is stopping.", hint="What had arrived is settled."))
            for stream in list(self._running)
        ]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT_S):
                for error in await asyncio.gather(*ends, return_exceptions=True):
                    if error is not None:  # the ledger and the local server are still to be closed
                        log.error("a request could not be ended", exc_info=error)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # -- requests -------------------------------------------------------------------------------------------

    async def ask(self, request: ChatRequest | str, **options: Any) -> ChatResult:
        """Run a request to its end. ``options`` are fields of ``ChatRequest`` where a prompt is given.

        Raises:
            SignalboxError: by kind; the message says what was kept and what to do.
        """
        if isinstance(request, str):
            request = ChatRequest.from_prompt(request, **options)
        async with aclosing(self.stream(request)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    return event.result
                if isinstance(event, Failed):
                    raise event.error
        raise Unavailable("The request was stopped.", hint="What had arrived is settled.")

    def stream(self, request: ChatRequest) -> RequestStream:
        """Return the events of ``request``, to be read on the core's loop; the last one says how it ended.

        ``stop()`` ends it early: the reader goes on reading and gets ``Stopped``. Whatever else ends the reading
        (``aclose()``, a cancelled task) closes the connection and settles what was used.
        """

        async def ready() -> None:
            await self._ready(request)
            if (stream := own()) is not None:
                self._running.add(stream)

        deadline = Deadline.after(request, self.settings.current.request_deadline_s)
        stream = self._router.stream(request, deadline, ready)
        own = weakref.ref(stream)  # one that is dropped unread must not be kept by its own work
        return stream

    async def decide(self, request: ChatRequest) -> RouteDecision:
        """Return where ``request`` would go now, without sending, holding or writing anything.

        Raises:
            InvalidRequest: it could not be sent anywhere.
            LedgerUnavailable: the counts and the money spent can't be read.
        """
        await self._ready(request)
        return self._router.decide(request, await self._router.standing(request.project))

    async def decider(self) -> Callable[[ChatRequest], RouteDecision]:
        """Return ``decide`` as a plain function over today's counts as they are now, for many requests."""
        await self._ready()
        standing = await self._router.standing()
        return lambda request: self._router.decide(request, standing)

    async def summarised(self, request: ChatRequest, window_tokens: int) -> ChatRequest:
        """Return ``request`` with its oldest turns replaced by a summary, so that it fits into ``window_tokens``.

        The summary is asked for like any request: routed, held for and recorded. A request that fits comes back
        as it is.

        Raises:
            SignalboxError: by kind, when no summary could be had; the conversation is as it was.
        """
        return await summarised(self.ask, request, window_tokens)

    async def _ready(self, request: ChatRequest | None = None) -> None:
        self._check_running()
        if self.settings.reload_if_changed():
            self._apply()  # this request is the first that it counts for
        await self._keys_known()
        await self._monitoring.settled()
        self._check_running()
        api_only = self.settings.current.routing_mode == "api-only" or (request and request.force == "api")
        if not api_only:
            await self._local_side.look_if_unknown()

    def _check_running(self) -> None:
        if self._stopping or self._loop is None:
            raise Unavailable("Signalbox is not running.", hint="Start it first; nothing was sent.")

    # -- status ---------------------------------------------------------------------------------------------

    def subscribe(self, listener: Callable[[CoreStatus], None]) -> Callable[[], None]:
        """Call ``listener`` with each new status, on the core's loop. Returns a function that ends it."""
        self._keys_wanted = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._ask_for_keys)
        return self._status_keeper.listeners.add(listener)

    async def status(self) -> CoreStatus:
        """Read and return the state of both sides, the counts and the money."""
        self._ask_for_keys()
        return await self._status_keeper.read()

    def _changed(self) -> None:
        self._status_keeper.wanted.set()

    # -- scores ---------------------------------------------------------------------------------------------

    def scores(self) -> tuple[Score, ...]:
        """Return how often each model's JSON and tool calls were right lately."""
        return self._rooms.scoreboard.scores()

    async def probe(self, side: Side, on_progress: Progress | None = None) -> tuple[Score, ...]:
        """Ask the small set of tool and schema prompts of ``side``'s model and count how it did.

        Raises:
            SignalboxError: by kind, when the side can't be asked; what was counted until then stays.
        """
        is_local = side == "local"
        await probed(
            self.ask,
            side,
            provider=self._local.provider_name if is_local else "anthropic",
            model=self._server_manager.state.model if is_local else self._api.default_model,
            scoreboard=self._rooms.scoreboard,
            on_progress=on_progress,
        )
        await self.ledger.save_scores()
        return self.scores()

    # -- local server ---------------------------------------------------------------------------------------

    async def start_local(self) -> None:
        """Start the local server; its end is a state (``status().local``), not an exception."""
        await self._local_side.start()

    async def stop_local(self) -> None:
        await self._local_side.stop()

    async def restart_local(self) -> None:
        """Start it anew, with the model that is set by now."""
        await self._local_side.restart()

    def _largest_vram(self) -> int | None:
        """Return the memory of this machine's largest GPU; ``None`` without one, or where another's are watched."""
        gpus = () if self.settings.current.gpu_metrics_url else self._sampler.latest.gpus
        return max((gpu.vram_total_bytes for gpu in gpus if gpu.vram_total_bytes is not None), default=None)

    @property
    def local_state(self) -> ServerState:
        """The local server's state as it is known now, without a look."""
        return self._local_side.state

    def subscribe_local(self, listener: Callable[[ServerState], None]) -> Callable[[], None]:
        """Call ``listener`` with each new state of the local server, on the core's loop; returns what ends it."""
        return self._local_side.subscribe(listener)

    async def seen_local(self) -> ServerState:
        """Look at a server that runs outside of this process, and return its state; nothing is started."""
        return await self._local_side.seen()

    def local_log(self, lines: int = 200) -> list[str]:
        """Return the last ``lines`` lines of the local server's own log."""
        return self._server_manager.log_tail(lines)

    def local_log_page(self, cursor: int = 0, most: int = 5_000) -> LogPage:
        """Return the local server's log after ``cursor``: ``most`` lines, the newest where there are more.

        Any thread may call it. It may read a file, so not the one that paints.
        """
        return self._server_manager.log_page(cursor, most)

    async def drain_local(self, drained: bool) -> None:
        """Send every new request to the API where that is allowed, until it is undone; what runs goes on.

        What only Local may or can serve still goes there: a message forced there, a conversation inside a tool
        loop, what no limit leaves room for. A restart undoes it, and so does the mode local-only.

        Raises:
            InvalidRequest: nothing could go to the API: the mode forbids it, or there is no key. Nothing changed.
        """
        await self._local_side.drain(drained)

    @property
    def local_is_drained(self) -> bool:
        return self._local_side.is_drained

    @property
    def vllm_key(self) -> str | None:
        """What a server elsewhere is asked with. Never to be shown."""
        return self._local_side.key

    def _server_changed(self, state: ServerState) -> None:
        self._local_side.server_changed(state)
        self.machine.server_changed(state)
        self.local_models.server_changed(state)

    # -- settings and keys ----------------------------------------------------------------------------------

    def _settings_changed(self, settings: Settings) -> None:
        del settings  # by the time it is this loop's turn there may be newer ones
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._apply)

    def _configure_api(self, settings: Settings) -> None:
        self._api.configure(settings, self._key_reader.key("anthropic", settings))

    def _apply(self) -> None:
        if self._stopping or self._loop is None:
            return
        settings = self.settings.current
        self._configure_api(settings)
        self._local_side.configure(settings)
        self._monitoring.configure(settings)
        self._sampler.configure(settings)
        self._spawn(self._read_keys())
        self._changed()

    async def _keys_known(self) -> None:
        """Return once the keys are read, or once the core is stopping."""
        self._ask_for_keys()
        await self._key_read.wait()

    def _ask_for_keys(self) -> None:
        """Begin to read the keys, once, and only where somebody needs them: a report never wakes the keyring."""
        if not self._keys_asked_for and self._loop is not None and not self._stopping:
            self._keys_asked_for = True
            self._spawn(self._read_keys())

    async def _read_keys(self) -> None:
        await self._key_reader.read()
        self._changed()

    def _take_keys(self, settings: Settings) -> None:
        self._configure_api(settings)
        self._local_side.configure(settings)

    @property
    def has_api_key(self) -> bool:
        return self._api.has_key

    def key_held_back(self, name: KeyName) -> KeyHeldBack | None:
        """Return why the stored key is not sent to the address in use; ``None`` where nothing holds it back."""
        if name == "huggingface":
            return None  # asked for with each download and start, which say it then
        return self._api.held_back if name == "anthropic" else self._local_side.key_held_back

    async def key_status(self, name: KeyName) -> KeyStatus:
        """Say where the stored key is and where it may go, without showing it."""
        address = address_of(name, self.settings)
        status = await self.keys.status(name, address)
        return dataclasses.replace(status, address=origin_of(address))

    async def set_key(self, name: KeyName, key: str) -> KeyStatus:
        """Keep ``key`` in the keyring, or for this run only where there is none; it counts from now on.

        It belongs to the address in use, and goes to no other one until ``allow_key``.
        """
        status = await self.keys.set(name, key, address_of(name, self.settings))
        if name == "anthropic":
            self._api.begin_anew()  # also where it is the same one: whoever sets it says that it is good
        await self._read_keys()
        return status

    async def allow_key(self, name: KeyName, address: str) -> KeyStatus:
        """Let the stored key go to the server at ``address`` too, encrypted or not.

        Raises:
            InvalidRequest: no key is stored, or the address is none.
        """
        status = await self.keys.allow(name, address)
        await self._read_keys()
        return status

    async def delete_key(self, name: KeyName) -> KeyStatus:
        status = await self.keys.delete(name)
        await self._read_keys()
        return status

    async def test_anthropic_key(self, key: str | None = None) -> CheckResult:
        """Reach the API with ``key``, or with the one in use; nothing is billed.

        Raises:
            SignalboxError: by kind, when it can't be reached or refuses the key.
        """
        await self._keys_known()
        self._configure_api(self.settings.current)  # what was set a moment ago counts
        return await self._api_check.check(key)

    async def try_api_again(self) -> CheckResult:
        """Forget that the API turned a request away, and ask it for nothing whether it is well.

        Raises:
            SignalboxError: by kind, when it can't be reached, refuses the key or has no such model.
        """
        await self._keys_known()
        self._configure_api(self.settings.current)
        return await self._api_check.try_again()

    async def test_key(
        self, name: KeyName, key: str | None = None, *, confirmed: bool = False
    ) -> CheckResult:
        """Reach the server in use with ``key``, which was just typed, or with the one in use.

        ``confirmed`` says that somebody was asked whether a typed key may go there unencrypted.

        Raises:
            KeyHeldBack: nobody said that the key may go to the address in use; nothing was sent.
            SignalboxError: by kind, when it can't be reached or refuses the key.
        """
        await self._keys_known()
        address = address_of(name, self.settings)
        if key is not None and not confirmed:
            held_back = held_back_typed(name, key, address)
            if held_back is not None:
                raise held_back
        if name == "anthropic":
            return await self.test_anthropic_key(key)
        if name == "huggingface":
            return await check_hub(address, key if key is not None else await self.hugging_face_token())
        return await self.test_vllm(address, key if key is not None else await self.vllm_key_for(address))

    async def vllm_key_for(self, base_url: str) -> str | None:
        """Return the local server's key, in use or in the keyring, for a server at ``base_url``, if there is one.

        Raises:
            KeyHeldBack: nobody said that it may go there.
        """
        return await self._key_reader.key_for("vllm", base_url)

    async def hugging_face_token(self) -> str | None:
        """Return the token for downloads, and for the container's environment; ``None`` where there is none.

        It goes into an environment or a header, never to a command line, a file or the log.

        Raises:
            KeyHeldBack: nobody said that the stored one may go to the hub that ``HF_ENDPOINT`` names.
        """
        return await self._key_reader.hub_token()

    async def test_vllm(self, base_url: str, api_key: str | None = None) -> CheckResult:
        """Reach a server that speaks OpenAI's wire at ``base_url`` (ending in ``/v1``).

        Raises:
            SignalboxError: by kind, when it can't be reached or refuses the key.
        """
        from core.providers.openai import VLLMProvider

        provider = VLLMProvider(base_url, None, api_key=api_key)
        try:
            return await provider.check()
        finally:
            await provider.close()

    async def _look_at_local(self, base_url: str) -> CheckResult:
        return await self.test_vllm(base_url, await self.vllm_key_for(base_url))

    async def check_setting(self, name: str, value: object) -> SettingDoubt | None:
        """Look whether what ``value`` names is there, before it is set: a model, or a model's file.

        Returns what doubt is left, ``None`` for none. Nothing is changed.

        Raises:
            InvalidSetting: it is not there.
        """
        if name != "local_model_path":
            await self._keys_known()
        return await self._setting_check.check(name, value)

    async def doctor(self, *, ask_local: bool = True) -> list[Finding]:
        """Look at each component: found, version, working, and what to do if not.

        Without ``ask_local`` the embedded server is not asked, which would count as a request.
        """
        from core.doctor.checks import examine

        await self._keys_known()
        return await examine(self, ask_local=ask_local)

    # -- tasks ----------------------------------------------------------------------------------------------

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a background task of the core failed", exc_info=error)
