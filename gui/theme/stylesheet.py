"""The one style sheet of the application, generated from the palette and the zoom.

It holds colours, boxes and heights, never a font: see :mod:`gui.theme.fonts` for why. Focus rings are inside the
widget (Qt clips ``outline``; ``none`` keeps Fusion's own frame away, which lies on the words): the border grows
from 1 to 2 px and the padding shrinks by 1. A radius above half the height would make Qt draw square corners, so
radii stay at 3, 4 and 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from PySide6.QtGui import QGuiApplication

from gui.theme.palette import TOKENS

INK_FOCUS_FRAME = "ink-focus-frame"
"""The picture of a focused ink button: ring, gap, ink. ``background-clip: content`` would draw the gap too, but
it needs ``padding: 1px``, which takes the room beside the text away and makes the button jump."""

_PLAIN = "qproperty-textFormat: PlainText;"
"""On labels that Qt makes itself, tooltips above all: their words may come from a model, a server or a file, and
what looks like HTML in them would open the files that it names."""

_ON_QTS_NOTE = "#000000"
"""Qt draws a tray icon's message on light yellow in both schemes, where the desktop has no notifications."""
_TONES = ("held", "danger", "ok")
_SIDES = ("local", "api")


def frame_scale() -> int:
    """Return how many pixels of its own the picture of a frame has for one: as many as the finest screen."""
    app = QGuiApplication.instance()
    return math.ceil(app.devicePixelRatio()) if isinstance(app, QGuiApplication) else 1


def build_stylesheet(
    colors: Mapping[str, str], px: Callable[[int], int], image_url: Callable[[str, str], str]
) -> str:
    """Return the sheet. ``px`` applies the zoom; ``image_url(icon, token)`` names a small picture file."""
    c = {token: colors[token] for token in TOKENS}
    parts = (
        _labels(c),
        _buttons(c, px, image_url),
        _inputs(c, px, image_url),
        _checks(c, px, image_url),
        _sliders(c, px),
        _frames(c, px),
        _views(c, px),
        _scroll_and_menus(c, px),
    )
    return "\n".join(parts)


def _labels(c: Mapping[str, str]) -> str:
    rules = [
        "QLabel { background: transparent; }",
        f'QLabel[level="2"] {{ color: {c["text2"]}; }}',
        f'QLabel[level="3"] {{ color: {c["text3"]}; }}',
        f"QLabel:disabled {{ color: {c['text3']}; }}",
        f'QLabel[tone="unpriced"] {{ color: {c["held_text"]}; }}',
    ]
    rules += [f'QLabel[tone="{name}"] {{ color: {c[name + "_text"]}; }}' for name in _TONES]
    rules += [f'QLabel[side="{name}"] {{ color: {c[name + "_text"]}; }}' for name in _SIDES]
    return "\n".join(rules)


