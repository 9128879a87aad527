"""The table: sorted by its header, walked by keys, copied as TSV, and as quick with a million rows as with ten."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QItemSelectionModel, QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from core import spreadsheet_cell
from gui.theme.theme import theme
from gui.widgets.table import COPY_LIMIT, RAW_ROLE, Column, ListModel, Table, TableModel, as_tsv

Show = Callable[[Any], Any]


@dataclass(frozen=True)
class Row:
    model: str
    requests: int
    cost: float | None


COLUMNS = (
    Column[Row](key="model", title="Model", value=lambda row: row.model, width=120, stretch=True),
    Column[Row](
        key="requests", title="Requests", value=lambda row: row.requests, number=True, width=90, drop=1
    ),
    Column[Row](
        key="cost",
        title="Cost",
        value=lambda row: row.cost,
        text=lambda cost: f"{cost:.2f}",
        unit="s",
        number=True,
        width=80,
    ),
)
ROWS = (Row("sonnet", 6102, 2.5), Row("qwen", 15489, None), Row("haiku", 211, 2.5), Row("Opus", 14, 0.25))


@pytest.fixture
def table(show: Show) -> Table:
    made = Table("Models", ListModel(COLUMNS, ROWS))
    made.resize(500, 300)
    return show(made)


def shown(table: Table, column: int = 0) -> list[str]:
    model = table.table_model
    return [model.data(model.index(row, column)) for row in range(model.rowCount())]


def header_at(table: Table, column: int) -> QPoint:
    header = table.horizontalHeader()
    return QPoint(header.sectionViewportPosition(column) + 10, header.height() // 2)


def test_what_is_not_known_is_a_dash_and_never_nothing_or_zero(table: Table) -> None:
    assert shown(table, 2) == ["2.50 s", "–", "2.50 s", "0.25 s"]
    assert shown(table, 1) == ["6,102", "15,489", "211", "14"]
    model = table.table_model
    cell = model.index(1, 2)
    assert model.data(cell, RAW_ROLE) is None
    assert model.data(cell, Qt.ItemDataRole.AccessibleTextRole) == "not known"
    right = model.data(cell, Qt.ItemDataRole.TextAlignmentRole)
    assert right & Qt.AlignmentFlag.AlignRight.value
    assert model.data(model.index(0, 0), Qt.ItemDataRole.TextAlignmentRole) is None


def test_a_click_on_the_header_sorts_stably_with_the_unknown_last_both_ways(table: Table) -> None:
    header = table.horizontalHeader()
    QTest.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=header_at(table, 2))
    assert shown(table) == ["sonnet", "haiku", "Opus", "qwen"]  # numbers begin with the largest
    QTest.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=header_at(table, 2))
    assert shown(table) == ["Opus", "sonnet", "haiku", "qwen"]
    QTest.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=header_at(table, 0))
    assert shown(table) == ["haiku", "Opus", "qwen", "sonnet"]
    told = table.table_model.headerData(0, Qt.Orientation.Horizontal, Qt.ItemDataRole.AccessibleTextRole)
    assert told == "Model, sorted up"


def test_the_selection_stays_on_its_row_when_sorted_and_the_order_holds_for_new_rows(table: Table) -> None:
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(20, 14))
    table.sort_column(0)
    assert table.selected_rows() == ([3], 1)
    assert table.currentIndex().row() == 3
    model = table.table_model
    assert isinstance(model, ListModel)
    model.set_rows([*ROWS, Row("aya", 1, None)])
    assert shown(table)[0] == "aya"


def test_keys_go_from_row_to_row_and_into_the_header(table: Table, qtbot: QtBot) -> None:
    table.setFocus()
    QTest.keyClick(table, Qt.Key.Key_Down)
    assert table.selected_rows() == ([1], 1)
    QTest.keyClick(table, Qt.Key.Key_End)
    assert table.selected_rows() == ([3], 1)
    QTest.keyClick(table, Qt.Key.Key_Up, Qt.KeyboardModifier.ShiftModifier)
    assert table.selected_rows() == ([2, 3], 2)
    with qtbot.waitSignal(table.chosen) as opened:
        QTest.keyClick(table, Qt.Key.Key_Return)
    assert opened.args == [2]
    QTest.keyClick(table, Qt.Key.Key_Home)
    QTest.keyClick(table, Qt.Key.Key_Up)
    header = table.horizontalHeader()
    assert header.hasFocus()
    QTest.keyClick(header, Qt.Key.Key_Right)
    QTest.keyClick(header, Qt.Key.Key_Space)
    assert shown(table) == ["qwen", "sonnet", "haiku", "Opus"]
    QTest.keyClick(header, Qt.Key.Key_Down)
    assert table.hasFocus()


def test_the_focus_alone_selects_nothing(table: Table) -> None:
    table.setFocus()
    assert table.selected_rows() == ([], 0)
    assert table.currentIndex().row() == 0


def test_ctrl_c_copies_the_selected_rows_raw_with_the_header_also_of_dropped_columns(table: Table) -> None:
    table.resize(230, 300)
    assert table.isColumnHidden(1)
    table.setFocus()
    QTest.keyClick(table, Qt.Key.Key_Home)
    QTest.keyClick(table, Qt.Key.Key_Down, Qt.KeyboardModifier.ShiftModifier)
    QTest.keyClick(table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text() == (
        "Model\tRequests\tCost (s)\nsonnet\t6102\t2.5\nqwen\t15489\t\n"
    )


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_any_text_comes_back_from_the_tsv(texts: list[str]) -> None:
    columns = [
        Column[str](key="n", title="Length", value=len),
        Column[str](key="t", title="Text", value=lambda text: text),
    ]
    lines = as_tsv(ListModel(columns, texts), range(len(texts)))
    read = list(csv.reader(io.StringIO(lines, newline=""), dialect="excel-tab"))
    assert read == [["Length", "Text"], *([str(len(text)), spreadsheet_cell(text)] for text in texts)]
    assert not [text for _, text in read if text.startswith(("=", "@", "\t", "\r"))]


@given(st.lists(st.none() | st.integers(-3, 3)), st.booleans())
def test_sorting_is_stable_for_any_rows(values: list[int | None], down: bool) -> None:
    rows = list(enumerate(values))
    columns = [
        Column[tuple[int, int | None]](key="at", title="At", value=lambda row: row[0]),
        Column[tuple[int, int | None]](key="v", title="V", value=lambda row: row[1]),
    ]
    model = ListModel(columns, rows)
    model.sort(1, Qt.SortOrder.DescendingOrder if down else Qt.SortOrder.AscendingOrder)
    known = [row for row in rows if row[1] is not None]
    expected = sorted(known, key=lambda row: (-row[1] if down else row[1]) or 0)
    assert list(model.rows) == expected + [row for row in rows if row[1] is None]


def test_columns_leave_when_it_is_narrow_and_come_back(table: Table) -> None:
    widths = [table.columnWidth(column) for column in range(3)]
    assert sum(widths) == table.viewport().width()
    assert widths[1:] == [90, 80]
    table.resize(230, 300)
    assert [table.isColumnHidden(column) for column in range(3)] == [False, True, False]
    table.resize(500, 300)
    assert not table.isColumnHidden(1)
    theme().set_zoom(1.5)
    assert table.rowHeight(0) == 42
    assert sum(table.columnWidth(column) for column in range(3)) == table.viewport().width()


def test_selected_rows_have_the_select_colour_and_the_ink_bar(table: Table) -> None:
    table.selectRow(1)
    picture = table.viewport().grab().toImage()
    assert picture.pixelColor(1, 28 + 14) == theme().color("ink")
    assert picture.pixelColor(400, 28 + 4) == theme().color("select")
    assert picture.pixelColor(1, 14) == theme().color("surface")
    assert picture.pixelColor(400, 27) == theme().color("grid")


def test_the_row_under_the_pointer_is_shaded_whole(table: Table, qtbot: QtBot) -> None:
    qtbot.mouseMove(table.viewport(), QPoint(30, 28 * 2 + 10))
    picture = table.viewport().grab().toImage()
    assert picture.pixelColor(490, 28 * 2 + 4) == theme().color("hover")
    assert picture.pixelColor(490, 28 + 4) == theme().color("surface")


def test_without_rows_it_says_so(table: Table) -> None:
    empty = QLabel("No requests yet")
    table.set_empty(empty)
    assert not empty.isVisible()
    model = table.table_model
    assert isinstance(model, ListModel)
    model.set_rows([])
    assert empty.isVisible()
    model.set_rows(ROWS)
    assert not empty.isVisible()


class Million(TableModel[int]):
    """Counts which rows were asked for."""

    def __init__(self) -> None:
        super().__init__(
            [Column[int](key="n", title="Number", value=lambda number: number, number=True, stretch=True)]
        )
        self.asked: set[int] = set()

    def row_count(self) -> int:
        return 1_000_000

    def row(self, number: int) -> int | None:
        self.asked.add(number)
        return number


def test_of_a_million_rows_only_those_in_sight_are_fetched(show: Show, qtbot: QtBot) -> None:
    model = Million()
    table = Table("Requests", model)
    table.resize(300, 300)
    show(table)
    table.setFocus()
    QTest.keyClick(table, Qt.Key.Key_End)
    qtbot.wait(0)
    assert table.currentIndex().row() == 999_999
    theme().set_zoom(1.25)
    table.viewport().grab()
    assert len(model.asked) < 200
    with qtbot.waitSignal(table.copied) as copied:
        QTest.keyClick(table, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
        QTest.keyClick(table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert copied.args == [COPY_LIMIT, 1_000_000]
    assert QGuiApplication.clipboard().text().count("\n") == COPY_LIMIT + 1


def test_a_row_that_is_not_there_yet_is_shown_empty(show: Show) -> None:
    class Unfetched(Million):
        def row(self, number: int) -> int | None:
            return None

    model = Unfetched()
    table = Table("Requests", model)
    show(table)
    assert model.data(model.index(5, 0)) is None
    table.selectionModel().select(
        model.index(5, 0), QItemSelectionModel.SelectionFlag.Select | QItemSelectionModel.SelectionFlag.Rows
    )
    table.viewport().grab()
