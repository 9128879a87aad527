"""What every request must be before a rule reads it; anything else is the caller's fault and costs nothing."""

from __future__ import annotations

from math import inf
from types import UnionType
from typing import cast, get_args

from core.base.text import shortened
from core.chat import ChatRequest, Role, Side
from core.errors import InvalidRequest
from core.routing.timeouts import is_deadline

ROLES: tuple[str, ...] = get_args(Role)
SIDES: tuple[str, ...] = get_args(Side)

MAX_STOPS = 16
MAX_STOP_CHARS = 1000
MAX_SEED = 2**32 - 2
"""llama.cpp reads a seed as 32 bits, of which the largest means none."""
MAX_PROMPT_BYTES = 20_000_000
"""Anthropic takes 32 MB a request; with JSON escaping this stays under it."""


def validated(request: ChatRequest) -> ChatRequest:
    """Return ``request`` if it can be sent somewhere.

    Raises:
        InvalidRequest: no message, an empty or oversized prompt, a role or side that there is none of, max_tokens,
            temperature, top_p, seed or deadline out of range, stop sequences that are none, an empty idempotency
            key, a malformed JSON schema or tool. Nothing was sent.
    """
    if not request.messages:
        raise InvalidRequest("There is no message to send.", hint="Type a prompt.")
    last = request.messages[-1]
    if not last.text.strip() and not last.images and not last.tool_calls and last.role != "tool":
        raise InvalidRequest("The prompt is empty.", hint="Type something to send; nothing was sent.")
    if sum(len(message.text) for message in request.messages) > MAX_PROMPT_BYTES:
        raise InvalidRequest(
            f"The prompt has more than {MAX_PROMPT_BYTES:,} characters.", hint="Shorten it; nothing was sent."
        )
    _check_values(request)
    if request.response_format is not None or request.tools:
        _check_schemas(request)
    return request


def _check_values(request: ChatRequest) -> None:
    """Check what a type checker would have found in a program that has one, and what is out of range."""
    unknown = [message.role for message in request.messages if message.role not in ROLES]
    if unknown:
        raise InvalidRequest(f"A message's role is {unknown[0]!r}.", hint=f"Use one of: {', '.join(ROLES)}.")
    if request.force not in (None, *SIDES):
        raise InvalidRequest(f"force is {request.force!r}.", hint=f"Use {' or '.join(SIDES)}, or None.")
    if request.max_tokens is not None and not _is_number(request.max_tokens, int, at_least=1):
        raise InvalidRequest(
            f"max_tokens is {request.max_tokens!r}.", hint="Give a whole number, at least 1."
        )
    if request.temperature is not None and not _is_number(request.temperature, int | float, at_most=2):
        raise InvalidRequest(f"temperature is {request.temperature!r}.", hint="Give a number from 0 to 2.")
    _check_sampling(request)
    if request.deadline_s is not None and not is_deadline(request.deadline_s):
        raise InvalidRequest(
            f"deadline_s is {request.deadline_s!r}.", hint="Give seconds, more than 0, or None."
        )
    if request.idempotency_key is not None and not request.idempotency_key.strip():
        raise InvalidRequest(
            "The idempotency key is empty.", hint="Give one that names this request, or None."
        )


def _check_sampling(request: ChatRequest) -> None:
    if request.top_p is not None and (
        not _is_number(request.top_p, int | float, at_most=1) or not request.top_p
    ):
        raise InvalidRequest(f"top_p is {request.top_p!r}.", hint="Give a number above 0, up to 1.")
    if request.seed is not None and not _is_number(request.seed, int, at_most=MAX_SEED):
        raise InvalidRequest(
            f"seed is {request.seed!r}.", hint=f"Give a whole number from 0 to {MAX_SEED:,}."
        )
    stops = cast("object", request.stop)
    if not isinstance(stops, tuple | list):
        raise InvalidRequest(f"stop is {stops!r}.", hint="Give the texts that end an answer, in a tuple.")
    if len(request.stop) > MAX_STOPS:
        raise InvalidRequest(
            f"There are {len(request.stop):,} stop sequences.", hint=f"Give {MAX_STOPS} at most."
        )
    for stop in cast("tuple[object, ...]", request.stop):
        if not isinstance(stop, str) or not 0 < len(stop) <= MAX_STOP_CHARS:
            raise InvalidRequest(
                f"A stop sequence is {shortened(repr(stop), 40)}.",
                hint=f"Give text of 1 to {MAX_STOP_CHARS:,} characters.",
            )


def _is_number(value: object, kind: type | UnionType, *, at_least: float = 0, at_most: float = inf) -> bool:
    return (
        isinstance(value, kind)
        and not isinstance(value, bool)
        and at_least <= cast("float", value) <= at_most
    )


def _check_schemas(request: ChatRequest) -> None:
    from core.structured.schema import check_schema  # 20 ms to import, and most requests have no schema

    if request.response_format is not None:
        check_schema(request.response_format.schema, "The JSON schema")
    for tool in request.tools:
        check_schema(tool.parameters, f"The parameters of tool {tool.name!r}")
