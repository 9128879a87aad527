"""The embedded llama.cpp is killed under load: the API answers and says why, and Local is back once it is ready."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from core.chat import ChatRequest, Failed, Finished, StreamEvent, TextDelta
from core.local.embedded import packaged_model_path
from core.local.server import ServerState
from core.router_core import RouterCore
from core.services.status import CoreStatus
from core.settings import SettingsStore
from tests.support.anthropic_server import AnthropicServer
from tests.support.two_sides import KEY

pytestmark = [
    pytest.mark.real,
    pytest.mark.xdist_group("llama"),
    pytest.mark.timeout(180),
    pytest.mark.skipif(packaged_model_path() is None, reason="the packaged model is not installed"),
]


async def until(core: RouterCore, wanted: Callable[[ServerState], bool]) -> CoreStatus:
    """Wait for a state of the local server: the test's own timeout is the limit."""
    seen: asyncio.Queue[None] = asyncio.Queue()
    unsubscribe = core.subscribe(lambda status: seen.put_nowait(None))
    try:
        while not wanted((status := await core.status()).local):
            await seen.get()
    finally:
        unsubscribe()
    return status


async def under_load(core: RouterCore, begun: asyncio.Event) -> StreamEvent:
    """Ask for a long answer, tell of its first words, and return how it ended."""
    end: StreamEvent | None = None
    async for event in core.stream(ChatRequest.from_prompt("Tell me a long story.", max_tokens=2000)):
        if isinstance(event, TextDelta):
            begun.set()
        end = event
    assert end is not None
    return end


async def test_killed_under_load_the_api_takes_over_and_local_comes_back(home: Path) -> None:
    async with AnthropicServer() as api:
        env = {
            "SIGNALBOX_HOME": str(home),
            "LOCAL_SERVER": "embedded",
            "ANTHROPIC_BASE_URL": api.url,
            "ANTHROPIC_API_KEY": KEY,
            "GPU_SAMPLES_PER_SECOND": "10",
            "ALERT_AFTER_S": "0",
        }
        core = RouterCore(SettingsStore(env=env), local_start="eager")
        await core.start()
        try:
            await core.start_local()
            assert (await core.ask("hi", max_tokens=4)).side == "local"
            alerted = asyncio.Event()
            core.machine.subscribe_alerts(lambda alerts: alerted.set() if alerts else None)

            begun = asyncio.Event()
            load = [asyncio.create_task(under_load(core, begun)) for _ in range(3)]
            await begun.wait()
            pid = (await core.status()).local.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(core, lambda state: state.crash is not None)
            meanwhile = await core.ask("hi", max_tokens=4)
            ready = (await core.status()).local.phase == "ready"
            assert ready or meanwhile.side == "api", "it may be back already, since the model is small"
            if meanwhile.side == "api":
                assert meanwhile.decision.reason.startswith("Local unavailable: ")
            for end in await asyncio.gather(*load):
                assert isinstance(end, Finished | Failed)
            await until(core, lambda state: state.phase == "ready")
            assert (await core.ask("hi", max_tokens=4)).side == "local", "back by itself"

            # A second crash so soon is not followed by a restart: from then on the API, until somebody starts it.
            pid = (await core.status()).local.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(core, lambda state: state.phase == "failed")
            results = [await core.ask(f"hi {number}", max_tokens=4) for number in range(3)]
            assert {result.side for result in results} == {"api"}
            assert all(
                result.decision.reason.startswith("Local unavailable: it failed") for result in results
            )
            await alerted.wait()
            (alert,) = core.machine.alerts()
            assert (alert.kind, alert.action) == ("server_failed", "start")
            await core.start_local()
            assert (await core.ask("hi", max_tokens=4)).side == "local"
            kinds = [event.kind for event in (await core.machine.history(600)).events]
            assert kinds.count("crash") >= 2
            assert {"start", "ready", "alert"} <= set(kinds)
        finally:
            await core.stop()
