"""Tab and F6 in the real window: every control is reached, nothing is a trap, and Shift+Tab leads back."""

from __future__ import annotations

import re
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtGui import QShortcut
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QMenu, QWidget

from core.errors import Unavailable
from gui.chat.user_message import UserMessage
from gui.preferences.catalogue import SECTIONS
from gui.preferences.shortcuts_section import SHORTCUTS
from gui.shell.pages import Target
from gui.shell.window import Window
from tests.gui.chat.panel import ChatPanel, chat_panel
from tests.gui.chat.scripted_core import Script
from tests.gui.shell.test_window import chat, closed, nameless_stops, opened

CODE = "Like this:\n\n```python\nprint('Paris')\n```\n\nThat is [all](https://example.org)."


def focused() -> QWidget:
    widget = QApplication.focusWidget()
    assert widget is not None
    return widget


def walked(start: QWidget, key: Qt.Key) -> list[QWidget]:
    """Press ``key`` from ``start`` until it comes back there; what had the focus on the way."""
    start.setFocus()
    seen = [start]
    stayed = 0
    while True:
        QTest.keyClick(focused(), key)
        if focused() is seen[-1]:  # a text goes through its links first
            stayed += 1
            assert stayed < 20, f"{describe(focused())} keeps the focus: a trap"
            continue
        stayed = 0
        if focused() is start:
            return seen
        assert focused() not in seen, f"{describe(focused())} is reached twice: a trap"
        seen.append(focused())


def expected_stops(window: QWidget) -> set[QWidget]:
    """What the keyboard has to reach: visible, usable, and of a group of choices the chosen one."""
    found: set[QWidget] = set()
    for widget in window.findChildren(QWidget):
        if not (widget.isVisible() and widget.isEnabled() and widget.focusPolicy() & Qt.FocusPolicy.TabFocus):
            continue
        group = widget.group() if isinstance(widget, QAbstractButton) else None
        if group is not None and isinstance(widget, QAbstractButton) and group.exclusive():
            widget = group.checkedButton() or widget
        proxy = widget.focusProxy()
        found.add(proxy if proxy is not None else widget)
    return found


def describe(widget: QWidget) -> str:
    words = widget.accessibleName() or getattr(widget, "text", lambda: "")()
    return f"{type(widget).__name__} {words!r} in {type(widget.parent()).__name__}"


def check_walk(window: QWidget, start: QWidget, where: str) -> list[QWidget]:
    """Walk there and back; return the way."""
    forth = walked(start, Qt.Key.Key_Tab)
    missed = expected_stops(window) - set(forth)
    assert not missed, f"{where}: Tab never reaches {[describe(widget) for widget in missed]}"
    back = walked(start, Qt.Key.Key_Backtab)
    assert set(back) == set(forth), where
    return forth


async def with_answers(panel: ChatPanel, window: Window) -> None:
    window.open(Target("chat"))
    assert panel.bridge.status is not None
    window.header.set_status(panel.bridge.status)
    for number in (1, 2):
        panel.core.say(Script(text=CODE))
        chat(window).view.composer.set_content("How?")
        chat(window).view.composer.submitted.emit()
        await panel.until(lambda number=number: chat(window).controller.session.totals.answers == number)
        await panel.until(lambda: not chat(window).controller.session.is_streaming)
    await panel.until(lambda: not chat(window).view.thread_view.is_building)
    await chat(window).controller.store.flush()
    chat(window).view.thread_view.order_tabs()
    window.activateWindow()


def test_tab_reaches_everything_in_the_chat_and_comes_back(qapp: QApplication, home: Path) -> None:
    async def body() -> None:
        window = await opened(panel)
        window.resize(1280, 720)
        await with_answers(panel, window)
        view = chat(window).view
        view.composer.set_content("Next")  # so that Send can be pressed
        edit = view.composer.edit
        way = check_walk(window, edit, "chat")
        assert edit.text() == "Next", "Tab is no character here"
        assert not nameless_stops(window)
        order = [
            view.composer.button,
            window.header.pills["local"],
            window.header.pills["spend"],
            window.bell,
            window.rail.current_item,
            view.list.search,
            view.list.view,
            view.header.options_button,
            view.thread_view,
            *view.thread_view.views(),
        ]
        places = [way.index(widget) for widget in order]
        assert places == sorted(places), "header, rail, list, head, messages, composer"
        view.header.options_button.click()
        check_walk(window, edit, "chat with its options")
        view.close_options()
        prompt = view.thread_view.views()[0]
        assert isinstance(prompt, UserMessage)
        prompt.edit_button.click()
        assert prompt.edit is not None
        await panel.until(lambda: prompt.edit is not None and prompt.edit.isVisible())
        view.thread_view.order_tabs()
        way = check_walk(window, edit, "chat with an open prompt")
        assert prompt.edit in way
        prompt.keep()
        panel.core.say(Script(error=Unavailable("Nothing answers.")))
        view.composer.set_content("Again")
        view.composer.submitted.emit()
        await panel.until(lambda: view.thread_view.loose_card is not None)
        check_walk(window, edit, "chat with a failure")
        await closed(window)

    with chat_panel(qapp, home) as panel:
        panel.run(body)


