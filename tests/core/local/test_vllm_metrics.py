"""Reading a server's load: the names of several versions, odd pages, and a poller that never hangs."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.local.metrics_page import MAX_METRICS_BYTES
from core.local.vllm_metrics import (
    ABSENT_INTERVAL_S,
    MOST_LINES,
    LoadPoller,
    ServerLoad,
    parse_page,
)
from core.local.vllm_metrics import parse_load as load_of
from tests.support.openai_server import Metrics, OpenAIServer
from tests.support.wire_server import Refuses

BUSY = Metrics(running=4, waiting=2, kv_cache_usage=0.5, prefix_hits=300, prefix_queries=1000)
BUSY_LOAD = ServerLoad(running=4, waiting=2, kv_cache_usage=0.5)


def parse_load(text: str) -> ServerLoad | None:
    return load_of(parse_page(text))


def page(**changes: Any) -> str:
    return dataclasses.replace(BUSY, **changes).page("tiny")


@pytest.mark.parametrize("style", ["vllm", "old vllm"])
def test_new_and_old_names_of_vllm(style: str) -> None:
    assert parse_load(page(style=style)) == BUSY_LOAD


def test_a_page_of_nothing_but_engines_is_read_in_bounds() -> None:
    lines = page(engines=1) + 'vllm:num_requests_running{engine="0"} 1\n' * 100_000
    load = parse_load(lines)
    assert load is not None
    assert load.running <= MOST_LINES + 4


def test_the_names_of_llama_cpp() -> None:
    assert parse_load(page(style="llama.cpp")) == ServerLoad(running=4, waiting=2)


def test_several_engines_are_one_server() -> None:
    load = parse_load(page(engines=3))
    assert load == ServerLoad(running=12, waiting=6, kv_cache_usage=0.5)


def test_a_version_that_shows_both_names_is_not_counted_twice() -> None:
    assert parse_load(page() + page(style="old vllm").replace("vllm:num_", "other:num_")) == BUSY_LOAD


def test_names_with_underscores_instead_of_colons() -> None:
    """Some gateways in front of vLLM rewrite them."""
    assert parse_load(page().replace("vllm:", "vllm_")) == BUSY_LOAD


def test_a_metric_with_almost_the_same_name_is_another_one() -> None:
    by_reason = 'vllm:num_requests_waiting_by_reason{reason="capacity"} 50\nvllm:num_requests_waiting_max 9\n'
    assert parse_load(page() + by_reason) == BUSY_LOAD


@pytest.mark.parametrize("missing", ["num_requests_running", "num_requests_waiting"])
def test_without_the_two_counts_nothing_is_known(missing: str) -> None:
    assert parse_load(page().replace(missing, "renamed")) is None


def test_what_is_not_said_is_unknown_and_not_zero() -> None:
    load = parse_load(page().replace("kv_cache_usage_perc", "renamed"))
    assert load == dataclasses.replace(BUSY_LOAD, kv_cache_usage=None)


@pytest.mark.parametrize("odd", ["nan", "-1", "+Inf", "1e300", "four", "", '"4"'])
def test_a_number_that_is_none_is_not_read(odd: str) -> None:
    line = 'vllm:num_requests_running{engine="0",model_name="tiny"} 4.0'
    assert line in page()
    assert parse_load(page().replace(line, line.replace("4.0", odd))) is None


def test_lines_that_are_torn_do_not_hide_the_others() -> None:
    torn = 'vllm:prefix_cache_hits_total{engine="0\nvllm:kv_cache_usage_perc{\nvllm\nvllm:\n}{\n\x00\n'
    assert parse_load(torn + page()) == BUSY_LOAD


def test_windows_line_ends_timestamps_and_labels_with_anything_in_them() -> None:
    label = r'model_name="a\"b } 7 \\ {x"'
    text = (
        f"vllm:num_requests_running{{{label}}} 4 1700000000000\r\n"
        f"vllm:num_requests_waiting{{{label}}}   2e0\r\n"
    )
    assert parse_load(text) == ServerLoad(running=4, waiting=2)


def test_a_page_of_something_else() -> None:
    assert parse_load("") is None
    assert parse_load("<html><body>vllm:num_requests_running 4</body></html>") is None


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    parse_load(text)


NAMES = st.sampled_from(
    [
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
        "vllm:prefix_cache_hits_total",
        "llamacpp:requests_deferred",
    ]
)
LINES = st.tuples(
    NAMES, st.text('{}="\\, \tle', max_size=6), st.text("0123456789.eE+-naif ", max_size=6)
).map("".join)


@given(st.lists(LINES | st.text(max_size=10)).map("\n".join))
def test_no_line_breaks_it_and_no_number_is_negative(text: str) -> None:
    load = parse_load(text)
    if load is not None:
        assert load.running >= 0
        assert load.waiting >= 0
        assert load.kv_cache_usage is None or 0 <= load.kv_cache_usage <= 1


@given(
    running=st.integers(0, 10**6),
    waiting=st.integers(0, 10**6),
    engines=st.integers(1, 4),
    junk=st.text(max_size=40),
)
def test_whatever_stands_around_them_the_counts_are_read(
    running: int, waiting: int, engines: int, junk: str
) -> None:
    text = f"{junk}\n{page(running=running, waiting=waiting, engines=engines)}"
    load = parse_load(text)
    assert load is not None
    # Junk that is itself a sample of ours is not made up of 40 random characters.
    assert (load.running, load.waiting) == (running * engines, waiting * engines)


# -- the poller ----------------------------------------------------------------------------------------------


class Pace:
    """The poller's ``sleep``: it goes on when the test says so, and the test sees how long it meant to sleep."""

    def __init__(self) -> None:
        self._pauses: asyncio.Queue[float] = asyncio.Queue()
        self._go = asyncio.Semaphore(0)

    async def __call__(self, seconds: float) -> None:
        self._pauses.put_nowait(seconds)
        await self._go.acquire()

    async def pause_s(self) -> float:
        """Wait until the poller has looked, and return how long it sleeps then."""
        async with asyncio.timeout(20):
            return await self._pauses.get()

    async def next_pause_s(self) -> float:
        """Let it look again, and return how long it sleeps then."""
        self._go.release()
        return await self.pause_s()


