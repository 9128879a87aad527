"""What opens under the month's pill: every limit, when the sums were checked, and what is held."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QWidget

from core import counted, saved_words, sentence_case, unsettled_amount
from core.errors import SignalboxError
from gui.shell.tasks import Tasks
from gui.spend.held import SHOWN_ROWS, HeldList
from gui.spend.limits import LimitBars, checked_words
from gui.theme.theme import set_property, theme
from gui.widgets.labels import ResultLine, label
from gui.widgets.popover import Popover

if TYPE_CHECKING:
    from core import CoreStatus, LedgerRow
    from gui.shell.bridge import Bridge

WIDTH_PX = 460


class SpendPopover(Popover):
    """Signals: ``limits_asked`` when the user wants to change them."""

    limits_asked = Signal()

    def __init__(self, bridge: Bridge, parent: QWidget) -> None:
        super().__init__("Spend", parent, width_px=WIDTH_PX)
        self._bridge = bridge
        self._tasks = Tasks(self)
        self.bars = LimitBars()
        self.checked = label("", "small", level="2", wrap=True)
        self.unsettled = label("", "small", wrap=True)
        set_property(self.unsettled, tone="held")
        self.saved = label("", "small", level="2", wrap=True)
        self.saved.hide()
        self.result = ResultLine()
        self.held = HeldList(self._settle)
        self.held.hide()
        self.held.changed.connect(self._read_held)
        self.held.resized.connect(self.fit_soon)
        self.test_button = self._button("Test the limits", self._test)
        self.test_button.setToolTip(
            "Tries what is too much, in a transaction that is undone. Nothing is spent."
        )
        self.held_button = self._button("Show what is held", self._toggle_held)
        self.change_button = self._button("Change the limits", self._change)
        self._build()
        self._clock = QTimer(self)
        self._clock.setInterval(1000)
        self._clock.timeout.connect(self._show_checked)
        self._clock.start()
        bridge.status_changed.connect(self._show_status)
        if bridge.status is not None:
            self._show_status(bridge.status)

    def _build(self) -> None:
        px = theme().px
        buttons = QHBoxLayout()
        buttons.setSpacing(px(8))
        for button in (self.test_button, self.held_button, self.change_button):
            buttons.addWidget(button)
        buttons.addStretch(1)
        self.column.setContentsMargins(px(15), px(13), px(15), px(15))
        self.column.setSpacing(px(12))
        self.column.addWidget(self.bars)
        self.column.addWidget(self.unsettled)
        self.column.addWidget(self.saved)
        self.column.addWidget(self.checked)
        self.column.addWidget(self.result)
        self.column.addLayout(buttons)
        self.column.addWidget(self.held)

    def _button(self, text: str, slot: object) -> QPushButton:
        button = QPushButton(text)
        button.setAutoDefault(False)
        set_property(button, compact=True)
        button.clicked.connect(slot)
        return button

    def open_at(self, anchor: QWidget, *, held: bool = False) -> None:
        """Open under ``anchor``; ``held`` shows the holds at once."""
        if held:
            self._toggle_held()
        self.popup_at(anchor, align="right", focus=self.test_button)
        self.fit_soon()
        self._tasks.start(self._fetch_saved(), key="saved")

    # What it shows

    def _show_status(self, status: CoreStatus) -> None:
        if status.budget is None:
            self.result.tell(
                "danger", "Not available", "The ledger can’t be read, so nothing is known of the money."
            )
        self.bars.show_limits(status.limits, status.month)
        budget = status.budget
        words = [problem.title for problem in status.problems if problem.kind in ("limit", "settings_file")]
        if budget is not None and budget.unresolved_count:
            amount = sentence_case(unsettled_amount(budget.unresolved_nanodollars))
            words.append(f"{amount} not settled, of {counted(budget.unresolved_count, 'request')}")
        if budget is not None and budget.unpriced_count:
            amount = unsettled_amount(budget.unpriced_nanodollars) if budget.unpriced_nanodollars else ""
            words.append(f"{budget.unpriced_count:,} unpriced, counted at {amount or 'what was held'}")
        self.unsettled.setText(". ".join(words))
        self.unsettled.setVisible(bool(words))
        self._show_checked()
        self.fit_soon()

    def _show_checked(self) -> None:
        status = self._bridge.status
        if status is None:
            return
        self.checked.setText(checked_words(status.checked, datetime.now(UTC)))
        broken = status.checked is not None and not status.checked.ok
        set_property(self.checked, tone="danger" if broken else "")

    async def _fetch_saved(self) -> None:
        status = self._bridge.status
        if status is None or status.budget is None:
            return  # the ledger can't be read, which is said above
        try:
            rows = await self._bridge.call(self._bridge.core.ledger.report(_month_start(), "side"))
        except SignalboxError as error:
            self.result.tell("danger", "", str(error))
        else:
            words = saved_words(rows)
            self.saved.setText(f"Saved in {status.month} {words}")
            self.saved.setVisible(bool(words))
        self.fit_soon()

    # What it does

    def _change(self) -> None:
        self.limits_asked.emit()
        self.close()

    def _test(self) -> None:
        if not self._tasks.runs("test"):
            self._tasks.start(self._run_test(), key="test")

    async def _run_test(self) -> None:
        try:
            armed = await self._bridge.call(self._bridge.core.ledger.test_limits())
        except SignalboxError as error:
            self.result.tell("danger", "Not tested", str(error))
        else:
            self.bars.show_armed(armed)
            failed = sum(not found.armed for found in armed)
            if failed:
                self.result.tell(
                    "danger", "Not all hold", f"{failed:,} of {len(armed):,} limits let too much through."
                )
            else:
                self.result.tell("ok", "Tested", "Every limit was seen to refuse what is too much.")
        self.fit_soon()

    def _toggle_held(self) -> None:
        shown = self.held.isHidden()
        self.held.setVisible(shown)
        self.held_button.setText("Hide what is held" if shown else "Show what is held")
        if shown:
            self._read_held()
        self.fit_soon()

    def _read_held(self) -> None:
        self._tasks.start(self._fetch_held(), key="held")

    async def _fetch_held(self) -> None:
        ledger = self._bridge.core.ledger
        try:
            holds = await self._bridge.call(ledger.holds())
            unresolved = await self._bridge.call(ledger.unresolved(SHOWN_ROWS))
        except SignalboxError as error:
            self.result.tell("danger", "", str(error))
        else:
            self.held.show_rows(holds, unresolved)
        self.fit_soon()

    async def _settle(self, row: LedgerRow, nanodollars: int) -> LedgerRow:
        ledger = self._bridge.core.ledger
        return await self._bridge.call(ledger.resolve(row.correlation_id, nanodollars, attempt=row.attempt))


def _month_start() -> datetime:
    return datetime.now().astimezone().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
