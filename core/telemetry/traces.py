"""OpenTelemetry traces of requests, sent as OTLP over HTTP: one span a request, a child span an attempt.

An optional extra (``pip install signalbox-panel[otel]``) that works as soon as ``OTEL_EXPORTER_OTLP_ENDPOINT`` is
set; Datadog, Grafana and the OpenTelemetry collector all read it. Without an endpoint nothing is imported.
Attributes follow the GenAI semantic conventions (development status, as of semconv 1.42). No span holds a prompt
or an answer. Usage stands on the request's span only, so that nobody who sums spans counts a token twice.

A collector that is dead or slow costs a request nothing: spans wait in a bounded queue of the SDK's and are sent
by its own thread; what does not fit is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import threading
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from core.base.async_tools import in_daemon_thread
from core.base.redaction import redact
from core.chat import RouteDecision, Side
from core.telemetry.logs import described
from core.telemetry.records import RequestRecord

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from core.telemetry.otlp import SpanSender

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 2.0
"""How long the last spans may take to leave when the core stops."""

MISSING_EXTRA = (
    "OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry is not installed: no traces are sent. "
    "Install it with: pip install 'signalbox-panel[otel]'"
)


class Tracer:
    """Makes the spans. Every method is safe to call whether traces are on or not, and never raises."""

    def __init__(self) -> None:
        self._endpoint: str | None = None
        self._sender: SpanSender | None = None
        self._problem: str | None = None
        self._settling: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def problem(self) -> str | None:
        """Why no traces are sent although an endpoint is set, as a text for a person; ``None``: all is well."""
        return self._problem

    @property
    def is_on(self) -> bool:
        return self._sender is not None

    def configure(self, endpoint: str | None) -> None:
        """Send to ``endpoint`` from now on (a base address such as ``http://127.0.0.1:4318``), ``None``: nowhere.

        Returns at once: the SDK is imported, and an earlier sender is ended, in a thread. ``settled`` waits for it.
        """
        if endpoint == self._endpoint:
            return
        self._endpoint = endpoint
        previous = self._settling
        self._settling = threading.Thread(
            target=self._change, args=(endpoint, previous), name="signalbox-traces", daemon=True
        )
        self._settling.start()

    async def settled(self) -> None:
        """Return when what ``configure`` asked for is in effect."""
        thread = self._settling
        if thread is not None and thread.is_alive():
            await in_daemon_thread(thread.join, name="signalbox-traces-wait")

    def request(self, *, correlation_id: str, model: str | None, side: Side | None = None) -> RequestTrace:
        """Begin the span of a request, as a child of the caller's own active span where there is one."""
        sender = self._sender
        if sender is None:
            return RequestTrace(None, None)
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": model,
            "signalbox.correlation_id": correlation_id,
            "signalbox.forced_side": side,
        }
        with _harmless():
            return RequestTrace(
                sender, sender.start(f"chat {model}" if model else "chat", attributes=_known(attributes))
            )
        return RequestTrace(None, None)

    async def close(self) -> None:
        """Send what is left, for at most two seconds, and end."""
        self.configure(None)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.settled()

    def _change(self, endpoint: str | None, previous: threading.Thread | None) -> None:
        if previous is not None:
            previous.join()
        with self._lock:
            old, self._sender = self._sender, None
            if endpoint is not None:
                self._sender, self._problem = _sender(endpoint)
            else:
                self._problem = None
        if old is not None:
            old.close(CLOSE_TIMEOUT_S)


class RequestTrace:
    """The span of one request. Without a sender every method does nothing."""

    __slots__ = ("_sender", "_span")

    def __init__(self, sender: SpanSender | None, span: Span | None) -> None:
        self._sender = sender
        self._span = span

    def attempt(self, decision: RouteDecision, number: int = 1) -> AttemptTrace:
        """Begin the child span of one attempt; ``number`` counts from 1."""
        if self._sender is None or self._span is None:
            return AttemptTrace(None, None)
        attributes: dict[str, Any] = {
            "gen_ai.provider.name": decision.provider,
            "gen_ai.request.model": decision.model,
            "gen_ai.request.max_tokens": decision.signals.max_output_tokens,
            "signalbox.attempt": number,
            "signalbox.side": decision.side,
            "signalbox.rule": decision.rule,
        }
        with _harmless():
            span = self._sender.start(
                f"attempt {decision.provider}",
                parent=self._span,
                is_call=True,
                attributes=_known(attributes),
            )
            return AttemptTrace(self._sender, span)
        return AttemptTrace(None, None)

    def finish(self, record: RequestRecord) -> None:
        """End the span with what became of the request. Only the first call counts."""
        span, self._span = self._span, None
        if self._sender is None or span is None:
            return
        with _harmless():
            span.set_attributes(_attributes(record))
            if record.model:
                span.update_name(f"chat {record.model}")
            if record.status in ("failed", "refused"):
                self._sender.fail(span, record.error_kind or "error")
            span.end()


