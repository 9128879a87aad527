"""Hostile answers into the panel: it neither stops nor grows. ``SOAK_PANEL_S`` shortens the soak's 30 minutes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SECONDS = float(os.environ.get("SOAK_PANEL_S", "1800"))
MIB = 2**20


def soaked(home: Path, seconds: float, seed: int) -> list[dict[str, float]]:
    """Return what the panel weighed from time to time."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.support.panel_soak", str(home), str(seconds), str(seed)],
        cwd=ROOT,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 300,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 400)
def test_memory_is_flat_under_hostile_answers(tmp_path: Path) -> None:
    """The first third fills the caches: fonts, glyphs, lexers. Of the rest the halves are compared."""
    marks = soaked(tmp_path, SECONDS, seed=7)
    assert marks[-1]["answers"] > SECONDS / 20, "an answer takes some seconds at most"
    weights = [mark["resident_bytes"] for mark in marks[len(marks) // 3 :]]
    half = len(weights) // 2
    early, late = sorted(weights[:half])[half // 2], sorted(weights[half:])[half // 2]
    assert late - early < 24 * MIB, marks