def test_tab_reaches_everything_in_preferences_and_on_the_welcome_page(
    qapp: QApplication, home: Path
) -> None:
    async def body() -> None:
        window = await opened(panel)
        welcome = window.page("welcome")
        window.activateWindow()
        check_walk(welcome.widget, welcome.home, "welcome")
        told = " ".join(f"{shortcut.keys}; {shortcut.action}" for shortcut in SHORTCUTS)
        keys = {shortcut.key().toString() for shortcut in window.findChildren(QShortcut)}
        untold = {key for key in keys if not re.search(rf"(?<![\w+]){re.escape(key)}(?!\w)", told)}
        digits = {f"Ctrl+{number + 1}" for number in range(len(window.rail.items))}  # told as one line
        assert untold <= digits | {"Ctrl+="}, "not in the table of Preferences, Shortcuts"
        for section in SECTIONS:
            window.open(Target("preferences", section.id))
            await panel.until(lambda: window.page_in_front.id == "preferences")
            check_walk(window, window.page("preferences").home, section.id)
        await closed(window)

    with chat_panel(qapp, home) as panel:
        panel.run(body)


def test_f6_goes_through_rail_list_messages_box_and_options(qapp: QApplication, home: Path) -> None:
    async def body() -> None:
        window = await opened(panel)
        window.resize(1280, 720)
        await with_answers(panel, window)
        view = chat(window).view
        view.header.options_button.click()
        view.focus_composer()
        stops: list[QWidget] = []
        for _ in range(5):
            QTest.keyClick(focused(), Qt.Key.Key_F6)
            stops.append(focused())
        assert view.drawer.isAncestorOf(stops[0])
        assert stops[1:] == [window.rail.current_item, view.list.view, view.thread_view, view.composer.edit]
        QTest.keyClick(focused(), Qt.Key.Key_F6, Qt.KeyboardModifier.ShiftModifier)
        assert focused() is view.thread_view
        view.composer.set_content("Next")
        view.composer.button.setFocus()
        QTest.keyClick(focused(), Qt.Key.Key_F6, Qt.KeyboardModifier.ShiftModifier)
        assert focused() is view.thread_view, "the buttons beside the box belong to it"
        window.open(Target("preferences"))
        QTest.keyClick(focused(), Qt.Key.Key_F6)
        assert window.page("preferences").areas[1].root.isAncestorOf(focused())
        QTest.keyClick(focused(), Qt.Key.Key_F6)
        assert focused() is window.rail.current_item
        await closed(window)

    with chat_panel(qapp, home) as panel:
        panel.run(body)


def test_arrows_go_from_message_to_message_and_enter_opens_what_one_offers(
    qapp: QApplication, home: Path
) -> None:
    async def body() -> None:
        window = await opened(panel)
        window.resize(1280, 720)
        await with_answers(panel, window)
        thread = chat(window).view.thread_view
        first, answer, *_, last = thread.views()
        last.setFocus(Qt.FocusReason.TabFocusReason)
        QTest.keyClick(last, Qt.Key.Key_Home)
        assert focused() is first
        QTest.keyClick(first, Qt.Key.Key_Down)
        assert focused() is answer
        QTest.keyClick(answer, Qt.Key.Key_Return)
        menu = QApplication.activePopupWidget()
        assert isinstance(menu, QMenu)
        offered = [action.text() for action in menu.actions()]
        assert {"Copy answer", "Copy python", "Show why it went there"} <= set(offered)
        menu.actions()[offered.index("Copy python")].trigger()
        menu.close()
        assert QApplication.clipboard().text() == "print('Paris')"
        assert focused() is answer
        QTest.keyClick(answer, Qt.Key.Key_Up)
        assert focused() is first
        QTest.keyClick(first, Qt.Key.Key_Escape)
        assert focused() is chat(window).view.composer.edit
        await closed(window)

    with chat_panel(qapp, home) as panel:
        panel.run(body)


def test_arrows_in_the_rail_go_and_enter_opens(qapp: QApplication, home: Path) -> None:
    async def body() -> None:
        window = await opened(panel)
        window.open(Target("chat"))
        window.activateWindow()
        window.rail.current_item.setFocus()
        for item in window.rail.items[1:]:
            QTest.keyClick(focused(), Qt.Key.Key_Down)
            assert focused() is item
        assert window.page_in_front.id == "chat", "who goes past an item does not open its page"
        QTest.keyClick(focused(), Qt.Key.Key_Down)
        assert focused() is window.rail.items[-1], "the last one"
        QTest.keyClick(focused(), Qt.Key.Key_Return)
        assert window.page_in_front.id == "preferences"
        window.rail.current_item.setFocus()
        for _ in window.rail.items[1:]:
            QTest.keyClick(focused(), Qt.Key.Key_Up)
        QTest.keyClick(focused(), Qt.Key.Key_Space)
        assert window.page_in_front.id == "chat"
        await closed(window)

    with chat_panel(qapp, home) as panel:
        panel.run(body)
