"""Follows a container's log through ``docker logs``: from before Signalbox started, and live."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime

from core.local.container import Container, read_time
from core.local.docker_cli import DockerCli, DockerError
from core.local.server_log import KEPT_LINES, PAUSE_S, SLICE_LINES, LogRing, plain_text, shown_line

log = logging.getLogger(__name__)

RUN_LINES = 400
"""So many last lines of a run say why it ended."""
DRAIN_S = 2.0
_CHUNK_BYTES = 1 << 16
_LONGEST_BYTES = 1 << 16
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$")
_OWN_PROBES = re.compile(r'"GET /(?:health|metrics|version|v1/models)(?:\?\S*)? HTTP/[\d.]+" 200')
"""Docker's health check and Signalbox ask every few seconds: these answers would bury what the log says."""


class ContainerLog:
    """``ring`` has all lines, ``run_lines`` the last ones of the run that is followed.

    ``on_lines`` hears of new lines of that run. All methods belong to one event loop.
    """

    def __init__(self, cli: DockerCli, on_lines: Callable[[Sequence[str]], None]) -> None:
        self._cli = cli
        self._on_lines = on_lines
        self.ring = LogRing(KEPT_LINES)
        self.run_lines: deque[str] = deque(maxlen=RUN_LINES)
        self._run: tuple[str, str] | None = None
        self._last_time = ""
        self._in_run = False
        self._started_at = datetime.min
        self._second, self._clock_text = "", ""
        self._follower: asyncio.Task[None] | None = None

    def follow(self, container: Container | None) -> None:
        """Follow this container's run; nothing happens where it is followed already, or was to its end."""
        if container is None or not container.was_started:
            return
        is_ended = self._follower is None or self._follower.done()
        if container.run == self._run and not (is_ended and container.is_running):
            return
        if self._follower is not None:
            self._follower.cancel()
        if self._run is None or self._run[0] != container.id:
            self._last_time = ""
        if self._run != container.run:
            self.run_lines.clear()
            self._in_run = False
            self._started_at = read_time(container.started_at)
            self._run = container.run
        self._follower = asyncio.create_task(self._read(container.id), name="container's log")

    async def drained(self) -> None:
        """Return when the log of a container that ended is read to its end, or after ``DRAIN_S`` seconds."""
        if self._follower is not None:
            await asyncio.wait({self._follower}, timeout=DRAIN_S)

    async def close(self) -> None:
        """Follow no more. What was read stays; a later ``follow`` goes on after it."""
        follower, self._follower = self._follower, None
        if follower is not None:
            follower.cancel()
            await asyncio.wait({follower})

    async def _read(self, container_id: str) -> None:
        since = ["--since", self._last_time] if self._last_time else []
        words = ["logs", "--follow", "--timestamps", "--tail", str(KEPT_LINES), *since, container_id]
        try:
            async with self._cli.started(*words, one_pipe=True) as process:
                assert process.stdout is not None
                rest = b""
                while chunk := await process.stdout.read(_CHUNK_BYTES):
                    whole, ended, rest = (rest + chunk).rpartition(b"\n")
                    lines = whole.split(b"\n") if ended else []
                    for start in range(0, len(lines), SLICE_LINES):
                        if start:
                            await asyncio.sleep(PAUSE_S)
                        self._take(b"\n".join(lines[start : start + SLICE_LINES]))
                    rest = rest[:_LONGEST_BYTES]  # of a line without an end only its beginning is kept
                    await asyncio.sleep(0)  # the loop's other work goes on while thousands of lines come
                if rest:
                    self._take(rest)
        except DockerError as error:
            log.info("the container's log can't be read: %s", error)
        except Exception:
            # It is only the log: the container's state goes on being told, and the next look follows it again.
            log.exception("the container's log could not be read on")

    def _take(self, lines: bytes) -> None:
        kept: list[tuple[str, str]] = []
        of_run: list[str] = []
        last = self._last_time
        for line in plain_text(lines.decode("utf-8", errors="replace")).split("\n"):
            time, _, text = line.partition(" ")
            if not _TIME.match(time):
                continue  # docker's own words: that the container is gone
            if time <= last:
                continue  # what stood there when it was read before
            self._last_time = time
            text = shown_line(text)
            if _OWN_PROBES.search(text):
                continue
            kept.append((self._local(time), text))
            if not self._in_run:
                self._in_run = read_time(time) >= self._started_at
            if self._in_run:
                of_run.append(text)
        self.ring.extend(kept)
        if of_run:
            self.run_lines.extend(of_run)
            self._on_lines(of_run)

    def _local(self, time: str) -> str:
        """Return the hour of this machine; lines of one second share the work."""
        if time[:19] != self._second:
            self._second = time[:19]
            self._clock_text = f"{read_time(time).astimezone():%H:%M:%S}"
        return self._clock_text
