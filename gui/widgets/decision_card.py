"""The decision card: why a request went where it went, what happened to it, what it cost, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QPushButton, QWidget

from core import Spending, format_cost
from core.chat import ChatResult, RouteDecision, Side
from gui.theme.theme import set_button_icon, set_property, theme
from gui.widgets.copying import Copier
from gui.widgets.decision_facts import (
    Fact,
    StepRow,
    money_facts,
    prompt_facts,
    signal_rows,
    signal_summary,
    step_rows,
    time_facts,
    time_summary,
)
from gui.widgets.error_card import IconMark
from gui.widgets.fold import Fold
from gui.widgets.formatting import (
    NO_CHARGE_WHY,
    NOT_SETTLED_WHY,
    SETTLED_LATER_WHY,
    SIDE_ICONS,
    cost_tooltip,
    refused_why,
    side_spending,
    side_word,
)
from gui.widgets.icon_button import IconButton
from gui.widgets.labels import label
from gui.widgets.money_label import MoneyLabel
from gui.widgets.popover import Popover
from gui.widgets.sentence import Sentence
from gui.widgets.track_sketch import TrackSketch

_WIDTH = 440


class DecisionCard(Popover):
    """With a ``ChatResult`` it also has what happened, what it cost and times.

    ``spending`` is what the ledger said since of an answer that had ended without a known cost.

    Signals:
        replay_asked: the side that the same prompt is to be asked of again.
    """

    replay_asked = Signal(str)

    def __init__(
        self,
        shown: ChatResult | RouteDecision,
        parent: QWidget | None = None,
        *,
        spending: Spending | None = None,
    ) -> None:
        super().__init__("Decision", parent, width_px=_WIDTH, may_cover=True)
        self._result = shown if isinstance(shown, ChatResult) else None
        self._decision = shown.decision if isinstance(shown, ChatResult) else shown
        self._spending = spending
        self._grids: list[QGridLayout] = []
        self._replays: dict[Side, QPushButton] = {}
        self.setAccessibleDescription(self._decision.reason)
        self._fill()
        theme().changed.connect(self._respace)
        self._respace()

    def _fill(self) -> None:
        decision, result, inside = self._decision, self._result, self.inside
        self.column.addWidget(
            Sentence(f"{side_word(decision.side)}. {decision.reason}.", inside, role="title", level=None)
        )
        if result is not None and result.steps:
            self._add_grid("What happened", self._steps_grid(step_rows(result)))
            self.column.addWidget(self._rule())
        elif decision.fell_back_from:
            fell = f"{side_word(decision.fell_back_from)} failed first, so it was sent here."
            self.column.addWidget(Sentence(fell, inside, role="small", level=None))
        self.column.addWidget(TrackSketch(decision, inside))
        self._add_fold(
            "What was read", signal_summary(decision), self._signals_grid(), key="read", opened=True
        )
        facts = prompt_facts(decision, result)
        if facts:
            self._add_grid("The prompt", self._facts_grid(facts), ruled=True)
        self._add_grid("Cost on each side", self._costs_grid(), ruled=True)
        if result is not None:
            money = money_facts(result)
            if money:
                self.column.addLayout(self._facts_grid(money, right=True))
            self._add_fold(
                "When", time_summary(result), self._facts_grid(time_facts(result), right=True), key="when"
            )
            self.column.addWidget(self._rule())
            self.column.addLayout(self._id_row(result.correlation_id))

    def add_replay(self, verbs: Mapping[Side, str]) -> None:
        """Offer the prompt to each side; ``show_replay`` says the price, and until then nothing can be pressed."""
        row = QHBoxLayout()
        for side, verb in verbs.items():
            button = QPushButton(verb, self.inside)
            set_property(button, compact=True)
            set_button_icon(button, SIDE_ICONS[side], f"{side}_text", 14)
            button.setEnabled(False)
            button.setToolTip("The price is being worked out")
            button.clicked.connect(partial(self._on_replay, side))
            self._replays[side] = button
            row.addWidget(button)
        row.addStretch(1)
        self._why_not = Sentence("", self.inside, role="small", level="3")
        self._why_not.hide()
        self.column.addWidget(self._rule())
        self.column.addLayout(row)
        self.column.addWidget(self._why_not)
        self.fit()

    def show_replay(self, side: Side, words: str, about: str, *, enabled: bool) -> None:
        """Say what a replay costs, or, where it is not ``enabled``, why it can't be."""
        button = self._replays[side]
        button.setText(words)
        button.setToolTip(about)
        button.setEnabled(enabled)
        button.setAccessibleDescription(about)
        if not enabled:
            self._why_not.say(" ".join(part for part in (self._why_not.words, about) if part))
            self._why_not.show()
        self.fit()

    def _on_replay(self, side: Side) -> None:
        self.close()
        self.replay_asked.emit(side)

    # -- sections --------------------------------------------------------------------------------

    def _rule(self) -> QFrame:
        rule = QFrame(self.inside)
        set_property(rule, line=True)
        return rule

    def _add_grid(self, title: str, grid: QGridLayout, *, ruled: bool = False) -> None:
        if ruled:
            self.column.addWidget(self._rule())
        self.column.addWidget(label(title, parent=self.inside, role="small", weight=600))
        self.column.addLayout(grid)

    def _add_fold(
        self, title: str, summary: str, grid: QGridLayout, *, key: str, opened: bool = False
    ) -> None:
        body = QWidget(self.inside)
        body.setLayout(grid)
        fold = Fold(title, summary, body, key=f"decision/{key}", opened=opened, parent=self.inside)
        fold.toggled.connect(self.fit)
        self.column.addWidget(self._rule())
        self.column.addWidget(fold)

    def _grid(self, rows: Sequence[Sequence[QWidget]], stretch: int, right_from: int) -> QGridLayout:
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        for y, row in enumerate(rows):
            for x, widget in enumerate(row):
                right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                if isinstance(widget, Sentence):
                    grid.addWidget(widget, y, x)
                else:
                    grid.addWidget(widget, y, x, right if x >= right_from else Qt.AlignmentFlag.AlignVCenter)
        grid.setColumnStretch(stretch, 1)
        self._grids.append(grid)
        return grid

    def _steps_grid(self, rows: list[StepRow]) -> QGridLayout:
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        top, right = Qt.AlignmentFlag.AlignTop, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop
        for y, row in enumerate(rows):
            grid.addWidget(IconMark(row.icon, "text2", 16, self.inside), y, 0, top)
            grid.addWidget(Sentence(row.words, self.inside, role="small", level=None), y, 1)
            grid.addWidget(label(row.took, parent=self.inside, role="small", level="2"), y, 2, right)
            cost = label(
                row.cost, parent=self.inside, role="small", weight=600, tone="" if row.cost_known else "held"
            )
            grid.addWidget(cost, y, 3, right)
        grid.setColumnStretch(1, 1)
        self._grids.append(grid)
        return grid

    def _facts_grid(self, facts: list[Fact], *, right: bool = False) -> QGridLayout:
        """Names at the left; values beside them, wrapped, or at the right edge."""
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        for y, fact in enumerate(facts):
            name = label(fact.name, parent=self.inside, role="small", level="2")
            grid.addWidget(name, y, 0, Qt.AlignmentFlag.AlignTop)
            if right:
                value: QLabel = label(fact.value, parent=self.inside, role="small", tone=fact.tone)
                grid.addWidget(value, y, 1, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop)
            else:
                value = Sentence(fact.value, self.inside, role="small", level=None)
                set_property(value, tone=fact.tone)
                grid.addWidget(value, y, 1)
        grid.setColumnStretch(1, 1)
        self._grids.append(grid)
        return grid

    def _signals_grid(self) -> QGridLayout:
        rows = [
            [
                label(row.name, parent=self.inside, role="small", level="2"),
                label(row.value, parent=self.inside, role="small", weight=500),
                label(row.threshold, parent=self.inside, role="small", level="3"),
            ]
            for row in signal_rows(self._decision)
        ]
        return self._grid(rows, 1, 2)

    def _costs_grid(self) -> QGridLayout:
        head = [
            label(word, parent=self.inside, role="caption", level="3") for word in ("", "Estimate", "Spent")
        ]
        return self._grid([list(head), self._cost_row("local"), self._cost_row("api")], 0, 1)

    def _cost_row(self, side: Side) -> list[QWidget]:
        estimate = self._decision.estimate(side)
        model = f" · {estimate.model}" if estimate.model else ""
        name = label(
            f"{side_word(side)}{model}", parent=self, role="small", side=side, weight=500, tabular=False
        )
        guess: QWidget
        hold = estimate.hold_nanodollars
        if (why := refused_why(self._decision, side)) is not None:
            guess = self._nothing(why)
        else:
            money = guess = MoneyLabel(self)
            if estimate.cost_nanodollars is None and side == "local":
                money.set_cost(None, "loaded", NO_CHARGE_WHY)
            else:
                worst = f"At worst {format_cost(hold)}." if hold else ""
                money.set_cost(estimate.cost_nanodollars, "estimate", worst)
        spending = self._spending_on(side)
        if spending is None:
            return [name, guess, self._nothing(f"Nothing spent on {side_word(side)}")]
        spent = MoneyLabel(self)
        spent.set_spending(spending, self._spending_why())
        return [name, guess, spent]

    def _spending_on(self, side: Side) -> Spending | None:
        """Return what the request cost on a side, by the ledger's last word; ``None`` for nothing."""
        if self._spending is not None and side == "api":
            cash = replace(self._spending, loaded_nanodollars=0)
            return cash if cash.parts or self._decision.side == "api" else None
        return None if self._result is None else side_spending(self._result, side)

    def _spending_why(self) -> str:
        if self._spending is not None:
            return NOT_SETTLED_WHY if self._spending.unsettled_nanodollars else SETTLED_LATER_WHY
        return "" if self._result is None else cost_tooltip(self._result)

    def _nothing(self, why: str) -> QLabel:
        dash = label("–", parent=self, role="small", level="3")
        dash.setAccessibleName(why)
        dash.setToolTip(why)
        return dash

    def _id_row(self, correlation_id: str) -> QHBoxLayout:
        row = QHBoxLayout()
        words = label(correlation_id, parent=self, role="mono", level="2")
        words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        words.setAccessibleName("Correlation id")
        words.setAccessibleDescription(correlation_id)
        copy = IconButton("copy", "Copy the correlation id", parent=self)
        Copier(copy, lambda: correlation_id)
        row.addWidget(words)
        row.addStretch(1)
        row.addWidget(copy)
        return row

    def _respace(self) -> None:
        px = theme().px
        self.column.setContentsMargins(px(15), px(13), px(15), px(11))
        self.column.setSpacing(px(8))
        for grid in self._grids:
            grid.setHorizontalSpacing(px(16))
            grid.setVerticalSpacing(px(4))
        self.fit()
