"""The chat page, fed with hostile answers for so many seconds; run as a child, so that its memory is its own.

``python -m tests.support.panel_soak HOME SECONDS SEED`` prints a JSON line with the time, the answers so far and
the resident bytes some twenty times.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QCoreApplication, QEvent
from PySide6.QtWidgets import QApplication, QPushButton

from core.errors import Unavailable
from gui.theme.theme import theme
from tests.gui.chat.panel import ChatPanel, chat_panel
from tests.gui.chat.scripted_core import Script

MARKS = 20
A_CHAT = 6
PIECES = (
    *("*a **b ", "_a __b ", "[", "[a](", "[x](http://a.b/c) ", "[x](<http://a:99999/\\<img src=x\\>>)", "> "),
    *("- ", "  - x\n", "`", "```\n", "```py\nx = 1\n", "~~~\n", "|a|b|\n|-|-|\n", "|x|y|\n", "# h\n", "---\n"),
    *("\n\n", "$a*b*c$ ", "$$\n", "$x_{", "\\[", "\\) ", "$$\\frac{1}{x}$$ "),
    *("\\sqrt{" * 9, '{"a": [', "[^1]: n\n", "[r]: http://a.b\n", "[r] ", "![i](file:///nowhere.png)"),
    *("<img src=x>", "&#0;", "\x00", "\ud800", "\u202e\u2066", "e\u0301\u0302" * 40, "\U0001f468\u200d" * 30),
    *("x" * 3000, "word " * 50, "\r\n", "\x1b[2J", "~x~ ~~y~~ "),
)  # fmt: skip


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def hostile_answer(chance: random.Random) -> str:
    """Return an answer of up to 200,000 characters: one piece without end, or all of them in any order."""
    size = chance.choice((200, 5_000, 50_000, 200_000))
    if chance.random() < 0.5:
        piece = chance.choice(PIECES)
        return piece * (size // len(piece) + 1)
    text: list[str] = []
    while size > 0:
        text.append(chance.choice(PIECES))
        size -= len(text[-1])
    return "".join(text)


async def soak(panel: ChatPanel, seconds: float, seed: int, say: Callable[[dict[str, float]], None]) -> None:
    """Ask for hostile answers until the time is over; each few are a chat of their own, deleted afterwards."""
    chance = random.Random(seed)
    page = await panel.open()
    controller, view = page.controller, page.view
    began, answers, next_mark = time.monotonic(), 0, 0.0
    while (passed := time.monotonic() - began) < seconds:
        if passed >= next_mark:
            next_mark += seconds / MARKS
            gc.collect()
            say({"s": round(passed, 1), "answers": answers, "resident_bytes": resident_bytes()})
        text = hostile_answer(chance)
        script = Script(text, pieces=chance.choice((1, 20, 200)))
        if chance.random() < 0.2:
            script.error, script.before = Unavailable(text[:5000]), script.pieces // 2
        panel.core.say(script)
        asked = len(panel.core.requests)
        view.composer.set_content(f"Question {answers}")
        view.composer.submitted.emit()
        while len(panel.core.requests) == asked or controller.session.is_streaming:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        for answer in view.thread_view.views():
            for button in answer.findChildren(QPushButton):
                if button.text().startswith("Show ") and chance.random() < 0.2:
                    button.click()
        view.grab()
        answers += 1
        if answers % A_CHAT == 0:
            gone = controller.session.id
            controller.new_chat()
            await panel.idle()
            controller.list.delete(gone)
            QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        panel.core.requests.clear()
        panel.core.decided.clear()
        panel.core.closed.clear()
    gc.collect()
    say({"s": round(time.monotonic() - began, 1), "answers": answers, "resident_bytes": resident_bytes()})
    await panel.close_page()


def main(home: str, seconds: str, seed: str) -> None:
    app = QApplication([])
    theme().install(app)
    with chat_panel(app, Path(home)) as panel:
        panel.loop.run_until_complete(soak(panel, float(seconds), int(seed), _say))
        assert not panel.failures, panel.failures


def _say(facts: dict[str, float]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:4])
