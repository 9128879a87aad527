"""Processes that begin in milliseconds: forked from one that has imported the whole core and done nothing else.

Importing core and SDKs takes a second of processor time, and tests that need real processes start a hundred. Each
is a process as any other, with its own id, files, environment and end. ``python -m tests.support.forked FD`` is the
one they are forked from; its orders are JSON with the new process's standard streams and a socket to tell of it.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ORDER_BYTES = 1 << 20
LATE = (
    "anthropic",
    "anthropic.resources.messages",
    "keyring.backends.fail",
    "openai",
    "openai.resources.chat",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk.trace.export",
    "sqlalchemy.dialects.sqlite",
)
"""What the core imports when it first needs it."""


class Forked:
    """A running process. ``main`` is "module:function", which gets ``arguments`` as ``sys.argv[1:]``.

    A stream that is not given is the null device.
    """

    def __init__(
        self,
        main: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        cwd: Path,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> None:
        mine, theirs = socket.socketpair()
        order = {"main": main, "arguments": [*arguments], "environment": {**environment}, "cwd": str(cwd)}
        null = os.open(os.devnull, os.O_RDWR)
        streams = [null if stream is None else stream for stream in (stdin, stdout, stderr)]
        try:
            with theirs:
                socket.send_fds(_origin(), [json.dumps(order).encode()], [*streams, theirs.fileno()])
        finally:
            os.close(null)
        self._told = mine
        self._lines = mine.makefile("r")
        self.pid = int(self._lines.readline())

    def wait(self) -> int:
        """Return the exit code, negative for the signal that ended it."""
        with self._told, self._lines:
            return int(self._lines.readline())

    async def ended(self) -> int:
        return await asyncio.to_thread(self.wait)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def run_forked(
    main: str, arguments: Sequence[str], *, environment: Mapping[str, str], cwd: Path, given: str = ""
) -> tuple[int, str, str]:
    """Run it to its end; return the exit code and what it wrote to standard output and standard error."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(os.memfd_create(name), "w+b")) for name in ("in", "out", "err")]
        files[0].write(given.encode())
        files[0].seek(0)
        stdin, stdout, stderr = (file.fileno() for file in files)
        code = Forked(
            main, arguments, environment=environment, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr
        ).wait()
        for file in files:
            file.seek(0)
        _, out, err = (file.read().decode() for file in files)
        return code, out, err


@cache
def _origin() -> socket.socket:
    """Start the process the others are forked from; it ends with this one, whose socket closes."""
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forked", str(theirs.fileno())],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )

    def end() -> None:
        mine.close()
        process.wait(20)

    atexit.register(end)
    return mine


def main(orders: socket.socket) -> None:
    for module in pkgutil.walk_packages([str(ROOT / "core")], "core."):
        if not module.name.endswith(("__main__", "_child")):
            importlib.import_module(module.name)
    for name in LATE:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that fork and tell
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page it shares
    while True:
        order, descriptors, *_ = socket.recv_fds(orders, ORDER_BYTES, 4)
        if not order:
            return
        if os.fork() == 0:
            orders.close()
            _fork_and_tell(json.loads(order), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _fork_and_tell(order: dict[str, Any], descriptors: list[int]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, told = descriptors
    pid = os.fork()
    if pid == 0:
        os.close(told)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        _become(order)
    for stream in streams:
        os.close(stream)
    with socket.socket(fileno=told) as teller, contextlib.suppress(BrokenPipeError):
        teller.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        teller.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(order: dict[str, Any]) -> None:
    """Run the order's function as a process of its own would, and end."""
    sys.stdin, sys.stdout, sys.stderr = (
        io.TextIOWrapper(os.fdopen(number, mode), encoding="utf-8", line_buffering=number == 2)
        for number, mode in enumerate(("rb", "wb", "wb"))
    )
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["cwd"])
    module, _, function = order["main"].partition(":")
    sys.argv = [function, *order["arguments"]]
    code = 1
    try:
        code = getattr(sys.modules.get(module) or importlib.import_module(module), function)() or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - as the interpreter itself does
        traceback.print_exc()
    finally:
        # The end of an interpreter but for the taking apart of every object, which would copy them all.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()  # type: ignore[attr-defined]
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
