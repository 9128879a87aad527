"""A ledger of a million requests: what a report, a start and a page of rows cost."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

from core.ledger.database import LEDGER_FILE
from core.ledger.ledger import Ledger
from tests.bench.measure import Figure, median
from tests.support.many_rows import fill

ROWS = 1_000_000
ROUNDS = 7


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        last = fill(home, ROWS)
        scan_ms = _scan(home)
        return asyncio.run(_run(home, last, scan_ms))


async def _run(home: Path, last: datetime, scan_ms: float) -> list[Figure]:
    ledger = Ledger(None, home)
    await ledger.open()
    two_days = last - timedelta(days=2)
    try:
        return [
            await _figure(
                "report by day and provider, 1,000,000 requests", 50, scan_ms, ledger.report, daily=True
            ),
            await _figure("report by day, the same", 50, scan_ms, ledger.report, None, "day"),
            await _figure("check at the start, the same", 300, scan_ms, _start, ledger, two_days),
            await _figure("a page of 100 rows, the same", 50, scan_ms, ledger.recent),
        ]
    finally:
        await ledger.close()


async def _start(ledger: Ledger, since: datetime) -> None:
    """What a start does: close what dead processes left, and check the last two days."""
    await ledger.recover()
    check = await ledger.check(since)
    assert check.ok, check.differences


async def _figure(
    name: str,
    aim: float,
    scan_ms: float,
    work: Callable[..., Awaitable[object]],
    *given: object,
    **named: object,
) -> Figure:
    times: list[float] = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        await work(*given, **named)
        times.append((time.perf_counter() - start) * 1000)
    value, spread = median(times)
    return Figure(
        name=name,
        value=value,
        unit="ms",
        aim=aim,
        baseline=scan_ms,
        baseline_name="adding up all rows in bare SQLite",
        spread=spread,
    )


def _scan(home: Path) -> float:
    """Return the milliseconds of one sum over all rows by day and provider, as a router without sums would."""
    connection = sqlite3.connect(home / LEDGER_FILE)
    start = time.perf_counter()
    connection.execute(
        "SELECT day, provider, count(*), sum(cost_nanodollars), sum(output_tokens) "
        "FROM ledger_attempts GROUP BY day, provider"
    ).fetchall()
    took = (time.perf_counter() - start) * 1000
    connection.close()
    return took