@asynccontextmanager
async def polling(
    server: OpenAIServer, key: str | None = None, **options: Any
) -> AsyncIterator[tuple[LoadPoller, Pace]]:
    pace = Pace()
    poller = LoadPoller(server.base_url, key, 2.0, sleep=pace, **options)
    poller.start()
    try:
        yield poller, pace
    finally:
        await poller.stop()
    assert poller.latest is None


async def test_it_asks_beside_the_base_address_again_and_again() -> None:
    async with OpenAIServer() as server:
        server.metrics = dataclasses.replace(BUSY)
        async with polling(server) as (poller, pace):
            assert await pace.pause_s() == 2.0
            assert poller.latest == BUSY_LOAD
            server.metrics.running = 9
            await pace.next_pause_s()
            assert poller.latest == dataclasses.replace(BUSY_LOAD, running=9)
    assert [received.path for received in server.metrics_asked] == ["/metrics"] * 2


async def test_it_sends_the_key() -> None:
    async with OpenAIServer(api_key="secret") as server:
        server.metrics = BUSY
        async with polling(server, "secret") as (poller, pace):
            await pace.pause_s()
            assert poller.latest == BUSY_LOAD


@pytest.mark.parametrize(
    "shown",
    [
        None,
        "<html>no metrics here</html>",
        "",
        Refuses(status=401, body={}),
        BUSY.page("tiny") + "x" * MAX_METRICS_BYTES,  # without an end
    ],
    ids=["404", "another page", "nothing", "401", "too long"],
)
async def test_a_server_without_metrics_is_asked_rarely(shown: str | Refuses | None) -> None:
    async with OpenAIServer() as server:
        server.metrics = shown
        async with polling(server, timeout_s=20) as (poller, pace):
            assert await pace.pause_s() == ABSENT_INTERVAL_S
            assert poller.latest is None
            server.metrics = BUSY  # it was started anew, with metrics
            assert await pace.next_pause_s() == 2.0
            assert poller.latest == BUSY_LOAD


async def test_trouble_at_the_server_is_told_once_and_it_is_asked_again_soon() -> None:
    heard: list[ServerLoad | None] = []
    async with OpenAIServer() as server:
        server.metrics = BUSY
        async with polling(server, on_load=heard.append) as (poller, pace):
            await pace.pause_s()
            server.metrics = Refuses(status=503, body={})
            for _ in range(3):
                assert await pace.next_pause_s() == 2.0
            assert poller.latest is None
            server.metrics = BUSY
            await pace.next_pause_s()
    assert heard == [BUSY_LOAD, None, BUSY_LOAD, None]


async def test_a_server_that_does_not_answer_is_not_waited_for() -> None:
    async with OpenAIServer() as server:
        server.metrics = BUSY
        async with polling(server, timeout_s=0.2) as (poller, pace):
            await pace.pause_s()
            server.metrics_hold = True
            assert await pace.next_pause_s() == 2.0
            assert poller.latest is None


async def test_a_server_that_is_gone_is_found_again() -> None:
    server = OpenAIServer()
    server.metrics = BUSY
    async with server, polling(server) as (poller, pace):
        await pace.pause_s()
        await server.stop()
        assert await pace.next_pause_s() == 2.0
        assert poller.latest is None
        async with server:
            await pace.next_pause_s()
            assert poller.latest == BUSY_LOAD


async def test_it_asks_only_while_the_server_is_ready() -> None:
    ready = False
    async with OpenAIServer() as server:
        server.metrics = BUSY
        async with polling(server, ready=lambda: ready) as (poller, pace):
            await pace.pause_s()
            assert (server.metrics_asked, poller.latest) == ([], None)
            ready = True
            await pace.next_pause_s()
            assert poller.latest == BUSY_LOAD
            ready = False
            await pace.next_pause_s()
            assert poller.latest is None
            assert len(server.metrics_asked) == 1


async def test_a_listener_that_fails_does_not_end_the_looks() -> None:
    def broken(load: ServerLoad | None) -> None:
        raise ValueError("broken")

    async with OpenAIServer() as server:
        server.metrics = BUSY
        async with polling(server, on_load=broken) as (poller, pace):
            await pace.pause_s()
            await pace.next_pause_s()
            assert poller.latest == BUSY_LOAD


async def test_started_twice_it_asks_once_and_it_can_be_started_again() -> None:
    async with OpenAIServer() as server:
        server.metrics = BUSY
        async with polling(server) as (poller, pace):
            poller.start()
            await pace.pause_s()
            assert len(server.metrics_asked) == 1
            await poller.stop()
            await poller.stop()
            poller.start()
            await pace.pause_s()
            assert poller.latest == BUSY_LOAD


async def test_certificates_that_cannot_be_read_hang_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "no-such.pem")
    pace = Pace()
    poller = LoadPoller("https://127.0.0.1:9/v1", "key-of-the-server", sleep=pace)
    poller.start()
    assert await pace.pause_s() == ABSENT_INTERVAL_S
    assert poller.latest is None
    await poller.stop()