def _buttons(c: Mapping[str, str], px: Callable[[int], int], image_url: Callable[[str, str], str]) -> str:
    def box(selector: str, height: int, pad: int) -> str:
        return (
            f"{selector} {{ min-height: {px(height) - 2}px; padding: 0 {px(pad)}px; }}\n"
            f"{selector}:focus {{ border: 2px solid {c['focus']}; "
            f"min-height: {px(height) - 4}px; padding: 0 {px(pad) - 1}px; }}"
        )

    cut = 4 * frame_scale()
    return f"""
QPushButton {{ background: {c["surface"]}; color: {c["text"]}; border: 1px solid {c["control"]};
  border-radius: {px(4)}px; outline: none; }}
{box("QPushButton", 32, 12)}
{box('QPushButton[compact="true"]', 28, 10)}
{box('QPushButton[tiny="true"]', 24, 8)}
QPushButton:hover {{ background: {c["hover"]}; }}
QPushButton:pressed, QPushButton:checked {{ background: {c["select"]}; }}
QPushButton:disabled {{ color: {c["text3"]}; border-color: {c["border"]}; background: {c["surface"]}; }}
QPushButton[danger="true"] {{ color: {c["danger_text"]}; }}
QPushButton[danger="true"]:disabled {{ color: {c["text3"]}; }}
QPushButton[flat="true"] {{ background: transparent; color: {c["text2"]}; border-color: transparent; }}
QPushButton[flat="true"][strong="true"] {{ color: {c["text"]}; }}
QPushButton[flat="true"]:hover {{ background: {c["hover"]}; color: {c["text"]}; }}
QPushButton[flat="true"]:pressed {{ background: {c["select"]}; }}
QPushButton[flat="true"]:disabled {{ color: {c["text3"]}; background: transparent; border-color: transparent; }}
QPushButton[flat="true"][compact="true"] {{ padding: 0 {px(8)}px; }}
QPushButton[flat="true"][compact="true"]:focus {{ padding: 0 {px(8) - 1}px; }}
QPushButton[flat="true"]:focus {{ border: 2px solid {c["focus"]}; }}
QPushButton[primary="true"] {{ background: {c["ink"]}; color: {c["onInk"]}; border-color: {c["ink"]}; }}
QPushButton[primary="true"]:hover {{ background: {c["text2"]}; border-color: {c["text2"]}; }}
QPushButton[primary="true"]:pressed {{ background: {c["text3"]}; border-color: {c["text3"]}; }}
QPushButton[primary="true"]:disabled {{ background: {c["select"]}; color: {c["text2"]};
  border-color: {c["select"]}; }}
QPushButton[primary="true"]:focus {{ background: transparent; border-radius: 0; border: 4px solid transparent;
  border-image: url({image_url(INK_FOCUS_FRAME, "ink")}) {cut} {cut} {cut} {cut} stretch stretch;
  padding: 0 {px(12) - 3}px; min-height: {px(32) - 8}px; }}
QPushButton[primary="true"][compact="true"]:focus {{ padding: 0 {px(10) - 3}px; min-height: {px(28) - 8}px; }}
QPushButton[primary="true"][tiny="true"]:focus {{ padding: 0 {px(8) - 3}px; min-height: {px(24) - 8}px; }}
QPushButton[painted="true"], QPushButton[painted="true"]:focus {{ min-height: 0;
  padding: 0; border: none; background: transparent; }}
QToolButton {{ background: transparent; color: {c["text2"]}; border: 1px solid transparent;
  border-radius: {px(4)}px; padding: 0; outline: none; }}
QToolButton:hover {{ background: {c["hover"]}; }}
QToolButton:pressed, QToolButton:checked {{ background: {c["select"]}; }}
QToolButton[outlined="true"] {{ background: {c["surface"]}; border-color: {c["control"]}; }}
QToolButton[outlined="true"]:hover {{ background: {c["hover"]}; }}
QToolButton:focus {{ border: 2px solid {c["focus"]}; }}
QToolButton::menu-indicator {{ image: none; width: 0; }}
"""


def _inputs(c: Mapping[str, str], px: Callable[[int], int], image_url: Callable[[str, str], str]) -> str:
    fields = "QLineEdit, QAbstractSpinBox, QComboBox"
    editors = "QPlainTextEdit, QTextEdit"

    def each(selectors: str, suffix: str) -> str:
        return ", ".join(part.strip() + suffix for part in selectors.split(","))

    both = f"{fields}, {editors}"
    return f"""
{both} {{ background: {c["surface"]}; color: {c["text"]}; border: 1px solid {c["control"]};
  border-radius: {px(4)}px; selection-background-color: {c["select"]}; selection-color: {c["text"]}; }}
{fields} {{ min-height: {px(32) - 2}px; padding: 0 {px(10)}px; }}
{each(fields, ":focus")} {{ border: 2px solid {c["focus"]}; min-height: {px(32) - 4}px;
  padding: 0 {px(10) - 1}px; }}
{each(fields, '[compact="true"]')} {{ min-height: {px(28) - 2}px; }}
{each(fields, '[compact="true"]:focus')} {{ min-height: {px(28) - 4}px; }}
{editors} {{ padding: {px(6)}px {px(8)}px; }}
{each(editors, ":focus")} {{ border: 2px solid {c["focus"]}; padding: {px(6) - 1}px {px(8) - 1}px; }}
{each(both, ":disabled")}, QLineEdit:read-only {{ background: {c["window"]}; color: {c["text2"]};
  border-color: {c["border"]}; }}
{each(both, '[tone="danger"]')} {{ border-color: {c["danger"]}; }}
{each(both, '[tone="danger"]:focus')} {{ border-color: {c["focus"]}; }}
{each(both, '[bare="true"]')}, {each(both, '[bare="true"]:focus')}, QTextBrowser, QTextBrowser:focus {{
  background: transparent; border: none; padding: 0; min-height: 0; }}
QComboBox {{ padding-right: {px(28)}px; }}
QComboBox:focus {{ padding-right: {px(28) - 1}px; }}
QComboBox::drop-down {{ subcontrol-origin: border; subcontrol-position: right center; width: {px(26)}px;
  border: none; }}
QComboBox::down-arrow {{ image: url({image_url("caret-down", "text2")}); width: {px(12)}px; height: {px(12)}px; }}
QComboBox QAbstractItemView {{ background: {c["raised"]}; border: 1px solid {c["control"]}; outline: 0; }}
QComboBox QAbstractItemView::item {{ min-height: {px(28)}px; padding: 0 {px(8)}px; }}
QAbstractSpinBox QLineEdit, QAbstractSpinBox QLineEdit:focus, QComboBox QLineEdit, QComboBox QLineEdit:focus {{
  border: none; padding: 0; min-height: 0; background: transparent; }}
QAbstractSpinBox, QAbstractSpinBox:focus {{ padding: 0 {px(20)}px 0 0; max-height: {px(32) - 2}px; }}
QAbstractSpinBox:focus {{ max-height: {px(32) - 4}px; }}
QAbstractSpinBox::up-button, QAbstractSpinBox::down-button {{ subcontrol-origin: border; width: {px(20)}px;
  border: none; background: transparent; }}
QAbstractSpinBox::up-button {{ subcontrol-position: top right; }}
QAbstractSpinBox::down-button {{ subcontrol-position: bottom right; }}
QAbstractSpinBox::up-button:hover, QAbstractSpinBox::down-button:hover {{ background: {c["hover"]}; }}
QAbstractSpinBox::up-arrow {{ image: url({image_url("caret-up", "text2")});
  width: {px(10)}px; height: {px(10)}px; }}
QAbstractSpinBox::down-arrow {{ image: url({image_url("caret-down", "text2")});
  width: {px(10)}px; height: {px(10)}px; }}
"""


