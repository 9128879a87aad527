"""Keeps what the machine's samples say: the history and its file, the alerts and who is told of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.base.async_tools import finish
from core.base.files import read_own_json, set_aside, write_whole
from core.base.observable import Listeners
from core.local.alert_engine import AlertEngine, Told
from core.local.alert_rules import Thresholds, looks
from core.local.alerts import Alert
from core.local.gpu_sample import MachineSample
from core.local.history import History, MachineEvent
from core.local.history_events import server_event
from core.local.history_file import HistoryFile
from core.local.history_rings import HistoryRings
from core.local.server import ServerState
from core.services.alert_webhook import AlertWebhook
from core.services.status import Problem

if TYPE_CHECKING:
    from core.settings import Settings

log = logging.getLogger(__name__)

SAVED_EVERY_S = 60.0
ALERTS_FILE = "machine.alerts.json"
MOST_ALERTS_BYTES = 1 << 20
LEAST_SILENT_S = 2.5
SILENT_INTERVALS = 2.5
"""A break between two samples of so many intervals is one in which nobody looked."""

Subscribe = Callable[[Callable[[MachineSample], None]], Callable[[], None]]


class MachineKeeper:
    """Used on the core's loop; ``alerts`` may be read from any thread. Files are used on threads, one at a time.

    ``server`` is the local server's state, ``on_change`` is called where ``problems`` are others than before.
    """

    def __init__(
        self,
        home: Path,
        settings: Callable[[], Settings],
        server: Callable[[], ServerState],
        on_change: Callable[[], None] = lambda: None,
        *,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._server = server
        self._on_change = on_change
        self._clock = clock
        self._ticks = ticks
        self._rings = HistoryRings()
        self._file = HistoryFile(home)
        self._alerts_path = home / ALERTS_FILE
        self._engine = AlertEngine()
        self._webhook = AlertWebhook(lambda: self._settings().alert_webhook_url, on_change)
        self._listeners = Listeners[tuple[Alert, ...]](log, "the machine's alerts")
        self._alerts: tuple[Alert, ...] = ()
        self._alerts_problem = ""
        self._seen = ServerState(phase="stopped", kind="none")
        self._was_used = False
        self._saved_s = 0.0
        self._lock = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] = lambda: None

    # -- life -----------------------------------------------------------------------------------------------

    def start(self, subscribe: Subscribe) -> None:
        """Read what is kept, then listen to the samples, and save now and then."""
        if self._task is None:
            self._seen = self._server()
            self._task = asyncio.create_task(self._keep(subscribe), name="the machine's history")

    async def stop(self) -> None:
        """Save what is new, and end."""
        self._unsubscribe()
        self._unsubscribe = lambda: None
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait({task})
        await self._webhook.close()
        await self._save_alerts()
        await self._save()
        await asyncio.to_thread(self._file.close)

    async def _keep(self, subscribe: Subscribe) -> None:
        await self._load()
        self._unsubscribe = subscribe(self.take)
        due_s = self._ticks() + SAVED_EVERY_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, due_s - self._ticks())):
                    await self._wanted.wait()
            self._wanted.clear()
            await self._save_alerts()
            if self._ticks() >= due_s:
                due_s = self._ticks() + SAVED_EVERY_S
                await self._save()

    # -- what it hears --------------------------------------------------------------------------------------

    def take(self, sample: MachineSample) -> None:
        """Keep a sample, and look whether an alert begins or ends with it."""
        settings, server = self._settings(), self._server()
        if server is not self._seen:  # another server was chosen
            self.server_changed(server)
        silent_s = max(LEAST_SILENT_S, SILENT_INTERVALS / settings.gpu_samples_per_second)
        self._rings.take(sample, silent_s)
        found = looks(sample, server, Thresholds.of(settings), was_used=self._was_used)
        self._tell(self._engine.step(found, sample.at, self._ticks(), silent_s))

    def server_changed(self, state: ServerState) -> None:
        """Note what happened to the local server."""
        before, self._seen = self._seen, state
        if state.kind != before.kind:
            self._was_used = False
        if state.phase == "ready" or (state.phase == "starting" and state.kind in ("compose", "embedded")):
            self._was_used = True
        elif state.phase == "stopped":
            self._was_used = False  # by somebody's wish: what fails later is a new matter
        event = server_event(before, state, self._clock())
        if event is not None:
            self._rings.add_event(event)

    def _tell(self, told: tuple[Told, ...]) -> None:
        for each in told:
            if each.turn == "began":
                alert = each.alert
                kind = "gpu_lost" if alert.kind == "gpu_lost" else "alert"
                self._rings.add_event(
                    MachineEvent(at_s=alert.began_at.timestamp(), kind=kind, words=f"{alert.title}.")
                )
        if told:
            self._webhook.tell(told)
        if self._engine.changed:
            self._engine.changed = False
            self._alerts = self._engine.alerts()
            self._listeners.tell(lambda: self._alerts)
        if self._engine.to_keep:  # at once: a process that ends in the next minute must not tell it again
            self._wanted.set()

    # -- what is asked --------------------------------------------------------------------------------------

    def history(self, seconds: float, most_points: int) -> History:
        return self._rings.read(self._clock(), seconds, most_points)

    def alerts(self) -> tuple[Alert, ...]:
        return self._alerts

    def subscribe_alerts(self, listener: Callable[[tuple[Alert, ...]], None]) -> Callable[[], None]:
        return self._listeners.add(listener)

    def acknowledge(self, alert_id: str) -> None:
        self._engine.acknowledge(alert_id)
        self._tell(())

    def snooze(self, alert_id: str, minutes: float) -> None:
        until = datetime.fromtimestamp(self._clock(), UTC) + timedelta(minutes=max(0.0, minutes))
        self._engine.snooze(alert_id, until)
        self._tell(())

    def problems(self) -> list[Problem]:
        """Return what was not kept or not told."""
        kept = "It goes on in memory, and is kept again once that is fixed."
        found = (
            (
                "Alerts aren't posted to your webhook",
                self._webhook.problem,
                "The alerts themselves are listed. Check the address and the network.",
                "alert_webhook_url",
            ),
            ("The machine's history isn't kept", self._file.problem, kept, ""),
            ("What you acknowledged and snoozed isn't kept", self._alerts_problem, kept, ""),
        )
        return [
            Problem(kind="telemetry", title=title, message=text, hint=hint, setting=setting)
            for title, text, hint, setting in found
            if text
        ]

    # -- files ----------------------------------------------------------------------------------------------

    async def _load(self) -> None:
        async with self._lock:
            kept = await finish(asyncio.to_thread(self._file.load))
            alerts = await finish(asyncio.to_thread(self._read_alerts))
        if kept is not None:
            self._rings.restore(kept.series, kept.gpus, kept.slots, kept.events, self._clock())
        if alerts is not None:
            try:
                self._engine.restore(alerts, datetime.fromtimestamp(self._clock(), UTC))
            except (ValueError, TypeError, KeyError, OverflowError):
                await asyncio.to_thread(self._set_alerts_aside)
            else:
                self._tell(())  # what had ended and nobody has acknowledged is listed again
        self._saved_s = self._clock()
        if self.problems():
            self._on_change()

    async def _save(self) -> None:
        async with self._lock:
            now_s = self._clock()
            # The slots that were being filled when they were last saved are more by now.
            since_s = self._saved_s - SAVED_EVERY_S
            if now_s < self._saved_s:  # by a clock that was fast, the file let go what it took for old
                since_s = 0.0
            is_rewritten, self._rings.is_rewritten = self._rings.is_rewritten, False
            if is_rewritten:  # or the next start would show two cards in one line
                since_s = 0.0
            before = self._file.problem
            write = partial(
                self._file.save,
                dict(self._rings.series),
                dict(self._rings.gpus),
                self._rings.slots(since_s),
                self._rings.events,
                now_s,
            )
            if await finish(asyncio.to_thread(write)):
                self._saved_s = now_s
            else:
                self._rings.is_rewritten |= is_rewritten
        if self._file.problem != before:
            self._on_change()

    async def _save_alerts(self) -> None:
        if not self._engine.to_keep:
            return
        async with self._lock:
            self._engine.to_keep = False
            text = json.dumps(self._engine.kept(), indent=1)
            before = self._alerts_problem
            try:
                await finish(asyncio.to_thread(write_whole, self._alerts_path, text, durable=False))
            except OSError as error:
                self._alerts_problem = f"{ALERTS_FILE} can't be written: {error.strerror or error}."
                log.warning("%s", self._alerts_problem)
            else:
                self._alerts_problem = ""
        if self._alerts_problem != before:
            self._on_change()

    def _read_alerts(self) -> dict[str, Any] | None:
        try:
            return read_own_json(self._alerts_path, MOST_ALERTS_BYTES, dict[str, Any])
        except OSError as error:
            self._alerts_problem = f"{ALERTS_FILE} can't be read: {error.strerror or error}."
            return None

    def _set_alerts_aside(self) -> None:
        try:
            log.warning(
                "%s was no list of alerts; set aside as %s", ALERTS_FILE, set_aside(self._alerts_path)
            )
        except OSError as error:
            self._alerts_problem = f"{ALERTS_FILE} can't be used: {error.strerror or error}."
