"""What the process weighs after many requests, or many conversations, against after some: a leak climbs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from tests.bench.measure import Figure

REQUESTS, CONVERSATIONS = 10_000, 200
FEW_CHATS, CHATS = 10, 100


def run() -> list[Figure]:
    return [*_requests(), *_panel()]


def _requests() -> list[Figure]:
    """Requests of some hundred conversations, so that what is kept of each has been there at the first mark.

    ``make soak`` sends 100,000, each of a conversation of its own.
    """
    first, last = _weights("tests.support.memory_run", REQUESTS, CONVERSATIONS, "no keys", 1000, REQUESTS)
    return [
        Figure(
            name=f"memory after {REQUESTS:,} requests, in all",
            value=last,
            unit="MiB",
            baseline=first,
            baseline_name="after 1,000",
        ),
        Figure(name=f"memory that 1,000 to {REQUESTS:,} requests add", value=last - first, unit="MiB", aim=4),
    ]


def _panel() -> list[Figure]:
    """The panel in use: every fifth conversation is asked something, on the side that the router chooses."""
    first, last = _weights("tests.support.panel_use", CHATS, FEW_CHATS, CHATS)
    return [
        Figure(
            name=f"memory of the panel after {CHATS} chats and 20 answers",
            value=last,
            unit="MiB",
            aim_times=1.2,
            baseline=first,
            baseline_name=f"after {FEW_CHATS} chats",
        )
    ]


def _weights(module: str, *arguments: str | int) -> list[float]:
    """Return the resident MiB that a run of ``module`` in a process of its own says at its marks."""
    with tempfile.TemporaryDirectory() as home:
        ended = subprocess.run(
            [sys.executable, "-m", module, home, *map(str, arguments)],
            env=os.environ | {"QT_QPA_PLATFORM": "offscreen", "QT_API": "pyside6"},
            capture_output=True,
            text=True,
            check=True,
        )
    return [json.loads(line)["resident_bytes"] / 2**20 for line in ended.stdout.splitlines()]
