"""What a provider is: a name on a side that streams answers, counts tokens and can be checked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from core.chat import ChatRequest, ProviderEvent, Side
from core.model_list import ListedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a provider's model can do. ``context_tokens`` is input plus output, ``None`` = not known."""

    tools: bool
    json_schema: bool
    images: bool
    context_tokens: int | None
    max_output_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """The outcome of a cheap, unbilled probe. ``latency_ms`` is its round trip.

    ``models`` are the names of all that the server lists, ``listed`` those that can chat with what it says of them.
    ``has_model`` is whether the model in use is there, ``None`` where that was not asked or the server doesn't say.
    """

    models: tuple[str, ...]
    latency_ms: float
    server: str | None = None
    listed: tuple[ListedModel, ...] = ()
    has_model: bool | None = None


class InferenceProvider(Protocol):
    """Adding one is a file and a line in the registry of ``core/providers/__init__.py``.

    ``stream`` yields text, tool call and usage events and ends with one ``AnswerEnded``; it raises only
    ``SignalboxError`` (and ``asyncio.CancelledError``, after closing the upstream connection). It never
    retries what failed: that is the router's job. What a server refused for one of its optional parts, unread and
    unpaid, is sent without that part (``concessions``). ``on_sent`` is called before the first byte of the request
    leaves: where it was not called, nothing can have been billed.
    """

    @property
    def name(self) -> str: ...

    @property
    def side(self) -> Side: ...

    @property
    def model(self) -> str | None: ...

    @property
    def capabilities(self) -> Capabilities: ...

    def stream(
        self, request: ChatRequest, on_sent: Callable[[], None] | None = None
    ) -> AsyncIterator[ProviderEvent]: ...

    async def count_tokens(self, request: ChatRequest) -> int:
        """Return the exact number of input tokens by the provider's own count."""
        ...

    async def check(self) -> CheckResult:
        """Reach the server without running the model.

        Raises:
            SignalboxError: by kind, when it is not reachable or refuses the key.
        """
        ...

    async def close(self) -> None: ...
