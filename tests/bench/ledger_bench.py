"""What the ledger costs: a hold with its settlement, in two kinds of crowd, beside bare SQLite that writes as much.

*In flight* is how requests come: each lives a second, so 64 of them run at any time, they begin one after the
other, and the ledger has 128 entries a second. *At once* is the worst moment: 64 begin in the same instant, the
last of them waits for the work of all, and so it is when they settle.

The baseline writes as many rows in as many commits that wait for the disk, in the same folder, and nothing else: no
threads, no limits, no hashes. In flight, the two take turns, because a disk that others use changes by the second.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.chat import Usage, new_correlation_id
from core.ledger.ledger import HoldRequest, Ledger, NewRequest, Outcome, SpendLimit, TokenLimit
from tests.bench.measure import Figure, median, percentile

LIMITS = (
    SpendLimit(name="SPEND_LIMIT_DOLLARS", nanodollars=500 * 10**9),
    SpendLimit(name="DAILY_SPEND_LIMIT_DOLLARS", nanodollars=100 * 10**9, window="day"),
    TokenLimit(name="DAILY_TOKEN_BUDGET", tokens=10**9),
)
IN_FLIGHT, LIFE_S, RUN_S = 64, 1.0, 3.0
TURNS = 5
ALONE, BURSTS = 300, 20
WARM_UP = 400
"""Requests before the first is measured: by then SQLite's log has its size, as in any process that runs a while."""

HOLD_SUMS, SETTLE_SUMS = 3, 5
"""Rows that are changed beside the attempt's own and its entry in the audit log: the head of that log, and the
totals of the month and the day; at the end also the sums of the hour and the day."""


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_run(Path(folder)))


async def _run(home: Path) -> list[Figure]:
    ledger = Ledger(None, home)
    await ledger.open()
    try:
        with _bare(home / "bare.sqlite3") as bare:
            for _ in range(WARM_UP):
                await _hold_and_settle(ledger)
                bare.hold_and_settle()
            return [
                *await _alone(ledger, bare),
                *await _in_flight(ledger, bare),
                *await _at_once(ledger, bare),
            ]
    finally:
        await ledger.close()


async def _alone(ledger: Ledger, bare: Bare) -> list[Figure]:
    bare_ms, ours_ms = [], []
    bare_busy_s = ours_busy_s = 0.0
    for _ in range(ALONE):
        busy = time.process_time()
        bare_ms.append(bare.hold_and_settle())
        between = time.process_time()
        ours_ms.append(await _hold_and_settle(ledger))
        bare_busy_s, ours_busy_s = bare_busy_s + between - busy, ours_busy_s + time.process_time() - between
    base = median(bare_ms)[0]
    return [
        Figure(
            name="the same rows in two bare SQLite commits",
            value=base,
            unit="ms",
            spread=(min(bare_ms), percentile(bare_ms, 0.99)),
        ),
        Figure(
            name="hold and settle, one request at a time",
            value=median(ours_ms)[0],
            unit="ms",
            aim_times=1.8,
            baseline=base,
            baseline_name="bare",
            spread=(min(ours_ms), percentile(ours_ms, 0.99)),
        ),
        Figure(
            name="the same in processor time",
            value=ours_busy_s / ALONE * 1000,
            unit="ms",
            baseline=bare_busy_s / ALONE * 1000,
            baseline_name="bare",
        ),
    ]


async def _in_flight(ledger: Ledger, bare: Bare) -> list[Figure]:
    """Take turns, so that both see the same disk."""
    bare_ms: list[float] = []
    ours_ms: list[float] = []
    for _ in range(TURNS):
        bare_ms += await asyncio.to_thread(bare.spaced, LIFE_S / IN_FLIGHT, RUN_S - LIFE_S)
        ours_ms += await _spaced(ledger)
    name = f"hold and settle, {IN_FLIGHT} in flight"
    return [
        Figure(
            name=f"{name}, median",
            value=median(ours_ms)[0],
            unit="ms",
            aim_times=1.8,
            baseline=median(bare_ms)[0],
            baseline_name="bare at that pace",
            spread=median(ours_ms)[1],
        ),
        Figure(
            name=f"{name}, p99",
            value=percentile(ours_ms, 0.99),
            unit="ms",
            aim=1,
            baseline=percentile(bare_ms, 0.99),
            baseline_name="the p99 of bare",
        ),
    ]


