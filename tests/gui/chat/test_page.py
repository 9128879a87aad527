"""A user at the chat page: sends, stops, branches, switches, deletes, and finds all of it again."""

from __future__ import annotations

import asyncio

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton

from core.chat import CONTINUE_PROMPT
from core.errors import Unavailable
from core.local.server import ServerState
from gui.chat.answer_message import AnswerMessage
from gui.chat.user_message import UserMessage
from gui.widgets.decision_card import DecisionCard
from tests.gui.chat.builders import make_decision
from tests.gui.chat.looking import last_answer, press, shown, texts
from tests.gui.chat.panel import ChatPanel
from tests.gui.chat.scripted_core import Gate, Script


def test_enter_sends_and_the_answer_streams_with_its_badge(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        gate = Gate()
        panel.core.say(Script(text="Paris is the capital.", pieces=4, before=2, gate=gate, side="api"))
        page.controller.focus_composer()
        QTest.keyClicks(page.view.composer.edit, "What is the capital of France?")
        press(panel, Qt.Key.Key_Return)
        await panel.until(
            lambda: page.view.thread_view.views() and "Paris" in last_answer(panel).view.visible_text()
        )
        assert page.view.composer.text == ""
        assert page.view.composer.state == "streaming"
        assert last_answer(panel).badge.isVisible()
        assert page.view.header.cost.text() == "~$0.0167"
        gate.open()
        await panel.idle()
        assert shown(panel) == ["What is the capital of France?", "Paris is the capital."]
        assert "186 out" in last_answer(panel).badge.accessibleDescription()
        assert page.view.header.title.text() == "What is the capital of France?"
        assert (page.view.header.answers.text(), page.view.header.cost.text()) == ("1 answer", "$0.0167")
        assert page.view.composer.state == "idle"
        assert panel.core.requests[0].source == "chat"

    panel.run(body)


def test_shift_enter_breaks_and_empty_prompts_are_not_sent(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        press(panel, Qt.Key.Key_Return)
        QTest.keyClicks(page.view.composer.edit, "  ")
        press(panel, Qt.Key.Key_Return)
        assert not page.view.composer.button.isEnabled()
        QTest.keyClicks(page.view.composer.edit, "a")
        press(panel, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
        QTest.keyClicks(page.view.composer.edit, "b")
        assert page.view.composer.text == "  a\nb"
        assert panel.core.requests == []
        assert len(page.controller.session.tree) == 0

    panel.run(body)


def test_escape_stops_closes_the_stream_and_shows_what_it_cost(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        cost = {"cost_nanodollars": 3_900_000, "loaded_nanodollars": 3_900_000}
        panel.core.say(
            Script(text="one two three four", pieces=4, before=2, gate=Gate(), side="api", result=cost)
        )
        page.view.composer.set_content("Count")
        page.controller.send()
        await panel.until(
            lambda: page.view.thread_view.views() and "one" in last_answer(panel).view.visible_text()
        )
        press(panel, Qt.Key.Key_Escape)
        await panel.idle()
        assert panel.core.closed == [panel.core.requests[0].correlation_id]
        message = page.controller.session.tree.path()[-1]
        assert (message.status, message.text) == ("stopped", "one two th")
        assert message.result is not None
        assert message.result.cost_nanodollars == 3_900_000
        assert "$0.0039" in last_answer(panel).badge.accessibleDescription()
        assert last_answer(panel).card is None

    panel.run(body)


def test_a_stop_in_the_same_turn_as_the_send_is_heard(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.say(Script(text="Answer"))
        page.view.composer.set_content("Count")
        page.controller.send()
        assert page.view.composer.state == "streaming"
        page.view.composer.button.click()
        await panel.idle()
        message = page.controller.session.tree.path()[-1]
        assert (message.status, message.text) == ("stopped", "")
        assert panel.core.requests == []
        assert page.view.composer.state == "idle"
        await panel.ask("Again")
        assert page.controller.session.tree.path()[-1].status == "done"

    panel.run(body)


def test_enter_while_streaming_sends_when_the_answer_ends_unless_the_prompt_is_changed(
    panel: ChatPanel,
) -> None:
    async def body() -> None:
        page = await panel.open()
        first, second = Gate(), Gate()
        panel.core.say(
            Script(text="First answer", gate=first), Script(text="Second", gate=second), Script(text="3")
        )
        page.view.composer.set_content("One")
        page.controller.send()
        page.view.composer.set_content("Two")
        press(panel, Qt.Key.Key_Return)
        assert page.view.composer.state == "queued"
        first.open()
        await panel.until(lambda: len(panel.core.requests) == 2)
        page.view.composer.set_content("Three")
        press(panel, Qt.Key.Key_Return)
        QTest.keyClicks(page.view.composer.edit, "!")
        assert page.view.composer.state == "streaming"
        second.open()
        await panel.idle()
        assert texts(panel) == ["One", "First answer", "Two", "Second"]
        assert page.view.composer.text == "Three!"

    panel.run(body)


def test_regenerate_and_edit_keep_every_version(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.say(Script(text="A1"), Script(text="A2"), Script(text="B1"))
        await panel.ask("Question")
        last_answer(panel).again_button.click()
        await panel.idle()
        assert shown(panel) == ["Question", "A2"]
        assert last_answer(panel).versions.words == "2/2"
        last_answer(panel).versions.back.click()
        await panel.idle()
        assert shown(panel) == ["Question", "A1"]

        prompt = page.view.thread_view.views()[0]
        assert isinstance(prompt, UserMessage)
        prompt.edit_button.click()
        assert prompt.edit is not None
        prompt.edit.set_text("Better question")
        QTest.keyClick(prompt.edit, Qt.Key.Key_Return)
        await panel.idle()
        assert shown(panel) == ["Better question", "B1"]
        prompt = page.view.thread_view.views()[0]
        assert isinstance(prompt, UserMessage)
        assert prompt.versions.words == "2/2"
        prompt.versions.back.click()
        await panel.idle()
        assert shown(panel) == ["Question", "A2"]

        await panel.again()
        panel.page.controller.open(panel.page.view.list.model.ids()[0])
        await panel.until(lambda: len(panel.page.view.thread_view.views()) == 2)
        assert shown(panel) == ["Question", "A2"]
        assert len(panel.page.controller.session.tree) == 5

    panel.run(body)


def test_buttons_that_would_change_a_running_answer_are_off_and_say_why(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        await panel.ask("One")
        gate = Gate()
        panel.core.say(Script(gate=gate))
        page.view.composer.set_content("Two")
        page.controller.send()
        await panel.until(lambda: len(page.view.thread_view.views()) == 4)
        first = page.view.thread_view.views()[1]
        assert isinstance(first, AnswerMessage)
        await panel.until(lambda: not first.again_button.isEnabled())
        assert "Wait for the answer" in first.again_button.toolTip()
        gate.open()
        await panel.idle()
        assert first.again_button.isEnabled()

    panel.run(body)


def test_an_answer_that_breaks_off_keeps_its_text_and_goes_on(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.say(
            Script(
                text="Half an answer, whole", pieces=3, before=2, error=Unavailable("The connection closed")
            ),
            Script(text=" and the rest"),
        )
        await panel.ask("Tell me")
        view = last_answer(panel)
        assert view.card is not None
        assert view.card.plan.title == "The answer broke off after 186 tokens"
        assert page.view.composer.text == ""
        view.card.acted.emit("continue")
        await panel.idle()
        assert texts(panel) == ["Tell me", "Half an answer", " and the rest"]
        assert view.card is None
        sent = panel.core.requests[-1].messages
        assert [(item.role, item.text) for item in sent] == [
            ("user", "Tell me"),
            ("assistant", "Half an answer"),
            ("user", CONTINUE_PROMPT),
        ]

    panel.run(body)


def test_a_malformed_schema_says_where_and_nothing_is_sent(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        page.view.drawer.show_options(page.controller.session.options, 1024)
        page.view.drawer.schema.setPlainText('{"type": "object",\n "properties": [}')
        await panel.until(lambda: page.view.drawer.schema_note.text())
        assert page.view.drawer.schema_note.text().startswith("Line 2, column 17")
        page.view.drawer.schema.setPlainText('{"type": "objekt"}')
        await panel.until(lambda: "objekt" in page.view.drawer.schema_note.text())
        page.view.composer.set_content("Hi")
        page.controller.send()
        assert panel.core.requests == []
        assert page.view.composer.text == "Hi"
        assert page.view.drawer.isVisible()
        assert page.view.drawer.schema.hasFocus()
        assert "Nothing is sent until" in page.view.drawer.schema_note.text()
        assert page.view.composer.note == "", "it is told once, where it is mended"
        page.view.drawer.schema.setPlainText('{"type": "object"}')
        page.controller.send()
        await panel.idle()
        sent = panel.core.requests[0].response_format
        assert sent is not None
        assert sent.schema == {"type": "object"}

    panel.run(body)


def test_the_route_line_follows_the_typing_and_drops_stale_answers(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        line = page.view.composer.route_line
        assert line.decision is None
        panel.core.decide_with = lambda request: make_decision(reason=f"for {request.messages[-1].text}")
        page.view.composer.set_content("one")
        await panel.until(lambda: line.decision is not None)
        assert line.decision is not None
        assert line.decision.reason == "for one"

        seen: list[str] = []
        remember = line.set_decision
        line.set_decision = lambda decision, note=None: (  # type: ignore[method-assign]
            seen.append(decision.reason if decision else "none"),
            remember(decision, note),
        )[1]
        panel.core.decide_gate = asyncio.Event()
        page.view.composer.set_content("two")
        await panel.until(lambda: panel.core.decided[-1].messages[-1].text == "two")
        page.view.composer.set_content("three")
        gate, panel.core.decide_gate = panel.core.decide_gate, None
        await panel.bridge.call(opened(gate))
        await panel.until(lambda: "for three" in seen)
        assert "for two" not in seen
        page.view.composer.set_content("")
        assert line.decision is None

    panel.run(body)


async def opened(gate: asyncio.Event) -> None:
    gate.set()


def test_the_badge_opens_the_whole_decision_also_after_a_restart(panel: ChatPanel) -> None:
    async def body() -> None:
        await panel.open()
        panel.core.say(Script(text="x", side="api"))
        await panel.ask("Why?")
        page = await panel.again()
        page.controller.open(page.view.list.model.ids()[0])
        await panel.until(lambda: len(page.view.thread_view.views()) == 2)
        assert "$0.0167" in last_answer(panel).badge.accessibleDescription()
        last_answer(panel).badge.click()
        card = page.view.findChild(DecisionCard)
        assert card is not None
        assert "Complex: score 0.71 reached 0.60" in card.accessibleDescription()
        card.close()

    panel.run(body)


def test_waiting_for_a_server_that_starts_is_said(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.publish(
            local=ServerState(phase="starting", kind="embedded", detail="loading weights", eta_s=70.0)
        )
        await panel.until(lambda: "starting" in page.view.hint.sentence)
        gate = Gate()
        panel.core.say(Script(error=Unavailable("gone"), gate=gate))
        page.view.composer.set_content("Hi")
        page.controller.send()
        await panel.until(
            lambda: (
                page.view.thread_view.views()
                and last_answer(panel).note == ("Waiting for Local: loading weights, 1 min 10 s left")
            )
        )
        gate.open()
        await panel.idle()

    panel.run(body)


def test_every_control_has_a_name(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.say(Script(text="x\n\n```python\ny\n```"))
        await panel.ask("One")
        for button in page.view.findChildren(QAbstractButton):
            if button.objectName().startswith("qt_") or button.__class__.__name__ == "QToolButton":
                continue
            assert button.accessibleName() or button.text(), button
        assert page.view.composer.edit.accessibleName() == "Prompt"
        assert page.view.list.view.accessibleName() == "Conversations"

    panel.run(body)


@pytest.mark.parametrize(
    ("text", "reason", "note"),
    [
        (
            "",
            "stop",
            "The model spent all 186 tokens on thinking, or on what is not shown, and gave no answer.",
        ),
        (
            " \n",
            "length",
            "The model spent all 186 tokens on thinking and came to no answer: allow more (max tokens).",
        ),
        ("", "refusal", "The model declined to answer."),
        ("I can't help", "refusal", "The model declined to answer."),
        ("Yes", "stop", ""),
    ],
)
def test_a_refusal_and_an_empty_answer_say_so(panel: ChatPanel, text: str, reason: str, note: str) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.say(Script(text=text, result={"finish_reason": reason}))
        await panel.ask("Question")
        await panel.until(lambda: len(page.view.thread_view.views()) == 2)
        assert last_answer(panel).note == note
        assert last_answer(panel)._note.isVisible() is bool(note)
        page = await panel.again()
        page.controller.open(page.view.list.model.ids()[0])
        await panel.until(lambda: len(page.view.thread_view.views()) == 2)
        assert last_answer(panel).note == note

    panel.run(body)
