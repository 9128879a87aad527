"""The processor time of a streamed answer of 50 tokens through the whole router, with its line in the log.

Processor time of all threads of this process; the servers are processes of their own. The baseline reads the same
bytes from the same server over aiohttp and looks at none of them; both take turns, alone and with 16 in flight.
"""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from core.chat import ChatRequest, Side
from core.router_core import RouterCore
from core.settings import SettingsStore
from core.telemetry.logs import setup_logging
from tests.bench.measure import Figure, median
from tests.bench.quick_server import quick_server

TOKENS = 50
PROMPT = "Explain in two sentences how a signal box sets the points, and why there must be an interlocking."
CROWDS = (1, 16)
BLOCKS, REQUESTS_A_BLOCK, WARM_UP = 5, 64, 64
SIZES, LOG_ROUNDS = (100, 200_000), 30
AIM_MS = 2.5

Work = Callable[[], Awaitable[object]]


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_run(Path(folder)))


async def _run(home: Path) -> list[Figure]:
    setup_logging(home)  # as panel and command line do
    async with quick_server("openai", TOKENS) as local, quick_server("anthropic", TOKENS) as api:
        env = {
            "SIGNALBOX_HOME": str(home),
            "VLLM_BASE_URL": f"http://127.0.0.1:{local}/v1",
            "VLLM_MODEL": "tiny",
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{api}",
            "ANTHROPIC_API_KEY": "sk-ant-bench",
            "RUNAWAY_REQUESTS_PER_MINUTE": "0",
            "SPEND_LIMIT_DOLLARS": "1000000",
            "LOCAL_MAX_CONCURRENT": str(max(CROWDS)),
        }
        async with RouterCore(SettingsStore(env=env)) as core, aiohttp.ClientSession() as session:
            figures: list[Figure] = []
            sides: tuple[tuple[Side, Work], ...] = (
                ("local", _openai(session, local)),
                ("api", _anthropic(session, api)),
            )
            for side, bare in sides:
                figures += await _side(core, side, bare)
            return figures + [await _log_line(core, size) for size in SIZES]


async def _side(core: RouterCore, side: Side, bare: Work) -> list[Figure]:
    async def routed() -> None:
        await core.ask(ChatRequest.from_prompt(PROMPT, force=side))

    for work in (routed, bare):
        await _busy_ms(work, WARM_UP, max(CROWDS))
    figures: list[Figure] = []
    for crowd in CROWDS:
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(BLOCKS):
            theirs.append(await _busy_ms(bare, REQUESTS_A_BLOCK, crowd))
            ours.append(await _busy_ms(routed, REQUESTS_A_BLOCK, crowd))
        value, spread = median(ours)
        figures.append(
            Figure(
                name=f"processor time of {TOKENS} tokens, {side}, {crowd} in flight",
                value=value,
                unit="ms",
                aim=AIM_MS,
                baseline=median(theirs)[0],
                baseline_name="aiohttp that reads the bytes",
                spread=spread,
            )
        )
    return figures


async def _busy_ms(work: Work, count: int, crowd: int) -> float:
    """Return the processor time of one of ``count`` pieces of work, ``crowd`` of them at any time."""
    numbers = iter(range(count))

    async def worker() -> None:
        for _ in numbers:
            await work()

    started = time.process_time()
    await asyncio.gather(*(worker() for _ in range(crowd)))
    return (time.process_time() - started) / count * 1000


async def _log_line(core: RouterCore, size: int) -> Figure:
    """What a request's own line in the log adds, by turns with it and without."""
    prompt = (PROMPT * (size // len(PROMPT) + 1))[:size]

    async def routed() -> None:
        await core.ask(ChatRequest.from_prompt(prompt, force="local"))

    extra: list[float] = []
    without: list[float] = []
    for _ in range(LOG_ROUNDS):
        with _no_log():
            without.append(await _busy_ms(routed, 1, 1))
        extra.append(await _busy_ms(routed, 1, 1) - without[-1])
    return Figure(
        name=f"a request's line in the log, {size:,} characters of prompt",
        value=median(extra)[0],
        unit="ms",
        baseline=median(without)[0],
        baseline_name="the request without it",
    )


@contextmanager
def _no_log() -> Generator[None]:
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _openai(session: aiohttp.ClientSession, port: int) -> Work:
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": PROMPT}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return _reader(session, f"http://127.0.0.1:{port}/v1/chat/completions", body)


def _anthropic(session: aiohttp.ClientSession, port: int) -> Work:
    body = {
        "model": "claude-sonnet-4-6",
        "max_tokens": 1024,
        "messages": [{"role": "user", "content": [{"type": "text", "text": PROMPT}]}],
        "stream": True,
    }
    return _reader(session, f"http://127.0.0.1:{port}/v1/messages", body)


def _reader(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> Work:
    data = json.dumps(body).encode()
    headers = {"content-type": "application/json", "anthropic-version": "2023-06-01"}

    async def read() -> None:
        async with session.post(url, data=data, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            async for _chunk in answer.content.iter_any():
                pass

    return read
