"""Phosphor icons, drawn straight from the font file that qtawesome carries.

qtawesome itself is not imported: importing it and drawing its first icon registers eleven fonts and costs
170 ms on two slow cores, the one font and its character map cost 3 ms. The file and the names (``cpu``,
``cpu-fill``) are qtawesome's ``ph.*``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

from PySide6.QtCore import QPoint, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontDatabase, QIcon, QIconEngine, QPainter, QPixmap

from gui.theme.fonts import package_folder

log = logging.getLogger(__name__)

_PREFIX = "phosphor-"
_FALLBACK_GLYPH = "•"  # a bullet: shown only when the icon font is missing, so that a button is never blank

Colour = Callable[[QIcon.Mode, QIcon.State], QColor]


@lru_cache(maxsize=1)
def _phosphor() -> tuple[str, dict[str, str]]:
    """Register the font once and return its family and name -> character."""
    folder = package_folder("qtawesome")
    fonts = [] if folder is None else sorted((folder / "fonts").glob(f"{_PREFIX}*.ttf"))
    maps = [] if folder is None else sorted((folder / "fonts").glob(f"{_PREFIX}charmap-*.json"))
    if not fonts or not maps:
        log.warning("qtawesome's Phosphor font is not installed; icons are drawn as dots")
        return "", {}
    families = QFontDatabase.applicationFontFamilies(QFontDatabase.addApplicationFont(str(fonts[-1])))
    names = cast("dict[str, str]", json.loads(maps[-1].read_text(encoding="utf-8")))
    return (families[0] if families else ""), {name: chr(int(code, 16)) for name, code in names.items()}


def known_icon(name: str) -> bool:
    """Say whether the icon font has ``name``."""
    return name in _phosphor()[1]


def paint_icon(painter: QPainter, rect: QRectF, name: str, color: QColor) -> None:
    """Draw an icon as large as the shorter side of ``rect``: centred in its height, at its left end."""
    family, glyphs = _phosphor()
    glyph = glyphs.get(name)
    if glyph is None:
        if glyphs:
            raise KeyError(f"Phosphor has no icon named {name!r}")
        glyph = _FALLBACK_GLYPH
    font = QFont(family) if family else QFont()
    side = min(rect.width(), rect.height())
    font.setPixelSize(max(1, round(side)))
    font.setHintingPreference(QFont.HintingPreference.PreferNoHinting)
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.TextAntialiasing)
    painter.setFont(font)
    painter.setPen(color)
    box = QRectF(rect.x(), rect.y() + (rect.height() - side) / 2, side, side)
    painter.drawText(box, Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextDontClip, glyph)
    painter.restore()


class GlyphEngine(QIconEngine):
    """Draws one glyph at any size and pixel ratio, asking for its colour at the moment of drawing.

    An icon handed to a button therefore follows a theme switch without being set again.
    """

    def __init__(self, name: str, colour: Colour) -> None:
        super().__init__()
        self._name = name
        self._colour = colour

    def paint(self, painter: QPainter, rect: QRect, mode: QIcon.Mode, state: QIcon.State) -> None:
        paint_icon(painter, QRectF(rect), self._name, self._colour(mode, state))

    def pixmap(self, size: QSize, mode: QIcon.Mode, state: QIcon.State) -> QPixmap:
        return self.scaledPixmap(size, mode, state, 1.0)

    def scaledPixmap(self, size: QSize, mode: QIcon.Mode, state: QIcon.State, scale: float) -> QPixmap:
        """Return ``size``, which Qt 6.8 and later say without ``scale``, in the pixels of the screen."""
        pixmap = QPixmap(size * scale)
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        self.paint(painter, QRect(QPoint(0, 0), pixmap.size()), mode, state)
        painter.end()
        return pixmap

    def clone(self) -> QIconEngine:
        return GlyphEngine(self._name, self._colour)

    def key(self) -> str:
        return "signalbox-glyph"


def glyph_icon(name: str, colour: Colour) -> QIcon:
    """Return a QIcon of ``name`` whose colour is asked for at every drawing.

    Raises:
        KeyError: when the icon font is there and has no such icon.
    """
    if _phosphor()[1] and not known_icon(name):
        raise KeyError(f"Phosphor has no icon named {name!r}")
    engine: Any = GlyphEngine(name, colour)
    return QIcon(engine)
