"""Chooses a model of those that each side lists: typed to find, with its price and how much it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import (
    QAbstractListModel,
    QEvent,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QRect,
    QRectF,
    QSize,
    Qt,
    Signal,
)
from PySide6.QtGui import QFont, QKeyEvent, QPainter, QPainterPath
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHBoxLayout,
    QLineEdit,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from core import nano_to_dollars
from core.chat import Side
from gui.theme.icons import paint_icon
from gui.theme.theme import set_property, theme
from gui.widgets.formatting import NO_CHARGE, SIDE_WORDS, count
from gui.widgets.icon_button import IconButton
from gui.widgets.marks import paint_focus_ring
from gui.widgets.popover import Popover

if TYPE_CHECKING:
    from core import ListedModel, ModelList

Index = QModelIndex | QPersistentModelIndex
AUTO_WORDS = "Auto: Signalbox decides"
TRY_AGAIN = "Try again"
_KEY_MENDS = {
    "missing": "Add a key",
    "refused": "Replace the key",
    "held_back": "Say where it may go",
}
AUTO_WHY = "Each prompt goes where the rules of Routing send it."
_WIDTH_PX, _MOST_LIST_PX = 440, 352
_CAPTION_PX, _ROW_PX = 28, 44
_MOST_ROWS = 60
"""Of a side, at once: a catalogue of thousands would hold the window up at each key (5,000 rows took 370 ms)."""
_LEFT_PX, _RIGHT_PX = 30, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """``model`` of ``None`` is Auto, where Signalbox decides."""

    model: str | None
    side: Side | None = None


@dataclass(frozen=True, slots=True)
class _Caption:
    text: str
    right: str = ""


@dataclass(frozen=True, slots=True)
class _Trouble:
    """The list of a side could not be read; Enter or a click does ``mend``: read it again, or ask for the key."""

    side: Side
    problem: str
    hint: str
    mend: str = TRY_AGAIN


@dataclass(frozen=True, slots=True)
class _Choice:
    choice: ModelChoice
    title: str
    below: str
    right: str = ""


_Row = _Caption | _Trouble | _Choice


def price_words(model: ListedModel, side: Side) -> str:
    """Return ``$3 in · $15 out`` for a million tokens; the unknown is said, never 0."""
    if side == "local":
        return NO_CHARGE
    into, out = model.input_nanodollars_per_mtok, model.output_nanodollars_per_mtok
    if into is None or out is None:
        return "Unpriced"
    return f"{_dollars(into)} in · {_dollars(out)} out"


def context_words(model: ListedModel) -> str:
    """Return how many tokens a model takes, prompt and answer together."""
    return "context not known" if model.context_tokens is None else f"{count(model.context_tokens)} tokens"


def _dollars(nanodollars: int) -> str:
    dollars = nano_to_dollars(nanodollars)
    shown = f"{dollars:,.2f}" if dollars == round(dollars, 2) else f"{dollars:,.4f}"
    return f"${shown.removesuffix('.00')}"


class _Models(QAbstractListModel):
    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.rows: list[_Row] = []
        self.current: str | None = None

    def set_rows(self, rows: list[_Row]) -> None:
        self.beginResetModel()
        self.rows = rows
        self.endResetModel()

    def row_at(self, index: Index) -> _Row | None:
        return self.rows[index.row()] if index.isValid() and index.row() < len(self.rows) else None

    def is_current(self, row: _Row) -> bool:
        return isinstance(row, _Choice) and row.choice.model == self.current

    def rowCount(self, parent: Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def flags(self, index: Index) -> Qt.ItemFlag:
        row = self.row_at(index)
        if row is None or isinstance(row, _Caption):
            return Qt.ItemFlag.NoItemFlags
        return Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemNeverHasChildren

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = self.row_at(index)
        if row is None:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return _title(row)
        if role == Qt.ItemDataRole.ToolTipRole and isinstance(row, _Choice | _Trouble):
            return _spoken(row, is_current=False)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return _spoken(row, is_current=self.is_current(row))
        return None


def _title(row: _Row) -> str:
    if isinstance(row, _Caption):
        return row.text
    return row.problem if isinstance(row, _Trouble) else row.title


def _spoken(row: _Row, *, is_current: bool) -> str:
    if isinstance(row, _Caption):
        return f"{row.text}, {row.right}" if row.right else row.text
    if isinstance(row, _Trouble):
        return " ".join(part for part in (row.problem, row.hint, f"Press Enter: {row.mend}.") if part)
    side = "" if row.choice.side is None else SIDE_WORDS[row.choice.side]
    chosen = "chosen" if is_current else ""
    return ", ".join(part for part in (row.title, side, row.right, row.below, chosen) if part)


class _Delegate(QStyledItemDelegate):
    """Two lines: the name and its price; below, what it is called on the wire and how much it takes."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        model = index.model()
        caption = isinstance(model, _Models) and isinstance(model.row_at(index), _Caption)
        return QSize(100, theme().px(_CAPTION_PX if caption else _ROW_PX))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        model = index.model()
        row = model.row_at(index) if isinstance(model, _Models) else None
        if row is None or not isinstance(model, _Models):
            return
        box: QRect = option.rect  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]
        state: QStyle.StateFlag = option.state  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if isinstance(row, _Caption):
            self._paint_caption(painter, box, row)
        else:
            self._paint_ground(painter, box, state)
            self._paint_row(painter, box, row, is_current=model.is_current(row))
        painter.restore()

    @staticmethod
    def _paint_caption(painter: QPainter, box: QRect, row: _Caption) -> None:
        unit = theme()
        inner = box.adjusted(unit.px(10), unit.px(6), -unit.px(_RIGHT_PX), 0)
        painter.setFont(unit.font("caption", 500))
        painter.setPen(unit.color("text3"))
        painter.drawText(inner, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, row.text)
        painter.setFont(unit.font("caption"))
        painter.drawText(inner, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, row.right)

    @staticmethod
    def _paint_ground(painter: QPainter, box: QRect, state: QStyle.StateFlag) -> None:
        unit = theme()
        selected = bool(state & QStyle.StateFlag.State_Selected)
        if selected or state & QStyle.StateFlag.State_MouseOver:
            path = QPainterPath()
            path.addRoundedRect(QRectF(box), unit.px(4), unit.px(4))
            painter.fillPath(path, unit.color("select" if selected else "hover"))
        if state & QStyle.StateFlag.State_HasFocus and state & QStyle.StateFlag.State_KeyboardFocusChange:
            paint_focus_ring(painter, QRectF(box), unit.px(4))

    def _paint_row(self, painter: QPainter, box: QRect, row: _Trouble | _Choice, *, is_current: bool) -> None:
        unit = theme()
        if isinstance(row, _Trouble):
            icon, token, title, below, right = "warning-circle", "danger", row.problem, row.hint, row.mend
        else:
            icon, token, title, below, right = "check", "text", row.title, row.below, row.right
        if is_current or isinstance(row, _Trouble):
            side = unit.px(14)
            place = QRectF(box.left() + unit.px(9), box.top() + unit.px(8), side, side)
            paint_icon(painter, place, icon, unit.color(token))
        left, end = box.left() + unit.px(_LEFT_PX), box.right() - unit.px(_RIGHT_PX)
        upper = QRect(left, box.top() + unit.px(5), end - left, unit.px(18))
        lower = QRect(left, box.top() + unit.px(23), end - left, unit.px(16))
        centred = Qt.AlignmentFlag.AlignVCenter
        painter.setFont(unit.font("small", 600 if isinstance(row, _Trouble) else 500))
        painter.setPen(unit.color("text" if isinstance(row, _Trouble) else "text2"))
        painter.drawText(upper, centred | Qt.AlignmentFlag.AlignRight, right)
        room = upper.width() - painter.fontMetrics().horizontalAdvance(right) - unit.px(12)
        self._elided(painter, upper, title, unit.font("body", 500, tabular=False), "text", room)
        self._elided(painter, lower, below, unit.font("small", tabular=False), "text3", lower.width())

    @staticmethod
    def _elided(painter: QPainter, line: QRect, text: str, font: QFont, token: str, room: int) -> None:
        painter.setFont(font)
        painter.setPen(theme().color(token))
        shown = painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, max(0, room))
        flags = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft | Qt.TextFlag.TextSingleLine
        painter.drawText(line, flags, shown)


