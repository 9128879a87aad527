"""The fallback matrix: every error x every mode x how far the answer was x how the other side is.

What must happen is written down here as a rule of its own (``expected``), not read from the router:

- a caller's error, a refused key, a declined answer and a passed deadline end the request where it is;
- once the caller has seen a piece of the answer, a failure ends it, keeps what came, and can be continued;
- any other failure goes to the other side: once, never back, never across for ``local-only``, ``api-only``, a
  forced side or with the fallback off, and not where the other side is down, can't take it or is over budget;
- then the first side's own error is what the caller is told.

Tool calls and answers with a schema are kept back until they are whole, so their caller has seen nothing.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest

from core.chat import (
    ChatRequest,
    Failed,
    Finished,
    JsonSchemaFormat,
    OutputProgress,
    ProviderEvent,
    RoutingMode,
    Side,
    TextDelta,
    Tool,
    ToolCallDelta,
    UsageReported,
)
from core.errors import (
    AuthenticationFailed,
    ContentRefused,
    ContextTooLong,
    InvalidRequest,
    Overloaded,
    RateLimited,
    SignalboxError,
    TimedOut,
    Unavailable,
)
from core.ledger.ledger import Ledger
from core.providers.errors import Endpoint, provider_failure
from core.routing.policy import Health
from core.settings import Settings
from tests.support.breaking_sides import BEGUN, Behaviour, Breaks, Replies, Told, Workshop

ENDPOINT = Endpoint(
    who="The server",
    side="api",
    base_url="http://127.0.0.1:1",
    key_setting="ANTHROPIC_API_KEY",
    url_setting="ANTHROPIC_BASE_URL",
    timeout_s=1,
)
PATIENCE_S, DEADLINE_S, SILENCE_S = 60.0, 30.0, 61.0
"""A side that falls silent says nothing for longer than either; no test waits that long (``Standstill``)."""
MANY = 1_000_000_000
LONG_WAIT_S = 3600.0


def still_loading() -> SignalboxError:
    error = Unavailable("Loading model.", hint="Wait.")
    error.booting = True
    return error


@dataclass(frozen=True, slots=True)
class Fault:
    """How an attempt ends badly. ``elsewhere`` is whether it may work on the other side, ``kind`` the error's."""

    name: str
    kind: str
    elsewhere: bool
    error: Callable[[], SignalboxError] | Literal["cut", "stall", "late"]
    turned_away: bool = False
    """It surely did not run, so that sending it again is paid once."""


FAULTS = (
    Fault("429", "rate_limited", True, lambda: RateLimited("429", hint="Wait."), turned_away=True),
    Fault(
        "429 for an hour",
        "rate_limited",
        True,
        lambda: RateLimited("429", hint="Wait.", retry_after_s=LONG_WAIT_S),
    ),
    Fault("529", "overloaded", True, lambda: Overloaded("529", hint="Wait."), turned_away=True),
    Fault("500", "unavailable", True, lambda: Unavailable("500", hint="Wait."), turned_away=True),
    Fault("502", "unavailable", True, lambda: Unavailable("502", hint="Wait.", may_be_billed=True)),
    Fault("loading", "unavailable", True, still_loading, turned_away=True),
    Fault(
        "no connection",
        "timed_out",
        True,
        lambda: TimedOut("Nobody.", hint="Wait.", phase="connect", may_be_billed=False),
        turned_away=True,
    ),
    Fault("malformed", "unavailable", True, lambda: provider_failure(ValueError("{"), ENDPOINT)),
    Fault(
        "killed",
        "unavailable",
        True,
        lambda: provider_failure(httpx2.RemoteProtocolError("peer closed connection"), ENDPOINT),
    ),
    Fault("cut", "unavailable", True, "cut"),
    Fault("stall", "timed_out", True, "stall"),
    Fault("deadline", "deadline_exceeded", False, "late"),
    Fault("400", "invalid_request", False, lambda: InvalidRequest("400", hint="Change it.")),
    Fault("too long", "context_too_long", False, lambda: ContextTooLong("Long.", hint="Shorten it.")),
    Fault("401", "authentication_failed", False, lambda: AuthenticationFailed("401", hint="Check it.")),
    Fault("declined", "content_refused", False, lambda: ContentRefused("No.", hint="Rephrase it.")),
)

