"""What a log of 100,000 lines that grows by 5,000 a second costs the window, beside a log that is silent."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.bench.measure import Figure

LINES_PER_S = 5_000


def run() -> list[Figure]:
    busy, silent = _measured(LINES_PER_S), _measured(0)
    return [
        Figure(
            name=f"p99 of timer lag with {LINES_PER_S:,} lines a second",
            value=busy["p99"],
            unit="ms",
            aim=16,
            baseline=silent["p99"],
            baseline_name="a silent log",
        ),
        Figure(name="stall when 100,000 lines come at once", value=busy["first"], unit="ms"),
        Figure(name="longest stall while all are searched", value=busy["searched"], unit="ms"),
    ]


def _measured(lines_per_s: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.log_child", str(lines_per_s)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(ended.stdout.strip().splitlines()[-1])
