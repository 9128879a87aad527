"""The panel's two faces, Inter and JetBrains Mono, and the type scale that uses them.

Tabular figures are a choice per font: Inter's ``tnum`` also makes the hyphen as wide as a figure (7.8 instead of
5.5 px at 12 px), which tears words such as ``qwen2.5-coder-14b`` apart. Figures are tabular, prose is not.

Both come as *variable* TTFs, and Qt registers such a file as its regular style only: asked for weight 500 or
600 it silently draws 400 (measured with Qt 6.11 on offscreen and xcb: the same ink, the same advances). The
weight renders only when the ``wght`` axis is set on the QFont itself, which QSS cannot do. So no font is
ever set in the style sheet; every QFont comes from :func:`build_font`.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PySide6.QtGui import QFont, QFontDatabase

log = logging.getLogger(__name__)

Role = Literal["hero", "figure", "title", "reading", "body", "small", "caption", "mono"]


@dataclass(frozen=True, slots=True)
class TypeStep:
    """One step of the scale: ``size_px`` and ``line_px`` before zoom, and the weight it has by itself."""

    size_px: int
    line_px: int
    weight: int


SCALE: dict[str, TypeStep] = {
    "hero": TypeStep(28, 36, 600),
    "figure": TypeStep(20, 28, 600),
    "title": TypeStep(15, 20, 600),
    "reading": TypeStep(14, 22, 400),
    "body": TypeStep(13, 20, 400),
    "small": TypeStep(12, 16, 400),
    "caption": TypeStep(11, 16, 400),
    "mono": TypeStep(12, 19, 400),
}

_TEXT_PACKAGE = "fontpkg_inter"
_MONO_PACKAGE = "fontpkg_jetbrains_mono"
_WEIGHT_AXIS = QFont.Tag("wght")
_OPTICAL_AXIS = QFont.Tag("opsz")
_TABULAR_FIGURES = QFont.Tag("tnum")
_LIGATURES = (QFont.Tag("calt"), QFont.Tag("liga"))
"""What is shown is what was written and is copied, letter by letter: in code, addresses and names of models."""


@dataclass(frozen=True, slots=True)
class Families:
    """Family names to ask Qt for; ``bundled_*`` is false when the system's own face stands in."""

    text: Sequence[str]
    mono: Sequence[str]
    bundled_text: bool
    bundled_mono: bool


def package_folder(package: str) -> Path | None:
    """Return where ``package`` lives without importing it, ``None`` when it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent


def _load_upright(package: str) -> str | None:
    """Register the upright variable TTF of a font package; the panel uses no italics."""
    folder = package_folder(package)
    files = [] if folder is None else sorted((folder / "files").glob("*.ttf"))
    for file in files:
        if "Italic" in file.name:
            continue
        families = QFontDatabase.applicationFontFamilies(QFontDatabase.addApplicationFont(str(file)))
        if families:
            return families[0]
    log.warning("The font package %s is not usable; the system's own face is used instead", package)
    return None


def load_families() -> Families:
    """Register the bundled fonts; needs a QGuiApplication. 12 ms here."""
    text = _load_upright(_TEXT_PACKAGE)
    mono = _load_upright(_MONO_PACKAGE)
    system = QFontDatabase.systemFont(QFontDatabase.SystemFont.GeneralFont).family()
    fixed = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont).family()
    return Families(
        text=[text, system] if text else [system],
        mono=[mono, fixed] if mono else [fixed],
        bundled_text=text is not None,
        bundled_mono=mono is not None,
    )


_DISPLAY = ("hero", "figure")
PROSE_ROLES = ("hero", "title", "reading")
"""Roles whose figures are proportional unless asked for."""


def build_font(families: Families, role: str, size_px: int, weight: int, *, tabular: bool) -> QFont:
    """Return the QFont of a role: family, pixel size, weight and optical size on their axes, figures."""
    mono = role == "mono"
    font = QFont()
    font.setFamilies(list(families.mono if mono else families.text))
    font.setPixelSize(size_px)
    font.setWeight(QFont.Weight(weight))
    font.setHintingPreference(QFont.HintingPreference.PreferNoHinting)
    if families.bundled_mono if mono else families.bundled_text:
        font.setVariableAxis(_WEIGHT_AXIS, float(weight))
    # Everything is set explicitly: what a font leaves open, Qt fills in from the application's font.
    if mono:
        font.setStyleHint(QFont.StyleHint.Monospace)
        font.setFixedPitch(True)
    elif families.bundled_text:
        font.setVariableAxis(_OPTICAL_AXIS, float(min(32, max(14, size_px))) if role in _DISPLAY else 14.0)
    font.setFeature(_TABULAR_FIGURES, 1 if tabular else 0)
    for (
        feature
    ) in _LIGATURES:  # "->" would be an arrow and "8x7B" hold a multiplication sign: no address, no name
        font.setFeature(feature, 0)
    return font
