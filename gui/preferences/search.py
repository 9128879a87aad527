"""Finds things on the preferences page by words: its settings, and what else has a row there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gui.preferences.catalogue import SECTIONS, setting_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A search result: ``anchor`` names the row inside ``section`` that gets the focus."""

    section: str
    anchor: str
    label: str
    words: str


OTHER_PLACES: tuple[Place, ...] = tuple(
    Place(section=section, anchor=anchor, label=label, words=words)
    for section, anchor, label, words in (
        ("keys", "keyring", "Keyring", "secret service gnome kwallet keychain"),
        ("keys", "anthropic", "Anthropic API key", "anthropic_api_key claude sk-ant"),
        ("keys", "huggingface", "Hugging Face token", "hf_token gated models"),
        ("keys", "vllm", "vLLM key", "vllm_api_key bearer"),
        ("local", "control", "Start or stop the server", "restart state log embedded vllm"),
        ("appearance", "theme", "Theme", "dark light system colour color"),
        ("appearance", "zoom", "Zoom", "size font scale percent"),
        ("appearance", "motion", "Reduced motion", "animation accessibility"),
        ("shortcuts", "table", "Keyboard shortcuts", "keys hotkeys accelerators"),
        ("data", "folders", "Folders", "logs conversations ledger settings path open"),
        ("about", "versions", "Versions", "about python qt licence license details"),
    )
)
"""What has a row without being a setting."""


def places(setting_names: Iterable[str]) -> tuple[Place, ...]:
    """All that can be searched for, in the order of the sections."""
    found = [
        Place(section=text.section, anchor=name, label=text.label, words=f"{name} {text.card} {text.also}")
        for name in setting_names
        for text in [setting_text(name)]
    ]
    order = [section.id for section in SECTIONS]
    return tuple(sorted([*found, *OTHER_PLACES], key=lambda place: order.index(place.section)))


def find(everything: Iterable[Place], query: str) -> tuple[Place, ...]:
    """The places in whose words every word of ``query`` occurs, those with it in their name first."""
    wanted = query.lower().split()
    titles = {section.id: section.title for section in SECTIONS}
    hits: list[tuple[int, Place]] = []
    for place in everything:
        text = f"{place.label} {titles[place.section]} {place.words}".lower()
        if all(word in text for word in wanted):
            hits.append((0 if all(word in place.label.lower() for word in wanted) else 1, place))
    return tuple(place for _, place in sorted(hits, key=lambda hit: hit[0]))
