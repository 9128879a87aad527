"""The composer's row of buttons: whole at every zoom, and a click on a side leaves the focus where one types."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from gui.chat.composer import Composer
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
