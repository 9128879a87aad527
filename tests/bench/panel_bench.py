"""What the window costs: cold start, the first answer, idle processor time and memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from tests.bench.measure import Figure, median

STARTS = 5
SETTLE_S = 8.0
IDLE_S = 20.0


def run() -> list[Figure]:
    panel: list[dict[str, float]] = []
    bare: list[float] = []
    for _ in range(STARTS):
        with _child("bare") as child:
            bare.append(_until(child, "painted")["painted"])
        with _child() as child:
            panel.append(_until(child, "first token"))
    painted, painted_spread = median([times["painted"] for times in panel])
    answered, answered_spread = median([times["first token"] for times in panel])
    base = median(bare)[0]
    return [
        Figure(
            name="cold start to the first painted window",
            value=painted,
            unit="s",
            aim=0.25,
            aim_times=2.6,
            baseline=base,
            baseline_name="a bare Qt window",
            spread=painted_spread,
        ),
        Figure(
            name="cold start to the first token of an answer",
            value=answered,
            unit="s",
            baseline=base,
            baseline_name="a bare Qt window",
            spread=answered_spread,
        ),
        *_idle(),
    ]


@dataclass(frozen=True)
class Child:
    """A start; ``began`` is the monotonic clock before it, which all processes of a machine share.

    The kernel's own creation time of a process will not do: it counts from a boot time cut to whole seconds.
    """

    process: subprocess.Popen[str]
    began: float


@contextmanager
def _child(*arguments: str) -> Generator[Child]:
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {
            "SIGNALBOX_HOME": home,
            "QT_QPA_PLATFORM": "offscreen",
            "QT_API": "pyside6",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        }
        command = [sys.executable, "-m", "tests.bench.panel_child", *arguments]
        began = time.monotonic()
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            yield Child(process, began)
        finally:
            process.terminate()
            process.wait(20)


def _until(child: Child, word: str) -> dict[str, float]:
    """Read what the child says up to ``word``; return each with the seconds since before its start."""
    said: dict[str, float] = {}
    assert child.process.stdout is not None
    for line in child.process.stdout:
        moment, _, what = line.strip().partition(" ")
        said.setdefault(what, float(moment) - child.began)
        if word in said:
            return said
    raise RuntimeError(f"the child ended before it said {word!r}")


def _idle() -> list[Figure]:
    with _child() as child:
        _until(child, "first token")
        time.sleep(SETTLE_S)
        process = psutil.Process(child.process.pid)
        before = process.cpu_times()
        time.sleep(IDLE_S)
        after = process.cpu_times()
        busy = (after.user + after.system) - (before.user + before.system)
        rss = process.memory_info().rss / 2**20
    return [
        Figure(name="idle processor time of the open window", value=100 * busy / IDLE_S, unit="%", aim=1),
        Figure(name="memory of the window, without the model", value=rss, unit="MiB", aim=200),
    ]
