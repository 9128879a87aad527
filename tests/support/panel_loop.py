"""Runs a test's coroutine on Qt's loop with a real bridge to a fake core, as the panel itself runs."""

from __future__ import annotations

import asyncio
import atexit
import gc
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from PySide6.QtCore import QCoreApplication, QEvent
from PySide6.QtWidgets import QApplication, QWidget
from qasync import QEventLoop

from gui.shell.bridge import Bridge
from gui.theme.theme import theme
from tests.support.fake_core import FakeCore

W = TypeVar("W", bound=QWidget)
WAIT_S = 10.0


class Panel:
    """What a test drives: the loop, the bridge and the core behind it."""

    def __init__(self, app: QApplication, core: FakeCore, loop: QEventLoop) -> None:
        self.app = app
        self.core = core
        self.loop = loop
        self.bridge = Bridge(lambda: core)  # type: ignore[arg-type, return-value]
        self._shown: list[QWidget] = []
        self.failures: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: self.failures.append(context))

    def run(self, body: Coroutine[Any, Any, Any]) -> None:
        """Run ``body``; a job of the panel that failed on the way fails the test."""
        self.loop.run_until_complete(asyncio.wait_for(body, 60))
        assert not self.failures, self.failures

    async def start(self) -> None:
        await self.bridge.start()
        await self.until(lambda: self.bridge.status is not None)

    def show(self, widget: W, width: int = 1280, height: int = 800) -> W:
        widget.resize(width, height)
        widget.show()
        self._shown.append(widget)
        return widget

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when ``condition`` holds, looking each time the loop has done something."""
        async with asyncio.timeout(WAIT_S):
            while not condition():  # noqa: ASYNC110  widgets have no event to await
                await asyncio.sleep(0.002)

    async def settle(self) -> None:
        """Let everything that was posted happen: layouts, paints, queued signals."""
        for _ in range(5):
            await asyncio.sleep(0)

    async def close(self) -> None:
        for widget in self._shown:
            widget.close()
            widget.deleteLater()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        await self.bridge.stop()


@lru_cache(maxsize=1)
def qt_loop(app: QApplication) -> QEventLoop:
    """The one Qt loop of the test process, as in the panel.

    Not one a test: a closed qasync 0.28 loop keeps its pending timers, and when the collector then takes it on
    the core's thread, Qt's list of timers on this thread points into freed memory (seen as a segmentation
    fault in QTimerInfoList::activateTimers).

    Its workers are Python's threads. qasync's own are ten QThreads from the first call on, and Qt aborts the
    process where one still runs when it is destroyed ("QThread: Destroyed while thread is still running"): so
    did every test process that ended in another way than by closing the loop.
    """
    loop = QEventLoop(app)
    loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix="panel-worker"))
    atexit.register(loop.close)
    return loop


@contextmanager
def panel_on_qt(app: QApplication, home: Path) -> Iterator[Panel]:
    theme().install(app)
    app.setQuitOnLastWindowClosed(False)
    core = FakeCore(home)
    loop = qt_loop(app)
    asyncio.set_event_loop(loop)
    panel = Panel(app, core, loop)
    # Whatever else is in a cycle is taken here, on the thread that Qt's objects belong to.
    gc.disable()
    try:
        yield panel
    finally:
        loop.run_until_complete(panel.close())
        asyncio.set_event_loop(None)
        gc.collect()
        gc.enable()
