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


def weighed(module: str, home: Path, *arguments: float, within_s: float) -> list[dict[str, float]]:
    """Return what the panel weighed from time to time, in a run of ``module``."""
    ended = subprocess.run(
        [sys.executable, "-m", f"tests.support.{module}", str(home), *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        check=False,
        timeout=within_s,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 400)
def test_memory_is_flat_under_hostile_answers(tmp_path: Path) -> None:
    """The first third fills the caches: fonts, glyphs, lexers. Of the rest the halves are compared."""
    marks = weighed("panel_soak", tmp_path, SECONDS, 7, within_s=SECONDS + 300)
    assert marks[-1]["answers"] > SECONDS / 20, "an answer takes some seconds at most"
    weights = [mark["resident_bytes"] for mark in marks[len(marks) // 3 :]]
    half = len(weights) // 2
    early, late = sorted(weights[:half])[half // 2], sorted(weights[half:])[half // 2]
    assert late - early < 24 * MIB, marks


@pytest.mark.soak
@pytest.mark.timeout(700)
def test_memory_is_flat_in_use(tmp_path: Path) -> None:
    """A hundred conversations with code, tables and formulas, and twenty answers."""
    marks = weighed("panel_use", tmp_path, 100, 10, 40, 100, within_s=600)
    assert [mark["answers"] for mark in marks] == [2, 8, 20]
    first, last = marks[0], marks[-1]
    assert last["resident_bytes"] < 1.2 * first["resident_bytes"], marks
    assert last["objects"] < 1.1 * first["objects"], marks
