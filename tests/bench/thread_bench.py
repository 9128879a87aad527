"""What a conversation of 400 messages with 40 code blocks costs beside one of two: to open, to change the theme."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.bench.measure import Figure, median

MESSAGES = 400


def run() -> list[Figure]:
    long, short = (_measured(count) for count in (MESSAGES, 2))
    names = {
        "opened": f"a chat of {MESSAGES} messages, to its first paint",
        "theme": "stall at another theme, all of them opened",
        "zoom": "stall at another zoom, all of them opened",
    }
    figures: list[Figure] = []
    for key, name in names.items():
        value, spread = median(long[key])
        figures.append(
            Figure(
                name=name,
                value=value,
                unit="ms",
                aim=150 if key == "opened" else None,
                baseline=median(short[key])[0],
                baseline_name="one of two messages",
                spread=spread,
            )
        )
    return figures


def _measured(messages: int) -> dict[str, list[float]]:
    command = [sys.executable, "-m", "tests.bench.thread_child", str(messages)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(ended.stdout.strip().splitlines()[-1])
