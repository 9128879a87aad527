"""What the process weighs after many requests against after a thousand: a leak is a line that climbs."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

from tests.bench.measure import Figure

REQUESTS, CONVERSATIONS = 10_000, 200


def run() -> list[Figure]:
    """Requests of some hundred conversations, so that what is kept of each has been there at the first mark.

    ``make soak`` sends 100,000, each of a conversation of its own.
    """
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "tests.support.memory_run", home]
        ended = subprocess.run(
            [*command, str(REQUESTS), str(CONVERSATIONS), "no keys", "1000", str(REQUESTS)],
            capture_output=True,
            text=True,
            check=True,
        )
    first, last = (json.loads(line)["resident_bytes"] / 2**20 for line in ended.stdout.splitlines())
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
