"""Reads the two wires' usage objects into disjoint counts.

The wires disagree on what "input" includes: Anthropic's ``input_tokens`` leaves cached tokens out, the OpenAI
wire's ``prompt_tokens`` has them in. Counting a cached token twice, or at the wrong class, is a wrong bill.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from core.chat import Usage


def as_mapping(value: Any) -> Mapping[str, Any] | None:
    """Return a wire object (a mapping, or an SDK model with its unknown fields) as a mapping, else ``None``."""
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value)
    dump = getattr(value, "to_dict", None)
    return None if dump is None else as_mapping(dump())


def anthropic_usage(raw: Any, before: Usage | None = None) -> Usage | None:
    """Return the usage after one more report on Anthropic's wire, or ``before`` when ``raw`` holds none.

    ``message_start`` carries the input's counts, ``message_delta`` cumulative ones that may leave out what did
    not change. Cache writes without a breakdown by lifetime count as 5-minute writes, the wire's default.
    """
    wire = as_mapping(raw)
    if wire is None:
        return before
    usage = before or Usage()
    known = False
    for field, name in (
        ("fresh_input_tokens", "input_tokens"),
        ("cache_read_tokens", "cache_read_input_tokens"),
        ("output_tokens", "output_tokens"),
    ):
        count = _count(wire.get(name))
        if count is not None:
            usage = replace(usage, **{field: count})
            known = True
    usage = _with_cache_writes(usage, wire)
    thinking = _count((as_mapping(wire.get("output_tokens_details")) or {}).get("thinking_tokens"))
    if thinking is not None:
        usage = replace(usage, thinking_tokens=thinking)
    tier = wire.get("service_tier")
    if isinstance(tier, str):
        usage = replace(usage, service_tier=tier)
    return usage if known or before is not None else None


def _with_cache_writes(usage: Usage, wire: Mapping[str, Any]) -> Usage:
    by_lifetime = as_mapping(wire.get("cache_creation"))
    if by_lifetime is not None:
        return replace(
            usage,
            cache_write_5m_tokens=_count(by_lifetime.get("ephemeral_5m_input_tokens")) or 0,
            cache_write_1h_tokens=_count(by_lifetime.get("ephemeral_1h_input_tokens")) or 0,
        )
    total = _count(wire.get("cache_creation_input_tokens"))
    if total is None:
        return usage
    # An hour's write that was already reported stays one; the rest of the new total is the default lifetime.
    one_hour = min(usage.cache_write_1h_tokens, total)
    return replace(usage, cache_write_5m_tokens=total - one_hour, cache_write_1h_tokens=one_hour)


def openai_usage(raw: Any) -> Usage | None:
    """Return the usage of one report on the OpenAI wire, or ``None`` when ``raw`` holds none.

    ``prompt_tokens`` includes cached ones, so they are taken out of the fresh count. ``cache_write_tokens`` is not
    a class of its own for local servers: those tokens stay fresh.
    """
    wire = as_mapping(raw)
    if wire is None:
        return None
    prompt, output = _count(wire.get("prompt_tokens")), _count(wire.get("completion_tokens"))
    if prompt is None and output is None:
        return None
    cached = _count((as_mapping(wire.get("prompt_tokens_details")) or {}).get("cached_tokens")) or 0
    cached = min(cached, prompt or 0)
    details = as_mapping(wire.get("completion_tokens_details")) or {}
    return Usage(
        fresh_input_tokens=(prompt or 0) - cached,
        cache_read_tokens=cached,
        output_tokens=output or 0,
        thinking_tokens=_count(details.get("reasoning_tokens")),
    )


def _count(value: Any) -> int | None:
    """Return a token count, or ``None`` for anything else a wire may hold in its place."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return value
