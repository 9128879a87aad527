"""Every test gets a home of its own, a clean environment and no keyring."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("QT_API", "pyside6")

import hypothesis
import keyring
import keyring.backends.fail
import pytest

from core.settings.model import NAMES, env_name
from tests.support.skips import pytest_make_collect_report, pytest_runtest_makereport

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport"]  # hooks of this file too

# How long an example takes is the machine's affair.
hypothesis.settings.register_profile("untimed", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("untimed")

os.umask(0o077)  # what the tests write stands for the user's own files, which nobody else may write

SETTING_PREFIXES = ("ANTHROPIC_", "OPENAI_", "OTEL_", "SIGNALBOX_")
SETTING_NAMES = frozenset(map(env_name, NAMES))


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable(report: object) -> Generator[None, Any, Any]:
    """Escape in a test's output what no wire between processes carries: pytest-xdist ends at half a character."""
    if isinstance(report, pytest.TestReport):
        report.sections = [
            (title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections
        ]
    return (yield)


def pytest_collection_finish() -> None:
    """Keep what is loaded by now out of every later collection: the panel's tests make a whole one each."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A new ``SIGNALBOX_HOME`` that is also the working directory, so no ``.env`` of the developer's is read."""
    for name in list(os.environ):
        if name.startswith(SETTING_PREFIXES) or name in SETTING_NAMES:
            monkeypatch.delenv(name)
    home = tmp_path / "signalbox-home"
    home.mkdir()
    monkeypatch.setenv("SIGNALBOX_HOME", str(home))
    monkeypatch.chdir(home)
    previous = keyring.get_keyring()
    keyring.set_keyring(keyring.backends.fail.Keyring())
    yield home
    keyring.set_keyring(previous)
