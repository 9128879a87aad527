"""A cost that says what kind of figure it is: settled, estimated, held, unpriced, cash or loaded."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from core import format_cost
from gui.theme.theme import theme
from gui.widgets.formatting import NO_CHARGE, NO_CHARGE_WHY, CostKind
from gui.widgets.inline_row import InlineRun, paint_runs, row_width
from gui.widgets.painted_button import Painted

_SPOKEN: dict[str, str] = {
    "settled": "",
    "estimate": "estimated",
    "held": "held",
    "cash": "cash",
    "loaded": "loaded",
}


def cost_runs(
    nanodollars: int | None, kind: CostKind = "settled", *, role: str = "small", gap: int = 8, drop: int = 0
) -> list[InlineRun]:
    """Return the runs of a cost, for rows that contain one.

    ``None`` is unpriced, but for the local kinds (``loaded``, ``cash``), where it means that the machine's
    own price is not set and reads "No charge".
    """
    if nanodollars is None:
        if kind in ("loaded", "cash"):
            return [InlineRun(text=NO_CHARGE, token="text2", role=role, gap=gap, drop=drop)]
        return [InlineRun(kind="tag", text="Unpriced", token="held_text", role=role, gap=gap, drop=drop)]
    if kind == "unpriced":
        return [InlineRun(kind="tag", text="Unpriced", token="held_text", role=role, gap=gap, drop=drop)]
    if kind == "estimate":
        return [InlineRun(text=format_cost(nanodollars, estimate=True), role=role, gap=gap, drop=drop)]
    amount = format_cost(nanodollars)
    if kind == "held":
        return [
            InlineRun(kind="hatch", gap=gap, drop=drop),
            InlineRun(text=amount, token="held_text", weight=600, role=role, gap=6, drop=drop),
            InlineRun(text="held", role=role, gap=4, drop=drop),
        ]
    runs = [InlineRun(text=amount, token="text", weight=600, role=role, gap=gap, drop=drop)]
    if kind in ("cash", "loaded"):
        runs.append(InlineRun(text=kind, role=role, gap=4, drop=drop))
    return runs


def spoken_cost(nanodollars: int | None, kind: CostKind = "settled") -> str:
    """Return a cost for a screen reader: ``$0.0019 loaded``, ``No charge``, ``Unpriced``."""
    if nanodollars is None:
        return NO_CHARGE if kind in ("loaded", "cash") else "Unpriced"
    if kind == "unpriced":
        return "Unpriced"
    return f"{format_cost(nanodollars)} {_SPOKEN[kind]}".strip()


class MoneyLabel(Painted):
    """``set_cost`` shows nano-dollars; the figure's kind is visible in weight, mark and word."""

    def __init__(self, parent: QWidget | None = None, *, role: str = "small") -> None:
        super().__init__(parent)
        self._role = role
        self._runs: list[InlineRun] = []

    def set_cost(self, nanodollars: int | None, kind: CostKind = "settled", tooltip: str = "") -> None:
        """Show a cost. ``tooltip`` has the other figure, the price date and the formula."""
        self._runs = cost_runs(nanodollars, kind, role=self._role)
        if nanodollars is None and kind in ("loaded", "cash"):
            tooltip = tooltip or NO_CHARGE_WHY
        self.setToolTip(tooltip)
        self.setAccessibleName(spoken_cost(nanodollars, kind))
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
