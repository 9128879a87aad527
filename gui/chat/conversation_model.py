"""The rows of the list, as Qt's views read them: pinned, in folders, by day, and recently deleted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
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

from gui.chat.storage.models import ConversationSummary, DeletedConversation, Totals
from gui.chat.storage.store import LISTED

Index = QModelIndex | QPersistentModelIndex
SUMMARY_ROLE = Qt.ItemDataRole.UserRole.value + 1


DELETED = "deleted"
FOLDER = "folder:"


@dataclass(frozen=True, slots=True)
class Caption:
    """A line such as "Today" above the conversations of a time."""

    text: str


@dataclass(frozen=True, slots=True)
class Group:
    """The header of rows that open and close: ``DELETED``, or ``FOLDER`` and a folder's name, is its ``key``."""

    key: str
    text: str
    count: int
    is_open: bool

    @property
    def folder(self) -> str:
        """The folder's name, empty where it is none."""
        return self.key.removeprefix(FOLDER) if self.key.startswith(FOLDER) else ""


Row = Caption | Group | ConversationSummary | DeletedConversation


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


def when(moment: datetime, now: datetime, *, under_its_day: bool = True) -> str:
    """Return the time, the weekday or the date, whichever says most in few letters."""
    local, today = moment.astimezone(), now.astimezone().date()
    if local.date() == today - timedelta(days=1) and not under_its_day:
        return "Yesterday"
    if local.date() >= today - timedelta(days=1):
        return f"{local:%H:%M}"
    if local.date() > today - timedelta(days=7):
        return f"{local:%a}"
    return f"{local.day} {local:%b}" if local.year == today.year else f"{local.day} {local:%b %Y}"


def cost_words(totals: Totals) -> str:
    """Return what a conversation cost so far; nothing for one without an answer, and unknown never as zero."""
    return totals.cost_figure


