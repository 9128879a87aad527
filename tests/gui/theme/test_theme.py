"""The look, measured: contrast, weights that render, figures, zoom, switching, and what is not imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtGui import QFont, QFontMetricsF, QImage, QPainter
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QApplication,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSlider,
    QSpinBox,
    QWidget,
)

from gui.theme.icons import known_icon
from gui.theme.palette import DARK, LIGHT, TOKENS, palette_for
from gui.theme.stylesheet import build_stylesheet
from gui.theme.theme import Scheme, set_button_icon, set_property, theme

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def themed(qapp: QApplication) -> Iterator[None]:
    theme().install(qapp)
    theme().set_scheme("light")
    theme().set_zoom(1.0)
    yield
    theme().set_scheme("light")
    theme().set_zoom(1.0)


def luminance(color: str) -> float:
    """Relative luminance after WCAG 2.2."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
def test_text_is_readable_on_every_ground_and_on_its_own_tint(colors: dict[str, str]) -> None:
    for ground in ("window", "surface", "sunken", "raised"):
        for token in (
            "text",
            "text2",
            "text3",
            "local_text",
            "api_text",
            "held_text",
            "danger_text",
            "ok_text",
        ):
            assert contrast(colors[token], colors[ground]) >= 4.5, (token, ground)
        for token in ("control", "focus", "local", "api", "held", "danger", "ok"):
            assert contrast(colors[token], colors[ground]) >= 3.0, (token, ground)
    for hue in ("local", "api", "held", "danger", "ok"):
        assert contrast(colors[f"{hue}_text"], colors[f"{hue}_tint"]) >= 5.2, hue
    assert contrast(colors["onInk"], colors["ink"]) >= 7


def test_local_is_always_lighter_than_api() -> None:
    for colors in (LIGHT, DARK):
        assert luminance(colors["local"]) > luminance(colors["api"])


def test_high_contrast_turns_outlines_to_text_and_tints_off() -> None:
    strong = palette_for(dark=True, high_contrast=True)
    assert strong["control"] == strong["border"] == DARK["text"]
    assert strong["api_tint"] == DARK["surface"]
    assert set(strong) == set(TOKENS)


def ink_of(font: QFont) -> int:
    """How much darkness a sample text puts on white."""
    image = QImage(360, 48, QImage.Format.Format_Grayscale8)
    image.fill(255)
    painter = QPainter(image)
    painter.setFont(font)
    painter.drawText(4, 34, "Two tracks for every prompt")
    painter.end()
    return sum(255 - value for value in image.constBits().tobytes())


@pytest.mark.parametrize("role", ["hero", "body", "mono"])
def test_each_weight_really_draws_more_ink(role: str) -> None:
    regular, medium, bold = (ink_of(theme().font(role, weight)) for weight in (400, 500, 600))
    assert regular * 1.04 < medium
    assert medium * 1.04 < bold


def test_weight_and_figures_survive_the_style_sheet(qtbot: object) -> None:
    label = QLabel("Two tracks for every prompt")
    set_property(label, role="body", weight=600, level="2")
    label.ensurePolished()
    assert label.sizeHint().width() == pytest.approx(
        QFontMetricsF(theme().font("body", 600)).horizontalAdvance(label.text()), abs=2
    )
    assert ink_of(label.font()) == ink_of(theme().font("body", 600))


def test_figures_are_tabular_and_the_hyphens_of_words_are_not() -> None:
    figures, prose = QFontMetricsF(theme().font("body")), QFontMetricsF(theme().font("body", tabular=False))
    assert figures.horizontalAdvance("1111") == figures.horizontalAdvance("0000")
    assert prose.horizontalAdvance("1111") < prose.horizontalAdvance("0000")
    assert prose.horizontalAdvance("-") < figures.horizontalAdvance("-")


def test_unknown_names_are_errors() -> None:
    with pytest.raises(KeyError):
        theme().color("blurple")
    with pytest.raises(KeyError):
        theme().icon("no-such-icon")


