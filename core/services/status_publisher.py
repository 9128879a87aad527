"""Reads the status of the whole core when something changed, and tells it where it is another than before."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, get_args

from core.base.observable import Listeners
from core.base.text import sentence, shortened
from core.errors import KeyHeldBack, LedgerUnavailable
from core.keys import KEY_TITLES, KeyName
from core.routing.backends import OTHER_LEDGER
from core.services.api_status import heard_problem, heard_status
from core.services.status import ApiStatus, CoreStatus, Problem, ProblemKind
from core.settings.left_aside import left_aside

if TYPE_CHECKING:
    from core.ledger.limits import Budget, LimitUsage
    from core.ledger.models import PausedConversation
    from core.local.manager import LocalServerManager
    from core.local.server import ServerCause
    from core.pricing.prices import PriceTable
    from core.services.ledger import LedgerService
    from core.services.machine_watch import MachineWatch
    from core.services.telemetry import Monitoring
    from core.services.wiring import Assembled
    from core.settings import Settings, SettingsStore, UntrustedFile

log = logging.getLogger(__name__)

_MOST_SHOWN = 160
_A_MOMENT_S = 0.05
"""By how much the clock's end is waited over, so that what is over is seen to be."""
STATUS_INTERVAL_S = 30.0
"""How often the status is read anew without a cause: midnight, another process, a file changed by hand."""


_LOCAL_FAILURES: dict[ServerCause, tuple[ProblemKind, str]] = {
    "": ("local", "The local server failed"),
    "key": ("local_key_refused", "The local server refuses the key"),
    "model": ("local_model_unknown", "The local server has no such model"),
}


