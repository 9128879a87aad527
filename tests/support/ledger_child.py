"""Processes that share a ledger with the test that starts them: ``python -m tests.support.ledger_child WHAT …``."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from core.chat import Usage
from core.errors import BudgetExceeded, LedgerUnavailable, RateExceeded
from core.ledger.ledger import Ledger, Outcome, RateLimit
from tests.support.ledgers import HandClock, hold, new_request


async def spend_until_killed(home: Path, limit: int) -> None:
    """Ask and settle, eight at a time, and keep the API's own books beside the ledger."""
    ledger = Ledger(None, home)
    await ledger.open()
    books = os.open(home / "books", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def spend() -> None:
        while True:
            request, worst = new_request(), random.randint(1, 1000)
            try:
                await ledger.begin(request, hold(worst, limit))
            except BudgetExceeded:
                await asyncio.sleep(0.01)
                continue
            cost = random.randint(0, worst)
            os.write(books, f"{request.correlation_id} {cost}\n".encode())
            await asyncio.sleep(random.random() / 100)
            outcome = Outcome(status="done", usage=Usage(output_tokens=1), cost_nanodollars=cost)
            await ledger.settle(request.correlation_id, 1, outcome)

    await asyncio.gather(*(spend() for _ in range(8)))


async def hold_until_refused(home: Path, limit: int, url: str | None) -> None:
    """Place holds until one is refused, then go without settling."""
    ledger = Ledger(url, home)
    await ledger.open()
    try:
        while True:
            await asyncio.gather(*(ledger.begin(new_request(), hold(7, limit)) for _ in range(4)))
    except BudgetExceeded:
        await ledger.close()


async def ask_in_a_crowd(home: Path, limit: int) -> None:
    """Ask for 7 of the limit, 64 times at once; say how many were admitted, and go without settling."""
    ledger = Ledger(None, home)
    await ledger.open()
    asked = [ledger.begin(new_request(), hold(7, limit)) for _ in range(64)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    await ledger.close()
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, BudgetExceeded):
            raise answer
    say(str(sum(not isinstance(answer, BaseException) for answer in answers)))


async def ask_for_a_rate(home: Path, per_minute: int) -> None:
    """Ask 60 times at once under a clock that stands still; say how many began."""
    ledger = Ledger(None, home, clock=HandClock())
    await ledger.open()
    rate = RateLimit(name="MAX_REQUESTS_PER_MINUTE", per_minute=per_minute)
    answers = await asyncio.gather(
        *(ledger.begin(new_request("local"), None, rates=(rate,)) for _ in range(60)), return_exceptions=True
    )
    await ledger.close()
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, RateExceeded):
            raise answer
    say(str(sum(not isinstance(answer, BaseException) for answer in answers)))


async def run_out_of_disk(home: Path) -> None:
    """Begin, let the disk fill up, settle, ask again, free the disk; say what was seen."""
    import resource

    ledger = Ledger(None, home)
    await ledger.open()
    request = new_request()
    await ledger.begin(request, hold(60))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    saved = await ledger.settle(
        request.correlation_id, 1, Outcome(status="done", usage=Usage(output_tokens=1), cost_nanodollars=13)
    )
    say(f"saved={bool(saved)} unsaved={ledger.unsaved == (request.correlation_id,)}")
    try:
        await ledger.begin(new_request(), hold(60))
        say("begun")
    except LedgerUnavailable as error:
        say(f"refused hint={bool(error.hint)} {error.message}")
    budget = await ledger.budget()
    say(f"full: spent={budget.spent_nanodollars} held={budget.held_nanodollars}")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await ledger.begin(new_request("local"), None)
    budget = await ledger.budget()
    say(f"freed: spent={budget.spent_nanodollars} held={budget.held_nanodollars} unsaved={ledger.unsaved}")
    say(f"check={(await ledger.check()).ok}")
    await ledger.close()


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def main(what: str, home: str, limit: str = "0", url: str = "") -> None:
    if what == "spend":
        asyncio.run(spend_until_killed(Path(home), int(limit)))
    elif what == "crowd":
        asyncio.run(ask_in_a_crowd(Path(home), int(limit)))
    elif what == "rate":
        asyncio.run(ask_for_a_rate(Path(home), int(limit)))
    elif what == "hold":
        asyncio.run(hold_until_refused(Path(home), int(limit), url or None))
    else:
        asyncio.run(run_out_of_disk(Path(home)))


if __name__ == "__main__":
    main(*sys.argv[1:])
