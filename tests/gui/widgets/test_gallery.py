"""The gallery still builds, in both schemes, with something in every state."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication

from gui.theme.theme import theme
from tests.gallery import shoot


def test_it_is_shot_in_both_schemes(qapp: QApplication, tmp_path: Path) -> None:
    light, dark = (QImage(str(file)) for file in shoot(qapp, tmp_path))
    theme().set_scheme("light")
    assert light.pixelColor(2, 2) == theme().color("window")
    theme().set_scheme("dark")
    assert dark.pixelColor(2, 2) == theme().color("window")
    assert min(light.width(), dark.width()) >= 1400
    assert light.height() > 5000