class StatusPublisher:
    """``wanted`` is set when something changed. Until ``keys_read`` is set, whether there is a key is not known."""

    def __init__(
        self,
        *,
        settings: SettingsStore,
        prices: PriceTable,
        rooms: Assembled,
        local_keeper: LocalServerManager,
        ledger: LedgerService,
        monitoring: Monitoring,
        keys_read: asyncio.Event,
        key_held_back: Callable[[KeyName], KeyHeldBack | None],
        machine: MachineWatch,
    ) -> None:
        self._settings, self._prices = settings, prices
        self._rooms, self._api, self._local = rooms, rooms.api, rooms.local
        self._local_keeper, self._ledger, self._monitoring = local_keeper, ledger, monitoring
        self._keys_read, self._key_held_back = keys_read, key_held_back
        self._machine = machine
        self.listeners = Listeners[CoreStatus](log, "the status")
        self.wanted = asyncio.Event()
        self._last: CoreStatus | None = None

    async def read(self) -> CoreStatus:
        """Read and return the state of both sides, the counts and the money."""
        settings = self._settings.current
        standing = None
        limits: tuple[LimitUsage, ...] = ()
        budget: Budget | None = None
        paused: list[PausedConversation] = []
        with contextlib.suppress(LedgerUnavailable):
            standing = await self._rooms.router.standing()
            _, limits, budget = await self._ledger.standing()
            paused = await self._ledger.paused()
        return CoreStatus(
            local=self._local.server_state,
            api=self._api_status(settings),
            local_requests_today=standing.local_requests_today if standing else None,
            routing_threshold=settings.routing_threshold,
            routing_mode=settings.routing_mode,
            month=datetime.now().strftime("%B"),
            budget=budget,
            problems=self._problems(),
            limits=limits,
            paused=tuple(paused),
            queue=self._local.queue.state(),
            checked=self._ledger.last_check,
            local_drained=self._local.is_drained,
        )

    async def keep(self) -> None:
        """Publish the status when something changed, at most ten times a second."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._wait_s()):
                    await self.wanted.wait()
            self.wanted.clear()
            try:
                await self._publish()
            except Exception:
                # It is read from every room: whatever breaks in one of them, the next round tries again.
                log.exception("the status could not be published")
            await asyncio.sleep(0.1)

    def _wait_s(self) -> float:
        """Return how long the status stays what it is, as far as is known: a pause of the API ends by itself."""
        model = self._settings.current.anthropic_model
        ends_s = (self._api.condition.changes_in_s(model), self._api.breaker(model).retry_in_s)
        return min([STATUS_INTERVAL_S, *(left_s + _A_MOMENT_S for left_s in ends_s if left_s)])

    async def _publish(self) -> None:
        await asyncio.to_thread(self._settings.reload_if_changed)
        await self._ledger.maintain()
        await self._rooms.kept.maintain_if_due()
        status = await self.read()
        self._monitoring.show(status)
        if status == self._last:
            return
        self._last = status
        self.listeners.tell(lambda: status)

    def _api_status(self, settings: Settings) -> ApiStatus:
        model = settings.anthropic_model
        read = self._keys_read.is_set()
        if read and not self._api.has_key and self._api.held_back is None:
            return ApiStatus(phase="no_key", model=model, detail="add one")
        closed_by = self._api.closed_by()
        if closed_by is not None:
            return ApiStatus(phase="closed", model=model, detail=f"{closed_by.subject} can't be read")
        if self._ledger.note_problem is not None:
            return ApiStatus(phase="closed", model=model, detail=OTHER_LEDGER)
        if price_lost := self._prices.closed_for(model):
            return ApiStatus(phase="closed", model=model, detail=price_lost)
        if not read:
            return ApiStatus(phase="checking", model=model, detail="reading the keyring")
        if self._api.held_back is not None:
            return ApiStatus(phase="key_held_back", model=model, detail="belongs to another address")
        return heard_status(self._api, model)

    def _api_problems(self) -> list[Problem]:
        """Return what the API itself said, where nothing here keeps it from being asked."""
        if self._api.closed_by() is not None or self._api.held_back is not None or not self._api.has_key:
            return []
        problem = heard_problem(self._api, self._settings.current.anthropic_model)
        return [] if problem is None else [problem]

    def _problems(self) -> tuple[Problem, ...]:
        found = self._ledger.problems()
        for name in get_args(KeyName):
            held_back = self._key_held_back(name)
            if held_back is not None:
                title = f"The {KEY_TITLES[name]} key is held back"
                found.append(
                    Problem(
                        kind="key",
                        title=title,
                        message=held_back.message,
                        hint=held_back.hint,
                        setting=f"{name}_api_key",
                    )
                )
        found += self._api_problems()
        local = self._local_keeper.state
        if local.phase == "failed" and self._key_held_back("vllm") is None:
            kind, title = _LOCAL_FAILURES[local.cause]
            found.append(
                Problem(
                    kind=kind,
                    title=title,
                    message=sentence(local.detail),
                    hint=local.hint,
                )
            )
        if local.crash is not None and local.phase in ("starting", "ready"):
            found.append(
                Problem(
                    kind="local_restarted",
                    title="The local server ended and was started again",
                    message=f"It {local.crash.how}. An answer under way broke off; its text is kept.",
                    hint="Continue asks for the rest of it.",
                )
            )
        if (refused := self._local_keeper.refused) is not None:
            model = local.model or "What ran before"
            found.append(
                Problem(
                    kind="local_model",
                    title=f"{model} goes on, and another model is set",
                    message=refused.message,
                    hint=refused.hint,
                )
            )
        found += self._other_problems()
        return (*self._settings_problems(), *found)

    def _settings_problems(self) -> list[Problem]:
        """Return what is wrong with the settings, what closes the API first, then the question for trust."""
        found: list[Problem] = []
        for problem in sorted(self._settings.problems, key=lambda each: not each.closes):
            is_file = problem.name == "settings.json"
            kind = "settings_file" if is_file else "limit" if problem.closes else "setting"
            found.append(
                Problem(
                    kind=kind,
                    title=problem.title,
                    message=problem.message,
                    hint="",
                    setting=problem.setting,
                )
            )
        found += [
            Problem(
                kind="trust",
                title=f"{file.path} has changed since you trusted it"
                if file.changed
                else f"{file.path} is not trusted",
                message=f"Not taken from it: {_settings_of(file)}.",
                hint=file.hint,
                file=file,
            )
            for file in self._settings.untrusted
        ]
        return found

    def _other_problems(self) -> list[Problem]:
        found = [
            Problem(kind="prices", title="A price of yours isn't used", message=text, hint="")
            for text in self._prices.problems
        ]
        found += [
            Problem(kind="set_aside", title="A broken file was set aside", message=text, hint="")
            for text in left_aside(self._settings.current.home)
        ]
        found += [
            Problem(
                kind="templates",
                title="A prompt template of yours isn't used",
                message=f"{problem.path}: {problem.what}.",
                hint="The packaged one is used instead.",
            )
            for problem in self._rooms.preparer.templates.problems()
        ]
        kept = self._rooms.kept
        if kept.problem is not None:
            found.append(
                Problem(
                    kind="answers",
                    title="Answers can't be kept for repeated requests",
                    message=sentence(f"{kept.path.name} can't be used: {kept.problem}"),
                    hint="Nothing is paid twice: a repeated request of another process is refused. Free the disk, "
                    "or move the file away; IDEMPOTENCY_KEEP_HOURS=0 keeps answers in memory only.",
                    setting="idempotency_keep_hours",
                )
            )
        return found + self._monitoring.problems() + self._machine.problems()


def _settings_of(file: UntrustedFile) -> str:
    """Return what a file would set, each cut to what can be read at a glance."""
    return "; ".join(shortened(str(setting), _MOST_SHOWN) for setting in file.withheld)
