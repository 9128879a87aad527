"""Reads the two wires' usage objects into disjoint counts.

The wires disagree on what "input" includes: Anthropic's ``input_tokens`` leaves cached tokens out, the OpenAI
wire's ``prompt_tokens`` has them in. Counting a cached token twice, or at the wrong class, is a wrong bill.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeGuard, cast

from core.chat import Usage

MOST_TOKENS = 2**40
"""A trillion: no request has more, and sums of such counts fit into the ledger's 64 bits."""


def as_mapping(value: Any) -> Mapping[str, Any] | None:
    """Return a wire object (a mapping, or an SDK model with its unknown fields) as a mapping, else ``None``."""
    if isinstance(value, dict | Mapping):  # a dict is told at once, other mappings are looked up
        return cast("Mapping[str, Any]", value)
    dump = getattr(value, "to_dict", None)
    return None if dump is None else as_mapping(dump())


def anthropic_usage(raw: Any, before: Usage | None = None) -> Usage | None:
    """Return the usage after one more report on Anthropic's wire, or ``before`` when ``raw`` holds none.

    ``message_start`` carries the input's counts, ``message_delta`` cumulative ones that may leave out what did
    not change. Cache writes without a breakdown by lifetime are of the lifetime already reported, else 5-minute
    writes, the wire's default. A report that says a request had no input at all is not believed once there was
    some: bridges to other wires end a stream like that.
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
    if before is not None and before.input_tokens and not usage.input_tokens:
        usage = replace(before, output_tokens=usage.output_tokens)
    thinking = _count((as_mapping(wire.get("output_tokens_details")) or {}).get("thinking_tokens"))
    if thinking is not None:
        usage = replace(usage, thinking_tokens=thinking)
    usage = _with_modifiers(usage, wire)
    return usage if known or before is not None else None


def _with_cache_writes(usage: Usage, wire: Mapping[str, Any]) -> Usage:
    by_lifetime = as_mapping(wire.get("cache_creation"))
    total = _count(wire.get("cache_creation_input_tokens"))
    if by_lifetime is not None:
        five_minutes = _count(by_lifetime.get("ephemeral_5m_input_tokens")) or 0
        one_hour = _count(by_lifetime.get("ephemeral_1h_input_tokens")) or 0
        # What the total has beyond the named lifetimes was written too; the default lifetime is the wire's.
        five_minutes = max(five_minutes, (total or 0) - one_hour)
        return replace(usage, cache_write_5m_tokens=five_minutes, cache_write_1h_tokens=one_hour)
    if total is None:
        return usage
    if usage.cache_write_1h_tokens and not usage.cache_write_5m_tokens:
        return replace(usage, cache_write_1h_tokens=total)
    # An hour's write that was already reported stays one; the rest of the new total is the default lifetime.
    one_hour = min(usage.cache_write_1h_tokens, total)
    return replace(usage, cache_write_5m_tokens=total - one_hour, cache_write_1h_tokens=one_hour)


_FREE_SERVER_TOOLS = frozenset({"web_fetch_requests"})
"""A web fetch costs the tokens of what it fetched and nothing more (Anthropic, "Web fetch tool")."""
_WEB_SEARCHES = "web_search_requests"
_MOST_SEARCHES = 10**9
_NEUTRAL_GEOS = frozenset({"global", "not_available"})
_NO_PLAIN_WORD = re.compile(r"[^a-z0-9_.,:-]+")
_WORD_CHARACTERS = 64
_UNNAMED = "unnamed"


def _with_modifiers(usage: Usage, wire: Mapping[str, Any]) -> Usage:
    """Read what else a report says about its price. What is not known here stays: it makes a row unpriced."""
    found: dict[str, Any] = {}
    tier, speed, geo = wire.get("service_tier"), wire.get("speed"), wire.get("inference_geo")
    if isinstance(tier, str):
        found["service_tier"] = _plain(tier) or None
    if isinstance(speed, str):
        found["speed"] = None if speed == "standard" else _plain(speed) or None
    if isinstance(geo, str):
        found["region"] = None if geo in _NEUTRAL_GEOS else _plain(geo) or None
    extras = {name: value for name, _, value in (extra.partition("=") for extra in usage.unpriced_extras)}
    for name, value in (as_mapping(wire.get("server_tool_use")) or {}).items():
        count = _count(value)
        if count is None or name in _FREE_SERVER_TOOLS:
            continue
        if name == _WEB_SEARCHES and count < _MOST_SEARCHES:
            found["web_searches"] = count
        else:
            extras[f"tool_{_plain(str(name))}"] = str(count) if count else ""
    iterations: object = wire.get("iterations")
    if isinstance(iterations, list | tuple):
        found["call_kinds"] = _kinds(cast("Sequence[object]", iterations))
    credit = as_mapping((as_mapping(wire.get("fallback_credit")) or {}).get("status"))
    if credit is not None:
        redeemed = credit.get("type") != "not_applied"
        extras["fallback_credit"] = _plain(str(credit.get("type"))) or _UNNAMED if redeemed else ""
    found["unpriced_extras"] = tuple(sorted(f"{name}={value}" for name, value in extras.items() if value))
    return replace(usage, **found)


def _kinds(iterations: Sequence[object]) -> tuple[str, ...]:
    """Name the kinds of calls behind one answer; none for a single one of the model itself.

    Several calls of the model are added up in the report's own counts; those of other kinds (compaction, an
    advisor, a fallback model) are not, or have another model's price.
    """
    named = (_plain(str((as_mapping(entry) or {}).get("type"))) for entry in iterations)
    kinds = sorted({name.replace(",", "_") or _UNNAMED for name in named})
    return () if len(iterations) < 2 and kinds in ([], ["message"]) else tuple(kinds)


def _plain(text: str) -> str:
    return _NO_PLAIN_WORD.sub("_", text.strip().lower())[:_WORD_CHARACTERS]


def has_counts(raw: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether a report on the OpenAI wire counts anything: what ``openai_usage`` makes a usage of."""
    return isinstance(raw, dict | Mapping) and (
        _count(cast("Mapping[str, Any]", raw).get("completion_tokens")) is not None
        or _count(cast("Mapping[str, Any]", raw).get("prompt_tokens")) is not None
    )


