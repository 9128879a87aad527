"""A cost that says what kind of figure it is: spent, estimated, held, not settled, unpriced or loaded."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from core import Spending, format_cost, sentence_case
from gui.theme.theme import theme
from gui.widgets.formatting import NO_CHARGE, NO_CHARGE_WHY, CostKind
from gui.widgets.inline_row import InlineRun, paint_runs, row_width
from gui.widgets.painted_button import Painted


def cost_runs(
    nanodollars: int | None, kind: CostKind = "settled", *, role: str = "small", gap: int = 8, drop: int = 0
) -> list[InlineRun]:
    """Return the runs of one amount, for rows that contain one.

    ``None`` is unpriced, but for ``loaded``, where it means that the machine's own price is not set and reads
    "No charge".
    """
    if kind == "unpriced" or (nanodollars is None and kind != "loaded"):
        return [InlineRun(kind="tag", text="Unpriced", token="held_text", role=role, gap=gap, drop=drop)]
    if nanodollars is None:
        return [InlineRun(text=NO_CHARGE, token="text2", role=role, gap=gap, drop=drop)]
    spending = {
        "settled": Spending(spent_nanodollars=nanodollars),
        "estimate": Spending(spent_nanodollars=nanodollars, estimated=True),
        "held": Spending(held_nanodollars=nanodollars),
        "loaded": Spending(loaded_nanodollars=nanodollars),
    }[kind]
    if not spending.parts:  # an amount of nothing, which is known
        text = format_cost(0, estimate=kind == "estimate")
        return [InlineRun(text=text, token="text", weight=600, role=role, gap=gap, drop=drop)]
    return spending_runs(spending, role=role, gap=gap, drop=drop)


def spending_runs(spending: Spending, *, role: str = "small", gap: int = 8, drop: int = 0) -> list[InlineRun]:
    """Return the runs of all that a request cost: figures that are sure are bold, what is held or not settled is
    hatched, estimates are light, and a bare figure is what was spent."""
    runs: list[InlineRun] = []
    for part in spending.parts:
        space = 12 if runs else gap
        if part.kind == "unpriced":
            tag = sentence_case(part.text)
            runs.append(InlineRun(kind="tag", text=tag, token="held_text", role=role, gap=space, drop=drop))
            continue
        if part.kind in ("held", "unsettled"):
            runs.append(InlineRun(kind="hatch", gap=space, drop=drop))
            figure = InlineRun(text=part.amount, token="held_text", weight=600, role=role, gap=6, drop=drop)
        elif part.kind == "estimate":
            figure = InlineRun(text=part.amount, role=role, gap=space, drop=drop)
        else:
            figure = InlineRun(text=part.amount, token="text", weight=600, role=role, gap=space, drop=drop)
        is_bare = not runs and part.kind in ("spent", "estimate")
        runs.append(figure)
        if not is_bare:
            runs.append(InlineRun(text=part.word, role=role, gap=4, drop=drop))
    return runs or [InlineRun(text=NO_CHARGE, token="text2", role=role, gap=gap, drop=drop)]


def spoken_cost(nanodollars: int | None, kind: CostKind = "settled") -> str:
    """Return one amount for a screen reader: ``$0.0019 loaded``, ``No charge``, ``Unpriced``."""
    return " ".join(run.text for run in cost_runs(nanodollars, kind) if run.text)


def spoken_spending(spending: Spending) -> str:
    """Return all that a request cost, in the words that are painted: ``up to $0.0154 not settled``."""
    return spending.brief


class MoneyLabel(Painted):
    """``set_cost`` shows nano-dollars; the figure's kind is visible in weight, mark and word."""

    def __init__(self, parent: QWidget | None = None, *, role: str = "small") -> None:
        super().__init__(parent)
        self._role = role
        self._runs: list[InlineRun] = []

    def set_cost(self, nanodollars: int | None, kind: CostKind = "settled", tooltip: str = "") -> None:
        """Show a cost. ``tooltip`` has the other figure, the price date and the formula."""
        self._runs = cost_runs(nanodollars, kind, role=self._role)
        if nanodollars is None and kind == "loaded":
            tooltip = tooltip or NO_CHARGE_WHY
        self._tell(spoken_cost(nanodollars, kind), tooltip)

    def set_spending(self, spending: Spending, tooltip: str = "") -> None:
        """Show all that a request cost. ``tooltip`` says how that came about."""
        self._runs = spending_runs(spending, role=self._role)
        self._tell(spoken_spending(spending), tooltip)

    def _tell(self, words: str, tooltip: str) -> None:
        self.setToolTip(tooltip)
        self.setAccessibleName(sentence_case(words.replace("~", "about ")))  # no "tilde" read aloud
        self.setAccessibleDescription(tooltip)
        self._restyle()

    def sizeHint(self) -> QSize:
        return QSize(round(row_width(self._runs) + 0.5) + 1, theme().line_px(self._role) + theme().px(4))

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        paint_runs(painter, QRectF(self.rect()), self._runs)
        painter.end()
