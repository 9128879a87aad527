"""The page on Qt's loop with the real bridge and a scripted core behind it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PySide6.QtCore import QCoreApplication, QEvent
from PySide6.QtWidgets import QApplication
from qasync import QEventLoop

from gui.chat.page import ChatPage
from gui.chat.storage.models import Conversation
from gui.chat.storage.store import ConversationStore
from gui.shell.bridge import Bridge
from gui.theme.theme import theme
from tests.gui.chat.scripted_core import ScriptedCore
from tests.support.fake_shell import FakeShell
from tests.support.panel_loop import qt_loop

WAIT_S = 20.0


class ChatPanel:
    """``page`` is opened by ``open``; ``again`` closes it and opens a new one on the same home."""

    def __init__(self, app: QApplication, home: Path, loop: QEventLoop) -> None:
        self.app, self.home, self.loop = app, home, loop
        self.core = ScriptedCore(home)
        self.bridge = Bridge(lambda: self.core)  # type: ignore[arg-type, return-value]
        self.shell = FakeShell(self.bridge, home)
        self.failures: list[dict[str, Any]] = []
        self._page: ChatPage | None = None
        loop.set_exception_handler(lambda _, context: self.failures.append(context))

    @property
    def page(self) -> ChatPage:
        assert self._page is not None
        return self._page

    def run(self, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.loop.run_until_complete(asyncio.wait_for(body(), 90))
        assert not self.failures, self.failures

    async def open(self, width: int = 1200, height: int = 752) -> ChatPage:
        if self.bridge.status is None:
            await self.bridge.start()
            await self.until(lambda: self.bridge.status is not None)
        self._page = ChatPage(self.shell)
        self._page.view.resize(width, height)
        self._page.view.show()
        await self._page.start()
        return self._page

    async def again(self) -> ChatPage:
        await self.close_page()
        return await self.open()

    async def close_page(self) -> None:
        if self._page is not None:
            page, self._page = self._page, None
            await page.stop()
            page.view.close()
            page.view.deleteLater()
            QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)

    async def until(self, condition: Callable[[], object]) -> None:
        """Return when ``condition`` holds, looking each time the loop has done something."""
        async with asyncio.timeout(WAIT_S):
            while not condition():  # noqa: ASYNC110 - the page has no event for every thing a test looks at
                await asyncio.sleep(0.002)

    async def idle(self) -> None:
        """No answer runs, the widgets are built, and everything is written."""
        await self.until(
            lambda: (
                not self.page.controller.session.is_streaming and not self.page.view.thread_view.is_building
            )
        )
        await self.page.controller.store.flush()
        for _ in range(3):
            await asyncio.sleep(0)

    async def ask(self, text: str) -> None:
        self.page.view.composer.set_content(text)
        self.page.controller.send()
        await self.idle()

    async def open_chat(self, conversation: Conversation) -> None:
        """Put a conversation into the file, and show it."""

        def add(store: ConversationStore) -> None:
            store.add(conversation)

        await self.page.controller.store.read(add)
        self.page.controller.open(conversation.id)
        await self.until(lambda: self.page.controller.session.id == conversation.id)
        await self.idle()

    async def end(self) -> None:
        await self.close_page()
        await self.bridge.stop()


@contextmanager
def chat_panel(app: QApplication, home: Path) -> Iterator[ChatPanel]:
    theme().install(app)
    app.setQuitOnLastWindowClosed(False)
    loop = qt_loop(app)
    asyncio.set_event_loop(loop)
    panel = ChatPanel(app, home, loop)
    gc.disable()  # whatever is in a cycle is taken on the thread that Qt's objects belong to
    try:
        yield panel
    finally:
        loop.run_until_complete(panel.end())
        asyncio.set_event_loop(None)
        gc.collect()
        gc.enable()
