"""The log view: it follows or holds, keeps a reader's place, finds, filters, selects and opens a line whole."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QPlainTextEdit
from pytestqt.qtbot import QtBot

from core import LogLine
from gui.theme.theme import theme
from gui.widgets.log_lines import LogLines
from gui.widgets.log_view import LogView


def some(first: int, count: int, text: str = "line", level: str = "info") -> list[LogLine]:
    return [
        LogLine(number=number, text=f"{text} {number}", level=level, at="14:09:06")  # type: ignore[arg-type]
        for number in range(first, first + count)
    ]


@pytest.fixture
def view(qapp: QApplication, qtbot: QtBot) -> LogView:
    theme().install(qapp)
    made = LogView()
    made.resize(500, 200)
    made.show()
    qtbot.addWidget(made)
    return made


def top_number(view: LogView) -> int:
    return view.lines.shown[view.verticalScrollBar().value() - int(view.lines.lost > 0)].number


def is_at_end(view: LogView) -> bool:
    return view.verticalScrollBar().value() == view.verticalScrollBar().maximum()


def test_it_follows_until_somebody_scrolls_up_and_end_follows_again(view: LogView) -> None:
    view.append(some(0, 500))
    assert is_at_end(view)
    QTest.keyClick(view, Qt.Key.Key_PageUp)
    QTest.keyClick(view, Qt.Key.Key_PageUp)
    assert not view.is_following
    place = top_number(view)
    view.append(some(500, 1240))
    assert (top_number(view), view.new_count) == (place, 1240)
    QTest.keyClick(view, Qt.Key.Key_End)
    assert view.is_following
    assert is_at_end(view)
    assert view.new_count == 0


def test_going_up_line_by_line_holds_too(view: LogView) -> None:
    view.append(some(0, 500))
    QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(60, 5))
    QTest.keyClick(view, Qt.Key.Key_Up)
    assert not view.is_following
    place = top_number(view)
    view.append(some(500, 10))
    assert (top_number(view), view.new_count) == (place, 10)


def test_a_reader_who_holds_stays_on_the_line_while_older_ones_go(view: LogView) -> None:
    view.lines = LogLines(most=1_000)
    view.append(some(0, 1_000))
    view.verticalScrollBar().setValue(600)
    view.append(some(1_000, 200))
    assert top_number(view) == 600
    assert view.lines.lost == 200
    view.append(some(1_200, 100))
    assert (top_number(view), len(view.lines)) == (600, 1_000)


def test_what_was_not_kept_is_said_above_and_in_between(view: LogView) -> None:
    view.append(some(12_000, 3), dropped=12_000)
    assert view.lines.lost == 12_000
    view.append(some(13_000, 2), dropped=997)
    assert [line.text for line in view.lines.shown][3] == "997 lines in between are not kept"


def test_a_search_finds_every_line_also_the_new_ones_and_goes_round(view: LogView, qtbot: QtBot) -> None:
    found: list[tuple[int, int, bool]] = []

    def note(number: int, count: int, over: bool) -> None:
        found.append((number, count, over))

    view.found.connect(note)
    view.append(
        [line for at in range(0, 9_000, 100) for line in [*some(at, 99), *some(at + 99, 1, "OUT of memory")]]
    )
    view.search_for("out of")
    qtbot.waitUntil(lambda: found[-1] == (90, 90, True))  # the newest in sight comes first
    view.step(1)
    assert found[-1][0] == 1
    view.step(-1)
    assert found[-1][0] == 90
    view.append(some(9_000, 1, "out OF disk"))
    qtbot.waitUntil(lambda: found[-1] == (90, 91, True))
    view.set_filter("error")
    qtbot.waitUntil(lambda: found[-1] == (0, 0, True))
    view.set_filter("all")
    qtbot.waitUntil(lambda: found[-1][1:] == (91, True))


def test_what_is_found_is_marked_where_it_stands(view: LogView, qtbot: QtBot) -> None:
    def marked_rows() -> set[int]:
        image = view.viewport().grab().toImage()
        wanted = theme().color("held_tint").rgb()
        ratio = image.devicePixelRatio()
        points = [(x, y) for y in range(image.height()) for x in range(image.width())]
        return {int(y / ratio) // view._row_px for x, y in points if image.pixel(x, y) == wanted}  # pyright: ignore[reportPrivateUsage]

    view.append([*some(0, 2), *some(2, 1, "a needle in"), *some(3, 2)])
    assert marked_rows() == set()
    view.search_for("NEEDLE")
    qtbot.waitUntil(lambda: view.lines.is_searched)
    assert marked_rows() == {2}
    view.search_for("")
    assert marked_rows() == set()


def test_a_search_looks_at_a_slice_at_a_time(view: LogView) -> None:
    view.append(some(0, 50_000, "needle"))
    view.search_for("needle")
    assert len(view.lines.hits) == 0  # nothing is looked at before the loop goes on
    view.lines.search_on()
    assert 0 < len(view.lines.hits) <= 5_000
    assert not view.lines.is_searched


def test_levels_are_filtered_and_new_lines_too(view: LogView) -> None:
    view.append(
        [*some(0, 2), *some(2, 1, level="warning"), *some(3, 1, level="error"), *some(4, 1, level="")]
    )
    view.set_filter("warning")
    assert [line.number for line in view.lines.shown] == [2, 3]
    view.append([*some(5, 1), *some(6, 1, level="error")])
    assert [line.number for line in view.lines.shown] == [2, 3, 6]
    view.set_filter("all")
    assert len(view.lines) == 7


def test_lines_are_selected_and_copied_with_time_and_level(view: LogView) -> None:
    view.append(some(0, 5))
    QTest.keyClick(view, Qt.Key.Key_Home)
    QTest.keyClick(view, Qt.Key.Key_Down, Qt.KeyboardModifier.ShiftModifier)
    QTest.keyClick(view, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text() == "14:09:06 INF line 0\n14:09:06 INF line 1"
    assert "Line 2 of 5: 14:09:06 INF line 1" in view.accessibleDescription()
    QTest.keyClick(view, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    assert view.copy() == 5


def test_a_long_line_opens_whole_by_enter_and_is_plain_text(view: LogView, qtbot: QtBot) -> None:
    long = "<b>word</b> " * 400
    view.append([LogLine(number=0, text=long)])
    QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(60, 5))
    popover = view.open_line()
    assert popover is not None
    assert popover.findChildren(QPlainTextEdit)[0].toPlainText() == long
    popover.close()


def test_what_is_found_far_to_the_right_of_a_line_is_in_sight(view: LogView, qtbot: QtBot) -> None:
    view.append([LogLine(number=0, text="x" * 900 + " needle " + "y" * 900)])
    view.search_for("needle")
    qtbot.waitUntil(lambda: view.lines.is_searched and view.selected_lines() != [])
    assert "needle" in view.text_in_sight(view.lines.shown[0], 60)
