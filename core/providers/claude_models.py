"""What each family of Claude models takes, so that a parameter it refuses is left out instead of failing.

Limits are those of the public model pages; ``AnthropicProvider.check`` replaces them with what the API itself
says. An unknown model is read as the newest kind, which takes no sampling parameters: leaving a temperature out
never fails, and sending it would.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaudeFamily:
    """One row. ``max_output_tokens`` and ``context_tokens`` are ``None`` where not known."""

    prefix: str
    takes_temperature: bool
    takes_json_schema: bool
    context_tokens: int | None
    max_output_tokens: int | None


def _family(
    prefix: str, context_tokens: int, max_output_tokens: int, *, temperature: bool, schema: bool
) -> ClaudeFamily:
    return ClaudeFamily(
        prefix=prefix,
        takes_temperature=temperature,
        takes_json_schema=schema,
        context_tokens=context_tokens,
        max_output_tokens=max_output_tokens,
    )


NEWEST = ClaudeFamily(
    prefix="", takes_temperature=False, takes_json_schema=True, context_tokens=None, max_output_tokens=None
)
FAMILIES: tuple[ClaudeFamily, ...] = (
    # prefix, context, output: sampling parameters left the wire with Opus 4.7, Sonnet 5 and Haiku 5.5.
    _family("claude-3-haiku", 200_000, 4_096, temperature=True, schema=False),
    _family("claude-3-opus", 200_000, 4_096, temperature=True, schema=False),
    _family("claude-3-sonnet", 200_000, 4_096, temperature=True, schema=False),
    _family("claude-3-5-", 200_000, 8_192, temperature=True, schema=False),
    _family("claude-3-7-", 200_000, 64_000, temperature=True, schema=False),
    _family("claude-opus-4-1", 200_000, 32_000, temperature=True, schema=True),
    _family("claude-opus-4-5", 200_000, 64_000, temperature=True, schema=True),
    _family("claude-opus-4-6", 1_000_000, 128_000, temperature=True, schema=True),
    _family("claude-opus-4-7", 1_000_000, 128_000, temperature=False, schema=True),
    _family("claude-opus-4-8", 1_000_000, 128_000, temperature=False, schema=True),
    _family("claude-opus-4", 200_000, 32_000, temperature=True, schema=False),
    _family("claude-4-opus", 200_000, 32_000, temperature=True, schema=False),
    _family("claude-sonnet-4-5", 200_000, 64_000, temperature=True, schema=True),
    _family("claude-sonnet-4-6", 1_000_000, 64_000, temperature=True, schema=True),
    _family("claude-sonnet-4", 200_000, 64_000, temperature=True, schema=False),
    _family("claude-haiku-4-5", 200_000, 64_000, temperature=True, schema=True),
    _family("claude-opus-5", 1_000_000, 128_000, temperature=False, schema=True),
    _family("claude-sonnet-5", 1_000_000, 128_000, temperature=False, schema=True),
    _family("claude-haiku-5", 1_000_000, 128_000, temperature=False, schema=True),
    _family("claude-fable-5", 1_000_000, 128_000, temperature=False, schema=True),
    _family("claude-mythos", 1_000_000, 128_000, temperature=False, schema=True),
)


@lru_cache(maxsize=256)
def claude_family(model: str) -> ClaudeFamily:
    """Return the row of ``model``: the longest prefix that fits, else the newest kind."""
    fitting = [family for family in FAMILIES if model.startswith(family.prefix)]
    return max(fitting, key=lambda family: len(family.prefix), default=NEWEST)
