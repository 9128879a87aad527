"""The one table of the panel, and the model that feeds it: rows of 28 px, sorted by the header, copied as TSV.

A ``Column`` says how a row becomes a raw value (which is sorted and copied) and a text (which is shown). A page
gives the table a ``ListModel``, or a ``TableModel`` of its own that fetches rows as they are looked at: nothing
here makes a widget for a row or walks over rows that are not in sight, so a million of them cost as much as fifty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from PySide6.QtCore import (
    QAbstractTableModel,
    QEvent,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    QRect,
    QRectF,
    QSize,
    Qt,
    QTimer,
    Signal,
)
from PySide6.QtGui import (
    QFocusEvent,
    QGuiApplication,
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
)
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from core import spreadsheet_cell
from gui.theme.theme import theme
from gui.widgets.inline_row import InlineRun, narrow, paint_runs, row_width
from gui.widgets.marks import paint_focus_ring

R = TypeVar("R")
Index = QModelIndex | QPersistentModelIndex

ROW_PX = 28
INK_BAR_PX = 3
EMPTY = "–"
COPY_LIMIT = 10_000
"""Rows that Ctrl+C copies at most: more would hold up the window, and is what an export is for."""
RAW_ROLE = int(Qt.ItemDataRole.UserRole)
"""The raw value of a cell; ``None`` is not known."""
_PAD_PX = 8


def plain_text(value: Any) -> str:
    """Return a value as a cell shows it: whole numbers with thousands commas."""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    return f"{value:,}" if isinstance(value, int) else str(value)


@dataclass(frozen=True, kw_only=True)  # with slots, Column[Row](...) fails on its own type
class Column(Generic[R]):
    """One column. Sizes are px before zoom.

    ``value`` returns the raw value, ``None`` where it is not known: shown as a dash, sorted last. ``text`` writes
    it, without its ``unit``, which follows in a lighter tone. ``cell`` paints something else than text, such as an
    icon before a word. ``drop`` 0 always stays; where there is too little room the highest ``drop`` leaves first.
    ``stretch`` takes what is left. ``sort_key`` is what is compared, where raw values can't be.
    """

    key: str
    title: str
    value: Callable[[R], Any]
    text: Callable[[Any], str] = plain_text
    number: bool = False
    unit: str = ""
    weight: int = 400
    width: int = 90
    stretch: bool = False
    drop: int = 0
    cell: Callable[[R], list[InlineRun]] | None = None
    sort_key: Callable[[Any], Any] | None = None
    sortable: bool = True
    tip: str = ""

    def runs(self, row: R) -> list[InlineRun]:
        """Return what is painted in the cell of ``row``."""
        if self.cell is not None:
            return self.cell(row)
        value = self.value(row)
        if value is None:
            return [InlineRun(text=EMPTY, token="text3")]
        runs = [InlineRun(text=self.text(value), token="text", weight=self.weight, elide=not self.number)]
        if self.unit:
            runs.append(InlineRun(text=self.unit, token="text3", gap=3))
        return runs

    def words(self, row: R) -> str:
        """Return the cell for a screen reader."""
        value = self.value(row)
        if value is None:
            return "not known"
        return f"{self.text(value)} {self.unit}".strip()


class TableModel(QAbstractTableModel, Generic[R]):
    """The base of a table's model: a subclass says how many rows there are and returns one of them.

    ``row`` may return ``None`` for a row that is not fetched yet; it is shown empty until ``dataChanged``.
    ``sort_by`` orders the rows; the base leaves them as they are.
    """

    def __init__(self, columns: Sequence[Column[R]]) -> None:
        super().__init__()
        self.columns = tuple(columns)
        self.sorted_by: tuple[str, bool] | None = None
        """The key of the column and whether it is descending."""

    def row_count(self) -> int:
        raise NotImplementedError

    def row(self, number: int) -> R | None:
        raise NotImplementedError

    def sort_by(self, column: Column[R], *, descending: bool) -> None:
        """Bring the rows into order; called between ``layoutAboutToBeChanged`` and ``layoutChanged``."""

    # What Qt calls

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008  (Qt's own default)
        return 0 if parent.isValid() else self.row_count()

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.columns)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = self.row(index.row())
        if row is None:
            return None
        column = self.columns[index.column()]
        if role == RAW_ROLE:
            return column.value(row)
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return (
                column.words(row) if role == Qt.ItemDataRole.AccessibleTextRole else self._shown(column, row)
            )
        if role == Qt.ItemDataRole.TextAlignmentRole and column.number:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    @staticmethod
    def _shown(column: Column[R], row: R) -> str:
        return EMPTY if column.value(row) is None else column.words(row)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if orientation == Qt.Orientation.Vertical:
            return None
        column = self.columns[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.title
        if role == Qt.ItemDataRole.AccessibleTextRole:
            if self.sorted_by is not None and self.sorted_by[0] == column.key:
                return f"{column.title}, sorted {'down' if self.sorted_by[1] else 'up'}"
            return column.title
        if role == Qt.ItemDataRole.ToolTipRole:
            return column.tip or None
        return None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        if not 0 <= column < len(self.columns) or not self.columns[column].sortable:
            return
        descending = order == Qt.SortOrder.DescendingOrder
        self.layoutAboutToBeChanged.emit()
        self.sorted_by = (self.columns[column].key, descending)
        self.sort_by(self.columns[column], descending=descending)
        self.layoutChanged.emit()


class ListModel(TableModel[R]):
    """Rows that are all in memory. Sorting is stable, and what is not known comes last in both directions."""

    def __init__(self, columns: Sequence[Column[R]], rows: Sequence[R] = ()) -> None:
        super().__init__(columns)
        self._given = list(rows)
        self._rows = list(rows)

    @property
    def rows(self) -> Sequence[R]:
        """The rows as they are shown."""
        return self._rows

    def set_rows(self, rows: Sequence[R]) -> None:
        """Show other rows, in the order that is chosen."""
        self.beginResetModel()
        self._given = list(rows)
        self._order()
        self.endResetModel()

    def row_count(self) -> int:
        return len(self._rows)

    def row(self, number: int) -> R | None:
        return self._rows[number] if 0 <= number < len(self._rows) else None

    def sort_by(self, column: Column[R], *, descending: bool) -> None:
        before = self._rows
        self._order()
        places = {id(row): number for number, row in enumerate(self._rows)}
        old = self.persistentIndexList()
        new = [self.index(places[id(before[index.row()])], index.column()) for index in old]
        self.changePersistentIndexList(old, new)

    def _order(self) -> None:
        chosen = next((one for one in self.columns if self.sorted_by and one.key == self.sorted_by[0]), None)
        if chosen is None or self.sorted_by is None:
            self._rows = list(self._given)
            return
        known = [row for row in self._given if chosen.value(row) is not None]
        unknown = [row for row in self._given if chosen.value(row) is None]
        key = chosen.sort_key or _compared
        known.sort(key=lambda row: key(chosen.value(row)), reverse=self.sorted_by[1])
        self._rows = known + unknown


def _compared(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


def as_tsv(model: TableModel[Any], rows: Sequence[int]) -> str:
    """Return the header and the raw values of ``rows``, tabs between; what is not known is empty.

    A value with a tab, a line break or a quotation mark is quoted, as spreadsheets read and write it.
    """
    header = [f"{one.title} ({one.unit})" if one.unit else one.title for one in model.columns]
    lines = [header]
    for number in rows:
        row = model.row(number)
        if row is not None:
            values = (one.value(row) for one in model.columns)
            lines.append(["" if value is None else str(value) for value in values])
    return "".join("\t".join(map(_tsv_field, line)) + "\n" for line in lines)


def _tsv_field(text: str) -> str:
    """Quote what would break the line, and keep a formula a text: it is pasted into a spreadsheet.

    Python's csv leaves a lone carriage return bare (3.11).
    """
    text = spreadsheet_cell(text)
    if any(mark in text for mark in '\t\n\r"'):
        return '"' + text.replace('"', '""') + '"'
    return text


class _Header(QHeaderView):
    """Titles in text3, the sorted one in text with an arrow; Left, Right and Space do what a click does."""

    def __init__(self, table: Table) -> None:
        super().__init__(Qt.Orientation.Horizontal, table)
        self._table = table
        self._focused = 0
        self.setAccessibleName("Columns")
        self.setSectionsClickable(True)
        self.setHighlightSections(False)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.setMinimumSectionSize(0)

    def sizeHint(self) -> QSize:
        return QSize(super().sizeHint().width(), theme().px(ROW_PX))

    def runs(self, section: int) -> list[InlineRun]:
        column = self._table.table_model.columns[section]
        found = self._table.table_model.sorted_by
        is_sorted = found is not None and found[0] == column.key
        title = InlineRun(
            text=column.title, token="text" if is_sorted else "text3", weight=500, elide=not column.number
        )
        if not is_sorted or found is None:
            return [title]
        arrow = InlineRun(
            kind="icon", name="arrow-down" if found[1] else "arrow-up", token="text", size=12, gap=4
        )
        return [title, arrow]

    def paintSection(self, painter: QPainter, rect: QRect, logicalIndex: int) -> None:
        unit = theme()
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRectF(rect)
        painter.fillRect(box, unit.color("surface"))
        painter.fillRect(QRectF(box.left(), box.bottom() - 1, box.width(), 1), unit.color("border"))
        pad = unit.px(_PAD_PX)
        runs = self.runs(logicalIndex)
        inside = box.adjusted(pad, 0, -pad, -1)
        if self._table.table_model.columns[logicalIndex].number:
            inside.setLeft(max(box.left() + 2, inside.right() - row_width(runs)))
        paint_runs(painter, inside, runs)
        if self.hasFocus() and logicalIndex == self._focused:
            paint_focus_ring(painter, box.adjusted(1, 1, -1, -2), unit.px(3))
        painter.restore()

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        if self.isSectionHidden(self._focused):
            self._focused = self.logicalIndexAt(0)
        self.viewport().update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self.viewport().update()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        shown = [number for number in range(self.count()) if not self.isSectionHidden(number)]
        key = event.key()
        if key in (Qt.Key.Key_Left, Qt.Key.Key_Right) and shown:
            step = 1 if key == Qt.Key.Key_Right else -1
            place = shown.index(self._focused) if self._focused in shown else 0
            self._focused = shown[min(len(shown) - 1, max(0, place + step))]
            self.viewport().update()
        elif key in (Qt.Key.Key_Space, Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._table.sort_column(self._focused)
        elif key == Qt.Key.Key_Down:
            self._table.setFocus(Qt.FocusReason.TabFocusReason)
        else:
            super().keyPressEvent(event)


class _Cells(QStyledItemDelegate):
    """Paints a cell's runs, the hairline below it, and the state of its row."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self._table = table

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        unit, table = theme(), self._table
        looks: Any = option  # its fields are not in Qt's stubs for Python
        box = QRectF(looks.rect)
        selected = table.selectionModel().isSelected(index)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if selected:
            painter.fillRect(box, unit.color("select"))
        elif index.row() == table.pointed_row:
            painter.fillRect(box, unit.color("hover"))
        painter.fillRect(QRectF(box.left(), box.bottom() - 1, box.width(), 1), unit.color("grid"))
        if selected and index.column() == table.first_column:
            painter.fillRect(
                QRectF(box.left(), box.top(), unit.px(INK_BAR_PX), box.height()), unit.color("ink")
            )
        model = table.table_model
        row = model.row(index.row())
        if row is not None:
            column = model.columns[index.column()]
            pad = unit.px(_PAD_PX)
            inside = box.adjusted(pad, 0, -pad, -1)
            runs = narrow(column.runs(row), inside.width())
            if not table.isEnabled():
                runs = [replace(run, token="text3") for run in runs]
            elif selected:  # text3 on select is too faint
                runs = [replace(run, token="text2") if run.token == "text3" else run for run in runs]
            if column.number:
                inside.setLeft(max(box.left() + 2, inside.right() - row_width(runs)))
            painter.setClipRect(box)
            paint_runs(painter, inside, runs)
        painter.restore()


