"""What opens under the month's pill: every limit, when the sums were checked, and what is held."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, Qt, QTimer, Signal
from PySide6.QtGui import QHideEvent, QKeyEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from core.errors import SignalboxError
from core.ledger.savings import saved_words
from core.pricing.money import format_cost
from gui.preferences.labels import ResultLine, label
from gui.shell.tasks import Tasks
from gui.spend.held import SHOWN_ROWS, HeldList
from gui.spend.limits import LimitBars, checked_words
from gui.theme.theme import set_property, theme
from gui.widgets.fitted_scroll import FittedScroll
from gui.widgets.painted_button import settle_hover

if TYPE_CHECKING:
    from core.ledger.models import LedgerRow
    from core.services.status import CoreStatus
    from gui.shell.bridge import Bridge

WIDTH_PX = 460
EDGE_PX = 8


class SpendPopover(QFrame):
    """Signals: ``limits_asked`` when the user wants to change them."""

    limits_asked = Signal()

    def __init__(self, bridge: Bridge, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setAccessibleName("Spend")
        set_property(self, popover=True)
        self._bridge = bridge
        self._tasks = Tasks(self)
        self._anchor: QWidget | None = None
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
        self.held.resized.connect(self._fit_soon)
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
        self._scroll = FittedScroll(self)
        self._column = self._scroll.column
        self._column.setContentsMargins(px(14), px(12), px(14), px(14))
        self._column.setSpacing(px(12))
        self._column.addWidget(self.bars)
        self._column.addWidget(self.unsettled)
        self._column.addWidget(self.saved)
        self._column.addWidget(self.checked)
        self._column.addWidget(self.result)
        self._column.addLayout(buttons)
        self._column.addWidget(self.held)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(1, 1, 1, 1)
        outer.addWidget(self._scroll)

    def _button(self, text: str, slot: object) -> QPushButton:
        button = QPushButton(text)
        button.setAutoDefault(False)
        set_property(button, compact=True)
        button.clicked.connect(slot)
        return button

    def popup_at(self, anchor: QWidget, *, held: bool = False) -> None:
        """Open under ``anchor``; ``held`` shows the holds at once."""
        self._anchor = anchor
        if held:
            self._toggle_held()
        self._place()
        self.show()
        self._fit_soon()
        self._tasks.start(self._fetch_saved(), key="saved")
        self.test_button.setFocus(Qt.FocusReason.PopupFocusReason)

    def _fit_soon(self) -> None:
        """New rows have no size before the loop has shown them."""
        QTimer.singleShot(0, self, self._place)

    def _place(self) -> None:
        anchor = self._anchor
        if anchor is None:
            return
        px = theme().px
        screen = anchor.screen().availableGeometry()
        top = anchor.mapToGlobal(QPoint(0, anchor.height() + px(4)))
        width = px(WIDTH_PX)
        edges = 4  # a pixel of border and one of margin on each side
        most = screen.bottom() - top.y() - px(EDGE_PX)
        self.setFixedSize(width, self._scroll.fit(width - edges, most) + edges)
        right = anchor.mapToGlobal(QPoint(anchor.width(), 0)).x()
        self.move(max(screen.left(), min(right - width, screen.right() - width)), top.y())

    # What it shows

    def _show_status(self, status: CoreStatus) -> None:
        if status.budget is None:
            self.result.tell(
                "danger", "Not available", "The ledger can’t be read, so nothing is known of the money."
            )
        self.bars.show_limits(status.limits, status.month)
        budget = status.budget
        words: list[str] = []
        if budget is not None and budget.unresolved_count:
            many = "s"[: budget.unresolved_count != 1]
            words.append(
                f"{budget.unresolved_count:,} request{many} not settled, "
                f"{format_cost(budget.unresolved_nanodollars)} counted for {'them' if many else 'it'}"
            )
        if budget is not None and budget.unpriced_count:
            words.append(f"{budget.unpriced_count:,} unpriced and not counted")
        self.unsettled.setText(". ".join(words))
        self.unsettled.setVisible(bool(words))
        self._show_checked()
        self._fit_soon()

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
            rows = await self._bridge.call(self._bridge.core.report(_month_start(), "side"))
        except SignalboxError as error:
            self.result.tell("danger", "", str(error))
        else:
            words = saved_words(rows)
            self.saved.setText(f"Saved in {status.month} {words}")
            self.saved.setVisible(bool(words))
        self._fit_soon()

    # What it does

    def _change(self) -> None:
        self.limits_asked.emit()
        self.close()

    def _test(self) -> None:
        if not self._tasks.runs("test"):
            self._tasks.start(self._run_test(), key="test")

    async def _run_test(self) -> None:
        try:
            armed = await self._bridge.call(self._bridge.core.test_limits())
        except SignalboxError as error:
            self.result.tell("danger", "Not tested", str(error))
        else:
            self.bars.show_armed(armed)
            failed = sum(not found.armed for found in armed)
            if failed:
                self.result.tell("danger", "Not armed", f"{failed} of {len(armed)} limits did not hold.")
            else:
                self.result.tell("ok", "Armed", "Every limit was seen to refuse what is too much.")
        self._fit_soon()

    def _toggle_held(self) -> None:
        shown = self.held.isHidden()
        self.held.setVisible(shown)
        self.held_button.setText("Hide what is held" if shown else "Show what is held")
        if shown:
            self._read_held()
        self._fit_soon()

    def _read_held(self) -> None:
        self._tasks.start(self._fetch_held(), key="held")

    async def _fetch_held(self) -> None:
        core = self._bridge.core
        try:
            holds = await self._bridge.call(core.ledger.holds())
            unresolved = await self._bridge.call(core.ledger.unresolved(SHOWN_ROWS))
        except SignalboxError as error:
            self.result.tell("danger", "", str(error))
        else:
            self.held.show_rows(holds, unresolved)
        self._fit_soon()

    async def _settle(self, row: LedgerRow, nanodollars: int) -> LedgerRow:
        resolving = self._bridge.core.resolve(row.correlation_id, nanodollars, row.attempt)
        return await self._bridge.call(resolving)

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        if self._anchor is not None:
            settle_hover(self._anchor)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.close()
        else:
            super().keyPressEvent(event)


def _month_start() -> datetime:
    return datetime.now().astimezone().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
