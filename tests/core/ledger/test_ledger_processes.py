"""Several processes on one ledger, and processes that die in the middle."""

from __future__ import annotations

import asyncio
import subprocess
import time
from pathlib import Path

from core.chat import Usage
from core.ledger.ledger import Ledger, Outcome
from tests.support.ledgers import hold, ledger_child, month_limit, new_request, open_ledger

LIMIT = 400_000


def entries(books: Path) -> dict[str, int]:
    # The last line may be cut off by the kill only between writes: each is one system call.
    lines = books.read_text().splitlines() if books.exists() else []
    return {line.split()[0]: int(line.split()[1]) for line in lines}


def wait_for(process: subprocess.Popen[str], books: Path, count: int) -> None:
    while len(entries(books)) < count:
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.002)


async def test_after_kill_9_no_call_is_forgotten_and_none_counts_less_than_it_cost(home: Path) -> None:
    recovered = 0
    for kills in range(1, 6):
        books = home / "books"
        process = ledger_child("spend", home, LIMIT)
        wait_for(process, books, len(entries(books)) + 7 * kills)
        process.kill()
        process.communicate()
        async with open_ledger(home) as ledger:
            found = await ledger.recover()
            recovered += found.count
            billed = entries(books)
            budget = await ledger.budget(month_limit(LIMIT))
            assert budget.held_nanodollars == 0
            assert sum(billed.values()) <= budget.spent_nanodollars <= LIMIT
            assert (await ledger.check()).differences == ()
            for correlation_id, cost in billed.items():
                (row,) = await ledger.attempts(correlation_id)
                assert row.state in ("settled", "unresolved")
                if row.state == "settled":
                    assert row.counted_nanodollars == row.cost_nanodollars == cost
                else:
                    assert row.counted_nanodollars == row.hold_nanodollars
                    assert row.counted_nanodollars >= cost
            assert budget.unresolved_count == recovered
    assert recovered > 0


async def test_processes_that_ask_at_once_never_pass_the_limit_nor_waste_it(home: Path) -> None:
    # The ledger does not exist yet: they also create it at once.
    processes = [ledger_child("hold", home, 2000) for _ in range(3)]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    async with open_ledger(home) as ledger:
        held = (await ledger.budget()).held_nanodollars
        assert 2000 - 7 < held <= 2000
        recovered = await ledger.recover()
        assert recovered.nanodollars == held
        assert (await ledger.budget()).spent_nanodollars == held
        assert (await ledger.check()).ok


async def test_a_hold_of_another_running_process_is_left_alone(home: Path) -> None:
    process = ledger_child("spend", home, LIMIT)
    try:
        wait_for(process, home / "books", 1)
        async with open_ledger(home) as ledger:
            assert (await ledger.recover()).count == 0
    finally:
        process.kill()
        process.communicate()


async def test_two_ledgers_that_take_turns_know_what_the_other_wrote(home: Path) -> None:
    async with open_ledger(home) as first:
        second = Ledger(None, home)
        await second.open()
        held = spent = 0
        for number in range(12):
            for mine, other in ((first, second), (second, first)):
                request = new_request()
                admission = await mine.begin(request, hold(60, 10_000))
                held += 60
                assert (admission.held_nanodollars, admission.spent_nanodollars) == (held, spent)
                assert (await other.budget()).held_nanodollars == held
                if number % 2:
                    outcome = Outcome(status="done", usage=Usage(output_tokens=1), cost_nanodollars=7)
                    await other.settle(request.correlation_id, 1, outcome)
                    held, spent = held - 60, spent + 7
        assert (await first.check()).ok
        await second.close()


async def test_64_at_once_in_each_of_two_processes_fill_one_limit_to_the_last_request(home: Path) -> None:
    # 128 requests ask for 7 of 200 each, in two processes that know nothing of each other.
    processes = [ledger_child("crowd", home, 200) for _ in range(2)]
    admitted = 0
    for process in processes:
        output, errors = await asyncio.to_thread(process.communicate, timeout=60)
        assert process.returncode == 0, errors
        admitted += int(output)
    assert admitted == 200 // 7
    async with open_ledger(home) as ledger:
        assert (await ledger.budget()).held_nanodollars == 7 * admitted
        assert (await ledger.check()).ok
        assert (await ledger.verify_audit()).ok
