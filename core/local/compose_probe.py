"""Asks the server in the container whether it is ready and well, a run of the container at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.base.net import open_client
from core.errors import KeyHeldBack
from core.local.compose_project import ServiceConfig
from core.local.container import Container
from core.local.server_probe import Finding, ServerProbe, address_problem, normal_url

if TYPE_CHECKING:
    from core.local.container_watch import ContainerWatch

log = logging.getLogger(__name__)

PROBE_S = 1.0
TIMEOUT_S = 5.0
LIST_EVERY_S = 30.0
"""How often the models are asked for again while it is well."""
PATIENCE = {"silent": 3, "away": 2}
"""So many looks in a row must fail before a server that was ready counts as unwell: one under load keeps silent for
a moment, and one that ends is seen to end."""


@dataclass(slots=True)
class _Run:
    run: tuple[str, str]
    finding: Finding | None = None
    was_ready: bool = False
    misses: int = 0
    listed_s: float = 0.0


class ContainerProbe:
    """``url`` is where was asked last, and ``version`` what the server said it is. ``on_change`` hears of news.

    All methods belong to one event loop.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | KeyHeldBack | None,
        watch: Callable[[], ContainerWatch],
        on_change: Callable[[], None],
    ) -> None:
        self._base_url = normal_url(base_url)
        self._api_key = api_key
        self._watch = watch
        self._on_change = on_change
        self._wake = asyncio.Event()
        self._news = asyncio.Condition()
        self._seen: _Run | None = None
        self.url = self._base_url
        self.version = ""

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def finding(self, container: Container | None) -> Finding | None:
        """Return what was seen last of this run of the container."""
        if container is None or self._seen is None or self._seen.run != container.run:
            return None
        return self._seen.finding

    def was_ready(self, container: Container | None) -> bool:
        """Whether this run of the container was ever ready."""
        return (
            container is not None
            and self._seen is not None
            and self._seen.run == container.run
            and self._seen.was_ready
        )

    async def looked_at(self, container: Container | None) -> None:
        """Return once this run of ``container`` was looked at; at once where it does not run."""
        async with self._news:
            while container is not None and container.is_running and self.finding(container) is None:
                await self._news.wait()

    async def run(self) -> None:
        """Look every second while the container runs, until cancelled."""
        while True:
            container = self._watch().container
            if container is None or not container.is_running:
                self._wake.clear()
                await self._wake.wait()
                continue
            if self._seen is None or self._seen.run != container.run:
                self._seen = _Run(container.run)
                self.version = ""
            self.url = self._address(container)
            try:
                await self._ask(self.url, container)
            except Exception:
                # One look that fails, whatever with, must not end the looking.
                log.exception("probing %s failed", self.url)
                await self._pause()

    def _address(self, container: Container) -> str:
        if self._watch().is_remote:
            return self._base_url
        port = ServiceConfig(
            project="",
            service="",
            image="",
            command=container.command,
            ports=container.ports,
            network_mode=container.network_mode,
        ).port
        if port is None:
            return ""
        host = port.host_ip if port.host_ip not in ("", "0.0.0.0", "::") else "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{port.published}/v1"

    async def _ask(self, url: str, container: Container) -> None:
        """Ask the server at ``url`` again and again while it is this run's."""
        key = self._api_key
        if isinstance(key, KeyHeldBack):
            await self._take(Finding(phase="failed", detail=key.message, hint=key.hint, cause="key"))
            await self._pause(LIST_EVERY_S)
            return
        problem = address_problem(url, key) if url else _NO_PORT
        if problem is not None:
            await self._take(problem)
            await self._pause(LIST_EVERY_S)
            return
        wanted = ServiceConfig(project="", service="", image="", command=container.command).model
        probe = ServerProbe(url, wanted, key, TIMEOUT_S)
        async with open_client(url, key, TIMEOUT_S) as client:
            while self._is_current(container):
                seen = self._seen
                assert seen is not None
                now_s = asyncio.get_running_loop().time()
                known = seen.finding if seen.was_ready and now_s - seen.listed_s < LIST_EVERY_S else None
                if known is not None and known.phase != "ready":
                    known = None
                finding = await probe.look(client, known)
                if not self._is_current(container):
                    return
                if finding.phase == "ready" and known is None:
                    seen.listed_s = now_s
                    self.version = self.version or await probe.version(client)
                await self._take(finding)
                await self._pause()

    def _is_current(self, container: Container) -> bool:
        now = self._watch().container
        return now is not None and now.is_running and now.run == container.run

    async def _take(self, finding: Finding) -> None:
        seen = self._seen
        if seen is None:
            return
        if finding.phase == "ready":
            seen.was_ready, seen.misses = True, 0
        elif seen.was_ready and finding.trouble in PATIENCE:
            seen.misses += 1
            if seen.misses < PATIENCE[finding.trouble]:
                return
        seen.finding = finding
        async with self._news:
            self._news.notify_all()
        self._on_change()

    async def _pause(self, pause_s: float = PROBE_S) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._wake.wait()


_NO_PORT = Finding(
    phase="failed",
    detail="The container publishes no port for vLLM.",
    hint="Give the service in the compose file a port, such as 127.0.0.1:8000:8000, and restart it.",
)
