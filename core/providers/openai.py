"""The local side: vLLM, or llama.cpp's server, through OpenAI's SDK."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from core.base.child_process import spare_library_children
from core.chat import ChatRequest, ProviderEvent, Side
from core.errors import Unavailable
from core.model_list import chat_models, context_tokens, first_chat_model, listed_models
from core.providers.base import Capabilities, CheckResult
from core.providers.concessions import OF_OPENAI, Negotiation, ServerManners, adapted_messages
from core.providers.errors import Endpoint, told_as_failure
from core.providers.http import (
    CONNECT_TIMEOUT_S,
    LOCAL_KEEPALIVE_S,
    STREAM_TIMEOUT_S,
    call_timeout,
    forget_environment_headers,
    open_http_client,
    open_stream,
    tracing_headers,
)
from core.providers.openai_wire import chat_messages, chat_tools, openai_body
from core.providers.usage import NOT_COUNTED_HINT, as_mapping, token_count
from core.providers.wire_text import plain_name, wire_safe
from core.telemetry.logs import keep_requests_out_of_the_log_of

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

_NO_KEY = "none"  # the SDK insists on a key; a server without one ignores it
DEFAULT_CAPABILITIES = Capabilities(tools=True, json_schema=True, images=False, context_tokens=None)


class VLLMProvider:
    """Streams answers of a server on the OpenAI wire.

    ``base_url`` ends in ``/v1``. ``model`` of ``None`` is the first of the server's list that can chat, asked for
    at first use.
    ``capabilities`` are what the caller knows of the model; a context length the server states fills a gap in them.
    ``timeout_s`` is the longest silence on the wire, in seconds; it includes reading a long prompt.
    ``connect_timeout_s`` is how long connecting may take.
    """

    side: Side = "local"

    def __init__(
        self,
        base_url: str,
        model: str | None,
        *,
        api_key: str | None = None,
        name: str = "vllm-local",
        capabilities: Capabilities | None = None,
        served: Collection[str] = (),
        timeout_s: float = STREAM_TIMEOUT_S,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self.name = name
        self._model = model
        self._models = frozenset(served)
        self._capabilities = capabilities or DEFAULT_CAPABILITIES
        self._endpoint = Endpoint(
            who="The local server",
            side="local",
            base_url=base_url.rstrip("/"),
            key_setting="VLLM_API_KEY",
            url_setting="VLLM_BASE_URL",
            model_setting="VLLM_MODEL",
            timeout_s=timeout_s,
            connect_timeout_s=connect_timeout_s,
            secret=api_key or None,
        )
        self._client: AsyncOpenAI | None = None
        self._manners = ServerManners()
        self._tells_progress = name == "embedded"
        """Whether it says how far it has read a prompt. Of another server the first answer shows whose it is."""

    @property
    def model(self) -> str | None:
        return self._model

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def stream(
        self, request: ChatRequest, on_sent: Callable[[], None] | None = None
    ) -> AsyncIterator[ProviderEvent]:
        """Stream one answer; see ``InferenceProvider``."""
        request, repaired = wire_safe(request)
        client = await self._open()
        model = await self._model_for(request)
        body, dropped = openai_body(
            request,
            model,
            max_output_tokens=self._capabilities.max_output_tokens,
            wants_progress=self._tells_progress,
        )
        negotiation = Negotiation(body, OF_OPENAI, self._manners.of(model))
        with told_as_failure(self._endpoint):
            from core.providers.openai_stream import OpenAIReader
            from core.providers.sse import AnswerStream

            headers = tracing_headers(request)
            send = partial(open_stream, client, "/chat/completions", headers=headers, on_sent=on_sent)
            response = await negotiation.taken(send)
        self._manners.learn(model, negotiation.concessions)
        self._tells_progress = self._tells_progress or _is_llama(response)
        reader = OpenAIReader(model, self._endpoint)
        async with AnswerStream(response, reader, self._endpoint, max_tokens=body["max_tokens"]) as answer:
            while events := await answer.read():
                for event in events:
                    yield event
        yield reader.end((*dropped, *negotiation.dropped(), *repaired))

    async def count_tokens(self, request: ChatRequest) -> int:
        """Return the input's token count by the server's own tokenizer and chat template.

        vLLM counts a conversation at ``/tokenize``; llama.cpp renders it at ``/apply-template`` first.

        Raises:
            SignalboxError: by kind; ``Unavailable`` for a server that has neither.
        """
        request, _ = wire_safe(request)
        model = await self._model_for(request)
        messages = adapted_messages(chat_messages(request), self._manners.of(model))
        conversation: dict[str, Any] = {"model": model, "messages": messages}
        if request.tools:
            conversation["tools"] = chat_tools(request)
        headers = tracing_headers(request)
        count = token_count((await self._post("/tokenize", conversation, headers)).get("count"))
        if not count:
            prompt = (await self._post("/apply-template", conversation, headers)).get("prompt")
            body = {"content": prompt, "add_special": True, "parse_special": True}
            tokens = (await self._post("/tokenize", body, headers)).get("tokens")
            count = len(cast("list[Any]", tokens)) if isinstance(tokens, list) and prompt else None
        if not count:
            raise Unavailable("The local server does not count tokens.", hint=NOT_COUNTED_HINT)
        return count

    async def check(self) -> CheckResult:
        """List the server's models, and learn the model's context length; see ``InferenceProvider``."""
        client = await self._open()
        timeout, endpoint = call_timeout(self._endpoint)
        began = time.perf_counter()
        with told_as_failure(endpoint):
            # The SDK's own call makes a typed model of each entry, of which a server may send millions.
            page = await client.get("/models", cast_to=object, options={"timeout": timeout})
        latency_ms = (time.perf_counter() - began) * 1000
        models = listed_models(page, self._model)
        if models is None:
            raise Unavailable(
                f"{endpoint.shown_url}/models is no list of models.",
                hint=f"Something else may be listening there: check {endpoint.url_setting} in Preferences.",
            )
        self._models = frozenset(models)
        if self._model is None:
            self._model = first_chat_model(models)
        card = models.get(self._model or "", {})
        if self._capabilities.context_tokens is None:
            self._capabilities = replace(self._capabilities, context_tokens=context_tokens(card))
        owner = card.get("owned_by")
        return CheckResult(
            models=tuple(models),
            latency_ms=latency_ms,
            server=plain_name(owner) if isinstance(owner, str) else None,
            listed=chat_models(models, self._model),
        )

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _model_for(self, request: ChatRequest) -> str:
        """The model hint if this server has it, else the configured one, else the server's first that can chat."""
        if request.model is not None and request.model in self._models:
            return request.model
        if self._model is None:
            await self.check()
        if self._model is None:
            raise Unavailable(
                "The local server has no model that can chat.", hint="Load one, or name one in VLLM_MODEL."
            )
        return self._model

    async def _post(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        client = await self._open()
        root = self._endpoint.base_url.removesuffix("/v1")
        timeout, endpoint = call_timeout(self._endpoint)
        with told_as_failure(endpoint):
            reply = await client.post(
                f"{root}{path}", cast_to=object, body=body, options={"headers": headers, "timeout": timeout}
            )
            return dict(as_mapping(reply) or {})

    async def _open(self) -> AsyncOpenAI:
        if self._client is None:
            await asyncio.to_thread(_load_sdk)
        if self._client is None:
            with told_as_failure(self._endpoint):
                self._client = self._make_client()
        return self._client

    def _make_client(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI

        keep_requests_out_of_the_log_of("openai")
        spare_library_children()
        client = AsyncOpenAI(
            api_key=self._endpoint.secret or _NO_KEY,
            base_url=self._endpoint.base_url,
            max_retries=0,
            http_client=open_http_client(
                self._endpoint.base_url,
                timeout_s=self._endpoint.timeout_s,
                connect_timeout_s=self._endpoint.connect_timeout_s,
                keepalive_s=LOCAL_KEEPALIVE_S,
                bills=False,
            ),
        )
        # Read from the environment by the constructor, and meant for OpenAI's own service.
        client.organization = client.project = client.admin_api_key = None
        forget_environment_headers(client)
        return client


def _is_llama(response: httpx2.Response) -> bool:
    return response.headers.get("server", "").lower().startswith("llama.cpp")


def _load_sdk() -> None:
    import openai  # noqa: F401  # pyright: ignore[reportUnusedImport]

    import core.providers.openai_stream  # noqa: F401  # pyright: ignore[reportUnusedImport]
