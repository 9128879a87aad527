"""A user with several conversations: switches while one streams, comes back, deletes, renames and finds them."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QLineEdit

from gui.shell.memory import release_free_memory
from tests.gui.chat.looking import click, last_answer, press, shown
from tests.gui.chat.panel import ChatPanel
from tests.gui.chat.scripted_core import Gate, Script


def test_switching_away_keeps_an_answer_streaming(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        gate = Gate()
        panel.core.say(Script(text="Slow answer", pieces=2, before=1, gate=gate))
        page.view.composer.set_content("First chat")
        page.controller.send()
        await panel.until(lambda: len(panel.core.requests) == 1)
        streaming = page.controller.session
        page.controller.new_chat()
        assert page.view.composer.state == "idle"
        panel.core.say(Script(text="Quick"))
        await panel.ask("Second chat")
        assert shown(panel) == ["Second chat", "Quick"]
        gate.open()
        await panel.until(lambda: not streaming.is_streaming)
        page.controller.open(streaming.id)
        await panel.until(
            lambda: page.controller.session.id == streaming.id and len(page.view.thread_view.views()) == 2
        )
        assert shown(panel) == ["First chat", "Slow answer"]

    panel.run(body)


def test_a_conversation_that_is_left_while_it_is_written_goes_from_memory_afterwards(
    panel: ChatPanel,
) -> None:
    async def body() -> None:
        page = await panel.open()
        for number in range(3):
            panel.core.say(Script(text="Done"))
            page.view.composer.set_content(f"Question {number}")
            page.controller.send()
            await panel.until(lambda: not page.controller.session.is_streaming)
            page.controller.new_chat()
        opened = page.controller.conversations
        await panel.until(lambda: list(opened.titles()) == [opened.shown.id])

    panel.run(body)


def test_coming_back_to_a_streaming_conversation_shows_what_came_meanwhile(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        gate = Gate()
        panel.core.say(Script(text="abcdef", pieces=6, before=3, gate=gate))
        page.view.composer.set_content("Go")
        page.controller.send()
        streaming = page.controller.session
        page.controller.new_chat()
        await panel.until(lambda: streaming.running_id and streaming.text_of(streaming.running_id) == "abc")
        page.controller.open(streaming.id)
        await panel.until(lambda: len(page.view.thread_view.views()) == 2)
        assert last_answer(panel).view.visible_text() == "abc"
        gate.open()
        await panel.idle()
        assert last_answer(panel).view.visible_text() == "abcdef"

    panel.run(body)


def test_drafts_options_and_side_belong_to_a_conversation_and_survive(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        await panel.ask("First")
        first = page.controller.session.id
        page.view.composer.switch.segment("api").click()
        page.view.drawer.show_options(page.controller.session.options, 1024)
        page.view.drawer.system.setPlainText("Be brief.")
        page.view.drawer.max_tokens.setText("900")
        page.view.drawer.temperature.setText("0.2")
        page.view.drawer.top_p.setText("0.9")
        page.view.drawer.stop.setPlainText("END\n\\n\\n")
        page.view.drawer.seed.setText("7")
        page.view.composer.set_content("half a thou")
        page.controller.new_chat()
        assert page.view.composer.text == ""
        page.view.composer.set_content("a new prompt")

        page = await panel.again()
        await panel.until(lambda: page.view.composer.text == "a new prompt")
        page.controller.open(first)
        await panel.until(lambda: page.view.composer.text == "half a thou")
        assert page.view.composer.switch.value == "api"
        assert page.view.composer.max_tokens.text() == "Max 900 tokens"
        page.controller.send()
        await panel.idle()
        request = panel.core.requests[-1]
        assert (request.system, request.max_tokens, request.temperature, request.force) == (
            "Be brief.",
            900,
            0.2,
            "api",
        )
        assert (request.top_p, request.stop, request.seed) == (0.9, ("END", "\n\n"), 7)
        assert [item.text for item in request.messages if item.role == "user"] == ["First", "half a thou"]

    panel.run(body)


def test_delete_with_undo_search_and_rename(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.say(Script(text="Bananas are berries"), Script(text="Rust and iron"))
        await panel.ask("Fruit")
        fruit = page.controller.session.id
        page.controller.new_chat()
        await panel.ask("Metal")
        metal = page.controller.session.id
        await panel.until(lambda: page.view.list.model.ids() == [metal, fruit])

        page.view.list.search.setText("banana")
        await panel.until(lambda: page.view.list.model.ids() == [fruit])
        page.view.list.search.setText("nothing like it")
        await panel.until(lambda: page.view.list.model.ids() == [])
        page.view.list.search.clear()
        await panel.until(lambda: len(page.view.list.model.ids()) == 2)

        page.view.list.view.setFocus()
        page.view.list.edit_title(fruit)
        editor = page.view.list.view.findChild(QLineEdit)
        assert editor is not None
        editor.setText("Botany")
        QTest.keyClick(editor, Qt.Key.Key_Return)
        page.view.list.search.setText("botany")
        await panel.until(lambda: page.view.list.model.ids() == [fruit])
        page.view.list.search.clear()
        await panel.until(lambda: len(page.view.list.model.ids()) == 2)

        page.controller.list.delete(metal)
        await panel.until(lambda: page.view.list.model.ids() == [fruit])
        await panel.until(lambda: page.controller.session.id == fruit)
        toast = page.view.toasts.current
        assert toast is not None
        assert toast.text == "Deleted “Metal”"
        assert toast.button is not None
        toast.button.click()
        await panel.until(lambda: metal in page.view.list.model.ids() and page.controller.session.id == metal)
        await panel.until(lambda: shown(panel) == ["Metal", "Rust and iron"])

    panel.run(body)


def test_a_forced_side_stays_with_its_conversation_and_a_new_one_is_auto(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()

        def choose(name: str) -> None:
            found = [
                b
                for b in page.view.composer.switch.findChildren(QAbstractButton)
                if name in b.accessibleName()
            ]
            click(found[0])

        choose("Local")
        assert page.controller.session.options.force == "local"
        press(panel, Qt.Key.Key_N, Qt.KeyboardModifier.ControlModifier)
        assert page.view.composer.chosen_side() is None
        choose("API")
        assert page.controller.session.options.force == "api"
        await panel.ask("Forced")
        assert page.view.composer.chosen_side() == "api"
        forced = page.controller.session.id
        press(panel, Qt.Key.Key_N, Qt.KeyboardModifier.ControlModifier)
        assert page.view.composer.chosen_side() is None
        await panel.ask("Free")
        assert [request.force for request in panel.core.requests] == ["api", None]
        page.controller.open(forced)
        await panel.until(lambda: page.controller.session.id == forced)
        assert page.view.composer.chosen_side() == "api"

    panel.run(body)


@pytest.mark.parametrize(("words", "released"), [(30_000, True), (10, False)])
def test_leaving_a_long_conversation_gives_its_memory_back(
    panel: ChatPanel, monkeypatch: pytest.MonkeyPatch, words: int, released: bool
) -> None:
    calls: list[int] = []

    def count() -> bool:
        calls.append(1)
        return release_free_memory()

    monkeypatch.setattr("gui.chat.controller.release_free_memory", count)
    monkeypatch.setattr("gui.chat.controller.RELEASE_MS", 0)

    async def body() -> None:
        page = await panel.open()
        panel.core.say(Script(text="word " * words))
        await panel.ask("Go on and on")
        page.controller.new_chat()
        if released:
            await panel.until(lambda: calls)
        await panel.idle()
        assert len(calls) == int(released)

    panel.run(body)
