"""What the user should know at once: a bar under the header for the newest problem, and the bell that lists all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from gui.theme import set_property, theme
from gui.widgets.icon_button import IconButton

if TYPE_CHECKING:
    from core.status import Problem

POPOVER_WIDTH_PX = 380
Action = tuple[str, Callable[[], object]]


class NoticeBar(QFrame):
    """Shows one problem; closing it leaves it in the bell. ``action_for`` gives a problem its button."""

    def __init__(self, action_for: Callable[[Problem], Action | None], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._action_for = action_for
        self._closed: set[str] = set()
        self._shown: Problem | None = None
        set_property(self, tint="held")
        self._icon = QLabel()
        self._text = QLabel()
        self._text.setWordWrap(True)
        self._text.setTextFormat(Qt.TextFormat.PlainText)
        self._text.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self._button = QPushButton()
        set_property(self._button, compact=True)
        self._button.clicked.connect(self._act)
        close = IconButton("x", "Close this notice")
        close.clicked.connect(self._close)
        row = QHBoxLayout(self)
        row.setContentsMargins(16, 6, 8, 6)
        row.setSpacing(12)
        for widget in (self._icon, self._text, self._button, close):
            row.addWidget(widget)
        row.setStretchFactor(self._text, 1)
        self.hide()

    def set_problems(self, problems: tuple[Problem, ...]) -> None:
        """Show the first problem that was not closed yet."""
        # What is over may come again, and is shown again then.
        self._closed &= {problem.message for problem in problems}
        left = [problem for problem in problems if problem.message not in self._closed]
        self._shown = left[0] if left else None
        self.setVisible(self._shown is not None)
        if self._shown is None:
            return
        more = f" And {len(left) - 1} more." if len(left) > 1 else ""
        said = f"{self._shown.title}. {self._shown.message} {self._shown.hint}".strip()
        self._icon.setPixmap(theme().icon("warning-fill", "held_text").pixmap(16, 16))
        self._text.setText(said + more)
        self.setAccessibleName(said)
        action = self._action_for(self._shown)
        self._button.setVisible(action is not None)
        if action is not None:
            self._button.setText(action[0])

    def say(self, words: str) -> None:
        """Add what became of the action."""
        self._text.setText(words)
        self.setAccessibleName(words)
        self.show()

    def _act(self) -> None:
        action = self._action_for(self._shown) if self._shown is not None else None
        if action is not None:
            action[1]()

    def _close(self) -> None:
        if self._shown is not None:
            self._closed.add(self._shown.message)
        self.hide()


class Bell(IconButton):
    """Opens the list of problems; a filled bell says that there are some."""

    opened = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("bell", "Notices: none", None, parent)
        self._problems: tuple[Problem, ...] = ()
        self.clicked.connect(self._open)

    def set_problems(self, problems: tuple[Problem, ...]) -> None:
        self._problems = problems
        self.set_icon("bell-fill" if problems else "bell", "held_text" if problems else "text2")
        self.set_name(f"Notices: {len(problems)}" if problems else "Notices: none")

    def _open(self) -> None:
        popover = QFrame(self, Qt.WindowType.Popup)
        popover.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        set_property(popover, popover=True)
        column = QVBoxLayout(popover)
        column.setContentsMargins(14, 12, 14, 12)
        column.setSpacing(12)
        for problem in self._problems:
            column.addWidget(_line(problem.title, weight=600))
            column.addWidget(_line(f"{problem.message} {problem.hint}".strip(), level="2"))
        if not self._problems:
            column.addWidget(_line("Nothing needs you.", level="2"))
        popover.setFixedWidth(theme().px(POPOVER_WIDTH_PX))
        popover.adjustSize()
        corner = self.mapToGlobal(QPoint(self.width(), self.height() + 4))
        popover.move(corner.x() - popover.width(), corner.y())
        popover.show()
        self.opened.emit()


def _line(text: str, **properties: object) -> QLabel:
    line = QLabel(text)
    line.setTextFormat(Qt.TextFormat.PlainText)
    line.setWordWrap(True)
    line.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    set_property(line, **properties)
    return line
