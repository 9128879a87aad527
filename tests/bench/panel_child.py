"""The panel in a process of its own that says when it has painted first and when the first token is there.

``python -m tests.bench.panel_child bare`` is the baseline: a Qt window with a label.
"""

from __future__ import annotations

import sys
import time
from contextlib import aclosing
from typing import Any


def say(word: str) -> None:
    """Say ``word`` with the monotonic clock, which the parent reads too."""
    sys.stdout.write(f"{time.monotonic()} {word}\n")
    sys.stdout.flush()


def bare() -> None:
    from PySide6.QtWidgets import QApplication, QLabel

    class Label(QLabel):
        def paintEvent(self, event: Any) -> None:
            super().paintEvent(event)
            say("painted")

    app = QApplication([])
    label = Label("Signalbox")
    label.show()
    app.exec()


def panel() -> None:
    from core.chat import ChatRequest, TextDelta
    from gui import app
    from gui.shell import window
    from gui.shell.bridge import Bridge

    painted = False

    class Window(window.Window):
        def paintEvent(self, event: Any) -> None:
            nonlocal painted
            super().paintEvent(event)
            if not painted:
                painted = True
                say("painted")

        async def start(self) -> None:
            await super().start()
            say("started")
            bridge: Bridge = self.bridge
            request = ChatRequest.from_prompt("Say hello.", force="local", max_tokens=8)
            async with aclosing(bridge.stream(bridge.core.stream(request))) as batches:
                async for batch in batches:
                    if any(isinstance(event, TextDelta) for event in batch):
                        say("first token")
                        break

    window.Window = Window  # type: ignore[misc]
    app.main()


if __name__ == "__main__":
    bare() if sys.argv[1:] == ["bare"] else panel()
