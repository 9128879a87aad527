"""The panel on Qt's loop, for tests that click."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from PySide6.QtWidgets import QApplication

from tests.support.fake_core import MemoryKeyring
from tests.support.panel_loop import Panel, panel_on_qt


@pytest.fixture
def memory_keyring(home: Path) -> MemoryKeyring:
    """A keyring that works; without this fixture a test has none. (``home`` puts the old one back.)"""
    backend = MemoryKeyring()
    keyring.set_keyring(backend)
    return backend


@pytest.fixture
def panel(qapp: QApplication, home: Path) -> Iterator[Panel]:
    with panel_on_qt(qapp, home) as running:
        yield running