def openai_usage(raw: Any) -> Usage | None:
    """Return the usage of one report on the OpenAI wire, or ``None`` when ``raw`` holds none.

    ``prompt_tokens`` includes cached ones and those written to the cache, so they are taken out of the fresh
    count. That wire has one class of cache writes; it stands with the 5-minute ones. Predicted tokens that were
    rejected are inside ``completion_tokens``. Audio has its own prices, so it is an unpriced extra.
    """
    wire = as_mapping(raw)
    if wire is None or not has_counts(wire):
        return None
    prompt, output = _count(wire.get("prompt_tokens")), _count(wire.get("completion_tokens"))
    total = prompt or 0
    of_prompt = as_mapping(wire.get("prompt_tokens_details")) or {}
    of_output = as_mapping(wire.get("completion_tokens_details")) or {}
    cached = min(_count(of_prompt.get("cached_tokens")) or 0, total)
    written = min(_count(of_prompt.get("cache_write_tokens")) or 0, total - cached)
    audio = (_count(of_prompt.get("audio_tokens")) or 0) + (_count(of_output.get("audio_tokens")) or 0)
    return Usage(
        fresh_input_tokens=total - cached - written,
        cache_read_tokens=cached,
        cache_write_5m_tokens=written,
        output_tokens=output or 0,
        thinking_tokens=_count(of_output.get("reasoning_tokens")),
        unpriced_extras=(f"audio={audio}",) if audio else (),
    )


def _count(value: Any) -> int | None:
    """Return a token count, or ``None`` for anything else a wire may hold in its place."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_TOKENS:
        return None
    return value
