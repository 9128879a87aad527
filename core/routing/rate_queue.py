"""The waiting line for request rates: first come, first through, and a refusal at once where it is too long."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from core.base.text import rough_duration
from core.chat import Waiting
from core.errors import DeadlineExceeded, RateExceeded, SignalboxError
from core.routing.waiting import OnPlace, OnWait, Place, WaitingLine

T = TypeVar("T")

MINUTE_S = 60.0

ONE_BY_ONE_S = 1.0
"""A crowd that was let in together is let in one after the other when its turn comes: nobody is sent away then."""

SHORTEST_PAUSE_S = 0.01
"""A ledger that says "in 0 seconds" again and again must not be asked in a tight loop."""


@dataclass(slots=True, eq=False, kw_only=True)
class _Place(Place):
    """Times are the clock's seconds; it waits until ``until`` at most."""

    turn: asyncio.Future[None]
    until: float
    deadline: float


class RateLimitQueue:
    """One line. Requests under different rates need a line each, or one rate would hold up the other's requests.

    ``clock`` returns monotonic seconds, ``sleep`` waits for so many. All methods belong to one loop.
    """

    def __init__(
        self, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._line: WaitingLine[_Place] = WaitingLine(self._expected_s)
        self._limit_name = ""
        self._next_try_at = 0.0
        self._turns: deque[tuple[float, int]] = deque()
        """When how many may begin, by the clock; learnt from the last refusal."""

    @property
    def waiting(self) -> int:
        return len(self._line)

    async def passed(
        self,
        try_once: Callable[[], Awaitable[T]],
        *,
        max_waiting: int,
        max_wait_s: float,
        deadline_left_s: float | None = None,
        on_wait: OnWait | None = None,
    ) -> T:
        """Return what ``try_once`` returns, once it raises no ``RateExceeded`` any more.

        ``on_wait`` hears of the place in line and of each change. Any other error of ``try_once`` ends the waiting
        too.

        Raises:
            RateExceeded: the line is full (``max_waiting``), or the expected wait is longer than ``max_wait_s`` or
                than the deadline leaves. Nothing was waited for, unless the estimate turned out too short.
            DeadlineExceeded: the time was over before the turn came.
        """
        refused: RateExceeded | None = None
        if not self._line:  # nobody is overtaken
            try:
                return await try_once()
            except RateExceeded as error:
                refused = error
        place = self._join(refused, max_waiting, max_wait_s, deadline_left_s, on_wait)
        through = False
        try:
            await self._turn_of(place)
            answer = await self._try_until_through(place, try_once)
            through = True
            return answer
        finally:
            if through:
                self._took_a_turn()
            self._leave(place)

    def _join(
        self,
        refused: RateExceeded | None,
        max_waiting: int,
        max_wait_s: float,
        deadline_left_s: float | None,
        on_wait: OnWait | None,
    ) -> _Place:
        now, ahead = self._clock(), len(self._line)
        if refused is not None:
            self._learn(refused)
        expected_s = self._expected_s(ahead)
        if ahead >= max_waiting:
            raise self._refusal(expected_s, ahead, "no more requests may wait for it")
        if expected_s > max_wait_s:
            raise self._refusal(expected_s, ahead, f"a request waits {rough_duration(max_wait_s)} at most")
        if deadline_left_s is not None and expected_s > deadline_left_s:
            raise self._refusal(expected_s, ahead, "this request's deadline is sooner")
        deadline = math.inf if deadline_left_s is None else now + deadline_left_s
        turn = asyncio.get_running_loop().create_future()
        until = now + max_wait_s + ONE_BY_ONE_S
        place = _Place(since=now, on_place=self._listener(on_wait), turn=turn, until=until, deadline=deadline)
        self._line.join(place)
        if ahead == 0:
            turn.set_result(None)
        return place

    async def _turn_of(self, place: _Place) -> None:
        """Wait until everybody ahead is through or gone."""
        try:
            async with asyncio.timeout(min(place.until, place.deadline) - self._clock()):
                await place.turn
        except TimeoutError:
            raise self._too_long(place) from None

    async def _try_until_through(self, place: _Place, try_once: Callable[[], Awaitable[T]]) -> T:
        while True:
            if self._next_try_at > min(place.until, place.deadline):
                raise self._too_long(place)
            pause_s = self._next_try_at - self._clock()
            if pause_s > 0:
                await self._sleep(pause_s)
            try:
                return await try_once()
            except RateExceeded as error:
                self._learn(error)

    def _learn(self, refused: RateExceeded) -> None:
        """Note when the first in line may try again, and when those behind it."""
        now = self._clock()
        pause_s = max(SHORTEST_PAUSE_S, refused.retry_after_s)
        self._limit_name = refused.limit_name
        self._next_try_at = now + pause_s
        self._turns = deque((now + in_s, count) for in_s, count in refused.turns or ((pause_s, 1),))

    def _took_a_turn(self) -> None:
        """Count one turn less, which comes again a minute later."""
        if not self._turns:
            return
        at, count = self._turns.popleft()
        if count > 1:
            self._turns.appendleft((at, count - 1))
        self._turns.append((max(at, self._clock()) + MINUTE_S, 1))

    def _expected_s(self, ahead: int) -> float:
        """Return how long whoever has ``ahead`` before it has to wait."""
        rounds, place = divmod(ahead, sum(count for _, count in self._turns) or 1)
        at = self._next_try_at
        for turn_at, count in self._turns:
            at = turn_at
            if place < count:
                break
            place -= count
        return max(0.0, at - self._clock()) + rounds * MINUTE_S

    def _leave(self, place: _Place) -> None:
        self._line.leave(place)
        if self._line and not self._line.first.turn.done():
            self._line.first.turn.set_result(None)

    def _listener(self, on_wait: OnWait | None) -> OnPlace | None:
        if on_wait is None:
            return None

        def tell(ahead: int, expected_s: float | None) -> None:
            detail = f"{self._limit_name} is reached: waiting for the next free turn."
            on_wait(Waiting("rate", detail, expected_s, ahead))

        return tell

    def _too_long(self, place: _Place) -> SignalboxError:
        waited_s = self._clock() - place.since
        if self._clock() >= place.deadline:
            return DeadlineExceeded(
                f"The request's time was over after it had waited {rough_duration(waited_s)} for "
                f"{self._limit_name}.",
                hint="Nothing was sent or charged. Give it more time, or send it later.",
            )
        ahead = self._line.index(place)
        return self._refusal(
            self._expected_s(ahead), ahead, f"this request has waited {rough_duration(waited_s)} already"
        )

    def _refusal(self, expected_s: float, ahead: int, why: str) -> RateExceeded:
        others = {0: "Nobody is", 1: "One request is"}.get(ahead, f"{ahead} requests are")
        return RateExceeded(
            f"{self._limit_name} is reached. {others} ahead in line, the next free turn is in about "
            f"{rough_duration(expected_s)}, and {why}.",
            hint=f"Nothing was sent or charged. Send it again then, or raise {self._limit_name}.",
            limit_name=self._limit_name,
            retry_after_s=expected_s,
        )
