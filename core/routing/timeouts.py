"""Watches a provider's stream: no first token, a silence or a deadline ends it, and closes the upstream connection.

Two clocks run, and only while the provider is waited for; a slow reader is not the provider's silence.

- *Tokens* are text, pieces of tool calls, and output that is not shown (thinking). The first one must come
  within ``first_token_s``.
- *Signs of life* are tokens and pings. Once there was one, a silence of ``between_tokens_s`` ends the stream.
  Before that, silence is normal: vLLM says nothing while it reads a long prompt.
- *Progress of the prompt* (llama.cpp) gives the first token its time anew, and is no sign of life beyond that: a
  slow machine may take long for the next piece.

So a model that thinks for minutes and pings has ``first_token_s``, before its first token and again between two
of them, and a server that stops even pinging is cut after ``between_tokens_s``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Literal

from core.chat import (
    ChatRequest,
    OutputProgress,
    PromptProgress,
    ProviderEvent,
    Side,
    TextDelta,
    ToolCallDelta,
)
from core.errors import DeadlineExceeded, SignalboxError, TimedOut

_Phase = Literal["first_token", "between_tokens", "deadline"]
_SHOWN = (TextDelta, ToolCallDelta)
_NEVER = float("inf")


def is_deadline(value: object) -> bool:
    """Whether ``value`` is a number of seconds that a request can be given."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


