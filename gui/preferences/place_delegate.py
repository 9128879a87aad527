"""Draws an entry of the list at the left: a section in one line, or a found setting with its section below."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRect, Qt
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem

from gui.theme import theme

SECTION_ROLE = Qt.ItemDataRole.UserRole + 1
"""The section's title under a found setting; unset for a section itself."""


class PlaceDelegate(QStyledItemDelegate):
    """Background and focus ring are the style sheet's; only the second line is painted here."""

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        section = index.data(SECTION_ROLE)
        if not section:
            super().paint(painter, option, index)
            return
        self.initStyleOption(option, index)
        name = str(index.data(Qt.ItemDataRole.DisplayRole))
        option.text = ""  # pyright: ignore[reportAttributeAccessIssue]
        widget = option.widget  # pyright: ignore[reportAttributeAccessIssue]
        style = widget.style()
        style.drawControl(QStyle.ControlElement.CE_ItemViewItem, option, painter, widget)
        look = theme()
        box: QRect = option.rect.adjusted(look.px(12) + 8, look.px(4), -8 - look.px(8), -look.px(4))  # pyright: ignore
        half = box.height() // 2
        lines = (
            (name, look.font("body"), "text", QRect(box.left(), box.top(), box.width(), half)),
            (
                str(section),
                look.font("caption"),
                "text2",
                QRect(box.left(), box.top() + half, box.width(), half),
            ),
        )
        painter.save()
        for words, font, token, place in lines:
            painter.setFont(font)
            painter.setPen(look.color(token))
            shown = painter.fontMetrics().elidedText(words, Qt.TextElideMode.ElideRight, place.width())
            painter.drawText(place, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, shown)
        painter.restore()
