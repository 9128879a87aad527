"""What a whole core saves and crosses: on the answer, in the ledger, and in what it tells."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from core.chat import ChatRequest, ChatResult, Message, Savings
from core.router_core import RouterCore
from tests.support.anthropic_server import Says
from tests.support.ledgers import hold, new_request, open_ledger
from tests.support.two_sides import TwoSides, two_sides

CACHED = {
    "input_tokens": 1000,
    "cache_read_input_tokens": 20_000,
    "cache_creation_input_tokens": 4000,
    "cache_creation": {"ephemeral_5m_input_tokens": 4000, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 1,
}
REPEATED = "A long line of context that comes twice. " * 40


async def answer(sides: TwoSides, prompt: str = "hi", **options: Any) -> ChatResult:
    return await sides.core.ask(ChatRequest.from_prompt(prompt, **options))


async def savings_in_the_ledger(core: RouterCore) -> Savings | None:
    (row,) = await core.ledger.recent(1)
    return row.savings


async def test_the_cache_saves_what_its_reads_are_cheaper_less_what_its_writes_are_dearer(home: Path) -> None:
    async with two_sides(home) as sides:
        sides.api.replies.append(Says("Hello", usage=CACHED))
        result = await answer(sides, force="api")
        # claude-sonnet-4-6: $3 a million fresh, $0.30 read, $3.75 written for five minutes.
        assert result.savings == Savings(cache_nanodollars=20_000 * 2_700 - 4_000 * 750)
        assert await savings_in_the_ledger(sides.core) == result.savings
        (row,) = await sides.core.ledger.report(None, "provider")
        assert row.saved_nanodollars == 51_000_000
        assert (await sides.core.ledger.check()).ok


async def test_what_was_compressed_is_saved_on_the_api_and_is_no_cash_on_local(home: Path) -> None:
    async with two_sides(home) as sides:
        for side in ("api", "local"):
            result = await answer(sides, f"{REPEATED}\n\n{REPEATED}", compress=True, force=side)
            saved = result.savings
            assert saved is not None
            assert saved.compressed_tokens > 0
            expected = saved.compressed_tokens * 3000 if side == "api" else 0
            assert saved.compression_nanodollars == expected
            assert await savings_in_the_ledger(sides.core) == saved


async def test_turns_that_are_left_out_are_saved(home: Path) -> None:
    turns = [
        Message(role="user" if n % 2 == 0 else "assistant", text=f"{n} " + "word " * 200) for n in range(9)
    ]
    async with two_sides(home) as sides:
        request = ChatRequest(messages=tuple(turns), window_tokens=800, force="api")
        result = await sides.core.ask(request)
        assert result.savings is not None
        assert result.savings.trimmed_tokens > 0
        assert result.savings.trimming_nanodollars == result.savings.trimmed_tokens * 3000
        assert result.decision.economy is not None
        assert result.savings.trimmed_tokens == result.decision.economy.trimmed_tokens


async def test_what_an_answer_without_usage_saved_is_not_known(home: Path) -> None:
    async with two_sides(home, ENABLE_FALLBACK="false") as sides:
        sides.api.replies.append(Says("Hello", usage=CACHED, cut_after=1))
        async for _ in sides.core.stream(ChatRequest.from_prompt("hi", force="api")):
            pass
        (row,) = await sides.core.ledger.recent(1)
        assert (row.state, row.usage, row.savings) == ("unresolved", None, None)


# -- alerts that a bill crosses ---------------------------------------------------------------------------------


def billed(dollars: float) -> Says:
    """An answer that costs more than was held for it: the server counts the input otherwise than anybody could."""
    return Says("Hi", usage={"input_tokens": round(dollars * 1_000_000 / 3), "output_tokens": 1})


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "used or held" in record.getMessage()]


async def test_each_share_that_a_bill_crosses_is_told_once_and_at_once(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with two_sides(home, SPEND_LIMIT_DOLLARS="1", DAILY_SPEND_LIMIT_DOLLARS="100") as sides:
        sides.api.replies += [billed(0.55), billed(0.01), billed(0.30), billed(0.001)]
        seen: list[list[str]] = []
        for _ in range(4):
            await answer(sides, force="api", max_tokens=10)
            seen.append(told(caplog))
            caplog.clear()
        assert seen == [
            ["SPEND_LIMIT_DOLLARS: 50 % used or held"],
            [],
            ["SPEND_LIMIT_DOLLARS: 80 % used or held"],
            [],
        ]
        (problem,) = [one for one in (await sides.core.status()).problems if one.kind == "alert"]
        assert problem.title == "80 % of SPEND_LIMIT_DOLLARS is used or held"


async def test_a_bill_over_several_shares_tells_the_highest_only(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with two_sides(home, SPEND_LIMIT_DOLLARS="1") as sides:
        sides.api.replies += [billed(0.85), billed(0.001)]
        for _ in range(2):
            await answer(sides, force="api", max_tokens=10)
        assert told(caplog) == ["SPEND_LIMIT_DOLLARS: 80 % used or held"]


async def test_a_local_answer_tells_nothing_of_the_money(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with two_sides(home, SPEND_LIMIT_DOLLARS="1") as sides:
        # Another program spends, and whoever asks the API next is told of it.
        elsewhere = new_request()
        async with open_ledger(home) as ledger:
            await ledger.begin(elsewhere, hold(600_000_000))
        await answer(sides, force="local")
        assert told(caplog) == []
        sides.api.replies.append(billed(0.001))
        await answer(sides, force="api", max_tokens=10)
        assert told(caplog) == ["SPEND_LIMIT_DOLLARS: 50 % used or held"]


async def test_what_a_model_without_a_price_saves_is_unknown_and_not_zero(home: Path) -> None:
    async with two_sides(home, ANTHROPIC_MODEL="claude-tomorrow-9") as sides:
        sides.api.replies.append(Says("Hello", usage=CACHED))
        result = await answer(sides, force="api")
        assert result.savings is not None
        assert result.savings.cache_nanodollars is None
        assert await savings_in_the_ledger(sides.core) == result.savings
