"""Opens a chat on the real page, offscreen, and changes the theme: ``python -m tests.bench.thread_child 400``.

Prints one line of JSON, times in milliseconds: until the last answer is painted, and how long the window stalls at
a change of theme and of zoom with all messages opened.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")

from PySide6.QtCore import QEvent, QObject
from PySide6.QtWidgets import QApplication, QPushButton

from gui.chat.storage.models import Conversation, StoredMessage
from gui.chat.thread_view import ThreadView
from gui.theme.theme import theme
from tests.gui.chat.builders import make_conversation, make_message, make_result
from tests.gui.chat.panel import ChatPanel, chat_panel

CODE_BLOCKS = 40
CODE = "".join(f"def f_{number}(x):\n    return x * {number}  # times\n" for number in range(12))
ROUNDS = 3


def a_conversation(messages: int) -> Conversation:
    conversation = make_conversation("Long")
    made: list[StoredMessage] = []
    parent: str | None = None
    every = max(1, messages // 2 // CODE_BLOCKS)
    for number in range(messages // 2):
        prompt = make_message(conversation, "user", f"Question {number}? " + "word " * 10, parent_id=parent)
        text = "An answer with **bold** words and `code`.\n\n" + "Lorem ipsum dolor sit amet. " * 20
        if number % every == 0:
            text += f"\n\n```python\n{CODE}```\n"
        result = make_result(text)
        answer = make_message(
            conversation, "assistant", text, parent_id=prompt.id, result=result, decision=result.decision
        )
        made += [prompt, answer]
        parent = answer.id
    return replace(conversation, messages=tuple(made), head_id=parent)


class Painted(QObject):
    """Notes when a widget was painted first."""

    at: float | None = None

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Paint and self.at is None:
            self.at = time.perf_counter()
        return False


async def opened_ms(panel: ChatPanel, conversation: Conversation) -> float:
    page, thread = panel.page, panel.page.view.thread_view
    page.controller.new_chat()
    await panel.idle()
    painted = Painted()
    began = time.perf_counter()
    page.controller.open(conversation.id)
    last = conversation.messages[-1].id
    await panel.until(lambda: thread.view_of(last))
    view = thread.view_of(last)
    assert view is not None
    view.installEventFilter(painted)
    await panel.until(lambda: painted.at is not None)
    await panel.idle()
    assert painted.at is not None
    return (painted.at - began) * 1000


async def all_shown(panel: ChatPanel, thread: ThreadView) -> None:
    while True:
        await panel.until(lambda: not thread.is_building)
        earlier = [button for button in thread.findChildren(QPushButton) if "earlier" in button.text()]
        if not earlier or not earlier[0].isVisible():
            return
        earlier[0].click()


async def stalled_ms(panel: ChatPanel, change: Callable[[], None]) -> float:
    began = time.perf_counter()
    change()
    took = (time.perf_counter() - began) * 1000
    await panel.idle()
    return took


async def measure(panel: ChatPanel, messages: int) -> dict[str, list[float]]:
    page = await panel.open(1200, 752)
    conversation = a_conversation(messages)
    store = page.controller.store
    store.put(("conversation", conversation.id), lambda file: file.save_conversation(conversation))
    for message in conversation.messages:
        store.put(("message", message.id), lambda file, message=message: file.save_message(message))
    await store.flush()
    found: dict[str, list[float]] = {"opened": [], "theme": [], "zoom": []}
    for _ in range(ROUNDS):
        found["opened"].append(await opened_ms(panel, conversation))
    await all_shown(panel, page.view.thread_view)
    for _ in range(ROUNDS):
        for change in (lambda: theme().set_scheme("dark"), lambda: theme().set_scheme("light")):
            found["theme"].append(await stalled_ms(panel, change))
    for zoom in (1.2, 1.0) * ROUNDS:
        found["zoom"].append(await stalled_ms(panel, lambda zoom=zoom: theme().set_zoom(zoom)))
    return found


def main(messages: int) -> None:
    app = QApplication([])
    with tempfile.TemporaryDirectory() as home, chat_panel(app, Path(home)) as panel:
        found: dict[str, list[float]] = {}

        async def body() -> None:
            found.update(await measure(panel, messages))

        panel.run(body)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
