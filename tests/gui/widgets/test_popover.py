"""The one base of everything that opens over the page: placing, keys, and where the keyboard goes afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QLineEdit, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from gui.theme.theme import theme
from gui.widgets.popover import EDGE_PX, Popover

Show = Callable[[Any], Any]


@pytest.fixture
def page(show: Show, qapp: QApplication) -> Iterator[QWidget]:
    made = QWidget()
    made.setGeometry(0, 0, 600, 760)
    show(made)
    yield made
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def anchor_at(page: QWidget, x: int, y: int) -> QPushButton:
    made = QPushButton("Anchor", page)
    made.setGeometry(x, y, 100, 32)
    made.show()
    return made


def popover_with(page: QWidget, lines: int, **options: Any) -> Popover:
    made = Popover("Facts", page, **{"width_px": 300, **options})
    for number in range(lines):
        made.column.addWidget(QLabel(f"Line {number}"))
    return made


def test_it_opens_under_its_anchor_from_the_left_or_to_the_right(page: QWidget) -> None:
    anchor = anchor_at(page, 320, 100)
    under = anchor.mapToGlobal(QPoint(0, 36))
    left = popover_with(page, 3)
    left.popup_at(anchor)
    assert left.pos() == under
    left.close()
    right = popover_with(page, 3)
    right.popup_at(anchor, align="right")
    assert (right.x() + right.width(), right.y()) == (under.x() + 100, under.y())
    right.close()


def test_it_opens_above_where_the_screen_ends(page: QWidget) -> None:
    anchor = anchor_at(page, 20, 700)
    popover = popover_with(page, 6)
    popover.popup_at(anchor)
    assert popover.y() + popover.height() == anchor.mapToGlobal(QPoint(0, -4)).y()
    popover.close()


@pytest.mark.parametrize(("x", "y"), [(-50, 5), (560, 5), (560, 740), (-50, 740)])
def test_no_corner_of_the_screen_pushes_it_out(page: QWidget, x: int, y: int) -> None:
    area = page.screen().availableGeometry()
    popover = popover_with(page, 4)
    popover.popup_at(anchor_at(page, x, y))
    assert area.contains(popover.geometry())
    popover.close()
    at_point = popover_with(page, 4)
    at_point.popup_at_point(page.mapToGlobal(QPoint(x, y)))
    assert area.contains(at_point.geometry())
    at_point.close()


def test_what_is_higher_than_the_room_scrolls_and_leaves_the_anchor_free(page: QWidget) -> None:
    anchor = anchor_at(page, 20, 100)
    popover = popover_with(page, 100)
    popover.popup_at(anchor)
    area = page.screen().availableGeometry()
    assert popover.y() == anchor.mapToGlobal(QPoint(0, 36)).y()
    assert popover.geometry().bottom() <= area.bottom() - EDGE_PX
    assert popover.inside.height() > popover.height()
    QTest.keyClick(popover, Qt.Key.Key_End)
    assert popover.inside.mapTo(popover, QPoint(0, popover.inside.height())).y() <= popover.height()
    QTest.keyClick(popover, Qt.Key.Key_Home)
    QTest.keyClick(popover, Qt.Key.Key_Down)
    assert popover.inside.y() < 0
    popover.close()


def test_one_that_may_cover_its_anchor_uses_the_whole_screen(page: QWidget) -> None:
    area = page.screen().availableGeometry()
    popover = popover_with(page, 100, may_cover=True)
    popover.popup_at(anchor_at(page, 20, 300))
    assert popover.height() == area.height() - 2 * EDGE_PX
    popover.close()


def test_the_arrows_go_from_control_to_control_and_esc_gives_the_keyboard_back(
    page: QWidget, qtbot: QtBot
) -> None:
    field = QLineEdit(page)
    field.setGeometry(10, 10, 100, 32)
    field.show()
    field.setFocus()
    popover = popover_with(page, 1)
    first, second = QPushButton("First"), QPushButton("Second")
    popover.column.addWidget(first)
    popover.column.addWidget(second)
    popover.popup_at(anchor_at(page, 20, 100), focus=first)
    assert first.hasFocus()
    QTest.keyClick(first, Qt.Key.Key_Down)
    assert second.hasFocus()
    QTest.keyClick(second, Qt.Key.Key_Up)
    assert first.hasFocus()
    with qtbot.waitSignal(popover.closed):
        QTest.keyClick(first, Qt.Key.Key_Escape)
    assert field.hasFocus()


def test_what_a_button_inside_focuses_keeps_the_keyboard(page: QWidget) -> None:
    before, after = QLineEdit(page), QLineEdit(page)
    for field in (before, after):
        field.show()
    before.setFocus()
    popover = popover_with(page, 1)
    go = QPushButton("Go there")
    popover.column.addWidget(go)
    go.clicked.connect(lambda: (after.setFocus(), popover.close()))
    popover.popup_at(anchor_at(page, 20, 100), focus=go)
    QTest.mouseClick(go, Qt.MouseButton.LeftButton)
    assert not before.hasFocus()


def test_it_is_deleted_when_closed_and_outlives_its_anchor(page: QWidget, qtbot: QtBot) -> None:
    anchor = anchor_at(page, 20, 100)
    popover = popover_with(page, 2)
    popover.popup_at(anchor)
    anchor.deleteLater()
    QCoreApplication.sendPostedEvents(anchor, QEvent.Type.DeferredDelete)
    theme().set_zoom(1.25)  # which fits it again
    with qtbot.waitSignal(popover.destroyed):
        popover.close()


def test_another_zoom_and_new_contents_fit_it_again(page: QWidget, qtbot: QtBot) -> None:
    popover = popover_with(page, 2)
    popover.popup_at(anchor_at(page, 20, 100))
    before = popover.height()
    extra = QLabel("More")
    popover.column.addWidget(extra)
    popover.fit_soon()
    qtbot.waitUntil(lambda: popover.height() > before)
    theme().set_zoom(1.5)
    assert popover.width() == 450
    assert popover.accessibleName() == "Facts"
    popover.close()
