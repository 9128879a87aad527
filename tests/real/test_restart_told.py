"""The embedded server dies under an answer: it is started again, and whoever waits for it is told and served."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from core.chat import ChatRequest, Failed, Finished, PromptProgress, StreamEvent, TextDelta, Waiting
from core.local.embedded import packaged_model_path
from core.router_core import RouterCore
from core.services.status import CoreStatus
from core.settings import SettingsStore

pytestmark = [
    pytest.mark.real,
    pytest.mark.xdist_group("llama"),
    pytest.mark.timeout(180),
    pytest.mark.skipif(packaged_model_path() is None, reason="the packaged model is not installed"),
]
STORY = "Tell me a very long story about a signalman and his levers."
LONG = "Sum this up: " + "The signal stood at danger and the train waited. " * 40


@asynccontextmanager
async def embedded_core(home: Path) -> AsyncIterator[RouterCore]:
    env = {"SIGNALBOX_HOME": str(home), "LOCAL_SERVER": "embedded"}
    core = RouterCore(SettingsStore(env=env), local_start="eager")
    await core.start()
    await core.start_local()
    try:
        yield core
    finally:
        await core.stop()


async def asked(
    core: RouterCore, prompt: str, kill_at: Callable[[StreamEvent], bool], *, max_tokens: int = 300
) -> list[StreamEvent]:
    """Ask Local, and kill its process at the first event for which ``kill_at`` says so."""
    events: list[StreamEvent] = []
    killed = False
    async for event in core.stream(ChatRequest.from_prompt(prompt, force="local", max_tokens=max_tokens)):
        events.append(event)
        if not killed and kill_at(event):
            killed = True
            pid = (await core.status()).local.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
    assert killed
    return events


async def restarted(core: RouterCore) -> CoreStatus:
    async with asyncio.timeout(60):
        while (status := await core.status()).local.phase != "ready":  # noqa: ASYNC110  states have no event here
            await asyncio.sleep(0.05)
    return status


async def test_an_answer_that_the_server_dies_under_says_so_and_keeps_its_text(home: Path) -> None:
    async with embedded_core(home) as core:
        events = await asked(core, STORY, lambda event: isinstance(event, TextDelta))
        end = events[-1]
        assert isinstance(end, Failed)
        assert "The local server ended while answering, and is started again." in str(end.error)
        assert "SIGKILL" in str(end.error)
        assert end.partial is not None
        assert end.partial.text
        status = await restarted(core)
        assert status.local.crash is not None
        assert [item.kind for item in status.problems] == ["local_restarted"]
        await core.restart_local()
        assert not (await core.status()).problems, "who starts it by hand knows"


async def test_a_prompt_that_nothing_came_of_waits_for_the_restart_and_is_sent_again(home: Path) -> None:
    async with embedded_core(home) as core:
        events = await asked(core, LONG, lambda event: isinstance(event, PromptProgress), max_tokens=8)
        end = events[-1]
        assert isinstance(end, Finished)
        assert [step.kind for step in end.result.steps].count("retried") == 1
        waits = [event.reason for event in events if isinstance(event, Waiting)]
        assert "local_start" in waits or "retry" in waits
