"""The panel in use: conversations opened one after the other, and answers streamed in between.

``python -m tests.support.panel_use HOME CHATS MARK...`` prints a JSON line at each mark: conversations opened,
answers streamed, resident bytes, widgets and Python's objects that live. The window, the core and the collector are
the panel's own; only the servers of both sides are on loopback. Run as a child, so that its memory is its own.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from PySide6.QtWidgets import QApplication

from gui import app
from gui.chat.page import ChatPage
from gui.chat.storage.models import Conversation
from gui.chat.storage.store import FILE_NAME, ConversationStore
from gui.shell import window
from gui.shell.pages import Target
from gui.shell.window import Window
from tests.gui.chat.builders import make_conversation, make_message
from tests.gui.chat.stream_bench import tokens_of
from tests.support.echo_server import echo_server
from tests.support.panel_soak import resident_bytes

MESSAGES = 12
TOKENS = 600
CHATS_AN_ANSWER = 5
SETTLE_S = 3.0  # some rounds of the panel's collector


def conversation(number: int) -> Conversation:
    """Return a conversation as people have them: short questions, answers with code, tables and formulas."""
    made = make_conversation(f"Conversation {number}")
    kinds = ("mixed", "maths", "code", "list")
    messages: list[Any] = []
    for turn in range(MESSAGES):
        asked = turn % 2 == 0
        words = (
            f"Question {number}.{turn}"
            if asked
            else "".join(tokens_of(kinds[(number + turn) // 2 % 4], TOKENS))
        )
        parent = messages[-1].id if messages else None
        messages.append(make_message(made, "user" if asked else "assistant", words, parent_id=parent))
    return make_conversation(
        f"Conversation {number}", id=made.id, messages=tuple(messages), head_id=messages[-1].id
    )


def _written(home: Path, count: int) -> Iterator[str]:
    home.chmod(0o700)
    store = ConversationStore(home / FILE_NAME)
    for number in range(count):
        made = conversation(number)
        store.save_conversation(made)
        for message in made.messages:
            store.save_message(message)
        yield made.id
    store.close()


class UsedWindow(Window):
    """The panel's own window, which uses itself once it has started, and closes."""

    chats: ClassVar[list[str]] = []
    marks: ClassVar[set[int]] = set()

    async def start(self) -> None:
        await super().start()
        try:
            await self._use()
        finally:
            self.close()

    async def _use(self) -> None:
        self.open(Target("chat"))  # else Welcome stands in front, and nothing of a chat is painted
        page = self.page("chat")
        assert isinstance(page, ChatPage)
        controller, view = page.controller, page.view
        answers = 0
        for opened, chat in enumerate(self.chats, 1):
            controller.open(chat)
            while controller.session.id != chat or view.thread_view.is_building:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            if opened % CHATS_AN_ANSWER == 0:
                view.composer.set_content(f"Another question {opened}")
                controller.send()
                await asyncio.sleep(0.05)
                while controller.session.is_streaming:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                answers += 1
            await asyncio.sleep(0.05)  # is seen, as a frame or two
            if opened in self.marks:
                await asyncio.sleep(SETTLE_S)
                facts = {
                    "chats": opened,
                    "answers": answers,
                    "resident_bytes": resident_bytes(),
                    "widgets": len(QApplication.allWidgets()),
                    "objects": len(gc.get_objects()),
                    "last": controller.session.tree.path()[-1].status,
                }
                sys.stdout.write(json.dumps(facts) + "\n")
                sys.stdout.flush()


def main(home: str, chats: str, *marks: str) -> None:
    UsedWindow.chats = list(_written(Path(home), int(chats)))
    UsedWindow.marks = set(map(int, marks))
    window.Window = UsedWindow  # type: ignore[misc]
    answer = "".join(tokens_of("mixed", TOKENS))
    with echo_server(answer) as server:
        os.environ.update(
            SIGNALBOX_HOME=home,
            VLLM_BASE_URL=f"http://{server.root}/v1",
            VLLM_MODEL="tiny",
            ANTHROPIC_BASE_URL=f"http://{server.root}",
            ANTHROPIC_API_KEY="sk-ant-use",
            PYTHON_KEYRING_BACKEND="keyring.backends.fail.Keyring",
        )
        app.main()


if __name__ == "__main__":
    main(*sys.argv[1:])
