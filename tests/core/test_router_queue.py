"""Waiting, as the router does it: at the local server, for a rate, for a first answer, and for a person."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from core.chat import (
    ChatRequest,
    ChatResult,
    Failed,
    Finished,
    PromptProgress,
    Started,
    StreamEvent,
    TextDelta,
    UsageReported,
    Waiting,
)
from core.errors import DuplicateRequest, Overloaded, QueueFull, RateExceeded, RunawayPaused, SignalboxError
from core.ledger.database import LEDGER_FILE
from core.ledger.sliding_window import from_text, to_text
from core.routing.conversations import conversation_of
from core.routing.idempotency_store import FILE_NAME
from core.routing.local_queue import QueueState
from tests.support.anthropic_server import Says, refusal
from tests.support.openai_server import Metrics, Streams, vllm_error
from tests.support.two_sides import TwoSides, two_sides
from tests.support.wire_server import Received

HELD = Streams("Held", hold_after=0)
ONE_AT_A_TIME = {"LOCAL_MAX_CONCURRENT": "1", "RUNAWAY_REQUESTS_PER_MINUTE": "0"}
FOREVER_S = "3600"


class Asked:
    """A request on its way; ``events`` are what it has said so far."""

    def __init__(self, sides: TwoSides, prompt: str, **options: Any) -> None:
        self.request = ChatRequest.from_prompt(prompt, **options)
        self.events: list[StreamEvent] = []
        self._waits = asyncio.Event()
        self.task = asyncio.create_task(self._run(sides))

    async def _run(self, sides: TwoSides) -> None:
        async with aclosing(sides.core.stream(self.request)) as events:
            async for event in events:
                self.events.append(event)
                if isinstance(event, Waiting):
                    self._waits.set()

    async def waiting(self, reason: str | None = None) -> Waiting:
        """Return the first ``Waiting`` that it says, or the first for that ``reason``."""
        while True:
            for event in self.events:
                if isinstance(event, Waiting) and reason in (None, event.reason):
                    return event
            self._waits.clear()
            await self._waits.wait()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])

    async def result(self) -> ChatResult:
        await self.task
        end = self.events[-1]
        assert isinstance(end, Finished), end
        return end.result

    async def error(self) -> SignalboxError:
        await self.task
        end = self.events[-1]
        assert isinstance(end, Failed), end
        return end.error


async def first_at_local(sides: TwoSides) -> Asked:
    """Return a request that is at the local server and stays there until ``sides.local.released``."""
    sides.local.replies.append(HELD)
    first = Asked(sides, "hold the line")
    await sides.local.holding.wait()
    return first


def posted(received: list[Received]) -> int:
    return sum(request.method == "POST" for request in received)


async def queue_of(sides: TwoSides) -> QueueState:
    queue = (await sides.core.status()).queue
    assert queue is not None
    return queue


async def nothing_is_left(sides: TwoSides) -> None:
    queue = await queue_of(sides)
    assert (queue.running, queue.waiting) == (0, 0)
    assert await sides.core.ledger.holds() == []
    budget = await sides.core.ledger.budget()
    assert budget.held_nanodollars == 0
    assert (await sides.core.ledger.check()).differences == ()


# -- the local server's line ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("room", "why"),
    [(0, "no request may wait for it"), (1, "one request waits for it already"), (2, "2 requests wait")],
)
async def test_a_full_line_spills_over_to_the_api_and_says_why(home: Path, room: int, why: str) -> None:
    settings = ONE_AT_A_TIME | {"LOCAL_MAX_WAIT_S": FOREVER_S, "MAX_WAITING_REQUESTS": str(room)}
    async with two_sides(home, **settings) as sides:
        first = await first_at_local(sides)
        waiting = [Asked(sides, f"wait {number}") for number in range(room)]
        for one in waiting:
            await one.waiting()
        spilled = await Asked(sides, "hi").result()
        assert (spilled.side, spilled.decision.rule) == ("api", "unavailable")
        assert spilled.decision.reason.startswith("Local busy: ")
        assert why in spilled.decision.reason
        assert spilled.decision.fell_back_from is None, "nothing failed"
        sides.local.released.set()
        assert {(await one.result()).side for one in [first, *waiting]} == {"local"}
        await nothing_is_left(sides)


@pytest.mark.parametrize("options", [{}, {"force": "local"}])
async def test_what_may_only_go_local_waits_as_long_as_it_takes(home: Path, options: dict[str, Any]) -> None:
    settings = ONE_AT_A_TIME | {"LOCAL_MAX_WAIT_S": "0"}
    if not options:
        settings["ROUTING_MODE"] = "local-only"
    async with two_sides(home, **settings) as sides:
        first = await first_at_local(sides)
        second, third = Asked(sides, "second", **options), None
        waiting = await second.waiting()
        assert (waiting.reason, waiting.position) == ("local_queue", 0)
        third = Asked(sides, "third", **options)
        assert (await third.waiting()).position == 1
        assert (await queue_of(sides)).waiting == 2
        sides.local.released.set()
        results = [await one.result() for one in (first, second, third)]
        assert [result.side for result in results] == ["local"] * 3
        assert sides.api.received == []
        assert results[0].steps == ()
        assert [step.kind for step in results[1].steps] == ["waited"]
        assert results[1].queued_ms > 0
        await nothing_is_left(sides)


async def test_a_full_line_is_an_error_where_the_api_is_no_choice(home: Path) -> None:
    settings = ONE_AT_A_TIME | {"ROUTING_MODE": "local-only", "MAX_WAITING_REQUESTS": "0"}
    async with two_sides(home, **settings) as sides:
        first = await first_at_local(sides)
        error = await Asked(sides, "hi").error()
        assert isinstance(error, QueueFull)
        assert error.hint
        sides.local.released.set()
        await first.result()
        assert posted(sides.local.received) == 1
        await nothing_is_left(sides)


async def test_a_wait_that_passes_the_bound_spills_over(home: Path) -> None:
    async with two_sides(home, **ONE_AT_A_TIME, LOCAL_MAX_WAIT_S="0.05") as sides:
        first = await first_at_local(sides)
        spilled = Asked(sides, "hi")
        result = await spilled.result()
        assert result.side == "api"
        assert result.decision.reason == "Local busy: no place came free in 0.05 s"
        assert (await spilled.waiting()).reason == "local_queue"
        sides.local.released.set()
        assert (await first.result()).side == "local"
        await nothing_is_left(sides)


async def test_a_deadline_that_is_far_leaves_the_bound_of_the_wait_as_it_is(home: Path) -> None:
    async with two_sides(home, **ONE_AT_A_TIME, LOCAL_MAX_WAIT_S="0.05") as sides:
        first = await first_at_local(sides)
        result = await Asked(sides, "hi", deadline_s=3600).result()
        assert result.decision.reason == "Local busy: no place came free in 0.05 s"
        sides.local.released.set()
        await first.result()


async def test_a_line_that_is_expected_to_be_too_long_is_not_waited_in(home: Path) -> None:
    async with two_sides(home, **ONE_AT_A_TIME, LOCAL_MAX_WAIT_S="0.05") as sides:
        teacher = await first_at_local(sides)
        await asyncio.sleep(0.2)  # how long an answer takes: the line learns it
        sides.local.released.set()
        await teacher.result()
        sides.local.released.clear()
        sides.local.holding.clear()
        first = await first_at_local(sides)
        spilled = Asked(sides, "hi")
        result = await spilled.result()
        assert result.side == "api"
        assert result.decision.reason.startswith("Local busy: a place in about ")
        assert not any(isinstance(event, Waiting) for event in spilled.events)
        sides.local.released.set()
        await first.result()


async def test_a_place_that_comes_free_in_time_is_taken(home: Path) -> None:
    async with two_sides(home, **ONE_AT_A_TIME, LOCAL_MAX_WAIT_S=FOREVER_S) as sides:
        first = await first_at_local(sides)
        second = Asked(sides, "hi")
        await second.waiting()
        sides.local.released.set()
        assert (await second.result()).side == "local"
        await first.result()
        assert sides.api.received == []


async def test_one_who_stops_waiting_leaves_nothing_behind(home: Path) -> None:
    async with two_sides(home, **ONE_AT_A_TIME, LOCAL_MAX_WAIT_S=FOREVER_S) as sides:
        first = await first_at_local(sides)
        second, third = Asked(sides, "second"), Asked(sides, "third")
        await second.waiting()
        await third.waiting()
        await second.stop()
        assert (await queue_of(sides)).waiting == 1
        sides.local.released.set()
        await third.result()
        await first.result()
        await nothing_is_left(sides)
        statuses = sorted(row.status for row in await sides.core.ledger.recent())
        assert statuses == ["done", "done", "refused"], (
            "who never left the line was never sent, and has its row"
        )


async def test_one_that_is_stopped_at_the_server_gives_its_place_to_the_next(home: Path) -> None:
    async with two_sides(home, **ONE_AT_A_TIME, LOCAL_MAX_WAIT_S=FOREVER_S) as sides:
        first = await first_at_local(sides)
        second = Asked(sides, "second")
        await second.waiting()
        await first.stop()
        assert (await second.result()).side == "local"
        await nothing_is_left(sides)


async def test_a_server_that_dies_leaves_nobody_in_its_line(home: Path) -> None:
    async with two_sides(home, **ONE_AT_A_TIME, LOCAL_MAX_WAIT_S=FOREVER_S) as sides:
        first = await first_at_local(sides)
        waiting = [Asked(sides, f"wait {number}") for number in range(3)]
        for one in waiting:
            await one.waiting()
        await sides.local.stop()
        results = [await one.result() for one in [first, *waiting]]
        assert [result.side for result in results] == ["api"] * 4
        await nothing_is_left(sides)


async def test_a_deadline_holds_in_the_line_too(home: Path) -> None:
    settings = ONE_AT_A_TIME | {"ROUTING_MODE": "local-only"}
    async with two_sides(home, **settings) as sides:
        first = await first_at_local(sides)
        error = await Asked(sides, "hi", deadline_s=0.2).error()
        assert error.kind == "deadline_exceeded"
        sides.local.released.set()
        await first.result()
        await nothing_is_left(sides)


# -- what the local server says of itself --------------------------------------------------------------------


async def told_busy(sides: TwoSides, busy: bool) -> None:
    """Wait until the core has heard it from the server."""
    while (await queue_of(sides)).busy != busy:  # noqa: ASYNC110 - a look at the server is no event
        await asyncio.sleep(0.02)


async def test_a_server_that_others_fill_is_not_given_more(home: Path) -> None:
    full = Metrics(running=16, waiting=5)
    async with two_sides(home, local_metrics=full, LOCAL_MAX_WAIT_S="0.05") as sides:
        await sides.core.start_local()
        await told_busy(sides, True)
        result = await Asked(sides, "hi").result()
        assert result.side == "api"
        assert result.decision.reason.startswith("Local busy: ")
        assert posted(sides.local.received) == 0
        sides.local.metrics = Metrics(running=3)
        await told_busy(sides, False)
        assert (await Asked(sides, "hi").result()).side == "local"


async def test_what_may_only_go_local_is_sent_to_a_server_that_others_fill(home: Path) -> None:
    """It would wait for ever if they never left; the server's own line is fair."""
    full = Metrics(running=16, waiting=5)
    async with two_sides(home, local_metrics=full, ROUTING_MODE="local-only") as sides:
        await sides.core.start_local()
        await told_busy(sides, True)
        assert (await Asked(sides, "hi").result()).side == "local"


