"""Reads the two wires' usage objects into disjoint counts.

The wires disagree on what "input" includes: Anthropic's ``input_tokens`` leaves cached tokens out, the OpenAI
wire's ``prompt_tokens`` has them in. Counting a cached token twice, or at the wrong class, is a wrong bill.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from core.chat import Usage

NOT_COUNTED_HINT = "The estimate made without it is used instead."
MOST_TOKENS = 2**40
"""A trillion: no request has more, and sums of such counts fit into the ledger's 64 bits."""


def as_mapping(value: Any) -> Mapping[str, Any] | None:
    """Return a wire object (a mapping, or an SDK model with its unknown fields) as a mapping, else ``None``."""
    if isinstance(value, dict | Mapping):  # a dict is told at once, other mappings are looked up
        return cast("Mapping[str, Any]", value)
    dump = getattr(value, "to_dict", None)
    return None if dump is None else as_mapping(dump())


_FREE_SERVER_TOOLS = frozenset({"web_fetch_requests"})
"""A web fetch costs the tokens of what it fetched and nothing more (Anthropic, "Web fetch tool")."""
_WEB_SEARCHES = "web_search_requests"
_MOST_SEARCHES = 10**9
_NEUTRAL_GEOS = frozenset({"global", "not_available"})
_NO_PLAIN_WORD = re.compile(r"[^a-z0-9_.,:-]+")
_WORD_CHARACTERS = 64
_UNNAMED = "unnamed"