class AttemptTrace:
    """The span of one attempt. ``traceparent`` is the W3C header for the provider, ``None`` without traces."""

    __slots__ = ("_sender", "_span", "traceparent")

    def __init__(self, sender: SpanSender | None, span: Span | None) -> None:
        self._sender = sender
        self._span = span
        self.traceparent = None if sender is None or span is None else sender.traceparent(span)

    def end(
        self,
        *,
        status: str = "done",
        error_kind: str | None = None,
        served_model: str | None = None,
        ttft_ms: float | None = None,
    ) -> None:
        """End the span; ``error_kind`` names the error that ended the attempt. Only the first call counts."""
        span, self._span = self._span, None
        if self._sender is None or span is None:
            return
        attributes: dict[str, Any] = {
            "signalbox.status": status,
            "gen_ai.response.model": served_model,
            "gen_ai.response.time_to_first_chunk": None if ttft_ms is None else ttft_ms / 1000,
        }
        with _harmless():
            span.set_attributes(_known(attributes))
            if error_kind is not None:
                self._sender.fail(span, error_kind)
            span.end()


@contextlib.contextmanager
def _harmless() -> Generator[None]:
    """A trace must never be the reason that a request fails."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  said, and the request goes on without this span
        log.warning("a span is lost: %s", described(error))


def _known(attributes: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is not known: an attribute that is absent says so, an empty one does not."""
    return {name: value for name, value in attributes.items() if value is not None}


def _attributes(record: RequestRecord) -> dict[str, Any]:
    found: dict[str, Any] = {
        "gen_ai.provider.name": record.provider,
        "gen_ai.request.model": record.model,
        "gen_ai.request.stream": record.streamed,
        "gen_ai.response.model": record.served_model,
        "gen_ai.response.finish_reasons": [record.finish_reason] if record.finish_reason else None,
        "gen_ai.response.time_to_first_chunk": None if record.ttft_ms is None else record.ttft_ms / 1000,
        "signalbox.status": record.status,
        "signalbox.source": record.source,
        "signalbox.project": record.project,
        "signalbox.side": record.side,
        "signalbox.rule": record.rule,
        "signalbox.fell_back_from": record.fell_back_from,
        "signalbox.retries": record.retries,
        "signalbox.queued_ms": record.queued_ms,
        "signalbox.replayed": record.replayed,
        # Nano-dollars are exact; dollars are there to be read.
        "signalbox.cost_nanodollars": record.cost_nanodollars,
        "signalbox.cost_dollars": _dollars(record.cost_nanodollars),
        "signalbox.loaded_nanodollars": record.loaded_nanodollars,
        "signalbox.unresolved_nanodollars": record.unresolved_nanodollars,
    }
    usage = record.usage
    if usage is not None and not record.replayed:
        found |= {
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
            "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_5m_tokens
            + usage.cache_write_1h_tokens,
            "gen_ai.usage.reasoning.output_tokens": usage.thinking_tokens,
        }
    return _known(found)


def _dollars(nanodollars: int | None) -> float | None:
    return None if nanodollars is None else nanodollars / 1e9


def _sender(endpoint: str) -> tuple[SpanSender | None, str | None]:
    try:
        from core.telemetry.otlp import SpanSender

        return SpanSender(endpoint, importlib.metadata.version("signalbox-panel")), None
    except ImportError:
        log.warning("%s", MISSING_EXTRA)
        return None, MISSING_EXTRA
    except Exception as error:  # noqa: BLE001  a certificate that can't be read, an odd environment variable
        log.warning("traces can't be sent: %s", described(error))
        said = redact(f"{type(error).__name__}: {error}")
        return None, f"Traces can't be sent to OTEL_EXPORTER_OTLP_ENDPOINT: {said}"
