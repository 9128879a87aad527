"""The real panel, used as a screen reader uses it: ``python accessible_panel.py FILE "press Start" "read Ready"``.

Each step waits until a control of that accessible name is there to press, or a text of that name to read ("read"),
or none any more ("miss"), in the tree that Qt gives to assistive technology. A line in the file says that a step is
done; after the last one the panel stays open.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from PySide6 import QtWidgets
from PySide6.QtCore import QTimer
from PySide6.QtGui import QAccessible, QAccessibleActionInterface, QAccessibleInterface
from PySide6.QtWidgets import QApplication, QWidget

LOOK_MS = 50


def controls(interface: QAccessibleInterface) -> Iterator[QAccessibleInterface]:
    """Yield what can be seen of a tree."""
    thing = interface.object()
    if isinstance(thing, QWidget) and not thing.isVisible():
        return
    yield interface
    for index in range(interface.childCount()):
        child = interface.child(index)
        if child:
            yield from controls(child)


class Reader:
    """Does one step after another, each as soon as it can be done."""

    def __init__(self, done: Path, steps: list[str]) -> None:
        self._done, self._steps = done, steps
        self._timer = QTimer()
        self._timer.setInterval(LOOK_MS)
        self._timer.timeout.connect(self._look)
        self._timer.start()

    def _look(self) -> None:
        seen = [QAccessible.queryAccessibleInterface(window) for window in QApplication.topLevelWidgets()]
        roots = [root for root in seen if root]
        if self._steps:
            verb, name = self._steps[0].split(" ", 1)
            found = any(self._is_done(root, verb, name) for root in roots)
            if found != (verb == "miss"):
                with self._done.open("a") as file:
                    file.write(f"{self._steps.pop(0)}\n")
        if not self._steps:
            self._timer.stop()

    def _is_done(self, root: QAccessibleInterface, verb: str, name: str) -> bool:
        for one in controls(root):
            if one.text(QAccessible.Text.Name) != name:
                continue
            if verb != "press":
                return True
            thing, action = one.object(), one.actionInterface()
            if action and isinstance(thing, QWidget) and thing.isEnabled():
                action.doAction(QAccessibleActionInterface.pressAction())
                return True
        return False


class ReadApplication(QApplication):
    """The panel's application with a reader beside it."""

    def __init__(self, arguments: list[str]) -> None:
        super().__init__(arguments)
        self.reader = Reader(Path(sys.argv[1]), sys.argv[2:])


if __name__ == "__main__":
    QtWidgets.QApplication = ReadApplication  # type: ignore[misc]
    from gui.app import main

    sys.exit(main())
