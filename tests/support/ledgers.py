"""Ledgers, requests and clocks for tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

from core.chat import Side, new_correlation_id
from core.ledger.ledger import HoldRequest, Ledger, NewRequest, SpendLimit

ZONE = timezone(timedelta(hours=5, minutes=30))
EVENING = datetime(2026, 11, 23, 23, 50, tzinfo=ZONE)


ROOT = Path(__file__).parents[2]


def ledger_child(*arguments: object) -> subprocess.Popen[str]:
    """Start a process that shares a ledger with the test: ``tests/support/ledger_child.py``."""
    command = [sys.executable, "-m", "tests.support.ledger_child", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class HandClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now: datetime = EVENING) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


def new_request(
    side: Side = "api", *, project: str | None = None, correlation_id: str | None = None
) -> NewRequest:
    provider, model = ("anthropic", "claude-x") if side == "api" else ("embedded", "smol")
    return NewRequest(
        correlation_id=correlation_id or new_correlation_id(),
        side=side,
        provider=provider,
        model=model,
        project=project,
    )


def month_limit(nanodollars: int) -> SpendLimit:
    return SpendLimit(name="SPEND_LIMIT_DOLLARS", nanodollars=nanodollars)


def hold(nanodollars: int | None, limit: int | None = None) -> HoldRequest:
    return HoldRequest(nanodollars=nanodollars, limits=() if limit is None else (month_limit(limit),))


@asynccontextmanager
async def open_ledger(
    home: Path, clock: HandClock | None = None, url: str | None = None
) -> AsyncGenerator[Ledger, None]:
    ledger = Ledger(url, home, clock=clock) if clock else Ledger(url, home)
    await ledger.open()
    try:
        yield ledger
    finally:
        await ledger.close()
