"""The log's card offscreen with a log that grows: ``python -m tests.bench.log_child 5000`` (lines a second).

Prints one line of JSON, milliseconds: how late a timer of 5 ms came while lines came, how long 100,000 lines take
to show at once, and the longest a search of all of them held the loop up.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QApplication

from core import LogPage
from core.local.server_log import LogLevel, LogRing
from gui.machine.controller import MachineController
from gui.machine.log_card import LogCard
from tests.bench.measure import percentile
from tests.support.fake_shell import FakeShell
from tests.support.panel_loop import Panel, panel_on_qt

KEPT = 100_000
RUN_S = 12.0
TICK_MS = 5


class Growing:
    """A log that already has 100,000 lines and grows by ``rate`` a second from the first look on."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._began: float | None = None
        levels: tuple[LogLevel, ...] = ("info", "info", "warning", "error", "")
        self._texts = [
            f"Engine 000: Running: {n} reqs, waiting {n % 7}, KV cache {n % 100}.0 %" for n in range(997)
        ]
        self._levels = levels
        self._ring = LogRing()
        self._said = 0
        self._say(KEPT)

    def _say(self, count: int) -> None:
        for number in range(self._said, self._said + count):
            level: LogLevel = self._levels[number % 5]
            self._ring.extend([("14:09:06", self._texts[number % 997])], level=level)
        self._said += count

    def page(self, cursor: int = 0, most: int = KEPT) -> LogPage:
        now = time.monotonic()
        self._began = self._began or now
        self._say(KEPT + int((now - self._began) * self._rate) - self._said)
        return self._ring.page(cursor, most)


class Lag:
    """How late a precise timer comes, in milliseconds."""

    def __init__(self) -> None:
        self.late: list[float] = []
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._tick)
        self._last = time.perf_counter()

    def start(self) -> None:
        self.late.clear()
        self._last = time.perf_counter()
        self._timer.start()

    def stop(self) -> None:
        self._timer.stop()

    def _tick(self) -> None:
        now = time.perf_counter()
        self.late.append(max(0.0, (now - self._last) * 1000 - TICK_MS))
        self._last = now


async def measure(panel: Panel, rate: int) -> dict[str, float]:
    log = Growing(rate)
    if rate:
        panel.core.local_log_page = log.page  # type: ignore[method-assign]
    await panel.start()
    controller = MachineController(panel.bridge)
    card = panel.show(LogCard(FakeShell(panel.bridge, Path()), controller), 520, 420)
    lag = Lag()
    lag.start()
    if rate:
        await panel.until(lambda: len(card.view.lines) >= KEPT)
        await panel.settle()
    first = max(lag.late, default=0.0)
    lag.start()
    await asyncio.sleep(RUN_S)
    p99 = percentile(lag.late, 0.99)
    lag.start()
    card.search.setText("kv cache 42")
    await asyncio.sleep(1.0)
    searched = max(lag.late, default=0.0)
    lag.stop()
    await controller.stop()
    return {"p99": p99, "first": first, "searched": searched, "lines": float(len(card.view.lines))}


def main(rate: int) -> None:
    app = QApplication([])
    with tempfile.TemporaryDirectory() as home, panel_on_qt(app, Path(home)) as panel:
        found: dict[str, float] = {}

        async def body() -> None:
            found.update(await measure(panel, rate))

        panel.run(body())
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
