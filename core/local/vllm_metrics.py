"""What a local server says of its own load: vLLM's ``/metrics``, and llama.cpp's where it was started with them.

Other programs may use the same server, so only it knows how full it is.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from core.base.net import open_client

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger(__name__)

ABSENT_INTERVAL_S = 300.0
"""How often a server that has no ``/metrics`` is asked whether it has them now."""

MAX_METRICS_BYTES = 8 * 2**20
"""vLLM's page is about 100 kB an engine; what is longer than this is no page of metrics."""

MOST_LINES = 1_000
"""As many of the lines that are wanted are read: each engine has three, and a line takes 50 µs."""

MAX_COUNT = 2**53
"""Prometheus carries counts as doubles, which are exact up to here."""

# The first name that is there counts: versions that rename a metric show both for a while, and both are the same
# number. Sources: vLLM "Production Metrics", llama.cpp tools/server README "GET /metrics".
RUNNING = ("vllm_num_requests_running", "llamacpp_requests_processing")
WAITING = ("vllm_num_requests_waiting", "llamacpp_requests_deferred")
KV_CACHE_USAGE = ("vllm_kv_cache_usage_perc", "vllm_gpu_cache_usage_perc", "llamacpp_kv_cache_usage_ratio")
_NAMES = "|".join(name.replace("_", "[:_]", 1) for name in (*RUNNING, *WAITING, *KV_CACHE_USAGE))
_WANTED = re.compile(rf"^({_NAMES})(?:_total)?[ \t{{].*$", re.MULTILINE)
"""A line with one of these, whatever differs between versions: ``_total``, and ``:`` or ``_``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLoad:
    """One look at a server, all its engines together; requests of other clients are in it.

    ``running`` are answered now and ``waiting`` stand in the server's own line. ``kv_cache_usage`` is 0 to 1, the
    mean of the engines; ``None`` where the server does not say it.
    """

    running: int
    waiting: int
    kv_cache_usage: float | None = None


def parse_load(text: str) -> ServerLoad | None:
    """Read a page of metrics in Prometheus' text format; ``None`` where it does not say how busy the server is.

    Lines that cannot be read are passed over: one odd metric must not hide the others.
    """
    found: dict[str, list[float]] = {}
    # Most lines are buckets of histograms. The parser, which takes 50 ms for four engines, sees the others only.
    for line in islice(_WANTED.finditer(text), MOST_LINES):
        value = _value(line[0])
        if value is not None:
            found.setdefault(line[1].replace(":", "_"), []).append(value)
    running, waiting = _total(found, RUNNING), _total(found, WAITING)
    if running is None or waiting is None:
        return None
    usage = _first(found, KV_CACHE_USAGE)
    return ServerLoad(
        running=running,
        waiting=waiting,
        kv_cache_usage=None if usage is None else min(1.0, sum(usage) / len(usage)),
    )


def _value(line: str) -> float | None:
    from prometheus_client.parser import text_string_to_metric_families  # not on the way to the first window

    try:
        samples = [s for family in text_string_to_metric_families(line) for s in family.samples]
    except (ValueError, KeyError, IndexError):
        return None
    if len(samples) != 1:
        return None
    value = float(samples[0].value)
    return value if math.isfinite(value) and 0 <= value <= MAX_COUNT else None


def _first(found: dict[str, list[float]], names: tuple[str, ...]) -> list[float] | None:
    return next((found[name] for name in names if name in found), None)


def _total(found: dict[str, list[float]], names: tuple[str, ...]) -> int | None:
    values = _first(found, names)
    return None if values is None else round(sum(values))


class LoadPoller:
    """Asks the server at ``base_url`` (which ends in ``/v1``) for its load, every ``interval_s`` seconds.

    It asks only while ``ready`` says so. ``on_load`` hears every answer, and ``None`` when there is none. A whole
    question takes ``timeout_s`` at most. ``absent_interval_s`` is for a server without metrics. All methods
    belong to one event loop.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        interval_s: float = 2.0,
        *,
        timeout_s: float = 2.0,
        absent_interval_s: float = ABSENT_INTERVAL_S,
        ready: Callable[[], bool] = lambda: True,
        on_load: Callable[[ServerLoad | None], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._url = f"{base_url.rstrip('/').removesuffix('/v1')}/metrics"
        self._api_key = api_key
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._absent_interval_s = absent_interval_s
        self._ready = ready
        self._on_load = on_load
        self._sleep = sleep
        self._latest: ServerLoad | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def latest(self) -> ServerLoad | None:
        """The last answer; ``None`` before the first, and when the server has not answered the last question."""
        return self._latest

    def start(self) -> None:
        """Begin asking, at once and then again and again, until ``stop``."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll_forever(), name="local server's load")

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        self._show(None)

    async def _poll_forever(self) -> None:
        while True:
            try:
                await self._poll_with_a_client()
            except OSError as error:  # the certificates that the environment names can't be read
                log.info("%s can't be asked for its load: %s", self._url, type(error).__name__)
                self._show(None)
                await self._sleep(self._absent_interval_s)

    async def _poll_with_a_client(self) -> None:
        async with open_client(self._url, self._api_key, self._timeout_s) as client:
            while True:
                pause_s = self._interval_s
                if not self._ready():
                    self._show(None)
                elif not await self._poll(client):
                    pause_s = self._absent_interval_s
                await self._sleep(pause_s)

    async def _poll(self, client: httpx2.AsyncClient) -> bool:
        """Ask once; false where the server answered, but has no metrics to show."""
        import httpx2

        load: ServerLoad | None = None
        absent = False
        try:
            async with asyncio.timeout(self._timeout_s):
                page = await self._page(client)
        except (TimeoutError, httpx2.HTTPError) as error:
            log.debug("%s: %r", self._url, error)
        else:
            load = None if page is None else parse_load(page)
            absent = load is None
        self._show(load)
        return not absent

    async def _page(self, client: httpx2.AsyncClient) -> str | None:
        async with client.stream("GET", self._url) as answer:
            if answer.status_code >= 500:
                answer.raise_for_status()  # it may be better soon
            if answer.status_code != 200:
                return None
            page = bytearray()
            async for chunk in answer.aiter_bytes():
                page += chunk
                if len(page) > MAX_METRICS_BYTES:
                    return None
        return page.decode("utf-8", "replace")

    def _show(self, load: ServerLoad | None) -> None:
        if load is None and self._latest is None:
            return
        self._latest = load
        if self._on_load is not None:
            try:
                self._on_load(load)
            except Exception:  # a listener is anybody's code; the next look goes on
                log.exception("a listener for the local server's load failed")
