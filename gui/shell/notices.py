"""What the user should know at once: a bar under the header for the newest notice, and the bell that lists all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QSizePolicy, QWidget

from gui.theme.theme import set_property, theme
from gui.widgets.icon_button import IconButton
from gui.widgets.labels import breakable, label, plain_label
from gui.widgets.popover import Popover

POPOVER_WIDTH_PX = 380
Action = tuple[str, Callable[[], object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """``key`` stays the same while it is the same matter. A ``quiet`` one is in the bell only."""

    key: str
    title: str
    text: str
    actions: tuple[Action, ...] = ()
    quiet: bool = False


class NoticeBar(QFrame):
    """Shows one notice with its first two actions; closing it leaves it in the bell."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._closed: set[str] = set()
        self._notices: tuple[Notice, ...] = ()
        self._shown: Notice | None = None
        self._words = ""
        set_property(self, tint="held")
        self._icon = plain_label()
        self._text = plain_label()
        self._text.setWordWrap(True)
        self._text.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self._buttons = (QPushButton(), QPushButton())
        for index, button in enumerate(self._buttons):
            set_property(button, compact=True)
            button.clicked.connect(partial(self._act, index))
            button.hide()
        self._close = IconButton("x", "Close this notice")
        self._close.clicked.connect(self.close_shown)
        row = QHBoxLayout(self)
        row.setContentsMargins(16, 6, 8, 6)
        row.setSpacing(12)
        for widget in (self._icon, self._text, *self._buttons, self._close):
            row.addWidget(widget)
        row.setStretchFactor(self._text, 1)
        self.hide()

    @property
    def text(self) -> str:
        """What the bar says, as it was given."""
        return self._words

    @property
    def stops(self) -> tuple[QWidget, ...]:
        """Its buttons, in Tab's order."""
        return (*self._buttons, self._close)

    def set_notices(self, notices: Sequence[Notice]) -> None:
        """Show the first one that was not closed yet."""
        self._notices = tuple(notices)
        # What is over may come again, and is shown again then.
        self._closed &= {notice.key for notice in notices}
        left = [notice for notice in notices if not notice.quiet and notice.key not in self._closed]
        self._shown = left[0] if left else None
        self.setVisible(self._shown is not None)
        self._show_actions()
        if self._shown is None:
            return
        more = f" And {len(left) - 1} more." if len(left) > 1 else ""
        said = f"{self._shown.title}. {self._shown.text}".strip()
        self._write(said + more)
        self.setAccessibleName(said)

    def _show_actions(self) -> None:
        actions = () if self._shown is None else self._shown.actions
        for index, button in enumerate(self._buttons):
            button.setVisible(index < len(actions))
            button.setText(actions[index][0] if index < len(actions) else "")

    def say(self, words: str) -> None:
        """Add what became of the action."""
        self._write(words)
        self.setAccessibleName(words)
        self.show()

    def _write(self, words: str) -> None:
        self._icon.setPixmap(theme().icon("warning-fill", "held_text").pixmap(16, 16))
        self._words = words
        self._text.setText(breakable(words))

    def _act(self, index: int, _checked: bool = False) -> None:
        if self._shown is not None and index < len(self._shown.actions):
            self._shown.actions[index][1]()

    def close_shown(self) -> None:
        """Put the notice away that is shown; the bell has it still."""
        if self._shown is None:
            self.hide()
        else:
            self.close_notice(self._shown.key)

    def close_notice(self, key: str) -> None:
        """Put one notice away, be it shown or waiting; the next one takes its place."""
        self._closed.add(key)
        self.set_notices(self._notices)


class Bell(IconButton):
    """Opens the list of notices; a filled bell says that there are some."""

    opened = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("bell", "Notices: none", None, parent)
        self._notices: tuple[Notice, ...] = ()
        self.clicked.connect(self._open)

    def set_notices(self, notices: Sequence[Notice]) -> None:
        self._notices = tuple(notices)
        self.set_icon("bell-fill" if notices else "bell", "held_text" if notices else "text2")
        self.set_name(f"Notices: {len(notices):,}" if notices else "Notices: none")

    def _open(self) -> None:
        px = theme().px
        popover = Popover("Notices", self, width_px=POPOVER_WIDTH_PX)
        column = popover.column
        column.setContentsMargins(px(14), px(12), px(14), px(12))
        column.setSpacing(px(6))
        for index, notice in enumerate(self._notices):
            if index:
                line = QFrame()
                set_property(line, hairline=True)
                column.addWidget(line)
            column.addWidget(label(notice.title, weight=600, wrap=True, selectable=True))
            column.addWidget(label(notice.text, level="2", wrap=True, selectable=True))
            if notice.actions:
                column.addLayout(_actions(notice, popover))
        if not self._notices:
            column.addWidget(label("Nothing needs you.", level="2", wrap=True))
        popover.popup_at(self, align="right")
        self.opened.emit()


def _actions(notice: Notice, popover: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setContentsMargins(0, 4, 0, 4)
    row.setSpacing(8)
    for words, act in notice.actions:
        button = QPushButton(words)
        button.setAutoDefault(False)
        button.setAccessibleDescription(notice.title)
        set_property(button, tiny=True)
        button.clicked.connect(popover.close)
        button.clicked.connect(partial(_call, act))
        row.addWidget(button)
    row.addStretch(1)
    return row


def _call(act: Callable[[], object], _checked: bool = False) -> None:
    act()
