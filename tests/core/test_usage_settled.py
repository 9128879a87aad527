"""What a usage settles: never less than was reported or arrived, and nothing where a count can't be believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.chat import ChatRequest, ChatResult, Failed, Finished, Side
from core.errors import BudgetExceeded
from core.ledger.models import LedgerRow
from tests.support.anthropic_server import MODEL, Refuses, Says
from tests.support.anthropic_server import sse as event
from tests.support.field_case import CASES
from tests.support.openai_server import chunk, data
from tests.support.two_sides import TwoSides, two_sides
from tests.support.wire_server import Raw

START: dict[str, Any] = {"input_tokens": 20, "output_tokens": 1}
UNRESOLVED = None
WRITTEN = 100 * 3000 + 40_000 * 3750 + 5 * 15_000
"""$0.150375: 100 in, 40,000 written for 5 minutes, 5 out, at $3, $3.75 and $15 a million."""


def answer(start: Any, *reports: Any, text: str = "Paris.", reason: str | None = "end_turn") -> Raw:
    """A stream whose usages are ``start`` and ``reports``; with the last one comes the reason of the end."""
    body = event("message_start", {"message": {"model": MODEL, "usage": start}})
    if text:
        body += event("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": text}})
    for position, report in enumerate(reports, 1):
        delta = {"stop_reason": reason if position == len(reports) else None}
        body += event("message_delta", {"delta": delta, "usage": report})
    return Raw(chunks=(body + event("message_stop", {}),))


def cost(input_tokens: int, output_tokens: int) -> int:
    return 3000 * input_tokens + 15_000 * output_tokens


FIELD = {
    "01a-cache-breakdown-zero": WRITTEN,
    "01d-cache-control": WRITTEN,
    "01e-cache-no-breakdown": WRITTEN,
    "01f-cache-null-counts": WRITTEN,
    "07l-start-usage-empty": UNRESOLVED,
    "07m-start-usage-null": UNRESOLVED,
    "07o-no-start": UNRESOLVED,
    "07p-start-zero-delta-real": cost(20, 5),
    "07q-no-usage-at-all": UNRESOLVED,
    "07s-output-zero-final": UNRESOLVED,
}
NO_COUNTS = (-2000, 1e30, 2**41, 0.5, float("nan"), float("inf"), None, True, "12", [5], 0)
WRITES = {**START, "input_tokens": 100, "cache_creation_input_tokens": 40_000}
NAMED_0 = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}
REPORTS: dict[str, tuple[Raw, int | None]] = {
    **{f"output {value!r}": (answer(START, {"output_tokens": value}), UNRESOLVED) for value in NO_COUNTS},
    "no output": (answer(START, {}), UNRESOLVED),
    "null": (answer(START, None), UNRESOLVED),
    "a whole float": (answer(START, {"output_tokens": 5.0}), cost(20, 5)),
    "input '20'": (answer({**START, "input_tokens": "20"}, {"output_tokens": 5}), UNRESOLVED),
    "writes '40000'": (
        answer({**START, "cache_creation_input_tokens": "40000"}, {"output_tokens": 5}),
        UNRESOLVED,
    ),
    "reads -1": (answer({**START, "cache_read_input_tokens": -1}, {"output_tokens": 5}), UNRESOLVED),
    "a breakdown that is a number": (
        answer({**START, "cache_creation": 40_000}, {"output_tokens": 5}),
        UNRESOLVED,
    ),
    "searches -1": (
        answer(START, {"output_tokens": 5, "server_tool_use": {"web_search_requests": -1}}),
        UNRESOLVED,
    ),
    "input 0 throughout": (answer({**START, "input_tokens": 0}, {"output_tokens": 5}), UNRESOLVED),
    "input -5 at the end": (answer(START, {"input_tokens": -5, "output_tokens": 5}), UNRESOLVED),
    "put right later": (answer({**START, "input_tokens": "?"}, {**START, "output_tokens": 5}), cost(20, 5)),
    "the output goes down": (answer({**START, "output_tokens": 9}, {"output_tokens": 5}), cost(20, 9)),
    "the input goes down": (answer(START, {"input_tokens": 3, "output_tokens": 5}), cost(20, 5)),
    "written, then not": (
        answer(WRITES, {"output_tokens": 5, "cache_creation_input_tokens": 0, "cache_creation": NAMED_0}),
        WRITTEN,
    ),
    "read, then not": (
        answer(
            {**START, "cache_read_input_tokens": 1000}, {"output_tokens": 5, "cache_read_input_tokens": 0}
        ),
        cost(20, 5) + 1000 * 300,
    ),
    "moved to another class": (
        answer(
            {**START, "input_tokens": 1020}, {**START, "cache_read_input_tokens": 1000, "output_tokens": 5}
        ),
        UNRESOLVED,
    ),
    "another tier at the end": (
        answer({**START, "service_tier": "standard"}, {"output_tokens": 5, "service_tier": "batch"}),
        UNRESOLVED,
    ),
    "more named than written": (
        answer(
            {**WRITES, "cache_creation": {**NAMED_0, "ephemeral_5m_input_tokens": 40_000}}
            | {"cache_creation_input_tokens": 7},
            {"output_tokens": 5},
        ),
        WRITTEN,
    ),
    "more thinking than output": (
        answer(START, {"output_tokens": 5, "output_tokens_details": {"thinking_tokens": 500}}),
        cost(20, 505),
    ),
    "final twice": (answer(START, {"output_tokens": 7}, {"output_tokens": 5}), cost(20, 7)),
    "taken back after the end": (
        answer(START, {"output_tokens": 7}, {"output_tokens": -7}),
        UNRESOLVED,
    ),
    "much text for its count": (answer(START, {"output_tokens": 3}, text="word " * 400), UNRESOLVED),
    "nothing was said": (answer(START, {"output_tokens": 0}, text=""), cost(20, 1)),
}


async def asked(sides: TwoSides, reply: Raw) -> tuple[ChatResult, LedgerRow]:
    sides.api.replies.append(reply)
    end = (await sides.events("Capital of France?"))[-1]
    assert isinstance(end, Finished)
    (row,) = await sides.core.ledger.attempts(end.result.correlation_id)
    return end.result, row


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(
            {
                name: (Raw(chunks=((CASES / name / "body.sse").read_bytes(),)), settled)
                for name, settled in FIELD.items()
            },
            id="field",
        ),
        pytest.param(REPORTS, id="reports"),
    ],
)
async def test_what_cannot_be_believed_keeps_its_hold(
    home: Path, cases: dict[str, tuple[Raw, int | None]]
) -> None:
    settled: dict[str, int | None] = {}
    async with two_sides(home, ROUTING_MODE="api-only") as sides:
        for name, (reply, _) in cases.items():
            result, row = await asked(sides, reply)
            settled[name] = row.cost_nanodollars
            if row.cost_nanodollars is None:
                assert (row.state, row.counted_nanodollars) == ("unresolved", row.hold_nanodollars), name
                assert result.unresolved_nanodollars == row.hold_nanodollars, name
                assert result.usage is None or result.usage_estimated, name
            else:
                assert result.cost_nanodollars == row.cost_nanodollars, name
    assert settled == {name: expected for name, (_, expected) in cases.items()}


LOCAL: tuple[tuple[dict[str, Any], tuple[int, int] | None], ...] = (
    ({"prompt_tokens": 7, "completion_tokens": 3}, (7, 3)),
    ({"prompt_tokens": 0, "completion_tokens": 3}, None),
    ({"completion_tokens": 3}, None),
    ({"prompt_tokens": 7}, None),
    ({"prompt_tokens": 7, "completion_tokens": 0}, None),
    ({"prompt_tokens": 7, "completion_tokens": -3}, None),
    ({"prompt_tokens": "7", "completion_tokens": 3}, None),
)


async def test_a_local_count_that_is_not_known_is_not_shown_as_0(home: Path) -> None:
    async with two_sides(home, ROUTING_MODE="local-only", key=None) as sides:
        for usage, tokens in LOCAL:
            chunks = [
                chunk("tiny", {"content": "Paris."}),
                chunk("tiny", {}, finish="stop"),
                chunk("tiny", usage=usage),
            ]
            sides.local.replies.append(Raw(chunks=(b"".join(map(data, chunks)) + data("[DONE]"),)))
            result = await sides.core.ask("Capital of France?")
            shown = result.usage
            assert (None if shown is None else (shown.input_tokens, shown.output_tokens)) == tokens, usage
            assert result.cost_nanodollars == 0


async def test_a_count_of_the_input_that_cannot_be_is_not_held_for(home: Path) -> None:
    """Near a limit the provider's own count may replace a token a byte; then the hold must still be enough."""
    prompt = "Where is it written? " * 1000
    async with two_sides(home, ROUTING_MODE="api-only", SPEND_LIMIT_DOLLARS="0.05") as sides:
        for counted in (0, -5000, 1, "12", None, 2**50, float("nan")):
            sides.api.received.clear()
            sides.api.counts = Refuses(status=200, body={"input_tokens": counted})
            end = (await sides.events(prompt, max_tokens=10))[-1]
            assert isinstance(end, Failed), counted
            assert isinstance(end.error, BudgetExceeded), counted
            asked_for = [each.path for each in sides.api.received]
            assert "/v1/messages/count_tokens" in asked_for
            assert "/v1/messages" not in asked_for


