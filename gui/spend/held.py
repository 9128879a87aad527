"""What is held now, and what has no known end: the latter is settled by hand, with the true cost."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from core import LedgerRow, dollars_to_nano, format_cost, sentence_case
from core.errors import InvalidRequest, SignalboxError
from gui.shell.tasks import Tasks
from gui.theme.theme import set_property, theme
from gui.widgets.fields import THOUSANDS
from gui.widgets.labels import ResultLine, label

SHOWN_ROWS = 100
Settle = Callable[[LedgerRow, int], Coroutine[Any, Any, LedgerRow]]


def row_words(row: LedgerRow) -> str:
    """Return ``18 Jun 14:32, claude-sonnet-4-6, chat``."""
    started = row.started_at.astimezone()
    of_project = f", {row.project}" if row.project else ""
    return f"{started:%d %b %H:%M}, {row.served_model or row.model}, {row.source}{of_project}"


def read_amount(text: str) -> int:
    """Return typed dollars in nano-dollars.

    Raises:
        InvalidRequest: it is no amount, or a negative one.
    """
    plain = text.strip().removeprefix("$").strip()
    if THOUSANDS.fullmatch(plain):  # "1,50" is no amount, lest it be read as 150
        plain = plain.replace(",", "")
    if not plain:
        raise InvalidRequest("Type what it cost.", hint="The provider's invoice says it; 0 for nothing.")
    nanodollars = dollars_to_nano(plain)
    if nanodollars < 0:
        raise InvalidRequest("A cost can't be negative.", hint="Type 0 where nothing was charged.")
    return nanodollars


class UnresolvedRow(QWidget):
    """One request whose cost never came. Its amount is typed, shown once more, and then settled for good.

    Signals:
        settled: it is in the ledger now.
        resized: its words need another height.
    """

    settled = Signal()
    resized = Signal()

    def __init__(self, row: LedgerRow, settle: Settle, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.row, self._settle = row, settle
        self._tasks = Tasks(self)
        self._nanodollars: int | None = None
        unit = theme()
        self.edit = QLineEdit()
        self.edit.setPlaceholderText("True cost, $")
        self.edit.setAccessibleName(f"True cost in dollars of the request of {row_words(row)}")
        self.edit.setFixedWidth(unit.px(110))
        set_property(self.edit, compact=True)
        self.button = QPushButton("Settle")
        set_property(self.button, compact=True)
        self.result = ResultLine()
        words = QVBoxLayout()
        words.setSpacing(0)
        words.addWidget(label(row_words(row), "small", wrap=True))
        held = label(sentence_case(row.spending.words), "caption")
        set_property(held, tone="held")
        held.setToolTip(row.correlation_id)
        words.addWidget(held)
        line = QHBoxLayout()
        line.setSpacing(unit.px(8))
        line.addLayout(words, 1)
        line.addWidget(self.edit)
        line.addWidget(self.button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(unit.px(4))
        column.addLayout(line)
        column.addWidget(self.result)
        self.edit.textEdited.connect(self._forget)
        self.edit.returnPressed.connect(self._press)
        self.button.clicked.connect(self._press)

    def _forget(self) -> None:
        """Another amount is typed: what was to be confirmed is not any more."""
        self._nanodollars = None
        self.button.setText("Settle")
        set_property(self.button, primary=False)
        set_property(self.edit, tone="")
        self.result.clear()
        self.resized.emit()

    def _press(self) -> None:
        if self._tasks.runs("settle"):
            return
        if self._nanodollars is not None:
            self._tasks.start(self._write(self._nanodollars), key="settle")
            return
        try:
            self._nanodollars = read_amount(self.edit.text())
        except InvalidRequest as error:
            set_property(self.edit, tone="danger")
            self.result.tell("danger", "", str(error))
            self.edit.setFocus()
            self.resized.emit()
            return
        self.button.setText(f"Settle at {format_cost(self._nanodollars)}")
        set_property(self.button, primary=True)
        more = ""
        if self._nanodollars > self.row.counted_nanodollars:
            more = f"That is more than the {format_cost(self.row.counted_nanodollars)} held for it. "
        self.result.tell("held" if more else "quiet", "", f"{more}It can't be changed afterwards.")
        self.resized.emit()

    async def _write(self, nanodollars: int) -> None:
        try:
            await self._settle(self.row, nanodollars)
        except SignalboxError as error:
            self._forget()
            self.result.tell("danger", "", str(error))
            self.resized.emit()
        else:
            self.settled.emit()


class HeldList(QWidget):
    """Signals: ``changed`` when a row was settled, ``resized`` when one needs another height."""

    changed = Signal()
    resized = Signal()

    def __init__(self, settle: Settle, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settle = settle
        self.rows: list[UnresolvedRow] = []
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(theme().px(8))

    def show_rows(self, holds: list[LedgerRow], unresolved: list[LedgerRow]) -> None:
        while (item := self._column.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:  # pyright: ignore[reportUnnecessaryComparison]
                widget.hide()
                widget.deleteLater()
        self.rows = []
        self._column.addWidget(label("Held by running requests", "small", weight=600))
        if not holds:
            self._column.addWidget(label("Nothing runs.", "small", level="2"))
        for row in holds:
            self._column.addWidget(_hold_line(row))
        self._column.addWidget(label("Not settled: the true cost never came", "small", weight=600))
        if not unresolved:
            self._column.addWidget(label("None. Every cost is known.", "small", level="2"))
        for row in unresolved:
            made = UnresolvedRow(row, self._settle)
            made.settled.connect(self.changed)
            made.resized.connect(self.resized)
            self.rows.append(made)
            self._column.addWidget(made)
        if len(unresolved) == SHOWN_ROWS:
            self._column.addWidget(label(f"These are the {SHOWN_ROWS} newest.", "small", level="2"))


def _hold_line(row: LedgerRow) -> QWidget:
    line = QWidget()
    inner = QHBoxLayout(line)
    inner.setContentsMargins(0, 0, 0, 0)
    inner.addWidget(label(row_words(row), "small"), 1)
    held = label(
        "Unpriced" if row.hold_nanodollars is None else format_cost(row.hold_nanodollars), "small", weight=600
    )
    set_property(held, tone="held")
    inner.addWidget(held)
    return line
