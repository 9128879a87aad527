"""A machine that asks, settles, falls back, crashes and moves the clock at random, beside a model of the books."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from core.chat import Side, Usage
from core.errors import BudgetExceeded
from core.spend.ledger import HoldRequest, Ledger, Outcome, SpendLimit
from tests.support.ledgers import HandClock, new_request

LIMIT = 1000
amounts = st.integers(0, 400)
sides = st.sampled_from(["local", "api"])


@dataclass
class Running:
    correlation_id: str
    side: Side
    month: str
    hold: int


class LedgerMachine(RuleBasedStateMachine):
    running = Bundle("running")
    closed = Bundle("closed")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = HandClock()
        self.spent: dict[str, int] = {}
        self.held: dict[str, int] = {}
        self.requests = 0
        self.ledger = self.opened()

    def run(self, awaitable: Any) -> Any:
        return self.runner.run(awaitable)

    def opened(self) -> Ledger:
        ledger = Ledger(None, Path(self.folder.name), clock=self.clock)
        self.run(ledger.open())
        return ledger

    def month(self) -> str:
        return self.clock.now.strftime("%Y-%m")

    def limits(self) -> tuple[SpendLimit, ...]:
        return (SpendLimit(name="SPEND_LIMIT_DOLLARS", nanodollars=LIMIT),)

    def fits(self, asked: int) -> bool:
        return asked == 0 or self.spent.get(self.month(), 0) + sum(self.held.values()) + asked <= LIMIT

    @initialize()
    def nothing_yet(self) -> None:
        assert self.run(self.ledger.check()).attempts == 0

    @rule(target=running, side=sides, asked=amounts, project=st.sampled_from([None, "p"]))
    def ask(self, side: Side, asked: int, project: str | None) -> Any:
        record = new_request(side, project=project)
        expected = side == "local" or self.fits(asked)
        try:
            self.run(self.ledger.begin(record, HoldRequest(nanodollars=asked, limits=self.limits())))
        except BudgetExceeded:
            assert not expected
            return multiple()
        assert expected
        self.requests += 1
        hold = asked if side == "api" else 0
        self.held[record.correlation_id] = hold
        return Running(record.correlation_id, side, self.month(), hold)

    @rule(
        target=closed,
        request=consumes(running),
        share=st.integers(0, 100),
        known=st.booleans(),
        sent=st.booleans(),
    )
    def settle(self, request: Running, share: int, known: bool, sent: bool) -> str:
        cost = request.hold * share // 100
        self.run(self.ledger.settle(request.correlation_id, self.outcome(cost, known, sent)))
        self.close(request, cost, known, sent)
        return request.correlation_id

    @rule(target=running, request=consumes(running), asked=amounts, sent=st.booleans())
    def fall_back(self, request: Running, asked: int, sent: bool) -> Running:
        side: Side = "api" if request.side == "local" else "local"
        record = new_request(side, correlation_id=request.correlation_id)
        # The failed attempt's own hold is closed in the same transaction, so it no longer stands in the way.
        kept = request.hold if sent else 0
        month = request.month
        spent = self.spent.get(self.month(), 0) + (kept if month == self.month() else 0)
        others = sum(self.held.values()) - request.hold
        expected = side == "local" or asked == 0 or spent + others + asked <= LIMIT
        try:
            self.run(
                self.ledger.switch_side(
                    self.outcome(0, False, sent), record, HoldRequest(nanodollars=asked, limits=self.limits())
                )
            )
        except BudgetExceeded:
            assert not expected
            return request
        assert expected
        self.close(request, 0, False, sent)
        hold = asked if side == "api" else 0
        self.held[request.correlation_id] = hold
        return Running(request.correlation_id, side, self.month(), hold)

    @rule(correlation_id=closed)
    def settle_again(self, correlation_id: str) -> None:
        # Nothing new is learnt from a second failure, so nothing may change.
        self.run(self.ledger.settle(correlation_id, Outcome(status="failed")))

    @rule(minutes=st.sampled_from([-60 * 24 * 8, -30, 5, 60, 60 * 24 * 8]))
    def move_the_clock(self, minutes: int) -> None:
        self.clock.move(minutes=minutes)

    @rule()
    def restart(self) -> None:
        self.run(self.ledger.close())
        self.ledger = self.opened()

    def outcome(self, cost: int, known: bool, sent: bool) -> Outcome:
        if known:
            return Outcome(status="done", usage=Usage(output_tokens=3), cost_nanodollars=cost)
        return Outcome(status="failed", may_have_billed=sent)

    def close(self, request: Running, cost: int, known: bool, sent: bool) -> None:
        del self.held[request.correlation_id]
        counted = cost if known else request.hold if sent else 0
        self.spent[request.month] = self.spent.get(request.month, 0) + counted

    @invariant()
    def the_books_agree(self) -> None:
        budget = self.run(self.ledger.budget())
        assert budget.spent_nanodollars == self.spent.get(self.month(), 0)
        assert budget.held_nanodollars == sum(self.held.values())
        check = self.run(self.ledger.check())
        assert check.differences == ()
        assert sum(row.requests for row in self.run(self.ledger.report(by="day"))) == self.requests
        assert all(spent <= LIMIT for spent in self.spent.values())

    def teardown(self) -> None:
        self.run(self.ledger.close())
        self.runner.close()
        self.folder.cleanup()


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
