"""Asks the local server how busy and how fast it is, whichever server that is: for its line and the samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from core.local.gpu_sample import ServerFigures
from core.local.server_speed import SpeedMeter
from core.local.vllm_metrics import LoadPoller

if TYPE_CHECKING:
    from core.local.manager import LocalServerManager
    from core.local.server import ServerKind
    from core.routing.backends import LocalBackend


class LoadWatch:
    """``is_looked_at`` says whether anybody takes samples; all methods belong to the core's loop."""

    def __init__(
        self, manager: LocalServerManager, local: LocalBackend, is_looked_at: Callable[[], bool]
    ) -> None:
        self._manager = manager
        self._local = local
        self._is_looked_at = is_looked_at
        self._poller: LoadPoller | None = None
        self._speed = SpeedMeter()
        local.on_answer = self._speed.answered

    def figures(self) -> ServerFigures:
        """The newest figures; none of a server that is not ready: its last answers say nothing of now."""
        return self._speed.figures if self._manager.state.phase == "ready" else ServerFigures()

    async def follow(self, vllm_key: str | None) -> None:
        """Ask the server that is in use now, with ``vllm_key`` where it is not our own."""
        while self._poller is not None:  # two changes may come at once
            await self.stop()
        self._speed.forget()
        server = self._manager.state
        if server.base_url is not None:
            self._poller = LoadPoller(
                server.base_url,
                self._manager.key_for(vllm_key),
                ready=lambda: self._is_asked(server.kind),
                # The embedded server works for nobody else.
                on_load=None if server.kind == "embedded" else self._local.queue.observe,
                on_page=self._speed.seen,
            )
            self._poller.start()

    async def stop(self) -> None:
        poller, self._poller = self._poller, None
        if poller is not None:
            await poller.stop()

    def _is_asked(self, kind: ServerKind) -> bool:
        """Whether the server is asked; of the embedded one only who looks at the machine wants to know."""
        return self._manager.state.phase == "ready" and (kind != "embedded" or self._is_looked_at())
