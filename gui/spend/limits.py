"""Each limit as a bar of used, held and free, and what a test of the limits saw."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QVBoxLayout, QWidget

from core import LimitUsage, age, format_amount, format_limit
from gui.theme.theme import theme
from gui.widgets.budget_bar import BudgetSummary
from gui.widgets.formatting import count
from gui.widgets.labels import ResultLine, label

if TYPE_CHECKING:
    from core import ArmedLimit, LedgerCheck


def limit_words(standing: LimitUsage, month: str) -> str:
    """Return ``November``, ``Today``, ``Project website, November`` or ``Tokens today``."""
    if standing.unit == "tokens":
        return "Tokens today"
    window = month if standing.limit.window == "month" else "Today"
    return f"Project {standing.project}, {window}" if standing.project else window


def amount_words(standing: LimitUsage) -> str:
    """Return the limit itself, ``$500`` or ``100,000 tokens``."""
    if standing.unit == "tokens":
        return format_amount(standing.amount, "tokens")
    return format_limit(standing.amount)


def checked_words(checked: LedgerCheck | None, now: datetime) -> str:
    """Return when the ledger's sums were last compared with its rows."""
    if checked is None:
        return "Not yet added up anew"
    ago = age((now - checked.at).total_seconds())
    if checked.ok:
        return f"Added up anew {ago} ago, and it agrees"
    differ = f"{count(len(checked.differences))} sum{'s'[: len(checked.differences) != 1]}"
    return f"{differ} differ{'s'[: len(checked.differences) == 1]} from the rows, seen {ago} ago"


class LimitBars(QWidget):
    """One bar for each limit; ``show_armed`` puts what a test saw under them."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(theme().px(10))
        self._key: tuple[object, ...] = ()
        self._bars: list[BudgetSummary] = []
        self._lines: list[tuple[str, ResultLine]] = []

    def show_limits(self, standings: Sequence[LimitUsage], month: str) -> None:
        key = tuple(standing.limit for standing in standings)
        if key != self._key:
            self._rebuild(standings, month)
            self._key = key
        for bar, standing in zip(self._bars, standings, strict=True):
            bar.set_amounts(
                standing.settled,
                standing.held,
                standing.amount,
                unsettled=standing.unresolved,
                unpriced=standing.unpriced,
                held_count=standing.held_count,
                estimated=bool(standing.estimated and standing.settled),
                unit=standing.unit,
            )

    def show_armed(self, armed: Sequence[ArmedLimit]) -> None:
        """Say of each limit whether it was seen to hold; both are in the order of the settings."""
        for (name, line), found in zip(self._lines, armed, strict=False):
            if name == found.limit_name:  # else the limits were changed meanwhile
                word = "Tested" if found.armed else "Doesn’t hold"
                line.tell("ok" if found.armed else "danger", word, found.detail)

    def _rebuild(self, standings: Sequence[LimitUsage], month: str) -> None:
        while (item := self._column.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:  # pyright: ignore[reportUnnecessaryComparison]
                widget.hide()
                widget.deleteLater()
        self._bars, self._lines = [], []
        for standing in standings:
            holder = QWidget()
            column = QVBoxLayout(holder)
            column.setContentsMargins(0, 0, 0, 0)
            column.setSpacing(theme().px(4))
            words = limit_words(standing, month)
            column.addWidget(label(f"{words}: {amount_words(standing)}", "small", weight=600))
            bar = BudgetSummary()
            bar.setAccessibleName(words)
            line = ResultLine()
            column.addWidget(bar)
            column.addWidget(line)
            self._bars.append(bar)
            self._lines.append((standing.limit.name, line))
            self._column.addWidget(holder)
