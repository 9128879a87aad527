"""Every test gets a home of its own, a clean environment and no keyring."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("QT_API", "pyside6")

import keyring
import keyring.backends.fail
import pytest

from core.settings.model import NAMES, env_name

SETTING_PREFIXES = ("ANTHROPIC_", "OPENAI_", "OTEL_", "SIGNALBOX_")
SETTING_NAMES = frozenset(map(env_name, NAMES))


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
