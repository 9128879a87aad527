"""Builds the HTTP connection under an SDK: explicit timeouts, no redirects, and no proxy for this machine."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from core.base.net import is_near
from core.telemetry.logs import traceparent

if TYPE_CHECKING:
    import httpx2
    from anthropic import AsyncAnthropic
    from openai import AsyncOpenAI

    from core.chat import ChatRequest
    from core.providers.errors import Endpoint

CONNECT_TIMEOUT_S = 10.0
STREAM_TIMEOUT_S = 3700.0
"""Longest silence on the wire of a stream. The router watches streams by the user's settings, which may allow an
hour for the first token; this only ends what nobody watches."""
CALL_TIMEOUT_S = 60.0
"""Longest wait for a short answer, such as a list of models."""
_MAX_CONNECTIONS = 1000
_HEADER_SAFE = "!#$&'()*+,/:;=?@[]"
_MAX_ID_CHARS = 256
LOCAL_KEEPALIVE_S = 3.0
"""Below the 5 s after which vLLM closes an idle connection, so that none is picked up while it closes."""
API_KEEPALIVE_S = 30.0


_SENDING = "send_request_headers.started"
"""How the HTTP library's names of the step end that writes a request's first byte."""
_on_sent: ContextVar[Callable[[], None] | None] = ContextVar("on_sent", default=None)


def call_timeout(endpoint: Endpoint) -> tuple[httpx2.Timeout, Endpoint]:
    """Return the time-out of a call that is no stream, and the endpoint whose errors name it."""
    import httpx2

    seconds = min(CALL_TIMEOUT_S, endpoint.timeout_s)
    return httpx2.Timeout(seconds, connect=endpoint.connect_timeout_s), replace(endpoint, timeout_s=seconds)


def open_http_client(
    base_url: str,
    *,
    timeout_s: float,
    keepalive_s: float,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    bills: bool = True,
) -> httpx2.AsyncClient:
    """Return a client whose reads time out after ``timeout_s`` without a byte, and end at a limit.

    A near server that ``bills`` nobody has its connections kept where that is safe (``NearTransport``). Any other
    near one gets a new connection for each request: llama.cpp closes each one after a stream without having said
    so, and a request sent on it just then is lost (1 in 5 of a quick series); sent again, it might be paid twice.
    Redirects are not followed: a POST would become a GET, and a key could travel to another host. The system's
    proxy and certificates apply to public addresses only (a transport passed in makes httpx2 read no proxy).
    """
    import httpx2

    from core.base.bounded_http import BoundedClient

    timeout = httpx2.Timeout(timeout_s, connect=connect_timeout_s)
    if not is_near(base_url):
        limits = httpx2.Limits(
            max_connections=_MAX_CONNECTIONS, max_keepalive_connections=100, keepalive_expiry=keepalive_s
        )
        return BoundedClient(timeout=timeout, limits=limits, follow_redirects=False, event_hooks=_HOOKS)
    # Loading certificates takes 20 ms, and plain HTTP without redirects never uses them.
    verify = not base_url.lower().startswith("http://")
    if bills:
        limits = httpx2.Limits(max_connections=_MAX_CONNECTIONS, max_keepalive_connections=0)
        transport: httpx2.AsyncBaseTransport = httpx2.AsyncHTTPTransport(limits=limits, verify=verify)
    else:
        from core.providers.near_transport import NearTransport

        transport = NearTransport(max_connections=_MAX_CONNECTIONS, keepalive_s=keepalive_s, verify=verify)
    return BoundedClient(timeout=timeout, transport=transport, follow_redirects=False, event_hooks=_HOOKS)


async def _tell_when_sent(request: httpx2.Request) -> None:
    tell = _on_sent.get()
    if tell is None:
        return

    async def note(step: str, facts: object) -> None:
        if step.endswith(_SENDING):
            tell()

    request.extensions = {**request.extensions, "trace": note}


_HOOKS = {"request": [_tell_when_sent]}


async def open_stream(
    client: AsyncAnthropic | AsyncOpenAI,
    path: str,
    *,
    body: dict[str, Any],
    headers: dict[str, str],
    on_sent: Callable[[], None] | None = None,
) -> httpx2.Response:
    """Send a request through an SDK (its address, authentication, headers and errors) and return the open response.

    The SDK's own stream is left out: it builds a typed model of each chunk. ``on_sent`` is called before the first
    byte leaves, after the connection was made.
    """
    import httpx2

    post: Any = client.post  # its types know no raw response of a stream
    options = {"headers": headers}
    before = _on_sent.set(on_sent)
    try:
        response = await post(path, cast_to=httpx2.Response, body=body, options=options, stream=True)
    finally:
        _on_sent.reset(before)
    return cast("httpx2.Response", response)


def tracing_headers(request: ChatRequest) -> dict[str, str]:
    """Return the headers with which ``request`` can be found again in the server's own log and traces.

    ``X-Correlation-Id`` is the request's id; ``traceparent`` (W3C Trace Context) is there when traces are sent. A
    caller may choose any id, so what no header may hold is percent-encoded.
    """
    shown_id = quote(request.correlation_id, safe=_HEADER_SAFE, errors="replace")
    headers = {"X-Correlation-Id": shown_id[:_MAX_ID_CHARS]}
    trace = traceparent.get()
    if trace is not None:
        headers["traceparent"] = trace
    return headers


def forget_environment_headers(client: Any) -> None:
    """Drop ``ANTHROPIC_CUSTOM_HEADERS`` or ``OPENAI_CUSTOM_HEADERS``, which could replace the key that was passed.

    The SDKs read them in their constructors and have no public way to leave them out.
    """
    client._custom_headers = {}
