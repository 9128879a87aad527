"""The rows of the list: conversations under captions by day, as Qt's views read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from PySide6.QtCore import (
    QAbstractListModel,
    QModelIndex,
    QPersistentModelIndex,
    Qt,
    Signal,
)

from core import format_cost
from gui.chat.storage.models import ConversationSummary, Totals

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
