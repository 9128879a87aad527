"""The only place where Qt's loop and the core's loop meet.

The core runs on its own asyncio loop (uvloop where it exists) in one background thread. The panel awaits
``bridge.call(...)``, iterates ``bridge.stream(...)`` and connects to ``bridge.status_changed``; nothing else in
``gui`` touches a thread.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from PySide6.QtCore import QObject, Signal

if TYPE_CHECKING:
    from core import Alert, CoreStatus, MachineSample, ModelShelf, RouterCore
    from core.chat import EventStream, StreamEvent

T = TypeVar("T")
P = ParamSpec("P")

FRAME_S = 1 / 60
"""One hand-over a frame at most: a faster one costs the window without being visible."""


def _new_core_loop() -> asyncio.AbstractEventLoop:
    if sys.platform != "win32":
        import uvloop

        return uvloop.new_event_loop()
    return asyncio.new_event_loop()


class Bridge(QObject):
    """Owns the core's thread and carries calls, streams and what changes over there across.

    ``status``, ``sample``, ``alerts`` and ``shelf`` are what each signal said last, for whoever comes later; before
    the core runs they are ``None``, of alerts none.

    Signals, emitted on the panel's thread:
        status_changed: a ``CoreStatus``.
        machine_sampled: a ``MachineSample``. While the panel is busy only the newest waits for it; so with the next
            two.
        alerts_changed: a ``tuple[Alert, ...]``, newest first.
        models_changed: a ``ModelShelf``.
    """

    status_changed = Signal(object)
    machine_sampled = Signal(object)
    alerts_changed = Signal(object)
    models_changed = Signal(object)
    _came = Signal(object)

    def __init__(self, make_core: Callable[[], RouterCore], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._make_core = make_core
        self._core: RouterCore | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._subscriptions: list[Callable[[], None]] = []
        self.status: CoreStatus | None = None
        self.sample: MachineSample | None = None
        self.alerts: tuple[Alert, ...] = ()
        self.shelf: ModelShelf | None = None
        self.status_changed.connect(self._keep_status)
        self._samples = _Newest["MachineSample"](self._came.emit, self._on_sample)
        self._alerts = _Newest["tuple[Alert, ...]"](self._came.emit, self._on_alerts)
        self._shelves = _Newest["ModelShelf"](self._came.emit, self._on_shelf)
        self._came.connect(self._deliver)

    @property
    def core(self) -> RouterCore:
        """The core, to make coroutines of: ``await bridge.call(bridge.core.ask(...))``."""
        if self._core is None:
            raise RuntimeError("the bridge has not been started")
        return self._core

    async def start(self) -> None:
        """Start the thread, build the core on it and start the core.

        Raises:
            Exception: whatever building or starting the core raises; the thread is ended again.
        """
        loop = _new_core_loop()
        self._loop = loop
        self._thread = threading.Thread(
            target=self._run_loop, args=(loop,), name="signalbox-core", daemon=True
        )
        self._thread.start()
        try:
            await self.call(self._build())
        except BaseException:
            await self.stop()
            raise

    async def _build(self) -> None:
        self._core = await asyncio.to_thread(self._make_core)
        core = self._core
        self._subscriptions.append(core.subscribe(self.status_changed.emit))
        await core.start()
        self._subscriptions += [
            core.machine.subscribe(self._samples.put),
            core.machine.subscribe_alerts(self._alerts.put),
            core.local_models.subscribe(self._shelves.put),
        ]
        self._samples.put(core.machine.latest)
        self._alerts.put(core.machine.alerts())
        self._shelves.put(core.local_models.shelf())

    async def stop(self) -> None:
        """Stop the core, then its loop and thread. Safe to call twice."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        while self._subscriptions:
            self._subscriptions.pop()()
        try:
            if self._core is not None:
                await self.call(self._core.stop())
        finally:
            self._loop = self._thread = None
            loop.call_soon_threadsafe(loop.stop)
            await asyncio.get_running_loop().run_in_executor(None, thread.join, 5.0)

    @staticmethod
    def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()

    async def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` on the core's loop and return its result; cancelling this cancels it there."""
        if self._loop is None:
            coroutine.close()
            raise RuntimeError("the bridge is not running")
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    async def run_blocking(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking ``function`` in a worker thread of the core's loop."""
        return await self.call(asyncio.to_thread(function, *args, **kwargs))

    async def stream(
        self, events: EventStream | AsyncGenerator[StreamEvent, None]
    ) -> AsyncGenerator[list[StreamEvent], None]:
        """Iterate ``events`` on the core's loop and yield them in batches, one a frame.

        Closing this generator closes ``events`` over there, which closes the upstream connection, and returns
        when that is done.
        """
        mailbox = _Mailbox(asyncio.get_running_loop())
        pump = _Pump(events, mailbox)
        running = asyncio.ensure_future(self.call(pump.run()))
        running.add_done_callback(lambda _: mailbox.wake())
        try:
            while True:
                await mailbox.arrived.wait()
                done = running.done()
                batch = mailbox.take()
                if batch:
                    yield batch
                if done:
                    running.result()
                    return
                await asyncio.sleep(FRAME_S)
        finally:
            if not running.done():
                # Cancelling ``running`` would return at once, while the other loop is still closing.
                await self.call(pump.close())
                await asyncio.gather(running, return_exceptions=True)

    def stop_stream(self, events: EventStream) -> None:
        """Stop what ``stream`` reads: the last batch then has its ``Stopped``."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(events.stop)

    def _keep_status(self, status: CoreStatus) -> None:
        self.status = status

    def _deliver(self, newest: _Newest[Any]) -> None:
        """A method of this object: so Qt knows that it is to be called on the panel's thread."""
        newest.deliver()

    def _on_sample(self, sample: MachineSample) -> None:
        self.sample = sample
        self.machine_sampled.emit(sample)

    def _on_alerts(self, alerts: tuple[Alert, ...]) -> None:
        self.alerts = alerts
        self.alerts_changed.emit(alerts)

    def _on_shelf(self, shelf: ModelShelf) -> None:
        self.shelf = shelf
        self.models_changed.emit(shelf)


class _Newest(Generic[T]):
    """A value on its way to the panel's thread: one that comes before the last was taken takes its place."""

    def __init__(self, announce: Callable[[_Newest[T]], None], take: Callable[[T], None]) -> None:
        self._announce, self._take = announce, take
        self._lock = threading.Lock()
        self._waiting: list[T] = []

    def put(self, value: T) -> None:
        """On any thread."""
        with self._lock:
            first = not self._waiting
            self._waiting[:] = [value]
        if first:
            self._announce(self)

    def deliver(self) -> None:
        """On the panel's thread, once for each announcement."""
        with self._lock:
            value = self._waiting.pop()
        self._take(value)


class _Mailbox:
    """Events put by the core's thread and taken by the panel's, with one wake-up however many were put."""

    def __init__(self, reader_loop: asyncio.AbstractEventLoop) -> None:
        self.arrived = asyncio.Event()
        self._reader_loop = reader_loop
        self._lock = threading.Lock()
        self._events: list[StreamEvent] = []

    def put(self, event: StreamEvent) -> None:
        with self._lock:
            first = not self._events
            self._events.append(event)
        if first:
            self._reader_loop.call_soon_threadsafe(self.arrived.set)

    def wake(self) -> None:
        self.arrived.set()

    def take(self) -> list[StreamEvent]:
        self.arrived.clear()
        with self._lock:
            events, self._events = self._events, []
        return events


class _Pump:
    """Moves events into the mailbox; lives on the core's loop."""

    def __init__(self, events: EventStream | AsyncGenerator[StreamEvent, None], mailbox: _Mailbox) -> None:
        self._events = events
        self._mailbox = mailbox
        self._task: asyncio.Task[Any] | None = None
        self._closed = False

    async def run(self) -> None:
        self._task = asyncio.current_task()
        async with aclosing(self._events):
            if self._closed:
                return
            async for event in self._events:
                self._mailbox.put(event)

    async def close(self) -> None:
        """End ``run`` and return when the events are closed."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
