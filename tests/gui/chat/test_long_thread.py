"""A long conversation: widgets only around what is read, which stays in its place whatever is made or let go."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeGuard

from PySide6.QtCore import QPoint
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from gui.chat.answer_message import AnswerMessage
from gui.chat.markdown.code_block import SHOWN_LINES
from gui.chat.storage.models import Conversation, StoredMessage
from gui.chat.thread_view import MOST_VIEWS, NEAR_MESSAGES, SHOWN_MESSAGES, ThreadView
from gui.chat.user_message import UserMessage
from gui.theme.theme import theme
from tests.gui.chat.builders import make_conversation, make_message, make_result
from tests.gui.chat.looking import last_answer, shown
from tests.gui.chat.panel import ChatPanel
from tests.gui.chat.scripted_core import Script

SOME = MOST_VIEWS + NEAR_MESSAGES


def a_long_conversation(turns: int) -> Conversation:
    conversation = make_conversation("Long")
    messages: list[StoredMessage] = []
    parent: str | None = None
    for number in range(turns):
        prompt = make_message(conversation, "user", f"prompt {number}", parent_id=parent)
        text = f"answer {number}\n\n" + "word " * (number * 37 % 90)
        result = make_result(text)
        answer = make_message(
            conversation, "assistant", text, parent_id=prompt.id, result=result, decision=result.decision
        )
        messages += [prompt, answer]
        parent = answer.id
    return replace(conversation, messages=tuple(messages), head_id=parent)


async def open_long(panel: ChatPanel, turns: int = 50) -> tuple[ThreadView, Conversation]:
    page = await panel.open(900, 600)
    conversation = a_long_conversation(turns)
    store = page.controller.store
    store.put(("conversation", conversation.id), lambda file: file.save_conversation(conversation))
    for message in conversation.messages:
        store.put(("message", message.id), lambda file, message=message: file.save_message(message))
    await store.flush()
    page.controller.open(conversation.id)
    thread = page.view.thread_view
    await panel.until(lambda: len(thread.views()) == SHOWN_MESSAGES and not thread.is_building)
    return thread, conversation


async def show_all(panel: ChatPanel, thread: ThreadView, conversation: Conversation) -> None:
    earlier = thread._earlier  # pyright: ignore[reportPrivateUsage]
    while earlier.isVisible():
        earlier.click()
        await panel.until(lambda: not thread.is_building)
    assert len(thread._column.order) == len(conversation.messages)  # pyright: ignore[reportPrivateUsage]


def read_now(thread: ThreadView) -> tuple[str, int] | None:
    """The first message in sight, and how far below the edge it begins."""
    bar = thread.verticalScrollBar()
    for view in thread.views():
        if view.geometry().bottom() >= bar.value():
            return view.message_id, view.mapTo(thread.viewport(), QPoint(0, 0)).y()
    return None


def is_prompt(view: object) -> TypeGuard[UserMessage]:
    return isinstance(view, UserMessage)


def is_filled(thread: ThreadView) -> bool:
    """Whether everything in sight has a widget, and nothing is being made."""
    bar = thread.verticalScrollBar()
    top, end = bar.value(), bar.value() + thread.viewport().height()
    column = thread._column  # pyright: ignore[reportPrivateUsage]
    gaps = [column.box_of(item) for item in column.gaps]
    return not any(box.bottom() > top and box.top() < end for box in gaps)


def test_only_what_is_around_the_reader_has_widgets(panel: ChatPanel) -> None:
    async def body() -> None:
        thread, conversation = await open_long(panel)
        await show_all(panel, thread, conversation)
        bar = thread.verticalScrollBar()
        await panel.until(lambda: is_filled(thread) and len(thread.views()) <= SOME)
        for share in (0, 0.5, 1):
            bar.setValue(round(bar.maximum() * share))
            await panel.until(lambda: is_filled(thread) and len(thread.views()) <= SOME)
            await panel.idle()
        whole = bar.maximum()
        bar.setValue(0)
        await panel.until(lambda: is_filled(thread) and shown(panel)[0] == "prompt 0")
        thread.go_to_end()
        await panel.until(lambda: is_filled(thread) and shown(panel)[-1].startswith("answer 49"))
        assert bar.value() == bar.maximum()
        await panel.until(lambda: abs(bar.maximum() - whole) < 40)  # a gap is as high as its message

    panel.run(body)


def test_what_is_read_keeps_its_place_when_its_widget_is_made_anew(panel: ChatPanel) -> None:
    async def body() -> None:
        thread, _conversation = await open_long(panel)
        await panel.until(lambda: thread.verticalScrollBar().maximum() > 1500)
        read = thread.views()[SHOWN_MESSAGES // 2]
        thread.scroll_to(read, 0)
        await panel.idle()
        # As where the theme changes while half of the answer is drawn: it goes, and all is built again.
        thread._drop([read.message_id])  # pyright: ignore[reportPrivateUsage]
        assert thread.session is not None
        thread.session.path_changed.emit()
        await panel.until(lambda: thread.view_of(read.message_id) is not None and is_filled(thread))
        await panel.idle()
        theme().set_zoom(1.1)
        await panel.until(lambda: len(thread.views()) == SHOWN_MESSAGES and is_filled(thread))
        await panel.idle()
        now = read_now(thread)
        assert now is not None
        assert now[0] == read.message_id
        assert abs(now[1]) <= 2

    panel.run(body)


def test_another_theme_or_zoom_leaves_the_reader_where_they_are(panel: ChatPanel) -> None:
    async def body() -> None:
        thread, _conversation = await open_long(panel)
        bar = thread.verticalScrollBar()
        await panel.until(lambda: bar.maximum() > 1500)
        bar.setValue(bar.maximum() // 2)
        await panel.until(lambda: is_filled(thread))
        place = read_now(thread)
        assert place is not None
        widgets = len(QApplication.allWidgets())
        counted: list[int] = []
        theme().about_to_change.connect(lambda: counted.append(len(QApplication.allWidgets())))
        theme().set_scheme("dark")
        try:
            assert counted[0] < widgets - 200, "what is out of sight went before the style sheet came"
            assert read_now(thread) == place
            await panel.until(lambda: len(thread.views()) == SHOWN_MESSAGES)
            await panel.idle()
            assert read_now(thread) == place
            theme().set_zoom(1.3)
            await panel.until(lambda: len(thread.views()) == SHOWN_MESSAGES)
            await panel.until(lambda: is_filled(thread))
            await panel.idle()
            now = read_now(thread)
            assert now is not None
            assert now[0] == place[0]
            lefts = {view.pane.mapTo(thread, QPoint(0, 0)).x() for view in thread.views() if is_prompt(view)}
            assert len(lefts) == 1, "what stayed and what was made anew stand in one line"
            theme().set_zoom(1.0)
            await panel.until(lambda: len(thread.views()) == SHOWN_MESSAGES)
            await panel.until(lambda: read_now(thread) is not None)
        finally:
            theme().set_scheme("light")

    panel.run(body)


def test_a_theme_takes_no_open_editor_away(panel: ChatPanel) -> None:
    async def body() -> None:
        thread, _conversation = await open_long(panel, 30)
        first = thread.views()[0]
        assert isinstance(first, UserMessage)
        first.edit_button.click()
        assert first.edit is not None
        first.edit.set_text("half a thought")
        thread.go_to_end()
        panel.page.view.composer.edit.setFocus()
        theme().set_scheme("dark")
        theme().set_scheme("light")
        await panel.until(lambda: len(thread.views()) == SHOWN_MESSAGES)
        assert first.edit.text() == "half a thought"
        assert thread.views()[0] is first

    panel.run(body)


def test_who_types_in_a_prompt_that_was_scrolled_away_sees_it(panel: ChatPanel) -> None:
    async def body() -> None:
        thread, _conversation = await open_long(panel, 30)
        first = thread.views()[0]
        assert isinstance(first, UserMessage)
        await panel.until(lambda: thread.verticalScrollBar().maximum() > 1500)
        thread.scroll_to(first, 0)
        first.edit_button.click()
        assert first.edit is not None
        await panel.until(first.edit.hasFocus)
        thread.go_to_end()
        await panel.idle()
        QTest.keyClicks(first.edit, "x")
        await panel.idle()
        y = first.edit.mapTo(thread.viewport(), first.edit.cursorRect().center()).y()
        assert 0 < y < thread.viewport().height()

    panel.run(body)


def test_a_message_that_has_no_widget_is_revealed(panel: ChatPanel) -> None:
    async def body() -> None:
        thread, conversation = await open_long(panel)
        for number in (0, 60, 30, 99):
            wanted = conversation.messages[number].id
            view = await thread.reveal(wanted)
            assert view is not None
            await panel.until(lambda: is_filled(thread))
            await panel.idle()
            assert view is thread.view_of(wanted)
            top = view.mapTo(thread.viewport(), QPoint(0, 0)).y()
            assert 0 <= top < thread.viewport().height()
        assert await thread.reveal("no such message") is None

    panel.run(body)


def test_a_new_prompt_is_asked_from_the_middle_of_a_long_past(panel: ChatPanel) -> None:
    async def body() -> None:
        thread, conversation = await open_long(panel)
        await show_all(panel, thread, conversation)
        thread.verticalScrollBar().setValue(0)
        await panel.until(lambda: is_filled(thread))
        await panel.ask("one more")
        await panel.until(lambda: is_filled(thread))
        assert shown(panel)[-2:] == ["one more", "Paris is the capital of France."]
        assert thread.verticalScrollBar().value() == thread.verticalScrollBar().maximum()

    panel.run(body)


def test_code_that_was_unfolded_stays_so_in_another_theme_and_zoom(panel: ChatPanel) -> None:
    code = "\n".join(f"line {number}" for number in range(SHOWN_LINES + 50))

    async def body() -> None:
        await panel.open()
        panel.core.say(Script(text=f"Look:\n\n```\n{code}\n```\n"))
        await panel.ask("Write much code")
        block = last_answer(panel).view.code_blocks()[0]
        assert "line 2040" not in block.body.toPlainText()
        block.unfold()
        await panel.ask("And now?")  # it is out of sight
        for change in (lambda: theme().set_scheme("dark"), lambda: theme().set_zoom(1.2)):
            change()
            await panel.until(lambda: len(panel.page.view.thread_view.views()) == 4)
            await panel.idle()
            answer = panel.page.view.thread_view.views()[1]
            assert isinstance(answer, AnswerMessage)
            assert "line 2040" in answer.view.code_blocks()[0].body.toPlainText()
        theme().set_scheme("light")

    panel.run(body)
