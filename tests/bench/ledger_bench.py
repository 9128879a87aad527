"""What the ledger costs: a hold with its settlement, alone and with many at once."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from pathlib import Path

from core.chat import Usage, new_correlation_id
from core.spend.ledger import HoldRequest, Ledger, NewRequest, Outcome, SpendLimit
from tests.bench.measure import Figure, median, percentile

LIMIT = SpendLimit(name="SPEND_LIMIT_DOLLARS", nanodollars=500 * 10**9)


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_run(Path(folder)))


async def _run(home: Path) -> list[Figure]:
    ledger = Ledger(None, home)
    await ledger.open()
    try:
        alone = [await _hold_and_settle(ledger) for _ in range(200)]
        together: list[float] = []
        for _ in range(5):
            together += await asyncio.gather(*(_hold_and_settle(ledger) for _ in range(64)))
    finally:
        await ledger.close()
    commit = _two_plain_commits(home)
    value, spread = median(alone)
    return [
        Figure(
            name="hold and settle, one request at a time",
            value=value,
            unit="ms",
            baseline=commit,
            baseline_name="two bare SQLite commits",
            spread=spread,
        ),
        Figure(
            name="hold and settle, 64 requests at once, p99",
            value=percentile(together, 0.99),
            unit="ms",
            baseline=value,
            baseline_name="one at a time",
        ),
    ]


async def _hold_and_settle(ledger: Ledger) -> float:
    """Return the milliseconds of one request's two entries."""
    record = NewRequest(
        correlation_id=new_correlation_id(), side="api", provider="anthropic", model="claude-sonnet-4-6"
    )
    start = time.perf_counter()
    await ledger.begin(record, HoldRequest(nanodollars=15_000_000, limits=(LIMIT,)))
    usage = Usage(fresh_input_tokens=100, output_tokens=50)
    await ledger.settle(
        record.correlation_id, Outcome(status="done", usage=usage, cost_nanodollars=1_050_000)
    )
    return (time.perf_counter() - start) * 1000


def _two_plain_commits(home: Path) -> float:
    """Return the median milliseconds of two durable one-row commits in the same folder."""
    connection = sqlite3.connect(home / "plain.sqlite3", isolation_level=None)
    connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t (a, b)")
    times: list[float] = []
    for number in range(200):
        start = time.perf_counter()
        for _ in range(2):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO t VALUES (?, ?)", (number, "x" * 200))
            connection.execute("COMMIT")
        times.append((time.perf_counter() - start) * 1000)
    connection.close()
    return median(times)[0]