class _Reports:
    """All the reports of one answer's usage. No report takes back what an earlier one said.

    Of each count the most that was ever said stands. What cannot be read (below 0, no whole number, a word) is no
    count and no zero either: it leaves the usage *doubtful* until a later report has that count.
    """

    def __init__(self) -> None:
        self._most: dict[str, int] = {}
        self._unread: set[str] = set()

    @property
    def is_doubtful(self) -> bool:
        """Whether the bill may be higher than what could be read: then nothing is settled by it."""
        return bool(self._unread)

    def _read(self, wire: Mapping[str, Any], name: str, prefix: str = "") -> int | None:
        """Read a count. ``None``: the report has none, which changes nothing, or one that can't be read.

        ``prefix`` keeps names that the wire chooses apart from ours.
        """
        value = wire.get(name)
        if value is None:
            return None
        count, key = token_count(value), prefix + name
        if count is None:
            self._unread.add(key)
            return None
        self._unread.discard(key)
        self._most[key] = max(count, self._most.get(key, 0))
        return count

    def _part(self, wire: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        """Return an object in a report, empty where there is none; what else stands there can't be read."""
        value = wire.get(name)
        if value is None:
            return {}
        part = as_mapping(value)
        if part is None:
            self._unread.add(name)
            return {}
        self._unread.discard(name)
        return part


_FRESH, _CACHE_READ, _OUTPUT = "input_tokens", "cache_read_input_tokens", "output_tokens"
_WRITTEN = "cache_creation_input_tokens"
_FIVE_MINUTES, _ONE_HOUR = "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"
_THINKING = "thinking_tokens"


class AnthropicReports(_Reports):
    """The usage of one answer on Anthropic's wire.

    ``message_start`` carries the input's counts, ``message_delta`` cumulative ones that may leave out what did
    not change. Cache writes without a breakdown by lifetime are of the lifetime already reported, else 5-minute
    writes, the wire's default.
    """

    def __init__(self) -> None:
        super().__init__()
        self._newest: dict[str, int] = {}
        self._most_input = 0
        """The most input that the reports up to any one of them told."""
        self._terms = Usage()
        self._terms_differ = False

    @property
    def usage(self) -> Usage | None:
        """What was reported so far; ``None`` while the input is not known, for no prompt has 0 tokens."""
        most = self._most
        five_minutes, one_hour = _cache_writes(most)
        thinking = most.get(_THINKING)
        usage = replace(
            self._terms,
            fresh_input_tokens=most.get(_FRESH, 0),
            cache_read_tokens=most.get(_CACHE_READ, 0),
            cache_write_5m_tokens=five_minutes,
            cache_write_1h_tokens=one_hour,
            output_tokens=_with_thinking(most.get(_OUTPUT, 0), thinking),
            thinking_tokens=thinking,
        )
        return usage if usage.input_tokens else None

    @property
    def is_doubtful(self) -> bool:
        """Also where reports contradict each other: in their terms, or by moving tokens from class to class.

        The most of each class would then count a token twice that is billed once.
        """
        usage = self.usage
        moved = usage is not None and usage.input_tokens > self._most_input
        return super().is_doubtful or self._terms_differ or moved

    def add(self, raw: Any) -> int | None:
        """Take one more report; return this very one's count of the output, ``None`` where it has none to read."""
        wire = as_mapping(raw)
        if wire is None:
            return None
        output_tokens = self._read(wire, _OUTPUT)
        for name in (_FRESH, _CACHE_READ):
            self._read_input(wire, name)
        five_minutes, one_hour = _cache_writes(self._newest)
        by_lifetime = self._part(wire, "cache_creation")
        written = self._read_input(wire, _WRITTEN)
        for name in (_FIVE_MINUTES, _ONE_HOUR):
            self._read_input(by_lifetime, name)
        if written is not None and not by_lifetime and one_hour and not five_minutes:
            # Only writes of an hour were named, so the rest of a new total is of that lifetime too.
            self._newest[_ONE_HOUR] = self._most[_ONE_HOUR] = max(written, one_hour)
        told = self._newest.get(_FRESH, 0) + self._newest.get(_CACHE_READ, 0)
        self._most_input = max(self._most_input, told + sum(_cache_writes(self._newest)))
        thinking = token_count(self._part(wire, "output_tokens_details").get(_THINKING))
        if thinking is not None:
            self._most[_THINKING] = max(thinking, self._most.get(_THINKING, 0))
        self._read_terms(wire)
        return output_tokens

    def _read_input(self, wire: Mapping[str, Any], name: str) -> int | None:
        count = self._read(wire, name)
        if count is not None:
            self._newest[name] = count
        return count

    def _read_terms(self, wire: Mapping[str, Any]) -> None:
        """Read what else a report says about its price. What is not known here stays: it makes a row unpriced."""
        found: dict[str, Any] = {}
        terms = self._terms
        tier, speed, geo = wire.get("service_tier"), wire.get("speed"), wire.get("inference_geo")
        if isinstance(tier, str):
            found["service_tier"] = _plain(tier) or None
        if isinstance(speed, str) and speed != "standard":
            found["speed"] = _plain(speed) or None
        if isinstance(geo, str) and geo not in _NEUTRAL_GEOS:
            found["region"] = _plain(geo) or None
        for name in ("service_tier", "speed", "region"):
            before = getattr(terms, name)
            self._terms_differ |= before is not None and found.get(name, before) != before
        extras = {name: value for name, _, value in (extra.partition("=") for extra in terms.unpriced_extras)}
        tools = self._part(wire, "server_tool_use")
        for name in tools:
            if name in _FREE_SERVER_TOOLS:
                continue
            count = self._read(tools, name, "tool ")
            if name == _WEB_SEARCHES and (count or 0) < _MOST_SEARCHES:
                found["web_searches"] = max(count or 0, terms.web_searches)
            elif count:
                kept = f"tool_{_plain(str(name))}"
                extras[kept] = str(max(count, int(extras.get(kept) or 0)))
        iterations: object = wire.get("iterations")
        if isinstance(iterations, list | tuple):
            found["call_kinds"] = _kinds(cast("Sequence[object]", iterations)) or terms.call_kinds
        credit = as_mapping((as_mapping(wire.get("fallback_credit")) or {}).get("status"))
        if credit is not None and credit.get("type") != "not_applied":
            extras["fallback_credit"] = _plain(str(credit.get("type"))) or _UNNAMED
        found["unpriced_extras"] = tuple(sorted(f"{name}={value}" for name, value in extras.items()))
        self._terms = replace(terms, **found)


def _cache_writes(counts: Mapping[str, int]) -> tuple[int, int]:
    """Return the tokens written for 5 minutes and for an hour.

    What the total has beyond the named lifetimes was written too; the default lifetime is the wire's.
    """
    one_hour = counts.get(_ONE_HOUR, 0)
    return max(counts.get(_FIVE_MINUTES, 0), counts.get(_WRITTEN, 0) - one_hour), one_hour


def _kinds(iterations: Sequence[object]) -> tuple[str, ...]:
    """Name the kinds of calls behind one answer; none for a single one of the model itself.

    Several calls of the model are added up in the report's own counts; those of other kinds (compaction, an
    advisor, a fallback model) are not, or have another model's price.
    """
    named = (_plain(str((as_mapping(entry) or {}).get("type"))) for entry in iterations)
    kinds = sorted({name.replace(",", "_") or _UNNAMED for name in named})
    return () if len(iterations) < 2 and kinds in ([], ["message"]) else tuple(kinds)


def _with_thinking(output_tokens: int, thinking_tokens: int | None) -> int:
    """Return all of the output. Thinking is a part of it, unless there is more of it than output in all."""
    thinking = thinking_tokens or 0
    return output_tokens + thinking if thinking > output_tokens else output_tokens


def _plain(text: str) -> str:
    return _NO_PLAIN_WORD.sub("_", text.strip().lower())[:_WORD_CHARACTERS]


class OpenAIReports(_Reports):
    """The usage of one answer on the OpenAI wire.

    ``prompt_tokens`` includes cached ones and those written to the cache, so they are taken out of the fresh
    count. That wire has one class of cache writes; it stands with the 5-minute ones. Predicted tokens that were
    rejected are inside ``completion_tokens``. Audio has its own prices, so it is an unpriced extra.
    """

    def __init__(self) -> None:
        super().__init__()
        self._audio = 0

    @property
    def usage(self) -> Usage | None:
        """What was reported so far; ``None`` while one of the two counts is not known: no prompt has 0 tokens."""
        most = self._most
        prompt, output = most.get("prompt_tokens"), most.get("completion_tokens")
        if not prompt or output is None:
            return None
        cached, written = most.get("cached_tokens", 0), most.get("cache_write_tokens", 0)
        thinking = most.get("reasoning_tokens")
        return Usage(
            # A part that is larger than its whole is no part of it: some servers leave cached tokens out of it.
            fresh_input_tokens=prompt if cached + written > prompt else prompt - cached - written,
            cache_read_tokens=cached,
            cache_write_5m_tokens=written,
            output_tokens=_with_thinking(output, thinking),
            thinking_tokens=thinking,
            unpriced_extras=(f"audio={self._audio}",) if self._audio else (),
        )

    def add(self, raw: Any) -> bool:
        """Take one more report; say whether it counts anything. Some servers send one with each chunk."""
        wire = as_mapping(raw)
        if wire is None:
            return False
        counts = [self._read(wire, name) for name in ("prompt_tokens", "completion_tokens")]
        if wire.get("prompt_tokens_details") or wire.get("completion_tokens_details"):
            of_prompt = self._part(wire, "prompt_tokens_details")
            of_output = self._part(wire, "completion_tokens_details")
            for name in ("cached_tokens", "cache_write_tokens"):
                self._read(of_prompt, name)
            self._read(of_output, "reasoning_tokens")
            audio = (token_count(part.get("audio_tokens")) or 0 for part in (of_prompt, of_output))
            self._audio = max(self._audio, sum(audio))
        return counts != [None, None]


def token_count(value: Any) -> int | None:
    """Return a token count, or ``None`` for anything else a wire may hold in its place."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 12.0, as a bridge in another language may write it
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_TOKENS:
        return None
    return value
