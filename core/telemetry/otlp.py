"""The OpenTelemetry SDK at work: a separate tracer provider, whose spans go to one OTLP endpoint over HTTP.

Imports the SDK, so only ``core.telemetry.traces`` imports this, and only once an endpoint is set. The process's
global tracer provider is left alone: a program that uses Signalbox as a library keeps its own.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context

from core.base.redaction import redact, remember_secret
from core.telemetry.logs import described, printable

log = logging.getLogger(__name__)

EXPORT_TIMEOUT_S = 5.0
EXPORT_EVERY_MS = 1000
QUEUE_SPANS = 2048
BATCH_SPANS = 512
_SDK_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.sdk.trace.export",
)


class SpanSender:
    """Starts spans and sends them in batches from a thread of the SDK's."""

    def __init__(self, endpoint: str, version: str) -> None:
        _remember_header_secrets(os.environ)
        exporter = OTLPSpanExporter(endpoint=traces_address(endpoint), timeout=EXPORT_TIMEOUT_S)
        # Limits from the environment stay in force; attributes set here win over OTEL_RESOURCE_ATTRIBUTES' own.
        named = {"service.version": version}
        if "OTEL_SERVICE_NAME" not in os.environ:
            named["service.name"] = "signalbox"
        self._provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
        self._exporter = _Reporting(exporter, shown_address(endpoint))
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=QUEUE_SPANS,
                schedule_delay_millis=EXPORT_EVERY_MS,
                max_export_batch_size=BATCH_SPANS,
            )
        )
        self._tracer = self._provider.get_tracer("signalbox", version)

    def start(
        self,
        name: str,
        *,
        attributes: Mapping[str, Any],
        parent: Span | None = None,
        is_call: bool = False,
    ) -> Span:
        """Start a span; without ``parent`` it is a child of the caller's active span, or the root of a trace."""
        context = None if parent is None else set_span_in_context(parent)
        kind = SpanKind.CLIENT if is_call else SpanKind.INTERNAL
        return self._tracer.start_span(name, context=context, kind=kind, attributes=dict(attributes))

    @staticmethod
    def fail(span: Span, error_kind: str) -> None:
        """Mark ``span`` as failed. The message stays out: a server may quote the request in it."""
        span.set_attribute("error.type", error_kind)
        span.set_status(StatusCode.ERROR)

    @staticmethod
    def traceparent(span: Span) -> str:
        """Return the W3C Trace Context header of ``span`` (version 00)."""
        context = span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def close(self, timeout_s: float) -> None:
        """Send what is left for at most ``timeout_s`` seconds; what is stuck then is left to a daemon thread."""
        if self._exporter.is_failing:
            self._exporter.shutdown()  # ends the wait for the next try; there is nobody to send to
        ending = threading.Thread(target=self._end, name="signalbox-traces-end", daemon=True)
        ending.start()
        ending.join(timeout_s)

    def _end(self) -> None:
        self._provider.shutdown()
        self._exporter.end()


class _Reporting(SpanExporter):
    """Passes batches on, and says once that the collector is gone and once that it is back."""

    def __init__(self, exporter: SpanExporter, shown: str) -> None:
        self._exporter = exporter
        self._shown = shown
        self.is_failing = False
        self._ended = False
        self._quiet = _Quiet(self._failed)
        for name in _SDK_LOGGERS:
            logging.getLogger(name).addFilter(self._quiet)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._ended:
            return SpanExportResult.FAILURE
        self._quiet.begin()
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001  the SDK would log it for every batch
            self._failed(described(error))
            result = SpanExportResult.FAILURE
        finally:
            self._quiet.end()
        if result is not SpanExportResult.SUCCESS:
            self._failed("no reason given")
        elif self.is_failing:
            self.is_failing = False
            log.info("traces reach %s again", self._shown)
        return result

    def _failed(self, reason: str) -> None:
        if not self.is_failing and not self._ended:
            self.is_failing = True
            log.warning(
                "traces don't reach %s and are dropped; requests are not affected: %s",
                self._shown,
                printable(redact(reason)),  # the collector's own words are in it, as long as it likes
            )

    def shutdown(self) -> None:
        if not self._ended:
            self._ended = True
            self._exporter.shutdown()

    def end(self) -> None:
        """Leave the SDK's loggers as they were."""
        for name in _SDK_LOGGERS:
            logging.getLogger(name).removeFilter(self._quiet)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _Quiet(logging.Filter):
    """Hands on what the SDK logs during our own exports, which would be a line for every batch and every try.

    What the SDK says about another exporter of this process passes.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell
        self._ours: int | None = None

    def begin(self) -> None:
        self._ours = threading.get_ident()

    def end(self) -> None:
        self._ours = None

    def filter(self, record: logging.LogRecord) -> bool:
        if threading.get_ident() == self._ours:
            self._tell(record.getMessage())
            return False
        return "Queue full" not in str(record.msg)


def traces_address(endpoint: str) -> str:
    """Return where traces go: the base address plus ``/v1/traces`` (OTLP specification, endpoint URLs)."""
    parts = urlsplit(endpoint)
    path = parts.path.rstrip("/")
    if not path.endswith("/v1/traces"):
        path += "/v1/traces"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def shown_address(endpoint: str) -> str:
    """Return the address without credentials and query."""
    parts = urlsplit(traces_address(endpoint))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _remember_header_secrets(environment: Mapping[str, str]) -> None:
    """Hide what ``OTEL_EXPORTER_OTLP_HEADERS`` carries: a collector's key stands there (``dd-api-key=…``)."""
    for name in ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"):
        for pair in environment.get(name, "").split(","):
            value = pair.partition("=")[2].strip()
            remember_secret(value)
            remember_secret(unquote(value))