class Table(QTableView):
    """Signals:
    chosen: the number of the row that Enter or a double click opened.
    row_changed: the number of the current row, -1 for none.
    copied: how many rows were copied, and how many are selected (more than ``COPY_LIMIT`` are not copied).
    """

    chosen = Signal(int)
    row_changed = Signal(int)
    copied = Signal(int, int)

    def __init__(self, name: str, model: TableModel[Any], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.table_model = model
        self.pointed_row = -1
        self.first_column = 0
        self._empty: QWidget | None = None
        self.setAccessibleName(name)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setShowGrid(False)
        self.setMouseTracking(True)
        self.setTabKeyNavigation(False)
        self.setWordWrap(False)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setCornerButtonEnabled(False)
        self._header = _Header(self)
        self.setHorizontalHeader(self._header)
        # Set before there is a model: afterwards it would go over every row.
        rows = self.verticalHeader()
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        rows.setMinimumSectionSize(0)  # another one than the rows' own is applied row by row
        rows.setDefaultSectionSize(theme().px(ROW_PX))
        rows.hide()
        self.setItemDelegate(_Cells(self))
        self.setModel(model)
        # A click sorts down first where numbers are, up first where words are; Qt's own sorting knows one order.
        self._header.sectionClicked.connect(self.sort_column)
        self.doubleClicked.connect(self._on_double_click)
        self.selectionModel().currentRowChanged.connect(self._on_current_row)
        model.modelReset.connect(self._on_reset)
        model.rowsInserted.connect(self._show_empty)
        model.rowsRemoved.connect(self._show_empty)
        model.layoutChanged.connect(self._header.viewport().update)
        theme().changed.connect(self._restyle)
        self._lay_columns()

    def set_empty(self, widget: QWidget) -> None:
        """Show ``widget`` (an ``EmptyState``) in place of the rows while there are none."""
        self._empty = widget
        widget.setParent(self.viewport())
        self._show_empty()

    def sort_column(self, number: int) -> None:
        """Sort by a column; once more turns it round."""
        column = self.table_model.columns[number]
        if not column.sortable:
            return
        found = self.table_model.sorted_by
        down = not found[1] if found is not None and found[0] == column.key else column.number
        order = Qt.SortOrder.DescendingOrder if down else Qt.SortOrder.AscendingOrder
        self.table_model.sort(number, order)

    def selected_rows(self, most: int | None = None) -> tuple[list[int], int]:
        """Return the selected rows from the top, at most ``most`` of them, and how many there are."""
        selection: Any = self.selectionModel().selection()  # a list of ranges, but not in Qt's stubs
        ranges: list[tuple[int, int]] = sorted((part.top(), part.bottom()) for part in selection)
        rows: list[int] = []
        total, last = 0, -1
        for top, bottom in ranges:
            top = max(top, last + 1)  # a row is in one range for each of its columns
            if bottom < top:
                continue
            total += bottom - top + 1
            room = bottom - top + 1 if most is None else max(0, most - len(rows))
            rows.extend(range(top, min(bottom + 1, top + room)))
            last = bottom
        return rows, total

    def copy_selected(self) -> None:
        """Put the selected rows on the clipboard as TSV, with the header."""
        rows, total = self.selected_rows(COPY_LIMIT)
        if rows:
            QGuiApplication.clipboard().setText(as_tsv(self.table_model, rows))
            self.copied.emit(len(rows), total)

    # -- what Qt calls ---------------------------------------------------------------------------

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key, rows = event.key(), self.table_model.row_count()
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copy_selected()
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.currentIndex().isValid():
            self.chosen.emit(self.currentIndex().row())
        elif key in (Qt.Key.Key_Home, Qt.Key.Key_End) and rows:
            # In a row-wise table they mean the first and the last row, as in a list.
            goal = self.table_model.index(0 if key == Qt.Key.Key_Home else rows - 1, self.first_column)
            self.selectionModel().setCurrentIndex(goal, self._selection_flags(event))
            self.scrollTo(goal)
        elif key == Qt.Key.Key_Up and self.currentIndex().row() <= 0:
            self._header.setFocus(Qt.FocusReason.TabFocusReason)
        elif key in (Qt.Key.Key_Left, Qt.Key.Key_Right):
            event.ignore()  # Tab does not stop at a cell
        else:
            super().keyPressEvent(event)

    def _selection_flags(self, event: QKeyEvent) -> QItemSelectionModel.SelectionFlag:
        flags = QItemSelectionModel.SelectionFlag
        if event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            return flags.SelectCurrent | flags.Rows
        return flags.ClearAndSelect | flags.Rows

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        if not self.currentIndex().isValid() and self.table_model.row_count():
            first = self.table_model.index(0, self.first_column)
            self.selectionModel().setCurrentIndex(first, QItemSelectionModel.SelectionFlag.NoUpdate)
        self.viewport().update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self.viewport().update()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        super().mouseMoveEvent(event)
        self._point_at(self.rowAt(event.position().toPoint().y()))

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self._point_at(-1)

    def _point_at(self, row: int) -> None:
        if row != self.pointed_row:
            for number in (self.pointed_row, row):
                if number >= 0:
                    y = self.rowViewportPosition(number)
                    self.viewport().update(0, y, self.viewport().width(), self.rowHeight(number))
            self.pointed_row = row

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if not self.hasFocus():
            return
        painter = QPainter(self.viewport())
        current = self.currentIndex()
        if current.isValid():
            y, height = self.rowViewportPosition(current.row()), self.rowHeight(current.row())
            box = QRectF(0, y, self.viewport().width(), height - 1)
        else:
            box = QRectF(self.viewport().rect())
        paint_focus_ring(painter, box, theme().px(3))
        painter.end()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._lay_columns()
        if self._empty is not None:
            self._empty.setGeometry(self.viewport().rect())

    # -- layout ----------------------------------------------------------------------------------

    def _lay_columns(self) -> None:
        """Hide what does not fit, highest ``drop`` first, and share what is left among those that stretch."""
        px, columns = theme().px, self.table_model.columns
        room = self.viewport().width()
        kept = list(range(len(columns)))
        while sum(px(columns[number].width) for number in kept) > room:
            worst = max(columns[number].drop for number in kept)
            if worst == 0:
                break
            kept = [number for number in kept if columns[number].drop != worst]
        left = max(0, room - sum(px(columns[number].width) for number in kept))
        growing = [number for number in kept if columns[number].stretch] or kept[-1:]
        for number, column in enumerate(columns):
            self.setColumnHidden(number, number not in kept)
            if number in kept:
                more = left // len(growing) if number in growing else 0
                if number == growing[-1]:
                    more = left - left // len(growing) * (len(growing) - 1)
                self.setColumnWidth(number, px(column.width) + more)
        self.first_column = kept[0] if kept else 0

    def _on_double_click(self, index: QModelIndex) -> None:
        self.chosen.emit(index.row())

    def _on_current_row(self, now: QModelIndex, _before: QModelIndex) -> None:
        self.row_changed.emit(now.row())

    def _on_reset(self) -> None:
        self.pointed_row = -1
        self._show_empty()

    def _show_empty(self) -> None:
        if self._empty is not None:
            self._empty.setGeometry(self.viewport().rect())
            self._empty.setVisible(self.table_model.row_count() == 0)

    def _restyle(self) -> None:
        rows, height = self.verticalHeader(), theme().px(ROW_PX)
        rows.setDefaultSectionSize(height)
        self._lay_columns()
        QTimer.singleShot(0, self, self.viewport().update)
