"""A message's tools, its editor, its badge when it was stopped, and that nothing hops at the first letter."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QAccessible, QAccessibleAnnouncementEvent, QColor, QGuiApplication, QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QPushButton, QWidget

from gui.chat.markdown.prose import ProseBlock
from gui.chat.storage.models import COPIED
from gui.chat.user_message import UserMessage
from gui.theme.theme import theme
from gui.widgets import copying
from gui.widgets.copying import Copier
from tests.gui.chat.builders import make_conversation, make_message
from tests.gui.chat.looking import last_answer, press
from tests.gui.chat.panel import ChatPanel
from tests.gui.chat.scripted_core import Gate, Script


def first_prompt(panel: ChatPanel) -> UserMessage:
    view = panel.page.view.thread_view.views()[0]
    assert isinstance(view, UserMessage)
    return view


def box_in(widget: QWidget, around: QWidget) -> QRect:
    return QRect(widget.mapTo(around, QPoint(0, 0)), widget.size())


def test_what_is_typed_to_change_a_prompt_is_there_when_its_chat_is_shown_again(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        await panel.ask("Question")
        chat = page.controller.session.id
        first_prompt(panel).edit_button.click()
        edit = first_prompt(panel).edit
        assert edit is not None
        QTest.keyClicks(edit, " and more")
        page.controller.new_chat()
        await panel.idle()
        page.controller.open(chat)
        await panel.until(lambda: len(page.view.thread_view.views()) == 2)
        await panel.idle()
        prompt = first_prompt(panel)
        assert prompt.edit is not None
        assert prompt.edit.text() == "Question and more"
        prompt.keep()
        page.controller.new_chat()
        await panel.idle()
        page.controller.open(chat)
        await panel.until(lambda: len(page.view.thread_view.views()) == 2)
        assert first_prompt(panel).edit is None, "it was given up"

    panel.run(body)


@pytest.mark.parametrize("zoom", [1.0, 1.5])
def test_the_tools_of_a_prompt_leave_its_versions_free(panel: ChatPanel, zoom: float) -> None:
    async def body() -> None:
        page = await panel.open()
        await panel.ask("Question")
        theme().set_zoom(zoom)
        first_prompt(panel).edit_button.click()
        edit = first_prompt(panel).edit
        assert edit is not None
        edit.set_text("Better question")
        QTest.keyClick(edit, Qt.Key.Key_Return)
        await panel.idle()
        prompt = first_prompt(panel)
        for width in (1200, 700):
            page.view.resize(width, 700)
            await asyncio.sleep(0.02)
            pager = box_in(prompt.versions, prompt)
            assert pager.width() > 40
            tools = (prompt.edit_button, prompt.copy_button, prompt.pin_button)
            shown = [button for button in tools if button.isVisible()]  # no pin where nothing is trimmed
            assert prompt.edit_button in shown
            for button in shown:
                assert not box_in(button, prompt).intersects(pager)
            assert prompt.childAt(pager.center()) in (prompt.versions, *prompt.versions.findChildren(QWidget))

    panel.run(body)


def test_an_edited_prompt_is_a_field_with_its_ring_and_its_keys(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        await panel.ask("Question")
        prompt = first_prompt(panel)
        prompt.edit_button.click()
        edit = prompt.edit
        assert edit is not None
        page.view.activateWindow()
        await panel.until(lambda: edit.hasFocus() and edit.isVisible())
        assert not prompt.edit_button.isVisible(), "the tools would cover the field"
        edge, height = edge_of(edit), edit.height()
        assert edge == theme().color("focus")
        page.view.composer.edit.setFocus()
        assert edge_of(edit) == theme().color("control")
        assert edit.height() == height
        words = [button.text() for button in prompt.findChildren(QPushButton) if button.isVisible()]
        assert words == ["Send as a branch  Enter", "Keep as it was  Esc"]
        QTest.keyClick(edit, Qt.Key.Key_Escape)
        assert prompt.edit is None
        assert prompt.edit_button.isVisible()

    panel.run(body)


def edge_of(widget: QWidget) -> QColor:
    image = widget.grab().toImage()
    return image.pixelColor(image.width() // 2, 0)


def test_stopped_before_the_first_token_is_no_failure(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.say(Script(text="never", gate=Gate(), result={"cost_nanodollars": 3_900_000}))
        page.view.composer.set_content("Count")
        page.controller.send()
        await panel.until(lambda: page.view.thread_view.views() and last_answer(panel).badge.isVisible())
        press(panel, Qt.Key.Key_Escape)
        await panel.idle()
        for _ in range(2):
            answer = last_answer(panel)
            assert answer.card is None
            drawn = answer.badge.grab().toImage()
            assert answer.badge.toolTip() == "Stopped before the first token, $0.0039, $0.0019 loaded"
            assert answer.note == ""
            assert theme().color("danger").name() not in colours_of(drawn)
            assert theme().color("danger_text").name() not in colours_of(drawn)
            page = await panel.again()
            page.controller.open(page.view.list.model.ids()[0])
            await panel.until(lambda: len(panel.page.view.thread_view.views()) == 2)

    panel.run(body)


@pytest.mark.parametrize(("origin", "note"), [("ChatGPT", "From ChatGPT"), (COPIED, "")])
def test_only_another_program_is_named_as_where_an_answer_is_from(
    panel: ChatPanel, origin: str, note: str
) -> None:
    async def body() -> None:
        await panel.open()
        chat = make_conversation("Fruit")
        prompt = make_message(chat, "user", "Fruit?")
        answer = replace(make_message(chat, "assistant", "Plums", parent_id=prompt.id), origin=origin)
        await panel.open_chat(replace(chat, messages=(prompt, answer), head_id=answer.id))
        assert last_answer(panel).note == note

    panel.run(body)


def colours_of(image: QImage) -> set[str]:
    return {image.pixelColor(x, y).name() for x in range(image.width()) for y in range(image.height())}


def ink_top(widget: QWidget) -> int:
    """The first row in which something is drawn."""
    image = widget.grab().toImage()
    ground = image.pixel(image.width() - 2, 1)
    return next(
        y for y in range(image.height()) if any(image.pixel(x, y) != ground for x in range(image.width()))
    )


def test_nothing_hops_at_the_first_letter_typed(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        edit = page.view.composer.edit
        edit.setCursorWidth(0)
        edit.setPlaceholderText("Ask")
        for zoom in (1.0, 1.5):
            theme().set_zoom(zoom)
            edit.set_text("")
            await asyncio.sleep(0.02)
            before = edit.grab().toImage(), box_in(edit, page.view)
            colour = edit.palette().placeholderText().color()
            QTest.keyClicks(edit, "Ask")
            await asyncio.sleep(0.02)
            after = edit.grab().toImage(), box_in(edit, page.view)
            assert before[1] == after[1]
            assert colour != theme().color("text")
            assert shape_of(before[0]) == shape_of(after[0])

    panel.run(body)


def shape_of(image: QImage) -> QRect:
    ground = image.pixel(image.width() - 2, 1)
    inked = [QPoint(x, y) for x in range(120) for y in range(image.height()) if image.pixel(x, y) != ground]
    columns, rows = [point.x() for point in inked], [point.y() for point in inked]
    return QRect(QPoint(min(columns), min(rows)), QPoint(max(columns), max(rows)))


def test_nothing_hops_at_the_first_token_of_an_answer(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        gate = Gate()
        panel.core.say(Script(text="Hhhh hhh", pieces=8, gate=gate, delay_s=0.01))
        page.view.composer.set_content("Go")
        page.controller.send()
        await panel.until(lambda: page.view.thread_view.views() and last_answer(panel).badge.isVisible())
        [pane] = last_answer(panel).view.findChildren(ProseBlock)
        await panel.until(lambda: pane.height() == theme().line_px("reading"))
        caret, places = ink_top(pane.viewport()), (pane.y(), pane.height(), last_answer(panel).badge.y())
        gate.open()
        await panel.until(lambda: pane.toPlainText().startswith("H"))
        assert abs(ink_top(pane.viewport()) - caret) <= 1
        assert (pane.y(), pane.height(), last_answer(panel).badge.y()) == places

    panel.run(body)


def test_each_button_that_copies_says_so_and_goes_back(
    panel: ChatPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def note(event: object) -> None:
        if isinstance(event, QAccessibleAnnouncementEvent):
            told.append(event.message())

    monkeypatch.setattr(QAccessible, "updateAccessibility", note)
    monkeypatch.setattr(copying, "SIGN_MS", 40)

    async def body() -> None:
        await panel.open()
        panel.core.say(Script(text="See:\n\n```python\nprint(1)\n```\n"))
        await panel.ask("Question")
        answer, prompt = last_answer(panel), first_prompt(panel)
        code = answer.view.code_blocks()[0]
        for button, text in (
            (prompt.copy_button, "Question"),
            (answer.copy_button, "See:\n\n```python\nprint(1)\n```\n"),
            (code.copy_button, "print(1)"),
        ):
            [copier] = button.findChildren(Copier)
            name, tip, words = button.accessibleName(), button.toolTip(), button.text()
            icon = button.icon().cacheKey()
            told.clear()
            button.click()
            assert QGuiApplication.clipboard().text().rstrip("\n") == text.rstrip("\n")
            assert told == ["Copied"]
            assert copier.is_told
            assert button.icon().cacheKey() != icon
            assert button.toolTip() == "Copied"
            button.click()  # again while the sign is there: what is put back is still the first
            await panel.until(lambda copier=copier: not copier.is_told)
            assert (button.accessibleName(), button.toolTip(), button.text()) == (name, tip, words)
            assert button.icon().cacheKey() == icon
        prompt.copy_button.click()
        assert prompt.copy_button.is_shown, "the sign stays where the pointer has left"

    panel.run(body)
