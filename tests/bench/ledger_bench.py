"""What the ledger costs: a hold with its settlement, in two kinds of crowd, beside the commits of bare SQLite.

*In flight* is how requests come: each lives a second, so 64 of them run at any time, and they begin one after the
other. *At once* is the worst moment: 64 begin in the same instant, and settle as soon as they may.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from pathlib import Path

from core.chat import Usage, new_correlation_id
from core.spend.ledger import HoldRequest, Ledger, NewRequest, Outcome, SpendLimit, TokenLimit
from tests.bench.measure import Figure, median, percentile

LIMITS = (
    SpendLimit(name="SPEND_LIMIT_DOLLARS", nanodollars=500 * 10**9),
    SpendLimit(name="DAILY_SPEND_LIMIT_DOLLARS", nanodollars=100 * 10**9, window="day"),
    TokenLimit(name="DAILY_TOKEN_BUDGET", tokens=10**9),
)
IN_FLIGHT, LIFE_S, RUN_S = 64, 1.0, 8.0
WARM_UP = 400
"""Requests before the first is measured: by then SQLite's log has its size, as in any process that runs a while."""


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_run(Path(folder)))


async def _run(home: Path) -> list[Figure]:
    bare = await asyncio.to_thread(_bare, home / "bare.sqlite3", 300, 0.0)
    ledger = Ledger(None, home)
    await ledger.open()
    try:
        for _ in range(WARM_UP):
            await _hold_and_settle(ledger)
        alone = [await _hold_and_settle(ledger) for _ in range(300)]
        spaced, in_flight = await asyncio.gather(
            asyncio.to_thread(_bare, home / "spaced.sqlite3", int(RUN_S * 16), 1 / 16), _in_flight(ledger)
        )
        together: list[float] = []
        start = time.perf_counter()
        for _ in range(10):
            together += await asyncio.gather(*(_hold_and_settle(ledger) for _ in range(IN_FLIGHT)))
        burst_s = (time.perf_counter() - start) / len(together)
    finally:
        await ledger.close()
    base, base_spread = median(bare)
    return [
        Figure(
            name="two bare SQLite commits that wait for the disk",
            value=base,
            unit="ms",
            spread=(base_spread[0], percentile(bare, 0.99)),
        ),
        Figure(
            name="hold and settle, one request at a time",
            value=median(alone)[0],
            unit="ms",
            baseline=base,
            baseline_name="two bare commits",
            spread=(min(alone), percentile(alone, 0.99)),
        ),
        Figure(
            name=f"hold and settle, {IN_FLIGHT} in flight, median",
            value=median(in_flight)[0],
            unit="ms",
            baseline=median(spaced)[0],
            baseline_name="two bare commits at that time",
        ),
        Figure(
            name=f"hold and settle, {IN_FLIGHT} in flight, p99",
            value=percentile(in_flight, 0.99),
            unit="ms",
            aim=1,
            baseline=percentile(spaced, 0.99),
            baseline_name="their p99",
        ),
        Figure(
            name=f"hold and settle, {IN_FLIGHT} at once, p99",
            value=percentile(together, 0.99),
            unit="ms",
            baseline=IN_FLIGHT * base,
            baseline_name=f"{IN_FLIGHT} times two bare commits",
        ),
        Figure(
            name=f"hold and settle, {IN_FLIGHT} at once, each one's share",
            value=burst_s * 1000,
            unit="ms",
            baseline=base,
            baseline_name="two bare commits",
        ),
    ]


async def _in_flight(ledger: Ledger) -> list[float]:
    """Let requests that live a second begin evenly; return what each waited for the ledger, once they are 64."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    tasks: list[asyncio.Task[float]] = []
    for number in range(int(IN_FLIGHT * RUN_S / LIFE_S)):
        # At its own time, whether or not the ones before are through: a slow ledger makes no slower arrivals.
        await asyncio.sleep(max(0.0, start + number * LIFE_S / IN_FLIGHT - loop.time()))
        tasks.append(asyncio.create_task(_hold_and_settle(ledger, LIFE_S)))
    return (await asyncio.gather(*tasks))[IN_FLIGHT:]


async def _hold_and_settle(ledger: Ledger, life_s: float = 0.0) -> float:
    """Return the milliseconds of one request's two entries."""
    record = NewRequest(
        correlation_id=new_correlation_id(), side="api", provider="anthropic", model="claude-sonnet-4-6"
    )
    hold = HoldRequest(nanodollars=15_000_000, tokens=2000, limits=LIMITS, alert_percents=(50, 80, 100))
    start = time.perf_counter()
    await ledger.begin(record, hold)
    took = time.perf_counter() - start
    if life_s:
        await asyncio.sleep(life_s)
    usage = Usage(fresh_input_tokens=100, output_tokens=50)
    start = time.perf_counter()
    await ledger.settle(
        record.correlation_id, Outcome(status="done", usage=usage, cost_nanodollars=1_050_000)
    )
    return (took + time.perf_counter() - start) * 1000


def _bare(path: Path, count: int, pause_s: float) -> list[float]:
    """Return the milliseconds of two durable one-row commits each, in the same folder, after a warm-up."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t (a, b)")
    times: list[float] = []
    for number in range(WARM_UP + count):
        if number >= WARM_UP:
            time.sleep(pause_s)
        start = time.perf_counter()
        for _ in range(2):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO t VALUES (?, ?)", (number, "x" * 200))
            connection.execute("COMMIT")
        times.append((time.perf_counter() - start) * 1000)
    connection.close()
    return times[WARM_UP:]
