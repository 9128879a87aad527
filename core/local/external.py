"""A local server that somebody else runs: found and watched over HTTP, never started or ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import SplitResult, urlsplit

from core.base.net import open_client
from core.base.observable import Observable
from core.base.redaction import redact
from core.base.tls import maybe_tls, tls_trouble, wants_tls
from core.errors import KeyHeldBack
from core.local.server import ServerCause, ServerPhase, ServerState
from core.local.server_log import LogPage, LogRing, plain_text, shown_line
from core.model_list import ListedModel, chat_models, context_tokens, first_chat_model, listed_models

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger(__name__)

FAILED_INTERVAL_S = 2.0
KEPT_LINES = 500
WRONG_ADDRESS_HINT = "Set VLLM_BASE_URL to an address such as http://127.0.0.1:8000/v1."
CLIENT_HINT = (
    "Check the proxy (ALL_PROXY, HTTP_PROXY, HTTPS_PROXY) and the certificates (SSL_CERT_FILE) of the "
    "environment, then start it again."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    """What one probe saw."""

    phase: ServerPhase
    detail: str = ""
    hint: str = ""
    model: str | None = None
    context_tokens: int | None = None
    models: tuple[ListedModel, ...] = ()
    cause: ServerCause = ""


class ExternalServer:
    """A ``LocalServer`` over somebody else's: vLLM, llama.cpp or anything that lists its models.

    It is probed every ``interval_s`` seconds (every 2 s while it is away), so a server that comes back is
    found by itself. With a key that is held back from this address nothing is asked there. ``model`` of ``None``
    takes the first of its list that can chat. ``kind`` is ``compose`` where the address is that of our own
    container. ``timeout_s`` is for a whole probe.
    """

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        api_key: str | KeyHeldBack | None = None,
        *,
        kind: Literal["external", "compose"] = "external",
        interval_s: float = 5.0,
        timeout_s: float = 5.0,
    ) -> None:
        self._kind: Literal["external", "compose"] = kind
        self._wanted_model = model
        self._api_key = api_key
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._url = _normal(base_url)
        state = ServerState(phase="stopped", kind=kind, model=model)
        self._state = Observable(state, log, "the local server's state")
        self._state.on_change(self._note)
        self._lines = LogRing(KEPT_LINES)
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
            self._show(_Finding(phase="starting", detail=f"looking for a server at {self._url or '…'}"))
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
            self._show(_Finding(phase="stopped"))

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def observe(self) -> None:
        await self.start()

    async def detach(self) -> None:
        await self.stop()

    async def _probe_forever(self, probed: asyncio.Event) -> None:
        """Probe until cancelled. However this ends, nobody waits for a first probe any more."""
        try:
            key = self._api_key
            if isinstance(key, KeyHeldBack):
                self._show(_Finding(phase="failed", detail=key.message, hint=key.hint))
            elif (problem := _problem(self._url, key)) is not None:
                self._show(problem)
            else:
                await self._probe_again_and_again(key)
        except Exception as error:
            # Whatever breaks, be it a fault of ours: a state that says so, instead of "starting" for ever.
            log.exception("probing %s cannot begin", self._url)
            trouble = tls_trouble(error, self._url)
            self._show(
                _Finding(phase="failed", detail=trouble.what, hint=trouble.way_out)
                if trouble is not None
                else _Finding(
                    phase="failed",
                    detail=f"No connection to {self._url} can be set up: {_words(error)}.",
                    hint=CLIENT_HINT,
                )
            )
        finally:
            probed.set()

    async def _probe_again_and_again(self, api_key: str | None) -> None:
        async with open_client(self._url, api_key, self._timeout_s) as client:
            while True:
                self._probe_now.clear()
                try:
                    self._show(await self._probe(client))
                except Exception as error:
                    # One look that fails, whatever with, must not end the looking.
                    log.exception("probing %s failed", self._url)
                    self._show(
                        _Finding(
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

    async def _probe(self, client: httpx2.AsyncClient) -> _Finding:
        import httpx2

        from core.base.bounded_http import AnswerPacked, AnswerTooLong

        try:
            async with asyncio.timeout(self._timeout_s):
                health = await client.get(f"{self._url.removesuffix('/v1')}/health")
                if health.status_code == 503:
                    return self._unhealthy(health.text)
                # Servers without /health (Ollama, LM Studio) answer 404 there: the list of models decides.
                models = await client.get(f"{self._url}/models")
        except (TimeoutError, httpx2.TimeoutException):
            return _Finding(
                phase="failed",
                detail=f"The server at {self._url} has not answered within {self._timeout_s:g} s.",
                hint="It may be overloaded or starting; it is asked again by itself.",
            )
        except (AnswerTooLong, AnswerPacked) as error:
            return _Finding(
                phase="failed",
                detail=f"{self._url} sends what no model server does. {error}",
                hint=f"Something else may be listening there. {WRONG_ADDRESS_HINT}",
            )
        except httpx2.HTTPError as error:
            log.debug("%s: %r", self._url, error)
            return self._unreachable(error)
        return self._read_models(models)

    def _unreachable(self, error: Exception) -> _Finding:
        trouble = tls_trouble(error, self._url)
        if trouble is not None:
            return _Finding(phase="failed", detail=trouble.what, hint=f"{trouble.way_out} (VLLM_BASE_URL)")
        hint = "Start it there, or change VLLM_BASE_URL; it is found by itself once it answers."
        if "without sending a response" in str(error):
            return _Finding(
                phase="failed",
                detail=f"The server at {self._url} closes the connection without an answer.",
                hint=f"{maybe_tls(self._url)} {hint}".strip(),
            )
        return _Finding(phase="failed", detail=f"No server is reachable at {self._url}.", hint=hint)

    def _unhealthy(self, text: str) -> _Finding:
        if "loading" in text.lower():
            return _Finding(phase="starting", detail="loading weights")
        return _Finding(
            phase="failed",
            detail=f"The server at {self._url} says it is not healthy (503).",
            hint="Its engine may have died: look at its log and restart it.",
        )

    def _read_models(self, answer: httpx2.Response) -> _Finding:
        if answer.status_code in (401, 403):
            refused = "refuses the API key" if self._api_key else "wants an API key"
            return _Finding(
                phase="failed",
                detail=f"The server at {self._url} {refused} ({answer.status_code}).",
                hint="Set VLLM_API_KEY to the key that the server was started with.",
                cause="key",
            )
        no_tls = wants_tls(answer.text, self._url) if answer.status_code == 400 else None
        if no_tls is not None:
            return _Finding(phase="failed", detail=no_tls.what, hint=f"{no_tls.way_out} (VLLM_BASE_URL)")
        models = _listed(answer, self._wanted_model)
        if models is None:
            return _Finding(
                phase="failed",
                detail=f"{self._url}/models is no list of models (HTTP {answer.status_code}).",
                hint=f"Something else may be listening there. {WRONG_ADDRESS_HINT}",
            )
        if not models:
            return _Finding(
                phase="failed",
                detail=f"The server at {self._url} has no model that can be asked for.",
                hint="Load one, or give the one there a plain name; it is asked again by itself.",
            )
        model = self._wanted_model or first_chat_model(models)
        if model is None:
            return _Finding(
                phase="failed",
                detail=f"The server at {self._url} lists no model that can chat: {', '.join(list(models)[:5])}.",
                hint="Load one that can, or name one in VLLM_MODEL; it is asked again by itself.",
                cause="model",
            )
        if model not in models:
            return _Finding(
                phase="failed",
                detail=f"The server at {self._url} does not serve {model}, but {', '.join(list(models)[:5])}.",
                hint="Set VLLM_MODEL to one of these, or leave it empty to take the first that can chat.",
                cause="model",
            )
        return _Finding(
            phase="ready",
            model=model,
            context_tokens=context_tokens(models[model]),
            models=chat_models(models, model),
        )

    def _show(self, finding: _Finding) -> None:
        self._state.set(
            ServerState(
                phase=finding.phase,
                kind=self._kind,
                detail=finding.detail,
                hint=finding.hint,
                model=finding.model or self._wanted_model,
                base_url=self._url if finding.phase == "ready" else None,
                context_tokens=finding.context_tokens,
                models=finding.models or self._state.value.models,
                cause=finding.cause,
            )
        )

    def _note(self, state: ServerState) -> None:
        what = state.detail or (
            f"{state.phase}: {state.model} at {self._url}" if state.model else state.phase
        )
        level = "warning" if state.phase == "failed" else "info"
        self._lines.add(shown_line(plain_text(what)), at=f"{datetime.now():%Y-%m-%d %H:%M:%S}", level=level)


def _normal(base_url: str) -> str:
    """Return the address ending in ``/v1``, empty when it is none; user names and passwords are left out."""
    try:
        parts = urlsplit(base_url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not host:
        return ""
    place = f"[{host}]" if ":" in host else host
    path = parts.path.rstrip("/")
    netloc = place if port is None else f"{place}:{port}"
    path = path if path.endswith("/v1") else f"{path}/v1"
    return SplitResult(parts.scheme, netloc, path, "", "").geturl()


def _problem(url: str, api_key: str | None) -> _Finding | None:
    if not url:
        return _Finding(
            phase="failed", detail="The server's address is not an http address.", hint=WRONG_ADDRESS_HINT
        )
    if api_key is not None and not all("!" <= character <= "~" for character in api_key):
        return _Finding(
            phase="failed",
            detail="The local server's API key holds characters that no key has.",
            hint="Set VLLM_API_KEY again, without spaces or line breaks.",
            cause="key",
        )
    return None


def _words(error: Exception) -> str:
    """Say an exception in words that may be shown: its text can quote an address with a password."""
    return redact(str(error)).rstrip(".") or type(error).__name__


def _listed(answer: httpx2.Response, wanted: str | None) -> dict[str, dict[str, Any]] | None:
    """Return the models by id, ``None`` when the answer is not such a list."""
    if answer.status_code != 200:
        return None
    try:
        return listed_models(answer.json(), wanted)
    except (ValueError, RecursionError):
        return None
