"""PostgreSQL's connection dies while it commits: what was written stands once, and nothing is held for ever."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from core.chat import ChatRequest, Failed, Finished, JsonSchemaFormat, Started, StreamEvent, TextDelta
from core.errors import LedgerUnavailable
from tests.support.anthropic_server import Says
from tests.support.dying_proxy import Death, DyingProxy
from tests.support.postgres import PostgresServer, missing
from tests.support.two_sides import TwoSides, two_sides

REASON = missing()
SCHEMA = JsonSchemaFormat(
    schema={"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
)
FRESH_NANODOLLARS, OUTPUT_NANODOLLARS = 3_000, 15_000

pytestmark = [pytest.mark.real, pytest.mark.skipif(REASON is not None, reason=REASON or "")]


@asynccontextmanager
async def behind_a_proxy(home: Path) -> AsyncGenerator[tuple[TwoSides, DyingProxy]]:
    with PostgresServer() as server:
        async with (
            DyingProxy(server.port) as proxy,
            two_sides(home, ROUTING_MODE="api-only", LEDGER_URL=proxy.url) as sides,
        ):
            await sides.core.ask("warm up")
            yield sides, proxy


async def run(
    sides: TwoSides, request: ChatRequest, at: type[StreamEvent], proxy: DyingProxy, death: Death
) -> StreamEvent | None:
    """Run ``request``; the connection dies at the first commit after its first event of the kind ``at``."""
    last: StreamEvent | None = None
    async for event in sides.core.stream(request):
        last = event
        if isinstance(event, at) and not proxy.deaths:
            proxy.dies = death
    return last


async def saved(sides: TwoSides) -> None:
    """Return when the ledger has written what it kept, which goes before anything that is asked later."""
    await sides.core.ledger.reset_local_count()
    assert sides.core.ledger.unsaved == ()


async def agrees_with_the_apis_books(sides: TwoSides) -> None:
    rows = await sides.core.ledger.recent()
    billed = sum(
        FRESH_NANODOLLARS * entry.input_tokens + OUTPUT_NANODOLLARS * entry.output_tokens
        for entry in sides.api.books
    )
    assert sum(row.counted_nanodollars for row in rows) == billed
    budget = await sides.core.ledger.budget()
    assert (budget.held_nanodollars, budget.spent_nanodollars) == (0, billed)
    assert (await sides.core.ledger.check()).ok
    assert (await sides.core.ledger.verify_audit()).problems == ()


@pytest.mark.parametrize("death", ["before", "after"])
async def test_at_the_hold(home: Path, death: Death) -> None:
    async with behind_a_proxy(home) as (sides, proxy):
        proxy.dies = death
        assert isinstance((await sides.events())[-1], Finished)
        assert proxy.deaths == 1
        await agrees_with_the_apis_books(sides)


@pytest.mark.parametrize("death", ["before", "after"])
async def test_at_the_settlement(home: Path, death: Death) -> None:
    async with behind_a_proxy(home) as (sides, proxy):
        assert isinstance(await run(sides, ChatRequest.from_prompt("hi"), TextDelta, proxy, death), Finished)
        await saved(sides)
        assert proxy.deaths == 1
        await agrees_with_the_apis_books(sides)


@pytest.mark.parametrize("death", ["before", "after"])
async def test_between_two_attempts(home: Path, death: Death) -> None:
    async with behind_a_proxy(home) as (sides, proxy):
        sides.api.replies += [Says("no JSON at all"), Says('{"a": 1}')]
        request = ChatRequest.from_prompt("Give me JSON.", response_format=SCHEMA)
        assert isinstance(await run(sides, request, Started, proxy, death), Finished)
        assert proxy.deaths == 1
        assert len(await sides.core.ledger.attempts(request.correlation_id)) == 2
        await agrees_with_the_apis_books(sides)


async def test_at_a_hold_while_the_server_stays_away(home: Path) -> None:
    async with behind_a_proxy(home) as (sides, proxy):
        proxy.goes_down_with_it, proxy.dies = True, "after"
        end = (await sides.events())[-1]
        assert isinstance(end, Failed)
        assert isinstance(end.error, LedgerUnavailable)
        proxy.down = False
        await saved(sides)
        await agrees_with_the_apis_books(sides)


async def test_between_two_attempts_while_the_server_stays_away(home: Path) -> None:
    async with behind_a_proxy(home) as (sides, proxy):
        sides.api.replies.append(Says("no JSON at all"))
        request = ChatRequest.from_prompt("Give me JSON.", response_format=SCHEMA)
        proxy.goes_down_with_it = True
        assert isinstance(await run(sides, request, Started, proxy, "after"), Failed)
        proxy.down = False
        await saved(sides)
        first, second = await sides.core.ledger.attempts(request.correlation_id)
        assert first.cost_nanodollars
        assert second.counted_nanodollars == 0, "it was never sent"
        await agrees_with_the_apis_books(sides)
