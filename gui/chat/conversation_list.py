"""The list at the left: search, new chat, conversations by day with their side share and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from PySide6.QtCore import (
    QAbstractItemModel,
    QAbstractListModel,
    QEvent,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QPoint,
    QRect,
    QRectF,
    QSize,
    Qt,
    QTimer,
    Signal,
)
from PySide6.QtGui import QInputMethodEvent, QKeyEvent, QPainter, QPainterPath
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QLineEdit,
    QListView,
    QMenu,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
    QWidget,
)

from core import format_cost
from gui.chat.storage.models import ConversationSummary, Totals
from gui.theme.theme import set_property, theme
from gui.widgets.composing import Composing
from gui.widgets.error_card import IconMark
from gui.widgets.icon_button import IconButton
from gui.widgets.labels import plain_label
from gui.widgets.marks import paint_focus_ring

Index = QModelIndex | QPersistentModelIndex
SUMMARY_ROLE = Qt.ItemDataRole.UserRole.value + 1


@dataclass(frozen=True, slots=True)
class Caption:
    """A line such as "Today" above the conversations of a time."""

    text: str


def group_of(day: date, today: date) -> str:
    """Return the caption that a conversation of ``day`` stands under."""
    if day >= today:
        return "Today"
    if day == today - timedelta(days=1):
        return "Yesterday"
    if day > today - timedelta(days=7):
        return "This week"
    if (day.year, day.month) == (today.year, today.month):
        return "This month"
    return f"{day:%B %Y}" if day.year != today.year else f"{day:%B}"


def when(moment: datetime, now: datetime) -> str:
    """Return the time, the weekday or the date, whichever says most in few letters."""
    local, today = moment.astimezone(), now.astimezone().date()
    if local.date() >= today - timedelta(days=1):
        return f"{local:%H:%M}"
    if local.date() > today - timedelta(days=7):
        return f"{local:%a}"
    return f"{local.day} {local:%b}" if local.year == today.year else f"{local.day} {local:%b %Y}"


def cost_words(totals: Totals) -> str:
    """Return what a conversation cost so far; nothing for one without an answer, and unknown never as zero."""
    if not totals.answers:
        return ""
    if totals.unpriced and totals.cost_nanodollars == 0:
        return "Unpriced"
    if totals.cost_nanodollars == 0:
        return "No charge" if not totals.api_answers else ""
    return format_cost(totals.cost_nanodollars) + (" +" if totals.unpriced else "")


class ConversationModel(QAbstractListModel):
    """Signals:
    renamed: an id and its new title, after an inline edit.
    """

    renamed = Signal(str, str)

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[Caption | ConversationSummary] = []
        self.now = datetime.now().astimezone()

    def set_summaries(self, summaries: Sequence[ConversationSummary]) -> None:
        """Show other conversations, newest first."""
        self.beginResetModel()
        self.now = datetime.now().astimezone()
        today = self.now.date()
        self._rows = []
        caption = ""
        for summary in summaries:
            group = group_of(summary.updated_at.astimezone().date(), today)
            if group != caption:
                caption = group
                self._rows.append(Caption(group))
            self._rows.append(summary)
        self.endResetModel()

    def row_at(self, index: Index) -> Caption | ConversationSummary | None:
        return self._rows[index.row()] if index.isValid() and index.row() < len(self._rows) else None

    def index_of(self, conversation_id: str) -> QModelIndex:
        for number, row in enumerate(self._rows):
            if isinstance(row, ConversationSummary) and row.id == conversation_id:
                return self.index(number)
        return QModelIndex()

    def titles(self) -> dict[str, str]:
        """Return the listed conversations' titles by their ids."""
        return {row.id: row.title for row in self._rows if isinstance(row, ConversationSummary)}

    def ids(self) -> list[str]:
        return [row.id for row in self._rows if isinstance(row, ConversationSummary)]

    # What Qt calls

    def rowCount(self, parent: Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self._rows)

    def flags(self, index: Index) -> Qt.ItemFlag:
        if isinstance(self.row_at(index), ConversationSummary):
            return (
                Qt.ItemFlag.ItemIsEnabled
                | Qt.ItemFlag.ItemIsSelectable
                | Qt.ItemFlag.ItemIsEditable
                | Qt.ItemFlag.ItemNeverHasChildren
            )
        return Qt.ItemFlag.NoItemFlags

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = self.row_at(index)
        if isinstance(row, Caption):
            return row.text if role == Qt.ItemDataRole.DisplayRole else None
        if row is None:
            return None
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return row.title
        if role == Qt.ItemDataRole.ToolTipRole:
            return row.title
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return spoken(row, self.now)
        if role == SUMMARY_ROLE:
            return row
        return None

    def setData(self, index: Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        row = self.row_at(index)
        title = " ".join(str(value).split())
        if not isinstance(row, ConversationSummary) or not title or title == row.title:
            return False
        self.renamed.emit(row.id, title)
        return True


def spoken(row: ConversationSummary, now: datetime) -> str:
    """A row as a sentence for a screen reader."""
    totals = row.totals
    parts = [row.title, when(row.updated_at, now)]
    if totals.answers:
        parts.append(f"{totals.local_answers} Local, {totals.api_answers} API")
        parts.append(cost_words(totals))
    if row.has_draft:
        parts.append("has a draft")
    return ", ".join(part for part in parts if part)


WIDTH_PX = 236
SEARCH_MS = 150
_ROW_PX, _CAPTION_PX = 52, 28
_SHARE_WIDTH_PX, _SHARE_LEAST_PX, _SHARE_HEIGHT_PX = 40, 16, 4


class _TitleEdit(QLineEdit):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.composing = Composing(self)

    def inputMethodEvent(self, arg__1: QInputMethodEvent) -> None:
        self.composing.note(arg__1)
        super().inputMethodEvent(arg__1)


class ConversationDelegate(QStyledItemDelegate):
    """Two lines: the title; the time, the share of Local and API, and the cost."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        model = index.model()
        caption = isinstance(model, ConversationModel) and isinstance(model.row_at(index), Caption)
        return QSize(100, theme().px(_CAPTION_PX if caption else _ROW_PX))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        model = index.model()
        row = model.row_at(index) if isinstance(model, ConversationModel) else None
        box: QRect = option.rect  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if isinstance(row, Caption):
            self._paint_caption(painter, box, row)
        elif row is not None and isinstance(model, ConversationModel):
            self._paint_row(painter, box, option, row, when(row.updated_at, model.now))
        painter.restore()

    def _paint_caption(self, painter: QPainter, box: QRect, row: Caption) -> None:
        unit = theme()
        painter.setFont(unit.font("caption", 500))
        painter.setPen(unit.color("text3"))
        inner = box.adjusted(unit.px(10), unit.px(6), 0, 0)
        painter.drawText(inner, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, row.text)

    def _paint_row(
        self,
        painter: QPainter,
        box: QRect,
        option: QStyleOptionViewItem,
        row: ConversationSummary,
        time: str,
    ) -> None:
        unit = theme()
        state: QStyle.StateFlag = option.state  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]
        selected = bool(state & QStyle.StateFlag.State_Selected)
        ground = QRectF(box)
        if selected or state & QStyle.StateFlag.State_MouseOver:
            path = QPainterPath()
            path.addRoundedRect(ground, unit.px(4), unit.px(4))
            painter.fillPath(path, unit.color("select" if selected else "hover"))
        if state & QStyle.StateFlag.State_HasFocus and state & QStyle.StateFlag.State_KeyboardFocusChange:
            paint_focus_ring(painter, ground, unit.px(4))
        left, right = box.left() + unit.px(10), box.right() - unit.px(9)
        title = QRect(left, box.top() + unit.px(8), right - left, unit.px(20))
        painter.setFont(unit.font("body", 500))
        painter.setPen(unit.color("text"))
        flags = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft
        shown = painter.fontMetrics().elidedText(row.title, Qt.TextElideMode.ElideRight, title.width())
        painter.drawText(title, flags | Qt.TextFlag.TextSingleLine, shown)
        line = QRect(left, box.top() + unit.px(28), right - left, unit.px(16))
        painter.setFont(unit.font("small"))
        painter.setPen(unit.color("text2" if selected else "text3"))
        cost = cost_words(row.totals)
        metrics = painter.fontMetrics()
        width = max(metrics.horizontalAdvance("$0.0000"), metrics.horizontalAdvance(cost))
        share_right = right - width - unit.px(8)
        if row.has_draft:
            room = (share_right - unit.px(_SHARE_WIDTH_PX) if row.totals.answers else right) - left
            whole = f"{time} · Draft"
            time = whole if metrics.horizontalAdvance(whole) + unit.px(6) <= room else "Draft"
        painter.drawText(line, flags, time)
        painter.setPen(unit.color("text2"))
        painter.drawText(line, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, cost)
        time_end = left + metrics.horizontalAdvance(time) + unit.px(6)
        self._paint_share(painter, line, time_end, share_right, row)

    def _paint_share(
        self, painter: QPainter, line: QRect, left: int, right: int, row: ConversationSummary
    ) -> None:
        """Local's part at the left, API's at the right, of all answers; nothing where there is too little room."""
        unit = theme()
        answers = row.totals.local_answers + row.totals.api_answers
        whole = min(unit.px(_SHARE_WIDTH_PX), right - left)
        if not answers or whole < unit.px(_SHARE_LEAST_PX):
            return
        local = round(whole * row.totals.local_answers / answers)
        if 0 < row.totals.local_answers < answers:
            local = min(max(local, 3), whole - 3)
        top = line.center().y() - unit.px(_SHARE_HEIGHT_PX) // 2 + 1
        bar = QRect(right - whole, top, whole, unit.px(_SHARE_HEIGHT_PX))
        if local:
            painter.fillRect(QRect(bar.left(), top, local, bar.height()), unit.color("local"))
        if local < whole:
            gap = 1 if local else 0
            painter.fillRect(
                QRect(bar.left() + local + gap, top, whole - local - gap, bar.height()), unit.color("api")
            )

    def createEditor(self, parent: QWidget, option: QStyleOptionViewItem, index: Index) -> QWidget:
        editor = _TitleEdit(parent)
        editor.setMaxLength(200)
        set_property(editor, compact=True, role="body")
        editor.setAccessibleName("New title")
        return editor

    def updateEditorGeometry(self, editor: QWidget, option: QStyleOptionViewItem, index: Index) -> None:
        box: QRect = option.rect  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]
        unit = theme()
        editor.setGeometry(box.adjusted(unit.px(2), unit.px(4), -unit.px(2), -unit.px(20)))

    def eventFilter(self, object: QObject, event: QEvent) -> bool:
        if (
            isinstance(object, _TitleEdit)
            and object.composing.is_on
            and isinstance(event, QKeyEvent)
            and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        ):
            return True
        return super().eventFilter(object, event)

    def setModelData(self, editor: QWidget, model: QAbstractItemModel, index: Index) -> None:
        if isinstance(editor, QLineEdit):
            model.setData(index, editor.text())


class _View(QListView):
    delete_pressed = Signal()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        editing = self.state() == QAbstractItemView.State.EditingState
        if event.key() == Qt.Key.Key_Delete and not editing:
            self.delete_pressed.emit()
            return
        super().keyPressEvent(event)


class ConversationList(QWidget):
    """Signals:
    chosen: the id of the conversation to show.
    new_asked, renamed(id, title), delete_asked(id), export_asked(id, "markdown" | "json").
    searched: what to look for, 150 ms after the last key; empty shows everything.
    """

    chosen = Signal(str)
    new_asked = Signal()
    renamed = Signal(str, str)
    delete_asked = Signal(str)
    export_asked = Signal(str, str)
    searched = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        unit = theme()
        self.model = ConversationModel()
        self.model.renamed.connect(self.renamed)
        self._current_id: str | None = None
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search")
        self.search.setAccessibleName("Search conversations")
        self.search.setToolTip("Search titles and messages (Ctrl+K)")
        self.search.setClearButtonEnabled(True)
        set_property(self.search, compact=True, role="small")
        self._lens = IconMark("magnifying-glass", "text2", 16, self.search)
        self._lens.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._search_timer = QTimer(self)
        self._search_timer.setSingleShot(True)
        self._search_timer.setInterval(SEARCH_MS)
        self._search_timer.timeout.connect(lambda: self.searched.emit(self.search.text()))
        self.search.textChanged.connect(lambda: self._search_timer.start())
        self.search.installEventFilter(self)
        self.new_button = IconButton("note-pencil", "New chat (Ctrl+N)", outlined=True, size=28)
        self.new_button.clicked.connect(self.new_asked)
        self.view = _View()
        self.view.setModel(self.model)
        self.view.setItemDelegate(ConversationDelegate(self.view))
        self.view.setAccessibleName("Conversations")
        self.view.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.view.setEditTriggers(QAbstractItemView.EditTrigger.EditKeyPressed)
        self.view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.view.customContextMenuRequested.connect(self._open_menu)
        self.view.setMouseTracking(True)
        self.view.delete_pressed.connect(self._delete_current)
        self.view.selectionModel().currentChanged.connect(self._on_current)
        self._nothing = plain_label()
        self._nothing.setWordWrap(True)
        self._nothing.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignHCenter)
        set_property(self._nothing, role="small", level="3")
        self._nothing.hide()
        top = QHBoxLayout()
        top.setContentsMargins(unit.px(4), 0, unit.px(4), 0)
        top.setSpacing(unit.px(8))
        top.addWidget(self.search, 1)
        top.addWidget(self.new_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(unit.px(8), unit.px(12), unit.px(8), unit.px(8))
        column.setSpacing(unit.px(8))
        column.addLayout(top)
        column.addWidget(self._nothing)
        column.addWidget(self.view, 1)
        theme().changed.connect(self._restyle)
        self._restyle()

    def _restyle(self) -> None:
        # Its own ground: a list in a card is white, this one is part of the page.
        self.view.setStyleSheet("QListView { background: transparent; border: none; }")
        self.view.doItemsLayout()
        unit = theme()
        self.search.setTextMargins(unit.px(22), 0, 0, 0)
        self._lens.move(unit.px(9), (unit.px(28) - unit.px(16)) // 2)

    def show_summaries(self, summaries: tuple[ConversationSummary, ...], nothing: str = "") -> None:
        """Show these rows; ``nothing`` is said when there are none. Not while a title is being edited."""
        if self.view.state() == QAbstractItemView.State.EditingState:
            return
        bar = self.view.verticalScrollBar()
        place = bar.value()
        self.model.set_summaries(summaries)
        self._select(self._current_id)
        bar.setValue(place)
        self._nothing.setText(nothing)
        self._nothing.setVisible(not summaries and bool(nothing))

    def set_current(self, conversation_id: str | None) -> None:
        """Mark the conversation that is shown, without a signal."""
        self._current_id = conversation_id
        self._select(conversation_id)

    def focus_search(self) -> None:
        self.search.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.search.selectAll()

    def edit_title(self, conversation_id: str) -> None:
        """Begin the inline edit of a row."""
        index = self.model.index_of(conversation_id)
        if index.isValid():
            self.view.scrollTo(index)
            self.view.edit(index)

    def _select(self, conversation_id: str | None) -> None:
        selection = self.view.selectionModel()
        selection.blockSignals(True)
        index = self.model.index_of(conversation_id) if conversation_id else QModelIndex()
        self.view.setCurrentIndex(index)
        if not index.isValid():
            self.view.clearSelection()
        selection.blockSignals(False)
        self.view.viewport().update()

    def _on_current(self, current: QModelIndex | QPersistentModelIndex) -> None:
        row = self.model.row_at(current)
        if isinstance(row, ConversationSummary) and row.id != self._current_id:
            self._current_id = row.id
            self.chosen.emit(row.id)

    def _delete_current(self) -> None:
        row = self.model.row_at(self.view.currentIndex())
        if isinstance(row, ConversationSummary):
            self.delete_asked.emit(row.id)

    def _open_menu(self, place: QPoint) -> None:
        row = self.model.row_at(self.view.indexAt(place))
        if not isinstance(row, ConversationSummary):
            return
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addAction("Rename\tF2", lambda: self.edit_title(row.id))
        menu.addAction("Export as Markdown…", lambda: self.export_asked.emit(row.id, "markdown"))
        menu.addAction("Export as JSON…", lambda: self.export_asked.emit(row.id, "json"))
        menu.addSeparator()
        menu.addAction("Delete\tDel", lambda: self.delete_asked.emit(row.id))
        menu.popup(self.view.viewport().mapToGlobal(place))

    def eventFilter(self, watched: object, event: QEvent) -> bool:
        if watched is self.search and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            if event.key() == Qt.Key.Key_Down:
                self.view.setFocus(Qt.FocusReason.OtherFocusReason)
                return True
            if event.key() == Qt.Key.Key_Escape and self.search.text():
                self.search.clear()
                return True
        return False