def test_every_icon_named_in_the_panel_exists() -> None:
    pattern = re.compile(
        r"""(?:icon\(|icon=|IconButton\(|IconMark\(|kind="icon", name=|button_icon\(\w+, )\s*"([a-z0-9-]+)\""""
    )
    names = {
        name
        for file in (ROOT / "gui").rglob("*.py")
        for name in pattern.findall(file.read_text(encoding="utf-8"))
    }
    assert len(names) > 8
    assert {name for name in names if not known_icon(name)} == set()


def test_an_icon_follows_the_theme_without_being_set_again() -> None:
    icon = theme().icon("cpu-fill", "text")
    light = icon.pixmap(16, 16).toImage().pixelColor(8, 4)
    theme().set_scheme("dark")
    dark = icon.pixmap(16, 16).toImage().pixelColor(8, 4)
    assert light.lightness() < 128 < dark.lightness()


def test_switching_the_scheme_repaints_what_stands(qapp: QApplication) -> None:
    window = QWidget()
    window.resize(40, 40)
    window.show()
    calls: list[bool] = []
    theme().changed.connect(lambda: calls.append(theme().is_dark))
    assert window.grab().toImage().pixelColor(5, 5).name().upper() == LIGHT["window"]
    theme().set_scheme("dark")
    assert window.grab().toImage().pixelColor(5, 5).name().upper() == DARK["window"]
    assert calls == [True]
    window.close()


@pytest.mark.parametrize("zoom", [0.9, 1.0, 1.25, 1.5])
def test_zoom_scales_boxes_and_type(zoom: float) -> None:
    button, label = QPushButton("Test"), QLabel("Figure")
    compact = QPushButton("Test")
    set_property(label, role="figure")
    set_property(compact, compact=True)
    theme().set_zoom(zoom)
    assert button.sizeHint().height() == round(32 * zoom)
    assert compact.sizeHint().height() == round(28 * zoom)
    assert label.font().pixelSize() == round(20 * zoom)


def test_zoom_has_its_limits() -> None:
    theme().set_zoom(9)
    assert theme().zoom == 1.5
    theme().set_zoom(0.1)
    assert theme().zoom == 0.9
    assert theme().px(1) == 1


@pytest.mark.parametrize(
    "properties",
    [{}, {"primary": True}, {"flat": True}, {"compact": True}, {"primary": True, "compact": True}],
)
def test_focus_changes_no_size(properties: dict[str, bool], qapp: QApplication) -> None:
    window = QWidget()
    row = QHBoxLayout(window)
    other, button = QLineEdit(), QPushButton("Start the small model")
    set_property(button, **properties)
    row.addWidget(other)
    row.addWidget(button)
    window.show()
    window.activateWindow()
    other.setFocus()
    qapp.processEvents()
    before = button.sizeHint(), other.sizeHint()
    button.setFocus()
    qapp.processEvents()
    assert button.hasFocus()
    assert (button.sizeHint(), other.sizeHint()) == before
    window.close()


@pytest.mark.parametrize("scale", ["1", "2", "3"])
def test_a_focused_ink_button_is_ink_inside_its_ring_on_every_screen(scale: str) -> None:
    code = """
from PySide6.QtWidgets import QApplication, QHBoxLayout, QPushButton, QWidget
from gui.theme.theme import set_property, theme
app = QApplication([])
theme().install(app)
window = QWidget()
row = QHBoxLayout(window)
button = QPushButton("Open the chat")
set_property(button, primary=True)
row.addWidget(button)
window.show()
window.activateWindow()
button.setFocus()
app.processEvents()
picture = button.grab().toImage()
ratio = round(picture.devicePixelRatio())
middle = picture.height() // 2
print(ratio, *(picture.pixelColor(x * ratio + ratio // 2, middle).name() for x in (0, 4, 6)))
print(theme().color("focus").name(), theme().color("ink").name())
"""
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "QT_SCALE_FACTOR": scale}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    seen, wanted = (line.split() for line in done.stdout.splitlines())
    assert seen == [scale, wanted[0], wanted[1], wanted[1]]


