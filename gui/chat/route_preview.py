"""Asks the router, while the user types, where the prompt would go; only the latest answer counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer

from core.chat import ChatRequest
from core.errors import SignalboxError
from gui.shell.tasks import Tasks
from gui.widgets.route_line import RouteLine

if TYPE_CHECKING:
    from gui.shell.bridge import Bridge

DEBOUNCE_MS = 150


class RoutePreview(QObject):
    """``request`` returns what would be sent now, or ``None`` for nothing; it may raise ``SignalboxError``."""

    def __init__(
        self,
        bridge: Bridge,
        tasks: Tasks,
        line: RouteLine,
        request: Callable[[], ChatRequest | None],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._bridge, self._tasks, self._line, self._request = bridge, tasks, line, request
        self._asked = 0
        self._asking = False
        self._again = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DEBOUNCE_MS)
        self._timer.timeout.connect(self._ask)

    def changed(self) -> None:
        """The prompt, its options or the router's state changed."""
        self._asked += 1  # whatever is under way is out of date
        self._timer.start()

    def clear(self) -> None:
        """Nothing is in the box any more: say so at once."""
        self._asked += 1
        self._timer.stop()
        self._line.set_decision(None)

    def _ask(self) -> None:
        try:
            request = self._request()
        except SignalboxError as error:
            self._line.set_decision(None, error.message)
            return
        if request is None:
            self._line.set_decision(None)
        elif self._asking:
            self._again = True  # one question at a time: a slow one must not queue up others behind it
        else:
            self._asking = True
            self._tasks.start(self._decide(request, self._asked))

    async def _decide(self, request: ChatRequest, asked: int) -> None:
        try:
            decision = await self._bridge.call(self._bridge.core.decide(request))
        except SignalboxError as error:
            if asked == self._asked:
                self._line.set_decision(None, error.message)
        else:
            if asked == self._asked:
                self._line.set_decision(decision)
        finally:
            self._asking = False
            if self._again:
                self._again = False
                self._timer.start()
