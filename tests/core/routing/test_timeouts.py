"""What a watched stream does when its provider falls silent, on an event loop whose time the test moves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import pytest

from core.chat import (
    AnswerEnded,
    ChatRequest,
    OutputProgress,
    PromptProgress,
    ProviderEvent,
    TextDelta,
    Usage,
    UsageReported,
)
from core.errors import DeadlineExceeded, Overloaded, TimedOut
from core.providers import AnthropicProvider, InferenceProvider, VLLMProvider
from core.routing.timeouts import Deadline, watched
from tests.support import virtual_time
from tests.support.anthropic_server import AnthropicServer, Says
from tests.support.openai_server import OpenAIServer, Streams
from tests.support.providers import drain
from tests.support.wire_server import WireServer

PING = OutputProgress(0)
THOUGHT = OutputProgress(40)
ENDED = AnswerEnded("m", "stop")
FIRST_S, BETWEEN_S = 300.0, 90.0


def skipping(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run an async test on a loop that skips the waiting."""

    def run() -> None:
        virtual_time.run(test())

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


class Script:
    """A provider: numbers are seconds of silence, the rest are events. ``closed`` tells that it was let go."""

    def __init__(self, *steps: float | ProviderEvent | BaseException) -> None:
        self.steps = steps
        self.closed = False
        self.sent = 0

    async def __call__(self) -> AsyncGenerator[ProviderEvent, None]:
        try:
            for step in self.steps:
                if isinstance(step, float):
                    await asyncio.sleep(step)
                elif isinstance(step, BaseException):
                    raise step
                else:
                    self.sent += 1
                    yield step
        finally:
            await asyncio.sleep(0)  # closing a connection takes a turn of the loop
            self.closed = True


def watch(script: Script, **options: Any) -> AsyncGenerator[ProviderEvent, None]:
    limits: dict[str, Any] = {"first_token_s": FIRST_S, "between_tokens_s": BETWEEN_S, "deadline": None}
    return watched(script(), who="Anthropic", side="api", **limits | options)


async def read(script: Script, **options: Any) -> list[ProviderEvent]:
    return [event async for event in watch(script, **options)]


@skipping
async def test_a_stream_in_time_passes_as_it_is() -> None:
    events = (UsageReported(Usage()), PING, THOUGHT, TextDelta("a"), TextDelta("b"), ENDED)
    script = Script(*events)
    assert await read(script) == list(events)
    assert script.closed


@skipping
async def test_no_first_token_in_time() -> None:
    script = Script(FIRST_S + 1, TextDelta("late"))
    with pytest.raises(TimedOut) as raised:
        await read(script)
    assert (raised.value.phase, raised.value.may_be_billed, script.closed) == ("first_token", True, True)
    assert "300 s" in raised.value.message
    assert "FIRST_TOKEN_TIMEOUT_S" in raised.value.hint


@skipping
async def test_a_long_prompt_is_read_in_silence() -> None:
    assert await read(Script(FIRST_S - 1, TextDelta("a"), ENDED)) == [TextDelta("a"), ENDED]


@skipping
async def test_usage_alone_is_no_sign_that_pings_will_come() -> None:
    """A server that never pings may announce a message and then read the prompt."""
    script = Script(UsageReported(Usage()), FIRST_S - 1, TextDelta("a"), ENDED)
    assert len(await read(script)) == 3


@skipping
async def test_thinking_for_minutes_with_pings_survives_up_to_the_first_token_time() -> None:
    pings: list[float | ProviderEvent] = [15.0, PING] * 19
    assert (await read(Script(*pings, 10.0, TextDelta("a"), ENDED)))[-1] is ENDED
    script = Script(*pings, 20.0, TextDelta("late"))
    with pytest.raises(TimedOut) as raised:
        await read(script)
    assert raised.value.phase == "first_token", "pings don't put the first token off"


@skipping
async def test_a_prompt_that_is_read_piece_by_piece_may_take_longer_than_the_first_token_may() -> None:
    pieces: list[float | ProviderEvent] = []
    for piece in range(1, 6):
        pieces += [FIRST_S - 1, PromptProgress(piece * 256, 1280)]
    assert (await read(Script(*pieces, FIRST_S - 1, TextDelta("a"), ENDED)))[-1] is ENDED
    script = Script(*pieces, FIRST_S + 1, TextDelta("late"))
    with pytest.raises(TimedOut) as raised:
        await read(script)
    assert (raised.value.phase, script.closed) == ("first_token", True)


@skipping
async def test_silence_without_even_pings_is_cut() -> None:
    script = Script(PING, BETWEEN_S + 1, PING)
    with pytest.raises(TimedOut) as raised:
        await read(script)
    assert (raised.value.phase, script.closed, script.sent) == ("between_tokens", True, 1)
    assert "90 s" in raised.value.message


