"""The state of one local server, and whoever wants to hear of it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from core.listeners import Listeners
from core.local.server import ServerState

log = logging.getLogger(__name__)
Listener = Callable[[ServerState], None]


class StateBoard:
    """Holds the latest snapshot and calls each listener once for every one that differs from the last."""

    def __init__(self, state: ServerState) -> None:
        self.state = state
        self._listeners = Listeners[ServerState](log, "the local server's state")

    def show(self, state: ServerState) -> None:
        """Replace the snapshot. A listener that raises is logged and never stops the server's own work."""
        if state == self.state:
            return
        self.state = state
        self._listeners.tell(lambda: state)

    def on_change(self, listener: Listener) -> Callable[[], None]:
        """Add ``listener``; the returned function takes it away again and may be called twice."""
        return self._listeners.add(listener)