class Deadline:
    """The moment ``seconds`` from now; ``None`` is never. ``clock`` returns monotonic seconds."""

    def __init__(self, seconds: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._at = None if seconds is None else clock() + seconds

    @staticmethod
    def after(
        request: ChatRequest, default_s: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> Deadline:
        """Return the deadline ``request`` names, else ``default_s`` (``REQUEST_DEADLINE_S``) from now.

        One that is no deadline is not waited for: ``validated`` refuses the request.
        """
        named = request.deadline_s
        return Deadline(named if named is not None and is_deadline(named) else default_s, clock)

    @property
    def left_s(self) -> float | None:
        """Seconds until it passes, 0 afterwards; ``None`` where there is no deadline."""
        return None if self._at is None else max(0.0, self._at - self._clock())

    @property
    def passed(self) -> bool:
        return self._at is not None and self._clock() >= self._at

    def error(self, doing: str) -> DeadlineExceeded:
        """Return the error for a deadline that passed while ``doing`` (such as "waiting for Local")."""
        return DeadlineExceeded(
            f"The request's deadline of {self.seconds or 0:g} s passed while {doing}.",
            hint="What had arrived, if anything had, is kept. Allow more time (REQUEST_DEADLINE_S), or ask for a "
            "shorter answer.",
        )


class _Watch:
    """The state that a stream and its one timer share. Times are the event loop's seconds.

    ``asyncio.timeout`` for each event would cost more than the event. Here an event only writes down the time; the
    timer looks at it when it goes off, and is set anew for what is left.
    """

    __slots__ = (
        "_between_s",
        "_cancelling",
        "_deadline_at",
        "_first_s",
        "_gap_s",
        "_lively",
        "_loop",
        "_task",
        "_timer",
        "fired",
        "phase",
        "sign_at",
        "silent_s",
        "token_at",
        "waiting",
    )

    def __init__(self, first_s: float, between_s: float, deadline: Deadline | None) -> None:
        left_s = None if deadline is None else deadline.left_s
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._first_s = first_s
        self._between_s = between_s
        self._gap_s = first_s
        self._deadline_at = _NEVER if left_s is None else now + left_s
        self._lively = False
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self.token_at = self.sign_at = now
        self.waiting = False
        self.fired = False
        self.phase: _Phase | None = None
        self.silent_s = 0.0
        self._timer = self._loop.call_at(min(now + first_s, self._deadline_at), self._tick)

    def wait(self) -> float:
        """Begin to wait for the provider; returns the time."""
        self._task = task = asyncio.current_task()
        if task is not None:
            self._cancelling = task.cancelling()
        self.sign_at = now = self._loop.time()
        self.waiting = True
        return now

    def enliven(self) -> None:
        """Tell of the first sign of life: from now on, silence counts."""
        if self._lively:
            return
        self._lively = True
        self._timer.cancel()
        self._timer = self._loop.call_at(min(self._due(), self._deadline_at), self._tick)

    def first_token(self) -> None:
        """Tell of the first token. Between two tokens there may be at least ``between_tokens_s``."""
        self._gap_s = max(self._first_s, self._between_s)
        self.enliven()

    def stop(self) -> None:
        self._timer.cancel()

    def ours(self) -> bool:
        """Take our own cancellation back; false where the task was cancelled by somebody else as well."""
        if not self.fired or self._task is None:
            return True
        self.fired = False
        return self._task.uncancel() <= self._cancelling

    def _due(self) -> float:
        token_due = self.token_at + self._gap_s
        return min(token_due, self.sign_at + self._between_s) if self._lively else token_due

    def _tick(self) -> None:
        now = self._loop.time()
        # While the reader holds the stream nothing is waited for, and only the deadline goes on.
        due = self._due() if self.waiting else now + min(self._gap_s, self._between_s)
        if now < min(due, self._deadline_at):
            self._timer = self._loop.call_at(min(due, self._deadline_at), self._tick)
            return
        if now >= self._deadline_at:
            self.phase = "deadline"
        elif self._lively and now >= self.sign_at + self._between_s:
            self.phase, self.silent_s = "between_tokens", self._between_s
        else:
            self.phase, self.silent_s = "first_token", self._gap_s
        if self.waiting and self._task is not None:
            self.fired = True
            self._task.cancel()


async def watched(
    events: AsyncIterator[ProviderEvent],
    *,
    who: str,
    side: Side,
    first_token_s: float,
    between_tokens_s: float,
    deadline: Deadline | None = None,
) -> AsyncGenerator[ProviderEvent, None]:
    """Pass ``events`` on, pings included, and end them when they stop coming; see above for the rules.

    ``who`` is the provider's name in messages (``Anthropic``). Whatever ends this generator, ``events`` are closed,
    and with them the upstream connection, before it raises.

    Raises:
        TimedOut: ``phase`` is ``first_token`` (no token in time) or ``between_tokens`` (silence).
        DeadlineExceeded: the request's deadline passed. Also raised, at the next event, where it passed while the
            reader was busy.
        SignalboxError: whatever ``events`` raise.
    """
    watch = _Watch(first_token_s, between_tokens_s, deadline)
    began = False
    try:
        watch.wait()
        async for event in events:
            watch.waiting = False
            token = isinstance(event, _SHOWN)
            if isinstance(event, OutputProgress):
                token = event.hidden_bytes > 0
                if token or not event.uncounted:  # a mere beginning may stand before a long prompt
                    watch.enliven()
            if token and not began:
                began = True
                watch.first_token()
            if watch.phase is not None:
                break
            yield event
            now = watch.wait()
            if token or isinstance(event, PromptProgress):
                watch.token_at = now
            if watch.phase is not None:
                break
        watch.waiting = False
        if watch.phase is not None and watch.ours():
            raise _error(watch, who, side, deadline)
    except BaseException:
        # Mostly the cancellation with which the timer ended the waiting, or what the provider made of it.
        if watch.fired and watch.ours():
            raise _error(watch, who, side, deadline) from None
        raise
    finally:
        watch.waiting = False
        watch.stop()
        if isinstance(events, AsyncGenerator):
            await events.aclose()


def _error(watch: _Watch, who: str, side: Side, deadline: Deadline | None) -> SignalboxError:
    if watch.phase == "deadline" and deadline is not None:
        return deadline.error(f"{who} was answering")
    silent = f"{watch.silent_s:g} s"
    if watch.phase == "first_token":
        message, setting = f"{who} sent no token for {silent}.", "FIRST_TOKEN_TIMEOUT_S"
    else:
        message, setting = f"{who} went silent for {silent}.", "BETWEEN_TOKENS_TIMEOUT_S"
    return TimedOut(
        message,
        hint=f"Try again, or allow more time ({setting}).",
        phase=watch.phase or "first_token",
        may_be_billed=side == "api",
    )