@skipping
async def test_silence_between_two_tokens_is_cut() -> None:
    script = Script(TextDelta("a"), BETWEEN_S + 1, TextDelta("late"))
    seen: list[ProviderEvent] = []
    with pytest.raises(TimedOut) as raised:
        async for event in watch(script):
            seen.append(event)
    assert (raised.value.phase, seen, script.closed) == ("between_tokens", [TextDelta("a")], True)


@skipping
async def test_many_tokens_each_in_time_never_time_out() -> None:
    steps: list[float | ProviderEvent] = [BETWEEN_S - 1, TextDelta("x")] * 50
    assert len(await read(Script(*steps, ENDED))) == 51


@skipping
async def test_a_pause_with_pings_between_tokens_is_thinking_and_has_its_own_end() -> None:
    pings: list[float | ProviderEvent] = [80.0, PING] * 3
    assert (await read(Script(TextDelta("a"), *pings, TextDelta("b"), ENDED)))[-1] is ENDED
    with pytest.raises(TimedOut) as raised:
        await read(Script(TextDelta("a"), *pings, *pings, TextDelta("late")))
    assert raised.value.phase == "first_token"


@skipping
async def test_thinking_that_is_shown_counts_as_tokens() -> None:
    thoughts: list[float | ProviderEvent] = [80.0, THOUGHT] * 10
    assert (await read(Script(*thoughts, TextDelta("a"), ENDED)))[-1] is ENDED


@skipping
async def test_a_short_first_token_time_does_not_shorten_the_silence_between_tokens() -> None:
    script = Script(TextDelta("a"), BETWEEN_S - 1, TextDelta("b"), ENDED)
    assert len(await read(script, first_token_s=5.0)) == 3


@skipping
async def test_a_slow_reader_is_not_the_providers_silence() -> None:
    script = Script(TextDelta("a"), 1.0, TextDelta("b"), 1.0, ENDED)
    seen = 0
    async for _ in watch(script):
        seen += 1
        await asyncio.sleep(10 * FIRST_S)
    assert seen == 3


@skipping
async def test_the_deadline_ends_a_stream_that_goes_well() -> None:
    steps: list[float | ProviderEvent] = [1.0, TextDelta("x")] * 50
    script = Script(*steps)
    with pytest.raises(DeadlineExceeded) as raised:
        await read(script, deadline=Deadline(10.5))
    assert (script.sent, script.closed) == (10, True)
    assert "10.5 s" in raised.value.message
    assert raised.value.may_be_billed


@skipping
async def test_a_deadline_that_has_passed_ends_it_at_once() -> None:
    script = Script(1000.0)
    with pytest.raises(DeadlineExceeded):
        await read(script, deadline=Deadline(0))


@skipping
async def test_a_deadline_that_passes_while_the_reader_is_busy_is_told_at_its_next_event() -> None:
    script = Script(TextDelta("a"), 1.0, TextDelta("b"), ENDED)
    with pytest.raises(DeadlineExceeded):
        async for _ in watch(script, deadline=Deadline(5)):
            await asyncio.sleep(60)
    assert (script.sent, script.closed) == (1, True)


@skipping
async def test_no_deadline_is_no_deadline() -> None:
    assert len(await read(Script(TextDelta("a"), ENDED), deadline=Deadline(None))) == 2


@skipping
async def test_what_the_provider_raises_passes() -> None:
    script = Script(TextDelta("a"), Overloaded("busy"))
    with pytest.raises(Overloaded):
        await read(script)
    assert script.closed


@skipping
async def test_a_cancelled_reader_is_cancelled_and_upstream_closed() -> None:
    script = Script(1000.0)
    task = asyncio.ensure_future(read(script))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert script.closed


@skipping
async def test_a_cancellation_in_the_same_moment_as_the_time_out_is_not_lost() -> None:
    script = Script(2 * FIRST_S)
    task = asyncio.ensure_future(read(script))
    asyncio.get_running_loop().call_later(FIRST_S, task.cancel)
    with pytest.raises((asyncio.CancelledError, TimedOut)):
        await task
    assert task.cancelled(), "who cancels a task may rely on it"
    assert script.closed


@skipping
async def test_a_time_out_leaves_no_cancellation_behind() -> None:
    with pytest.raises(TimedOut):
        await read(Script(2 * FIRST_S))
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


@skipping
async def test_a_stream_read_by_one_task_after_the_other_times_out_in_the_right_one() -> None:
    script = Script(TextDelta("a"), TextDelta("b"), 2 * BETWEEN_S, TextDelta("late"))
    events = watch(script)
    for _ in range(2):
        await asyncio.ensure_future(anext(events))
    with pytest.raises(TimedOut):
        await asyncio.ensure_future(anext(events))
    assert script.closed


