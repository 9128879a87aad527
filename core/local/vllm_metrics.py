"""What a local server says of its own load and speed: vLLM's ``/metrics``, and llama.cpp's where it has them.

Other programs may use the same server, so only it knows how full it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from core.base.net import open_client
from core.local.metrics_page import MetricsPage, fetch_page, wanted_names

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger(__name__)

T = TypeVar("T")

ABSENT_INTERVAL_S = 300.0
"""How often a server that has no ``/metrics`` is asked whether it has them now."""

MOST_LINES = 1_000
"""As many of the lines that are wanted are read: each engine has a dozen, and a line takes 50 µs."""

# The first name that is there counts: versions that rename a metric show both for a while, and both are the same
# number. Sources: vLLM "Production Metrics", llama.cpp tools/server README "GET /metrics".
RUNNING = ("vllm_num_requests_running", "llamacpp_requests_processing")
WAITING = ("vllm_num_requests_waiting", "llamacpp_requests_deferred")
KV_CACHE_USAGE = ("vllm_kv_cache_usage_perc", "vllm_gpu_cache_usage_perc", "llamacpp_kv_cache_usage_ratio")
PROMPT_TOKENS = ("vllm_prompt_tokens", "llamacpp_prompt_tokens")
GENERATED_TOKENS = ("vllm_generation_tokens", "llamacpp_tokens_predicted")
PREFIX_HITS = ("vllm_prefix_cache_hits", "vllm_gpu_prefix_cache_hits")
PREFIX_QUERIES = ("vllm_prefix_cache_queries", "vllm_gpu_prefix_cache_queries")
TTFT_SUM = ("vllm_time_to_first_token_seconds_sum",)
TTFT_COUNT = ("vllm_time_to_first_token_seconds_count",)
PROMPT_SECONDS = ("llamacpp_prompt_seconds",)
GENERATED_SECONDS = ("llamacpp_tokens_predicted_seconds",)
"""llama.cpp counts a prompt and an answer when they end, with the seconds they took."""
CACHED_TOKENS = ("llamacpp_prompt_tokens_cached",)
"""llama.cpp's: those of a prompt that it need not read again, which are not among its prompt tokens."""
DECODES = ("llamacpp_n_decode",)
"""llama.cpp's steps: each makes a token for every request that is answered then."""
_WANTED = wanted_names(
    *RUNNING,
    *WAITING,
    *KV_CACHE_USAGE,
    *PROMPT_TOKENS,
    *GENERATED_TOKENS,
    *PREFIX_HITS,
    *PREFIX_QUERIES,
    *TTFT_SUM,
    *TTFT_COUNT,
    *PROMPT_SECONDS,
    *GENERATED_SECONDS,
    *CACHED_TOKENS,
    *DECODES,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLoad:
    """One look at a server, all its engines together; requests of other clients are in it.

    ``running`` are answered now and ``waiting`` stand in the server's own line. ``kv_cache_usage`` is 0 to 1, the
    mean of the engines; ``None`` where the server does not say it.
    """

    running: int
    waiting: int
    kv_cache_usage: float | None = None


def parse_page(text: str) -> MetricsPage:
    """Read what is wanted of a server's page of metrics."""
    return MetricsPage(text, _WANTED, most_lines=MOST_LINES)


def parse_load(page: MetricsPage) -> ServerLoad | None:
    """Return the load of a page of metrics; ``None`` where it does not say how busy the server is."""
    running, waiting = _total(page, RUNNING), _total(page, WAITING)
    if running is None or waiting is None:
        return None
    usage = page.first(KV_CACHE_USAGE)
    return ServerLoad(
        running=running,
        waiting=waiting,
        kv_cache_usage=None if usage is None else min(1.0, sum(usage.values()) / len(usage)),
    )


def _total(page: MetricsPage, names: tuple[str, ...]) -> int | None:
    values = page.first(names)
    return None if values is None else round(sum(values.values()))


class LoadPoller:
    """Asks the server at ``base_url`` (which ends in ``/v1``) for its load, every ``interval_s`` seconds.

    It asks only while ``ready`` says so. ``on_load`` hears every answer, and ``None`` when there is none, as
    ``on_page`` hears every page. A whole question takes ``timeout_s`` at most. ``absent_interval_s`` is for a
    server without metrics. All methods belong to one event loop.
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
        on_page: Callable[[MetricsPage | None], None] = lambda page: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._url = f"{base_url.rstrip('/').removesuffix('/v1')}/metrics"
        self._api_key = api_key
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._absent_interval_s = absent_interval_s
        self._ready = ready
        self._on_load = on_load
        self._on_page = on_page
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
        self._tell(self._on_page, None)

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
                    self._tell(self._on_page, None)
                elif not await self._poll(client):
                    pause_s = self._absent_interval_s
                await self._sleep(pause_s)

    async def _poll(self, client: httpx2.AsyncClient) -> bool:
        """Ask once; false where the server answered, but has no metrics to show."""
        import httpx2

        load: ServerLoad | None = None
        absent = False
        page: MetricsPage | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                text = await fetch_page(client, self._url)
        except (TimeoutError, httpx2.HTTPError) as error:
            log.debug("%s: %r", self._url, error)
        else:
            page = None if text is None else parse_page(text)
            load = None if page is None else parse_load(page)
            absent = load is None
        self._show(load)
        self._tell(self._on_page, None if absent else page)
        return not absent

    def _show(self, load: ServerLoad | None) -> None:
        if load is None and self._latest is None:
            return
        self._latest = load
        if self._on_load is not None:
            self._tell(self._on_load, load)

    def _tell(self, listener: Callable[[T], None], news: T) -> None:
        try:
            listener(news)
        except Exception:  # a listener is anybody's code; the next look goes on
            log.exception("a listener for the local server's load failed")
