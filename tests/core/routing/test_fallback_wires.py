"""A sample of the fallback matrix on the real wires: both SDKs, real connections, and servers that notice."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import anthropic  # noqa: F401  loaded here, so that it is not part of a first token's time
import openai  # noqa: F401
import pytest

from core.chat import ChatRequest, Failed, Finished, Message, Side, Started
from tests.support.anthropic_server import AnthropicServer, Fault, Says, ToolUse, refusal
from tests.support.openai_server import OpenAIServer, Streams, vllm_error
from tests.support.two_sides import TwoSides, two_sides
from tests.support.wire_server import Raw, Refuses

EASY = "hi"
HARD = "Prove step by step why the algorithm is optimal, compare it, and explain the trade-offs. " * 4
LOADING = Refuses(
    status=503, body={"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
)
GARBAGE = Raw(chunks=(b"<html>Welcome</html>",))
BROKEN_EVENT = Raw(chunks=(b"data: {not json\n\n",))
DIED = vllm_error(500, "InternalServerError", "EngineCore died")
BUSY = refusal(529, "overloaded_error", "Overloaded")
CHAT: dict[Side, str] = {"local": "/v1/chat/completions", "api": "/v1/messages"}
SHORT = {"FIRST_TOKEN_TIMEOUT_S": "0.3", "BETWEEN_TOKENS_TIMEOUT_S": "0.3"}


@dataclass(frozen=True, slots=True)
class Row:
    """``first`` breaks with ``reply``; ``asked`` are the sides that must be asked, ``kind`` the error told."""

    name: str
    first: Side
    reply: object
    asked: tuple[Side, ...]
    kind: str | None = None
    partial: str = ""
    env: dict[str, str] = field(default_factory=dict[str, str])
    lost: bool = False
    """The broken side's server has to notice that its client is gone."""


TO_LOCAL: tuple[Side, ...] = ("api", "local")
TO_API: tuple[Side, ...] = ("local", "api")
ROWS = (
    Row("529", "api", BUSY, TO_LOCAL),
    Row("429", "api", refusal(429, "rate_limit_error"), TO_LOCAL),
    Row(
        "an error event after HTTP 200",
        "api",
        Says("x", fault_after=(0, Fault("api_error", "No."))),
        TO_LOCAL,
    ),
    Row("cut before the text", "api", Says("x", cut_after=0), TO_LOCAL),
    Row("no end", "api", Says(ends=False), TO_LOCAL),
    Row("a page", "api", GARBAGE, TO_LOCAL),
    Row("silent", "api", Says("x", hold_after=0), TO_LOCAL, env=SHORT, lost=True),
    Row("500", "local", DIED, TO_API),
    Row("loading", "local", LOADING, TO_API),
    Row("the engine dies after HTTP 200", "local", Streams("x", engine_dies_after=0), TO_API),
    Row("cut before the text", "local", Streams("x", cut_after=0), TO_API),
    Row("not JSON", "local", BROKEN_EVENT, TO_API),
    Row("silent", "local", Streams("x", hold_after=0), TO_API, env=SHORT, lost=True),
    Row("cut in the text", "api", Says("Once", " upon", cut_after=1), ("api",), "unavailable", "Once"),
    Row(
        "an error event in the text",
        "api",
        Says("Once", " upon", fault_after=(1, Fault("overloaded_error", "No."))),
        ("api",),
        "overloaded",
        "Once",
    ),
    Row(
        "silent in the text",
        "api",
        Says("Once", " upon", hold_after=1),
        ("api",),
        "timed_out",
        "Once",
        env=SHORT,
        lost=True,
    ),
    Row(
        "the engine dies in the text",
        "local",
        Streams("Once", " upon", engine_dies_after=1),
        ("local",),
        "unavailable",
        "Once",
    ),
    Row(
        "silent in the text",
        "local",
        Streams("Once", " upon", hold_after=1),
        ("local",),
        "timed_out",
        "Once",
        env=SHORT,
        lost=True,
    ),
    Row(
        "the deadline",
        "local",
        Streams("x", hold_after=0),
        ("local",),
        "deadline_exceeded",
        env={"REQUEST_DEADLINE_S": "2"},
        lost=True,
    ),
    Row("400", "api", refusal(400, "invalid_request_error", "Bad."), ("api",), "invalid_request"),
    Row("401", "api", refusal(401, "authentication_error"), ("api",), "authentication_failed"),
    Row("api-only", "api", BUSY, ("api",), "overloaded", env={"ROUTING_MODE": "api-only"}),
    Row("local-only", "local", DIED, ("local",), "unavailable", env={"ROUTING_MODE": "local-only"}),
    Row("no fallback", "local", DIED, ("local",), "unavailable", env={"ENABLE_FALLBACK": "false"}),
    Row("over budget", "local", DIED, ("local",), "unavailable", env={"SPEND_LIMIT_DOLLARS": "0"}),
)


