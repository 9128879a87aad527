"""The port that Prometheus scrapes: this computer only, and only who asks for it by this computer's name.

A web page whose own name was bound anew to 127.0.0.1 asks under that name, and is refused. Imports an HTTP server
and ``prometheus_client``, so only ``Metrics.serve`` imports this.
"""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import make_wsgi_app  # pyright: ignore[reportUnknownVariableType]
from prometheus_client.registry import Collector

HOST = "127.0.0.1"
MOST_CONNECTIONS = 8
"""A scraper needs one. Of more the oldest is cut off: nobody keeps the port from others by saying nothing."""

SILENCE_S = 5.0

_App = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]

_OWN_NAME = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?", re.IGNORECASE)


def serve(collector: Collector, port: int) -> Callable[[], None]:
    """Answer ``GET`` and ``HEAD`` of ``/metrics`` from a separate thread, a daemon; returns what ends it.

    Raises:
        OSError, OverflowError: the port can't be used.
    """
    server = _Server((HOST, port), _Handler)
    server.set_app(_guarded(cast("_App", make_wsgi_app(collector))))
    threading.Thread(target=server.serve_forever, name="signalbox-metrics", daemon=True).start()

    def stop() -> None:
        # The server looks up twice a second; a socket that is shut down wakes it, so this takes no time.
        ending = threading.Thread(target=server.shutdown, name="signalbox-metrics-end", daemon=True)
        ending.start()
        with contextlib.suppress(OSError):  # macOS knows no such thing for a socket that listens
            server.socket.shutdown(socket.SHUT_RDWR)
        ending.join(timeout=1)
        server.server_close()

    return stop


def _guarded(app: _App) -> _App:
    """Return ``app`` for those who may ask it."""

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        status = _refusal(environ)
        if status is not None:
            start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
            return [f"{status[4:]}\n".encode()]
        body = app({**environ, "REQUEST_METHOD": "GET"}, start_response)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else body

    return guarded


def _refusal(environ: WSGIEnvironment) -> str | None:
    """Say why nothing is told, ``None`` where it is."""
    if not _OWN_NAME.fullmatch(environ.get("HTTP_HOST", "")):
        return "403 Forbidden: ask for 127.0.0.1 or localhost"
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        return "405 Method Not Allowed"
    return None if environ["PATH_INFO"] == "/metrics" else "404 Not Found"


class _Handler(WSGIRequestHandler):
    timeout = SILENCE_S

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on standard error."""


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each of at most ``MOST_CONNECTIONS`` connections."""

    daemon_threads = True
    request_queue_size = MOST_CONNECTIONS

    def __init__(self, *arguments: Any) -> None:
        self._open: dict[socket.socket, None] = {}
        self._open_lock = threading.Lock()
        super().__init__(*arguments)

    def server_bind(self) -> None:
        """Bind without ``HTTPServer``'s look at the name service, which may take seconds."""
        if sys.platform != "win32":  # there, it would let another program take the port away
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = HOST, self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            if len(self._open) >= MOST_CONNECTIONS:
                oldest = next(iter(self._open))
                del self._open[oldest]
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)
            self._open[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: whoever asked went away, or never finished asking."""
