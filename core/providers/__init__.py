"""The providers: each one a file, and a line in the registry below. Importing this imports no SDK."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from core.chat import (
    AnswerEnded,
    ChatRequest,
    FinishReason,
    OutputProgress,
    PromptProgress,
    ProviderEvent,
    Side,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    UsageReported,
)
from core.providers.anthropic import AnthropicProvider
from core.providers.base import Capabilities, CheckResult, InferenceProvider
from core.providers.openai import VLLMProvider

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = [
    "PROVIDERS",
    "Answer",
    "AnswerCollector",
    "AnthropicProvider",
    "Capabilities",
    "CheckResult",
    "InferenceProvider",
    "VLLMProvider",
    "complete",
    "provider_side",
]

PROVIDERS: Mapping[str, type[AnthropicProvider | VLLMProvider]] = {
    "anthropic": AnthropicProvider,
    "vllm-local": VLLMProvider,
    "embedded": VLLMProvider,
}
"""The registry: each provider's name and what serves it."""


def provider_side(name: str) -> Side:
    """Return the side on which a registered provider stands."""
    return PROVIDERS[name].side


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A drained stream. ``usage`` is ``None`` when the server sent none."""

    text: str
    tool_calls: tuple[ToolCall, ...]
    usage: Usage | None
    model: str
    finish_reason: FinishReason
    dropped: tuple[str, ...] = ()


class AnswerCollector:
    """Puts the pieces of a stream together; usable at any point of it, so that a broken answer keeps its part.

    ``hidden_output_bytes`` is what the provider generated beside text and tool calls, such as thinking;
    ``output_uncounted`` is true while a part of it is there whose size is not known.
    """

    def __init__(self) -> None:
        self._text: list[str] = []
        self._calls: dict[int, tuple[str, str, list[str]]] = {}
        self.hidden_output_bytes = 0
        self.output_uncounted = False
        self.usage: Usage | None = None
        self.usage_final = False
        self.usage_doubtful = False
        self.ended: AnswerEnded | None = None

    def add(self, event: ProviderEvent) -> None:
        match event:
            case TextDelta(text):
                self._text.append(text)
            case ToolCallDelta(index, call_id, name, piece):
                call = self._calls.setdefault(index, (call_id or "", name or "", []))
                call[2].append(piece)
            case OutputProgress(hidden_bytes, uncounted):
                self.hidden_output_bytes += hidden_bytes
                self.output_uncounted = uncounted
            case UsageReported(usage, final, doubtful):
                self.usage, self.usage_final, self.usage_doubtful = usage, final, doubtful
            case AnswerEnded():
                self.ended = event
            case PromptProgress():
                pass  # nothing of the answer

    def add_all(self, events: Iterable[ProviderEvent]) -> None:
        for event in events:
            self.add(event)

    @property
    def text(self) -> str:
        return "".join(self._text)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return tuple(
            ToolCall(call_id, name, "".join(pieces))
            for _, (call_id, name, pieces) in sorted(self._calls.items())
        )


async def complete(provider: InferenceProvider, request: ChatRequest) -> Answer:
    """Return the whole answer: a drained ``stream``, so both cost and say the same.

    Raises:
        SignalboxError: by kind; the part that had arrived is lost (read the stream to keep it).
    """
    collector = AnswerCollector()
    events = cast("AsyncGenerator[ProviderEvent, None]", provider.stream(request))
    async with aclosing(events):
        async for event in events:
            collector.add(event)
    ended = collector.ended
    assert ended is not None, "a provider's stream ends with AnswerEnded or raises"
    return Answer(
        text=collector.text,
        tool_calls=collector.tool_calls,
        usage=collector.usage,
        model=ended.model,
        finish_reason=ended.finish_reason,
        dropped=ended.dropped,
    )