def asked(sides: TwoSides) -> dict[Side, int]:
    """How many requests for an answer each server saw."""
    servers: dict[Side, AnthropicServer | OpenAIServer] = {"local": sides.local, "api": sides.api}
    return {
        side: sum(received.path == CHAT[side] for received in server.received)
        for side, server in servers.items()
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.first}, {row.name}")
async def test_on_the_wire(home: Path, row: Row) -> None:
    async with two_sides(home, **{"MAX_RETRIES": "0"} | row.env) as sides:
        server = sides.api if row.first == "api" else sides.local
        server.replies.append(row.reply)  # type: ignore[arg-type]
        events = await sides.events(HARD if row.first == "api" else EASY)
        end = events[-1]
        assert [event.decision.side for event in events if isinstance(event, Started)] == list(row.asked)
        assert asked(sides) == {side: row.asked.count(side) for side in ("local", "api")}
        if row.kind is None:
            assert isinstance(end, Finished), end
            assert (end.result.side, end.result.text) == (row.asked[-1], "Hello there")
        else:
            assert isinstance(end, Failed), end
            assert end.error.kind == row.kind
            assert end.partial is not None
            assert end.partial.text == row.partial
        if row.lost:
            await asyncio.wait_for(server.lost.wait(), 10)
        assert await sides.core.ledger.holds() == []
        assert (await sides.core.ledger.check()).ok


async def test_an_answer_that_broke_off_can_be_continued(home: Path) -> None:
    async with two_sides(home, MAX_RETRIES="0") as sides:
        sides.api.replies.append(Says("Once", " upon", " a time", cut_after=2))
        sides.api.replies.append(Says(" a time"))
        first = ChatRequest.from_prompt(HARD)
        broken = [event async for event in sides.core.stream(first)][-1]
        assert isinstance(broken, Failed)
        assert broken.partial is not None
        turns = (
            *first.messages,
            Message(role="assistant", text=broken.partial.text),
            Message(role="user", text="Go on."),
        )
        result = await sides.core.ask(ChatRequest(messages=turns, high_stakes=True))
        assert broken.partial.text + result.text == "Once upon a time"
        sent = sides.api.received[-1].body["messages"]
        assert [turn["role"] for turn in sent] == ["user", "assistant", "user"]


async def test_a_tool_call_that_broke_off_is_never_shown(home: Path) -> None:
    """The caller gets the other side's call, whole, or none: a half call could be run."""
    from core.chat import Tool, ToolCallDelta

    look = Tool(name="look", description="Looks", parameters={"type": "object", "properties": {}})
    half = Says(tools=(ToolUse("look", ('{"at": ', '"h'), id="first"),), ends=False)
    whole = {"index": 0, "id": "second", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    async with two_sides(home, MAX_RETRIES="0") as sides:
        sides.api.replies.append(half)
        sides.local.replies.append(Streams({"tool_calls": [whole]}, finish="tool_calls"))
        events = await sides.events(HARD, tools=(look,))
        assert isinstance(events[-1], Finished)
        assert [event.id for event in events if isinstance(event, ToolCallDelta)] == ["second"]
