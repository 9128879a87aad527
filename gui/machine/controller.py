"""The verbs of the Machine page: start, stop, restart, check, apply; and what the core tells of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from PySide6.QtCore import QObject, QTimer, Signal

from core import VllmSettings
from core.errors import SignalboxError
from gui.shell.tasks import Tasks

if TYPE_CHECKING:
    from core import (
        CoreStatus,
        DockerContext,
        FixSetting,
        PreflightReport,
        ServerState,
        VllmPlan,
    )
    from gui.shell.bridge import Bridge

API_ANSWERS = frozenset({"key_set", "reachable", "rate_limited", "overloaded"})
"""The states of the API in which a request may go there."""
Verb = Literal["", "start", "stop", "restart", "look"]
PLAN_AFTER_MS, ESTIMATE_AFTER_MS = 150, 600
"""Writing a diff is quick; an estimate looks at the machine, so it waits until nobody types any more."""


class MachineController(QObject):
    """A verb returns at once; what became of it is the core's state, or ``trouble``.

    ``asked`` is the verb that was pressed and is not to be seen in the state yet. ``report`` is the last
    pre-flight, and ``start_is_held`` says that a start waits for a person because of it. ``in_force`` are the
    container's settings, ``draft`` what is typed and not applied (``None``: nothing is), with its ``plan`` (made
    for ``planned``, which may be older) and its ``estimate``. ``set_aside`` is the file in which an apply kept what
    was changed by hand, until somebody has read it.

    Signals:
        changed: one of these, or what goes with the pre-flight.
        draft_changed: the settings in force, the draft, its plan or its estimate.
    """

    changed = Signal()
    draft_changed = Signal()

    def __init__(self, bridge: Bridge, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.bridge = bridge
        self.tasks = Tasks(self)
        self.log_cleared_at = 0
        """Where the log's reader cleared it: lines before this cursor stay away, whoever shows it."""
        self.asked: Verb = ""
        self.trouble = ""
        self.report: PreflightReport | None = None
        self.is_checking = False
        self.check_trouble = ""
        self.start_is_held = False
        self.in_force = VllmSettings()
        self.draft: VllmSettings | None = None
        self.plan: VllmPlan | None = None
        self.planned = VllmSettings()
        self.estimate: PreflightReport | None = None
        self.draft_trouble = ""
        self.set_aside = ""
        self.contexts: tuple[DockerContext, ...] = ()
        self.commands: tuple[str, ...] = ()
        self._seen: tuple[str, str] = ("", "")
        self._has_settings = False
        self._kind = ""
        self._plan_timer = self._timer(PLAN_AFTER_MS, self._plan_draft)
        self._estimate_timer = self._timer(ESTIMATE_AFTER_MS, self._estimate_draft)
        bridge.status_changed.connect(self._on_status)

    def _timer(self, after_ms: int, act: Any) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(after_ms)
        timer.timeout.connect(act)
        return timer

    @property
    def state(self) -> ServerState | None:
        """The local server's state, ``None`` before the core runs."""
        status = self.bridge.status
        return None if status is None else status.local

    @property
    def api_answers(self) -> bool:
        """Whether requests may go to the API while the local server can't take them."""
        status = self.bridge.status
        return status is not None and status.api.phase in API_ANSWERS

    @property
    def is_compose(self) -> bool:
        state = self.state
        return state is not None and state.kind == "compose"

    async def start(self) -> None:
        """The core runs: read what needs it, and look at what a start of the container would need."""
        await self._when_compose()

    async def stop(self) -> None:
        self._plan_timer.stop()
        self._estimate_timer.stop()
        await self.tasks.close()

    # The server

    def start_server(self, *, anyway: bool = False) -> None:
        """Start it. A container first has to pass its pre-flight, but ``anyway``."""
        if self.asked != "start":
            self._ask("start", self._start(anyway=anyway))

    def stop_server(self) -> None:
        """Stop it, or give a start up."""
        state = self.state
        if self.asked == "stop" or (state is not None and state.phase == "stopping"):
            return
        if self.is_checking and self.asked == "start":
            self.tasks.start(_nothing(), key="start")  # not even begun: the check before it is given up
            self.is_checking = False
            self._answered()
            return
        self._ask("stop", self.bridge.core.stop_local())

    def restart_server(self) -> None:
        if self.asked != "restart":
            self._ask("restart", self.bridge.core.restart_local())

    def use_again(self) -> None:
        """Undo that everything goes to the API."""
        self._ask("", self.bridge.core.drain_local(False))

    def look_again(self) -> None:
        """Ask somebody else's server how it is, now."""
        if self.asked != "look":
            self._ask("look", self.bridge.core.start_local())

    def give_start_up(self) -> None:
        """Leave a start that the pre-flight holds."""
        self.start_is_held = False
        self.changed.emit()

    async def _start(self, *, anyway: bool) -> None:
        if self.is_compose and not anyway:
            await self._check()
            if self.check_trouble or self.report is None or self.report.blocks:
                self.start_is_held = True
                return
        await self.bridge.call(self.bridge.core.start_local())

    def _ask(self, verb: Verb, work: Coroutine[Any, Any, Any]) -> None:
        self.asked, self.trouble, self.start_is_held = verb, "", False
        state = self.state
        self._seen = ("", "") if state is None else (state.phase, state.detail)
        self.changed.emit()
        job = work if verb == "start" else self.bridge.call(work)
        # Only a start has a key: its check can be given up. What the core was asked for is the core's to end.
        self.tasks.start(self._await(verb, job), key="start" if verb == "start" else None)

    async def _await(self, verb: Verb, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        except SignalboxError as error:
            self.trouble = str(error)
        finally:
            if self.asked == verb:
                self._answered()

    def _answered(self) -> None:
        self.asked = ""
        self.changed.emit()

    def _on_status(self, status: CoreStatus) -> None:
        state = status.local
        if state.kind != self._kind:
            self._kind = state.kind
            self.start_is_held = False
            self.changed.emit()
        if self.asked and (state.phase, state.detail) != self._seen and not self.is_checking:
            self._answered()
        if state.kind == "compose" and not self._has_settings:
            self.tasks.start(self._when_compose(), key="compose")
        elif state.kind != "compose":
            self._has_settings = False

    # The container's pre-flight

    def check(self) -> None:
        """Look at what a start needs."""
        if not self.is_checking:
            self.tasks.start(self._check(), key="check")

    async def _check(self) -> None:
        self.is_checking, self.check_trouble = True, ""
        self.changed.emit()
        try:
            self.report = await self.bridge.call(self.bridge.core.vllm.preflight())
        except SignalboxError as error:
            self.check_trouble = str(error)
        else:
            if self.draft_trouble:  # what kept the settings from being read may be gone by now
                await self._read_settings()
        finally:
            self.is_checking = False
            if self.start_is_held and self.report is not None and not self.report.blocks:
                self.start_is_held = False
            self.changed.emit()

    def apply_fix(self, fix: FixSetting, *, then_start: bool = False) -> None:
        """Set what would do, and look again; what is typed in the form stays, with that in it."""
        self.tasks.start(self._apply_fix(fix, then_start=then_start), key="fix")

    async def _apply_fix(self, fix: FixSetting, *, then_start: bool) -> None:
        change: dict[str, Any] = {fix.name: fix.value}
        draft = self.draft
        if not await self._write(replace(self.in_force, **change)):
            self.changed.emit()
            return
        if draft is not None:
            self.set_draft(replace(draft, **change))
        state = self.state
        if then_start:
            self.start_server() if state is None or "start" in state.verbs else self.restart_server()
        else:
            await self._check()

    # The container's settings

    async def _when_compose(self) -> None:
        if not self.is_compose or self._has_settings:
            return
        self._has_settings = True
        await self._read_settings()
        if self.report is None and not self.is_checking:
            await self._check()

    async def _read_settings(self) -> None:
        core = self.bridge.core
        try:
            self.in_force = await self.bridge.call(core.vllm.settings())
            self.commands = await self.bridge.call(core.vllm.commands())
            self.contexts = await self.bridge.call(core.vllm.contexts())
            await self._make_plan()
            self.draft_trouble = ""
        except SignalboxError as error:
            self.draft_trouble = str(error)
        self.draft_changed.emit()
        self.changed.emit()

    def read_settings(self) -> None:
        """Read the container's settings and contexts anew."""
        self.tasks.start(self._read_settings(), key="settings")

    def set_draft(self, wanted: VllmSettings) -> None:
        """What is typed now. Equal to what is in force it is no draft."""
        self.draft = None if wanted == self.in_force else wanted
        self.draft_trouble = ""
        self.draft_changed.emit()
        self._plan_timer.start()
        self._estimate_timer.start()

    def propose_model(self, model: str) -> None:
        """Fill ``model`` into the form as a draft, beside what is in force."""
        self.tasks.start(self._propose_model(model), key="propose")

    async def _propose_model(self, model: str) -> None:
        if not self._has_settings:
            await self._read_settings()  # else the draft would leave out what is in force
        self.set_draft(replace(self.wanted, model=model))

    def forget_draft(self) -> None:
        self.set_draft(self.in_force)

    @property
    def wanted(self) -> VllmSettings:
        return self.draft or self.in_force

    def _plan_draft(self) -> None:
        self.tasks.start(self._plan(), key="plan")

    async def _plan(self) -> None:
        try:
            await self._make_plan()
        except SignalboxError as error:
            self.draft_trouble = str(error)
        self.draft_changed.emit()

    async def _make_plan(self) -> None:
        wanted = self.wanted
        self.plan = await self.bridge.call(self.bridge.core.vllm.plan(wanted))
        self.planned = wanted

    def _estimate_draft(self) -> None:
        self.tasks.start(self._estimate(), key="estimate")

    async def _estimate(self) -> None:
        try:
            self.estimate = await self.bridge.call(self.bridge.core.vllm.preflight(self.wanted))
        except SignalboxError as error:
            self.draft_trouble = str(error)
        self.draft_changed.emit()

    def apply_draft(self) -> None:
        """Write what is typed; the container takes it at its next start."""
        if self.draft is not None:
            self.tasks.start(self._apply_draft(self.draft), key="apply")

    async def _apply_draft(self, draft: VllmSettings) -> None:
        if await self._write(draft):
            await self._check()

    async def _write(self, wanted: VllmSettings) -> bool:
        try:
            self.plan = await self.bridge.call(self.bridge.core.vllm.apply(wanted))
            self.planned = wanted
            self.set_aside = self.plan.set_aside or self.set_aside
        except SignalboxError as error:
            self.draft_trouble = self.trouble = str(error)
            self.draft_changed.emit()
            return False
        self.draft, self.draft_trouble = None, ""
        await self._read_settings()
        return True

    def forget_set_aside(self) -> None:
        """Somebody has read where what was changed by hand is kept."""
        self.set_aside = ""
        self.draft_changed.emit()

    def choose_context(self, name: str) -> None:
        """Run the container elsewhere from its next start on."""
        self.tasks.start(self._choose_context(name), key="context")

    async def _choose_context(self, name: str) -> None:
        self.draft_trouble = ""
        try:
            await self.bridge.call(self.bridge.core.vllm.choose_context(name))
        except SignalboxError as error:
            self.draft_trouble = str(error)
            self.draft_changed.emit()
            return
        await self._read_settings()
        await self._check()

    # Whatever is local

    def choose_kind(self, kind: str) -> None:
        """Say what the local side is: ``auto``, ``embedded``, ``compose``, ``external`` or ``none``."""
        self.tasks.start(self._choose_kind(kind), key="kind")

    async def _choose_kind(self, kind: str) -> None:
        try:
            await self.bridge.run_blocking(self.bridge.core.settings.set, "local_server", kind)
        except SignalboxError as error:
            self.trouble = str(error)
            self.changed.emit()


async def _nothing() -> None:
    await asyncio.sleep(0)
