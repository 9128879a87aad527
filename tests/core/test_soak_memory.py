"""Memory is flat: what is kept of requests has a bound, and behind the bound nothing grows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def weights(
    home: Path, requests: int, conversations: int, keys: str, marks: list[int]
) -> list[dict[str, int]]:
    arguments = [str(home), str(requests), str(conversations), keys, *map(str, marks)]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.support.memory_run", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=3000,
    )
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_a_few_conversations_leave_no_objects_behind(home: Path) -> None:
    """Objects are counted, not bytes: the count does not depend on the allocator."""
    marks = [600, 1200, 1800]
    _first, second, third = weights(home, 1800, 50, "no keys", marks)
    assert third["objects"] - second["objects"] < 1500, "less than 2.5 objects a request"


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_memory_after_100_000_requests_is_that_after_40_000(home: Path) -> None:
    """Each request is a conversation of its own, so every cache is full at the second mark (10,000 entries)."""
    early, full, last = weights(home, 100_000, 1_000_000, "keys", [1_000, 40_000, 100_000])
    mib = 2**20
    assert last["resident_bytes"] - full["resident_bytes"] < 12 * mib
    assert last["resident_bytes"] - early["resident_bytes"] < 80 * mib
