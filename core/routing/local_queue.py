"""The line in front of the local server: who comes first is served first, and nobody waits without a bound.

A request enters before it is sent and leaves when it has ended. How long a newcomer would wait is estimated from
how long requests took, and from what the server says of its own load, since others may fill it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

from core.errors import QueueFull
from core.local.vllm_metrics import ServerLoad
from core.routing.waiting import OnPlace, Place, WaitingLine

NEW_SERVICE_WEIGHT = 0.2
"""Weight of the newest service time in the moving mean: the last ten requests make up 90 % of it."""

CAPACITY_STEP = 8
"""The learnt capacity is raised by an eighth with each look that sees no line at the server."""

LOAD_KEPT_S = 30.0
"""A load that is older than this says nothing about now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """``running`` and ``waiting`` are this program's own requests; ``max_concurrent`` is how many run at once now.

    ``expected_wait_s`` is what a newcomer would wait: 0 when it would be sent at once, ``None`` when it would wait
    and no request has taught yet how long. ``full``: a newcomer would have to wait and there is no room for it.
    ``server`` is what the server last said of its load (``None``: nothing, or too long ago).
    """

    running: int
    waiting: int
    max_concurrent: int | None
    expected_wait_s: float | None
    full: bool
    max_waiting: int
    server: ServerLoad | None = None

    @property
    def busy(self) -> bool:
        """Whether a newcomer would have to wait."""
        return self.expected_wait_s != 0.0

    @property
    def crowd(self) -> str:
        """Say why a full line takes nobody, to finish "The local server is busy: ..."."""
        if self.max_waiting == 0:
            return "no request may wait for it"
        return (
            "one request waits for it already"
            if self.waiting == 1
            else f"{self.waiting} requests wait for it already"
        )


class Slot:
    """One request's right to be at the server. ``waited_s`` is how long it stood in line."""

    def __init__(self, queue: LocalQueue, waited_s: float) -> None:
        self._queue: LocalQueue | None = queue
        self.waited_s = waited_s

    def leave(self, service_s: float | None = None) -> None:
        """Give the place to the next one. Leaving twice is the same as once.

        ``service_s`` is how long the server took for the whole answer, in seconds; ``None`` where that says nothing
        about the next one (it failed, or was stopped).
        """
        queue, self._queue = self._queue, None
        if queue is not None:
            queue._left(service_s)  # pyright: ignore[reportPrivateUsage]


@dataclass(slots=True, eq=False, kw_only=True)
class _Waiter(Place):
    granted: asyncio.Future[Slot]
    patient: bool


