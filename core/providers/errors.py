"""Turns whatever an SDK or its transport raises into the error taxonomy, with a sentence on what to do next.

Nothing here imports an SDK: the errors of ``anthropic`` and ``openai`` have the same shape (``status_code``,
``response.headers``, ``body``), and a server killed mid-stream raises ``httpx2`` errors that are neither's.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, cast
from urllib.parse import urlsplit

from core.base.text import file_size, sentence, shortened
from core.base.tls import causes, maybe_tls, tls_trouble, wants_tls
from core.chat import Side
from core.errors import (
    AuthenticationFailed,
    ContextTooLong,
    CreditExhausted,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    RateLimited,
    SignalboxError,
    TimedOut,
    Unavailable,
)
from core.providers.usage import as_mapping

_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "badrequesterror": 400,
    "authentication_error": 401,
    "authenticationerror": 401,
    "unauthorized": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "notfounderror": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "ratelimiterror": 429,
    "api_error": 500,
    "server_error": 500,
    "internalservererror": 500,
    "unavailable_error": 503,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_MOST_DIGITS = 12


@cache
def _compiled(patterns: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    """Compile what servers say, when a server first says something; ``#name`` stands for a count of tokens."""
    count = rf"(?P<\1>\\d{{1,{_MOST_DIGITS}}})"
    return tuple(
        re.compile(re.sub(r"#(\w+)", count, pattern), re.IGNORECASE | re.DOTALL) for pattern in patterns
    )


