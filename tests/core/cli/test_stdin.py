"""Standard input of the command line, in a process of its own: it streams, and Ctrl+C ends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# A shell's background job is started with SIGINT ignored, and its children inherit that: take the default back.
PROGRAM = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from core.cli import main; sys.exit(main())"
)
Spawn = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start ``signalbox`` with pipes; nothing of it outlives the test."""
    started: list[subprocess.Popen[bytes]] = []
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**kept, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "LOCAL_SERVER": "none"},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ask_one(process: subprocess.Popen[bytes], prompt: str) -> dict[str, object]:
    """Send one line and wait for its answer with the pipe still open."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps({"prompt": prompt}, ensure_ascii=False).encode() + b"\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def test_decide_answers_each_line_while_the_input_stays_open(spawn: Spawn) -> None:
    process = spawn("decide")
    assert "reason" in ask_one(process, "hi")
    assert "reason" in ask_one(process, "grüße")
    out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == (b"", b"", 0)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_ctrl_c_ends_a_decide_that_waits_for_input(spawn: Spawn) -> None:
    process = spawn("decide")
    ask_one(process, "hi")  # it has started, and now waits for the next line
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert process.stderr is not None
    assert process.stderr.read() == b""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_ctrl_c_ends_an_ask_that_waits_for_its_prompt(spawn: Spawn, home: Path) -> None:
    process = spawn("ask", "-", "--debug")
    assert process.stderr is not None
    log = home / "logs" / "signalbox.log"
    while not log.exists() and process.poll() is None:
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130


def test_lines_of_every_kind_keep_their_numbers(spawn: Spawn) -> None:
    good = json.dumps({"prompt": "é" * 30_000}, ensure_ascii=False).encode()
    out, _ = spawn("decide").communicate(b"\r\n".join([good, b"", b"nope", good * 2, good]), timeout=60)
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer.get("line") for answer in answers] == [None, 3, 4, None]


def test_ten_thousand_lines_lose_none(spawn: Spawn) -> None:
    lines = b"".join(b'{"prompt": "number %d"}\n' % number for number in range(10_000))
    out, err = spawn("decide").communicate(lines, timeout=110)
    assert err == b""
    assert out.count(b"\n") == 10_000
