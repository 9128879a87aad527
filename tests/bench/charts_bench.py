"""What the Machine page costs while it draws: two GPUs at one sample a second, five charts in the real window.

The samples are scripted; what looking at the cards costs is another bench. The baseline is the same window and
page without samples.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.measure import Figure, median, percentile

ROUNDS = 3
SETTLE_S, MEASURED_S = 4.0, 20.0


def run() -> list[Figure]:
    live = [_measured("live") for _ in range(ROUNDS)]
    idle = [_measured("idle") for _ in range(ROUNDS)]
    share, spread = median([share for share, _ in live])
    lag, lag_spread = median([lag for _, lag in live])
    return [
        Figure(
            name="processor time of the panel, 2 GPUs at 1 Hz with live charts",
            value=share,
            unit="% of a core",
            aim=2.0,
            baseline=median([share for share, _ in idle])[0],
            baseline_name="the same page without samples",
            spread=spread,
        ),
        Figure(
            name="p99 of timer lag meanwhile",
            value=lag,
            unit="ms",
            aim=16.0,
            baseline=median([lag for _, lag in idle])[0],
            baseline_name="the same page without samples",
            spread=lag_spread,
        ),
    ]


def _measured(how: str) -> tuple[float, float]:
    environment = {**os.environ, "QT_QPA_PLATFORM": os.environ.get("QT_QPA_PLATFORM", "offscreen")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.charts_bench", how],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    share, lag_ms = done.stdout.split()[-2:]
    return float(share), float(lag_ms)


def child(how: str) -> None:
    """Print the share of a core that the window took, in percent, then p99 of how late a timer comes, in ms.

    The timer itself takes processor time, so the lag is measured after the share.
    """
    os.environ["QT_API"] = "pyside6"
    os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"
    from PySide6.QtWidgets import QApplication

    from gui.pages import PAGES
    from gui.shell.pages import Target
    from gui.shell.window import Window
    from gui.theme.appearance import panel_file
    from tests.bench.log_child import Lag
    from tests.support.fake_watch import a_day_of_trouble, gpu, machine_sample
    from tests.support.panel_loop import Panel, panel_on_qt

    def sample(second: int) -> object:
        cards = (
            gpu(index, utilization_percent=float(second * 37 % 100), power_w=90.0 + second)
            for index in (0, 1)
        )
        return machine_sample(*cards, at=datetime.now(UTC), machine_nanodollars_per_hour=310_000_000)

    async def live(panel: Panel, home: Path) -> None:
        watch = panel.core.machine
        watch.past = a_day_of_trouble(gpus=2, now_s=time.time())
        watch.sample(sample(0))  # type: ignore[arg-type]
        window = panel.show(Window(panel.bridge, home, PAGES))
        await panel.start()
        await window.start()
        window.open(Target("machine", "gpu"))
        await asyncio.sleep(SETTLE_S)

        async def samples() -> None:
            began = time.monotonic()
            for second in range(round(MEASURED_S)):
                if how == "live":

                    async def push(at: int = second) -> None:
                        watch.sample(sample(at))  # type: ignore[arg-type]

                    await panel.bridge.call(push())
                await asyncio.sleep(max(0.0, began + second + 1 - time.monotonic()))

        began, used = time.monotonic(), time.process_time()
        await samples()
        used, took = time.process_time() - used, time.monotonic() - began
        lag = Lag()
        lag.start()
        await samples()
        lag.stop()
        await window.stop()
        print(f"longest {max(lag.late):.1f} ms")
        print(used / took * 100, percentile(lag.late, 0.99))

    app = QApplication([])
    home = Path(tempfile.mkdtemp(prefix="signalbox-bench-"))
    kept = panel_file(home)
    kept.setValue("welcome/seen", True)
    kept.sync()
    with panel_on_qt(app, home) as panel:
        panel.run(live(panel, home))


if __name__ == "__main__":
    child(sys.argv[1])
