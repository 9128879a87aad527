"""The budget: spent, held and not settled (hatched, always visible) and free, as a bar and with its legend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, QSize
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from core import format_amount, format_limit, unsettled_amount
from gui.theme.theme import theme
from gui.widgets.inline_row import InlineRun, narrow, paint_runs, row_width
from gui.widgets.marks import paint_bar
from gui.widgets.painted_button import Painted

if TYPE_CHECKING:
    from core import Unit

_LINE_PX = 20
_SPENT: dict[Unit, str] = {"nanodollars": "spent", "tokens": "used"}


class BudgetBar(Painted):
    """12 px high. Amounts are in ``unit``; ``limit`` of ``None`` is no limit and draws no fill."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, across=QSizePolicy.Policy.Expanding)
        self._spent = self._held = 0
        self._limit: int | None = None
        self.setAccessibleName("Budget")

    def set_amounts(
        self,
        spent: int,
        held: int,
        limit: int | None,
        *,
        unsettled: int = 0,
        unpriced: int = 0,
        estimated: bool = False,
        unit: Unit = "nanodollars",
    ) -> None:
        """Show what is taken of ``limit``: ``spent``, ``held``, ``unsettled`` and ``unpriced`` are disjoint.

        ``estimated``: an estimate is in ``spent``.
        """
        self._spent, self._held, self._limit = spent, held + unsettled + unpriced, limit
        words = f"{format_amount(spent, unit, estimate=estimated)} {_SPENT[unit]}, {format_amount(held, unit)} held"
        if unsettled:
            words += f", {unsettled_amount(unsettled, unit)} not settled"
        if unpriced:
            words += f", {unsettled_amount(unpriced, unit)} unpriced"
        if limit is None:
            words += ", no limit"
        else:
            of = format_limit(limit) if unit == "nanodollars" else format_amount(limit, unit)
            words += f", {format_amount(max(0, limit - spent - self._held), unit)} free of {of}"
        self.setAccessibleDescription(words)
        self.setToolTip(words)
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(theme().px(160), theme().px(12))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme().px(48), theme().px(12))

    def paintEvent(self, event: QPaintEvent) -> None:
        unit = theme()
        painter = QPainter(self)
        limit = self._limit or 0
        share = self._spent / limit if limit else 0.0
        held = self._held / limit if limit else 0.0
        if self._limit == 0:
            share = 1.0 if self._spent else 0.0
        paint_bar(
            painter,
            QRectF(self.rect()),
            share,
            "api",
            held,
            min_held_px=unit.px(6),
            outline=True,
            radius=unit.px(3),
        )
        painter.end()


class _Legend(QWidget):
    """The runs under the bar, in one line or, where that is too narrow, in as many as they need."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.groups: list[list[InlineRun]] = []
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def _lines(self, width: int) -> list[list[InlineRun]]:
        lines: list[list[InlineRun]] = []
        for group in self.groups:
            if lines and row_width([*lines[-1], *group]) <= width:
                lines[-1] += group
            else:
                lines.append(list(group))
        return lines

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        return theme().px(_LINE_PX) * max(1, len(self._lines(width)))

    def sizeHint(self) -> QSize:
        return QSize(round(row_width([run for group in self.groups for run in group])), theme().px(_LINE_PX))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        height = theme().px(_LINE_PX)
        for index, line in enumerate(self._lines(self.width())):
            paint_runs(painter, QRectF(0, index * height, self.width(), height), narrow(line, self.width()))
        painter.end()


class BudgetSummary(QWidget):
    """The bar and its legend: spent, held by how many, what was asked for and what is free."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bar = BudgetBar(self)
        self._legend = _Legend(self)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.addWidget(self._bar)
        self._column.addWidget(self._legend)
        theme().changed.connect(self._restyle)
        self._restyle()

    def set_amounts(
        self,
        spent: int,
        held: int,
        limit: int | None,
        *,
        held_count: int = 0,
        unsettled: int = 0,
        unpriced: int = 0,
        asked: int | None = None,
        estimated: bool = False,
        unit: Unit = "nanodollars",
    ) -> None:
        """Show disjoint amounts in ``unit``; ``asked`` is what one more request would hold at worst.

        ``estimated``: an estimate is in ``spent``.
        """
        self._bar.set_amounts(
            spent, held, limit, unsettled=unsettled, unpriced=unpriced, estimated=estimated, unit=unit
        )
        groups = [
            [
                InlineRun(kind="swatch", token="api"),
                InlineRun(
                    text=format_amount(spent, unit, estimate=estimated), token="text", weight=600, gap=6
                ),
                InlineRun(text=_SPENT[unit], gap=6),
            ],
            [
                InlineRun(kind="hatch", gap=16),
                InlineRun(text=format_amount(held, unit), token="held_text", weight=600, gap=6),
                InlineRun(text=f"held by {held_count:,}" if held_count else "held", gap=6),
            ],
        ]
        for amount, word in ((unsettled, "not settled"), (unpriced, "unpriced")):
            if amount:
                groups.append(
                    [
                        InlineRun(kind="hatch", gap=16),
                        InlineRun(text=unsettled_amount(amount, unit), token="held_text", weight=600, gap=6),
                        InlineRun(text=word, gap=6),
                    ]
                )
        free = None if limit is None else max(0, limit - spent - held - unsettled - unpriced)
        if asked is not None:
            words = "asked for" if free is None else f"asked for, {format_amount(free, unit)} free"
            groups.append(
                [
                    InlineRun(text=format_amount(asked, unit), token="danger_text", weight=600, gap=16),
                    InlineRun(text=words, gap=6),
                ]
            )
        elif free is not None:
            groups.append(
                [
                    InlineRun(text=format_amount(free, unit), token="text", weight=600, gap=16),
                    InlineRun(text="free", gap=6),
                ]
            )
        self._legend.groups = groups
        words = " ".join(run.text for group in groups for run in group if run.text)
        self._legend.setAccessibleName(words)
        self._legend.updateGeometry()
        self._legend.update()

    def _restyle(self) -> None:
        self._column.setSpacing(theme().px(6))
        self._legend.updateGeometry()
        self._legend.update()
