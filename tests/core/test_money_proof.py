"""Proof, not hope: the ledger against an API that keeps its own books, through every fault and kill -9.

Whatever happens, (1) spent + held never passes the limit when a request is let in, (2) what got a usage is in the
ledger at exactly what the API billed, (3) whatever else the API billed is in the ledger at no less: a stopped
request at the most that it can have cost, the others at their hold, shown as unresolved, (4) so the API's own sum
never passes the limit either, and (5) the audit log and the kept sums agree with the rows.

A failure prints its seed; ``MONEY_PROOF_SEED=<seed>`` repeats the same requests, replies and moments to kill (which
request meets which moment is up to the machine). ``MONEY_PROOF_KILLS`` sets how many.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import secrets
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from core.chat import TextDelta
from core.ledger.ledger import Ledger
from core.router_core import RouterCore
from core.settings import SettingsStore
from tests.support.books import PRICES, Booking, Bookkeeper, served
from tests.support.openai_server import OpenAIServer

ROOT = Path(__file__).parents[2]
SEED = int(os.environ.get("MONEY_PROOF_SEED") or secrets.randbits(32))
KILLS = int(os.environ.get("MONEY_PROOF_KILLS") or 50)
SOAK_KILLS = int(os.environ.get("MONEY_PROOF_KILLS") or 3000)
AT_ONCE = 200
MODELS = list(PRICES)
needs_fork = pytest.mark.skipif(
    not hasattr(os, "fork") or sys.platform == "darwin",
    reason="children are forked from a process that has everything imported; only Linux does that safely",
)

Row = dict[str, Any]
Key = tuple[str, int]


def environment(home: Path, api: Bookkeeper, local: OpenAIServer, limit: int) -> dict[str, str]:
    return {
        "ANTHROPIC_API_KEY": "sk-ant-test-0123456789",
        "ANTHROPIC_BASE_URL": api.url,
        "VLLM_BASE_URL": local.base_url,
        "SIGNALBOX_HOME": str(home),
        "SPEND_LIMIT_DOLLARS": f"{limit / 1e9:.9f}",
        "MAX_TOKENS_PER_REQUEST": "32",
        "TZ": zone_away_from_the_months_end(),
    }


def zone_away_from_the_months_end() -> str:
    """Return a time zone in which the month does not end while the test runs: a new month frees the limit."""
    now = datetime.now().astimezone()
    hours = 0 if (now - timedelta(hours=2)).month == (now + timedelta(hours=2)).month else 12
    return f"PROOF{hours}" if hours else os.environ.get("TZ", "")


class SecondConnection:
    """Reads the ledger beside the process that writes it."""

    def __init__(self, home: Path) -> None:
        self._path = home / "ledger.sqlite3"

    def read(self, query: str) -> list[Row]:
        connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=30)
        connection.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in connection.execute(query)]
        finally:
            connection.close()

    def taken(self) -> int:
        """Spent and held, added up from the rows themselves."""
        return self._number(
            "SELECT coalesce(sum(CASE WHEN state = 'open' THEN hold_nanodollars ELSE counted_nanodollars END), 0) "
            "AS number FROM ledger_attempts WHERE side = 'api'"
        )

    def last_entry(self) -> int:
        return self._number("SELECT coalesce(max(seq), 0) AS number FROM ledger_audit")

    def _number(self, query: str) -> int:
        if not self._path.exists():
            return 0
        try:
            return int(self.read(query)[0]["number"])
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):  # it is being created, or a kill came before it was
                return 0
            raise

    def attempts(self) -> list[Row]:
        return self.read("SELECT * FROM ledger_attempts ORDER BY id")

    def entries(self) -> list[Row]:
        return self.read("SELECT seq, kind, correlation_id, payload_json FROM ledger_audit ORDER BY seq")


class Sampler:
    """Looks at spent + held again and again while a child runs, and keeps the highest."""

    def __init__(self, ledger: SecondConnection) -> None:
        self._ledger = ledger
        self._ended = threading.Event()
        self.highest = 0
        self.samples = 0
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._look, name="sampler", daemon=True)

    def _look(self) -> None:
        try:
            while not self._ended.wait(0.002):
                self.highest = max(self.highest, self._ledger.taken())
                self.samples += 1
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            self.error = error

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self.error is not None:
            raise self.error


# -- the comparison -----------------------------------------------------------------------------------------


def differences(books: list[Booking], rows: list[Row], seen: Counter[str]) -> list[str]:
    """Compare the API's books with the closed rows of the ledger, request by request; ``seen`` counts the cases."""
    found: list[str] = []
    billed: defaultdict[str, list[Booking]] = defaultdict(list)
    for booking in books:
        billed[booking.correlation_id].append(booking)
    attempts: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["side"] == "api":
            attempts[row["correlation_id"]].append(row)
    for correlation_id in attempts.keys() | billed.keys():
        of_request = _differences_of_request(billed[correlation_id], attempts[correlation_id], seen)
        found += [f"{correlation_id}: {what}" for what in of_request]
    return found