async def test_a_count_that_may_be_is_held_for(home: Path) -> None:
    prompt = "Where is it written? " * 1000
    request = ChatRequest.from_prompt(prompt, max_tokens=10)
    async with two_sides(home, ROUTING_MODE="api-only", SPEND_LIMIT_DOLLARS="0.05") as sides:
        sides.api.replies.append(Says("here"))
        await sides.core.ask(request)
        (row,) = await sides.core.ledger.attempts(request.correlation_id)
        assert row.hold_nanodollars == cost(4000, 10)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("04a-stop-then-open", "api"),
        ("04c-control", "api"),
        ("04e-openai-nodone-open", "local"),
        ("04g-openai-done-cut", "local"),
    ],
)
async def test_an_end_that_was_recognised_is_paid_once(home: Path, name: str, side: Side) -> None:
    """Whatever becomes of the connection behind it: no failure, no second request."""
    body = (CASES / name / "body.sse").read_bytes()
    end = json.loads(options.read_text())["end"] if (options := CASES / name / "opts.json").exists() else ""
    async with two_sides(home, ROUTING_MODE=f"{side}-only") as sides:
        server = sides.api if side == "api" else sides.local
        server.replies.append(Raw(chunks=(body,), cut=end == "cut", open=end == "open"))
        first = await sides.core.ask("Capital of France?", idempotency_key="once")
        again = await sides.core.ask("Capital of France?", idempotency_key="once")
        assert (first.text, again.text, again.replayed) == ("Paris.", "Paris.", True)
        asked_for = [each.path for each in server.received]
        assert sum(path.endswith(("/messages", "/completions")) for path in asked_for) == 1
        (row,) = await sides.core.ledger.attempts(first.correlation_id)
        assert (row.status, row.state) == ("done", "settled")
        assert row.cost_nanodollars == (cost(20, 5) if side == "api" else 0)
        assert not (await sides.core.status()).problems