# -- request rates -------------------------------------------------------------------------------------------


def grow_older(home: Path, *, seconds: int) -> None:
    """Let the newest request under each rate have begun ``seconds`` ago, and all others with it."""
    with sqlite3.connect(home / LEDGER_FILE) as database:
        for key, begun in database.execute("SELECT key, begun FROM ledger_rates").fetchall():
            count = sum(number for _, number in from_text(begun))
            log = ((time.time_ns() // 1000 - seconds * 1_000_000, count),)
            database.execute(
                "UPDATE ledger_rates SET begun = ?, last_us = ? WHERE key = ?", (to_text(log), log[0][0], key)
            )
    database.close()


@pytest.mark.parametrize(
    ("name", "force"), [("MAX_REQUESTS_PER_MINUTE", "local"), ("MAX_API_REQUESTS_PER_MINUTE", "api")]
)
async def test_requests_over_the_rate_wait_their_turn_and_pass(home: Path, name: str, force: Any) -> None:
    settings = {name: "30", "RUNAWAY_REQUESTS_PER_MINUTE": "0"}
    async with two_sides(home, **settings) as sides:
        for number in range(30):
            assert (await Asked(sides, f"number {number}", force=force).result()).steps == ()
        grow_older(home, seconds=59)
        one = Asked(sides, "one more", force=force)
        result = await one.result()
        waiting = await one.waiting()
        assert waiting.reason == "rate"
        assert name in waiting.detail
        assert waiting.expected_s is not None
        assert waiting.expected_s <= 1
        assert [step.kind for step in result.steps] == ["waited"]
        assert result.queued_ms > 0
        assert {row.status for row in await sides.core.ledger.recent()} == {"done"}
        await nothing_is_left(sides)


async def test_a_rate_of_the_api_does_not_hold_up_local_requests(home: Path) -> None:
    async with two_sides(home, MAX_API_REQUESTS_PER_MINUTE="1") as sides:
        await Asked(sides, "one", force="api").result()
        waiting = Asked(sides, "two", force="api")
        await waiting.waiting()
        assert (await Asked(sides, "hi", force="local").result()).steps == ()
        await waiting.stop()
        await nothing_is_left(sides)


async def test_too_long_a_wait_for_a_rate_is_refused_with_an_estimate(home: Path) -> None:
    settings = {"MAX_REQUESTS_PER_MINUTE": "1", "RATE_MAX_WAIT_S": "30"}
    async with two_sides(home, **settings) as sides:
        await Asked(sides, "one").result()
        error = await Asked(sides, "two").error()
        assert isinstance(error, RateExceeded)
        assert error.limit_name == "MAX_REQUESTS_PER_MINUTE"
        assert 50 < error.retry_after_s <= 60
        assert "the next free turn is in about" in error.message
        assert "a request waits 30 s at most" in error.message
        assert posted(sides.local.received) == 1
        await nothing_is_left(sides)
        refused = [row for row in await sides.core.ledger.recent() if row.status == "refused"]
        assert [row.error_kind for row in refused] == ["rate_exceeded"]


async def test_a_full_line_for_a_rate_is_refused(home: Path) -> None:
    settings = {"MAX_REQUESTS_PER_MINUTE": "1", "RATE_MAX_WAIT_S": "3600", "MAX_WAITING_REQUESTS": "1"}
    async with two_sides(home, **settings) as sides:
        await Asked(sides, "one").result()
        waiting = Asked(sides, "two")
        await waiting.waiting()
        error = await Asked(sides, "three").error()
        assert isinstance(error, RateExceeded)
        assert "One request is ahead in line" in error.message
        assert "no more requests may wait for it" in error.message
        await waiting.stop()
        await nothing_is_left(sides)


# -- repeated requests ---------------------------------------------------------------------------------------


async def paid_rows(sides: TwoSides) -> int:
    return sum(bool(row.cost_nanodollars) for row in await sides.core.ledger.recent())


async def test_a_repeated_request_gets_the_first_answer_and_pays_once(home: Path) -> None:
    async with two_sides(home) as sides:
        sides.api.replies.append(Says("Once", " only"))
        first = await Asked(sides, "hi", force="api", idempotency_key="k").result()
        assert first.cost_nanodollars
        assert not first.replayed
        again = await Asked(sides, "hi", force="api", idempotency_key="k").result()
        assert (again.text, again.replayed, again.cost_nanodollars) == ("Once only", True, 0)
        assert [step.kind for step in again.steps] == ["replayed"]
        assert posted(sides.api.received) == 1
        assert await paid_rows(sides) == 1
        budget = await sides.core.ledger.budget()
        assert budget.spent_nanodollars == first.cost_nanodollars
        await nothing_is_left(sides)


async def test_the_same_request_many_times_at_once_pays_once(home: Path) -> None:
    async with two_sides(home) as sides:
        sides.api.replies.append(Says("Once", hold_after=0))
        requests = [Asked(sides, "hi", force="api", idempotency_key="k") for _ in range(5)]
        await sides.api.holding.wait()
        sides.api.released.set()
        results = [await one.result() for one in requests]
        assert {result.text for result in results} == {"Once"}
        assert sorted(result.replayed for result in results) == [False, True, True, True, True]
        assert {result.correlation_id for result in results} == {
            one.request.correlation_id for one in requests
        }
        (first,) = [result for result in results if not result.replayed]
        replays = [row for row in await sides.core.ledger.recent() if row.status == "replayed"]
        assert [row.replay_of for row in replays] == [first.correlation_id] * 4
        volume = await sides.core.ledger.volume()
        assert volume.requests_today == 1
        assert sum(result.cost_nanodollars or 0 for result in results) == next(
            result.cost_nanodollars for result in results if not result.replayed
        )
        assert posted(sides.api.received) == 1
        assert await paid_rows(sides) == 1
        await nothing_is_left(sides)


async def test_a_different_request_under_the_same_key_is_refused(home: Path) -> None:
    async with two_sides(home) as sides:
        await Asked(sides, "hi", force="api", idempotency_key="k").result()
        error = await Asked(sides, "another", force="api", idempotency_key="k").error()
        assert isinstance(error, DuplicateRequest)
        assert posted(sides.api.received) == 1


async def test_an_answer_outlives_the_core_that_paid_for_it(home: Path) -> None:
    async with two_sides(home) as sides:
        first = await Asked(sides, "hi", force="api", idempotency_key="k").result()
    async with two_sides(home) as sides:
        again = await Asked(sides, "hi", force="api", idempotency_key="k").result()
        assert (again.text, again.replayed, again.replay_of) == (first.text, True, first.correlation_id)
        assert (again.cost_nanodollars, again.first_cost_nanodollars) == (0, first.cost_nanodollars)
        assert sides.api.received == []
        assert await paid_rows(sides) == 1
        await nothing_is_left(sides)


async def test_a_key_outlives_the_process_that_used_it(home: Path) -> None:
    """In memory only, the answer is gone with the process, but nobody pays a second time without being told."""
    async with two_sides(home, IDEMPOTENCY_KEEP_HOURS="0") as sides:
        first = await Asked(sides, "hi", force="api", idempotency_key="k").result()
        assert (await Asked(sides, "hi", force="api", idempotency_key="k").result()).replayed
    assert not (home / FILE_NAME).exists()
    async with two_sides(home, IDEMPOTENCY_KEEP_HOURS="0") as sides:
        error = await Asked(sides, "hi", force="api", idempotency_key="k").error()
        assert isinstance(error, DuplicateRequest)
        assert first.correlation_id in error.message
        assert error.hint
        assert sides.api.received == []


async def test_a_failed_first_one_fails_those_who_joined_it_and_frees_the_key(home: Path) -> None:
    settings = {"MAX_RETRIES": "0", "ROUTING_MODE": "api-only"}
    async with two_sides(home, **settings) as sides:
        sides.api.replies.append(Says("Half", hold_after=1))
        requests = [Asked(sides, "hi", idempotency_key="k") for _ in range(3)]
        await sides.api.holding.wait()
        await sides.api.stop()  # in the middle of the answer
        errors = [await one.error() for one in requests]
        assert len({error.kind for error in errors}) == 1
        assert {error.correlation_id for error in errors} == {one.request.correlation_id for one in requests}
        assert await paid_rows(sides) <= 1
        async with sides.api:
            sides.api.released.set()
            again = await Asked(sides, "hi", idempotency_key="k").result()
            assert not again.replayed


async def test_a_refused_first_one_frees_the_key(home: Path) -> None:
    settings = {"MAX_RETRIES": "0", "ROUTING_MODE": "api-only"}
    async with two_sides(home, **settings) as sides:
        sides.api.replies.append(refusal(529, "overloaded_error", "Overloaded"))
        error = await Asked(sides, "hi", idempotency_key="k").error()
        assert isinstance(error, Overloaded)
        assert not (await Asked(sides, "hi", idempotency_key="k").result()).replayed
        assert await paid_rows(sides) == 1


async def test_when_the_first_one_is_stopped_one_that_waits_goes_on(home: Path) -> None:
    async with two_sides(home) as sides:
        sides.api.replies.append(Says("Never", hold_after=0))
        first = Asked(sides, "hi", force="api", idempotency_key="k")
        await sides.api.holding.wait()
        others = [Asked(sides, "hi", force="api", idempotency_key="k") for _ in range(3)]
        sides.api.replies.append(Says("In", " the end"))
        await first.stop()
        results = [await one.result() for one in others]
        assert {result.text for result in results} == {"In the end"}
        assert sorted(result.replayed for result in results) == [False, True, True]
        assert posted(sides.api.received) == 2
        await nothing_is_left(sides)


# -- the runaway brake ---------------------------------------------------------------------------------------


async def test_a_loop_is_paused_until_a_person_lets_it_go_on(home: Path) -> None:
    async with two_sides(home, RUNAWAY_REQUESTS_PER_MINUTE="3") as sides:
        for _ in range(3):
            await Asked(sides, "again").result()
        looping = Asked(sides, "again")
        error = await looping.error()
        assert isinstance(error, RunawayPaused)
        assert error.per_minute == 3
        assert error.conversation == conversation_of(looping.request)
        assert error.hint
        assert isinstance(await Asked(sides, "again").error(), RunawayPaused), "it stays paused"
        assert (await Asked(sides, "something else").result()).text == "Hello there"
        paused = (await sides.core.status()).paused
        assert [entry.conversation for entry in paused] == [error.conversation]
        sent = posted(sides.local.received)
        assert await sides.core.ledger.resume(error.conversation)
        assert (await Asked(sides, "again").result()).text == "Hello there"
        assert posted(sides.local.received) == sent + 1
        assert (await sides.core.status()).paused == ()
        assert not await sides.core.ledger.resume(error.conversation), "it isn't paused any more"
        await nothing_is_left(sides)


async def test_a_conversation_is_known_by_its_id(home: Path) -> None:
    async with two_sides(home, RUNAWAY_REQUESTS_PER_MINUTE="2") as sides:
        for number in range(2):
            await Asked(sides, f"question {number}", conversation_id="42").result()
        assert isinstance(await Asked(sides, "question 3", conversation_id="42").error(), RunawayPaused)
        await Asked(sides, "question 3", conversation_id="43").result()


async def test_a_load_test_is_no_loop(home: Path) -> None:
    async with two_sides(home, RUNAWAY_REQUESTS_PER_MINUTE="2") as sides:
        for _ in range(5):
            await Asked(sides, "again", source="loadtest").result()


# -- a place at the local server and a turn by the rates -------------------------------------------------------


async def test_a_stop_while_a_fallback_waits_for_a_place_does_not_wait_for_it(home: Path) -> None:
    settings = ONE_AT_A_TIME | {"ROUTING_MODE": "api-primary", "MAX_RETRIES": "1"}
    async with two_sides(home, **settings) as sides:
        sides.local.replies.append(HELD)
        first = Asked(sides, "hold the line", force="local")
        await sides.local.holding.wait()
        sides.api.replies += [refusal(429, "rate_limit_error", "Slow down")] * 2
        request = ChatRequest.from_prompt("hi")
        async with asyncio.timeout(10):  # the place comes free when the first one ends, and that is never
            async with aclosing(sides.core.stream(request)) as events:
                async for event in events:
                    if isinstance(event, Waiting) and event.reason == "local_queue":
                        break
        rows = await sides.core.ledger.attempts(request.correlation_id)
        assert [(row.side, row.status) for row in rows] == [("api", "superseded"), ("api", "stopped")]
        assert (await queue_of(sides)).waiting == 0
        await first.stop()
        await nothing_is_left(sides)


class UsedUp:
    """Lets no request begin, as a rate does that is used up, until it is ``free``; then as many as like."""

    def __init__(self, sides: TwoSides, monkeypatch: pytest.MonkeyPatch) -> None:
        self._begin = sides.core.ledger.current.begin
        self.free = False
        monkeypatch.setattr(sides.core.ledger.current, "begin", self)

    async def __call__(self, *arguments: Any, **named: Any) -> Any:
        if self.free:
            return await self._begin(*arguments, **named)
        raise RateExceeded("It holds.", limit_name="A_RATE", retry_after_s=0.1, turns=((0.1, 100),))


async def test_who_waits_for_a_place_keeps_nobody_from_the_rate(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = {"MAX_REQUESTS_PER_MINUTE": "1000", "RATE_MAX_WAIT_S": "1"}
    async with two_sides(home, ROUTING_MODE="local-only", **rate, **ONE_AT_A_TIME) as sides:
        sides.local.replies.append(HELD)
        used_up = UsedUp(sides, monkeypatch)
        asked = [Asked(sides, f"one of three {number}") for number in range(3)]
        for one in asked:
            await one.waiting("rate")
        used_up.free = True
        await sides.local.holding.wait()
        for one in asked[1:]:
            await one.waiting("local_queue")  # there is no bound for that
        assert (await queue_of(sides)).waiting == 2
        sides.local.released.set()
        for one in asked:
            await one.result()
        await nothing_is_left(sides)


async def test_who_waits_for_the_rate_keeps_no_place(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rate = {"MAX_REQUESTS_PER_MINUTE": "1000"}
    async with two_sides(home, ROUTING_MODE="local-only", **rate, **ONE_AT_A_TIME) as sides:
        UsedUp(sides, monkeypatch)
        asked = [Asked(sides, f"one of two {number}") for number in range(2)]
        for one in asked:
            await one.waiting("rate")
        assert (await queue_of(sides)).running == 0
        for one in asked:
            await one.stop()
        await nothing_is_left(sides)


async def test_who_waited_for_its_turn_is_not_sent_to_a_side_that_failed_meanwhile(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = {"MAX_API_REQUESTS_PER_MINUTE": "1000"}
    async with two_sides(home, ROUTING_MODE="api-primary", **rate) as sides:
        await sides.core.decider()  # reads the keys
        breaker = sides.core._api.breaker(sides.core._api.default_model)  # pyright: ignore[reportPrivateUsage]
        used_up = UsedUp(sides, monkeypatch)
        one = Asked(sides, "hi")
        await one.waiting("rate")
        breaker.fail(breaker.begin(), retry_after_s=60)  # as a 429 of another request does
        used_up.free = True
        result = await one.result()
        assert result.side == "local"
        assert result.decision.reason.startswith("API unavailable: it failed, and is tried again after")
        assert posted(sides.api.received) == 0, "the API asked to be left alone for a minute"
        await nothing_is_left(sides)


async def test_a_request_that_is_tried_again_is_no_loop(home: Path) -> None:
    settings = {"RUNAWAY_REQUESTS_PER_MINUTE": "2", "MAX_RETRIES": "3"}
    async with two_sides(home, ROUTING_MODE="api-only", **settings) as sides:
        sides.api.replies += [refusal(429, "rate_limit_error", "Slow down")] * 2
        assert isinstance((await sides.events())[-1], Finished)
        assert (await sides.core.status()).paused == ()


async def test_a_fallback_is_the_same_request_and_waits_for_no_other_turn(home: Path) -> None:
    async with two_sides(home, MAX_REQUESTS_PER_MINUTE="1", RATE_MAX_WAIT_S="5") as sides:
        sides.local.replies.append(vllm_error(500, "InternalServerError", "boom"))
        end = (await sides.events())[-1]
        assert isinstance(end, Finished)
        assert end.result.side == "api"
        with pytest.raises(RateExceeded):
            await sides.core.ask("another request")


async def test_how_far_the_prompt_is_read_is_told_between_the_start_and_the_first_token(home: Path) -> None:
    progress = ({"total": 50, "cache": 0, "processed": 20}, {"total": 50, "cache": 0, "processed": 50})
    async with two_sides(home) as sides:
        sides.local.named = "llama.cpp"
        sides.local.replies.extend([Streams("One"), Streams("Two", prompt_progress=progress)])
        await sides.events("first", force="local")
        events = await sides.events("second", force="local")
    kinds = [type(event) for event in events if not isinstance(event, UsageReported)]
    assert kinds == [Started, PromptProgress, PromptProgress, TextDelta, Finished]
    assert [event.share for event in events if isinstance(event, PromptProgress)] == [0.4, 1.0]


async def test_a_server_that_dies_while_it_reads_the_prompt_is_fallen_back_from(home: Path) -> None:
    dying = Streams("never", prompt_progress=({"total": 50, "cache": 0, "processed": 20},), cut_after=0)
    async with two_sides(home) as sides:
        sides.local.named = "llama.cpp"
        sides.local.replies.extend([Streams("One"), dying])
        await sides.events("first", force="local")
        events = await sides.events("second")
    end = events[-1]
    assert isinstance(end, Finished), "progress of the prompt is no piece of the answer"
    assert end.result.side == "api"
