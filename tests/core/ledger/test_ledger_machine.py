"""A machine that asks, settles, retries, falls back, loses, resolves, prices and moves the clock at random.

Beside it stands a model of the books, written apart from the ledger's own sums.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from core.chat import Savings, Side, Usage, new_correlation_id
from core.errors import BudgetExceeded, InvalidRequest
from core.ledger.ledger import (
    Admission,
    HoldRequest,
    Ledger,
    Limit,
    Outcome,
    RefusedRequest,
    SpendLimit,
    TokenLimit,
)
from tests.support.ledgers import HandClock, new_request

MONTH = SpendLimit(name="SPEND_LIMIT_DOLLARS", nanodollars=1000)
DAY = SpendLimit(name="DAILY_SPEND_LIMIT_DOLLARS", nanodollars=700, window="day")
OF_P = SpendLimit(name="PROJECT_SPEND_LIMITS", nanodollars=500, project="p")
TOKENS = TokenLimit(name="DAILY_TOKEN_BUDGET", tokens=300)
PERCENTS = (50, 80, 100)
amounts = st.integers(0, 400)
token_counts = st.integers(0, 120)
sides = st.sampled_from(["local", "api"])
projects = st.sampled_from([None, "p"])


@dataclass(frozen=True)
class Running:
    correlation_id: str
    attempt: int
    side: Side
    project: str | None
    day: str
    hold: int
    tokens: int


@dataclass(frozen=True)
class Closed:
    """``state`` is settled, unresolved or unpriced; what it counts for is in the model."""

    correlation_id: str
    attempt: int
    day: str
    project: str | None
    state: str
    counted: int
    counted_tokens: int


class LedgerMachine(RuleBasedStateMachine):
    running = Bundle("running")
    closed = Bundle("closed")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = HandClock()
        self.open: dict[str, Running] = {}
        self.booked: list[Closed] = []
        self.requests = self.refused = 0
        self.told: set[tuple[str, str, int]] = set()
        self.other: Ledger | None = None
        self.ledger = self.opened()

    def run(self, awaitable: Any) -> Any:
        return self.runner.run(awaitable)

    def opened(self) -> Ledger:
        ledger = Ledger(None, Path(self.folder.name), clock=self.clock)
        self.run(ledger.open())
        return ledger

    # The model: what is used and held under a limit, added up from single requests.

    def today(self) -> str:
        return self.clock.now.date().isoformat()

    def limits(self, project: str | None) -> tuple[Limit, ...]:
        return (MONTH, DAY, TOKENS, *((OF_P,) if project == "p" else ()))

    def used(self, limit: Limit, day: str) -> int:
        window = day[:7] if limit.window == "month" else day
        project = None if isinstance(limit, TokenLimit) else limit.project
        booked = [one for one in self.booked if one.day.startswith(window) and project in (None, one.project)]
        return sum(one.counted_tokens if isinstance(limit, TokenLimit) else one.counted for one in booked)

    def held(self, limit: Limit) -> int:
        project = None if isinstance(limit, TokenLimit) else limit.project
        running = [one for one in self.open.values() if project in (None, one.project)]
        return sum(one.tokens if isinstance(limit, TokenLimit) else one.hold for one in running)

    def fits(self, project: str | None, asked: int, tokens: int) -> bool:
        for limit in self.limits(project):
            wanted = tokens if isinstance(limit, TokenLimit) else asked
            most = limit.tokens if isinstance(limit, TokenLimit) else limit.nanodollars
            if wanted and self.used(limit, self.today()) + self.held(limit) + wanted > most:
                return False
        return True

    def hold(self, project: str | None, asked: int, tokens: int) -> HoldRequest:
        return HoldRequest(
            nanodollars=asked, tokens=tokens, limits=self.limits(project), alert_percents=PERCENTS
        )

    def after_admission(self, running: Running, admission: Admission) -> None:
        """What must hold right after every admission: what the writer knows, and what a reader sees."""
        self.open[running.correlation_id] = running
        assert admission.held_nanodollars == self.held(MONTH)
        assert admission.spent_nanodollars == self.used(MONTH, self.today())
        limits = self.limits(running.project)
        _, standings, _ = self.run(self.ledger.standing(limits))
        for standing in standings:
            assert standing.used == self.used(standing.limit, self.today())
            assert standing.held == self.held(standing.limit)
            took = running.tokens if isinstance(standing.limit, TokenLimit) else running.hold
            assert not took or standing.used + standing.held <= standing.amount
        for alert in admission.alerts:
            assert (alert.used + alert.held) * 100 >= alert.percent * alert.limit
            told = (alert.limit_name, alert.window_label, alert.percent)
            assert told not in self.told
            self.told.add(told)

    @initialize()
    def nothing_yet(self) -> None:
        assert self.run(self.ledger.check()).attempts == 0

    @rule(
        target=running,
        side=sides,
        asked=amounts,
        tokens=token_counts,
        project=projects,
        elsewhere=st.booleans(),
    )
    def ask(self, side: Side, asked: int, tokens: int, project: str | None, elsewhere: bool) -> Any:
        if elsewhere:
            self.go_on_in_another_process()
        record = new_request(side, project=project)
        expected = side == "local" or self.fits(project, asked, tokens)
        try:
            admission = self.run(self.ledger.begin(record, self.hold(project, asked, tokens)))
        except BudgetExceeded:
            assert not expected
            return multiple()  # pyright: ignore[reportUnknownVariableType]
        assert expected
        self.requests += 1
        api = side == "api"
        begun = Running(
            record.correlation_id,
            admission.attempt,
            side,
            project,
            self.today(),
            asked if api else 0,
            tokens if api else 0,
        )
        self.after_admission(begun, admission)
        return begun

    @rule(
        target=closed,
        request=consumes(running),
        share=st.integers(0, 100),
        how=st.sampled_from(["paid", "unpriced", "lost", "unsent"]),
    )
    def settle(self, request: Running, share: int, how: str) -> Closed:
        assert self.run(
            self.ledger.settle(request.correlation_id, request.attempt, self.outcome(request, share, how))
        )
        return self.close(request, share, how)

    @rule(
        target=running,
        request=consumes(running),
        same_side=st.booleans(),
        asked=amounts,
        tokens=token_counts,
        how=st.sampled_from(["paid", "lost", "unsent"]),
    )
    def send_again(self, request: Running, same_side: bool, asked: int, tokens: int, how: str) -> Running:
        other: Side = "api" if request.side == "local" else "local"
        side = request.side if same_side else other
        record = new_request(side, correlation_id=request.correlation_id, project=request.project)
        # The failed attempt's own hold is closed in the same transaction, so it no longer stands in the way.
        before, booked = dict(self.open), list(self.booked)
        self.close(request, 50, how)
        expected = side == "local" or self.fits(request.project, asked, tokens)
        try:
            admission = self.run(
                self.ledger.switch_side(
                    request.attempt,
                    self.outcome(request, 50, how),
                    record,
                    self.hold(request.project, asked, tokens),
                )
            )
        except BudgetExceeded:
            assert not expected
            self.open, self.booked = before, booked
            return request
        assert expected
        api = side == "api"
        begun = Running(
            request.correlation_id,
            admission.attempt,
            side,
            request.project,
            self.today(),
            asked if api else 0,
            tokens if api else 0,
        )
        self.after_admission(begun, admission)
        return begun

    @rule(request=closed)
    def settle_again(self, request: Closed) -> None:
        # Nothing new is learnt from a second failure, so nothing may change.
        assert not self.run(
            self.ledger.settle(request.correlation_id, request.attempt, Outcome(status="failed"))
        )

    @rule(target=closed, request=consumes(closed), bill=amounts)
    def resolve_by_hand(self, request: Closed, bill: int) -> Closed:
        attempts = self.run(self.ledger.attempts(request.correlation_id))
        number = attempts[-1].attempt
        try:
            self.run(self.ledger.resolve(request.correlation_id, bill, attempt=number))
        except InvalidRequest:
            assert request.state != "unresolved"
            return request
        assert request.state == "unresolved"
        tokens = request.counted_tokens if bill else 0
        return self.rebook(request, replace(request, state="settled", counted=bill, counted_tokens=tokens))

    @rule(target=closed, request=consumes(closed), price=amounts)
    def price_what_had_no_price(self, request: Closed, price: int) -> Closed:
        repriced = self.run(
            self.ledger.reprice(
                lambda row: (price, "later") if row.correlation_id == request.correlation_id else None
            )
        )
        assert repriced.count == (request.state == "unpriced")
        if request.state != "unpriced":
            return request
        return self.rebook(request, replace(request, state="settled", counted=price))

    @rule(project=projects)
    def refuse(self, project: str | None) -> None:
        record = RefusedRequest(correlation_id=new_correlation_id(), error_kind="busy", project=project)
        self.run(self.ledger.refuse(record))
        self.refused += 1

    @rule(minutes=st.sampled_from([-60 * 24 * 8, -30, 5, 60, 60 * 24 * 8]))
    def move_the_clock(self, minutes: int) -> None:
        self.clock.move(minutes=minutes)

    @rule()
    def restart(self) -> None:
        self.run(self.ledger.close())
        self.ledger = self.opened()

    def go_on_in_another_process(self) -> None:
        """Another ledger on the same file takes over, and this one, with what it remembers, comes back later."""
        self.ledger, self.other = self.other or self.opened(), self.ledger

    @precondition(lambda self: self.requests)
    @rule()
    def test_the_limits(self) -> None:
        over = {
            limit.name
            for limit in (MONTH, DAY, TOKENS, OF_P)
            if self.used(limit, self.today()) + self.held(limit)
            > (limit.tokens if isinstance(limit, TokenLimit) else limit.nanodollars)
        }
        for result in self.run(self.ledger.self_test((MONTH, DAY, TOKENS, OF_P))):
            assert result.armed or result.limit_name in over, result.detail

    def outcome(self, request: Running, share: int, how: str) -> Outcome:
        if how in ("paid", "unpriced"):
            cost = request.hold * share // 100 if how == "paid" else None
            tokens = request.tokens * share // 100
            read = min(tokens, share)
            usage = Usage(cache_read_tokens=read, output_tokens=tokens - read)
            saved = None if cost is None else share
            savings = Savings(trimmed_tokens=share, trimming_nanodollars=saved, cache_nanodollars=saved)
            return Outcome(status="done", usage=usage, cost_nanodollars=cost, savings=savings)
        return Outcome(status="failed", may_have_billed=how == "lost")

    def close(self, request: Running, share: int, how: str) -> Closed:
        del self.open[request.correlation_id]
        counted = {"paid": request.hold * share // 100, "unsent": 0}.get(how, request.hold)
        tokens = {"lost": request.tokens, "unsent": 0}.get(how, request.tokens * share // 100)
        state = {"unpriced": "unpriced", "lost": "unresolved"}.get(how, "settled")
        if request.side == "local":
            counted, tokens, state = 0, 0, "settled"
        booked = Closed(
            request.correlation_id, request.attempt, request.day, request.project, state, counted, tokens
        )
        self.booked.append(booked)
        return booked

    def rebook(self, old: Closed, new: Closed) -> Closed:
        self.booked[self.booked.index(old)] = new
        return new

    @invariant()
    def the_books_agree(self) -> None:
        _, standings, budget = self.run(self.ledger.standing((MONTH, DAY, TOKENS, OF_P)))
        for standing in standings:
            assert standing.used == self.used(standing.limit, self.today())
            assert standing.held == self.held(standing.limit)
        assert budget.spent_nanodollars == self.used(MONTH, self.today())
        check = self.run(self.ledger.check())
        assert check.differences == ()
        report = self.run(self.ledger.report(by="day"))
        assert sum(row.requests for row in report) == self.requests
        assert sum(row.refused for row in report) == self.refused

    def teardown(self) -> None:
        audit = self.run(self.ledger.verify_audit())
        for ledger in (self.ledger, self.other):
            if ledger is not None:
                self.run(ledger.close())
        self.runner.close()
        self.folder.cleanup()
        assert audit.ok, audit.problems


class LongLedgerMachine(LedgerMachine):
    """The same for the soak: more lives, and longer ones."""


def machine_settings(lives: int, steps: int) -> settings:
    return settings(
        max_examples=lives,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


TestLedgerMachine = pytest.mark.timeout(600)(LedgerMachine.TestCase)
TestLedgerMachine.settings = machine_settings(15, 25)
TestLongLedgerMachine = pytest.mark.soak(LongLedgerMachine.TestCase)
TestLongLedgerMachine.settings = machine_settings(400, 60)
