"""A local server on the OpenAI wire that has vLLM's faults, scripted per test.

The shapes of its errors are those of vLLM 0.32: a 401 whose ``error`` is a string, a 404 for a wrong model, a
400 that counts the context, an error event after HTTP 200 when the engine dies, and a
bare cut when everything does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web

from core.providers import VLLMProvider
from tests.support.wire_server import Raw, Received, Refuses, WireServer

ENGINE_DEAD = {
    "error": {
        "message": "EngineCore encountered an issue. See stack trace (above) for the root cause.",
        "type": "InternalServerError",
        "param": None,
        "code": 500,
    }
}


def vllm_error(status: int, kind: str, message: str, param: str | None = None) -> Refuses:
    return Refuses(
        status=status, body={"error": {"message": message, "type": kind, "param": param, "code": status}}
    )


TOO_LONG = vllm_error(
    400,
    "BadRequestError",
    "This model's maximum context length is 2048 tokens. However, your prompt contains at least 2049 input "
    "tokens. Please reduce the length of the input prompt or the number of requested output tokens.",
    "input_tokens",
)


def data(payload: Any) -> bytes:
    text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
    return f"data: {text}\n\n".encode()


def chunk(
    model: str,
    delta: dict[str, Any] | None = None,
    finish: str | None = None,
    usage: dict[str, Any] | None = None,
) -> dict[str, Any]:
    choices = (
        [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]
    )
    return {
        "id": "chatcmpl-test",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": model,
        "choices": choices,
        **({} if usage is None else {"usage": usage}),
    }


class Streams:
    """A streamed answer. ``deltas`` are whole delta objects; strings are text."""

    def __init__(
        self,
        *deltas: str | dict[str, Any],
        finish: str | None = "stop",
        usage: dict[str, Any] | None = None,
        usage_each_chunk: bool = False,
        with_usage: bool = True,
        cut_after: int | None = None,
        hold_after: int | None = None,
        engine_dies_after: int | None = None,
        prompt_progress: tuple[Any, ...] = (),
    ) -> None:
        self.deltas = [{"content": delta} if isinstance(delta, str) else delta for delta in deltas]
        self.finish = finish
        self.usage = usage
        self.usage_each_chunk = usage_each_chunk
        self.with_usage = with_usage
        self.cut_after = cut_after
        self.hold_after = hold_after
        self.engine_dies_after = engine_dies_after
        self.prompt_progress = prompt_progress


@dataclass(kw_only=True)
class Metrics:
    """What ``/metrics`` shows, in the words of vLLM 0.32, of its older versions, or of llama.cpp.

    With several ``engines`` each shows the same numbers, as vLLM does behind one address.
    """

    running: int = 0
    waiting: int = 0
    kv_cache_usage: float = 0.0
    prefix_hits: int = 0
    prefix_queries: int = 0
    engines: int = 1
    style: Literal["vllm", "old vllm", "llama.cpp"] = "vllm"

    def page(self, model: str) -> str:
        if self.style == "llama.cpp":
            return (
                "# HELP llamacpp:requests_processing Number of requests processing.\n"
                "# TYPE llamacpp:requests_processing gauge\n"
                f"llamacpp:requests_processing {self.running}\n"
                "# HELP llamacpp:requests_deferred Number of requests deferred.\n"
                "# TYPE llamacpp:requests_deferred gauge\n"
                f"llamacpp:requests_deferred {self.waiting}\n"
                "# TYPE llamacpp:predicted_tokens_seconds gauge\n"
                "llamacpp:predicted_tokens_seconds nan\n"
            )
        lines = [
            "# HELP python_gc_objects_collected_total Objects collected during gc",
            "# TYPE python_gc_objects_collected_total counter",
            'python_gc_objects_collected_total{generation="0"} 12345.0',
        ]
        for name, kind, value in self._families():
            sample = name if kind == "gauge" else f"{name}_total"
            lines += [f"# HELP {name} As vLLM says it.", f"# TYPE {name} {kind}"]
            lines += [
                f'{sample}{{engine="{engine}",model_name="{model}"}} {float(value)}'
                for engine in range(self.engines)
            ]
        lines += [
            "# TYPE vllm:time_to_first_token_seconds histogram",
            f'vllm:time_to_first_token_seconds_bucket{{engine="0",le="0.001",model_name="{model}"}} 0.0',
            f'vllm:time_to_first_token_seconds_bucket{{engine="0",le="+Inf",model_name="{model}"}} 7.0',
            f'vllm:time_to_first_token_seconds_count{{engine="0",model_name="{model}"}} 7.0',
        ]
        return "\n".join(lines) + "\n"

    def _families(self) -> list[tuple[str, str, float]]:
        line = [
            ("vllm:num_requests_running", "gauge", self.running),
            ("vllm:num_requests_waiting", "gauge", self.waiting),
        ]
        if self.style == "old vllm":
            return [
                *line,
                ("vllm:gpu_cache_usage_perc", "gauge", self.kv_cache_usage),
                ("vllm:gpu_prefix_cache_queries", "counter", self.prefix_queries),
                ("vllm:gpu_prefix_cache_hits", "counter", self.prefix_hits),
            ]
        return [
            *line,
            ("vllm:kv_cache_usage_perc", "gauge", self.kv_cache_usage),
            ("vllm:prefix_cache_queries", "counter", self.prefix_queries),
            ("vllm:prefix_cache_hits", "counter", self.prefix_hits),
        ]


class OpenAIServer(WireServer):
    """Speaks ``/v1/chat/completions`` (streaming), ``/v1/models``, ``/tokenize`` and ``/metrics``.

    ``metrics`` of ``None`` is a server without them; a text is a page as it stands. Questions for metrics are in
    ``metrics_asked``, not among the ``received``. While it is ``loading`` it says so and lists no model; a
    ``tokenize`` that refuses is a server that does not count.
    """

    def __init__(
        self,
        *replies: Streams | Refuses | Raw,
        api_key: str | None = None,
        models: tuple[str, ...] = ("tiny",),
        max_model_len: int | None = 2048,
    ) -> None:
        super().__init__(*replies, api_key=api_key)
        self.models = models
        self.max_model_len = max_model_len
        self.default: Streams | Refuses | Raw = Streams("Hello", " there")
        self.metrics: Metrics | Refuses | str | None = None
        self.metrics_asked: list[Received] = []
        self.metrics_hold = False
        self.loading = False
        self.tokenize: Refuses | None = None
        self.named = ""
        """What it calls itself in its ``Server`` header."""

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/chat/completions", self._chat),
            web.get("/v1/models", self._models),
            web.post("/tokenize", self._tokenize),
            web.get("/metrics", self._metrics),
            web.get("/health", self._health),
        ]

    def wrong_key(self) -> web.Response:
        return web.json_response({"error": "Unauthorized"}, status=401)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = self.received[-1].body
        if body["model"] not in self.models:
            missing = vllm_error(
                404, "NotFoundError", f"The model `{body['model']}` does not exist.", "model"
            )
            return missing.response()
        reply = self.replies.popleft() if self.replies else self.default
        if isinstance(reply, Refuses):
            return reply.response()
        if isinstance(reply, Raw):
            return await self.send_raw(request, reply)
        return await self._stream(request, reply, body)

    async def _stream(self, request: web.Request, reply: Streams, body: dict[str, Any]) -> web.StreamResponse:
        response = await self.open_stream(request, {"server": self.named} if self.named else {})
        model = body["model"]
        for told in reply.prompt_progress if body.get("return_progress") else ():
            beginning = chunk(model, {"role": "assistant", "content": None})
            await response.write(data({**beginning, "prompt_progress": told}))
        await response.write(data(chunk(model, {"role": "assistant", "content": ""})))
        for position in range(len(reply.deltas) + 1):
            if reply.hold_after == position:
                await self.hold()
            if reply.cut_after == position:
                self.cut(request)
                return response
            if reply.engine_dies_after == position:
                await response.write(data(ENGINE_DEAD))
                await response.write(data("[DONE]"))
                return response
            if position == len(reply.deltas):
                break
            running = {"prompt_tokens": 7, "completion_tokens": position + 1, "total_tokens": 8 + position}
            usage = running if reply.usage_each_chunk else None
            await response.write(data(chunk(model, reply.deltas[position], usage=usage)))
        if reply.finish is not None:
            await response.write(data(chunk(model, {}, finish=reply.finish)))
        if reply.with_usage and body.get("stream_options", {}).get("include_usage"):
            count = len(reply.deltas)
            final = reply.usage or {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count}
            await response.write(data(chunk(model, usage=final)))
        await response.write(data("[DONE]"))
        await response.write_eof()
        return response

    async def _models(self, request: web.Request) -> web.StreamResponse:
        cards = [
            {
                "id": name,
                "object": "model",
                "created": 1,
                "owned_by": "vllm",
                **({} if self.max_model_len is None else {"max_model_len": self.max_model_len}),
            }
            for name in self.models
        ]
        return web.json_response({"object": "list", "data": cards})

    async def _health(self, request: web.Request) -> web.StreamResponse:
        self.received.pop()
        if self.loading:
            return web.json_response({"error": {"message": "Loading model", "code": 503}}, status=503)
        return web.json_response({"detail": "Not Found"}, status=404)

    async def _tokenize(self, request: web.Request) -> web.StreamResponse:
        if self.tokenize is not None:
            return self.tokenize.response()
        words = sum(len(str(message["content"]).split()) for message in self.received[-1].body["messages"])
        return web.json_response({"count": words, "max_model_len": self.max_model_len, "tokens": []})

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        self.metrics_asked.append(self.received.pop())  # the one that has just come in
        if self.metrics_hold:
            await self.hold()
        if self.metrics is None:
            return web.json_response({"detail": "Not Found"}, status=404)
        if isinstance(self.metrics, Refuses):
            return self.metrics.response()
        page = self.metrics if isinstance(self.metrics, str) else self.metrics.page(self.models[0])
        return web.Response(text=page, content_type="text/plain")


def provider_for(server: OpenAIServer, model: str | None = "tiny", **options: Any) -> VLLMProvider:
    return VLLMProvider(server.base_url, model, **options)
