"""Helpers of the provider tests: drain a stream, keep what arrived, and the error that ended it."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from core.chat import AnswerEnded, ChatRequest, ProviderEvent, TextDelta, Usage, UsageReported
from core.errors import SignalboxError
from core.providers import AnswerCollector, InferenceProvider


@dataclass
class Drained:
    """Everything a stream gave, and the error it ended with."""

    events: list[ProviderEvent] = field(default_factory=list)
    error: SignalboxError | None = None

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, TextDelta))

    @property
    def usages(self) -> list[Usage]:
        return [event.usage for event in self.events if isinstance(event, UsageReported)]

    @property
    def ended(self) -> AnswerEnded:
        assert self.error is None, self.error
        (ended,) = [event for event in self.events if isinstance(event, AnswerEnded)]
        assert self.events[-1] is ended
        return ended

    @property
    def collector(self) -> AnswerCollector:
        collector = AnswerCollector()
        collector.add_all(self.events)
        return collector


async def drain(provider: InferenceProvider, request: ChatRequest | str, **options: Any) -> Drained:
    """Read a stream to its end; anything but a ``SignalboxError`` propagates and fails the test."""
    if isinstance(request, str):
        request = ChatRequest.from_prompt(request, **options)
    drained = Drained()
    try:
        async with aclosing(provider.stream(request)) as events:  # type: ignore[type-var]
            async for event in events:
                drained.events.append(event)
    except SignalboxError as error:
        drained.error = error
    return drained
