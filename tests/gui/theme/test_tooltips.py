"""Tooltips: plain text, in lines that one can read, beside the pointer and whole on the screen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QCursor
from PySide6.QtWidgets import QApplication, QLabel, QPushButton, QToolTip

from gui.theme.theme import theme
from gui.theme.tooltips import WIDEST_PX, wrapped

LONG = "Complex: score 0.71 reached 0.60, and that is why <b>this</b> prompt went to the API. " * 4
ADDRESS = "https://example.org/" + "a" * 300


@pytest.fixture
def button(qapp: QApplication) -> Iterator[QPushButton]:
    theme().install(qapp)
    theme().set_zoom(1.0)
    button = QPushButton("x")
    button.resize(300, 200)
    button.show()
    yield button
    QToolTip.hideText()
    button.close()
    theme().set_zoom(1.0)


def tip_shown() -> QLabel:
    [tip] = [
        widget
        for widget in QApplication.topLevelWidgets()
        if isinstance(widget, QLabel) and widget.inherits("QTipLabel") and widget.isVisible()
    ]
    return tip


@pytest.mark.parametrize("zoom", [1.0, 1.5])
@pytest.mark.parametrize("words", [LONG, ADDRESS, f"{LONG}\n{ADDRESS}", "Ελληνικά 😀 " * 60])
def test_a_long_tooltip_is_wrapped_and_whole(button: QPushButton, words: str, zoom: float) -> None:
    theme().set_zoom(zoom)
    QToolTip.showText(QPoint(40, 40), words, button)
    tip = tip_shown()
    assert tip.textFormat() == Qt.TextFormat.PlainText
    assert tip.width() <= WIDEST_PX * zoom
    assert tip.text().replace("\n", "").replace(" ", "") == words.replace("\n", "").replace(" ", "")
    widest = max(tip.fontMetrics().horizontalAdvance(line) for line in tip.text().split("\n"))
    assert widest < tip.width()
    assert tip.height() >= tip.fontMetrics().lineSpacing() * len(tip.text().split("\n"))


def test_a_short_tooltip_is_as_it_was_and_one_that_changes_is_wrapped(button: QPushButton) -> None:
    QToolTip.showText(QPoint(40, 40), "Send (Enter)\nand a second line", button)
    assert tip_shown().text() == "Send (Enter)\nand a second line"
    assert tip_shown().width() < WIDEST_PX / 2
    QToolTip.showText(QPoint(41, 40), LONG, button)
    assert "\n" in tip_shown().text()
    assert tip_shown().width() <= WIDEST_PX


def test_a_tooltip_at_the_lower_right_corner_stays_on_the_screen(button: QPushButton) -> None:
    screen = button.screen().geometry()
    corner = screen.bottomRight() - QPoint(6, 6)
    QCursor.setPos(corner)
    QToolTip.showText(corner, LONG * 2, button)
    assert screen.contains(tip_shown().geometry())
    assert not tip_shown().geometry().contains(corner)


def test_lines_are_kept_and_empty_ones_too(button: QPushButton) -> None:
    assert wrapped("a\n\nb", button.font(), 100) == "a\n\nb"
    assert wrapped("", button.font(), 100) == ""