START_UNREAD = event("message_start", {"message": {"model": MODEL, "usage": None}})
TEXT_BLOCK = event("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}})
THOUGHT = event(
    "content_block_delta", {"index": 0, "delta": {"type": "thinking_delta", "thinking": "Paris? " * 300}}
)
DECLINED = event(
    "message_delta", {"delta": {"stop_reason": "refusal"}, "usage": {"output_tokens": 3000}}
) + event("message_stop", {})
PING = event("ping", {})


def fails(kind: str) -> bytes:
    return event("error", {"error": {"type": kind, "message": "No."}})


@pytest.mark.parametrize(
    "body",
    [
        START_UNREAD + fails("overloaded_error"),
        START_UNREAD + THOUGHT + fails("api_error"),
        START_UNREAD + THOUGHT + fails("authentication_error"),
        THOUGHT + fails("rate_limit_error"),
        TEXT_BLOCK + fails("overloaded_error"),
        START_UNREAD + DECLINED,
        THOUGHT + DECLINED,
        DECLINED,
    ],
)
async def test_an_answer_that_began_is_never_free_and_never_sent_again(home: Path, body: bytes) -> None:
    """Its usage was not readable, and none of it was shown: it is billed all the same."""
    async with two_sides(home, MAX_RETRIES="2") as sides:
        sides.api.replies.append(Raw(chunks=(body,)))
        end = (await sides.events("Capital of France?", force="api"))[-1]
        assert isinstance(end, Failed)
        assert end.error.correlation_id is not None
        (row,) = await sides.core.ledger.attempts(end.error.correlation_id)
        assert row.state == "unresolved"
        assert row.cost_nanodollars is None


@pytest.mark.parametrize("before", [b"", PING])
async def test_an_answer_that_never_began_is_free_and_sent_again(home: Path, before: bytes) -> None:
    async with two_sides(home, MAX_RETRIES="1") as sides:
        sides.api.replies += [Raw(chunks=(before + fails("overloaded_error"),)), Says("Paris.")]
        end = (await sides.events("Capital of France?", force="api"))[-1]
        assert isinstance(end, Finished)
        first, second = await sides.core.ledger.attempts(end.result.correlation_id)
        assert (first.state, second.state) == ("released", "settled")
