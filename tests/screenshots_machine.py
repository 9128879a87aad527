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
from core.local.curated import curated_models
from core.local.gpu_sample import GpuProcess, GpuReading, ServerFigures
from core.local.history import History
from core.local.models import ModelShelf
from core.local.server import ServerFailure, ServerState, StartStep
from core.services.status import ApiStatus
from gui.pages import PAGES
from gui.shell.bridge import Bridge
from gui.shell.pages import Target
from gui.shell.window import Window
from gui.theme.appearance import panel_file
from gui.theme.theme import theme
from tests.support.fake_core import FakeCore
from tests.support.fake_models import SMALL, THEIRS, ScriptedShelf, a_download, a_shelf
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
    version="vLLM 0.32",
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
    version="vLLM 0.32",
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


def _log(now: datetime, *lines: tuple[float, str]) -> list[str]:
    """Lines of a log, each so many seconds before ``now``."""
    return [f"{(now - timedelta(seconds=ago)).astimezone():%H:%M:%S} {text}" for ago, text in lines]


def _lost(now: datetime, ago: float) -> list[str]:
    """What vLLM says as it runs out of memory under load, and ends ``ago`` seconds before ``now``."""
    return _log(
        now,
        (ago + 22, "INFO Engine 000: Running: 6 reqs, Waiting: 9 reqs, KV cache usage: 93.1%"),
        (ago + 12, "INFO Engine 000: Running: 6 reqs, Waiting: 11 reqs, KV cache usage: 97.4%"),
        (ago + 8, "WARNING Sequence group preempted: the KV cache is full"),
        (ago + 2, "ERROR EngineCore: CUDA out of memory. Tried to allocate 1.25 GiB"),
        (ago + 1, "ERROR torch.OutOfMemoryError: GPU 0 has 23.99 GiB, of which 1.10 GiB is free"),
        (ago, "INFO Container exited with code 137"),
    )


def _loading(now: datetime, shards: int, shard_s: float) -> list[str]:
    """The start after it, up to so many of eight parts of the weights."""
    return _log(
        now,
        (153, "INFO vLLM API server version 0.32.0"),
        (149, "INFO Resolved architecture: Qwen2ForCausalLM"),
        (148, "INFO Using max model len 32768"),
        (141, "INFO Using AWQ-Marlin kernel"),
        (125, "WARNING gpu_memory_utilization 0.90 leaves 2.4 GiB for others"),
        (112, "INFO Starting to load model qwen2.5-coder-14b"),
        *((112 - shard_s * n, f"INFO Loading checkpoint shards: {n}/8") for n in range(1, shards + 1)),
    )


def _served(now: datetime) -> list[str]:
    """Ready, and busy."""
    return _log(
        now,
        (66, "INFO Model loading took 9.28 GiB and 44.8 seconds"),
        (58, "INFO GPU KV cache size: 57,344 tokens"),
        (41, "INFO Capturing CUDA graphs: done in 11 s"),
        (38, "INFO Application startup complete."),
        (20, "INFO Engine 000: Running: 4 reqs, Waiting: 0 reqs, KV cache usage: 48.2%"),
        (10, "INFO Engine 000: Running: 6 reqs, Waiting: 1 reqs, KV cache usage: 57.9%"),
        (0, "INFO Engine 000: Running: 6 reqs, Waiting: 2 reqs, KV cache usage: 61.0%"),
    )


def _until(past: History, now_s: float) -> History:
    """The part of ``past`` that has come by now."""
    series = tuple(
        replace(
            one,
            times_s=tuple(at for at in one.times_s if at <= now_s),
            values=tuple(value for at, value in zip(one.times_s, one.values, strict=True) if at <= now_s),
        )
        for one in past.series
    )
    return replace(
        past, to_s=now_s, series=series, events=tuple(one for one in past.events if one.at_s <= now_s)
    )


def _llama(now: datetime) -> list[str]:
    return _log(
        now,
        (191, "INFO srv init: loading model"),
        (191, "INFO srv load_model: loading model 'SmolLM2-135M-Instruct.Q4_1.gguf'"),
        (190, "INFO cmn init: llama threadpool init, n_threads = 8"),
        (190, "INFO srv load_model: initializing, n_slots = 2, n_ctx_slot = 8192"),
        (190, "INFO srv init: model loaded"),
        (190, "INFO srv init: listening on http://127.0.0.1:39403"),
        (9, "INFO slot process: prompt eval time = 212.40 ms / 48 tokens"),
        (7, "INFO slot process: eval time = 1530.91 ms / 63 tokens"),
    )


def _shelf() -> ModelShelf:
    """A laptop with 32 GB: a model of LM Studio, Ollama, and a model on its way down from the table."""
    table = curated_models(32 * GIB)
    best = next(model for model in table if model.best)
    packaged = replace(SMALL, size_bytes=98_400_000)
    now = datetime.now(UTC)
    theirs = replace(THEIRS, fits="fits", needs_bytes=6_100_000_000, last_used_at=now - timedelta(days=3))
    download = a_download(
        title=best.name,
        repo=best.repo,
        file=best.file,
        done_bytes=round(0.62 * best.size_bytes),
        total_bytes=best.size_bytes,
        bytes_per_s=24_000_000.0,
        left_s=0.38 * best.size_bytes / 24_000_000.0,
    )
    return a_shelf(
        on_disk=(packaged, theirs),
        curated=table,
        downloads=(download,),
        looked_at=now,
        memory_bytes=32 * GIB,
    )


