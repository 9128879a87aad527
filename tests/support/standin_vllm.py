"""A stand-in for vLLM in a container: its arguments, log lines, endpoints and ways to end. Standard library only.

``STANDIN`` in its environment says what it does: ``slow`` (it loads until ``/tmp/go`` is there), ``oom`` (it takes
memory while it loads), ``fail`` (it ends as vLLM does without room for the KV cache). ``/standin/oom``,
``/standin/die`` (engine dead, process alive) and ``/standin/exit`` do so later. A prompt with ``hold`` in it is
answered by one word and no end.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ARGUMENTS = sys.argv[1:]
HOW = os.environ.get("STANDIN", "").split()
GO = Path("/tmp/go")
KV_CACHE = (
    "ValueError: To serve at least one request with the model's max seq len (8192), (4.54 GiB KV cache is needed, "
    "which is larger than the available KV cache memory (1.71 GiB). Based on the available memory, the estimated "
    "maximum model length is 3072. Try increasing `gpu_memory_utilization` or decreasing `max_model_len`."
)
engine_is_dead = threading.Event()


def following(flag: str) -> str:
    return ARGUMENTS[ARGUMENTS.index(flag) + 1]


def write(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def say(text: str, *, who: str = "EngineCore pid=31", level: str = "INFO") -> None:
    write(f"({who}) {level} {time.strftime('%m-%d %H:%M:%S')} [standin.py:1] {text}")


def take_memory() -> None:
    kept = []
    while True:
        kept.append(bytearray(os.urandom(1)) * 16_000_000)


def load() -> None:
    say("version 0.32.0", who="APIServer pid=1")
    say("Initializing a V1 LLM engine (v0.32.0) with config: model='tiny'")
    say("Starting to load model tiny...")
    for shard in range(3):
        done = f"{shard * 50:3}% Completed | {shard}/2"
        write(f"Loading safetensors checkpoint shards: {done} [00:00<00:00, 9.12it/s]")
        while shard == 1 and "slow" in HOW and not GO.exists():
            time.sleep(0.05)
    if "oom" in HOW:
        take_memory()
    say("Model loading took 0.25 GiB memory and 0.9 seconds")
    if "fail" in HOW:
        say("EngineCore failed to start.", level="ERROR")
        say(KV_CACHE, level="ERROR")
        write("RuntimeError: Engine core initialization failed. See root cause above.")
        sys.exit(1)
    say("GPU KV cache size: 2,097,152 tokens")
    say("\x1b[32mStarting vLLM server\x1b[0m on http://0.0.0.0:8000", who="APIServer pid=1")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/health":
            self._answer(503 if engine_is_dead.is_set() else 200, b"")
        elif self.path == "/v1/models":
            model = {"id": following("--served-model-name"), "object": "model", "max_model_len": 8192}
            self._answer(200, json.dumps({"object": "list", "data": [model]}).encode())
        elif self.path == "/version":
            self._answer(200, b'{"version": "0.32.0"}')
        elif self.path == "/standin/environment":
            self._answer(200, json.dumps({"HF_TOKEN": os.environ.get("HF_TOKEN", "")}).encode())
        else:
            self._answer(200, b"")
            self._do(self.path.rpartition("/")[2])

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self._event({"content": "Contained"})
        while b"hold" in asked:
            time.sleep(0.05)
        self._event({}, finish_reason="stop")
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, delta: dict[str, str], finish_reason: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        model = following("--served-model-name")
        chunk = {"id": "1", "object": "chat.completion.chunk", "model": model, "choices": [choice]}
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.flush()

    def _do(self, what: str) -> None:
        if what == "die":
            engine_is_dead.set()
        elif what == "exit":
            say("EngineDeadError: EngineCore encountered an issue. See stack trace (above).", level="ERROR")
            os._exit(0)
        elif what == "oom":
            threading.Thread(target=take_memory).start()

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


if __name__ == "__main__":
    load()
    ThreadingHTTPServer(("0.0.0.0", int(following("--port"))), Handler).serve_forever()
