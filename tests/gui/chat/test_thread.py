"""How a conversation is read: its tail, its long past, its themes, its wide code."""

from __future__ import annotations

import asyncio
import itertools

from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QTextCursor, QWheelEvent
from PySide6.QtWidgets import QApplication, QWidget

from gui.chat.answer_message import AnswerMessage
from gui.chat.markdown.prose import ProseBlock
from gui.chat.page import ChatPage
from gui.chat.thread_view import SHOWN_MESSAGES, ThreadView
from gui.theme.theme import theme
from gui.widgets.route_badge import RouteBadge
from tests.gui.chat.builders import make_long_conversation
from tests.gui.chat.looking import last_answer, shown
from tests.gui.chat.panel import ChatPanel
from tests.gui.chat.scripted_core import Gate, Script


def test_the_tail_is_followed_only_from_the_tail(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open(900, 500)
        gate = Gate()
        panel.core.say(
            Script(text="line of text\n\n" * 200, pieces=200, before=100, gate=gate, delay_s=0.001)
        )
        page.view.composer.set_content("Write a lot")
        page.controller.send()
        thread = page.view.thread_view
        bar = thread.verticalScrollBar()
        await panel.until(lambda: bar.maximum() > 800 and page.controller.session.tokens >= 100)
        await asyncio.sleep(0.1)
        assert bar.value() == bar.maximum()

        wheel(thread, 600)
        place, end = bar.value(), bar.maximum()
        assert place < end
        gate.open()
        await panel.idle()
        await panel.until(lambda: bar.maximum() > end + 800)
        assert bar.value() == place

        thread.go_to_end()
        assert bar.value() == bar.maximum()
        page.view.composer.set_content("More")
        panel.core.say(Script(text="word\n\n" * 100))
        page.controller.send()
        await panel.idle()
        await panel.until(lambda: bar.value() == bar.maximum())

    panel.run(body)


def test_a_reader_near_the_end_is_not_dragged_along_when_text_gets_shorter(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open(900, 500)
        panel.core.say(Script(text="line of text\n\n" * 60))
        await panel.ask("Write a lot")
        thread = page.view.thread_view
        bar = thread.verticalScrollBar()
        await panel.until(lambda: bar.maximum() > 400)
        wheel(thread, 200)
        assert not thread.following
        answer = last_answer(panel)
        answer.view.set_markdown("line of text\n\n" * 50)  # shorter: the bar must move its value
        await panel.until(lambda: bar.value() == bar.maximum())
        assert not thread.following

    panel.run(body)


def wheel(thread: ThreadView, pixels: int) -> None:
    middle = QPointF(thread.viewport().rect().center())
    event = QWheelEvent(
        middle,
        thread.viewport().mapToGlobal(middle),
        QPoint(0, pixels),
        QPoint(0, pixels),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(thread.viewport(), event)


def test_a_long_conversation_shows_its_end_first_and_the_rest_on_demand(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        await panel.open_chat(make_long_conversation(45, "Answer {}"))
        await panel.until(lambda: len(page.view.thread_view.views()) == SHOWN_MESSAGES)
        assert shown(panel)[-1] == "Answer 44"
        assert shown(panel)[0] == "Question 25"
        earlier = page.view.thread_view._earlier  # pyright: ignore[reportPrivateUsage]
        assert earlier.text() == "Show 50 earlier messages"
        earlier.click()
        await panel.until(lambda: earlier.text() == "Show 10 earlier messages")
        await panel.idle()
        page.view.thread_view.verticalScrollBar().setValue(0)
        await panel.until(lambda: shown(panel)[0] == "Question 5")

    panel.run(body)


def test_a_new_theme_reaches_every_message_and_loses_none(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open(900, 500)
        for number in range(12):
            panel.core.say(Script(text=f"answer {number}\n\n" + "word " * 200))
            await panel.ask(f"prompt {number}")
        before = shown(panel)
        theme().set_scheme("dark")
        try:
            dark = theme().color("text")
            assert all(colour_of(pane) == dark for pane in current(panel)), "what is seen, at once"
            await panel.until(lambda: shown(panel) == before)
            assert len(current(panel)) == 12
            assert all(colour_of(pane) == dark for pane in current(panel))
            gate = Gate()
            panel.core.say(Script(text="abcdef", pieces=6, before=3, gate=gate))
            page.view.composer.set_content("Go")
            page.controller.send()
            await panel.until(lambda: page.controller.session.tokens == 3)
            theme().set_zoom(1.2)
            gate.open()
            await panel.idle()
            assert shown(panel)[-1] == "abcdef"
        finally:
            theme().set_scheme("light")

    panel.run(body)


def answers(panel: ChatPanel) -> list[AnswerMessage]:
    return [view for view in panel.page.view.thread_view.views() if isinstance(view, AnswerMessage)]


def current(panel: ChatPanel) -> list[ProseBlock]:
    return [view.view.findChildren(ProseBlock)[-1] for view in answers(panel)]


def colour_of(pane: ProseBlock) -> QColor:
    cursor = QTextCursor(pane.document())
    cursor.movePosition(QTextCursor.MoveOperation.NextCharacter)
    return cursor.charFormat().foreground().color()


def test_a_long_line_of_streamed_code_ends_scrolled_to_its_left(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        line = "x = [" + ", ".join(str(n) for n in range(200)) + "]"
        gate = Gate()
        panel.core.say(
            Script(
                text=f"Look:\n\n```python\n{line}\ny = 1\n{line}",
                pieces=30,
                before=20,
                gate=gate,
                delay_s=0.005,
            )
        )
        page.view.composer.set_content("Write a long line")
        page.controller.send()
        await panel.until(lambda: page.view.thread_view.views() and last_answer(panel).view.code_blocks())
        bar = last_answer(panel).view.code_blocks()[0].body.horizontalScrollBar()
        await panel.until(lambda: bar.maximum() > 0)
        bar.setValue(bar.maximum())
        gate.open()
        await panel.idle()
        bar = last_answer(panel).view.code_blocks()[0].body.horizontalScrollBar()
        assert bar.maximum() > 0
        await asyncio.sleep(0.1)
        assert bar.value() == 0

    panel.run(body)


def tab_stops(start: QWidget, end: QWidget) -> list[QWidget]:
    """What Tab goes through between two widgets."""
    found: list[QWidget] = []
    widget = start.nextInFocusChain()
    while widget is not end and widget is not start:
        if widget.focusPolicy() & Qt.FocusPolicy.TabFocus and widget.isVisible():
            found.append(widget)
        widget = widget.nextInFocusChain()
    assert widget is end, "the composer comes after the messages"
    return found


def test_tab_goes_through_the_messages_downwards_and_then_to_the_box(panel: ChatPanel) -> None:
    async def check(page: ChatPage) -> None:
        thread = page.view.thread_view
        badges = [view.badge for view in thread.views() if isinstance(view, AnswerMessage)]
        assert len(badges) == 3

        def stops() -> list[QWidget]:
            return tab_stops(thread, page.view.composer.edit)

        await panel.until(lambda: [stop for stop in stops() if isinstance(stop, RouteBadge)] == badges)
        heights = [stop.mapTo(thread, QPoint(0, 0)).y() for stop in stops()]
        assert all(after >= before - 4 for before, after in itertools.pairwise(heights))

    async def body() -> None:
        page = await panel.open()
        for question in ("One?", "Two?", "Three?"):
            panel.core.say(Script(text="An answer with\n\n```python\nprint(1)\n```\n"))
            await panel.ask(question)
        await check(page)
        page = await panel.again()
        page.controller.open(page.view.list.model.ids()[0])
        await panel.until(lambda: len(page.view.thread_view.views()) == 6)
        await panel.idle()
        await check(page)

    panel.run(body)
