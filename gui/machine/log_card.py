"""The local server's log: live while it is seen, searched, held, filtered, copied and saved."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from PySide6.QtCore import QEvent, QObject, QSize, Qt, QTimer, Signal
from PySide6.QtGui import (
    QAction,
    QActionGroup,
    QHideEvent,
    QKeyEvent,
    QKeySequence,
    QShortcut,
    QShowEvent,
)
from PySide6.QtWidgets import QFileDialog, QFrame, QHBoxLayout, QLineEdit, QMenu, QPushButton, QWidget

from core import LogLine, counted, writing_whole
from core.errors import SignalboxError
from gui.machine.controller import MachineController
from gui.shell.pages import Shell
from gui.theme.theme import set_property, theme
from gui.widgets.card import Card
from gui.widgets.copying import announce
from gui.widgets.icon_button import IconButton
from gui.widgets.labels import ResultLine, label
from gui.widgets.log_lines import KEPT_LINES, LevelFilter, line_text
from gui.widgets.log_view import LogView
from gui.widgets.segmented import SegmentedSwitch

POLL_MS = 100
"""How often new lines are asked for: at 5,000 lines a second 500 come at once."""
FILE_NAME = "local-server.log"
_LEVELS: tuple[tuple[LevelFilter, str], ...] = (
    ("all", "All lines"),
    ("warning", "Warnings and errors"),
    ("error", "Errors only"),
)
EMPTY = "No lines yet. The server’s log appears here while it starts and runs."


class LogCard(Card):
    """Asks the core for what is new while it is in sight, and only then.

    Signals:
        search_opened: Ctrl+F; the card has to be in view.
    """

    search_opened = Signal()

    def __init__(self, shell: Shell, controller: MachineController) -> None:
        super().__init__()
        self._shell, self._controller = shell, controller
        self._cursor = controller.log_cleared_at
        self.setAccessibleName("Log")
        self.body.setContentsMargins(1, 1, 1, 1)
        self.body.setSpacing(0)
        self.view = LogView()
        self.view.setAccessibleName("Log of the local server")
        self.view.set_empty_text(EMPTY)
        self._make_head()
        self._make_strip()
        self.body.addWidget(self._head)
        self.body.addWidget(self._strip)
        line = QFrame()
        set_property(line, hairline=True)
        self.body.addWidget(line)
        self.body.addWidget(self.view, 1)
        self._poll = QTimer(self)
        self._poll.setInterval(POLL_MS)
        self._poll.timeout.connect(self._ask)
        self.view.following_changed.connect(self._on_following)
        self.view.new_counted.connect(self._show_strip)
        self.view.found.connect(self._on_found)
        self._make_shortcuts()
        theme().changed.connect(self._restyle)
        self._restyle()
        self._show_strip()

    def _make_head(self) -> None:
        self._head = QWidget()
        self._row = QHBoxLayout(self._head)
        self._row.addWidget(label("Log", "body", weight=600))
        self.search = QLineEdit()
        self.search.setPlaceholderText("Find")
        self.search.setAccessibleName("Find in the log")
        self.search.setClearButtonEnabled(True)
        self._search_icon = QAction(theme().icon("magnifying-glass", "text3"), "", self.search)
        self.search.addAction(self._search_icon, QLineEdit.ActionPosition.LeadingPosition)
        set_property(self.search, compact=True, role="small")
        self.search.textChanged.connect(self._on_needle)
        self.search.installEventFilter(self)
        self._row.addWidget(self.search, 1)
        self.follow = SegmentedSwitch(
            [("follow", "Follow", None), ("hold", "Hold", None)], accessible_name="New lines"
        )
        self.follow.segment("follow").setToolTip("Keep the newest line in sight (End)")
        self.follow.segment("hold").setToolTip("Stay here while new lines come; scrolling up does the same")
        self.follow.value_changed.connect(self._on_follow_chosen)
        self._row.addWidget(self.follow)
        self.level = IconButton("funnel", "Levels: all lines")
        self.level.clicked.connect(self._open_levels)
        self.copy_button = IconButton("copy", "Copy the selected lines, or all")
        self.copy_button.clicked.connect(self._copy)
        self.save_button = IconButton("floppy-disk", "Save the log to a file")
        self.save_button.clicked.connect(self._ask_where)
        self.clear_button = IconButton("trash", "Clear the log here")
        self.clear_button.clicked.connect(self.clear)
        for button in (self.level, self.copy_button, self.save_button, self.clear_button):
            self._row.addWidget(button)

    def _make_strip(self) -> None:
        """What is only sometimes there to say, under the head."""
        self._strip = QWidget()
        self._strip_row = QHBoxLayout(self._strip)
        self.count = label("", "small", level="2", tabular=True)
        self.back = IconButton("caret-up", "Previous line found (Shift+F3)", size=24)
        self.back.clicked.connect(partial(self.view.step, -1))
        self.forward = IconButton("caret-down", "Next line found (F3)", size=24)
        self.forward.clicked.connect(partial(self.view.step, 1))
        self.told = ResultLine()
        self.cleared = label("Cleared.", "small", level="2")
        self.show_again = QPushButton("Show again")
        self.show_again.setAccessibleName("Show the lines again that were cleared")
        self.show_again.clicked.connect(self.bring_back)
        self.new_lines = QPushButton("")
        self.new_lines.clicked.connect(self._follow_again)
        for button in (self.show_again, self.new_lines):
            set_property(button, tiny=True, flat=True, strong=True, role="small", weight=600)
        for widget in (self.count, self.back, self.forward, self.cleared, self.show_again):
            self._strip_row.addWidget(widget)
        self._strip_row.addWidget(self.told, 1)
        self._strip_row.addStretch()
        self._strip_row.addWidget(self.new_lines)

    def _make_shortcuts(self) -> None:
        find = QShortcut(QKeySequence("Ctrl+F"), self)  # wherever the focus is, while the card can be seen
        find.activated.connect(self._open_search)
        for keys, act in (
            ("F3", partial(self.view.step, 1)),
            ("Shift+F3", partial(self.view.step, -1)),
        ):
            shortcut = QShortcut(QKeySequence(keys), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(act)

    def _restyle(self) -> None:
        px = theme().px
        self._row.setContentsMargins(px(14), px(8), px(10), px(8))
        self._row.setSpacing(px(6))
        self._strip_row.setContentsMargins(px(14), 0, px(10), px(6))
        self._strip_row.setSpacing(px(6))
        self.search.setMinimumWidth(px(80))
        self.setMinimumHeight(px(110))

    # New lines

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._ask()
        self._poll.start()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._poll.stop()

    def _ask(self) -> None:
        if self._shell.bridge.status is not None and not self._controller.tasks.runs("log"):
            self._controller.tasks.start(self._read(), key="log")

    async def _read(self) -> None:
        cursor, bridge = self._cursor, self._shell.bridge
        try:
            page = await bridge.run_blocking(bridge.core.local_log_page, cursor, KEPT_LINES)
        except SignalboxError as failed:
            self._tell("danger", "The log can’t be read.", str(failed))
            return
        if cursor == self._cursor:  # it was not cleared meanwhile
            self._cursor = page.next_cursor
            dropped = page.dropped if cursor > 0 or page.lines else 0
            self.view.append(page.lines, dropped)

    def clear(self) -> None:
        """Show only what comes from here on, until ``bring_back``."""
        self._controller.log_cleared_at = self._cursor
        self.view.clear()
        self.view.set_following(True)
        self._show_strip()
        announce(self.view, "Log cleared")

    def bring_back(self) -> None:
        """Show again what was cleared."""
        self._controller.log_cleared_at = self._cursor = 0
        self.view.clear()
        self._show_strip()
        self.view.setFocus()
        self._ask()

    # Follow and hold

    def _on_following(self, following: bool) -> None:
        self.follow.set_value("follow" if following else "hold")
        self._show_strip()

    def _on_follow_chosen(self, value: str) -> None:
        self.view.set_following(value == "follow")

    def _follow_again(self) -> None:
        self.view.setFocus()
        self.view.set_following(True)

    # Find and filter

    def _open_search(self) -> None:
        self.search_opened.emit()
        self.search.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.search.selectAll()

    def _on_needle(self, text: str) -> None:
        self.view.search_for(text)
        self._show_strip()

    def _on_found(self, number: int, count: int, is_over: bool) -> None:
        if not count:
            words = "Not found" if is_over else "Searching"
        else:
            words = f"{number:,} of {count:,}" if number else f"{count:,} lines"
        self.count.setText(words)
        for button in (self.back, self.forward):
            button.setEnabled(count > 0)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Enter goes to the next line that was found, Esc leaves the search."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self.view.step(-1 if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 1)
                announce(self.search, self.count.text())
                return True
            if event.key() == Qt.Key.Key_Escape and self.search.text():
                self.search.clear()
                self.view.setFocus()
                return True
        return super().eventFilter(watched, event)

    def _open_levels(self) -> None:
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        group = QActionGroup(menu)
        for level, words in _LEVELS:
            action = menu.addAction(words, partial(self.set_level, level))
            action.setCheckable(True)
            action.setChecked(level == self.view.lines.filter)
            group.addAction(action)
        menu.popup(self.level.mapToGlobal(self.level.rect().bottomLeft()))

    def set_level(self, level: LevelFilter) -> None:
        """Show only lines of a level, and those that are worse."""
        words = dict(_LEVELS)[level]
        self.level.set_icon(
            "funnel" if level == "all" else "funnel-fill", "text2" if level == "all" else "text"
        )
        self.level.set_name(f"Levels: {words[0].lower()}{words[1:]}")
        self.view.set_filter(level)

    # Copy and save

    def _copy(self) -> None:
        words = f"{counted(self.view.copy(), 'line')} copied"
        self._tell("ok", "", f"{words}.")
        announce(self.copy_button, words)

    def _ask_where(self) -> None:
        dialog = QFileDialog(self, "Save the log")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.selectFile(FILE_NAME)
        dialog.fileSelected.connect(self._on_file)
        dialog.open()

    def _on_file(self, name: str) -> None:
        self.save_to(Path(name))

    def save_to(self, path: Path) -> None:
        """Write every line that is kept to a file, whatever the filter, whole or not at all."""
        self._controller.tasks.start(self._save(path, tuple(self.view.lines.kept)))

    async def _save(self, path: Path, lines: Sequence[LogLine]) -> None:
        try:
            await self._shell.bridge.run_blocking(_write, path, lines)
        except OSError as error:
            why = error.strerror or str(error)
            self._tell("danger", "Not saved.", f"{path.name} can’t be written: {why}. Choose another folder.")
            return
        self._tell("ok", "Saved.", f"{len(lines):,} lines in {path.name}.")
        announce(self.save_button, f"Saved {path.name}")

    # The strip

    def _tell(self, tone: str, word: str, text: str) -> None:
        self.told.tell("danger" if tone == "danger" else "ok", word, text)
        self._show_strip()
        if tone != "danger":
            QTimer.singleShot(6_000, self, self._forget_told)

    def _forget_told(self) -> None:
        if self.told.tone != "danger":
            self.told.clear()
            self._show_strip()

    def _show_strip(self) -> None:
        is_searched = bool(self.search.text())
        for widget in (self.count, self.back, self.forward):
            widget.setVisible(is_searched)
        is_cleared = self._controller.log_cleared_at > 0
        self.cleared.setVisible(is_cleared)
        self.show_again.setVisible(is_cleared)
        new = self.view.new_count
        self.new_lines.setVisible(new > 0)
        if new:
            self.new_lines.setText(f"{new:,} new")
            self.new_lines.setAccessibleName(f"{counted(new, 'new line')}: follow them")
        self._strip.setVisible(is_searched or is_cleared or new > 0 or bool(self.told.text))

    def sizeHint(self) -> QSize:
        return QSize(super().sizeHint().width(), theme().px(260))


def _write(path: Path, lines: Sequence[LogLine]) -> None:
    with writing_whole(path) as file:
        for start in range(0, len(lines), 1_000):
            part = "".join(f"{line_text(line)}\n" for line in lines[start : start + 1_000])
            file.write(part.encode())
