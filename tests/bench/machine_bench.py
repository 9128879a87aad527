"""What it costs to look at two GPUs once a second, beside a loop that only wakes up as often."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.measure import Figure
from tests.support import nvml

SAMPLES = 100
PER_SECOND = 10
"""Ten a second, so that 100 take 10 s; what one costs does not depend on it."""


def run() -> list[Figure]:
    if nvml.compiler() is None or sys.platform == "win32":
        return []
    with tempfile.TemporaryDirectory() as folder:
        library = nvml.build(Path(folder))
        values = Path(folder) / "values"
        values.write_text(
            "count 2\n"
            + "".join(f"gpu{index}.pid0 {os.getpid()}\ngpu{index}.pid0_mib 900\n" for index in range(2)),
            encoding="utf-8",
        )
        sampled, idle = (_cpu_ms(library, values, what) for what in ("sample", "idle"))
    return [
        Figure(
            name="2 GPUs once a second, share of a core",
            value=sampled / 10,
            unit="%",
            aim=1,
            baseline=idle / 10,
            baseline_name="a loop that wakes as often",
        )
    ]


def _cpu_ms(library: Path, values: Path, what: str) -> float:
    """Return the processor time of one sample, in milliseconds: as many as there are in a second of 1 Hz."""
    code = CODE.format(what=what, samples=SAMPLES, per_second=PER_SECOND)
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NVML_STUB_FILE": str(values), "LD_LIBRARY_PATH": str(library)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(ended.stdout)


CODE = """
import asyncio, json, sys, time
from core.local.gpu import GpuSampler
from core.local.local_gpus import LocalGpus
from core.services.sampler import Sampler
from core.settings import Settings

async def samples():
    gpus = GpuSampler(LocalGpus().look)
    sampler = Sampler(gpus)
    sampler.configure(Settings.model_validate({{"gpu_samples_per_second": {per_second}}}))
    heard = asyncio.Queue()
    sampler.subscribe(heard.put_nowait)
    sampler.start(kept=True)
    for _ in range(5):
        sample = await heard.get()
    assert len(sample.gpus) == 2, sample
    began = time.process_time()
    for _ in range({samples}):
        await heard.get()
    took = time.process_time() - began
    await sampler.stop()
    gpus.close()
    return took

async def idle():
    began = time.process_time()
    for _ in range({samples}):
        await asyncio.sleep(1 / {per_second})
    return time.process_time() - began

took = asyncio.run(samples() if {what!r} == "sample" else idle())
sys.stdout.write(json.dumps(1000 * took / {samples}))
"""
