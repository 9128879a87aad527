"""A whole core between two scripted servers: vLLM's wire on the local side, Anthropic's on the API side."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from core.chat import ChatRequest, StreamEvent
from core.router_core import RouterCore
from core.settings import SettingsStore
from tests.support.anthropic_server import AnthropicServer
from tests.support.openai_server import Metrics, OpenAIServer

KEY = "sk-ant-test-0123456789"


class TwoSides:
    """``core`` talks to ``local`` and ``api``. Script them through their ``replies``."""

    def __init__(self, core: RouterCore, local: OpenAIServer, api: AnthropicServer) -> None:
        self.core = core
        self.local = local
        self.api = api

    async def events(self, prompt: str = "hi", **options: object) -> list[StreamEvent]:
        return [event async for event in self.core.stream(ChatRequest.from_prompt(prompt, **options))]


@asynccontextmanager
async def two_sides(
    home: Path,
    *,
    key: str | None = KEY,
    local_up: bool = True,
    local_metrics: Metrics | None = None,
    **environment: str,
) -> AsyncIterator[TwoSides]:
    """Start both servers and a core whose environment points at them; ``environment`` adds settings.

    Nothing is sent twice to the same side unless ``MAX_RETRIES`` says so.
    """
    local, api = OpenAIServer(), AnthropicServer()
    local.metrics = local_metrics
    async with local, api:
        env = {"ANTHROPIC_BASE_URL": api.url, "SIGNALBOX_HOME": str(home), "MAX_RETRIES": "0"}
        env |= {"VLLM_BASE_URL": local.base_url} if local_up else {"LOCAL_SERVER": "none"}
        env |= {"ANTHROPIC_API_KEY": key} if key else {}
        env |= environment
        core = RouterCore(SettingsStore(env=env))
        await core.start()
        try:
            yield TwoSides(core, local, api)
        finally:
            await core.stop()