_ROOM_PATTERNS = (
    # vLLM: the answer's limit alone, then with the prompt's size
    r"is too large: #asked\. This model's maximum context length is #limit tokens and your request has #input in",
    r"maximum context length is #limit tokens.{0,80}you requested #asked output tokens and your prompt contains "
    r"(?:at least )?#input input tokens",
    # OpenAI, older vLLM, LM Studio, Ollama's OpenAI wire
    r"maximum context length is #limit tokens.{0,80}\(#input in (?:the|your) (?:messages|prompt)[^)]{0,80}?"
    r"#asked (?:in|for) the completion",
    # SGLang
    r"maximum context length of #limit tokens.{0,120}?#input tokens from the input messages and #asked tokens for "
    r"the completion",
    # TGI
    r"`inputs` tokens \+ `max_new_tokens` must be <= #limit\. Given: #input `inputs` tokens and #asked",
    # Anthropic
    r"exceed context limit: #input \+ #asked > #limit",
    # What a model gives at most, whatever the prompt: Anthropic, OpenAI, DeepSeek, TGI, others
    r"max_tokens: #asked > #most, which is the maximum",
    r"max_(?:completion_)?tokens'? is too large: #asked\..{0,40}?at most #most completion tokens",
    r"valid range of max_(?:completion_)?tokens is \[\d+, ?#most\]",
    r"`max_new_tokens` must be <= #most",
    r"max_(?:completion_|output_|new_)?tokens\b.{0,60}?(?:less than or equal to|at most|must not exceed|"
    r"cannot exceed|can't exceed|cannot be greater than|maximum (?:allowed |value )?(?:is|of)) [`'\"]?#most\b",
)
"""How servers say that the limit of an answer is too large: the prompt alone would fit."""
_CONTEXT_PATTERNS = (
    r"prompt is too long(?:: #input tokens > #limit)?",  # Anthropic; Ollama
    r"exceed context limit(?:: #input \+ \d+ > #limit)?",  # Anthropic, with max_tokens
    r"request \(#input tokens\) exceeds the available context size(?: \(#limit)?",  # llama.cpp
    r"exceeds? the available context size|exceed_context_size_error",
    r"maximum context length is #limit tokens(?:.*?(?:contains (?:at least )?|resulted in |you requested )#input)?",
    r"(?:decoder prompt|prompt|input) \(length #input\) is longer than the maximum model length of #limit",  # vLLM
    r"maximum model length of #limit",
    r"input \(#input tokens\) is longer than the model's context length(?: \(#limit tokens)?",  # SGLang
    r"maximum context length of #limit tokens(?:.{0,120}?#input tokens from the input)?",  # SGLang
    r"`inputs` must have less than #limit tokens(?:\. Given: #input)?",  # TGI
    r"greater than the context length(?: \(n_keep: #input ?>= ?n_ctx: #limit)?",  # LM Studio
    r"context length of (?:only )?#limit tokens|context size has been exceeded",  # LM Studio
    r"(?:input|prompt)(?: length)? (?:is longer than|exceeds) (?:the )?(?:maximum |max )?context length",  # Ollama
    r"context_length_exceeded",
)
_STARTING = re.compile(
    r"loading (?:the )?model|model\b.{0,80}\b(?:loading|starting)|still starting|starting up|warming up",
    re.IGNORECASE | re.DOTALL,
)
"""How a server says with HTTP 503 that it is not up yet: llama.cpp writes "Loading model"."""
_NO_CREDIT = re.compile(
    r"credit balance is too low|insufficient[_ ](?:quota|credits?|balance|funds)|exceeded your current quota"
    r"|billing_error|reached your specified \w{0,12} ?(?:API )?usage limits|billing_hard_limit_reached",
    re.IGNORECASE,
)
"""How servers say that nothing is left to pay with, whatever status they say it with: Anthropic 400 and 402,
OpenAI 429, DeepSeek and OpenRouter 402."""
_NO_MODEL = re.compile(
    r"model_not_found|is not a valid model(?: id)?\b|invalid model name|unknown model\b"
    r"|\bmodel\b.{0,80}\b(?:does not exist|not exist\b|not found)",
    re.IGNORECASE,
)
"""How servers say with a 400 or a 403 that they have no such model: LiteLLM, OpenRouter, DeepSeek, OpenAI."""
_A_PATH = re.compile(r"(?:(?<=[\s'\"`(])|^)(?:https?:/)?/\S*")
"""Where there is nothing (``/v1/models/x was not found``): that speaks of the service, of no model."""
_NAMED_MODEL = re.compile(r"model: (\S{1,128})")
"""All that Anthropic says of a model it doesn't know: its name."""
_MAX_MESSAGE_CHARS = 300
MOST_WAIT_S = 30 * 86_400.0
"""What a server may ask to wait at most; beyond it any number means "not today"."""
_MOST_WORDS_CHARS = 4_000
_NOT_ON_SIZE = (401, 402, 403, 404, 429, 503, 529)
"""Statuses that say nothing on a request's size, whatever words stand beside them."""
_END_NOT_KNOWN = (408, 499, 502, 504, 524)
"""Statuses of a time-out or a gateway that lost its server: the request may have run to its end behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a provider talks to, in the words its errors use. ``secret`` never appears in a message."""

    who: str
    side: Side
    base_url: str
    key_setting: str
    url_setting: str
    timeout_s: float
    connect_timeout_s: float = 10.0
    model_setting: str = ""
    secret: str | None = field(default=None, repr=False)

    @property
    def shown_url(self) -> str:
        """The address without credentials, query or fragment."""
        try:
            parts = urlsplit(self.base_url)
            port = "" if parts.port is None else f":{parts.port}"
        except ValueError:
            return "the configured address"
        host = parts.hostname or ""
        host = f"[{host}]" if ":" in host else host
        return f"{parts.scheme}://{host}{port}{parts.path}".rstrip("/")


@dataclass(frozen=True, slots=True)
class _Reply:
    """What a server said with its refusal."""

    status: int | None
    type: str
    message: str
    words: str
    """All it said, for looking things up in; ``message`` is what is shown of it."""
    headers: Mapping[str, str]
    from_api: bool  # the body had the wire's shape, so this was no proxy's or web server's page
    is_typed: bool  # the body is an error object with a type, as only the API itself writes it


