"""Thread-safe lists of callbacks, and a value that tells its callbacks of each change.

A callback that raises is logged; the others are called all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Listeners(Generic[T]):
    """``what`` is what they hear of, for the log: ``the settings``. Any thread may add, take away and tell."""

    def __init__(self, log: logging.Logger, what: str) -> None:
        self._log = log
        self._what = what
        self._listeners: list[Callable[[T], None]] = []

    def add(self, listener: Callable[[T], None]) -> Callable[[], None]:
        """Add ``listener``; the returned function takes it away again and may be called twice."""
        self._listeners.append(listener)
        wanted = True

        def unsubscribe() -> None:
            nonlocal wanted
            if wanted:
                wanted = False
                self._listeners.remove(listener)

        return unsubscribe

    def tell(self, read: Callable[[], T]) -> None:
        """Call each with what ``read`` gives then, so that the last thing it hears is the newest."""
        for listener in tuple(self._listeners):
            try:
                listener(read())
            except Exception:  # noqa: BLE001
                # A listener is anybody's code: whatever it raises, the others hear, and the teller goes on.
                self._log.exception("a listener of %s failed", self._what)


class Observable(Generic[T]):
    """Holds the latest value and calls each listener once for every one that differs from the last.

    ``what`` names the value in the log.
    """

    def __init__(self, value: T, log: logging.Logger, what: str) -> None:
        self.value = value
        self._listeners = Listeners[T](log, what)

    def set(self, value: T) -> None:
        """Replace the value. A listener that raises is logged and never stops the caller's own work."""
        if value == self.value:
            return
        self.value = value
        self._listeners.tell(lambda: value)

    def on_change(self, listener: Callable[[T], None]) -> Callable[[], None]:
        """Add ``listener``; the returned function takes it away again and may be called twice."""
        return self._listeners.add(listener)