class LocalQueue:
    """A bounded first-in, first-out line. ``clock`` returns monotonic seconds. All methods belong to one loop."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._max_concurrent: int | None = None
        self._max_waiting = 64
        self._running = 0
        self._line: WaitingLine[_Waiter] = WaitingLine(self._wait_s)
        self._service_s: float | None = None
        self._load: ServerLoad | None = None
        self._load_at = -math.inf
        self._ours = 0
        self._others = 0
        self._capacity: int | None = None

    def configure(self, max_concurrent: int | None, max_waiting: int) -> None:
        """Set how many requests the server takes at once (``None``: what its load says) and how many may wait.

        A smaller number sends nobody away who is in already.
        """
        self._max_concurrent = None if max_concurrent is None else max(1, max_concurrent)
        self._max_waiting = max(0, max_waiting)
        self._grant()

    def observe(self, load: ServerLoad | None) -> None:
        """Take what the server says of its load; ``None`` when it says nothing."""
        if load is not None and load is self._load:
            return  # seen already: how many of them were ours was counted then
        self._load = load
        self._load_at = self._clock()
        self._ours = self._running
        # Ours that have just left or not yet arrived make this a little wrong, until the next look.
        self._others = 0 if load is None else max(0, load.running + load.waiting - self._running)
        self._capacity = self._learnt_capacity(load)
        self._grant()

    def _learnt_capacity(self, load: ServerLoad | None) -> int | None:
        """How many the server runs at once: what it ran when it first let some wait.

        That depends on how long their prompts are, so it is raised step by step when none wait there any more, and
        forgotten when none wait here either.
        """
        if load is None:
            return None
        if load.waiting > 0:
            return max(1, load.running)
        if self._capacity is None or not self._line:
            return None
        return max(self._capacity, load.running) + max(1, self._capacity // CAPACITY_STEP)

    def state(self) -> QueueState:
        load = self._fresh_load()
        expected_s = self._expected_wait_s(load)
        return QueueState(
            running=self._running,
            waiting=len(self._line),
            max_concurrent=self._limit(load),
            expected_wait_s=expected_s,
            full=expected_s != 0.0 and len(self._line) >= self._max_waiting,
            max_waiting=self._max_waiting,
            server=load,
        )

    @property
    def has_place(self) -> bool:
        """Whether a newcomer would be sent at once."""
        return not self._line and self._may_go(patient=False)

    async def enter(self, max_wait_s: float | None, on_place: OnPlace | None = None) -> Slot:
        """Wait for a place at the server, ``max_wait_s`` seconds at most (``None``: as long as it takes).

        ``on_place`` hears the place in line when it has to wait, and each change of it.

        Raises:
            QueueFull: a place has to be waited for, and so many wait already that no more may.
            TimeoutError: no place came free in time.
        """
        if not self._line and self._may_go(patient=max_wait_s is None):
            self._running += 1
            return Slot(self, 0.0)
        if len(self._line) >= self._max_waiting:
            raise self._full_error()
        if max_wait_s is not None and max_wait_s <= 0:
            raise TimeoutError
        waiter = _Waiter(
            since=self._clock(),
            on_place=on_place,
            granted=asyncio.get_running_loop().create_future(),
            patient=max_wait_s is None,
        )
        self._line.join(waiter)
        try:
            async with asyncio.timeout(max_wait_s):
                return await waiter.granted
        except BaseException:  # cancelled or out of time: raised again
            self._give_up(waiter)
            raise

    def _give_up(self, waiter: _Waiter) -> None:
        """Leave no trace of a waiter that was cancelled, or whose time is over."""
        if waiter.granted.done() and not waiter.granted.cancelled():
            waiter.granted.result().leave()  # the place came in the same moment
            return
        self._line.leave(waiter)  # not there any more if its turn came after it was cancelled
        self._grant()  # the next one may be more patient, and go

    def _grant(self) -> None:
        while self._line and self._may_go(patient=self._line.first.patient):
            waiter = self._line.take_first()
            if not waiter.granted.done():
                self._running += 1
                waiter.granted.set_result(Slot(self, self._clock() - waiter.since))
        self._line.tell()

    def _may_go(self, *, patient: bool) -> bool:
        limit = self._limit(self._fresh_load())
        if limit is None or self._running < limit:
            return True
        if not patient:
            return False
        # Others fill the server. Who has nowhere else to go keeps the share we have of it, in the server's own line
        # if need be: in this one it might wait for ever.
        return self._running < max(1, min(self._ours, self._max_concurrent or self._ours))

    def _limit(self, load: ServerLoad | None) -> int | None:
        """How many of ours may be at the server now; ``None``: no bound is known."""
        if load is None:
            return self._max_concurrent
        places = self._places()
        return None if places is None else max(0, places - self._others)

    def _places(self) -> int | None:
        bounds = [bound for bound in (self._max_concurrent, self._capacity) if bound is not None]
        return min(bounds, default=None)

    def _expected_wait_s(self, load: ServerLoad | None) -> float | None:
        """Return what a newcomer would wait."""
        return 0.0 if self.has_place else self._wait_s(len(self._line), load)

    def _wait_s(self, ahead: int, load: ServerLoad | None = None) -> float | None:
        """(those ahead + 1) x mean service time / places: the mean of a line with memoryless service, M/M/c."""
        if self._service_s is None:
            return None
        load = load or self._fresh_load()
        in_server_line = 0 if load is None else load.waiting
        places = (self._max_concurrent if load is None else self._places()) or 1
        return self._service_s * (ahead + in_server_line + 1) / places

    def _fresh_load(self) -> ServerLoad | None:
        return self._load if self._clock() - self._load_at <= LOAD_KEPT_S else None

    def _left(self, service_s: float | None) -> None:
        self._running -= 1
        if service_s is not None and service_s >= 0 and math.isfinite(service_s):
            mean_s = service_s if self._service_s is None else self._service_s
            self._service_s = mean_s + NEW_SERVICE_WEIGHT * (service_s - mean_s)
        self._grant()

    def _full_error(self) -> QueueFull:
        return QueueFull(
            f"The local server is busy: {self.state().crowd}.",
            hint="Try again in a moment, or raise MAX_WAITING_REQUESTS.",
        )
