"""The window comes back as it was left, and whatever the keyboard stops at has a name."""

from __future__ import annotations

import asyncio
from pathlib import Path

from PySide6.QtCore import QCoreApplication, QEvent, Qt
from PySide6.QtGui import QAccessible
from PySide6.QtWidgets import QApplication, QWidget

from gui.preferences.catalogue import SECTIONS
from gui.shell.window import Window
from tests.gui.chat.panel import ChatPanel, chat_panel


async def opened(panel: ChatPanel) -> Window:
    if panel.bridge.status is None:
        await panel.bridge.start()
        await panel.until(lambda: panel.bridge.status is not None)
    window = Window(panel.bridge, panel.home)
    window.show()
    await window.start()
    return window


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
            window.chat.new_chat()
            window.chat.composer.set_content(question)
            window.chat.composer.submitted.emit()
            await panel.until(lambda: window.chat.session.totals.answers == 1)
            asked.append(window.chat.session.id)
        first = asked[0]
        window.chat.open_conversation(first)
        await panel.until(lambda: window.chat.session.id == first)
        await closed(window)

        window = await opened(panel)
        await panel.until(lambda: window.chat.session.id == first)
        assert window.chat.session.title == "What is the capital of France?"
        window.chat.new_chat()
        blank = window.chat.session.id
        await closed(window)

        window = await opened(panel)
        for _ in range(20):
            await asyncio.sleep(0)
        assert window.chat.session.is_blank, "a new chat is what was open"
        assert window.chat.session.id != blank
        await closed(window)

    with chat_panel(qapp, home) as panel:
        panel.run(body)


def test_a_draft_of_a_new_chat_goes_before_the_conversation(qapp: QApplication, home: Path) -> None:
    async def body() -> None:
        window = await opened(panel)
        window.chat.composer.set_content("Half a thought")
        await closed(window)

        window = await opened(panel)
        await panel.until(lambda: window.chat.composer.text == "Half a thought")
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
        window.show_page("chat")
        window.chat.composer.set_content("What is the capital of France?")
        window.chat.composer.submitted.emit()
        await panel.until(lambda: window.chat.session.totals.answers == 1)
        window.chat.composer.max_tokens.click()
        assert not nameless_stops(window), "chat with its options"
        window.show_spend(held=True)
        popup = QApplication.activePopupWidget()
        assert popup is not None
        assert not nameless_stops(popup), "spend"
        popup.close()
        for section in SECTIONS:
            window.show_page("preferences", section.id)
            await asyncio.sleep(0)
            assert not nameless_stops(window), section.id
        await closed(window)

    with chat_panel(qapp, home) as panel:
        panel.run(body)