async def _at_once(ledger: Ledger, bare: Bare) -> list[Figure]:
    bare_ms: list[float] = []
    ours_ms: list[float] = []
    bursts_s = 0.0
    for _ in range(BURSTS):
        bare_ms.append(bare.hold_and_settle(IN_FLIGHT))
        start = time.perf_counter()
        ours_ms += await asyncio.gather(*(_hold_and_settle(ledger) for _ in range(IN_FLIGHT)))
        bursts_s += time.perf_counter() - start
    name = f"hold and settle, {IN_FLIGHT} at once"
    base = median(bare_ms)[0]
    return [
        Figure(
            name=f"{name}, p99",
            value=percentile(ours_ms, 0.99),
            unit="ms",
            baseline=percentile(bare_ms, 0.99),
            baseline_name="the p99 of all their rows in two bare commits",
        ),
        Figure(
            name=f"{name}, each one's share",
            value=bursts_s / len(ours_ms) * 1000,
            unit="ms",
            baseline=base / IN_FLIGHT,
            baseline_name="its share of them",
        ),
    ]


async def _spaced(ledger: Ledger) -> list[float]:
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
        record.correlation_id, 1, Outcome(status="done", usage=usage, cost_nanodollars=1_050_000)
    )
    return (took + time.perf_counter() - start) * 1000


class Bare:
    """As many rows as the ledger writes, of about its sizes, by SQLite alone."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
            "CREATE TABLE attempts (id INTEGER PRIMARY KEY, name TEXT, row TEXT);"
            "CREATE UNIQUE INDEX by_name ON attempts (name);"
            "CREATE TABLE log (id INTEGER PRIMARY KEY, entry TEXT);"
            "CREATE TABLE sums (id INTEGER PRIMARY KEY, amount INTEGER)"
        )
        connection.executemany("INSERT INTO sums VALUES (?, 0)", [(number,) for number in range(SETTLE_SUMS)])

    def hold_and_settle(self, count: int = 1) -> float:
        """Write ``count`` holds in one commit and their settlements in another; return the milliseconds."""
        start = time.perf_counter()
        names = self._hold(count)
        self._settle(names)
        return (time.perf_counter() - start) * 1000

    def spaced(self, interval_s: float, run_s: float) -> list[float]:
        """Write a request every ``interval_s``, its settlement half an interval later; return each one's
        milliseconds."""
        found: list[float] = []
        begun = time.perf_counter()
        for number in range(int(run_s / interval_s)):
            _sleep_until(begun + number * interval_s)
            start = time.perf_counter()
            names = self._hold(1)
            took = time.perf_counter() - start
            _sleep_until(begun + (number + 0.5) * interval_s)
            start = time.perf_counter()
            self._settle(names)
            found.append((took + time.perf_counter() - start) * 1000)
        return found

    def _hold(self, count: int) -> list[str]:
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        names: list[str] = []
        for _ in range(count):
            names.append(new_correlation_id())
            run("INSERT INTO attempts (name, row) VALUES (?, ?)", (names[-1], "x" * 250))
            run("INSERT INTO log (entry) VALUES (?)", ("x" * 450,))
            self._add(HOLD_SUMS)
        run("COMMIT")
        return names

    def _settle(self, names: list[str]) -> None:
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        for name in names:
            run("UPDATE attempts SET row = ? WHERE name = ?", ("y" * 300, name))
            run("INSERT INTO log (entry) VALUES (?)", ("y" * 450,))
            self._add(SETTLE_SUMS)
        run("COMMIT")

    def _add(self, count: int) -> None:
        for number in range(count):
            self._connection.execute("UPDATE sums SET amount = amount + 1 WHERE id = ?", (number,))


@contextmanager
def _bare(path: Path) -> Iterator[Bare]:
    # It writes on a thread of its own in its turns, and never on two at a time.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        yield Bare(connection)
    finally:
        connection.close()


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.perf_counter()))