def provider_failure(error: BaseException, endpoint: Endpoint, *, begun: bool = False) -> SignalboxError:
    """Return the error of the taxonomy that ``error`` means at ``endpoint``.

    ``begun`` is whether the answer had begun: it tells one silence from the other.
    """
    if isinstance(error, SignalboxError):
        return error
    if hasattr(error, "body") and not _is_connection_error(error):
        page: Any = getattr(error, "body", None)
        no_tls = wants_tls(page, endpoint.shown_url) if isinstance(page, str) else None
        if no_tls is not None:
            return Unavailable(no_tls.what, hint=f"{no_tls.way_out} ({endpoint.url_setting})")
        reply = _read_reply(error, endpoint)
        failure = _from_reply(reply, endpoint)
        said = f": {sentence(reply.message)}"
        return failure.quoting(said) if said in failure.message else failure
    return _from_transport(error, endpoint, begun=begun)


@contextlib.contextmanager
def told_as_failure(endpoint: Endpoint) -> Generator[None]:
    """Raise whatever fails inside as the error of the taxonomy that it means at ``endpoint``."""
    try:
        yield
    except Exception as error:
        # As broad as that, since an SDK, its transport and its models each raise their own errors, and an odd
        # answer ends in plain ones: none of them may reach a caller as anything but a SignalboxError.
        raise provider_failure(error, endpoint) from error


def broken_off(endpoint: Endpoint, detail: str) -> Unavailable:
    """The answer of a server that stopped before its end."""
    return Unavailable(
        f"{endpoint.who} stopped answering before the end ({detail}).",
        hint="The text so far is kept. Try again.",
        may_be_billed=True,
    )


def is_a_web_page(endpoint: Endpoint) -> Unavailable:
    """The answer of something else at the address: a network's sign-in page, a proxy's, a web server's."""
    return Unavailable(
        f"{endpoint.shown_url} answered with a web page instead of an answer.",
        hint=f"Check {endpoint.url_setting} in Preferences, and whether this network asks you to sign in first.",
    )


def is_too_long(endpoint: Endpoint, whole: bool, limit_bytes: int) -> Unavailable:
    """The answer of a server that sends one event (or a ``whole`` answer) without an end."""
    what = "an answer" if whole else "a piece of its answer"
    return Unavailable(
        f"{endpoint.who} sent {what} of more than {file_size(limit_bytes)}, and was cut off.",
        hint=f"What came before is kept. Check what serves {endpoint.shown_url} ({endpoint.url_setting}).",
        may_be_billed=True,
    )


