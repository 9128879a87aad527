"""Widgets are looked at under the panel's own theme, put back to light and 100 % after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from PySide6.QtCore import QCoreApplication, QEvent
from PySide6.QtWidgets import QApplication, QWidget

from gui.theme.theme import theme

W = TypeVar("W", bound=QWidget)


@pytest.fixture(autouse=True)
def themed(qapp: QApplication) -> Iterator[None]:
    unit = theme()
    unit.install(qapp)
    unit.set_scheme("light")
    unit.set_zoom(1.0)
    unit.set_reduced_motion(None)
    yield
    unit.set_scheme("light")
    unit.set_zoom(1.0)
    unit.set_reduced_motion(None)


@pytest.fixture
def show(qapp: QApplication) -> Iterator[Callable[[W], W]]:
    """Shows a widget in a window of its own and takes it away after the test."""
    shown: list[QWidget] = []

    def _show(widget: W) -> W:
        shown.append(widget)
        widget.show()
        widget.activateWindow()
        qapp.processEvents()
        return widget

    yield _show
    for widget in shown:
        widget.close()
        widget.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
