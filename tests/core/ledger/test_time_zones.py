"""The day and the month are the user's: the report and the limits agree on when they began, in every time zone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from core.chat import Usage, new_correlation_id
from core.ledger.ledger import Ledger
from core.ledger.limits import SpendLimit
from core.ledger.models import HoldRequest, NewRequest, Outcome

LIMITS = (
    SpendLimit(name="DAILY_SPEND_LIMIT_DOLLARS", nanodollars=500 * 10**9, window="day"),
    SpendLimit(name="SPEND_LIMIT_DOLLARS", nanodollars=500 * 10**9),
)

pytestmark = pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system sets no time zone by TZ")


@pytest.fixture
def in_zone(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


ZONES = ["Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "Europe/Berlin", "UTC"]


@pytest.mark.parametrize("in_zone", ZONES, indirect=True)
@pytest.mark.parametrize(
    "midnight",
    [datetime(2026, 11, 1), datetime(2026, 4, 1), datetime(2026, 10, 25), datetime(2026, 3, 8)],
    ids=["a month", "after the change", "the day of the change", "America's day of the change"],
)
async def test_what_began_before_midnight_is_not_todays(in_zone: str, midnight: datetime, home: Path) -> None:
    now = [midnight.astimezone()]
    ledger = Ledger(None, home, clock=lambda: now[0])
    await ledger.open()
    try:
        for minutes, dollars in ((-10, 1), (10, 2)):
            now[0] = (midnight + timedelta(minutes=minutes)).astimezone()
            record = NewRequest(
                correlation_id=new_correlation_id(),
                side="api",
                provider="anthropic",
                model="m",
                started_at=now[0],
            )
            await ledger.begin(record, HoldRequest(nanodollars=5 * 10**9, limits=LIMITS))
            outcome = Outcome(
                status="done",
                usage=Usage(fresh_input_tokens=7, output_tokens=3),
                cost_nanodollars=dollars * 10**9,
                latency_ms=1.0,
            )
            await ledger.settle(record.correlation_id, 1, outcome)
        (row,) = await ledger.report(midnight.astimezone(), "provider")
        _, usages, _ = await ledger.standing(LIMITS)
        standings = {each.limit.name: each.used for each in usages}
    finally:
        await ledger.close()
    assert (row.requests, row.cost_nanodollars) == (1, 2 * 10**9), in_zone
    assert standings["DAILY_SPEND_LIMIT_DOLLARS"] == row.cost_nanodollars
    if midnight.day == 1:
        assert standings["SPEND_LIMIT_DOLLARS"] == row.cost_nanodollars
