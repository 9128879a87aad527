"""A shell for the test of a single page: it notes what the page asks for."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtWidgets import QWidget

from gui.shell.bridge import Bridge
from gui.shell.pages import Target


class FakeShell:
    """``opened`` are the targets that the page asked for; ``changes`` counts what it said of itself."""

    def __init__(self, bridge: Bridge, home: Path, pill: QWidget | None = None) -> None:
        self.bridge, self.home = bridge, home
        self.opened: list[Target] = []
        self.changes = 0
        self._pill = pill

    def open(self, target: Target) -> None:
        self.opened.append(target)

    def page_changed(self) -> None:
        self.changes += 1

    def anchor(self, pill: str) -> QWidget:
        assert self._pill is not None, pill
        return self._pill
