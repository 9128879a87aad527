"""The one menu of a conversation: the list opens it at a row, the head at its buttons."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu, QWidget

from core import shortened

Verb = Literal["rename", "pin", "unpin", "move", "new_folder", "duplicate", "copy", "export", "delete"]
SHOWN_FOLDER_CHARS = 40


class ChatMenu(QMenu):
    """Made for one opening.

    Signals:
        asked: a ``Verb``, and its detail: the folder to move to (empty for none), ``markdown`` or ``json``.
    """

    asked = Signal(str, str)

    def __init__(
        self, parent: QWidget, *, is_empty: bool, pinned: bool, folder: str, folders: Sequence[str]
    ) -> None:
        """``is_empty`` is a conversation with nothing in it yet, which nothing can be done with."""
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._add("Rename\tF2", "rename")
        self._add("Unpin" if pinned else "Pin", "unpin" if pinned else "pin")
        self._add_folders(folder, folders)
        self._add("Duplicate", "duplicate")
        self._add("Copy as Markdown", "copy")
        add_exports(self.addMenu("Export"), self)
        self.addSeparator()
        self._add("Delete\tDel", "delete")
        if is_empty:
            for action in self.actions():
                action.setEnabled(False)

    def _add(self, words: str, verb: Verb) -> None:
        self.addAction(words, lambda: self.asked.emit(verb, ""))

    def _add_folders(self, folder: str, folders: Sequence[str]) -> None:
        menu = self.addMenu("Move to folder")
        for name in folders:
            self._add_folder(menu, _menu_words(name), name, is_here=name == folder)
        if folders:
            menu.addSeparator()
            self._add_folder(menu, "No folder", "", is_here=not folder)
        menu.addAction("New folder…", lambda: self.asked.emit("new_folder", ""))

    def _add_folder(self, menu: QMenu, words: str, name: str, *, is_here: bool) -> None:
        action = QAction(words, menu)
        action.setCheckable(True)
        action.setChecked(is_here)
        action.triggered.connect(partial(self._move, name))
        menu.addAction(action)

    def _move(self, name: str, _checked: bool = False) -> None:
        self.asked.emit("move", name)


class ExportMenu(QMenu):
    """The part of the menu that the head's export button opens. Its signal is ``ChatMenu``'s."""

    asked = Signal(str, str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        add_exports(self, self)


def add_exports(menu: QMenu, asks: ChatMenu | ExportMenu) -> None:
    """Add the formats of an export to ``menu``; ``asks`` tells which was chosen."""
    menu.addAction("As Markdown…", lambda: asks.asked.emit("export", "markdown"))
    menu.addAction("As JSON, with all versions…", lambda: asks.asked.emit("export", "json"))


def _menu_words(name: str) -> str:
    """A menu takes an ampersand for the mark of its key."""
    return shortened(name, SHOWN_FOLDER_CHARS).replace("&", "&&")