Stage = Literal["nothing", "thinking", "text", "tool", "text, then tool", "kept back"]
STAGES: dict[Stage, tuple[ProviderEvent, ...]] = {
    "nothing": (),
    "thinking": (UsageReported(BEGUN), OutputProgress(0), OutputProgress(30)),
    "text": (UsageReported(BEGUN), TextDelta("Once "), TextDelta("upon")),
    "tool": (
        UsageReported(BEGUN),
        ToolCallDelta(0, "a", "look", ""),
        ToolCallDelta(0, None, None, '{"at": "h'),
    ),
    "text, then tool": (UsageReported(BEGUN), TextDelta("Once upon"), ToolCallDelta(0, "a", "look", '{"at"')),
    "kept back": (UsageReported(BEGUN), TextDelta('{"at": "h')),
}
SEEN: frozenset[Stage] = frozenset({"text", "text, then tool"})
"""Where the caller has seen a piece of the answer."""

Other = Literal["up", "fails", "down", "over budget", "no key", "starting", "too small"]
LOOK = Tool(
    name="look",
    description="Looks at a place",
    parameters={"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]},
)
WHOLE_CALL = '{"at": "there"}'


@dataclass(frozen=True, slots=True)
class Start:
    """A mode, and what makes a request begin on ``side`` in it."""

    mode: RoutingMode
    side: Side
    threshold: int = MANY
    request: dict[str, Any] = field(default_factory=dict)
    fallback: bool = True

    @property
    def may_cross(self) -> bool:
        return self.fallback and self.mode not in ("local-only", "api-only") and "force" not in self.request


SIMPLE, HARD = {"batch": True}, {"high_stakes": True}
STARTS = (
    Start("hybrid", "local", request=SIMPLE),
    Start("hybrid", "api", request=HARD),
    Start("local-first", "local"),
    Start("local-first", "api", threshold=0),
    Start("break-even", "local", threshold=0, request=SIMPLE),
    Start("break-even", "api"),
    Start("api-primary", "api"),
    Start("local-only", "local"),
    Start("api-only", "api"),
)
HELD_STARTS = (
    Start("hybrid", "local", request={"force": "local"}),
    Start("hybrid", "api", request={"force": "api"}),
    Start("hybrid", "local", request=SIMPLE, fallback=False),
    Start("hybrid", "api", request=HARD, fallback=False),
)


@dataclass(frozen=True, slots=True)
class Case:
    fault: Fault
    start: Start
    stage: Stage
    other: Other
    retries: int = 0

    @property
    def other_side(self) -> Side:
        return "api" if self.start.side == "local" else "local"

    def __str__(self) -> str:
        start = self.start
        return (
            f"{self.fault.name} at {start.side} ({start.mode}, {start.request}, fallback {start.fallback}) "
            f"after {self.stage}, other side {self.other}, {self.retries} retries"
        )


@dataclass(frozen=True, slots=True)
class Expected:
    """The sides that are asked, in order, and the error's kind (``None``: the last one answers)."""

    asked: tuple[Side, ...]
    kind: str | None


def expected(case: Case) -> Expected:
    """The rule, for no retries."""
    first, fault = case.start.side, case.fault
    if not fault.elsewhere or case.stage in SEEN or not case.start.may_cross:
        return Expected((first,), fault.kind)
    if case.other == "up":
        return Expected((first, case.other_side), None)
    if case.other == "fails":
        return Expected((first, case.other_side), "overloaded")
    return Expected((first,), fault.kind)


def others_of(start: Start) -> tuple[Other, ...]:
    """How the other side may be: only the API costs money or has a key."""
    if start.side == "local":
        return ("up", "fails", "down", "over budget", "no key", "too small")
    return ("up", "fails", "down", "starting", "too small")


def cases_of(fault: Fault) -> Iterator[Case]:
    for start in STARTS:
        for stage, other in itertools.product(STAGES, others_of(start)):
            if stage in ("nothing", "text", "tool") or other in ("up", "over budget"):
                yield Case(fault, start, stage, other)
    for start, stage in itertools.product(HELD_STARTS, ("nothing", "text")):
        yield Case(fault, start, stage, "up")


def request_of(case: Case) -> ChatRequest:
    options = dict(case.start.request)
    if case.stage in ("tool", "text, then tool"):
        options["tools"] = (LOOK,)
    if case.stage == "kept back":
        options["response_format"] = JsonSchemaFormat(schema=LOOK.parameters)
    if case.fault.error == "late":
        options["deadline_s"] = DEADLINE_S
    return ChatRequest.from_prompt("Tell me a story.", max_tokens=300, **options)


def settings_of(case: Case) -> Settings:
    patience_s = 600.0 if case.fault.error == "late" else PATIENCE_S
    return Settings(
        routing_mode=case.start.mode,
        routing_threshold=case.start.threshold,
        enable_fallback=case.start.fallback,
        spend_limit_dollars="0" if case.other == "over budget" else "1000000",  # type: ignore[arg-type]
        runaway_requests_per_minute=0,
        max_retries=case.retries,
        first_token_timeout_s=patience_s,
        between_tokens_timeout_s=patience_s,
    )


def answer_of(case: Case) -> Replies:
    """What the other side says where it is up."""
    if case.stage in ("tool", "text, then tool"):
        return Replies((UsageReported(BEGUN), ToolCallDelta(0, "b", "look", WHOLE_CALL)))
    text = WHOLE_CALL if case.stage == "kept back" else "Once there was"
    return Replies((UsageReported(BEGUN), TextDelta(text)))


async def run(workshop: Workshop, case: Case) -> Told:
    error = "stall" if case.fault.error == "late" else case.fault.error
    second: Behaviour = answer_of(case)
    if case.other == "fails":
        second = Breaks((), lambda: Overloaded("The other one too.", hint="Wait."))
    states: dict[Other, Health] = {"down": "down", "no key": "no_key", "starting": "starting"}
    first_side, other_side = case.start.side, case.other_side
    return await workshop.ask(
        request_of(case),
        settings_of(case),
        {first_side: Breaks(STAGES[case.stage], error), other_side: second},
        health={first_side: "up", other_side: states.get(case.other, "up")},
        context_tokens={first_side: 8192, other_side: 64 if case.other == "too small" else 8192},
    )


def check_end(case: Case, told: Told, kind: str | None) -> None:
    """What holds of an end, whatever the retries."""
    end = told.end
    ends = [event for event in told.events if isinstance(event, Finished | Failed)]
    assert ends == [end], "exactly one end, and it is the last event"
    assert told.started == told.asked, "each attempt is announced"
    assert told.left_open == 0, "each upstream is closed"
    came = STAGES[case.stage]
    if isinstance(end, Finished):
        assert kind is None
        result = end.result
        assert result.side == case.other_side
        assert (result.decision.fell_back_from, result.decision.rule) == (case.start.side, "unavailable")
        assert [step.kind for step in result.steps if step.kind != "retried"] == ["fell_back"]
        assert told.text == result.text, "nothing of the first side's answer is mixed in"
        assert told.arguments == "".join(call.arguments_json for call in result.tool_calls)
        if case.stage in ("tool", "text, then tool"):
            assert told.arguments == WHOLE_CALL
        return
    error, partial = end.error, end.partial
    assert error.kind == kind
    assert error.hint
    assert error.correlation_id
    assert partial is not None, "it was sent, so there is something to show"
    if case.stage in SEEN:
        assert told.text == partial.text == "".join(e.text for e in came if isinstance(e, TextDelta))
        assert partial.usage is not None
        assert partial.usage.output_tokens >= 1
        assert partial.finish_reason == "unknown", "it can be continued"
    else:
        assert told.text == told.arguments == ""


@pytest.fixture
async def workshop(home: Path) -> AsyncIterator[Workshop]:
    ledger = Ledger(None, home)
    await ledger.open()
    try:
        yield Workshop(home, ledger, SILENCE_S)
        # Whatever happened, nothing is open or held, and the sums are those of the rows.
        assert await ledger.holds() == []
        assert [row for row in await ledger.recent(5000) if row.status == "open"] == []
        assert (await ledger.check()).ok
    finally:
        await ledger.close()


async def each(workshop: Workshop, cases: list[Case], check: Callable[[Case, Told], None]) -> None:
    """Run all cases, some at a time, and say every one that went wrong."""
    wrong: list[str] = []
    gate = asyncio.Semaphore(40)

    async def one(case: Case) -> None:
        async with gate:
            told = await run(workshop, case)
        try:
            check(case, told)
        except AssertionError as error:
            wrong.append(f"{case}:\n    asked {told.asked}, {told.events[-1]!r:.300}\n    {error}")

    await asyncio.gather(*(one(case) for case in cases))
    assert not wrong, f"{len(wrong)} of {len(cases)}:\n" + "\n".join(wrong[:8])


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_the_matrix(workshop: Workshop, fault: Fault) -> None:
    def check(case: Case, told: Told) -> None:
        wanted = expected(case)
        assert tuple(told.asked) == wanted.asked
        check_end(case, told, wanted.kind)

    await each(workshop, list(cases_of(fault)), check)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_with_retries_it_ends_in_the_same_place(workshop: Workshop, fault: Fault) -> None:
    """Retries come before the fallback, never after it on the first side; what may have run isn't paid twice."""

    def check(case: Case, told: Told) -> None:
        wanted = expected(case)
        sides = [side for side, _ in itertools.groupby(told.asked)]
        assert tuple(sides) == wanted.asked, "each side in one go: never back to the one that failed"
        asked = Counter(told.asked)
        assert sum(asked.values()) <= len(wanted.asked) + case.retries
        first = case.start.side
        if case.stage in SEEN or not fault.elsewhere:
            assert asked[first] == 1
        if first == "api" and not fault.turned_away:
            assert asked[first] == 1, "it may have run there: sent again, it would be paid twice"
        if fault.turned_away and case.stage == "nothing" and len(wanted.asked) == 1:
            assert asked[first] == 1 + case.retries, "with nowhere else to go, it is tried again"
        check_end(case, told, wanted.kind)

    starts = (STARTS[0], STARTS[1], STARTS[7], STARTS[8])
    cases = [
        Case(fault, start, stage, other, retries=2)
        for start, stage in itertools.product(starts, ("nothing", "text", "tool"))
        for other in others_of(start)
        if stage == "nothing" or other in ("up", "over budget")
    ]
    await each(workshop, cases, check)


def test_the_matrix_is_whole() -> None:
    """Each mode begins on each side it can begin on, and every error a provider may raise is there."""
    cases = [case for fault in FAULTS for case in cases_of(fault)]
    assert len(cases) > 3000
    assert {case.start.mode for case in cases} == {
        "hybrid",
        "local-first",
        "break-even",
        "api-primary",
        "local-only",
        "api-only",
    }
    kinds = {fault.kind for fault in FAULTS}
    assert kinds >= {
        error.kind
        for error in (
            RateLimited,
            Overloaded,
            Unavailable,
            TimedOut,
            InvalidRequest,
            ContextTooLong,
            AuthenticationFailed,
            ContentRefused,
        )
    }
