"""An OpenTelemetry collector for tests: takes OTLP over HTTP on loopback and decodes what arrives."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class Span:
    """One span as it was sent; ``kind`` and ``failed`` in OTLP's own words."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class Collector:
    """``raw`` keeps every body as it came; ``status`` and ``says`` are what the next batches are answered with."""

    url: str = ""
    status: int = 200
    says: bytes = b""
    raw: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)
    stalls: threading.Event | None = None

    @property
    def spans(self) -> list[Span]:
        found: list[Span] = []
        for body in list(self.raw):
            request = ExportTraceServiceRequest.FromString(body)
            for sent in request.resource_spans:
                resource = _plain(sent.resource.attributes)
                for scope in sent.scope_spans:
                    found += [_span(span, resource) for span in scope.spans]
        return found

    def wait(self, batches: int = 1, timeout_s: float = 20) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.raw) >= batches, timeout_s), "no spans came"


@contextmanager
def collector() -> Iterator[Collector]:
    kept = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if kept.stalls is not None:
                kept.stalls.wait(30)
            with kept.arrived:
                kept.raw.append(body)
                kept.headers.append(dict(self.headers.items()))
                kept.paths.append(self.path)
                kept.arrived.notify_all()
            self.send_response(kept.status)
            self.send_header("Content-Length", str(len(kept.says)))
            self.end_headers()
            self.wfile.write(kept.says)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that went away while it was stalled is what a test asked for."""

    server = Server(("127.0.0.1", 0), Handler)
    kept.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        if kept.stalls is not None:
            kept.stalls.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _span(span: Any, resource: dict[str, Any]) -> Span:
    return Span(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=span.kind,
        failed=span.status.code == 2,
        attributes=_plain(span.attributes),
        resource=resource,
    )


def _plain(attributes: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind)
