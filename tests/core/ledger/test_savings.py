"""What an attempt saved: two bills and their difference, on its row, in the sums and in the report."""

from __future__ import annotations

import dataclasses
import sqlite3
from datetime import timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from core.chat import Savings, Usage
from core.ledger.database import LEDGER_FILE
from core.ledger.ledger import Ledger, NewRequest, Outcome
from core.ledger.models import LedgerRow, ReportRow
from core.ledger.savings import saved_words, savings_of
from core.pricing.prices import PriceTable
from tests.support.ledgers import HandClock, hold, new_request, open_ledger

PRICES = PriceTable()
SONNET = "claude-sonnet-4-6-20260501"
tokens = st.integers(0, 300_000)
usages = st.builds(
    Usage,
    fresh_input_tokens=tokens,
    cache_read_tokens=tokens,
    cache_write_5m_tokens=tokens,
    cache_write_1h_tokens=tokens,
    output_tokens=tokens,
    service_tier=st.sampled_from([None, "standard", "batch"]),
    region=st.sampled_from([None, "us"]),
)


def price(usage: Usage) -> int | None:
    return PRICES.cost_nanodollars(SONNET, usage)


def saved(usage: Usage, trimmed: int = 0, compressed: int = 0) -> Savings:
    return savings_of(usage, trimmed_tokens=trimmed, compressed_tokens=compressed, price=price)


def test_a_read_saves_nine_tenths_and_a_write_costs_a_quarter_more() -> None:
    # $3 a million fresh, $0.30 read, $3.75 and $6 written: the prices of claude-sonnet-4-6.
    assert saved(Usage(cache_read_tokens=100_000)).cache_nanodollars == 270_000_000
    assert saved(Usage(cache_write_5m_tokens=100_000)).cache_nanodollars == -75_000_000
    assert saved(Usage(cache_write_1h_tokens=100_000)).cache_nanodollars == -300_000_000
    both = saved(Usage(cache_read_tokens=100_000, cache_write_5m_tokens=100_000))
    assert both.cache_nanodollars == 195_000_000


def test_what_is_left_out_saves_its_price_as_fresh_input() -> None:
    found = saved(Usage(fresh_input_tokens=10, output_tokens=5), trimmed=1000, compressed=200)
    assert found == Savings(
        trimmed_tokens=1000,
        compressed_tokens=200,
        trimming_nanodollars=3_000_000,
        compression_nanodollars=600_000,
        cache_nanodollars=0,
    )


@given(usages, tokens, tokens)
def test_the_parts_add_up_to_the_two_bills(usage: Usage, trimmed: int, compressed: int) -> None:
    found = saved(usage, trimmed, compressed)
    bill = price(usage)
    longer = price(
        dataclasses.replace(usage, fresh_input_tokens=usage.fresh_input_tokens + trimmed + compressed)
    )
    assert bill is not None
    assert longer is not None
    assert found.trimming_nanodollars is not None
    assert found.compression_nanodollars is not None
    assert found.trimming_nanodollars + found.compression_nanodollars == longer - bill
    uncached = price(
        dataclasses.replace(
            usage,
            fresh_input_tokens=usage.input_tokens,
            cache_read_tokens=0,
            cache_write_5m_tokens=0,
            cache_write_1h_tokens=0,
        )
    )
    assert uncached is not None
    assert found.cache_nanodollars == uncached - bill


def test_without_a_price_it_is_not_known_and_nothing_is_still_nothing() -> None:
    usage = Usage(cache_read_tokens=5, output_tokens=1)
    unknown = savings_of(usage, trimmed_tokens=7, compressed_tokens=0, price=lambda _: None)
    assert unknown == Savings(trimmed_tokens=7, trimming_nanodollars=None, cache_nanodollars=None)
    plain = savings_of(Usage(output_tokens=1), trimmed_tokens=0, compressed_tokens=0, price=lambda _: None)
    assert plain == Savings()


def test_what_was_saved_is_one_sentence() -> None:
    def row(**changes: int) -> ReportRow:
        counts = ("requests", "attempts", "failed", "stopped", "fell_back", "input_tokens", "cached_tokens")
        counts += ("cache_write_tokens", "output_tokens", "unresolved", "unpriced")
        amounts = ("cost_nanodollars", "loaded_nanodollars", "unresolved_nanodollars")
        values: dict[str, int] = {**dict.fromkeys((*counts, *amounts), 0), **changes}
        return ReportRow(key="api", day=None, **values)

    assert saved_words([]) == ""
    assert saved_words([row(requests=3, cached_tokens=9)]) == ""
    rows = [
        row(cache_saved_nanodollars=1_200_000_000),
        row(
            trimmed_tokens=12_000,
            trimming_saved_nanodollars=34_500_000,
            compressed_tokens=50,
            compression_saved_nanodollars=100_000,
            saved_unknown=2,
        ),
    ]
    assert saved_words(rows) == (
        "$1.23: caching $1.20, trimming $0.0345 (about 12,000 tokens), compression $0.0001 (about 50 tokens), "
        "what 2 requests saved is not known"
    )
    assert saved_words([row(cache_saved_nanodollars=-2_000_000)]) == "-$0.0020: caching -$0.0020"


# -- in the ledger ----------------------------------------------------------------------------------------------

SAVED = Savings(
    trimmed_tokens=1000,
    compressed_tokens=200,
    trimming_nanodollars=3_000_000,
    compression_nanodollars=600_000,
    cache_nanodollars=-50_000,
)
USAGE = Usage(fresh_input_tokens=10, cache_write_5m_tokens=67, output_tokens=5)


