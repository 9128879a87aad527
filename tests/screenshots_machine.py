"""The Machine page in pictures, of a core whose states are written here: no graphics card is needed for them.

``python -m tests.screenshots_machine FOLDER`` takes these alone; ``make screenshots`` takes them with all others.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from PySide6.QtWidgets import QApplication
from qasync import QEventLoop

from core.ledger.limits import Budget
from core.local.gpu_sample import GpuProcess, GpuReading, MachineSample, ServerFigures
from core.local.models import CuratedModel, Download, ModelShelf
from core.local.server import ServerFailure, ServerState, StartStep
from gui.pages import PAGES
from gui.shell.bridge import Bridge
from gui.shell.pages import Target
from gui.shell.window import Window
from gui.theme.appearance import panel_file
from gui.theme.theme import theme
from tests.support.fake_core import FakeCore
from tests.support.fake_watch import GIB, a_day_of_trouble, an_alert, gpu, machine_sample

SIZE = (1280, 800)
MODEL = "qwen2.5-coder-14b"
READY = ServerState(
    phase="ready",
    kind="compose",
    model=MODEL,
    base_url="http://127.0.0.1:8000/v1",
    context_tokens=32_768,
    docker_context="default",
    version="vLLM 0.11",
)
STARTING = ServerState(
    phase="starting",
    kind="compose",
    model=MODEL,
    detail="loading weights",
    progress=0.62,
    eta_s=70.0,
    learnt_from=9,
    docker_context="default",
    version="vLLM 0.11",
    last_line="Loading safetensors checkpoint shards: 62% | 5/8 [01:48<01:06]",
    steps=(
        StartStep(name="pull", status="skipped", detail="already here"),
        StartStep(name="create", status="done", elapsed_s=2.0),
        StartStep(name="load", status="running", detail="shard 5 of 8", progress=0.62, elapsed_s=108.0),
        StartStep(name="warm_up"),
    ),
)
FAILED = ServerState(
    phase="failed",
    kind="compose",
    model=MODEL,
    detail="out of GPU memory",
    hint="Lower the context to 16,384 tokens, or give it more of the GPU's memory.",
    docker_context="default",
    failure=ServerFailure(
        kind="gpu_out_of_memory",
        what="The GPU's memory is not enough for this model at 32,768 tokens of context.",
        fix="Lower the context to 16,384 tokens: it needs 18.3 GB then.",
        exit_code=1,
        log=(
            "ERROR Engine core initialization failed.",
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.25 GiB.",
            "GPU 0 has a total capacity of 23.99 GiB of which 1.10 GiB is free.",
        ),
    ),
)
BUSY = ServerFigures(
    running_requests=6,
    waiting_requests=2,
    kv_cache_percent=61.0,
    generation_tokens_per_s=212.0,
    prefix_cache_hit_percent=42.0,
    ttft_ms=212.0,
)
DAY = {"machine_nanodollars_per_hour": 310_000_000, "api_nanodollars_per_hour": 220_000_000}
MIB = 1024**2


def _card(**changes: object) -> GpuReading:
    process = GpuProcess(pid=4711, name="python3", vram_used_bytes=9 * GIB, is_local_server=True)
    known = {
        "sm_clock_mhz": 2520,
        "memory_clock_mhz": 10_501,
        "fan_percent": 42.0,
        "throttle_reasons": (),
        "processes": (process,),
    }
    return gpu(**{**known, **changes})  # type: ignore[arg-type]


def _shelf() -> ModelShelf:
    small = CuratedModel(
        id="qwen2.5-3b",
        name="Qwen2.5 3B Instruct",
        repo="Qwen/Qwen2.5-3B-Instruct-GGUF",
        file="qwen2.5-3b-instruct-q4_k_m.gguf",
        size_bytes=2_104 * MIB,
        needs_bytes=3_100 * MIB,
        licence="Qwen Research",
        good_for="Everyday questions, short texts",
        parameters=3_090_000_000,
        fits="fits",
        best=True,
    )
    download = Download(
        id="1",
        title=small.name,
        repo=small.repo,
        file=small.file,
        phase="running",
        done_bytes=1_240 * MIB,
        total_bytes=small.size_bytes,
        bytes_per_s=24.0 * MIB,
        left_s=36.0,
    )
    return ModelShelf(
        curated=(small,), downloads=(download,), looked_at=datetime.now(UTC), free_bytes=212 * GIB
    )


class Stage:
    """The window over a scripted core."""

    def __init__(self, core: FakeCore, window: Window, bridge: Bridge, folder: Path) -> None:
        self.core, self.window, self.bridge, self.folder = core, window, bridge, folder

    async def play(self, name: str, section: str, change: Callable[[], object]) -> None:
        """Let it come to ``change``, and save what the window shows then."""

        async def over_there() -> None:
            change()

        await self.bridge.call(over_there())
        self.window.open(Target("machine", section))
        for _ in range(16):
            await asyncio.sleep(0.05)
        self.window.notices.close_shown()
        await asyncio.sleep(0.1)
        file = self.folder / f"machine-{name}-{'dark' if theme().is_dark else 'light'}.png"
        self.window.grab().save(str(file))
        print(file)

    def machine(self, sample: MachineSample, *, is_calm: bool = False) -> None:
        """The history that goes with a sample."""
        past = a_day_of_trouble(now_s=sample.at.timestamp())
        if not sample.gpus:
            past = replace(past, series=tuple(one for one in past.series if one.gpu is None))
        self.core.machine.past = replace(past, events=()) if is_calm else past
        self.core.machine.sample(sample)


async def shoot(scheme: Any, folder: Path) -> None:
    """Save the page ready, starting, failed, with alerts, without a GPU and while it downloads."""
    theme().set_scheme(scheme)
    with tempfile.TemporaryDirectory() as home_name:
        home = Path(home_name)
        panel_file(home).setValue("welcome/seen", True)
        core = FakeCore(home)
        budget = Budget(
            window_label="2026-06",
            limit_nanodollars=500_000_000_000,
            spent_nanodollars=187_420_000_000,
            held_nanodollars=0,
            held_count=0,
            unresolved_nanodollars=0,
            unresolved_count=0,
            unpriced_count=0,
        )
        core.now = replace(core.now, local=READY, budget=budget, local_requests_today=812)
        bridge = Bridge(lambda: core)  # type: ignore[arg-type, return-value]
        window = Window(bridge, home, PAGES)
        window.resize(*SIZE)
        window.show()
        await bridge.start()
        await window.start()
        stage = Stage(core, window, bridge, folder)
        try:
            await _play_all(stage)
        finally:
            window.close()
            await window.stop()
            await bridge.stop()
            window.deleteLater()


async def _play_all(stage: Stage) -> None:
    core, now = stage.core, datetime.now(UTC)

    def ready() -> None:
        stage.machine(machine_sample(_card(), at=now, server=BUSY, **DAY))

    def starting() -> None:
        core.publish(local=STARTING)
        stage.machine(machine_sample(_card(), at=now + timedelta(seconds=1), server=ServerFigures(), **DAY))

    def failed() -> None:
        core.publish(local=FAILED)
        card = _card(vram_used_bytes=round(1.1 * GIB), power_w=31.0, processes=())
        stage.machine(machine_sample(card, at=now + timedelta(seconds=2), server=ServerFigures(), **DAY))

    def alerts() -> None:
        core.publish(local=READY)
        card = _card(vram_used_bytes=round(21.8 * GIB), temperature_c=78.0)
        stage.machine(machine_sample(card, at=now + timedelta(seconds=3), server=BUSY, **DAY))
        hot = an_alert(
            "heat",
            kind="temperature",
            title="Temperature over 80 °C",
            text="GPU 0 was at 84 °C for 4 minutes.",
            began_at=now - timedelta(minutes=41),
            ended_at=now - timedelta(minutes=20),
        )
        core.machine.alert(an_alert(began_at=now - timedelta(minutes=2)), hot)

    def no_gpu() -> None:
        core.machine.alert()
        core.publish(local=ServerState(phase="ready", kind="embedded", model="SmolLM2-135M-Instruct"))
        why = "No NVIDIA driver is loaded, and no AMD or Intel card tells of itself."
        at = now + timedelta(seconds=4)
        sample = machine_sample(at=at, gpu_problem=why, api_nanodollars_per_hour=220_000_000)
        stage.machine(sample, is_calm=True)

    await stage.play("ready", "gpu", ready)
    await stage.play("starting", "gpu", starting)
    await stage.play("failed", "gpu", failed)
    await stage.play("alerts", "alerts", alerts)
    await stage.play("no-gpu", "gpu", no_gpu)
    await stage.play("download", "models", lambda: core.local_models.put(_shelf()))


def main() -> int:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    app = QApplication([])
    app.setQuitOnLastWindowClosed(False)
    theme().install(app)
    loop: Any = QEventLoop(app)
    asyncio.set_event_loop(loop)
    for scheme in ("light", "dark"):
        loop.run_until_complete(shoot(scheme, folder))
    loop.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
