"""Finding words: in the chat that is shown, and from a search of the list to the message it found."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from gui.chat.find_text import Needle, panes_in
from tests.gui.chat.builders import make_long_conversation
from tests.gui.chat.looking import click
from tests.gui.chat.panel import ChatPanel
from tests.gui.chat.scripted_core import Script

CODE = "Look:\n\n```python\nlever = Lever()\nprint(lever)\n```\n\nA **lev**er is pulled."


@pytest.mark.parametrize(
    ("needle", "text", "found"),
    [
        ("straße", "Die STRASSE und die Straße", ["STRASSE", "Straße"]),
        ("ss", "weiß, Masse", ["ß", "ss"]),
        ("ÄRGER", "ärger", ["ärger"]),
        ("aa", "aaaa", ["aa", "aa"]),
        ("x", "", []),
    ],
)
def test_words_are_found_whatever_their_capitals(needle: str, text: str, found: list[str]) -> None:
    assert [text[at : at + length] for at, length in Needle.phrase(needle).spans(text)] == found


def marked(panel: ChatPanel) -> list[str]:
    """What is marked on screen, the current match in capitals."""
    found: list[tuple[int, int, str]] = []
    for number, view in enumerate(panel.page.view.thread_view.views()):
        for place, pane in enumerate(panes_in(view)):
            for selection in pane.extraSelections():
                words = selection.cursor.selectedText()  # type: ignore[attr-defined]
                is_current = selection.format.foreground().style() != Qt.BrushStyle.NoBrush  # type: ignore[attr-defined]
                at = number * 1_000_000 + place * 10_000 + selection.cursor.selectionStart()  # type: ignore[attr-defined]
                found.append((at, 0, words.upper() if is_current else words.lower()))
    return [words for _, _, words in sorted(found)]


def is_in_sight(panel: ChatPanel, message_id: str) -> bool:
    view = panel.page.view.thread_view.view_of(message_id)
    return view is not None and not view.visibleRegion().isEmpty()


def test_the_find_bar_marks_prompts_answers_and_code_and_goes_round(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        bar = page.view.find_bar
        panel.core.say(Script(text=CODE))
        await panel.ask("Which lever?")
        QTest.keyClick(page.view.composer.edit, Qt.Key.Key_F, Qt.KeyboardModifier.ControlModifier)
        assert QApplication.focusWidget() is bar.field
        QTest.keyClicks(bar.field, "LEVER")
        await panel.until(lambda: bar.count_words == "1 of 5")
        assert marked(panel) == ["LEVER", "lever", "lever", "lever", "lever"]
        QTest.keyClick(bar.field, Qt.Key.Key_Return)
        await panel.until(lambda: bar.count_words == "2 of 5")
        QTest.keyClick(bar.field, Qt.Key.Key_F3)
        await panel.until(lambda: marked(panel) == ["lever", "lever", "LEVER", "lever", "lever"])
        for words in ("2 of 5", "1 of 5", "5 of 5"):
            QTest.keyClick(bar.field, Qt.Key.Key_F3, Qt.KeyboardModifier.ShiftModifier)
            await panel.until(lambda words=words: bar.count_words == words)
        bar.field.setText("nowhere")
        await panel.until(lambda: bar.count_words == "No match")
        assert marked(panel) == []
        bar.field.setText("pulled")
        await panel.until(lambda: bar.count_words == "1 of 1")
        QTest.keyClick(bar.field, Qt.Key.Key_Escape)
        assert not bar.isVisible()
        assert marked(panel) == []
        assert QApplication.focusWidget() is page.view.composer.edit

    panel.run(body)


def test_a_match_above_what_is_laid_out_is_counted_and_scrolled_to(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open(height=500)
        await panel.open_chat(
            make_long_conversation(25, "Answer {}: the needle.\n\nMore words.\n\nAnd more.")
        )
        path = page.controller.session.tree.path()
        assert len(page.view.thread_view.views()) == 40
        page.view.find_asked.emit()
        page.view.find_bar.field.setText("needle")
        await panel.until(lambda: page.view.find_bar.count_words.endswith("of 25"))
        page.view.find_bar.field.setText("Question 0")
        await panel.until(lambda: page.view.find_bar.count_words == "1 of 1")
        await panel.until(lambda: marked(panel) == ["QUESTION 0"])
        assert is_in_sight(panel, path[0].id)

    panel.run(body)


def test_enter_in_the_search_opens_the_first_hit_at_the_message_marked(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open(height=500)
        panel.core.say(*(Script(text=f"Banana {number}, a berry.\n\n" * 9) for number in range(4)))
        for number in range(4):
            await panel.ask(f"Fruit {number}")
        fruit = page.controller.session
        page.controller.regenerate(fruit.tree.path()[-1].id)
        await panel.idle()
        page.controller.new_chat()
        await panel.ask("Metal")
        search = page.view.list.search
        QTest.keyClick(page.view.composer.edit, Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier)
        QTest.keyClicks(search, "berry BANANA 1")
        QTest.keyClick(search, Qt.Key.Key_Return)
        await panel.until(lambda: page.controller.session.id == fruit.id)
        await panel.until(lambda: "BERRY" in marked(panel) or "BANANA" in marked(panel))
        second = page.controller.session.tree.path()[3]
        assert second.text.startswith("Banana 1")
        assert is_in_sight(panel, second.id)
        assert QApplication.focusWidget() is page.view.find_bar.field

        search.setText("Banana 3")  # on the branch that is not shown
        assert "Banana 3" not in page.controller.session.tree.path()[-1].text
        QTest.keyClick(search, Qt.Key.Key_Return)
        await panel.until(lambda: "BANANA 3" in marked(panel))
        assert page.controller.session.tree.path()[-1].text.startswith("Banana 3")
        click(page.view.find_bar.close_button)
        assert marked(panel) == []

    panel.run(body)