def _differences_of_request(bookings: list[Booking], attempts: list[Row], seen: Counter[str]) -> list[str]:
    found: list[str] = []
    left = list(bookings)
    unresolved: list[Row] = []
    for row in attempts:
        if row["state"] == "open":
            found.append("still open")
        elif row["state"] == "unresolved":
            if row["counted_nanodollars"] != row["hold_nanodollars"]:
                found.append(f"unresolved at {row['counted_nanodollars']}, held {row['hold_nanodollars']}")
            unresolved.append(row)
        elif row["state"] == "settled":
            # The server counts each arrival of a request one token longer, so the input names the booking.
            same = [booking for booking in left if booking.input_tokens == _input_tokens(row)]
            if not same:
                found.append(f"settled at {row['cost_nanodollars']}, and no such booking is left: {left}")
                continue
            left.remove(same[0])
            seen[f"settled, {row['status']}"] += 1
            found += _settled_differences(row, same[0])
        elif row["counted_nanodollars"]:
            found.append(f"released, and counted at {row['counted_nanodollars']}")
        else:
            seen["released"] += 1
    # Any attempt without a known end may be the one that was billed; the dearest goes to the largest hold.
    unresolved.sort(key=lambda row: -row["hold_nanodollars"])
    left = sorted((b for b in left if b.nanodollars), key=lambda booking: -booking.nanodollars)
    if len(left) > len(unresolved):
        found.append(f"billed and not in the ledger: {left[len(unresolved) :]}")
    for booking, row in zip(left, unresolved, strict=False):
        if booking.nanodollars > row["hold_nanodollars"]:
            found.append(f"billed {booking.nanodollars}, counted at a hold of only {row['hold_nanodollars']}")
    seen["unresolved, billed"] += min(len(left), len(unresolved))
    seen["unresolved, not billed"] += max(0, len(unresolved) - len(left))
    return found


def _input_tokens(row: Row) -> int:
    names = ("fresh_input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")
    return sum(row[name] or 0 for name in names)


def _settled_differences(row: Row, booking: Booking) -> list[str]:
    cost, billed = row["cost_nanodollars"], booking.nanodollars
    if row["counted_nanodollars"] != cost:
        return [f"settled at {cost} but counted at {row['counted_nanodollars']}"]
    # A stopped one whose final usage did not come is settled at the most that it can have cost.
    at_most = row["status"] == "stopped" and billed <= cost <= row["hold_nanodollars"]
    if cost != billed and not at_most:
        return [
            f"{row['status']} ({row['error_kind']}), settled at {cost}, billed {billed} "
            f"({booking.fate}, {booking.output_tokens} output tokens, {row['output_tokens']} in the ledger)"
        ]
    return []


def replayed(entries: list[Row], attempts: list[Row]) -> Iterator[tuple[int, int]]:
    """Add the audit log up entry by entry; yield the number and spent + held after each admission to the API."""
    holds = {(row["correlation_id"], row["number"]): row["hold_nanodollars"] for row in attempts}
    amounts: dict[Key, int] = {}
    taken = 0
    for entry in entries:
        payload = json.loads(entry["payload_json"])
        row = payload.get("row")
        if row is None:
            continue
        key = (entry["correlation_id"], row["number"])
        is_open = row["state"] == "open"
        amount = row.get("hold_nanodollars", 0) if is_open else row["counted_nanodollars"]
        taken += amount - amounts.get(key, 0)
        amounts[key] = amount
        if entry["kind"] == "begin":
            assert amount == holds[key], f"entry {entry['seq']} tells of a hold of {amount}, not {holds[key]}"
        if entry["kind"] == "begin" and row["side"] == "api":
            yield entry["seq"], taken


async def look_at_ledger(home: Path) -> tuple[list[str], int]:
    """Recover as a start does, then verify everything; return what is wrong and the number of audit entries."""
    ledger = Ledger(None, home)
    await ledger.open()
    try:
        await ledger.recover()
        check = await ledger.check()
        report = await ledger.verify_audit()
        wrong = [f"check: {what}" for what in check.differences]
        wrong += [f"audit: {problem.what} ({problem.correlation_id})" for problem in report.problems]
        return wrong, report.entries
    finally:
        await ledger.close()


# -- without a kill -----------------------------------------------------------------------------------------