def done(savings: Savings | None, usage: Usage | None = USAGE, cost: int | None = 100) -> Outcome:
    return Outcome(status="done", usage=usage, cost_nanodollars=cost, savings=savings)


async def asked(ledger: Ledger, outcome: Outcome, request: NewRequest | None = None) -> LedgerRow:
    request = request or new_request()
    await ledger.begin(request, hold(1000) if request.side == "api" else None)
    await ledger.settle(request.correlation_id, 1, outcome)
    return (await ledger.attempts(request.correlation_id))[-1]


def amounts(row: ReportRow) -> tuple[int, ...]:
    return (
        row.trimmed_tokens,
        row.compressed_tokens,
        row.trimming_saved_nanodollars,
        row.compression_saved_nanodollars,
        row.cache_saved_nanodollars,
        row.saved_unknown,
    )


def saved_columns(home: Path) -> list[tuple[int | None, ...]]:
    connection = sqlite3.connect(home / LEDGER_FILE)
    try:
        return connection.execute(
            "SELECT trimmed_tokens, compressed_tokens, trimming_saved_nanodollars, "
            "compression_saved_nanodollars, cache_saved_nanodollars FROM ledger_attempts ORDER BY id"
        ).fetchall()
    finally:
        connection.close()


async def test_a_row_says_what_it_saved_and_the_sums_add_it_up(home: Path) -> None:
    clock = HandClock()
    async with open_ledger(home, clock) as ledger:
        assert (await asked(ledger, done(SAVED))).savings == SAVED
        assert (await asked(ledger, done(Savings()))).savings == Savings()
        clock.move(days=1)
        await asked(ledger, done(SAVED))
        assert (await ledger.check()).differences == ()
        (row,) = await ledger.report()
        assert amounts(row) == (2000, 400, 6_000_000, 1_200_000, -100_000, 0)
        assert row.saved_nanodollars == 7_100_000
        (row,) = await ledger.report(clock.now - timedelta(hours=1))
        assert amounts(row) == (1000, 200, 3_000_000, 600_000, -50_000, 0)
        by_day = await ledger.report(by="day")
        assert [row.saved_nanodollars for row in by_day] == [3_550_000, 3_550_000]
        assert (await ledger.verify_audit()).ok


async def test_what_is_not_known_is_null_and_counted(home: Path) -> None:
    unpriced = dataclasses.replace(
        SAVED, trimming_nanodollars=None, compression_nanodollars=None, cache_nanodollars=None
    )
    async with open_ledger(home) as ledger:
        assert (await asked(ledger, done(unpriced, cost=None))).savings == unpriced
        assert (await asked(ledger, done(None, usage=None, cost=None))).savings is None
        assert (await ledger.check()).differences == ()
        (row,) = await ledger.report()
        assert amounts(row) == (1000, 200, 0, 0, 0, 1)
        assert row.has_savings
    assert saved_columns(home) == [(1000, 200, None, None, None), (None,) * 5]


async def test_an_attempt_that_failed_over_keeps_what_it_saved(home: Path) -> None:
    async with open_ledger(home) as ledger:
        request = new_request()
        await ledger.begin(request, hold(1000))
        billed = dataclasses.replace(done(SAVED), status="failed")
        await ledger.switch_side(1, billed, request, hold(1000))
        await ledger.settle(request.correlation_id, 2, done(SAVED))
        assert [row.savings for row in await ledger.attempts(request.correlation_id)] == [SAVED, SAVED]
        (row,) = await ledger.report()
        assert (row.requests, row.trimmed_tokens) == (1, 2000)
        assert (await ledger.check()).differences == ()


async def test_a_price_that_comes_later_tells_what_was_saved(home: Path) -> None:
    usage = Usage(fresh_input_tokens=10, cache_read_tokens=100_000, output_tokens=5)
    unpriced = savings_of(usage, trimmed_tokens=1000, compressed_tokens=0, price=lambda _: None)

    def priced(row: LedgerRow) -> tuple[int, str] | None:
        cost = price(row.usage) if row.usage is not None else None
        return None if cost is None else (cost, "later")

    async with open_ledger(home) as ledger:
        row = await asked(ledger, done(unpriced, usage=usage, cost=None))
        assert (await ledger.report())[0].saved_unknown == 1
        assert (await ledger.reprice(priced)).count == 1
        (row,) = await ledger.attempts(row.correlation_id)
        assert row.savings == saved(usage, trimmed=1000)
        (sums,) = await ledger.report()
        assert amounts(sums) == (1000, 0, 3_000_000, 0, 270_000_000, 0)
        assert (await ledger.check()).differences == ()
        assert (await ledger.verify_audit()).ok


async def test_a_cost_found_by_hand_leaves_savings_unknown(home: Path) -> None:
    async with open_ledger(home) as ledger:
        row = await asked(ledger, done(None, usage=None, cost=None))
        await ledger.resolve(row.correlation_id, 17)
        (row,) = await ledger.attempts(row.correlation_id)
        assert (row.cost_nanodollars, row.savings) == (17, None)
        assert (await ledger.check()).differences == ()


async def test_a_sum_that_was_changed_is_found(home: Path) -> None:
    async with open_ledger(home) as ledger:
        await asked(ledger, done(SAVED))
    with sqlite3.connect(home / LEDGER_FILE) as database:
        database.execute("UPDATE ledger_attempts SET cache_saved_nanodollars = NULL")
    database.close()
    async with open_ledger(home) as ledger:
        (difference,) = {text.partition(": ")[2] for text in (await ledger.check()).differences}
        assert "cache_saved_nanodollars -50000 instead of 0" in difference
        assert "saved_unknown 0 instead of 1" in difference
        assert not (await ledger.verify_audit()).ok
