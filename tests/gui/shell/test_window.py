"""The window comes back as it was left, and whatever the keyboard stops at has a name."""

from __future__ import annotations

import asyncio
from pathlib import Path

from PySide6.QtCore import QCoreApplication, QEvent, QSize, Qt
from PySide6.QtGui import QAccessible
from PySide6.QtWidgets import QApplication, QWidget

from gui.chat.page import ChatPage
from gui.pages import PAGES
from gui.preferences.catalogue import SECTIONS
from gui.shell.pages import Target
from gui.shell.window import Window
from tests.gui.chat.panel import ChatPanel, chat_panel


async def opened(panel: ChatPanel) -> Window:
    if panel.bridge.status is None:
        await panel.bridge.start()
        await panel.until(lambda: panel.bridge.status is not None)
    window = Window(panel.bridge, panel.home, PAGES)
    window.show()
    await window.start()
    return window


def chat(window: Window) -> ChatPage:
    page = window.page("chat")
    assert isinstance(page, ChatPage)
    return page


async def closed(window: Window) -> None:
    window.close()
    await window.stop()
    window.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def test_the_conversation_that_was_open_is_open_again(qapp: QApplication, home: Path) -> None:
    async def body() -> None:
        window = await opened(panel)
        asked: list[str] = []
        for question in ("What is the capital of France?", "Write a haiku."):
            chat(window).controller.new_chat()
            chat(window).view.composer.set_content(question)
            chat(window).view.composer.submitted.emit()
            await panel.until(lambda: chat(window).controller.session.totals.answers == 1)
            asked.append(chat(window).controller.session.id)
        first = asked[0]
        chat(window).controller.open(first)
        await panel.until(lambda: chat(window).controller.session.id == first)
        await closed(window)

        window = await opened(panel)
        await panel.until(lambda: chat(window).controller.session.id == first)
        assert chat(window).controller.session.title == "What is the capital of France?"
        chat(window).controller.new_chat()
        blank = chat(window).controller.session.id
        await closed(window)

        window = await opened(panel)
        for _ in range(20):
            await asyncio.sleep(0)
        assert chat(window).controller.session.is_blank, "a new chat is what was open"
        assert chat(window).controller.session.id != blank
        await closed(window)

    with chat_panel(qapp, home) as panel:
        panel.run(body)


def test_the_place_is_kept_where_the_session_ends_and_nobody_closes_the_window(
    qapp: QApplication, home: Path
) -> None:
    async def body() -> None:
        window = await opened(panel)
        window.open(Target("preferences", "routing"))
        window.resize(790, 700)
        await window.stop()
        window.hide()
        window.deleteLater()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)

        window = await opened(panel)
        assert window.page_in_front.id == "preferences"
        assert window.size() == QSize(790, 700)
        await closed(window)

    with chat_panel(qapp, home) as panel:
        panel.run(body)


def test_a_draft_of_a_new_chat_goes_before_the_conversation(qapp: QApplication, home: Path) -> None:
    async def body() -> None:
        window = await opened(panel)
        chat(window).view.composer.set_content("Half a thought")
        await closed(window)

        window = await opened(panel)
        await panel.until(lambda: chat(window).view.composer.text == "Half a thought")
        await closed(window)

    with chat_panel(qapp, home) as panel:
        panel.run(body)


def nameless_stops(root: QWidget) -> set[str]:
    """What Tab stops at and a screen reader has no word for."""
    found: set[str] = set()
    for widget in (root, *root.findChildren(QWidget)):
        if widget.isVisible() and widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
            interface = QAccessible.queryAccessibleInterface(widget)
            if not interface or not interface.text(QAccessible.Text.Name).strip():
                found.add(f"{type(widget).__name__} in {type(widget.parent()).__name__}")
    return found


def test_every_stop_of_the_keyboard_has_a_name(qapp: QApplication, home: Path) -> None:
    async def body() -> None:
        window = await opened(panel)
        assert not nameless_stops(window), "welcome"
        window.open(Target("chat"))
        chat(window).view.composer.set_content("What is the capital of France?")
        chat(window).view.composer.submitted.emit()
        await panel.until(lambda: chat(window).controller.session.totals.answers == 1)
        chat(window).view.composer.max_tokens.click()
        assert not nameless_stops(window), "chat with its options"
        window.open(Target("spend", "held"))
        popup = QApplication.activePopupWidget()
        assert popup is not None
        assert not nameless_stops(popup), "spend"
        popup.close()
        for section in SECTIONS:
            window.open(Target("preferences", section.id))
            await asyncio.sleep(0)
            assert not nameless_stops(window), section.id
        await closed(window)

    with chat_panel(qapp, home) as panel:
        panel.run(body)
