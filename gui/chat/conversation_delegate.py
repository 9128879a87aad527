"""How a row of the list is drawn and its title edited."""

from __future__ import annotations

from datetime import datetime

from PySide6.QtCore import (
    QAbstractItemModel,
    QEvent,
    QObject,
    QRect,
    QRectF,
    QSize,
    Qt,
)
from PySide6.QtGui import QInputMethodEvent, QKeyEvent, QPainter, QPainterPath
from PySide6.QtWidgets import (
    QLineEdit,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from gui.chat.conversation_model import Caption, ConversationModel, Group, Index, cost_words, days_left, when
from gui.chat.storage.models import ConversationSummary, DeletedConversation
from gui.theme.icons import paint_icon
from gui.theme.theme import set_property, theme
from gui.widgets.composing import Composing
from gui.widgets.marks import paint_focus_ring

_ROW_PX, _CAPTION_PX, _GROUP_PX, _INSIDE_PX = 52, 28, 32, 12
_LEFT = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft
_SHARE_WIDTH_PX, _SHARE_LEAST_PX, _SHARE_HEIGHT_PX = 40, 16, 4


class _TitleEdit(QLineEdit):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.composing = Composing(self)

    def inputMethodEvent(self, arg__1: QInputMethodEvent) -> None:
        self.composing.note(arg__1)
        super().inputMethodEvent(arg__1)


class ConversationDelegate(QStyledItemDelegate):
    """Two lines: the title; the time, the share of Local and API, and the cost. A group's header is one line."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        model = index.model()
        row = model.row_at(index) if isinstance(model, ConversationModel) else None
        height = _CAPTION_PX if isinstance(row, Caption) else _GROUP_PX if isinstance(row, Group) else _ROW_PX
        return QSize(100, theme().px(height))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        model = index.model()
        row = model.row_at(index) if isinstance(model, ConversationModel) else None
        box: QRect = option.rect  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if isinstance(row, Caption):
            self._paint_caption(painter, box, row)
        elif row is not None and isinstance(model, ConversationModel):
            selected = self._paint_ground(painter, box, option)
            if isinstance(row, Group):
                self._paint_group(painter, box, row)
            elif isinstance(row, DeletedConversation):
                self._paint_deleted(painter, box, selected, row, model.now)
            else:
                if model.is_inside(row):
                    box = box.adjusted(theme().px(_INSIDE_PX), 0, 0, 0)
                self._paint_row(painter, box, selected, row, model.time_of(row))
        painter.restore()

    def _paint_caption(self, painter: QPainter, box: QRect, row: Caption) -> None:
        unit = theme()
        painter.setFont(unit.font("caption", 500))
        painter.setPen(unit.color("text3"))
        inner = box.adjusted(unit.px(10), unit.px(6), 0, 0)
        painter.drawText(inner, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, row.text)

    def _paint_ground(self, painter: QPainter, box: QRect, option: QStyleOptionViewItem) -> bool:
        """Draw what is selected, hovered or has the focus; returns whether it is selected."""
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
        return selected

    def _paint_group(self, painter: QPainter, box: QRect, row: Group) -> None:
        unit = theme()
        size = unit.px(12)
        top = box.center().y() - size // 2 + 1
        icon = QRectF(box.left() + unit.px(8), top, size, size)
        paint_icon(painter, icon, "caret-down" if row.is_open else "caret-right", unit.color("text2"))
        painter.setFont(unit.font("small", 500))
        painter.setPen(unit.color("text2"))
        count = f"{row.count:,}"
        right = box.right() - unit.px(9)
        width = painter.fontMetrics().horizontalAdvance(count)
        left = round(icon.right()) + unit.px(6)
        words = QRect(left, box.top(), right - width - unit.px(8) - left, box.height())
        shown = painter.fontMetrics().elidedText(row.text, Qt.TextElideMode.ElideRight, words.width())
        painter.drawText(words, _LEFT | Qt.TextFlag.TextSingleLine, shown)
        painter.drawText(QRect(right - width, box.top(), width + 1, box.height()), _LEFT, count)

    def _paint_title(self, painter: QPainter, box: QRect, title: str, token: str) -> QRect:
        """Draw the first line; returns where the second one goes."""
        unit = theme()
        left, right = box.left() + unit.px(10), box.right() - unit.px(9)
        line = QRect(left, box.top() + unit.px(8), right - left, unit.px(20))
        painter.setFont(unit.font("body", 500))
        painter.setPen(unit.color(token))
        shown = painter.fontMetrics().elidedText(title, Qt.TextElideMode.ElideRight, line.width())
        painter.drawText(line, _LEFT | Qt.TextFlag.TextSingleLine, shown)
        return QRect(left, box.top() + unit.px(28), right - left, unit.px(16))

    def _paint_deleted(
        self, painter: QPainter, box: QRect, selected: bool, row: DeletedConversation, now: datetime
    ) -> None:
        unit = theme()
        box = box.adjusted(unit.px(_INSIDE_PX), 0, 0, 0)
        line = self._paint_title(painter, box, row.title, "text2")
        painter.setFont(unit.font("small"))
        painter.setPen(unit.color("text2" if selected else "text3"))
        painter.drawText(line, _LEFT, f"Deleted {when(row.deleted_at, now, under_its_day=False)}")
        painter.drawText(
            line, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, days_left(row, now)
        )

    def _paint_row(
        self, painter: QPainter, box: QRect, selected: bool, row: ConversationSummary, time: str
    ) -> None:
        unit = theme()
        line = self._paint_title(painter, box, row.title, "text")
        left, right, flags = line.left(), line.right() + 1, _LEFT
        painter.setFont(unit.font("small"))
        painter.setPen(unit.color("text2" if selected else "text3"))
        cost = cost_words(row.totals) or ("–" if row.answered_elsewhere else "")
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
        model = index.model()
        is_group = isinstance(model, ConversationModel) and isinstance(model.row_at(index), Group)
        editor.setAccessibleName("New name of this folder" if is_group else "New title")
        return editor

    def updateEditorGeometry(self, editor: QWidget, option: QStyleOptionViewItem, index: Index) -> None:
        box: QRect = option.rect  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]
        unit = theme()
        below = unit.px(20) if box.height() > unit.px(_GROUP_PX) else 0
        editor.setGeometry(
            box.adjusted(unit.px(2), unit.px(4 if below else 2), -unit.px(2), -(below or unit.px(2)))
        )

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
