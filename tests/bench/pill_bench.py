"""How soon the panel answers a click on the Machine page, and how soon its Local pill says what became of a server.

The window and the core are the real ones, with the packaged model; and, where a Docker Engine can be started, with
the stand-in for vLLM in a container. The baseline is how long the same window takes to be painted once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QPushButton

from tests.bench.measure import Figure, median
from tests.support.docker_engine import DockerEngine, EngineRefused, free_port, missing

ROUNDS = 5
WITHIN_S = 60.0
MODEL = "tiny/stand-in"


def run() -> list[Figure]:
    figures = [
        *_figures("embedded", "embedded server, killed with 9"),
    ]
    why = missing()
    if why is None:
        try:
            figures += _figures("compose", "container, killed with 9")
        except EngineRefused as error:
            why = str(error)
    if why is not None:
        print(f"no figure of a container: {why}")
    return figures


def _figures(kind: str, what: str) -> list[Figure]:
    environment = {**os.environ, "QT_QPA_PLATFORM": os.environ.get("QT_QPA_PLATFORM", "offscreen")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.pill_bench", kind],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    painted, clicks, pills = (
        [float(word) for word in line.split()] for line in done.stdout.strip().splitlines()[-3:]
    )
    click, click_spread = median(clicks)
    pill, pill_spread = median(pills)
    baseline = median(painted)[0]
    return [
        Figure(
            name=f"{kind}: from a click to its feedback, painted",
            value=click,
            unit="ms",
            aim=100.0,
            baseline=baseline,
            baseline_name="one paint of the window",
            spread=click_spread,
        ),
        Figure(
            name=f"{what}: until the pill says so",
            value=pill,
            unit="ms",
            aim=2000.0,
            baseline=baseline,
            baseline_name="one paint of the window",
            spread=pill_spread,
        ),
    ]


def child(kind: str) -> None:
    """Print the milliseconds of each paint, each click and each end, a line of each."""
    os.environ["QT_API"] = "pyside6"
    os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"
    home = Path(tempfile.mkdtemp(prefix="signalbox-bench-"))
    os.environ["SIGNALBOX_HOME"] = str(home)
    os.environ["LOCAL_SERVER"] = kind
    engine = DockerEngine() if kind == "compose" else None
    with engine or nullcontext():
        if engine is not None:
            engine.load_standin("v0.32.0")
            os.environ.update(engine.environment, VLLM_PORT=str(free_port()), VLLM_MODEL=MODEL)
            _override(home)
        _use(kind, home, engine)


class Paints(QObject):
    """Notes when what it watches was first painted while ``is_news`` holds."""

    def __init__(self, is_news: Callable[[], bool]) -> None:
        super().__init__()
        self._is_news = is_news
        self.at: float | None = None

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Paint and self.at is None and self._is_news():
            self.at = time.perf_counter()
        return False


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not holds():  # noqa: ASYNC110  widgets have no event to await
            await asyncio.sleep(0.002)


async def _clicked(button: QPushButton, paints: Paints) -> float:
    began, paints.at = time.perf_counter(), None
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    await _until(lambda: paints.at is not None)
    assert paints.at is not None
    return (paints.at - began) * 1000


def _override(home: Path) -> None:
    from core.local.vllm_settings import OVERRIDE_FILE

    override = home / OVERRIDE_FILE
    override.parent.mkdir(exist_ok=True)
    override.write_text("services:\n  vllm:\n    pull_policy: never\n    mem_limit: 512m\n")


def _use(kind: str, home: Path, engine: DockerEngine | None) -> None:
    from PySide6.QtWidgets import QApplication
    from qasync import QEventLoop

    from core import RouterCore
    from gui.machine.page import MachinePage
    from gui.pages import PAGES
    from gui.shell.bridge import Bridge
    from gui.shell.pages import Target
    from gui.shell.window import Window
    from gui.theme.appearance import panel_file
    from gui.theme.theme import theme

    application = QApplication([])
    theme().install(application)
    kept = panel_file(home)
    kept.setValue("welcome/seen", True)
    kept.sync()
    bridge = Bridge(lambda: RouterCore(local_start="eager"))
    window = Window(bridge, home, PAGES)
    window.resize(1280, 800)
    pill = window.header.pills["local"]

    def says(word: str) -> bool:
        return any(word in run.text for run in pill.shown())

    @asynccontextmanager
    async def panel() -> AsyncIterator[None]:
        window.show()
        await bridge.start()
        await window.start()
        try:
            yield
        finally:
            await window.stop()
            await bridge.stop()

    async def live() -> None:
        painted: list[float] = []
        clicks: list[float] = []
        ends: list[float] = []
        async with panel():
            window.open(Target("machine", "server"))
            page = window.page("machine")
            assert isinstance(page, MachinePage)
            card = page.view.state
            paints = Paints(lambda: bool(page.controller.asked) or not says("Ready"))
            for button in (card, card.start, card.stop):
                button.installEventFilter(paints)
            for _ in range(ROUNDS):
                if kind == "compose":
                    await _until(lambda: says("Stopped") or says("Failed"))
                    await bridge.call(bridge.core.start_local())  # without the pre-flight's question
                await _until(lambda: says("Ready"))
                began = time.perf_counter()
                window.repaint()
                painted.append((time.perf_counter() - began) * 1000)
                began = time.perf_counter()
                if engine is not None:
                    await asyncio.to_thread(engine.docker, "kill", "signalbox-vllm-1")
                else:
                    status = bridge.status
                    assert status is not None
                    assert status.local.pid is not None
                    os.kill(status.local.pid, signal.SIGKILL)
                await _until(lambda: not says("Ready"))
                ends.append((time.perf_counter() - began) * 1000)
                if kind == "compose":
                    await bridge.call(bridge.core.start_local())
                elif says("Failed"):
                    await bridge.call(bridge.core.restart_local())
                await _until(lambda: says("Ready"))
                clicks.append(await _clicked(card.stop, paints))
                await _until(lambda: says("Stopped"))
                if kind == "embedded":
                    await bridge.call(bridge.core.start_local())
        for line in (painted, clicks, ends):
            print(*line)

    loop = QEventLoop(application)
    asyncio.set_event_loop(loop)
    with loop:
        loop.run_until_complete(live())


if __name__ == "__main__":
    child(sys.argv[1])