def went_too_far(endpoint: Endpoint, max_tokens: int) -> Unavailable:
    """The answer of a server that goes on far beyond what it was asked for."""
    return Unavailable(
        f"{endpoint.who} went on far beyond the {max_tokens:,} tokens that it was asked for, and was cut off.",
        hint=f"What came is kept. Check what serves {endpoint.shown_url} ({endpoint.url_setting}).",
        may_be_billed=True,
    )


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds a server asks to wait, ``MOST_WAIT_S`` at most; ``None`` where it says nothing readable.

    It may say ``retry-after-ms``, or ``retry-after`` as seconds or as an HTTP date (RFC 9110, 10.2.3).
    """
    wait_s = _asked_wait_s(headers, now)
    return None if wait_s is None else min(wait_s, MOST_WAIT_S)


def _asked_wait_s(headers: Mapping[str, str], now: datetime | None) -> float | None:
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _is_connection_error(error: BaseException) -> bool:
    """APIConnectionError and APITimeoutError carry an empty body; their cause says more."""
    return any(kind.__name__ == "APIConnectionError" for kind in type(error).__mro__)


def _read_reply(error: Any, endpoint: Endpoint) -> _Reply:
    response = getattr(error, "response", None)
    headers: Mapping[str, str] = {} if response is None else response.headers
    status = getattr(error, "status_code", None)
    body = as_mapping(error.body)
    inner = None if body is None else body.get("error", body)
    if isinstance(inner, str):
        kind, message, code = "", inner, None
    else:
        fields = as_mapping(inner) or {}
        kind = str(fields.get("type") or "")
        message = str(fields.get("message") or fields.get("detail") or "")
        code = fields.get("code")
        if status in (None, 200) and str(code).isdecimal():
            status = int(str(code))
    if isinstance(error.body, str) and not error.body.lstrip().startswith("<"):
        message = error.body
    from_api = body is not None or (isinstance(error.body, str) and bool(message))
    is_typed = bool(kind) and body is not None and "error" in body
    if status in (None, 200):  # an error event after the answer had begun
        status = _STATUS_OF_TYPE.get(kind.lower())
    words = f"{kind} {code or ''} {_plain_words(message)}"
    return _Reply(status, kind, what_it_said(message, endpoint), words, headers, from_api, is_typed)


def refusal_of(error: Exception) -> tuple[int, str] | None:
    """Return the HTTP status with which a server refused a request, and all that it said; ``None``: it did not."""
    status, body = getattr(error, "status_code", None), getattr(error, "body", None)
    if not isinstance(status, int) or status not in (400, 422, 500, 501):
        return None
    outer = as_mapping(body) or {}
    inner = outer.get("error", outer)
    fields = as_mapping(inner) or {}
    said = [body if isinstance(body, str) else "", inner if isinstance(inner, str) else ""]
    said += [str(fields.get(name) or "") for name in ("type", "param", "code", "message")]
    detail: Any = fields.get("detail")
    if isinstance(detail, list):
        # FastAPI says which field is wrong and why, and what stood there, which may be the whole request.
        for entry in cast("list[Any]", detail):
            problem = as_mapping(entry) or {}
            said.append(f"{problem.get('type')} {problem.get('loc')} {problem.get('msg')}")
    elif detail is not None:
        said.append(str(detail))
    return status, _plain_words(" ".join(said))


def _plain_words(message: str) -> str:
    return " ".join(message[:_MOST_WORDS_CHARS].split())


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRoom:
    """The tokens that an answer may have at most, as a server counts them; ``None``: it did not say."""

    most_tokens: int
    asked_tokens: int | None = None
    input_tokens: int | None = None
    limit_tokens: int | None = None


def answer_room(words: str) -> AnswerRoom | None:
    """Return what is left for an answer where a server says that its limit is too large; else ``None``."""
    for pattern in _compiled(_ROOM_PATTERNS):
        found = pattern.search(words)
        if found is None:
            continue
        counts = {name: int(value) for name, value in found.groupdict().items() if value}
        limit, used = counts.get("limit"), counts.get("input", 0)
        most = counts["most"] if limit is None else limit - used
        if most < 1:
            continue  # the prompt alone is too long
        return AnswerRoom(
            most_tokens=most,
            asked_tokens=counts.get("asked"),
            input_tokens=counts.get("input"),
            limit_tokens=limit,
        )
    return None


def what_it_said(message: str, endpoint: Endpoint) -> str:
    """Return a server's words as they may be shown: one line of bounded length, without the key."""
    text = "".join(c if c.isprintable() else "\ufffd" for c in _plain_words(message))
    if endpoint.secret:
        text = text.replace(endpoint.secret, "[key]")
    return shortened(text, _MAX_MESSAGE_CHARS)


def _from_reply(reply: _Reply, endpoint: Endpoint) -> SignalboxError:
    status = reply.status
    said = f": {sentence(reply.message)}" if reply.message else "."
    if status is None or status not in _NOT_ON_SIZE:
        room = answer_room(reply.words)
        if room is not None:
            return _answer_too_long(room, endpoint)
        too_long = _context_too_long(reply, endpoint)
        if too_long is not None:
            return too_long
    if status == 402 or (status in (400, 403, 429) and _NO_CREDIT.search(reply.words)):
        return _no_credit(said, endpoint)
    wait_s = retry_after_s(reply.headers)
    if status == 429:
        wait = "" if wait_s is None else f" It asks to wait {math.ceil(wait_s)} s."
        return RateLimited(
            f"{endpoint.who} limits the rate of requests{said}",
            hint=f"Wait a little or send fewer at once.{wait}",
            retry_after_s=wait_s,
        )
    if status == 503 and _STARTING.search(reply.message):
        return _still_starting(said, endpoint, wait_s)
    if status in (503, 529):
        return Overloaded(
            f"{endpoint.who} is overloaded{said}",
            hint="Try again in a moment.",
            retry_after_s=wait_s,
            may_be_billed=_may_be_billed(reply, endpoint),
        )
    if _names_no_model(reply):
        return _no_model(reply, said, endpoint)
    if status in (401, 403):
        return _refused(status, said, endpoint)
    if status is not None and 400 <= status < 500 and status not in (408, 409, 421, 425, 499):
        return _invalid(reply, said, endpoint)
    if status is not None and 300 <= status < 400:
        where = f" to {what_it_said(reply.headers.get('location', 'another address'), endpoint)}."
        redirected = Unavailable(
            f"{endpoint.shown_url} redirects{where}",
            hint=f"Set {endpoint.url_setting} to the final address.",
        )
        return redirected.quoting(where)
    number = "" if status is None else f" (HTTP {status})"
    return Unavailable(
        f"{endpoint.who} failed{number}{said}",
        hint="Try again in a moment.",
        retry_after_s=wait_s,
        may_be_billed=_may_be_billed(reply, endpoint),
    )


