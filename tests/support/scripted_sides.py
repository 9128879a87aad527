"""A whole core whose two sides answer in this process: everything real but the HTTP. For long and many runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from core.chat import AnswerEnded, ChatRequest, ProviderEvent, Side, TextDelta, Usage, UsageReported
from core.errors import SignalboxError
from core.providers.base import Capabilities, CheckResult, InferenceProvider
from core.router_core import RouterCore
from core.settings import SettingsStore
from tests.support.openai_server import OpenAIServer

Fault = Callable[[ChatRequest], SignalboxError | None]


class ScriptedProvider:
    """Answers each request with four words; ``fault`` may say that one fails instead."""

    capabilities = Capabilities(tools=True, json_schema=True, images=True, context_tokens=200_000)

    def __init__(self, name: str, side: Side, model: str, fault: Fault) -> None:
        self.name, self.side, self.model = name, side, model
        self.answered = 0
        self._fault = fault

    async def stream(
        self, request: ChatRequest, on_sent: Callable[[], None] = lambda: None
    ) -> AsyncIterator[ProviderEvent]:
        on_sent()
        error = self._fault(request)
        if error is not None:
            raise error
        for word in ("It ", "is ", "as ", "asked."):
            yield TextDelta(word)
        size = sum(len(message.text) for message in request.messages)
        yield UsageReported(Usage(fresh_input_tokens=size // 4 + 1, output_tokens=4))
        self.answered += 1
        yield AnswerEnded(self.model, "stop")

    async def count_tokens(self, request: ChatRequest) -> int:
        return sum(len(message.text) for message in request.messages) // 4 + 1

    async def check(self) -> CheckResult:
        return CheckResult(models=(self.model,), latency_ms=0.1)

    async def close(self) -> None:
        """Nothing is open."""


def never(request: ChatRequest) -> SignalboxError | None:
    del request
    return None


@asynccontextmanager
async def scripted_core(
    home: Path, *, local_fault: Fault = never, api_fault: Fault = never, **environment: str
) -> AsyncIterator[RouterCore]:
    """Start a core with a real ledger in ``home``. The local server is only looked at over HTTP, never asked."""
    async with OpenAIServer() as server:
        env = {
            "SIGNALBOX_HOME": str(home),
            "VLLM_BASE_URL": server.base_url,
            "ANTHROPIC_API_KEY": "sk-ant-scripted",
            "SPEND_LIMIT_DOLLARS": "1000000",
        }
        core = RouterCore(SettingsStore(env=env | environment))
        local = ScriptedProvider("vllm-local", "local", "tiny", local_fault)
        api = ScriptedProvider("anthropic", "api", "claude-sonnet-4-6-20260501", api_fault)

        def always(provider: ScriptedProvider) -> Callable[[str | None], object]:
            async def give(model: str | None) -> InferenceProvider:
                del model
                return provider

            return give

        core._local.provider = always(local)  # type: ignore[method-assign]
        core._api.provider = always(api)  # type: ignore[method-assign]
        await core.start()
        try:
            yield core
        finally:
            await core.stop()