def _checks(c: Mapping[str, str], px: Callable[[int], int], image_url: Callable[[str, str], str]) -> str:
    check = image_url("check-bold", "onInk")
    return f"""
QCheckBox, QRadioButton {{ color: {c["text"]}; spacing: {px(8)}px; min-height: {px(24)}px;
  border: 2px solid transparent; border-radius: {px(4)}px; padding: 0 {px(2)}px; background: transparent; }}
QCheckBox:disabled, QRadioButton:disabled {{ color: {c["text3"]}; }}
QCheckBox:focus, QRadioButton:focus {{ border-color: {c["focus"]}; outline: none; }}
QCheckBox::indicator, QRadioButton::indicator {{ width: {px(14)}px; height: {px(14)}px;
  border: 1px solid {c["control"]}; background: {c["surface"]}; border-radius: {px(3)}px; }}
QRadioButton::indicator {{ border-radius: {px(14) // 2 + 1}px; }}
QCheckBox::indicator:hover, QRadioButton::indicator:hover {{ background: {c["hover"]}; }}
QCheckBox::indicator:checked {{ background: {c["ink"]}; border-color: {c["ink"]}; image: url({check}); }}
QRadioButton::indicator:checked {{ border: {px(5)}px solid {c["ink"]}; background: {c["onInk"]};
  width: {px(14) + 2 - 2 * px(5)}px; height: {px(14) + 2 - 2 * px(5)}px; border-radius: {px(14) // 2 + 1}px; }}
QRadioButton[painted="true"], QRadioButton[painted="true"]:focus {{ min-height: 0; padding: 0; border: none;
  spacing: 0; }}
QCheckBox::indicator:disabled, QRadioButton::indicator:disabled {{ border-color: {c["border"]}; }}
"""


def _sliders(c: Mapping[str, str], px: Callable[[int], int]) -> str:
    """Groove and handle as a lever has them; Fusion's own are drawn from the ground's colour, so the dark is dark.

    The handle hangs out of the groove by a negative margin: 16 px over 4.
    """
    handle, groove = px(16), px(4)
    hang = (handle - groove) // 2
    return f"""
QSlider {{ background: transparent; border: 2px solid transparent; border-radius: {px(4)}px;
  min-height: {px(24)}px; }}
QSlider:focus {{ border-color: {c["focus"]}; }}
QSlider::groove:horizontal {{ height: {groove}px; background: {c["control"]}; border-radius: {groove // 2}px; }}
QSlider::sub-page:horizontal {{ background: {c["ink"]}; border-radius: {groove // 2}px; }}
QSlider::handle:horizontal {{ width: {handle - 4}px; background: {c["surface"]}; border: 2px solid {c["ink"]};
  border-radius: {handle // 2}px; margin: -{hang}px 0; }}
QSlider::handle:hover {{ background: {c["hover"]}; }}
QSlider::handle:pressed {{ background: {c["select"]}; }}
QSlider::groove:disabled {{ background: {c["track"]}; }}
QSlider::sub-page:disabled {{ background: {c["track"]}; }}
QSlider::handle:disabled {{ background: {c["surface"]}; border-color: {c["control"]}; }}
"""


