"""One request's events in its reader's hand: read them, stop them, or close them.

While an event is made, log lines carry the request's id and providers find its trace; between two events the
reader has its own context back, so that two streams may be read in turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Self

from core.chat import StreamEnd, StreamEvent
from core.errors import SignalboxError
from core.telemetry.logs import correlation_id, traceparent


class StopRequested(BaseException):
    """Thrown into a request between two of its events."""


class StopSwitch:
    """Whether a request is to stop, and how it ended; the stream and the router's work on it share it.

    ``reason`` is an error that its reader gets instead of ``Stopped``.
    """

    __slots__ = ("_cancelled", "_others", "end", "ended", "reason", "requested", "taken")

    def __init__(self) -> None:
        self.requested = False
        self.reason: SignalboxError | None = None
        self.taken = False
        self.end: StreamEnd | None = None
        self.ended = asyncio.Event()
        self._cancelled: asyncio.Task[object] | None = None
        self._others = 0

    def interrupt(self, reader: asyncio.Task[object], others: int) -> None:
        """Wake the task that waits for the next event, as ``asyncio.timeout`` does.

        ``others`` are the cancellations that it had when it began to wait: those of its own time-outs, which may
        be on their way just now, are taken back by whoever asked for them.
        """
        self._others = others
        self._cancelled = reader
        reader.cancel()

    def take(self, cause: BaseException) -> bool:
        """Say whether ``cause`` is this stop, and nothing else: then the reader gets its end."""
        self.taken = self.requested
        if isinstance(cause, asyncio.CancelledError):
            return self.release_cancel()
        return isinstance(cause, StopRequested)

    def release_cancel(self) -> bool:
        """Take the reader's cancellation back, if it was this stop's; false where it is somebody else's too."""
        reader, self._cancelled = self._cancelled, None
        return reader is not None and reader.uncancel() <= self._others

    def finish(self, end: StreamEnd) -> StreamEnd:
        self.end = end
        self.ended.set()
        return end


class RequestStream:
    """See ``core.chat.EventStream``. It may be made anywhere; nothing happens before it is read on the core's loop.

    ``traceparent_now`` returns the header that names the running attempt.
    """

    def __init__(
        self,
        events: AsyncGenerator[StreamEvent, None],
        switch: StopSwitch,
        request_id: str,
        traceparent_now: Callable[[], str | None],
    ) -> None:
        self._events = events
        self._switch = switch
        self._request_id = request_id
        self._traceparent = traceparent_now
        self._reader: asyncio.Task[object] | None = None
        self._others = 0
        self._begun = False
        self._unread: StreamEvent | None = None
        self._leaving: asyncio.Event | None = None
        """Set once whoever closes the stream, or settles it for the core's end, is through."""

    @property
    def end(self) -> StreamEnd | None:
        """The last event, also where nobody was left to read it; ``None`` while the request runs."""
        return self._switch.end

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        if self._leaving is not None:
            await self._leaving.wait()
        if self._unread is not None:
            event, self._unread = self._unread, None
            return event
        switch = self._switch
        own_id, own_trace = correlation_id.set(self._request_id), traceparent.set(self._traceparent())
        self._reader = reader = asyncio.current_task()
        self._others = 0 if reader is None else reader.cancelling()
        try:
            if switch.requested and not switch.taken and self._begun and switch.end is None:
                switch.taken = True
                return await self._events.athrow(StopRequested())
            self._begun = True
            return await self._events.__anext__()
        finally:
            self._reader = None
            traceparent.reset(own_trace)
            correlation_id.reset(own_id)
            if switch.requested:
                switch.release_cancel()  # the event came all the same, and the stop is still to be taken

    def stop(self, reason: SignalboxError | None = None) -> None:
        """End the request now. Its reader goes on reading, and gets ``Stopped`` with what had arrived.

        With a ``reason`` it gets ``Failed`` with that. Called once the end is there it changes nothing.
        """
        switch, reader = self._switch, self._reader
        if switch.requested or switch.end is not None:
            return
        switch.requested, switch.reason = True, reason
        if reader is not None and reader is not _current_task():
            switch.interrupt(reader, self._others)

    async def stop_and_settle(self, reason: SignalboxError) -> None:
        """Stop, and return when it is settled, whether somebody reads or not. Whoever reads later finds the end."""
        self.stop(reason)
        if not self._begun or self._switch.end is not None:
            return
        if self._reader is not None or self._leaving is not None:
            await self._switch.ended.wait()
            return
        self._leaving = asyncio.Event()
        self._switch.taken = True
        own_id = correlation_id.set(self._request_id)
        try:
            self._unread = await self._events.athrow(StopRequested())
        finally:
            self._leaving.set()
            correlation_id.reset(own_id)

    async def aclose(self) -> None:
        """End the request and return when its connection is closed and it is settled."""
        if self._leaving is not None:
            await self._leaving.wait()
        self._unread = None
        self._leaving = asyncio.Event()
        own_id = correlation_id.set(self._request_id)
        try:
            await self._events.aclose()
        finally:
            self._leaving.set()
            correlation_id.reset(own_id)


def _current_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # not in a loop
        return None
