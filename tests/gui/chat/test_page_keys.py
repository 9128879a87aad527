"""The chat page from the keyboard: shortcuts, the focus, and what Esc closes."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import QEvent, QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QHBoxLayout,
    QPushButton,
    QStackedWidget,
    QWidget,
)

from core.errors import Unavailable
from gui.chat.user_message import UserMessage
from gui.widgets.decision_card import DecisionCard
from tests.gui.chat.looking import click, last_answer, press, shown
from tests.gui.chat.panel import ChatPanel
from tests.gui.chat.scripted_core import Gate, Script


def test_shortcuts(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        await panel.ask("One")
        page.view.activateWindow()
        control = Qt.KeyboardModifier.ControlModifier
        press(panel, Qt.Key.Key_B, control)
        assert not page.view.list.isVisible()
        press(panel, Qt.Key.Key_K, control)
        assert page.view.list.isVisible()
        assert page.view.list.search.hasFocus()
        QTest.keyClick(page.view.list.search, Qt.Key.Key_N, control)
        assert page.controller.session.is_blank
        assert page.view.composer.edit.hasFocus()

    panel.run(body)


def button_saying(panel: ChatPanel, text: str) -> QAbstractButton:
    found = [b for b in panel.page.view.findChildren(QAbstractButton) if b.text() == text and b.isVisible()]
    assert found, text
    return found[0]


def test_the_box_has_the_focus_after_everything_that_sends(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        edit = page.view.composer.edit
        QTest.keyClicks(edit, "First")
        gate = Gate()
        panel.core.say(Script(text="one two", before=1, gate=gate))
        click(page.view.composer.button)
        assert QApplication.focusWidget() is edit
        await panel.until(lambda: page.view.composer.state == "streaming")
        gate.open()
        await panel.idle()
        assert QApplication.focusWidget() is edit
        click(last_answer(panel).again_button)
        assert QApplication.focusWidget() is edit
        await panel.idle()
        prompt = page.view.thread_view.views()[0]
        assert isinstance(prompt, UserMessage)
        click(prompt.edit_button)
        assert prompt.edit is not None
        QTest.keyClicks(prompt.edit, "More ")
        QTest.keyClick(prompt.edit, Qt.Key.Key_Return)
        assert QApplication.focusWidget() is edit
        await panel.idle()
        page.controller.list.delete(page.controller.session.id)
        click(button_saying(panel, "Undo"))
        assert QApplication.focusWidget() is edit
        await panel.idle()
        panel.core.say(Script(error=Unavailable("Nothing answers.")))
        await panel.ask("Again")
        await panel.until(lambda: page.view.thread_view.loose_card is not None)
        click(button_saying(panel, "Try again"))
        assert QApplication.focusWidget() is edit
        await panel.idle()
        assert QApplication.focusWidget() is edit

    panel.run(body)


def test_keys_work_from_the_rail_and_only_while_the_page_is_shown(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        window, rail, other = QWidget(), QPushButton("Rail"), QPushButton("Other page")
        pages = QStackedWidget()
        pages.addWidget(page.view)
        pages.addWidget(other)
        row = QHBoxLayout(window)
        row.addWidget(rail)
        row.addWidget(pages)
        pages.setCurrentWidget(page.view)
        window.resize(1200, 752)
        window.show()
        window.activateWindow()
        await panel.until(lambda: QApplication.activeWindow() is window)
        panel.core.say(Script(text="one two three four", pieces=4, before=2, gate=Gate()))
        page.view.composer.set_content("Count")
        page.controller.send()
        await panel.until(
            lambda: page.view.thread_view.views() and "one" in last_answer(panel).view.visible_text()
        )
        rail.setFocus()
        QTest.keyClick(rail, Qt.Key.Key_Escape)
        await panel.idle()
        assert page.controller.session.tree.path()[-1].status == "stopped"
        rail.setFocus()
        QTest.keyClick(rail, Qt.Key.Key_B, Qt.KeyboardModifier.ControlModifier)
        assert not page.view.list.isVisible()
        QTest.keyClick(rail, Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier)
        assert QApplication.focusWidget() is page.view.list.search
        rail.setFocus()
        QTest.keyClick(rail, Qt.Key.Key_N, Qt.KeyboardModifier.ControlModifier)
        assert page.controller.session.is_blank
        assert QApplication.focusWidget() is page.view.composer.edit
        pages.setCurrentWidget(other)
        rail.setFocus()
        QTest.keyClick(rail, Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier)
        assert QApplication.focusWidget() is rail
        page.view.setParent(None)
        window.close()

    panel.run(body)


def test_escape_closes_what_is_on_top_before_it_stops_the_answer(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        edit = page.view.composer.edit

        def escape() -> None:
            popup = QApplication.activePopupWidget()
            QTest.keyClick(popup or QApplication.focusWidget() or page.view, Qt.Key.Key_Escape)
            QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)

        await panel.ask("First")
        prompt = page.view.thread_view.views()[0]
        assert isinstance(prompt, UserMessage)
        click(prompt.edit_button)
        panel.core.say(Script(text="one two three four", pieces=4, before=2, gate=Gate()))
        page.view.composer.set_content("Count")
        page.controller.send()
        await panel.until(lambda: "one" in shown(panel)[-1])
        page.view.header.options_button.click()
        page.view.list.search.setText("First")
        badge = last_answer(panel).badge
        badge.setFocus()
        QTest.keyClick(badge, Qt.Key.Key_Return)
        assert isinstance(QApplication.activePopupWidget(), DecisionCard)
        escape()
        assert QApplication.activePopupWidget() is None
        assert QApplication.focusWidget() is badge
        page.view.thread_view.link_clicked.emit("https://example.org/", QPoint(10, 10))
        assert QApplication.activePopupWidget() is not None
        escape()
        assert QApplication.activePopupWidget() is None
        assert prompt.edit is not None
        escape()
        assert prompt.edit is None
        assert QApplication.focusWidget() is edit
        assert page.view.list.search.text() == "First"
        page.view.list.search.setFocus()
        escape()
        assert page.view.list.search.text() == ""
        assert QApplication.focusWidget() is edit
        assert page.view.drawer.isVisible()
        page.view.drawer.focus_schema()
        escape()
        assert not page.view.drawer.isVisible()
        assert QApplication.focusWidget() is edit
        assert page.controller.session.is_streaming
        escape()
        await panel.idle()
        assert page.controller.session.tree.path()[-1].status == "stopped"

    panel.run(body)


def test_the_list_hides_where_the_page_is_narrow_and_comes_back(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        view, control = page.view, Qt.KeyboardModifier.ControlModifier
        view.setMinimumSize(1, 1)  # as in the window, whose smallest size is not its contents'
        view.activateWindow()
        view.resize(680, 380)
        assert not view.list.isVisible()
        assert view.header.list_button.isVisible()
        press(panel, Qt.Key.Key_B, control)
        assert view.list.isVisible(), "who asks for it gets it"
        view.resize(1200, 752)
        assert view.list.isVisible()
        press(panel, Qt.Key.Key_B, control)
        view.resize(680, 380)
        view.resize(1200, 752)
        assert not view.list.isVisible(), "who hid it does not get it back"

    panel.run(body)


def test_tab_goes_through_the_drawer_from_above(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        await panel.until(page.view.isActiveWindow)
        page.controller.toggle_options()
        drawer = page.view.drawer
        drawer.advanced.set_open(True)
        await panel.until(drawer.seed.isVisible)
        drawer.schema.setFocus()
        reset = next(each for each in drawer.findChildren(QPushButton) if each.text() == "Put all back")
        page.controller.session.set_options(replace(page.controller.session.options, seed=1))
        page.controller.show_options()
        for stop in (drawer.advanced.button, drawer.top_p, drawer.stop, drawer.seed, reset):
            focused = page.view.window().focusWidget()
            assert focused is not None
            QTest.keyClick(focused, Qt.Key.Key_Tab)
            assert stop.hasFocus()

    panel.run(body)