def test_a_spin_box_is_as_high_as_a_field_and_has_a_margin(qapp: QApplication) -> None:
    window = QWidget()
    row = QHBoxLayout(window)
    spin = QSpinBox()
    row.addWidget(spin)
    window.show()
    qapp.processEvents()
    assert spin.height() == 32
    assert spin.lineEdit().textMargins().left() == 8
    window.close()


def test_the_first_window_imports_no_icon_library_nor_an_sdk() -> None:
    code = (
        "import sys, gui.theme.theme, gui.shell.rail, gui.shell.header, gui.widgets.route_badge;"
        "print([m for m in ('qtawesome', 'qtpy', 'anthropic', 'openai', 'sqlalchemy', 'pyqtgraph', 'genai_prices')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_label_whose_tone_changed_still_follows_the_zoom(qapp: QApplication) -> None:
    toned, plain = QLabel("Ready."), QLabel("Ready.")
    page = QWidget()
    row = QHBoxLayout(page)
    for one in (toned, plain):
        row.addWidget(one)
        set_property(one, role="small", weight=600)
    page.show()
    qapp.processEvents()
    set_property(toned, tone="ok")
    for zoom in (1.2, 1.5):
        theme().set_zoom(zoom)
        set_property(
            toned, tone="danger" if zoom == 1.2 else "ok"
        )  # as a widget does that hears of the change
        assert toned.font().pixelSize() == plain.font().pixelSize() == theme().px(12)
    page.close()


class _Counting(QLabel):
    """Counts how often a style was applied to it."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.applied = 0

    def event(self, event: QEvent) -> bool:
        self.applied += event.type() == QEvent.Type.StyleChange
        return super().event(event)


def test_a_switch_styles_a_deep_widget_no_more_often_than_a_flat_one(qapp: QApplication) -> None:
    """Qt applies a changed sheet once for each ancestor: with a long conversation a second of standstill."""
    page = QWidget()
    deep = page
    for _ in range(12):
        deep = QWidget(deep)
    flat, nested = _Counting(page), _Counting(deep)
    page.show()
    qapp.processEvents()
    flat.applied = nested.applied = 0
    theme().set_scheme("dark")
    theme().set_zoom(1.2)
    assert flat.applied > 0
    assert nested.applied <= flat.applied
    page.close()


def test_a_buttons_icon_follows_the_zoom_there_and_back(qapp: QApplication) -> None:
    button = QPushButton("Try again")
    set_button_icon(button, "arrow-clockwise", "text", 14)
    before = button.iconSize()
    theme().set_zoom(1.5)
    assert button.iconSize().height() == theme().px(14)
    theme().set_zoom(1.0)
    assert button.iconSize() == before


def test_a_sheet_held_back_comes_when_the_tree_is_built() -> None:
    script = """
from PySide6.QtWidgets import QApplication, QLabel
from gui.theme.theme import set_property, theme
app = QApplication([])
theme().install(app, with_sheet=False)
theme().set_zoom(1.25)
label = QLabel("Title")
set_property(label, role="title")
before = (app.styleSheet(), label.font().pixelSize())
theme().apply_sheet()
assert before == ("", theme().font("title").pixelSize())
assert "QPushButton" in app.styleSheet()
assert label.font().pixelSize() == theme().font("title").pixelSize()
sheet = app.styleSheet()
theme().set_zoom(1.0)
assert app.styleSheet() != sheet
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ | {"QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr


OPERABLE = ("QPushButton", "QToolButton", "QLineEdit", "QComboBox", "QCheckBox", "QRadioButton", "QSlider")
QUIET = (":disabled", "read-only", 'flat="true"', 'painted="true"', 'bare="true"', "QAbstractItemView")
"""What can't be operated now, what has no outline by design, and what lies inside of something that has one."""


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
def test_whatever_can_be_operated_has_an_outline_that_is_seen(colors: dict[str, str]) -> None:
    """After WCAG 2.2, 1.4.11: 3 to 1 against the card, the page and the menu it may stand on."""
    sheet = build_stylesheet(colors, lambda length: length, lambda icon, token: f"{icon}.png")
    lines: list[tuple[str, str]] = []
    for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", sheet):
        for selector in selectors.split(","):
            if not any(kind in selector for kind in OPERABLE) or any(mark in selector for mark in QUIET):
                continue
            pattern = r"border(?:-color)?:[^;]*?(#[0-9A-F]{6})"
            lines += [(selector.strip(), color) for color in re.findall(pattern, body)]
            if "QSlider::" in selector:
                ground = re.findall(r"background: (#[0-9A-F]{6})", body)
                lines += [(selector.strip(), color) for color in ground if "handle" not in selector]
    assert len(lines) > 15
    faint = [
        (selector, color, ground)
        for selector, color in lines
        for ground in ("window", "surface", "raised")
        if contrast(color, colors[ground]) < 3.0
    ]
    assert faint == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("pressed", [False, True])
def test_a_slider_is_seen_on_a_card_in_both_schemes(
    scheme: Scheme, pressed: bool, qapp: QApplication
) -> None:
    theme().set_scheme(scheme)
    card = QFrame()
    set_property(card, card=True)
    row = QHBoxLayout(card)
    slider = QSlider(Qt.Orientation.Horizontal)
    slider.setRange(9, 15)
    slider.setValue(11)
    slider.setTickPosition(QSlider.TickPosition.TicksBelow)
    slider.setSliderDown(pressed)
    row.addWidget(slider)
    card.resize(300, 60)
    card.show()
    qapp.processEvents()
    image = card.grab().toImage()
    surface, middle = theme().hex("surface"), slider.geometry().center().y()
    seen = [image.pixelColor(x, middle).name() for x in range(slider.x() + 6, slider.geometry().right() - 6)]
    card.close()
    faint = [color for color in seen if contrast(color, surface) < 3.0]
    # The inside of the handle alone is the card's colour: a ring on both sides of it.
    assert len(faint) <= 14
    assert max(contrast(color, surface) for color in seen) > 10


def test_an_icon_has_the_pixels_of_the_screen() -> None:
    pixmap = theme().icon("cpu").pixmap(QSize(16, 16), 2.0)
    assert pixmap.size() == QSize(32, 32), "at 200 % it is drawn, not blown up"
    assert pixmap.deviceIndependentSize().toSize() == QSize(16, 16)


def test_the_focus_ring_is_the_only_frame_that_focus_draws() -> None:
    window = QWidget()
    button = QPushButton("Send", window)
    button.setFixedSize(120, 32)
    window.show()
    window.activateWindow()
    assert QTest.qWaitForWindowActive(window)
    button.setFocus(Qt.FocusReason.TabFocusReason)
    window.setAttribute(Qt.WidgetAttribute.WA_KeyboardFocusChange)
    assert button.hasFocus()
    image = button.grab().toImage()
    row = {image.pixelColor(x, 16).name() for x in range(4, 30)}
    assert row == {theme().hex("surface").lower()}, "Fusion's own frame lies inside the ring"
    window.close()


def test_a_tray_icons_message_is_dark_on_its_yellow_in_both_schemes(qapp: QApplication) -> None:
    class QBalloonTip(QWidget):
        """Named as Qt's own, which only a tray can show."""

    theme().set_scheme("dark")
    note = QBalloonTip()
    words = QLabel("Signalbox goes on", note)
    words.ensurePolished()
    assert words.palette().windowText().color().name() == "#000000"
    note.deleteLater()