async def test_two_hundred_at_once_end_in_books_that_agree(home: Path) -> None:
    from tests.support.money_child import keep_sending, warm_up

    warm_up()
    limit = 150_000_000
    with served(lambda: Bookkeeper(SEED), OpenAIServer) as (servers, api, local):
        core = RouterCore(SettingsStore(env=environment(home, api, local, limit)))
        await core.start()
        billed_enough = api.ring_after(6000)
        with Sampler(SecondConnection(home)) as sampler:
            senders = [
                asyncio.create_task(keep_sending(core, Random(f"{SEED}:{n}"), MODELS)) for n in range(AT_ONCE)
            ]
            await asyncio.to_thread(billed_enough.wait, 8)
            for sender in senders:
                sender.cancel()
            ends = await asyncio.gather(*senders, return_exceptions=True)
            await core.stop()
        servers.run(api.wait_quiet())
    assert {type(end) for end in ends} == {asyncio.CancelledError}, f"seed {SEED}"
    seen: Counter[str] = Counter()
    found = differences(api.ledger, SecondConnection(home).attempts(), seen)
    found += api.handles_that_differ
    wrong, _ = await look_at_ledger(home)
    assert found + wrong == [], f"seed {SEED}, {seen}"
    assert sampler.highest <= limit
    assert sum(booking.nanodollars for booking in api.ledger) <= SecondConnection(home).taken() <= limit
    assert seen["settled, done"] > 0


async def test_what_is_billed_after_a_stop_is_counted_too(home: Path) -> None:
    """The API goes on writing after its reader has left, or while the reader was slower than it."""
    with served(
        lambda: Bookkeeper(SEED, fates={"answers at full length": 1}, run_ahead=150, paces_s=(0.006, 0.01)),
        OpenAIServer,
    ) as (servers, api, local):
        env = environment(home, api, local, 10_000_000_000) | {"MAX_TOKENS_PER_REQUEST": "8000"}
        random = Random(SEED)
        async with RouterCore(SettingsStore(env=env)) as core:
            await asyncio.gather(
                *(stopped_after(core, random, random.randint(1, 90), pause_s=0.0) for _ in range(12)),
                stopped_after(core, random, 1, pause_s=1.5),
                *(stopped_after(core, random, 15, pause_s=0.1) for _ in range(7)),
            )
        servers.run(api.wait_quiet())
    rows = {row["correlation_id"]: row for row in SecondConnection(home).attempts()}
    assert len(rows) == len(api.ledger) == 20
    for booking in api.ledger:
        row = rows[booking.correlation_id]
        assert (row["status"], row["state"]) == ("stopped", "settled")
        assert booking.nanodollars <= row["cost_nanodollars"] <= row["hold_nanodollars"], f"seed {SEED}"
    # The most that it can have cost is far less than the worst case that was held.
    assert sum(row["cost_nanodollars"] for row in rows.values()) * 2 < sum(
        row["hold_nanodollars"] for row in rows.values()
    )


async def stopped_after(core: RouterCore, random: Random, pieces: int, *, pause_s: float) -> None:
    """Send a request and leave after so many pieces of its answer, and a pause at each, in which more pile up."""
    from tests.support.money_child import make_request

    request = replace(make_request(random, MODELS), max_tokens=None, force="api")
    async with aclosing(core.stream(request)) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                await asyncio.sleep(pause_s)
                pieces -= 1
            if pieces <= 0:
                break


# -- kill -9 ------------------------------------------------------------------------------------------------


