"""A skip in CI is a failure unless its reason is on the list."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.docker_engine import DockerEngine, EngineRefused
from tests.support.skips import ALLOWED, is_allowed

ROOT = Path(__file__).parents[1]
GOOD, BAD = "the prompts are not on this machine", "xdotool not installed"
ONE_OF_EACH = f"""
import pytest

@pytest.mark.skipif(True, reason={GOOD!r})
def test_marked_well(): ...

@pytest.mark.skipif(True, reason={BAD!r})
def test_marked_badly(): ...

def test_called_well():
    pytest.skip({GOOD!r})

def test_called_badly():
    pytest.skip({BAD!r})

@pytest.mark.xfail(reason="a bug of theirs")
def test_expected_to_fail():
    assert False

def test_passes(): ...
"""


def outcomes(folder: Path, *, ci: bool) -> dict[str, str]:
    """Run good and bad skips under the rule; return how each ended."""
    (folder / "conftest.py").write_text("from tests.support.skips import *\n")
    (folder / "test_each.py").write_text(ONE_OF_EACH)
    for name, reason in (("well", GOOD), ("badly", BAD)):
        whole_file = f"import pytest\npytest.skip({reason!r}, allow_module_level=True)\n"
        (folder / f"test_file_skipped_{name}.py").write_text(whole_file)
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment |= {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "--continue-on-collection-errors", "--no-fold-skipped", "."],
        cwd=folder,
        env=environment | ({"CI": "true"} if ci else {}),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    summary = done.stdout.split("short test summary info")[1]
    lines = re.findall(r"^([A-Z]+) (?:\[\d+\] )?(?:\./)?(test_\w+\.py)(?:::(\w+))?", summary, re.MULTILINE)
    return {name or file: outcome for outcome, file, name in lines}


EITHER_WAY = {
    "test_marked_well": "SKIPPED",
    "test_called_well": "SKIPPED",
    "test_file_skipped_well.py": "SKIPPED",
    "test_expected_to_fail": "XFAIL",
    "test_passes": "PASSED",
}


def test_in_ci_a_skip_fails_unless_its_reason_is_listed(tmp_path: Path) -> None:
    assert outcomes(tmp_path, ci=True) == {
        **EITHER_WAY,
        "test_marked_badly": "ERROR",
        "test_called_badly": "FAILED",
        "test_file_skipped_badly.py": "ERROR",
    }


def test_elsewhere_a_skip_is_a_skip(tmp_path: Path) -> None:
    assert outcomes(tmp_path, ci=False) == {
        **EITHER_WAY,
        "test_marked_badly": "SKIPPED",
        "test_called_badly": "SKIPPED",
        "test_file_skipped_badly.py": "SKIPPED",
    }


def test_the_whole_reason_counts() -> None:
    assert is_allowed(GOOD)
    assert not is_allowed(f"{GOOD}, or no compiler")
    assert all(ALLOWED.values()), "each reason with why it is a good one"


def test_an_engine_that_does_not_start_here_is_a_listed_reason_and_one_that_is_missing_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, script in (("dockerd", "printf 'begun\\nno namespaces here\\n'; exit 1"), ("docker", "exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    engine = DockerEngine()
    with pytest.raises(EngineRefused) as caught, engine:
        pass
    assert str(caught.value) == "no Docker Engine can be started: no namespaces here"
    assert is_allowed(str(caught.value))
    assert not engine.folder.exists()
    assert not is_allowed("no Docker Engine (Debian: apt install docker.io)")
    assert not is_allowed("Docker Compose v2 is not installed")
