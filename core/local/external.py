"""A local server that somebody else runs: found and watched over HTTP, never started or ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import datetime

from core.base.net import open_client
from core.base.observable import Observable
from core.base.redaction import redact
from core.base.tls import tls_trouble
from core.errors import KeyHeldBack
from core.local.server import ServerState, ServerVerb
from core.local.server_log import LogPage, LogRing, plain_text, shown_line
from core.local.server_probe import Finding, ServerProbe, address_problem, normal_url

log = logging.getLogger(__name__)

FAILED_INTERVAL_S = 2.0
KEPT_LINES = 500
NO_VERBS: frozenset[ServerVerb] = frozenset()
"""Nobody starts or stops somebody else's server; it is looked at again by itself."""
CLIENT_HINT = (
    "Check the proxy (ALL_PROXY, HTTP_PROXY, HTTPS_PROXY) and the certificates (SSL_CERT_FILE) of the "
    "environment, then start it again."
)


class ExternalServer:
    """A ``LocalServer`` over somebody else's: vLLM, llama.cpp or anything that lists its models.

    It is probed every ``interval_s`` seconds (every 2 s while it is away), so a server that comes back is
    found by itself. With a key that is held back from this address nothing is asked there. ``model`` of ``None``
    takes the first of its list that can chat. ``timeout_s`` is for a whole probe.
    """

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        api_key: str | KeyHeldBack | None = None,
        *,
        interval_s: float = 5.0,
        timeout_s: float = 5.0,
    ) -> None:
        self._wanted_model = model
        self._api_key = api_key
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._url = normal_url(base_url)
        state = ServerState(phase="stopped", kind="external", model=model, verbs=NO_VERBS)
        self._state = Observable(state, log, "the local server's state")
        self._state.on_change(self._note)
        self._lines = LogRing(KEPT_LINES)
        self._version = ""
        self._prober: asyncio.Task[None] | None = None
        self._probed = asyncio.Event()
        self._probe_now = asyncio.Event()

    @property
    def state(self) -> ServerState:
        return self._state.value

    def on_change(self, listener: Callable[[ServerState], None]) -> Callable[[], None]:
        return self._state.on_change(listener)

    def log_tail(self, lines: int = 200) -> list[str]:
        """Return what the probes saw, one line a change: the server's own log is elsewhere."""
        return self._lines.tail(lines)

    def log_page(self, cursor: int, most: int) -> LogPage:
        """Return what the probes saw, as ``log_tail``."""
        return self._lines.page(cursor, most)

    async def start(self) -> None:
        """Begin probing, or probe at once, and return after that probe, whatever it saw."""
        if self._prober is None or self._prober.done():
            self._show(Finding(phase="starting", detail=f"looking for a server at {self._url or '…'}"))
            self._probe_now = asyncio.Event()
            self._probed = asyncio.Event()
            self._prober = asyncio.create_task(
                self._probe_forever(self._probed), name="external server's prober"
            )
        else:
            self._probed.clear()
            self._probe_now.set()
        await self._probed.wait()

    async def stop(self) -> None:
        """Stop probing. The server itself goes on."""
        prober, self._prober = self._prober, None
        probed = self._probed
        if prober is not None:
            prober.cancel()
            await asyncio.wait({prober})
        probed.set()
        if self._prober is None:  # not started again meanwhile
            self._show(Finding(phase="stopped"))

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def observe(self) -> None:
        await self.start()

    async def detach(self) -> None:
        await self.stop()

    def look_soon(self) -> None:
        """Probe at once, and go on: a request has just failed, so the server may be gone."""
        self._probe_now.set()

    async def _probe_forever(self, probed: asyncio.Event) -> None:
        """Probe until cancelled. However this ends, nobody waits for a first probe any more."""
        try:
            key = self._api_key
            if isinstance(key, KeyHeldBack):
                self._show(Finding(phase="failed", detail=key.message, hint=key.hint))
            elif (problem := address_problem(self._url, key)) is not None:
                self._show(problem)
            else:
                await self._probe_again_and_again(key)
        except Exception as error:
            # Whatever breaks, be it a fault of ours: a state that says so, instead of "starting" for ever.
            log.exception("probing %s cannot begin", self._url)
            trouble = tls_trouble(error, self._url)
            self._show(
                Finding(phase="failed", detail=trouble.what, hint=trouble.way_out)
                if trouble is not None
                else Finding(
                    phase="failed",
                    detail=f"No connection to {self._url} can be set up: {_words(error)}.",
                    hint=CLIENT_HINT,
                )
            )
        finally:
            probed.set()

    async def _probe_again_and_again(self, api_key: str | None) -> None:
        probe = ServerProbe(self._url, self._wanted_model, api_key, self._timeout_s)
        async with open_client(self._url, api_key, self._timeout_s) as client:
            while True:
                self._probe_now.clear()
                try:
                    finding = await probe.look(client)
                    if finding.phase == "ready" and self.state.phase != "ready":
                        self._version = await probe.version(client)
                    self._show(finding)
                except Exception as error:
                    # One look that fails, whatever with, must not end the looking.
                    log.exception("probing %s failed", self._url)
                    self._show(
                        Finding(
                            phase="failed",
                            detail=f"Probing {self._url} failed: {_words(error)}.",
                            hint="It is asked again by itself; the log has the whole error.",
                        )
                    )
                self._probed.set()
                ready = self.state.phase == "ready"
                pause_s = self._interval_s if ready else min(self._interval_s, FAILED_INTERVAL_S)
                # Not wait_for: Python 3.11's loses a cancellation that comes with the event, and stop() would hang.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._probe_now.wait()

    def _show(self, finding: Finding) -> None:
        self._state.set(
            ServerState(
                phase=finding.phase,
                kind="external",
                detail=finding.detail,
                hint=finding.hint,
                failure=finding.failure,
                model=finding.model or self._wanted_model,
                base_url=self._url if finding.phase == "ready" else None,
                context_tokens=finding.context_tokens,
                models=finding.models or self._state.value.models,
                cause=finding.cause,
                version=self._version if finding.phase == "ready" else "",
                verbs=NO_VERBS,
            )
        )

    def _note(self, state: ServerState) -> None:
        what = state.detail or (
            f"{state.phase}: {state.model} at {self._url}" if state.model else state.phase
        )
        level = "warning" if state.phase == "failed" else "info"
        self._lines.add(shown_line(plain_text(what)), at=f"{datetime.now():%H:%M:%S}", level=level)


def _words(error: Exception) -> str:
    """Say an exception in words that may be shown: its text can quote an address with a password."""
    return redact(str(error)).rstrip(".") or type(error).__name__
