"""What the router costs: a decision and its parts, and a request over calling the SDK directly."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from core.chat import ChatRequest, Usage
from core.router_core import RouterCore
from core.routing.complexity import score
from core.settings import SettingsStore
from core.telemetry.logs import setup_logging
from core.telemetry.metrics import Metrics
from core.telemetry.records import RequestRecord
from tests.bench.measure import Figure, median, percentile
from tests.bench.quick_server import quick_server

ROUNDS = 300
PROMPT = "Explain in two sentences how a signal box sets the points, and why there must be an interlocking."


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_run(Path(folder)))


async def _run(home: Path) -> list[Figure]:
    setup_logging(home)  # as panel and command line do: each request has its line
    async with quick_server() as port:
        env = {
            "SIGNALBOX_HOME": str(home),
            "VLLM_BASE_URL": f"http://127.0.0.1:{port}/v1",
            "VLLM_MODEL": "tiny",
            "ANTHROPIC_API_KEY": "sk-ant-bench",
            "RUNAWAY_REQUESTS_PER_MINUTE": "0",
        }
        async with RouterCore(SettingsStore(env=env)) as core:
            await core.ask("warm up")
            return [
                *await _decision(core),
                _score(),
                _counting(),
                *await _overhead(core, f"http://127.0.0.1:{port}/v1"),
            ]


async def _decision(core: RouterCore) -> list[Figure]:
    decider = await core.decider()
    request = ChatRequest.from_prompt(PROMPT)
    times: list[float] = []
    loads: list[float] = []
    busy: list[float] = []
    busy_loads: list[float] = []
    text = json.dumps({"prompt": PROMPT, "options": list(range(200))})
    for _ in range(40):
        start, started_busy = time.perf_counter(), time.thread_time()
        for _ in range(200):
            decider(request)
        busy.append((time.thread_time() - started_busy) / 200 * 1e6)
        times.append((time.perf_counter() - start) / 200 * 1e6)
        start, started_busy = time.perf_counter(), time.thread_time()
        for _ in range(200):
            json.loads(text)
        busy_loads.append((time.thread_time() - started_busy) / 200 * 1e6)
        loads.append((time.perf_counter() - start) / 200 * 1e6)
    value, spread = median(times)
    busy_value, busy_spread = median(busy)
    baseline_name = "json.loads of 1 kB"
    return [
        Figure(
            name="decide, with signals and prices, per call",
            value=value,
            unit="µs",
            aim=30,
            baseline=median(loads)[0],
            baseline_name=baseline_name,
            spread=spread,
        ),
        Figure(
            name="the same in processor time",
            value=busy_value,
            unit="µs",
            baseline=median(busy_loads)[0],
            baseline_name=baseline_name,
            spread=busy_spread,
        ),
    ]


def _score() -> Figure:
    return Figure(
        name="complexity score of that prompt", value=_microseconds(lambda: score(PROMPT)), unit="µs"
    )


def _counting() -> Figure:
    """A request's end in the metrics, with everything that can be counted."""
    record = RequestRecord(
        correlation_id="bench",
        status="done",
        side="api",
        provider="anthropic",
        model="claude-sonnet-4-6",
        served_model="claude-sonnet-4-6-20260501",
        rule="complex",
        usage=Usage(
            fresh_input_tokens=9,
            cache_read_tokens=9,
            cache_write_5m_tokens=9,
            cache_write_1h_tokens=9,
            output_tokens=9,
        ),
        cost_nanodollars=1,
        latency_ms=900.0,
        ttft_ms=200.0,
        queued_ms=5.0,
        wait_reasons=("rate",),
        fell_back_from="local",
        retries=1,
    )
    metrics = Metrics()
    took = _microseconds(lambda: metrics.request_finished(record))
    return Figure(name="a request counted in the metrics", value=took, unit="µs", aim=30)


def _microseconds(work: Callable[[], object]) -> float:
    """Return the median time of a call."""
    times: list[float] = []
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(500):
            work()
        times.append((time.perf_counter() - start) / 500 * 1e6)
    return median(times)[0]


async def _overhead(core: RouterCore, base_url: str) -> list[Figure]:
    """Alternate routed and direct requests, so that both see the same machine.

    Processor time, of all threads, says what the work costs; it does not wait for others who use the machine.
    """
    from openai import AsyncOpenAI

    direct: list[float] = []
    routed: list[float] = []
    busy: list[tuple[float, float]] = []
    async with AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        for _ in range(ROUNDS):
            started_busy = time.process_time()
            start = time.perf_counter()
            stream = await client.chat.completions.create(
                model="tiny",
                messages=[{"role": "user", "content": PROMPT}],
                max_tokens=1024,
                stream=True,
                stream_options={"include_usage": True},
            )
            async for _chunk in stream:
                pass
            direct.append((time.perf_counter() - start) * 1000)
            between_busy = time.process_time()
            start = time.perf_counter()
            await core.ask(PROMPT)
            routed.append((time.perf_counter() - start) * 1000)
            ended_busy = time.process_time()
            busy.append(((between_busy - started_busy) * 1000, (ended_busy - between_busy) * 1000))
    extra = [r - d for r, d in zip(routed, direct, strict=True)]
    return [
        Figure(
            name="router's own overhead a request (median of pairs)",
            value=median(extra)[0],
            unit="ms",
            aim=1,
            baseline=median(direct)[0],
            baseline_name="the SDK alone",
            spread=(percentile(extra, 0.05), percentile(extra, 0.95)),
        ),
        Figure(
            name="the same in processor time",
            value=median([with_router - alone for alone, with_router in busy])[0],
            unit="ms",
            baseline=median([alone for alone, _ in busy])[0],
            baseline_name="the SDK alone",
        ),
    ]
