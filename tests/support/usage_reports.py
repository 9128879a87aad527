"""Usage reports as no server should send them, on both wires, and the least that may be made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

from core.chat import Usage

ANTHROPIC = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
LIFETIMES = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
OPENAI = ("prompt_tokens", "completion_tokens")
OF_PROMPT = ("cached_tokens", "cache_write_tokens")
NO_COUNTS = (-1, -2000, 1e30, 2**41, 0.5, float("nan"), float("inf"), True, "12", "", [], [5], {})


def odd_report(chance: Random, wire: str) -> dict[str, Any]:
    """A report with some of its counts left out, null, unreadable, or smaller than before."""
    if wire == "openai":
        return {
            **_some(chance, OPENAI),
            **_part(chance, "prompt_tokens_details", OF_PROMPT),
            **_part(chance, "completion_tokens_details", ("reasoning_tokens",)),
        }
    return {
        **_some(chance, ANTHROPIC),
        **_part(chance, "cache_creation", LIFETIMES),
        **_part(chance, "output_tokens_details", ("thinking_tokens",)),
        **_part(chance, "server_tool_use", ("web_search_requests",)),
    }


def _some(chance: Random, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: _value(chance) for name in names if chance.random() < 0.7}


def _part(chance: Random, name: str, names: tuple[str, ...]) -> dict[str, Any]:
    if chance.random() < 0.5:
        return {}
    return {name: chance.choice((None, 5, "x")) if chance.random() < 0.1 else _some(chance, names)}


def _value(chance: Random) -> Any:
    kind = chance.random()
    if kind < 0.1:
        return chance.choice(NO_COUNTS)
    return None if kind < 0.2 else chance.choice((0, 1, chance.randint(0, 50), chance.randint(0, 50_000)))


def named(report: Any) -> Iterator[tuple[str, Any]]:
    """Every count of a report by its name, the names of its parts left out."""
    for name, value in report.items():
        if isinstance(value, dict) and value:
            yield from named(value)
        else:
            yield name, value


def readable(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 2**40 and value == int(value)


def most(reports: Iterable[Any]) -> dict[str, int]:
    """The most that was reported of each count."""
    found: dict[str, int] = {}
    for report in reports:
        for name, value in named(report):
            if readable(value):
                found[name] = max(found.get(name, 0), int(value))
    return found


def is_in_doubt(reports: Iterable[Any]) -> bool:
    """Whether the newest word on a count is none that can be read."""
    newest: dict[str, bool] = {}
    for report in reports:
        for name, value in named(report):
            if value is not None and name != "thinking_tokens":
                newest[name] = readable(value)
    return not all(newest[name] for name in newest if name in (*ANTHROPIC, *LIFETIMES, "web_search_requests"))


def assert_nothing_is_lost(usage: Usage, reports: Iterable[Any], wire: str) -> None:
    said = most(reports)
    if wire == "openai":
        assert usage.input_tokens >= said.get("prompt_tokens", 0)
        assert usage.cache_read_tokens >= said.get("cached_tokens", 0)
        assert usage.cache_write_5m_tokens >= said.get("cache_write_tokens", 0)
        assert usage.output_tokens >= max(said.get("completion_tokens", 0), said.get("reasoning_tokens", 0))
        return
    assert usage.fresh_input_tokens >= said.get("input_tokens", 0)
    assert usage.cache_read_tokens >= said.get("cache_read_input_tokens", 0)
    assert usage.cache_write_5m_tokens >= said.get("ephemeral_5m_input_tokens", 0)
    assert usage.cache_write_1h_tokens >= said.get("ephemeral_1h_input_tokens", 0)
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    assert written >= said.get("cache_creation_input_tokens", 0)
    assert usage.output_tokens >= max(said.get("output_tokens", 0), said.get("thinking_tokens", 0))
    assert usage.web_searches >= said.get("web_search_requests", 0)
