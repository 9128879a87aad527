"""The spend popover: every limit, a test of them, and what has to be settled by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QWidget

from core.errors import InvalidRequest, LedgerUnavailable
from core.ledger.limits import Budget, LimitUsage, SpendLimit, TokenLimit
from core.ledger.models import ArmedLimit, ReportRow
from core.services.status import LedgerCheck
from gui.spend.held import UnresolvedRow, read_amount
from gui.spend.limits import amount_words, checked_words, limit_words
from gui.spend.popover import SpendPopover
from gui.widgets.budget_bar import BudgetBar
from tests.support.fake_core import ledger_row
from tests.support.panel_loop import Panel, panel_on_qt

NOW = datetime(2026, 6, 18, 14, 32, tzinfo=UTC)
MONTH = SpendLimit(name="SPEND_LIMIT_DOLLARS", nanodollars=500_000_000_000)
DAY = SpendLimit(name="DAILY_SPEND_LIMIT_DOLLARS", nanodollars=20_000_000_000, window="day")
PROJECT = SpendLimit(name="PROJECT_SPEND_LIMITS", nanodollars=50_000_000_000, project="website")
TOKENS = TokenLimit(name="DAILY_TOKEN_BUDGET", tokens=100_000)
LIMITS = (MONTH, DAY, PROJECT, TOKENS)


def standing(limit: SpendLimit | TokenLimit, used: int = 1_000, held: int = 200) -> LimitUsage:
    return LimitUsage(limit=limit, window_label="2026-06", used=used, held=held, held_count=2)


def budget(**changes: int) -> Budget:
    values: dict[str, Any] = {
        "limit_nanodollars": 500_000_000_000,
        "spent_nanodollars": 1_000,
        "held_nanodollars": 0,
        "held_count": 0,
        "unresolved_nanodollars": 60_000_000,
        "unresolved_count": 3,
        "unpriced_count": 0,
        **changes,
    }
    return Budget(window_label="2026-06", **values)


def bars_of(popover: SpendPopover) -> list[BudgetBar]:
    return [bar for bar in popover.bars.findChildren(BudgetBar) if bar.isVisibleTo(popover.bars)]


@pytest.fixture
def panel(qapp: QApplication, home: Path) -> Iterator[Panel]:
    with panel_on_qt(qapp, home) as running:
        yield running


async def opened(panel: Panel, *, held: bool = False) -> SpendPopover:
    await panel.start()
    panel.core.publish(budget=budget(), limits=tuple(standing(limit) for limit in LIMITS))
    await panel.until(lambda: panel.bridge.status is not None and panel.bridge.status.limits)  # type: ignore[arg-type, return-value]
    anchor = panel.show(QWidget(), 200, 40)
    popover = SpendPopover(panel.bridge, anchor)
    popover.open_at(anchor, held=held)
    return popover


def test_every_limit_has_its_words_and_its_bar(panel: Panel) -> None:
    assert [limit_words(standing(limit), "June") for limit in LIMITS] == [
        "June",
        "Today",
        "Project website, June",
        "Tokens today",
    ]
    assert [amount_words(standing(limit)) for limit in (MONTH, TOKENS)] == ["$500", "100,000 tokens"]

    async def body() -> None:
        popover = await opened(panel)
        bars = popover.findChildren(BudgetBar)
        assert len(bars) == 4
        assert (
            bars[3].accessibleDescription()
            == "1,000 tokens used, 200 tokens held, 98,800 tokens free of 100,000 tokens"
        )
        assert popover.unsettled.text() == "Up to $0.0600 not settled, of 3 requests"
        stopped = replace(standing(MONTH, used=5_000_000), estimated=True)
        panel.core.publish(limits=(stopped,))
        await panel.until(
            lambda: ["~$0.0050 spent" in bar.accessibleDescription() for bar in bars_of(popover)] == [True]
        )
        unpriced = replace(standing(MONTH, used=312_000_000), unpriced=251_300_000)
        month = budget(unresolved_nanodollars=0, unresolved_count=0, unpriced_count=3)
        month = replace(month, spent_nanodollars=312_000_000, unpriced_nanodollars=251_300_000)
        panel.core.publish(limits=(unpriced,), budget=month)
        await panel.until(lambda: popover.unsettled.text() == "3 unpriced, counted at up to $0.2513")
        (bar,) = bars_of(popover)
        assert bar.accessibleDescription().startswith(
            "$0.0607 spent, <$0.0001 held, up to $0.2513 unpriced, "
        )
        panel.core.publish(limits=(standing(MONTH),))
        await panel.until(lambda: len(bars_of(popover)) == 1)
        popover.close()

    panel.run(body())


@pytest.mark.parametrize(
    ("ago", "words"),
    [
        (timedelta(seconds=12), "Added up anew 12 s ago, and it agrees"),
        (timedelta(minutes=42), "Added up anew 42 min ago, and it agrees"),
        (timedelta(hours=5), "Added up anew 5 h ago, and it agrees"),
    ],
)
def test_when_the_sums_were_checked(ago: timedelta, words: str) -> None:
    assert checked_words(LedgerCheck(at=NOW - ago, attempts=9), NOW) == words


def test_sums_that_differ_and_sums_never_checked_are_said() -> None:
    assert checked_words(None, NOW) == "Not yet added up anew"
    broken = LedgerCheck(at=NOW, attempts=9, differences=("a", "b"))
    assert checked_words(broken, NOW) == "2 sums differ from the rows, seen 0 s ago"


def saved_row(**changes: Any) -> ReportRow:
    values: dict[str, Any] = {field.name: 0 for field in fields(ReportRow) if field.default is MISSING}
    values |= {"key": "api", **changes}
    return ReportRow(**values)


def test_what_was_saved_this_month_is_shown_if_anything_was(panel: Panel) -> None:
    async def body() -> None:
        popover = await opened(panel)
        await panel.until(lambda: any(call[0] == "report" for call in panel.core.calls))
        assert not popover.saved.isVisible()
        popover.close()
        panel.core.ledger.reported = [saved_row(cache_saved_nanodollars=5_000_000)]
        anchor = panel.show(QWidget(), 200, 40)
        popover = SpendPopover(panel.bridge, anchor)
        popover.open_at(anchor)
        await panel.until(popover.saved.isVisible)
        assert popover.saved.text() == "Saved in June $0.0050: caching $0.0050"
        _, since, by = next(call for call in panel.core.calls if call[0] == "report")
        assert isinstance(since, datetime)
        assert (since.day, since.hour, since.minute, by) == (1, 0, 0, "side")
        popover.close()

    panel.run(body())


def test_the_limits_can_be_tested(panel: Panel) -> None:
    async def body() -> None:
        popover = await opened(panel)
        panel.core.ledger.armed = [
            ArmedLimit(limit_name=limit.name, armed=limit is not DAY, detail=f"{limit.name} seen")
            for limit in LIMITS
        ]
        popover.test_button.click()
        await panel.until(lambda: bool(popover.result.text))
        assert popover.result.text == "Not all hold 1 of 4 limits let too much through."
        lines = [line.text for _, line in popover.bars._lines]  # pyright: ignore[reportPrivateUsage]
        assert lines[0] == "Tested SPEND_LIMIT_DOLLARS seen"
        assert lines[1].startswith("Doesn’t hold")
        popover.close()

    panel.run(body())


@pytest.mark.parametrize(
    ("typed", "nanodollars"),
    [("0.0123", 12_300_000), ("$2", 2_000_000_000), ("1,500", 1_500_000_000_000), ("0", 0)],
)
def test_an_amount_is_read_in_dollars(typed: str, nanodollars: int) -> None:
    assert read_amount(typed) == nanodollars


@pytest.mark.parametrize("typed", ["", "two", "-1", "1,50", "nan", "1e99"])
def test_what_is_no_amount_is_refused_in_words(typed: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_amount(typed)
    assert refused.value.hint


def row_of(popover: SpendPopover) -> UnresolvedRow:
    return popover.held.rows[0]


def test_an_unresolved_request_is_settled_by_hand_after_a_second_look(panel: Panel) -> None:
    async def body() -> None:
        panel.core.ledger.left = [ledger_row("0197-a"), ledger_row("0197-b")]
        popover = await opened(panel, held=True)
        await panel.until(lambda: len(popover.held.rows) == 2)
        row = row_of(popover)
        row.edit.setFocus()
        QTest.keyClicks(row.edit, "lots")
        QTest.keyClick(row.edit, Qt.Key.Key_Return)
        assert "isn" in row.result.text or "not" in row.result.text
        assert not [call for call in panel.core.calls if call[0] == "resolve"]
        row.edit.selectAll()
        QTest.keyClicks(row.edit, "0.0123")
        QTest.keyClick(row.edit, Qt.Key.Key_Return)
        assert row.button.text() == "Settle at $0.0123"
        words = next(label for label in row.findChildren(QLabel) if "chat" in label.text())
        await panel.until(
            lambda: words.height() >= words.heightForWidth(words.width())
        )  # beside a wider button
        QTest.keyClicks(row.edit, "4")  # another amount has to be looked at again
        assert row.button.text() == "Settle"
        QTest.keyClick(row.edit, Qt.Key.Key_Backspace)
        row.button.click()
        row.button.click()
        await panel.until(lambda: len(popover.held.rows) == 1)
        assert ("resolve", "0197-a", 12_300_000) in panel.core.calls
        assert row_of(popover).row.correlation_id == "0197-b"
        popover.close()

    panel.run(body())


def test_a_request_that_somebody_else_settled_says_so(panel: Panel) -> None:
    async def body() -> None:
        panel.core.ledger.left = [ledger_row("0197-a")]
        popover = await opened(panel, held=True)
        await panel.until(lambda: len(popover.held.rows) == 1)
        panel.core.ledger.left = []
        row = row_of(popover)
        QTest.keyClicks(row.edit, "0.5")
        row.button.click()
        assert "more than the $0.0200" in row.result.text
        row.button.click()
        await panel.until(lambda: "unresolved" in row.result.text)
        assert row.button.text() == "Settle"
        popover.close()

    panel.run(body())


def test_a_ledger_that_can_t_be_read_is_said_and_never_zero(panel: Panel) -> None:
    async def body() -> None:
        panel.core.ledger.error = LedgerUnavailable("The ledger is busy.", hint="Try again.")
        popover = await opened(panel, held=True)
        await panel.until(lambda: "The ledger is busy" in popover.result.text)
        panel.core.publish(budget=None, limits=())
        await panel.until(lambda: "Not available" in popover.result.text)
        popover.close()

    panel.run(body())
