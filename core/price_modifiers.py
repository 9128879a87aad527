"""What changes a usage's price as one line of text, such as ``standard+geo=us+web_search=2``, and back.

The ledger's column ``service_tier`` keeps it so, and so did the answers and conversations of released versions:
the provider's tier, then the rest as ``name=value`` in one fixed order. Everything else uses ``Usage``'s fields.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from core.chat import Usage

_MOST_DIGITS = 9


def modifiers_text(usage: Usage) -> str | None:
    """Return the modifiers of ``usage`` as text: equal modifiers are equal text, none at all are ``None``."""
    words = list(usage.unpriced_extras)
    if usage.speed:
        words.append(f"speed={usage.speed}")
    if usage.region:
        words.append(f"geo={usage.region}")
    if usage.web_searches:
        words.append(f"web_search={usage.web_searches}")
    if usage.call_kinds:
        words.append(f"iterations={','.join(usage.call_kinds)}")
    return "+".join([*([usage.service_tier] if usage.service_tier else []), *sorted(words)]) or None


def with_modifiers(usage: Usage, text: str | None) -> Usage:
    """Return ``usage`` with what ``text`` names. A word that is not known stays, and makes the usage unpriced."""
    found: dict[str, Any] = {}
    extras: list[str] = []
    for word in (text or "").split("+"):
        name, equals, value = word.partition("=")
        if not word:
            continue
        if not equals and "service_tier" not in found:
            found["service_tier"] = word
        elif name == "speed" and value:
            found["speed"] = value
        elif name == "geo" and value:
            found["region"] = value
        elif name == "web_search" and _is_count(value):
            found["web_searches"] = int(value)
        elif name == "iterations" and value:
            found["call_kinds"] = tuple(value.split(","))
        else:
            extras.append(word)
    if extras:
        found["unpriced_extras"] = tuple(sorted({*usage.unpriced_extras, *extras}))
    return replace(usage, **found) if found else usage


def split_service_tier(usage: Usage) -> Usage:
    """Return a usage that a released version wrote as JSON, whose ``service_tier`` held all of the text."""
    tier = usage.service_tier
    if tier is None or not ("+" in tier or "=" in tier):
        return usage
    return with_modifiers(replace(usage, service_tier=None), tier)


def _is_count(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS and not value.startswith("0")