class ConversationModel(QAbstractListModel):
    """Pinned conversations, folders by name, the others by day, and at the end what was deleted.

    Signals:
        renamed: an id and its new title, after an inline edit.
        folder_renamed: a folder and its new name, after an inline edit.
    """

    renamed = Signal(str, str)
    folder_renamed = Signal(str, str)

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[Row] = []
        self._summaries: tuple[ConversationSummary, ...] = ()
        self._deleted: tuple[DeletedConversation, ...] = ()
        self._is_search = False
        self.closed: frozenset[str] = frozenset({DELETED})
        """The keys of the groups whose rows are not shown."""
        self.now = datetime.now().astimezone()

    def set_summaries(
        self,
        summaries: Sequence[ConversationSummary],
        deleted: Sequence[DeletedConversation] = (),
        *,
        is_search: bool = False,
    ) -> None:
        """Show other conversations, newest first; what a search found is told apart by day only."""
        self._summaries, self._deleted, self._is_search = tuple(summaries), tuple(deleted), is_search
        self._lay_out()

    def take_away(self, conversation_id: str) -> None:
        self._summaries = tuple(row for row in self._summaries if row.id != conversation_id)
        self._lay_out()

    def toggle(self, key: str) -> None:
        """Open or close a group."""
        self.closed ^= {key}
        self._lay_out()

    def set_closed(self, keys: Iterable[str]) -> None:
        self.closed = frozenset(keys)
        self._lay_out()

    def _lay_out(self) -> None:
        """Show the rows again where they, or the day that their times are told by, changed."""
        before = self.now.date()
        self.now = datetime.now().astimezone()
        rows = self._laid_out_rows()
        if rows == self._rows and before == self.now.date():
            return  # a new layout of 2,000 rows takes 15 ms
        self.beginResetModel()
        self._rows = rows
        self.endResetModel()

    def _laid_out_rows(self) -> list[Row]:
        today = self.now.date()
        rows: list[Row] = []
        folders: dict[str, list[ConversationSummary]] = {}
        pinned: list[ConversationSummary] = []
        others: list[ConversationSummary] = []
        for summary in self._summaries:
            if self._is_search:
                others.append(summary)
            elif summary.pinned:
                pinned.append(summary)
            elif summary.folder:
                folders.setdefault(summary.folder, []).append(summary)
            else:
                others.append(summary)
        if pinned:
            rows += [Caption("Pinned"), *pinned]
        for folder in _by_name(folders):
            rows += self._group(f"{FOLDER}{folder}", folder, folders[folder])
        caption = ""
        for summary in others:
            group = group_of(summary.updated_at.astimezone().date(), today)
            if group != caption:
                caption = group
                rows.append(Caption(group))
            rows.append(summary)
        if len(self._summaries) >= LISTED and not self._is_search:
            rows.append(Caption("Older chats: search for them"))
        left = [item for item in self._deleted if item.gone_at > self.now]
        if left:
            days = (left[0].gone_at - left[0].deleted_at).days
            rows += self._group(
                DELETED, "Recently deleted", left, f"Kept for {days} days, then gone for good"
            )
        return rows

    def _group(
        self,
        key: str,
        text: str,
        inside: Sequence[ConversationSummary | DeletedConversation],
        note: str = "",
    ) -> list[Row]:
        is_open = key not in self.closed
        header = Group(key, text, len(inside), is_open)
        notes = [Caption(note)] if note else []
        return [header, *notes, *inside] if is_open else [header]

    def row_at(self, index: Index) -> Row | None:
        return self._rows[index.row()] if index.isValid() and index.row() < len(self._rows) else None

    def index_of(self, conversation_id: str) -> QModelIndex:
        """Return where a conversation that is not deleted is shown, an invalid index where it isn't."""
        for number, row in enumerate(self._rows):
            if isinstance(row, ConversationSummary) and row.id == conversation_id:
                return self.index(number)
        return QModelIndex()

    def index_of_group(self, key: str) -> QModelIndex:
        for number, row in enumerate(self._rows):
            if isinstance(row, Group) and row.key == key:
                return self.index(number)
        return QModelIndex()

    def group_above(self, index: Index) -> QModelIndex:
        """Return the header of the group that a row is in, an invalid index where it is in none."""
        row = self.row_at(index)
        if isinstance(row, DeletedConversation):
            return self.index_of_group(DELETED)
        if isinstance(row, ConversationSummary) and self.is_inside(row):
            return self.index_of_group(f"{FOLDER}{row.folder}")
        return QModelIndex()

    def is_inside(self, row: ConversationSummary) -> bool:
        """Whether it stands under its folder's header."""
        return bool(row.folder) and not row.pinned and not self._is_search

    def time_of(self, row: ConversationSummary) -> str:
        """Return when it was last used: the time alone only where a caption above names the day."""
        under_its_day = self._is_search or not (row.pinned or row.folder)
        return when(row.updated_at, self.now, under_its_day=under_its_day)

    def summary(self, conversation_id: str) -> ConversationSummary | None:
        """Return a conversation of the list, shown or in a closed folder."""
        return next((row for row in self._summaries if row.id == conversation_id), None)

    def beside(self, conversation_id: str) -> str | None:
        """Return the conversation shown below one, else the one above it, ``None`` where it is alone."""
        ids = self.ids()
        if conversation_id not in ids:
            return ids[0] if ids else None
        place = ids.index(conversation_id)
        near = ids[place + 1 : place + 2] or ids[max(0, place - 1) : place]
        return near[0] if near else None

    def folders(self) -> list[str]:
        """Return the folders' names, in order."""
        return sorted(
            {row.folder for row in self._summaries if row.folder}, key=lambda name: (name.casefold(), name)
        )

    def titles(self) -> dict[str, str]:
        """Return the listed conversations' titles by their ids."""
        return {row.id: row.title for row in self._summaries}

    def deleted_near(self, conversation_id: str, number: int) -> QModelIndex:
        """Return where a deleted conversation is shown, or the one nearest to the ``number`` of its row."""
        shown = {at: row.id for at, row in enumerate(self._rows) if isinstance(row, DeletedConversation)}
        if not shown:
            return self.index_of_group(DELETED)
        return self.index(min(shown, key=lambda at: (shown[at] != conversation_id, abs(at - number))))

    def deleted_title(self, conversation_id: str) -> str:
        return next((row.title for row in self._deleted if row.id == conversation_id), "")

    def deleted_ids(self) -> list[str]:
        return [row.id for row in self._deleted]

    def ids(self) -> list[str]:
        """Return what is shown, from the top."""
        return [row.id for row in self._rows if isinstance(row, ConversationSummary)]

    # What Qt calls

    def rowCount(self, parent: Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self._rows)

    def flags(self, index: Index) -> Qt.ItemFlag:
        row = self.row_at(index)
        if row is None or isinstance(row, Caption):
            return Qt.ItemFlag.NoItemFlags
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemNeverHasChildren
        if isinstance(row, ConversationSummary) or (isinstance(row, Group) and row.folder):
            flags |= Qt.ItemFlag.ItemIsEditable
        return flags

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = self.row_at(index)
        if row is None:
            return None
        words = row.text if isinstance(row, Caption | Group) else row.title
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return words
        if role == Qt.ItemDataRole.ToolTipRole and not isinstance(row, Caption):
            return words
        if role == Qt.ItemDataRole.AccessibleTextRole and not isinstance(row, Caption):
            return spoken(row, self.now)
        if role == SUMMARY_ROLE and isinstance(row, ConversationSummary):
            return row
        return None

    def setData(self, index: Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        row = self.row_at(index)
        words = " ".join(str(value).split())
        if isinstance(row, ConversationSummary) and words and words != row.title:
            self.renamed.emit(row.id, words)
        elif isinstance(row, Group) and row.folder and words and words != row.folder:
            self.folder_renamed.emit(row.folder, words)
        else:
            return False
        return True


def _by_name(folders: Iterable[str]) -> list[str]:
    return sorted(folders, key=lambda name: (name.casefold(), name))


def days_left(row: DeletedConversation, now: datetime) -> str:
    """Return how long a deleted conversation can still be restored."""
    days = math.ceil((row.gone_at - now) / timedelta(days=1))
    return f"{days} day{'s'[: days != 1]} left"


def spoken(row: ConversationSummary | DeletedConversation | Group, now: datetime) -> str:
    """A row as a sentence for a screen reader."""
    if isinstance(row, Group):
        state = "open" if row.is_open else "closed"
        return f"{row.text}, {'folder, ' if row.folder else ''}{row.count:,} chat{'s'[: row.count != 1]}, {state}"
    if isinstance(row, DeletedConversation):
        return f"{row.title}, deleted {when(row.deleted_at, now, under_its_day=False)}, {days_left(row, now)}"
    totals = row.totals
    parts = [row.title, when(row.updated_at, now, under_its_day=False)]
    if row.pinned:
        parts.append("pinned")
    if totals.answers:
        parts.append(f"{totals.local_answers:,} Local, {totals.api_answers:,} API")
        parts.append(cost_words(totals))
    elif row.answered_elsewhere:
        parts.append("imported, cost not known")
    if row.has_draft:
        parts.append("has a draft")
    return ", ".join(part for part in parts if part)
