"""A real PostgreSQL server of its own for a test: new data folder, free port on loopback, gone afterwards."""

from __future__ import annotations

import atexit
import glob
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any


def missing() -> str | None:
    """Say what is not installed, ``None`` if a server can be started."""
    if sys.platform == "win32":
        return "needs PostgreSQL's programs on a POSIX system"
    if _program("initdb") is None or _program("pg_ctl") is None:
        return "no PostgreSQL server (Debian: apt install postgresql)"
    try:
        import psycopg  # noqa: F401  # pyright: ignore
    except ImportError:
        return 'no psycopg (pip install "psycopg[binary]")'
    return None


def _program(name: str) -> str | None:
    found = shutil.which(name)
    return found or next(iter(sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), reverse=True)), None)


@cache
def _new_cluster() -> Path:
    """Return a folder whose ``data`` nobody has used yet: made once a process, because making it takes a second."""
    made = PostgresServer()
    atexit.register(shutil.rmtree, made.folder, ignore_errors=True)
    made.initialize()
    return made.folder


class PostgresServer:
    """Use as a context manager; ``url`` is fit for ``LEDGER_URL``."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="signalbox-postgres-"))
        # The server refuses to run as root, so root hands it to the user its package made.
        self._as: dict[str, Any] = {"user": "postgres"} if os.geteuid() == 0 else {}
        if self._as:
            shutil.chown(self.folder, "postgres")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> PostgresServer:
        # As the server's own user, whose the copy must be.
        self._run("cp", "-R", _new_cluster() / "data", self.folder / "data")
        self.start()
        return self

    def initialize(self) -> None:
        data = self.folder / "data"
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "-D", data)

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        log = self.folder / "log"
        self._run("pg_ctl", "-D", self.folder / "data", "-l", log, "-w", "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self.folder / "data", "-m", "fast", "-w", "stop")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: object) -> None:
        # The output goes to a file: a server that inherits a pipe would keep its reader waiting for ever.
        with (self.folder / f"{program}.out").open("w+") as output:
            done = subprocess.run(
                [_program(program) or program, *map(str, arguments)],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                check=False,
                timeout=60,
                **self._as,
            )
            output.seek(0)
            if done.returncode != 0:
                raise RuntimeError(f"{program} failed: {output.read()}")
