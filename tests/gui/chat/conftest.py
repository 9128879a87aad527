"""The panel fixture of the chat page's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication

from gui.theme.theme import theme
from tests.gui.chat.panel import ChatPanel, chat_panel


@pytest.fixture
def panel(qapp: QApplication, home: Path) -> Iterator[ChatPanel]:
    with chat_panel(qapp, home) as running:
        yield running
    theme().set_zoom(1.0)


@pytest.fixture
def themed(qapp: QApplication) -> QApplication:
    theme().install(qapp)
    return qapp