def _frames(c: Mapping[str, str], px: Callable[[int], int]) -> str:
    rules = [
        f"""
QFrame[card="true"] {{ background: {c["surface"]}; border: 1px solid {c["border"]}; border-radius: {px(6)}px; }}
QFrame[sunken="true"] {{ background: {c["sunken"]}; border: none; border-radius: {px(4)}px; }}
QFrame[inset="true"] {{ background: {c["window"]}; border: 1px solid {c["border"]}; border-radius: {px(4)}px; }}
QFrame[line="true"] {{ background: {c["border"]}; border: none; min-height: 1px; max-height: 1px; }}
QFrame[hairline="true"] {{ background: {c["grid"]}; border: none; min-height: 1px; max-height: 1px; }}
QFrame[popover="true"] {{ background: {c["raised"]}; border: 1px solid {c["control"]}; border-radius: {px(6)}px; }}
QSplitter::handle {{ background: {c["border"]}; }}
QSplitter::handle:horizontal {{ width: 1px; }}
QSplitter::handle:vertical {{ height: 1px; }}
QProgressBar {{ background: {c["sunken"]}; border: none; border-radius: {px(3)}px; max-height: {px(6)}px;
  min-height: {px(6)}px; color: transparent; }}
QProgressBar::chunk {{ background: {c["held"]}; border-radius: {px(3)}px; }}
"""
    ]
    rules += [
        f'QFrame[card="true"][tone="{name}"] {{ border-color: {c[name]}; }}\n'
        f'QFrame[tint="{name}"] {{ background: {c[name + "_tint"]}; border: none; border-radius: {px(4)}px; }}'
        for name in _TONES
    ]
    rules += [
        f'QFrame[tint="{name}"] {{ background: {c[name + "_tint"]}; border: 1px solid {c[name]}; '
        f"border-radius: {px(6)}px; }}"
        for name in _SIDES
    ]
    return "\n".join(rules)


def _views(c: Mapping[str, str], px: Callable[[int], int]) -> str:
    return f"""
QTableView, QListView, QTreeView {{ background: {c["surface"]}; border: none; outline: 0;
  gridline-color: {c["grid"]}; selection-background-color: {c["select"]}; selection-color: {c["text"]}; }}
QTableView::item:selected, QListView::item:selected, QTreeView::item:selected {{
  background: {c["select"]}; color: {c["text"]}; }}
QHeaderView {{ background: {c["surface"]}; border: none; }}
QHeaderView::section {{ background: {c["surface"]}; color: {c["text3"]}; border: none;
  border-bottom: 1px solid {c["border"]}; padding: 0 {px(8)}px; min-height: {px(28)}px; }}
QTableCornerButton::section {{ background: {c["surface"]}; border: none; }}
"""


def _scroll_and_menus(c: Mapping[str, str], px: Callable[[int], int]) -> str:
    return f"""
QScrollArea {{ background: transparent; border: none; }}
QScrollBar {{ background: transparent; border: none; margin: 0; }}
QScrollBar:vertical {{ width: {px(12)}px; }}
QScrollBar:horizontal {{ height: {px(12)}px; }}
QScrollBar::handle {{ background: {c["control"]}; border-radius: {px(3)}px; margin: {px(3)}px; }}
QScrollBar::handle:vertical {{ min-height: {px(32)}px; }}
QScrollBar::handle:horizontal {{ min-width: {px(32)}px; }}
QScrollBar::handle:hover, QScrollBar::handle:pressed {{ background: {c["text3"]}; }}
QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; border: none; }}
QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}
QMenu {{ background: {c["raised"]}; color: {c["text"]}; border: 1px solid {c["control"]}; padding: {px(4)}px 0; }}
QMenu::item {{ padding: {px(5)}px {px(28)}px {px(5)}px {px(14)}px;
  min-height: {px(18)}px; background: transparent; }}
QMenu::item:selected {{ background: {c["hover"]}; color: {c["text"]}; }}
QMenu::item:disabled {{ color: {c["text3"]}; }}
QMenu::icon {{ padding-left: {px(10)}px; }}
QMenu::separator {{ height: 1px; background: {c["border"]}; margin: {px(4)}px 0; }}
QBalloonTip QLabel {{ color: {_ON_QTS_NOTE}; {_PLAIN} }}
QToolTip {{ background: {c["raised"]}; color: {c["text"]}; border: 1px solid {c["control"]};
  padding: {px(4)}px {px(6)}px; {_PLAIN} }}
QLabel#qt_msgbox_label, QLabel#qt_msgbox_informativelabel {{ {_PLAIN} }}
"""
