"""Every colour of the panel: one table for widgets and charts (design language, section 2).

Colour is a signal: the house is ink on paper, and a hue only ever means local, API, held, danger, ready or
focus. Contrast figures stand in the design language; ``tests/gui/theme/test_theme.py`` measures them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: token -> (light, dark), sRGB hex.
_TABLE: dict[str, tuple[str, str]] = {
    "window": ("#F2F5F4", "#111514"),
    "surface": ("#FFFFFF", "#191E1D"),
    "sunken": ("#E9EDEB", "#0C0F0E"),
    "raised": ("#FFFFFF", "#222928"),
    "hover": ("#E3E9E6", "#252C2A"),
    "select": ("#DCE4E0", "#2C3533"),
    "border": ("#D3DAD7", "#2E3634"),
    "grid": ("#E4E9E7", "#262D2B"),
    "control": ("#7A8681", "#707C77"),
    "track": ("#AEB8B4", "#4A5551"),
    "text": ("#14201C", "#E7ECEA"),
    "text2": ("#46534E", "#AAB5B1"),
    "text3": ("#616D68", "#8C9893"),
    "ink": ("#14201C", "#E7ECEA"),
    "onInk": ("#FFFFFF", "#111514"),
    "focus": ("#1A5FD0", "#7FB0FF"),
    "local": ("#12958B", "#5AD6C6"),
    "local_text": ("#0A6A63", "#5AD6C6"),
    "local_tint": ("#DFF2EF", "#11322E"),
    "api": ("#5334BD", "#8F78F5"),
    "api_text": ("#5334BD", "#A996FF"),
    "api_tint": ("#ECE8F9", "#272148"),
    "held": ("#B7791F", "#E0AE3A"),
    "held_text": ("#835408", "#E0AE3A"),
    "held_tint": ("#FAF0DA", "#34290F"),
    "danger": ("#C62F3B", "#F06A70"),
    "danger_text": ("#B3202D", "#FF8A8E"),
    "danger_tint": ("#FBE7E8", "#3B1B1E"),
    "ok": ("#3F7D20", "#86C65A"),
    "ok_text": ("#386F1C", "#86C65A"),
    "ok_tint": ("#E6F1DF", "#1D2E15"),
}

TOKENS: tuple[str, ...] = tuple(_TABLE)
LIGHT: Mapping[str, str] = MappingProxyType({token: light for token, (light, _) in _TABLE.items()})
DARK: Mapping[str, str] = MappingProxyType({token: dark for token, (_, dark) in _TABLE.items()})

_TINTS = ("local_tint", "api_tint", "held_tint", "danger_tint", "ok_tint")


def palette_for(*, dark: bool, high_contrast: bool = False) -> Mapping[str, str]:
    """Return token -> hex. High contrast draws every outline in ``text`` and switches the tints off."""
    base = DARK if dark else LIGHT
    if not high_contrast:
        return base
    strong = {token: base["text"] for token in ("border", "control", "grid", "track", "text2", "text3")}
    return MappingProxyType({**base, **strong, **{token: base["surface"] for token in _TINTS}})