class Children:
    """Forks cores from a process that has imported everything, and kills them."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.money_child"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="children", daemon=True)
        self._reader.start()
        self.broken: list[str] = []
        self._aside: list[str] = []
        self.expect("ready", 60)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(line.strip())

    def expect(self, start: str, timeout_s: float = 30) -> str:
        """Return the next line with this start; others wait until somebody asks for them."""
        for line in self._aside:
            if line.startswith(start):
                self._aside.remove(line)
                return line
        end = time.monotonic() + timeout_s
        while True:
            try:
                line = self._said.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {start!r} from the children; {self._aside} {self.broken}") from None
            if line.startswith("broken"):
                self.broken.append(json.loads(line.split(" ", 2)[2]))
            if line.startswith(start):
                return line
            self._aside.append(line)

    def start(self, spec: dict[str, Any]) -> int:
        self._order({"run": spec})
        return int(self.expect("pid ").split()[1])

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self._order({"reap": pid})
        self.expect(f"reaped {pid}")

    def _order(self, order: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._reader.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def forked() -> Generator[Children]:
    children = Children()
    try:
        yield children
    finally:
        children.close()


class Rounds:
    """Start, let run, kill, look; again and again on one ledger and one server."""

    def __init__(
        self, home: Path, children: Children, servers: Any, api: Bookkeeper, local: OpenAIServer
    ) -> None:
        self.home = home
        self.children = children
        self.servers, self.api, self.local = servers, api, local
        self.ledger = SecondConnection(home)
        self.random = Random(SEED)
        self.limits: list[tuple[int, int]] = []  # from which audit entry on which limit held
        self.kills = self.samples = self.refusals_at_limit = 0
        self.seen: Counter[str] = Counter()

    def one(self) -> None:
        """Run one or two cores at once under a limit with a little room, and kill each at a random moment."""
        random = self.random
        limit = self.ledger.taken() + random.randint(20_000_000, 200_000_000)
        self.limits.append((self.ledger.last_entry(), limit))
        count = 2 if random.random() < 0.15 else 1
        with Sampler(self.ledger) as sampler:
            pids: list[int] = []
            for number in range(count):
                spec = {
                    "env": environment(self.home, self.api, self.local, limit),
                    "models": MODELS,
                    "requests": random.choice((AT_ONCE // 10, AT_ONCE // 4, AT_ONCE)) // count,
                    "seed": f"{SEED}:{self.kills}:{number}",
                }
                pids.append(self.children.start(spec))
            for pid in pids:
                self._wait_for_a_moment(pid)
                self.children.kill(pid)
                self.kills += 1
        self.samples += sampler.samples
        assert self.children.broken == [], self._where()
        assert sampler.highest <= limit, f"{sampler.highest} taken of {limit}; {self._where()}"

    def _wait_for_a_moment(self, pid: int) -> None:
        """Let pass what the dice say: a moment of the start, so many events at the API, or the polite end."""
        random = self.random
        what = random.random()
        if what < 0.1:  # in the middle of its start, or of the recovery after the last kill
            time.sleep(random.random() * 0.15)
            return
        self.children.expect(f"running {pid}")
        rung = self.api.ring_after(random.randint(1, 600))
        rung.wait(1.2)  # under a limit that is used up nothing more happens there
        if what < 0.2:
            os.kill(pid, signal.SIGTERM)
        time.sleep(random.random() * 0.01)

    def look(self) -> None:
        """Compare everything with everything."""
        self.servers.run(self.api.wait_quiet())
        wrong, entries = asyncio.run(look_at_ledger(self.home))
        self.seen.clear()
        found = differences(self.api.ledger, self.ledger.attempts(), self.seen)
        found += self.api.handles_that_differ
        assert found + wrong == [], self._where()
        billed = sum(booking.nanodollars for booking in self.api.ledger)
        assert billed <= self.ledger.taken() <= self.limits[-1][1], self._where()
        self._check_replay(entries)

    def _check_replay(self, entries: int) -> None:
        limits = iter([*self.limits[1:], (sys.maxsize, 0)])
        _, limit = self.limits[0]
        next_from, next_limit = next(limits)
        taken = 0
        for seq, taken in replayed(self.ledger.entries(), self.ledger.attempts()):
            while seq > next_from:
                limit = next_limit
                next_from, next_limit = next(limits)
            assert taken <= limit, f"entry {seq}: {taken} taken of {limit}; {self._where()}"
        assert entries >= 1
        self.seen["highest share"] = round(100 * taken / self.limits[-1][1])

    def _where(self) -> str:
        return (
            f"MONEY_PROOF_SEED={SEED}, after {self.kills} kills, {len(self.api.ledger)} bookings, {self.seen}"
        )


def prove(home: Path, kills: int, look_every: int) -> Rounds:
    with forked() as children, served(lambda: Bookkeeper(SEED), OpenAIServer) as (servers, api, local):
        rounds = Rounds(home, children, servers, api, local)
        looked_at = 0
        while rounds.kills < kills:
            rounds.one()
            if rounds.kills - looked_at >= look_every:
                rounds.look()
                looked_at = rounds.kills
        rounds.look()
        return rounds


@needs_fork
@pytest.mark.timeout(600)
def test_the_books_agree_after_fifty_kills(home: Path) -> None:
    rounds = prove(home, KILLS, look_every=5)
    # The run met what it is about. How much of it depends on the machine's load, so any is enough.
    assert rounds.seen["settled, done"] > 0
    assert rounds.seen["unresolved, billed"] > 0
    assert rounds.samples > 0


@needs_fork
@pytest.mark.soak
@pytest.mark.timeout(24 * 3600)
def test_the_books_agree_after_thousands_of_kills(home: Path) -> None:
    rounds = prove(home, SOAK_KILLS, look_every=50)
    assert rounds.seen["settled, done"] > 0
