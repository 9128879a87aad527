"""All keys of the panel, in one table that can be searched and copied from."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from gui.preferences.catalogue import SectionText
from gui.preferences.section import Section
from gui.theme.theme import theme
from gui.widgets.card import Card


@dataclass(frozen=True, slots=True)
class Shortcut:
    """``keys`` in Qt's portable spelling; shown as the platform writes them (⌘ on a Mac)."""

    keys: str
    action: str
    where: str


SHORTCUTS: tuple[Shortcut, ...] = (
    Shortcut("Ctrl+1", "Open Chat; the next digits open the pages below it", "Everywhere"),
    Shortcut("Ctrl+,", "Open Preferences", "Everywhere"),
    Shortcut("F1", "Help: Welcome, shortcuts, files, log", "Everywhere"),
    Shortcut("F6", "Go on to the next part: rail, list, messages, composer, options", "Everywhere"),
    Shortcut("Shift+F6", "Go back to the part before", "Everywhere"),
    Shortcut("Ctrl++", "Larger", "Everywhere"),
    Shortcut("Ctrl+-", "Smaller", "Everywhere"),
    Shortcut("Ctrl+0", "Back to 100 %", "Everywhere"),
    Shortcut("Ctrl+Q", "Quit", "Everywhere"),
    Shortcut("Down", "Go to the next message; Up goes to the one before", "Chat, message"),
    Shortcut("Return", "List what can be done with it", "Chat, message"),
    Shortcut("Return", "Send", "Chat, composer"),
    Shortcut("Shift+Return", "New line", "Chat, composer"),
    Shortcut("Esc", "Stop the answer, else close what is open on top", "Chat"),
    Shortcut("Ctrl+N", "New conversation", "Chat"),
    Shortcut("Ctrl+B", "Hide or show the list of conversations", "Chat"),
    Shortcut("Ctrl+L", "Choose the chat’s model", "Chat"),
    Shortcut("Ctrl+K", "Search titles and messages", "Chat"),
    Shortcut("Ctrl+F", "Find in the chat", "Chat"),
    Shortcut("F3", "Go to the next match; Shift+F3 to the one before", "Chat"),
    Shortcut("Ctrl+F", "Find in the local server’s log", "Machine"),
    Shortcut("F3", "Go to the next line found; Shift+F3 to the one before", "Machine, log"),
    Shortcut("Ctrl+F", "Find a setting", "Preferences"),
    Shortcut("Alt+Left", "Back to where you were led here from", "Preferences"),
    Shortcut("Esc", "Give up an entry and show the value that holds", "Preferences, a field"),
    Shortcut("Return", "Apply", "Preferences, a field"),
)


class ShortcutsSection(Section):
    """One read-only table: what the key does, the key, and where it works."""

    def __init__(self, text: SectionText, shortcuts: tuple[Shortcut, ...] = SHORTCUTS) -> None:
        super().__init__(text)
        card = Card()
        card.body.setContentsMargins(8, 6, 8, 6)
        self.table = QTableWidget(len(shortcuts), 3)
        self.table.setHorizontalHeaderLabels(["Action", "Keys", "Where"])
        self.table.setStyleSheet("QTableWidget::item { padding: 0 8px; }")
        self.table.setAccessibleName("Keyboard shortcuts")
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setTabKeyNavigation(False)
        self.table.setShowGrid(False)
        self.table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.table.verticalHeader().hide()
        header = self.table.horizontalHeader()
        header.setHighlightSections(False)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.ResizeToContents)
        for row, shortcut in enumerate(shortcuts):
            keys = QKeySequence(shortcut.keys).toString(QKeySequence.SequenceFormat.NativeText)
            for column, words in enumerate(
                (shortcut.action, keys.replace("Return", "Enter"), shortcut.where)
            ):
                item = QTableWidgetItem(words)
                if column == 2:
                    item.setForeground(theme().color("text2"))
                self.table.setItem(row, column, item)
        card.body.addWidget(self.table)
        self.add_card(card)
        self.anchors["table"] = self.table
        self._rows_due = QTimer(self)
        self._rows_due.setSingleShot(True)
        self._rows_due.timeout.connect(self._fit_rows)
        header.sectionResized.connect(lambda: self._rows_due.start(0))  # once for all columns
        theme().changed.connect(self._restyle_table)
        self._restyle_table()

    def _restyle_table(self) -> None:
        rows = self.table.verticalHeader()
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        rows.setDefaultSectionSize(theme().px(28))
        for row in range(self.table.rowCount()):
            item = self.table.item(row, 2)
            if item is not None:
                item.setForeground(theme().color("text2"))
        self._fit_rows()
        self._rows_due.start(0)

    def _fit_rows(self) -> None:
        """A row is as high as its words need; the page scrolls, not the table in it."""
        least, all_rows = theme().px(28), 0
        for row in range(self.table.rowCount()):
            height = max(least, self.table.sizeHintForRow(row))
            self.table.setRowHeight(row, height)
            all_rows += height
        header = max(self.table.horizontalHeader().sizeHint().height(), least)
        self.table.setFixedHeight(header + all_rows + 2)
