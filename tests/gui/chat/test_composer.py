"""The composer's row of buttons: whole at every zoom, and a click on a side leaves the focus where one types."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QInputMethodEvent, QKeyEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLineEdit, QListView, QWidget

from gui.chat.composer import Composer
from gui.chat.conversation_list import ConversationList
from gui.chat.storage.models import ConversationSummary
from gui.theme.theme import theme


@pytest.fixture
def composer(themed: QApplication) -> Iterator[Composer]:
    theme().set_zoom(1.0)
    page = QWidget()
    page.resize(1000, 300)
    composer = Composer(page)
    composer.setGeometry(0, 0, 760, 200)
    composer.set_max_tokens(1_000_000)
    page.show()
    QApplication.processEvents()
    yield composer
    page.close()
    theme().set_zoom(1.0)


@pytest.mark.parametrize("state", ["idle", "streaming", "queued"])
@pytest.mark.parametrize(("zoom", "width"), [(1.0, 760), (1.0, 480), (1.25, 560), (1.5, 610)])
def test_no_button_is_cut(composer: Composer, zoom: float, width: int, state: str) -> None:
    theme().set_zoom(zoom)
    composer.set_state(state)  # type: ignore[arg-type]
    composer.resize(width, theme().px(140))
    QApplication.processEvents()
    for button in (composer.switch, composer.max_tokens, composer.button):
        if button.isVisible():
            assert button.width() >= button.sizeHint().width()
            end = button.mapTo(composer, button.rect().topRight()).x()
            assert end < composer.width()


def test_words_leave_when_it_gets_narrow_and_come_back(composer: Composer) -> None:
    composer.set_state("streaming")
    seen: list[tuple[str, str]] = []
    for width in (*range(760, 300, -10), 760):
        composer.resize(width, 200)
        seen.append((composer.max_tokens.text(), composer.button.text()))
    assert list(dict.fromkeys(seen)) == [
        ("Max 1,000,000 tokens", "Stop  Esc"),
        ("Max 1,000,000", "Stop  Esc"),
        ("Max 1,000,000", "Stop"),
        ("", "Stop"),
    ]
    assert seen[-1] == seen[0]


def test_the_buttons_icon_follows_the_zoom_back(composer: Composer) -> None:
    before = composer.button.iconSize()
    theme().set_zoom(1.5)
    assert composer.button.iconSize().height() == round(before.height() * 1.5)
    theme().set_zoom(1.0)
    assert composer.button.iconSize() == before


def test_a_click_on_a_side_leaves_the_focus_in_the_box(composer: Composer) -> None:
    composer.activateWindow()
    composer.edit.setFocus()
    QApplication.processEvents()
    QTest.mouseClick(composer.switch.segment("api"), Qt.MouseButton.LeftButton)
    assert composer.chosen_side() == "api"
    assert composer.edit.hasFocus()


def compose(field: QWidget, preedit: str, committed: str = "") -> None:
    event = QInputMethodEvent(preedit, [])
    event.setCommitString(committed)
    QApplication.sendEvent(field, event)


def test_enter_while_an_input_method_composes_never_sends(composer: Composer) -> None:
    sent: list[None] = []
    composer.submitted.connect(lambda: sent.append(None))
    compose(composer.edit, "にほ")
    QTest.keyClick(composer.edit, Qt.Key.Key_Return)
    assert sent == []
    compose(composer.edit, "", "日本")
    press = QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_Return, Qt.KeyboardModifier.NoModifier)
    QApplication.sendEvent(composer.edit, press)  # the same key, which some input methods hand on
    assert sent == []
    assert composer.edit.text() == "日本"
    QApplication.processEvents()
    QTest.keyClick(composer.edit, Qt.Key.Key_Return)
    assert sent == [None]


def test_enter_sends_again_after_a_composition_was_given_up(composer: Composer) -> None:
    sent: list[None] = []
    composer.submitted.connect(lambda: sent.append(None))
    compose(composer.edit, "x")
    compose(composer.edit, "")
    QApplication.processEvents()
    QTest.keyClick(composer.edit, Qt.Key.Key_Return)
    assert len(sent) == 1


def test_enter_while_a_title_is_composed_does_not_save_it(themed: QApplication) -> None:
    chats = ConversationList()
    chats.resize(300, 400)
    moment = datetime(2026, 6, 12, tzinfo=UTC)
    chats.show_summaries((ConversationSummary(id="a", title="Old", updated_at=moment),))
    chats.show()
    renamed: list[str] = []
    chats.renamed.connect(lambda _id, title: renamed.append(title))
    chats.edit_title("a")
    editor = chats.view.findChild(QLineEdit)
    assert editor is not None
    compose(editor, "と")
    QTest.keyClick(editor, Qt.Key.Key_Return)
    assert renamed == []
    assert chats.view.state() == QListView.State.EditingState
    compose(editor, "", "東京")
    QApplication.processEvents()
    QTest.keyClick(editor, Qt.Key.Key_Return)
    QApplication.processEvents()
    assert len(renamed) == 1
    assert "東京" in renamed[0]
    chats.close()