def _still_starting(said: str, endpoint: Endpoint, wait_s: float | None) -> Unavailable:
    failure = Unavailable(
        f"{endpoint.who} is still starting{said}",
        hint="It answers by itself once its model is loaded. Try again in a moment.",
        retry_after_s=wait_s,
    )
    failure.booting = True
    return failure


def _may_be_billed(reply: _Reply, endpoint: Endpoint) -> bool:
    """Whether the work may have been done and billed although this came instead of an answer.

    The API's own error objects say that it refused. A page of whatever stands before it says nothing of that.
    """
    if endpoint.side == "local" or reply.status == 529:
        return False
    if reply.status is None or reply.status in _END_NOT_KNOWN:
        return True
    return reply.status >= 500 and not reply.is_typed


def _answer_too_long(room: AnswerRoom, endpoint: Endpoint) -> InvalidRequest:
    asked = (
        "of the answer" if room.asked_tokens is None else f"of {room.asked_tokens:,} tokens for the answer"
    )
    if room.limit_tokens is None:
        what = f"{endpoint.who} takes no limit {asked}: this model gives at most {room.most_tokens:,}."
    else:
        beside = "" if room.input_tokens is None else f" beside the prompt's {room.input_tokens:,}"
        what = f"The limit {asked} does not fit into the model's context of {room.limit_tokens:,}{beside}."
    return InvalidRequest(
        what,
        hint=f"Lower max tokens to {room.most_tokens:,} or less (MAX_TOKENS_PER_REQUEST); nothing was generated.",
    )


def _context_too_long(reply: _Reply, endpoint: Endpoint) -> ContextTooLong | None:
    for pattern in _compiled(_CONTEXT_PATTERNS):
        found = pattern.search(reply.words)
        if found is not None:
            counts = {name: int(value) for name, value in found.groupdict().items() if value}
            limit = counts.get("limit")
            room = "" if limit is None else f" of {limit:,} tokens"
            other = "send it to the API" if endpoint.side == "local" else "start a new conversation"
            return ContextTooLong(
                f"The prompt does not fit into the model's context{room}.",
                hint=f"Shorten it, or {other}.",
                input_tokens=counts.get("input"),
                limit_tokens=limit,
            )
    if reply.status == 413:
        return ContextTooLong(
            f"{endpoint.who} refuses a request of this size.",
            hint="Shorten the prompt, or send smaller images.",
        )
    return None


def _no_credit(said: str, endpoint: Endpoint) -> CreditExhausted:
    other = "send this locally" if endpoint.side == "api" else "send this to the API"
    return CreditExhausted(
        f"{endpoint.who} says that the account has no credit left{said}",
        hint=f"Add credit at the provider, or {other}. The key is right.",
    )


def _names_no_model(reply: _Reply) -> bool:
    if reply.status == 404:
        return reply.from_api and "model" in _A_PATH.sub(" ", reply.message.lower())
    return reply.status in (400, 403) and reply.from_api and _NO_MODEL.search(reply.words) is not None


def _no_model(reply: _Reply, said: str, endpoint: Endpoint) -> ModelNotFound:
    named = _NAMED_MODEL.fullmatch(reply.message.rstrip("."))
    where = f" ({endpoint.model_setting})" if endpoint.model_setting else ""
    return ModelNotFound(
        f"{endpoint.who} has no model {named[1]}." if named else f"{endpoint.who} has no such model{said}",
        hint=f"Choose another model in Preferences{where}.",
    )