class ModelPicker(Popover):
    """Grouped by side, with Auto at the top where ``auto`` says so. ``current`` is the model in use now.

    Signals:
        chosen: the ``ModelChoice``; it closes by itself.
        refresh_asked: read the lists again.
        key_asked: open where the key of a ``Side`` is set; it closes by itself. Only with ``offers_key``: without,
            a list that the key stands in the way of is read again, too.
        for_new_changed: whether new chats begin with what is chosen.
    """

    chosen = Signal(object)
    refresh_asked = Signal()
    key_asked = Signal(str)
    for_new_changed = Signal(bool)

    def __init__(
        self,
        current: str | None,
        parent: QWidget | None = None,
        *,
        sides: tuple[Side, ...] = ("local", "api"),
        auto: bool = True,
        for_new: bool | None = None,
        offers_key: bool = False,
    ) -> None:
        super().__init__("Models", parent, width_px=_WIDTH_PX, height_px=200)
        self._sides, self._auto, self._offers_key = sides, auto, offers_key
        self._lists: dict[Side, tuple[ModelList, bool]] = {}
        self._models = _Models(self)
        self._moved = False
        self._models.current = current
        unit = theme()
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search models")
        self.search.setAccessibleName("Search models")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._fill)
        self.search.installEventFilter(self)
        self.refresh = IconButton("arrow-clockwise", "Read the lists again")
        self.refresh.clicked.connect(self.refresh_asked)
        top = QHBoxLayout()
        top.setSpacing(unit.px(6))
        top.addWidget(self.search, 1)
        top.addWidget(self.refresh)
        self.list = QListView()
        self.list.setAccessibleName("Models")
        self.list.setModel(self._models)
        self.list.setItemDelegate(_Delegate(self.list))
        self.list.setMouseTracking(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.list.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # the arrows move in it from the search box
        self.list.setFrameShape(QListView.Shape.NoFrame)
        self.list.setStyleSheet("QListView { background: transparent; border: none; }")
        self.list.clicked.connect(self._take)
        self.column.addLayout(top)
        self.column.addWidget(self.list, 1)
        self.for_new = QCheckBox("New chats begin with this choice")
        self.for_new.setChecked(bool(for_new))
        self.for_new.toggled.connect(self.for_new_changed)
        self.column.addWidget(self.for_new)
        self.for_new.setVisible(
            for_new is not None
        )  # only now: without a parent it would be a window of its own
        set_property(self.for_new, role="small")
        theme().changed.connect(self._resize)
        self._fill()

    # -- what it shows ---------------------------------------------------------------------------

    def show_list(self, listed: ModelList, *, is_reading: bool = False) -> None:
        """Show a side's models, or that they are being read."""
        self._lists[listed.side] = listed, is_reading
        self._fill()

    def _fill(self) -> None:
        kept = self._chosen_row()
        words = self.search.text().casefold().split()
        rows: list[_Row] = []
        if self._auto and all(word in AUTO_WORDS.casefold() for word in words):
            rows.append(_Choice(ModelChoice(model=None), AUTO_WORDS, AUTO_WHY))
        for side in self._sides:
            rows += self._rows_of(side, words)
        if words and not any(isinstance(row, _Choice) for row in rows):
            is_reading = any(reading for _, reading in self._lists.values())
            rows = [_Caption("Still reading the lists…" if is_reading else "No model of that name"), *rows]
        self._models.set_rows(rows)
        self._select(kept, is_search=bool(words))
        self._resize()

    def _rows_of(self, side: Side, words: list[str]) -> list[_Row]:
        entry = self._lists.get(side)
        if entry is None:
            return []
        listed, is_reading = entry
        default, in_use = listed.default_model, self._models.current
        found = [
            model
            for model in sorted(listed.models, key=lambda model: (model.id != default, model.id != in_use))
            if all(word in f"{model.id} {model.name}".casefold() for word in words)
        ]
        rows: list[_Row] = [
            _Choice(
                ModelChoice(model=model.id, side=side),
                model.name or model.id,
                _below(model, is_default=model.id == listed.default_model),
                price_words(model, side),
            )
            for model in found[:_MOST_ROWS]
        ]
        if len(found) > _MOST_ROWS:
            rows.append(_Caption(f"{count(len(found) - _MOST_ROWS)} more: type a part of their names"))
        if words and not rows:
            return []
        state = "Reading the list…" if is_reading else _read_words(listed, side)
        caption: list[_Row] = [_Caption(SIDE_WORDS[side], state)]
        if listed.problem and not is_reading and not words:
            trouble = listed.key_trouble if self._offers_key else None
            mend = TRY_AGAIN if trouble is None else _KEY_MENDS[trouble]
            caption.append(_Trouble(side, listed.problem, listed.hint, mend))
        elif not rows and not is_reading:
            caption.append(_Trouble(side, "It lists no model that can chat.", ""))
        return caption + rows

    def _resize(self) -> None:
        unit = theme()
        pad = unit.px(8)
        self.column.setContentsMargins(pad, pad, pad, pad)
        self.column.setSpacing(unit.px(6))
        rows = sum(_CAPTION_PX if isinstance(row, _Caption) else _ROW_PX for row in self._models.rows)
        footer = 30 if self.for_new.isVisibleTo(self) else 0
        self._height_px = min(_MOST_LIST_PX, max(_ROW_PX, rows)) + 34 + 6 + 2 * 8 + footer + 12
        self.fit()

    # -- choosing --------------------------------------------------------------------------------

    def _chosen_row(self) -> _Row | None:
        return self._models.row_at(self.list.currentIndex())

    def _select(self, kept: _Row | None, *, is_search: bool) -> None:
        """Keep the row that the arrows went to; else the model in use, or, in a search, the first that is found."""
        rows = self._models.rows
        marked = [
            number
            for number, row in enumerate(rows)
            if self._moved and isinstance(row, _Choice) and row == kept
        ]
        in_use = [number for number, row in enumerate(rows) if not is_search and self._models.is_current(row)]
        first = [number for number, row in enumerate(rows) if isinstance(row, _Choice)]
        for number in (*marked, *in_use, *first):
            self._go_to(number)
            return

    def _go_to(self, number: int) -> None:
        index = self._models.index(number)
        self.list.setCurrentIndex(index)
        self.list.scrollTo(index)

    def _move(self, by: int) -> None:
        self._moved = True
        number, rows = self.list.currentIndex().row(), self._models.rows
        step = 1 if by > 0 else -1
        target = number
        for place in range(number + step, len(rows) if step > 0 else -1, step):
            if not isinstance(rows[place], _Caption):
                target = place
                by -= step
            if by == 0:
                break
        if target >= 0:
            self._go_to(target)
            if all(isinstance(row, _Caption) for row in rows[:target]):
                self.list.scrollToTop()  # the caption above the first one, too

    def _take(self, index: QModelIndex) -> None:
        row = self._models.row_at(index)
        if isinstance(row, _Trouble) and row.mend == TRY_AGAIN:
            self.refresh_asked.emit()
        elif isinstance(row, _Trouble):
            self.close()
            self.key_asked.emit(row.side)
        elif isinstance(row, _Choice):
            self.close()
            self.chosen.emit(row.choice)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self.search and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            moves = {
                Qt.Key.Key_Down: 1,
                Qt.Key.Key_Up: -1,
                Qt.Key.Key_PageDown: 7,
                Qt.Key.Key_PageUp: -7,
            }
            key = Qt.Key(event.key())
            if key in moves:
                self._move(moves[key])
                return True
            if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self._take(self.list.currentIndex())
                return True
        return super().eventFilter(watched, event)


def _below(model: ListedModel, *, is_default: bool) -> str:
    parts = [model.id if model.name and model.name != model.id else "", context_words(model)]
    if model.dearer_above_tokens:
        parts.append(f"dearer above {count(model.dearer_above_tokens)} in")
    parts.append("default" if is_default else "")
    return " · ".join(part for part in parts if part)


def _read_words(listed: ModelList, side: Side) -> str:
    unit = "price of a million tokens" if side == "api" else ""
    read = "" if listed.read_at is None else f"read at {listed.read_at:%H:%M}"
    return " · ".join(part for part in (unit, read) if part)
