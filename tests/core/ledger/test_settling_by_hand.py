"""What was lost or unpriced is listed, settled by hand or priced later; refusals are kept; a key is used once."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from core.chat import Usage, new_correlation_id
from core.errors import DuplicateRequest, InvalidRequest
from core.ledger.ledger import (
    HoldRequest,
    Ledger,
    LedgerRow,
    NewRequest,
    Outcome,
    RefusedRequest,
    ReplayedRequest,
    TokenLimit,
)
from core.scores import ScoreEntry, ScoreRow
from tests.support.ledgers import HandClock, hold, month_limit, new_request, open_ledger

LOST = Outcome(status="failed", error_kind="unavailable")
USAGE = Usage(fresh_input_tokens=100, output_tokens=20)


def done(nanodollars: int | None) -> Outcome:
    return Outcome(status="done", usage=USAGE, cost_nanodollars=nanodollars, price_version="p 1")


async def asked(ledger: Ledger, outcome: Outcome | None, nanodollars: int | None = 60) -> str:
    request = new_request()
    await ledger.begin(request, HoldRequest(nanodollars=nanodollars, tokens=40))
    if outcome is not None:
        await ledger.settle(request.correlation_id, 1, outcome)
    return request.correlation_id


async def sound(ledger: Ledger) -> None:
    assert (await ledger.check()).differences == ()
    audit = await ledger.verify_audit()
    assert audit.ok, audit.problems


async def test_open_holds_and_unresolved_attempts_are_listed(home: Path) -> None:
    async with open_ledger(home) as ledger:
        running, lost, lost_later = [await asked(ledger, outcome) for outcome in (None, LOST, LOST)]
        await asked(ledger, done(5))
        await ledger.begin(new_request("local"), None)
        assert [row.correlation_id for row in await ledger.holds()] == [running]
        assert [row.correlation_id for row in await ledger.unresolved()] == [lost_later, lost]
        assert [row.correlation_id for row in await ledger.unresolved(1)] == [lost_later]
        assert (await ledger.holds())[0].hold_tokens == 40


@pytest.mark.parametrize("bill", [0, 13, 60, 99])
async def test_an_unresolved_attempt_is_settled_by_hand_at_what_the_bill_says(home: Path, bill: int) -> None:
    async with open_ledger(home) as ledger:
        lost = await asked(ledger, LOST)
        row = await ledger.resolve(lost, bill)
        assert (row.state, row.status, row.cost_nanodollars, row.counted_nanodollars) == (
            "settled",
            "failed",
            bill,
            bill,
        )
        budget = await ledger.budget()
        assert (budget.spent_nanodollars, budget.unresolved_count) == (bill, 0)
        assert await ledger.unresolved() == []
        with pytest.raises(InvalidRequest):
            await ledger.resolve(lost, bill)
        await sound(ledger)


async def test_only_what_is_unresolved_is_settled_by_hand(home: Path) -> None:
    async with open_ledger(home) as ledger:
        for outcome in (None, done(5)):
            with pytest.raises(InvalidRequest):
                await ledger.resolve(await asked(ledger, outcome), 1)
        with pytest.raises(InvalidRequest):
            await ledger.resolve("no such request", 1)
        with pytest.raises(InvalidRequest):
            await ledger.resolve(await asked(ledger, LOST), -1)
        await sound(ledger)


async def test_of_several_lost_attempts_the_number_says_which(home: Path) -> None:
    async with open_ledger(home) as ledger:
        request = new_request()
        await ledger.begin(request, hold(60))
        await ledger.switch_side(1, LOST, request, hold(50))
        await ledger.settle(request.correlation_id, 2, LOST)
        with pytest.raises(InvalidRequest, match="several"):
            await ledger.resolve(request.correlation_id, 7)
        await ledger.resolve(request.correlation_id, 7, attempt=1)
        await ledger.resolve(request.correlation_id, 8)
        assert [row.cost_nanodollars for row in await ledger.attempts(request.correlation_id)] == [7, 8]
        assert (await ledger.budget()).spent_nanodollars == 15
        await sound(ledger)


async def test_past_rows_get_their_price_once_it_is_known_and_no_other_row_changes(home: Path) -> None:
    async with open_ledger(home) as ledger:
        known = await asked(ledger, done(5))
        unpriced = [await asked(ledger, done(None), None) for _ in range(450)]
        lost, running = await asked(ledger, LOST), await asked(ledger, None)
        before = {row.correlation_id: row for row in await ledger.recent(1000)}
        skipped = unpriced[7]

        def price(row: LedgerRow) -> tuple[int, str] | None:
            assert row.usage == USAGE
            return None if row.correlation_id == skipped else (9, "p 2")

        repriced = await ledger.reprice(price)
        assert (repriced.count, repriced.nanodollars, repriced.still_unpriced) == (449, 449 * 9, 1)
        after = {row.correlation_id: row for row in await ledger.recent(1000)}
        for correlation_id in (known, lost, running, skipped):
            assert after[correlation_id] == before[correlation_id]
        for correlation_id in unpriced:
            if correlation_id != skipped:
                assert after[correlation_id] == dataclasses.replace(
                    before[correlation_id], cost_nanodollars=9, counted_nanodollars=9, price_version="p 2"
                )
        budget = await ledger.budget()
        assert (budget.unpriced_count, budget.spent_nanodollars) == (1, 5 + 60 + 449 * 9)
        assert (await ledger.reprice(lambda row: (1, "p 3"))).count == 1
        assert (await ledger.reprice(lambda row: (1, "p 3"))).count == 0
        await sound(ledger)


async def test_a_refused_request_is_counted_as_refused_and_as_nothing_else(home: Path) -> None:
    async with open_ledger(home) as ledger:
        request = new_request()
        refused = RefusedRequest(
            correlation_id=request.correlation_id, error_kind="budget_exceeded", source="cli", project="web"
        )
        row = await ledger.refuse(refused)
        assert (row.status, row.side, row.provider, row.error_kind) == ("refused", "", "", "budget_exceeded")
        assert (await ledger.refuse(refused)).started_at == row.started_at
        volume = await ledger.volume()
        assert (volume.requests_today, volume.local_today) == (0, 0)
        (group,) = await ledger.report()
        assert (group.key, group.refused, group.requests, group.attempts) == ("", 1, 0, 0)
        assert (await ledger.check()).attempts == 0
        # It is over: it cannot be settled, and its identifier is used up.
        with pytest.raises(InvalidRequest):
            await ledger.settle(request.correlation_id, 1, LOST)
        with pytest.raises(InvalidRequest):
            await ledger.begin(request, None)
        sent = await asked(ledger, None)
        with pytest.raises(InvalidRequest):
            await ledger.refuse(RefusedRequest(correlation_id=sent, error_kind="x"))
        await sound(ledger)


async def test_a_replayed_request_names_the_first_one_and_counts_nowhere(home: Path) -> None:
    async with open_ledger(home) as ledger:
        paid = await asked(ledger, done(5))
        before = await ledger.report(), await ledger.volume(), await ledger.budget(), await ledger.check()
        replayed = ReplayedRequest(
            correlation_id=new_correlation_id(),
            replay_of=paid,
            source="cli",
            project="web",
            idempotency_key="k",
        )
        row = await ledger.replay(replayed)
        assert (row.status, row.state, row.side, row.provider) == ("replayed", "released", "", "")
        assert (row.replay_of, row.project, row.cost_nanodollars) == (paid, "web", 0)
        assert row.idempotency_key == "k"
        assert (await ledger.replay(replayed)).started_at == row.started_at
        assert len(await ledger.recent()) == 2
        assert (
            await ledger.report(),
            await ledger.volume(),
            await ledger.budget(),
            await ledger.check(),
        ) == before
        # It frees no key and takes none, is over, and its identifier is used up.
        await ledger.begin(dataclasses.replace(new_request(), idempotency_key="k"), hold(60))
        with pytest.raises(InvalidRequest):
            await ledger.settle(replayed.correlation_id, 1, LOST)
        with pytest.raises(InvalidRequest):
            await ledger.begin(new_request(correlation_id=replayed.correlation_id), None)
        # The very same request, sent twice, has its row already.
        same = await ledger.replay(ReplayedRequest(correlation_id=paid, replay_of=paid))
        assert (same.correlation_id, same.status) == (paid, "done")
        await sound(ledger)


async def test_a_report_has_what_the_machine_cost_and_what_of_it_is_not_known(home: Path) -> None:
    async with open_ledger(home, HandClock()) as ledger:
        for loaded, marginal in ((900, 50), (None, 20), (100, None)):
            request = new_request("local")
            await ledger.begin(request, None)
            outcome = Outcome(
                status="done",
                usage=USAGE,
                latency_ms=1.25,
                loaded_nanodollars=loaded,
                marginal_nanodollars=marginal,
            )
            await ledger.settle(request.correlation_id, 1, outcome)
        await ledger.begin(new_request("local"), None)
        (row,) = await ledger.report(by="side")
        assert (row.key, row.requests, row.loaded_nanodollars, row.loaded_unknown) == ("local", 4, 1000, 1)
        assert (row.marginal_nanodollars, row.busy_ms) == (70, 4)
        by_day = await ledger.report(by="provider", daily=True)
        assert [(row.day, row.key, row.requests) for row in by_day] == [("2026-11-23", "embedded", 4)]
        await sound(ledger)


# ---------------------------------------------------------------------- idempotency keys


def keyed(key: str = "k", correlation_id: str | None = None) -> NewRequest:
    return dataclasses.replace(new_request(correlation_id=correlation_id), idempotency_key=key)


async def test_a_key_in_use_names_the_request_that_has_it(home: Path) -> None:
    async with open_ledger(home) as ledger:
        first = keyed()
        await ledger.begin(first, hold(60))
        with pytest.raises(DuplicateRequest, match=f"{first.correlation_id}.* is still running"):
            await ledger.begin(keyed(), hold(60))
        await ledger.settle(first.correlation_id, 1, done(5))
        with pytest.raises(DuplicateRequest, match=f"{first.correlation_id}.* is done"):
            await ledger.begin(keyed(), hold(60))
        await ledger.begin(keyed("another"), hold(60))
        assert (await ledger.budget()).held_nanodollars == 60
        assert len(await ledger.recent()) == 2


@pytest.mark.parametrize("outcome", [LOST, Outcome(status="stopped", may_have_billed=False)])
async def test_a_request_that_failed_or_was_stopped_frees_its_key(home: Path, outcome: Outcome) -> None:
    async with open_ledger(home) as ledger:
        first = keyed()
        await ledger.begin(first, hold(60))
        await ledger.settle(first.correlation_id, 1, outcome)
        await ledger.begin(keyed(), hold(60))


async def test_a_key_is_kept_for_a_day(home: Path) -> None:
    clock = HandClock()
    async with open_ledger(home, clock) as ledger:
        first = keyed()
        await ledger.begin(first, hold(60))
        await ledger.settle(first.correlation_id, 1, done(5))
        clock.move(hours=23, minutes=59)
        with pytest.raises(DuplicateRequest):
            await ledger.begin(keyed(), hold(60))
        clock.move(minutes=2)
        await ledger.begin(keyed(), hold(60))


async def test_a_retry_does_not_meet_its_own_key(home: Path) -> None:
    async with open_ledger(home) as ledger:
        first = keyed()
        await ledger.begin(first, hold(60))
        admission = await ledger.switch_side(1, LOST, first, hold(60))
        assert admission.attempt == 2
        with pytest.raises(DuplicateRequest):
            await ledger.begin(keyed(), hold(60))


async def test_of_many_requests_with_one_key_in_two_processes_one_is_sent(home: Path) -> None:
    async with open_ledger(home) as ledger:
        second = Ledger(None, home)
        await second.open()
        asked = [which.begin(keyed(), hold(60)) for which in (ledger, second) * 20]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(answer, DuplicateRequest) for answer in answers) == 39
        assert (await ledger.budget()).held_nanodollars == 60
        await second.close()


# ---------------------------------------------------------------------- scores


async def test_scores_are_summed_by_model_kind_and_day(home: Path) -> None:
    clock = HandClock()
    async with open_ledger(home, clock) as ledger:
        entry = ScoreEntry(provider="embedded", model="smol", kind="schema", passed=True)
        await ledger.add_score(entry)
        await ledger.add_score(dataclasses.replace(entry, passed=False, repaired=True, cost_nanodollars=40))
        await ledger.add_score(dataclasses.replace(entry, kind="tools"))
        clock.move(days=1)
        await ledger.add_score(entry)
    async with open_ledger(home, clock) as ledger:
        first = ScoreRow(
            provider="embedded",
            model="smol",
            kind="schema",
            day="2026-11-23",
            tried=2,
            passed=1,
            repaired=1,
            cost_nanodollars=40,
        )
        rows = await ledger.scores("2026-11-01")
        assert rows[0] == first
        assert [(row.kind, row.day, row.tried) for row in rows] == [
            ("schema", "2026-11-23", 2),
            ("schema", "2026-11-24", 1),
            ("tools", "2026-11-23", 1),
        ]
        assert len(await ledger.scores("2026-11-24")) == 1


async def test_a_settlement_by_hand_leaves_the_tokens_at_their_hold(home: Path) -> None:
    async with open_ledger(home) as ledger:
        lost = await asked(ledger, LOST)
        await ledger.resolve(lost, 5)
        # The bill names dollars; the tokens stay at their hold, which is never too little.
        _, (tokens,), budget = await ledger.standing((TokenLimit(name="T", tokens=100),))
        assert (tokens.used, tokens.unresolved, budget.spent_nanodollars) == (40, 0, 5)
        assert (await ledger.budget(month_limit(10))).free_nanodollars == 5
        # What was not billed at all was not sent to a model either.
        await ledger.resolve(await asked(ledger, LOST), 0)
        _, (tokens,), _ = await ledger.standing((TokenLimit(name="T", tokens=100),))
        assert tokens.used == 40
        await sound(ledger)


async def test_a_row_that_another_process_priced_meanwhile_keeps_that_price(home: Path) -> None:
    async def price_elsewhere() -> None:
        async with open_ledger(home) as other:
            assert (await other.reprice(lambda row: (7, "theirs"))).count == 1

    def price(row: LedgerRow) -> tuple[int, str]:
        asyncio.run(price_elsewhere())
        return 9, "ours"

    async with open_ledger(home) as ledger:
        correlation_id = await asked(ledger, done(None), None)
        repriced = await ledger.reprice(price)
        assert (repriced.count, repriced.nanodollars) == (0, 0)
        (row,) = await ledger.attempts(correlation_id)
        assert (row.cost_nanodollars, row.price_version) == (7, "theirs")
        assert (await ledger.budget()).spent_nanodollars == 7
        await sound(ledger)