def _refused(status: int, said: str, endpoint: Endpoint) -> AuthenticationFailed:
    if status == 403:
        return PermissionDenied(
            f"{endpoint.who} does not permit this key to do that{said}",
            hint="Use a key with access to this model, or choose another model.",
        )
    return AuthenticationFailed(
        f"{endpoint.who} refused the key{said}",
        hint=f"Check the key in Preferences ({endpoint.key_setting}).",
    )


def _invalid(reply: _Reply, said: str, endpoint: Endpoint) -> SignalboxError:
    if reply.status in (404, 405):
        return Unavailable(
            f"There is no such service at {endpoint.shown_url} (HTTP {reply.status}).",
            hint=f"Check {endpoint.url_setting} in Preferences.",
        )
    return InvalidRequest(
        f"{endpoint.who} refused the request{said}", hint="Change the request and send it again."
    )


def _from_transport(error: BaseException, endpoint: Endpoint, *, begun: bool) -> SignalboxError:
    import httpx2

    from core.base.bounded_http import MAX_ANSWER_BYTES, AnswerPacked, AnswerTooLong

    where = endpoint.shown_url
    check = f"Check {endpoint.url_setting} in Preferences"
    start = "start the local server" if endpoint.side == "local" else "check the network connection"
    trouble = tls_trouble(error, where)
    if trouble is not None:
        return Unavailable(trouble.what, hint=f"{trouble.way_out} ({endpoint.url_setting})")
    for cause in causes(error):
        if isinstance(cause, httpx2.InvalidURL | httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
            return Unavailable(f"{where} is not an address that can be called.", hint=f"{check}.")
        if isinstance(cause, AnswerTooLong):
            return is_too_long(endpoint, True, MAX_ANSWER_BYTES)
        if isinstance(cause, AnswerPacked):
            return Unavailable(
                f"{endpoint.who} sent a compressed answer, which was not asked for, and it is not unpacked.",
                hint=f"Turn compression off at {where} ({endpoint.url_setting}), or in a proxy before it.",
                may_be_billed=True,
            )
        if isinstance(cause, httpx2.ProxyError):
            return Unavailable(
                f"The proxy on the way to {where} failed.", hint="Check the system's proxy settings."
            )
        if isinstance(cause, httpx2.ConnectTimeout):
            return TimedOut(
                f"{where} did not accept the connection in {endpoint.connect_timeout_s:g} s.",
                hint=f"{check}, or {start}.",
                phase="connect",
                may_be_billed=False,
            )
        if isinstance(cause, httpx2.ConnectError):
            return Unavailable(f"Nothing answers at {where}.", hint=f"{check}, or {start}.")
        if isinstance(cause, httpx2.PoolTimeout):
            return Unavailable(f"Too many requests to {where} are open at once.", hint="Send fewer at once.")
        if isinstance(cause, httpx2.WriteTimeout):
            return TimedOut(
                f"{endpoint.who} did not take the request in {endpoint.timeout_s:g} s.",
                hint="Try again, or send less at once.",
                phase="connect",
                may_be_billed=False,  # it never had the whole of it
            )
        if isinstance(cause, httpx2.TimeoutException | TimeoutError):
            return TimedOut(
                f"{endpoint.who} sent nothing for {endpoint.timeout_s:g} s.",
                hint="Try again, or ask for a shorter answer.",
                phase="between_tokens" if begun else "first_token",
                may_be_billed=True,
            )
        if isinstance(cause, httpx2.RemoteProtocolError) and "without sending a response" in str(cause):
            return Unavailable(
                f"{endpoint.who} closed the connection without an answer.",
                hint=f"Try again. {maybe_tls(where)}".strip(),
                may_be_billed=True,
            )
        if isinstance(cause, httpx2.TransportError | OSError):
            return broken_off(endpoint, "the connection was lost")
    return Unavailable(
        f"{endpoint.who} sent something that is not an answer ({type(error).__name__}).",
        hint=f"Check that {where} speaks the expected wire ({endpoint.url_setting}).",
        may_be_billed=True,
    )
