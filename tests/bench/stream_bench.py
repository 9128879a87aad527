"""How long the window stalls while 10,000 tokens stream into the chat page at 200 tokens a second."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.bench.measure import Figure

TOKENS, TOKENS_PER_S = 10_000, 200
KINDS = {
    "mixed": "prose, lists, tables and code",
    "maths": "formulas and code",
    "paragraph": "one paragraph without an end",
    "code": "one code block",
    "table": "one table",
}


def run() -> list[Figure]:
    """Each kind of answer in a process of its own: the real page in an offscreen window, a scripted core."""
    figures: list[Figure] = []
    for kind, words in KINDS.items():
        ended = subprocess.run(
            [sys.executable, "-m", "tests.gui.chat.stream_bench", kind, str(TOKENS), str(TOKENS_PER_S)],
            capture_output=True,
            text=True,
            check=True,
        )
        found: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
        figures.append(
            Figure(
                name=f"window stall p99, {words}",
                value=found["late_p99_ms"],
                unit="ms",
                aim=16,
                spread=(found["late_p50_ms"], found["late_max_ms"]),
            )
        )
    return figures
