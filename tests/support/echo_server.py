"""A server on both wires that is as indiscreet as a server can be: its errors quote the request, headers and all.

``mode`` says how it answers: ``good`` (with ``answer``), a status (``401``, ``400``, ``429``, ``500``), ``garbled``
(HTTP 200, then lines that are no events and quote the request), ``error_event`` (an error inside the stream, after
some text) or ``html`` (an error page).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class EchoServer:
    def __init__(self, answer: str) -> None:
        self.mode = "good"
        self.answer = answer
        self.seen: list[str] = []
        self.port = 0

    @property
    def root(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextmanager
def echo_server(answer: str) -> Iterator[EchoServer]:
    state = EchoServer(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            said = self._said("")
            if self.path.endswith("/models"):
                models = {"data": [{"id": "tiny", "object": "model", "type": "model", "max_model_len": 4096}]}
                self._send(200, "application/json", json.dumps(models | {"has_more": False}).encode())
            else:
                self._send(404, "text/plain", said.encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            said = self._said(body)
            mode, anthropic = state.mode, self.path.endswith("/messages")
            if self.path.endswith("count_tokens"):
                self._send(200, "application/json", b'{"input_tokens": 20}')
            elif mode.isdigit():
                kind = {"401": "authentication_error", "429": "rate_limit_error"}.get(mode, "api_error")
                error = {
                    "type": "error",
                    "error": {"type": kind, "message": f"You sent {said}", "code": int(mode)},
                }
                self._send(int(mode), "application/json", json.dumps(error).encode())
            elif mode == "html":
                self._send(502, "text/html", f"<html><body>Bad gateway for {said}</body></html>".encode())
            elif mode == "garbled":
                lines = f"data: {{{said}\n\nevent: x\ndata: [1, {said}\n\n{said}\n"
                self._send(200, "text/event-stream", lines.encode())
            else:
                events = list(_anthropic(state, said) if anthropic else _openai(state, said))
                self._send(200, "text/event-stream", "".join(events).encode())

        def _said(self, body: str) -> str:
            """Everything that came; in turns the headers first or the body, since errors are cut."""
            keys_first = sorted(self.headers.items(), key=lambda pair: "key" not in pair[0].lower())
            headers = [pair for pair in keys_first if not pair[0].lower().startswith("x-stainless")]
            said = f"{headers} {body}" if len(state.seen) % 2 else f"{body} {headers}"
            state.seen.append(f"{self.path} {said}")
            return said

        def _send(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that went away is none of our business."""

    server = Server(("127.0.0.1", 0), Handler)
    state.port = server.server_port
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _event(payload: Any, name: str | None = None) -> str:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {payload if isinstance(payload, str) else json.dumps(payload)}\n\n"


def _anthropic(state: EchoServer, said: str) -> Iterator[str]:
    usage = {"input_tokens": 20, "output_tokens": 1}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6", "content": []}
    yield _event({"type": "message_start", "message": message | {"usage": usage}}, "message_start")
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    yield _event(block, "content_block_start")
    delta = {"type": "text_delta", "text": state.answer}
    yield _event({"type": "content_block_delta", "index": 0, "delta": delta}, "content_block_delta")
    if state.mode == "error_event":
        error = {"type": "error", "error": {"type": "overloaded_error", "message": f"{state.answer} {said}"}}
        yield _event(error, "error")
        return
    yield _event({"type": "content_block_stop", "index": 0}, "content_block_stop")
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    yield _event({"type": "message_delta", "delta": end, "usage": {"output_tokens": 12}}, "message_delta")
    yield _event({"type": "message_stop"}, "message_stop")


def _openai(state: EchoServer, said: str) -> Iterator[str]:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {
            "id": "c",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "tiny",
            "choices": [choice],
        }

    yield _event(chunk({"role": "assistant", "content": state.answer}))
    if state.mode == "error_event":
        yield _event(
            {"error": {"message": f"{state.answer} {said}", "type": "InternalServerError", "code": 500}}
        )
        return
    yield _event(chunk({}, "stop"))
    usage = {"prompt_tokens": 20, "completion_tokens": 12, "total_tokens": 32}
    yield _event(chunk({}) | {"choices": [], "usage": usage})
    yield _event("[DONE]")