class Scene:
    """What a core is made to say for one picture. ``section`` is the page's, ``name`` the picture's."""

    def __init__(self, core: FakeCore, now: datetime) -> None:
        self.core, self.now = core, now

    def _machine(self, *cards: GpuReading, of_s: float = 900.0, **changes: object) -> None:
        """Give a sample and the 15 minutes before it: all of that day, or the first part of ``of_s`` seconds."""
        now_s = self.now.timestamp()
        past = _until(a_day_of_trouble(of_s, now_s=now_s + of_s - 900.0), now_s)
        if not cards:
            kept = [one for one in past.series if one.gpu is None and not one.metric.startswith("machine_")]
            past = replace(past, series=tuple(kept), events=())
        self.core.machine.past = past
        self.core.machine.sample(machine_sample(*cards, at=self.now, **changes))

    def ready(self) -> None:
        self.core.log = [*_lost(self.now, 486), *_loading(self.now, 8, 5.0), *_served(self.now)]
        self._machine(_card(), server=BUSY, **DAY)

    def starting(self) -> None:
        self.core.log = [*_lost(self.now, 486), *_loading(self.now, 5, 21.6)]
        self.core.publish(local=replace(STARTING, started_at=self.now - timedelta(seconds=153)))
        self._machine(_card(), server=ServerFigures(), **DAY)

    def failed(self) -> None:
        self.core.log = _lost(self.now, 210)
        self.core.publish(local=FAILED)
        card = _card(
            vram_used_bytes=round(1.1 * GIB),
            temperature_c=50.0,
            utilization_percent=1.0,
            power_w=31.0,
            processes=(),
        )
        costs = {"machine_nanodollars_per_hour": 180_000_000, "api_nanodollars_per_hour": 900_000_000}
        # The charts end amid that day, before the next start.
        self._machine(card, server=ServerFigures(), of_s=1500.0, **costs)

    def alerts(self) -> None:
        self.core.log = [*_lost(self.now, 486), *_loading(self.now, 8, 5.0), *_served(self.now)]
        card = _card(vram_used_bytes=round(21.8 * GIB), temperature_c=78.0)
        self._machine(card, server=BUSY, **DAY)
        hot = an_alert(
            "heat",
            kind="temperature",
            title="Temperature over 80 °C",
            text="GPU 0 was at 84 °C for 4 minutes.",
            began_at=self.now - timedelta(minutes=41),
            ended_at=self.now - timedelta(minutes=20),
        )
        self.core.machine.alert(an_alert(began_at=self.now - timedelta(minutes=2)), hot)

    def no_gpu(self) -> None:
        self.core.log = _llama(self.now)
        self.core.publish(
            local=ServerState(
                phase="ready", kind="embedded", model="SmolLM2-135M-Instruct", context_tokens=8192
            )
        )
        self._machine(
            gpu_problem="No NVIDIA driver is installed on this machine.",
            api_nanodollars_per_hour=220_000_000,
            of_s=2100.0,  # before that day's trouble
        )

    def settings(self) -> None:
        self.ready()
        self.core.settings.set("local_server", "compose")

    def download(self) -> None:
        self.no_gpu()
        self.core.local_models.put(_shelf())


SCENES: tuple[tuple[str, str, Callable[[Scene], None]], ...] = (
    ("ready", "gpu", Scene.ready),
    ("starting", "gpu", Scene.starting),
    ("failed", "gpu", Scene.failed),
    ("alerts", "alerts", Scene.alerts),
    ("no-gpu", "gpu", Scene.no_gpu),
    ("settings", "settings", Scene.settings),
    ("download", "models", Scene.download),
)


async def shoot(scheme: Any, folder: Path) -> None:
    """Save the page ready, starting, failed, with alerts, without a GPU, its settings, and while it downloads."""
    theme().set_scheme(scheme)
    for name, section, play in SCENES:
        file = folder / f"machine-{name}-{'dark' if theme().is_dark else 'light'}.png"
        with tempfile.TemporaryDirectory() as home_name:
            await _shoot(Path(home_name), section, play, file)
        print(file)


async def _shoot(home: Path, section: str, play: Callable[[Scene], None], file: Path) -> None:
    """Save one scene, in a window of its own: the charts and the log keep nothing of another one."""
    panel_file(home).setValue("welcome/seen", True)
    core = FakeCore(home)
    core.local_models = ScriptedShelf()
    api = ApiStatus(phase="reachable", model=core.now.api.model)
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
    core.now = replace(core.now, local=READY, api=api, budget=budget, local_requests_today=812)
    bridge = Bridge(lambda: core)  # type: ignore[arg-type, return-value]
    window = Window(bridge, home, PAGES)
    window.resize(*SIZE)
    window.show()
    await bridge.start()
    await window.start()

    async def over_there() -> None:
        play(Scene(core, datetime.now(UTC)))

    try:
        await bridge.call(over_there())
        window.open(Target("machine", section))
        for _ in range(16):
            await asyncio.sleep(0.05)
        window.notices.close_shown()
        await asyncio.sleep(0.1)
        window.grab().save(str(file))
    finally:
        window.close()
        await window.stop()
        await bridge.stop()
        window.deleteLater()


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
