"""The metered API: Anthropic's Messages API through its own SDK."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from core.chat import ChatRequest, ProviderEvent, Side
from core.errors import AuthenticationFailed, ModelNotFound, Unavailable
from core.model_list import MOST_MODELS, chat_models, count_of, listed_models
from core.providers.anthropic_wire import (
    ClaudeFamily,
    anthropic_payload,
    claude_family,
    count_arguments,
)
from core.providers.base import Capabilities, CheckResult
from core.providers.concessions import OF_ANTHROPIC, Negotiation, ServerManners
from core.providers.errors import Endpoint, told_as_failure
from core.providers.http import (
    API_KEEPALIVE_S,
    CONNECT_TIMEOUT_S,
    STREAM_TIMEOUT_S,
    call_timeout,
    forget_environment_headers,
    open_http_client,
    open_stream,
    tracing_headers,
)
from core.providers.usage import NOT_COUNTED_HINT, as_mapping, token_count
from core.providers.wire_text import wire_safe
from core.telemetry.logs import keep_requests_out_of_the_log_of

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

MODELS_A_PAGE = 1_000
DEFAULT_BASE_URL = "https://api.anthropic.com"


class AnthropicProvider:
    """Streams answers of Claude models.

    ``base_url`` of ``None`` is Anthropic's own address; one that ends in ``/v1`` works too. ``timeout_s`` is the
    longest silence on the wire, in seconds; pings count as signs of life, since a model may think for minutes, and
    come as ``OutputProgress(0)``. ``connect_timeout_s`` is how long connecting may take.
    A request that names a Claude model as its hint is served by that model, any other by ``model``.
    ``most_output_tokens`` says how long an answer of a model may be where that is less than the model can: no
    longer one than was held for is ever asked of it.
    """

    name = "anthropic"
    side: Side = "api"

    def __init__(
        self,
        api_key: str,
        base_url: str | None,
        model: str,
        *,
        timeout_s: float = STREAM_TIMEOUT_S,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        most_output_tokens: Callable[[str], int | None] = lambda model: None,
    ) -> None:
        self._most_output_tokens = most_output_tokens
        url = (base_url or DEFAULT_BASE_URL).rstrip("/")
        self._key = api_key.strip()
        self._model = model
        self._endpoint = Endpoint(
            who="Anthropic",
            side="api",
            base_url=url.removesuffix("/v1"),
            key_setting="ANTHROPIC_API_KEY",
            url_setting="ANTHROPIC_BASE_URL",
            model_setting="ANTHROPIC_MODEL",
            timeout_s=timeout_s,
            connect_timeout_s=connect_timeout_s,
            secret=self._key or None,
        )
        self._client: AsyncAnthropic | None = None
        self._manners = ServerManners()
        self._limits: dict[str, tuple[int | None, int | None]] = {}

    @property
    def model(self) -> str:
        return self._model

    @property
    def capabilities(self) -> Capabilities:
        family = claude_family(self._model)
        context_tokens, max_output_tokens = self._limits_of(self._model, family)
        return Capabilities(
            tools=True,
            json_schema=family.takes_json_schema,
            images=True,
            context_tokens=context_tokens,
            max_output_tokens=max_output_tokens,
        )

    async def stream(
        self, request: ChatRequest, on_sent: Callable[[], None] | None = None
    ) -> AsyncIterator[ProviderEvent]:
        """Stream one answer; see ``InferenceProvider``.

        Usage is reported with the first event (the input is billed from there on) and again at the end.
        """
        request, repaired = wire_safe(request)
        client = await self._open()
        model = self._model_for(request)
        family = claude_family(model)
        with told_as_failure(self._endpoint):
            from anthropic import transform_schema

            from core.providers.anthropic_stream import AnthropicReader
            from core.providers.sse import AnswerStream

            payload = anthropic_payload(
                request,
                model,
                family,
                max_output_tokens=self._longest_answer(model, family),
                adapt_schema=transform_schema,
            )
            negotiation = Negotiation(payload.body, OF_ANTHROPIC, self._manners.of(model))
            headers = tracing_headers(request)
            send = partial(open_stream, client, "/v1/messages", headers=headers, on_sent=on_sent)
            response = await negotiation.taken(send)
        self._manners.learn(model, negotiation.concessions)
        reader = AnthropicReader(model, self._endpoint)
        async with AnswerStream(
            response, reader, self._endpoint, max_tokens=payload.body["max_tokens"]
        ) as answer:
            while events := await answer.read():
                for event in events:
                    yield event
        yield reader.end((*payload.dropped, *negotiation.dropped(), *repaired))

    async def count_tokens(self, request: ChatRequest) -> int:
        """Return the input's exact token count (a free call with its own rate limit).

        Raises:
            SignalboxError: by kind; ``Unavailable`` where the answer is no count above 0.
        """
        request, _ = wire_safe(request)
        client = await self._open()
        model = self._model_for(request)
        timeout, endpoint = call_timeout(self._endpoint)
        with told_as_failure(endpoint):
            from anthropic import transform_schema

            arguments = count_arguments(request, model, claude_family(model), adapt_schema=transform_schema)
            counted = await client.messages.count_tokens(
                **arguments, extra_headers=tracing_headers(request), timeout=timeout
            )
        tokens = token_count(counted.input_tokens)
        if not tokens:
            raise Unavailable(f"{self._endpoint.who} did not count the tokens.", hint=NOT_COUNTED_HINT)
        return tokens

    async def check(self) -> CheckResult:
        """List the models with this key, and learn their true limits; see ``InferenceProvider``."""
        client = await self._open()
        timeout, endpoint = call_timeout(self._endpoint)
        began = time.perf_counter()
        latency_ms = 0.0
        models: dict[str, dict[str, Any]] = {}
        after = ""
        while len(models) < MOST_MODELS:
            with told_as_failure(endpoint):
                # The SDK's own call makes a typed model of each entry, of which a server may send millions.
                page = await client.get(
                    f"/v1/models?limit={MODELS_A_PAGE}{after}", cast_to=object, options={"timeout": timeout}
                )
            latency_ms = latency_ms or (time.perf_counter() - began) * 1000
            found = listed_models(page)
            if found is None:
                raise Unavailable(
                    f"{endpoint.shown_url} gives no list of models.",
                    hint=f"Something else may be listening there: check {endpoint.url_setting} in Preferences.",
                )
            is_new = bool(found.keys() - models.keys())
            models |= found
            last = _next_after(page)
            if (
                last is None or not is_new
            ):  # a server that tells of more and sends none would be asked for ever
                break
            after = f"&after_id={quote(last, safe='')}"
        for name, card in models.items():
            self._limits[name] = (count_of(card.get("max_input_tokens")), count_of(card.get("max_tokens")))
        return CheckResult(
            models=tuple(models), latency_ms=latency_ms, listed=chat_models(models, self._model)
        )

    async def find_model(self, model: str) -> bool:
        """Return whether there is a model of this name; unlike the list, this knows names without a date too.

        Raises:
            SignalboxError: by kind; ``Unavailable`` also where the server has no such question.
        """
        client = await self._open()
        timeout, endpoint = call_timeout(self._endpoint)
        try:
            with told_as_failure(endpoint):
                found: object = await client.get(
                    f"/v1/models/{quote(model, safe='')}", cast_to=object, options={"timeout": timeout}
                )
        except ModelNotFound:
            return False
        if not isinstance(found, dict) or "id" not in found:
            raise Unavailable(f"{endpoint.shown_url} says nothing of single models.", hint="")
        return True

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _model_for(self, request: ChatRequest) -> str:
        hint = request.model or ""
        return hint if hint.startswith("claude") else self._model

    def _limits_of(self, model: str, family: ClaudeFamily) -> tuple[int | None, int | None]:
        context_tokens, max_output_tokens = self._limits.get(model, (None, None))
        return context_tokens or family.context_tokens, max_output_tokens or family.max_output_tokens

    def _longest_answer(self, model: str, family: ClaudeFamily) -> int | None:
        limits = (self._limits_of(model, family)[1], self._most_output_tokens(model))
        return min((limit for limit in limits if limit is not None), default=None)

    async def _open(self) -> AsyncAnthropic:
        if not self._key:
            raise AuthenticationFailed(
                "There is no Anthropic API key.",
                hint="Add one in Preferences, or set ANTHROPIC_API_KEY.",
                missing=True,
            )
        if not (self._key.isascii() and self._key.isprintable() and " " not in self._key):
            # Caught here, since the transport's own error would quote the key.
            raise AuthenticationFailed(
                "The Anthropic API key holds characters that no key has.",
                hint="Paste it again in Preferences.",
            )
        if self._client is None:
            await asyncio.to_thread(_load_sdk)  # takes a second, in which other streams go on
        if self._client is None:
            with told_as_failure(self._endpoint):
                self._client = self._make_client()
        return self._client

    def _make_client(self) -> AsyncAnthropic:
        from anthropic import AsyncAnthropic

        keep_requests_out_of_the_log_of("anthropic")
        client = AsyncAnthropic(
            api_key=self._key,
            base_url=self._endpoint.base_url,
            max_retries=0,
            open_telemetry=False,
            http_client=open_http_client(
                self._endpoint.base_url,
                timeout_s=self._endpoint.timeout_s,
                connect_timeout_s=self._endpoint.connect_timeout_s,
                keepalive_s=API_KEEPALIVE_S,
            ),
        )
        forget_environment_headers(client)
        return client


def _next_after(page: object) -> str | None:
    """Return the id after which the next page begins, ``None`` behind the last one."""
    fields = as_mapping(page) or {}
    last = fields.get("last_id")
    return last if fields.get("has_more") is True and isinstance(last, str) and last else None


def _load_sdk() -> None:
    import anthropic  # noqa: F401  # pyright: ignore[reportUnusedImport]

    import core.providers.anthropic_stream  # noqa: F401  # pyright: ignore[reportUnusedImport]