@skipping
async def test_leaving_early_closes_upstream_and_leaves_no_timer() -> None:
    script = Script(TextDelta("a"), 1000.0, TextDelta("b"))
    async with aclosing(watch(script)) as events:
        async for _ in events:
            break
    assert script.closed
    loop = asyncio.get_running_loop()
    assert [handle for handle in loop._scheduled if not handle.cancelled()] == []  # type: ignore[attr-defined]


@skipping
async def test_a_provider_that_turns_the_cancellation_into_its_own_error_still_timed_out() -> None:
    closed: list[bool] = []

    async def stubborn() -> AsyncGenerator[ProviderEvent, None]:
        yield TextDelta("a")
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            closed.append(True)
            raise Overloaded("cancelled inside") from None

    with pytest.raises(TimedOut):
        async for _ in watched(stubborn(), who="X", side="local", first_token_s=5, between_tokens_s=5):
            pass
    task = asyncio.current_task()
    assert task is not None
    assert (task.cancelling(), closed) == (0, [True])


class HandClock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_a_deadline_counts_down() -> None:
    clock = HandClock()
    deadline = Deadline(10, clock)
    clock.now += 4
    assert (deadline.left_s, deadline.passed) == (6, False)
    clock.now += 6
    assert (deadline.left_s, deadline.passed) == (0, True)
    clock.now += 1
    assert (deadline.left_s, deadline.passed) == (0, True)


def test_no_deadline_never_passes() -> None:
    deadline = Deadline(None)
    assert (deadline.left_s, deadline.passed) == (None, False)


@pytest.mark.parametrize(
    ("named", "default", "left"), [(3.0, 9.0, 3.0), (None, 9.0, 9.0), (None, None, None)]
)
def test_a_requests_own_deadline_comes_before_the_setting(
    named: float | None, default: float | None, left: float | None
) -> None:
    request = ChatRequest.from_prompt("hi", deadline_s=named)
    assert Deadline.after(request, default, HandClock()).left_s == left


@pytest.mark.parametrize("hold_after", [0, 1])
async def test_a_time_out_closes_anthropics_connection_and_the_server_notices(hold_after: int) -> None:
    async with AnthropicServer(Says("Once", " upon", hold_after=hold_after)) as server:
        provider = AnthropicProvider("sk-ant-test", server.url, "claude-sonnet-4-6")
        await cut_by_the_watch(provider, server)


@pytest.mark.parametrize("hold_after", [0, 1])
async def test_a_time_out_closes_vllms_connection_and_the_server_notices(hold_after: int) -> None:
    async with OpenAIServer(Streams("Once", " upon", hold_after=hold_after)) as server:
        await cut_by_the_watch(VLLMProvider(server.base_url, "tiny"), server)


async def cut_by_the_watch(provider: InferenceProvider, server: WireServer) -> None:
    await provider.check()  # importing the SDK takes longer than the test's first token may
    events = watched(
        provider.stream(ChatRequest.from_prompt("Tell me a story")),
        who="The server",
        side=provider.side,
        first_token_s=0.2,
        between_tokens_s=0.2,
    )
    with pytest.raises(TimedOut):
        async for _ in events:
            pass
    await asyncio.wait_for(server.lost.wait(), 10)
    assert (await drain(provider, "hi")).text == "Hello there", "and the provider goes on working"
    await provider.close()


@skipping
async def test_an_event_that_comes_with_the_time_out_is_too_late() -> None:
    """The provider answers the very cancellation that ended the wait."""
    closed = False

    async def stubborn() -> AsyncGenerator[ProviderEvent, None]:
        nonlocal closed
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(FIRST_S + 1)
            yield TextDelta("late")
        finally:
            closed = True

    seen: list[ProviderEvent] = []
    with pytest.raises(TimedOut) as raised:
        async for event in watched(
            stubborn(), who="Anthropic", side="api", first_token_s=FIRST_S, between_tokens_s=BETWEEN_S
        ):
            seen.append(event)
    assert (raised.value.phase, seen, closed) == ("first_token", [], True)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@skipping
async def test_events_that_cannot_be_closed_are_passed_on_too() -> None:
    class Plain:
        def __init__(self) -> None:
            self._left: list[ProviderEvent] = [ENDED, TextDelta("a")]

        def __aiter__(self) -> Plain:
            return self

        async def __anext__(self) -> ProviderEvent:
            if not self._left:
                raise StopAsyncIteration
            return self._left.pop()

    events = watched(Plain(), who="x", side="api", first_token_s=FIRST_S, between_tokens_s=BETWEEN_S)
    assert [event async for event in events] == [TextDelta("a"), ENDED]
