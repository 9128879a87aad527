"""The state of one local server, and whoever wants to hear of it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from core.local.server import ServerState

log = logging.getLogger(__name__)
Listener = Callable[[ServerState], None]


class StateBoard:
    """Holds the latest snapshot and calls each listener once for every one that differs from the last."""

    def __init__(self, state: ServerState) -> None:
        self.state = state
        self._listeners: list[Listener] = []

    def show(self, state: ServerState) -> None:
        """Replace the snapshot. A listener that raises is logged and never stops the server's own work."""
        if state == self.state:
            return
        self.state = state
        for listener in tuple(self._listeners):
            try:
                listener(state)
            except Exception:  # a listener is anybody's code; the server's work goes on
                log.exception("a listener of the local server's state failed")

    def on_change(self, listener: Listener) -> Callable[[], None]:
        """Add ``listener``; the returned function takes it away again and may be called twice."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe
